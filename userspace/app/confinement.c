/* SPDX-License-Identifier: Apache-2.0 */
#include "app/confinement.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>

#include "base/log.h"
#include "kernel/capabilities.h"

static const char always[] = "always";

const struct privilege privileges[] = {
	{CAP_BPF, "CAP_BPF", "loading programs and maps", always},
	{CAP_PERFMON, "CAP_PERFMON", "attaching them to other processes' code", always},
	{CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "reading /proc/PID of other users' processes", always},
	{CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "executables and folders that only others may read", always},
	{CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE", "opening deleted or foreign executables (map_files)",
	 always},
	{CAP_NET_ADMIN, "CAP_NET_ADMIN", "putting trace context into requests (--inject, --tcp-option)", NULL},
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN",
	 "links by perf events, where the kernel asks it for uprobes; {inject: verdict} for connections of other network namespaces",
	 "when no probe can be attached without, or {inject: verdict} is asked for"},
	{CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", "locked memory on kernels before 5.11; not needed otherwise",
	 "when links are perf events"},
};
const unsigned privilege_cnt = sizeof(privileges) / sizeof(privileges[0]);

static const enum confine_part parts[] = {CONFINE_CAPABILITIES, CONFINE_SECCOMP, CONFINE_LANDLOCK};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

int confinement_parse(const char *text, unsigned *ret_parts)
{
	*ret_parts = 0;
	if (strcmp(text, "none") == 0)
		return 0;
	if (strcmp(text, "all") == 0) {
		*ret_parts = CONFINE_ALL;
		return 0;
	}
	for (;;) {
		size_t len = strcspn(text, ","), i = 0;
		while (i < PARTS && (strlen(confine_part_name(parts[i])) != len ||
				     strncmp(text, confine_part_name(parts[i]), len) != 0))
			i++;
		if (i == PARTS)
			return -EINVAL;
		*ret_parts |= parts[i];
		if (!text[len])
			return 0;
		text += len + 1;
	}
}

/* --- what a session keeps ------------------------------------------------------------------------------------------ */

static bool can_attach_with(uint64_t keep, enum link_kind link)
{
	struct sbuf ignored = {0};
	uint64_t before = confine_capabilities_held();
	if (confine_try_capabilities(keep) < 0)
		return false;
	int rc = link_kind_check(link, &ignored);
	confine_try_capabilities(before);
	sbuf_release(&ignored);
	return rc == 0;
}

static uint64_t kept_always(void)
{
	uint64_t keep = 0;
	for (unsigned i = 0; i < privilege_cnt; i++)
		if (privileges[i].kept == always)
			keep |= CAPABILITY_BIT(privileges[i].number);
	return keep;
}

static uint64_t choose(const struct confinement_needs *needs)
{
	uint64_t admin = CAPABILITY_BIT(CAP_SYS_ADMIN), keep = kept_always(), held = confine_capabilities_held();
	const char *path;
	if (needs->link == LINK_PERF)
		keep |= CAPABILITY_BIT(CAP_SYS_RESOURCE);
	if (needs->has_child)
		keep |= CAPABILITY_BIT(CAP_KILL);
	if (held & admin && needs->enters_networks) {
		log_debug("CAP_SYS_ADMIN stays: connections in other network namespaces are enrolled with it");
		keep |= admin;
	} else if (held & admin && !can_attach_with(keep, needs->link)) {
		log_debug("CAP_SYS_ADMIN stays: no probe can be attached without it");
		keep |= admin;
	}
	if (confine_needs_override(keep, &path)) {
		log_debug("CAP_DAC_OVERRIDE stays, for %s", path);
		keep |= CAPABILITY_BIT(CAP_DAC_OVERRIDE);
	}
	return keep;
}

static void add_name(int number, struct sbuf *out)
{
	for (unsigned i = 0; i < privilege_cnt; i++)
		if (privileges[i].number == number) {
			sbuf_adds(out, privileges[i].name);
			return;
		}
	if (number == CAP_KILL || number == CAP_DAC_OVERRIDE)
		sbuf_adds(out, number == CAP_KILL ? "CAP_KILL" : "CAP_DAC_OVERRIDE");
	else
		sbuf_addf(out, "%d", number); /* as linux/capability.h numbers them */
}

static void add_names(uint64_t set, struct sbuf *out)
{
	for (int n = 0; n < 64; n++) {
		if (!(set & CAPABILITY_BIT(n)))
			continue;
		sbuf_addc(out, ' ');
		add_name(n, out);
	}
}

void confinement_enter(const struct confinement_needs *needs, bool asked)
{
	struct sbuf names = {0}, err = {0};
	unsigned chosen = confine_chosen(), taken;
	if (!chosen) {
		log_debug("not confined: --confine none");
		return;
	}
	/* Only what is asked of the kernel is paid for. */
	uint64_t keep = chosen & CONFINE_CAPABILITIES ? choose(needs) : 0;
	confine_main(keep, &taken, &err);
	if (taken & CONFINE_CAPABILITIES) {
		add_names(confine_capabilities_held(), &names);
		log_debug("confined: of all capabilities these are kept:%s", names.len ? sbuf_str(&names) : " none");
	}
	if (taken & CONFINE_SECCOMP)
		log_debug("confined: a seccomp filter lets through the system calls that are used");
	if (err.len)
		log_write(asked ? LOG_WARN : LOG_DEBUG, "not confined by all that was asked for: %s", sbuf_str(&err));
	sbuf_release(&names);
	sbuf_release(&err);
}

/* --- status --------------------------------------------------------------------------------------------------------- */

static void add_parts(unsigned taken, struct sbuf *out)
{
	const char *sep = "";
	sbuf_addc(out, '[');
	for (size_t i = 0; i < PARTS; i++) {
		if (!(taken & parts[i]))
			continue;
		sbuf_addf(out, "%s\"%s\"", sep, confine_part_name(parts[i]));
		sep = ",";
	}
	sbuf_addc(out, ']');
}

void confinement_status_json(struct sbuf *out)
{
	uint64_t held = confine_capabilities_held();
	const char *sep = "";
	sbuf_adds(out, "\"confinement\":{\"capabilities\":[");
	for (int n = 0; n < 64; n++) {
		if (!(held & CAPABILITY_BIT(n)))
			continue;
		sbuf_addf(out, "%s\"", sep);
		add_name(n, out);
		sbuf_addc(out, '"');
		sep = ",";
	}
	sbuf_adds(out, "],\"session\":");
	add_parts(confine_taken(false), out);
	sbuf_adds(out, ",\"receivers\":");
	add_parts(confine_taken(true), out);
	sbuf_addc(out, '}');
}

/* --- info ----------------------------------------------------------------------------------------------------------- */

static const char *part_does(enum confine_part part)
{
	return part == CONFINE_CAPABILITIES ? "what is not needed any more is given up, for good"
	       : part == CONFINE_SECCOMP    ? "system calls that are not used fail"
					    : "threads that talk to receivers open no file for writing";
}

void confinement_print(struct sbuf *out)
{
	sbuf_adds(out, "\na session confines itself once it is attached (--confine):\n");
	for (size_t i = 0; i < PARTS; i++) {
		struct sbuf why = {0};
		int version, rc = confine_probe(parts[i], &version, &why);
		sbuf_addf(out, "  %-3s %-23s %s", rc == 0 ? "yes" : "NO", confine_part_name(parts[i]),
			  part_does(parts[i]));
		if (version)
			sbuf_addf(out, " (version %d)", version);
		sbuf_addf(out, "%s%s%s\n", rc ? " (" : "", sbuf_str(&why), rc ? ")" : "");
		sbuf_release(&why);
	}
}

void confinement_json(struct sbuf *out)
{
	sbuf_adds(out, "\"confinement\":{");
	for (size_t i = 0; i < PARTS; i++) {
		struct sbuf why = {0};
		int version, rc = confine_probe(parts[i], &version, &why);
		sbuf_addf(out, "%s\"%s\":{\"works\":%s,\"version\":%d,\"why_not\":", i ? "," : "",
			  confine_part_name(parts[i]), rc == 0 ? "true" : "false", version);
		sbuf_add_json(out, sbuf_sv(&why));
		sbuf_addc(out, '}');
		sbuf_release(&why);
	}
	sbuf_addc(out, '}');
}
