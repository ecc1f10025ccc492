/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/confinement.h"
#include "app/policy.h"
#include "app/environment.h"
#include "app/settings.h"
#include "base/log.h"
#include "export/datadog.h"
#include "kernel/capabilities.h"
#include "kernel/inject.h"
#include "kernel/kernel.h"
#include "target/scan.h"
#include "version.h"

#define AGENT_TIMEOUT_MS 500

static bool privilege_held(int number)
{
	return confine_capabilities_held() & CAPABILITY_BIT(number);
}

static void print_privileges(void)
{
	struct sbuf out = {0};
	puts("");
	for (unsigned n = 0; n < privilege_cnt; n++)
		printf("  %-3s %-23s %s\n", privilege_held(privileges[n].number) ? "yes" : "NO", privileges[n].name,
		       privileges[n].needed_for);
	confinement_print(&out);
	fputs(sbuf_str(&out), stdout);
	sbuf_release(&out);
}

struct info {
	struct utsname kernel;
	struct capabilities capabilities;
	struct price_list prices;
	int link;
	struct sbuf link_error, agent, agent_error;
	struct inject_status inject;
	struct option_status option;
	bool agent_answers;
	const struct options *options;
};

#define INFO_MAX_PROCESSES 16

/* Calls back for each chosen process. */
static void info_each(const struct info *i, void (*fn)(void *arg, const struct info *i, struct proc *p, int target),
		      void *arg)
{
	const struct probe_list *list = i->options->list;
	struct scan scan = {0};
	struct sbuf err = {0};
	if (list->targets.cnt && scan_processes(proc_root(), list->targets.data, list->targets.cnt, &scan, &err) < 0)
		log_warn("%s", sbuf_str(&err));
	for (size_t n = 0; n < scan.cnt && n < INFO_MAX_PROCESSES; n++) {
		struct proc p = PROC_INIT;
		if (proc_open(&p, proc_root(), scan.data[n].pid) == 0)
			fn(arg, i, &p, (int)scan.data[n].spec);
		proc_close(&p);
	}
	scan_release(&scan);
	sbuf_release(&err);
}

static struct settings_process info_process(struct proc *p, int target)
{
	struct settings_process process = {.target = target};
	proc_environ(p, &process.environ);
	return process;
}

static void add_process_text(void *arg, const struct info *i, struct proc *p, int target)
{
	struct sbuf *out = arg;
	struct settings_process process = info_process(p, target);
	sbuf_addf(out, "\nsettings of process %d (" SV_FMT "):\n", p->pid, SV_ARG(p->comm));
	settings_print(i->options, &process, out);
}

static void print_settings(const struct info *i)
{
	const struct settings_process nobody = {.target = -1};
	struct sbuf out = {0};
	info_each(i, add_process_text, &out);
	if (!out.len) {
		sbuf_adds(&out, "\nsettings, as far as no process says otherwise (--name and the like show one's):\n");
		settings_print(i->options, &nobody, &out);
	}
	fputs(sbuf_str(&out), stdout);
	sbuf_release(&out);
}

static void add_process_json(void *arg, const struct info *i, struct proc *p, int target)
{
	struct sbuf *out = arg;
	struct settings_process process = info_process(p, target);
	sbuf_addf(out, "%s{\"pid\":%d,\"name\":", out->data[out->len - 1] == '[' ? "" : ",", p->pid);
	sbuf_add_json(out, p->comm);
	sbuf_adds(out, ",\"settings\":");
	settings_json(i->options, &process, out);
	sbuf_addc(out, '}');
}

static void json_settings(const struct info *i, struct sbuf *out)
{
	const struct settings_process nobody = {.target = -1};
	sbuf_adds(out, ",\"settings\":");
	settings_json(i->options, &nobody, out);
	sbuf_adds(out, ",\"injection\":{");
	inject_json(&i->inject, out);
	sbuf_addf(out, "},\"tcp_option\":{\"on\":%s,\"why_not\":", i->option.on ? "true" : "false");
	sbuf_add_json(out, sv_of(i->option.why_not));
	sbuf_adds(out, "},\"processes\":[");
	info_each(i, add_process_json, out);
	sbuf_addc(out, ']');
}

static void info_gather(struct info *i)
{
	struct sbuf ignored = {0};
	uname(&i->kernel);
	capabilities_probe(&i->capabilities);
	i->link = capabilities_choose_link(&i->capabilities, &i->link_error);
	if (i->link >= 0)
		price_list_measure((enum link_kind)i->link, &i->prices, &ignored);
	inject_probe(&i->inject, true);
	kernel_option_probe(&i->option);
	i->agent_answers = datadog_probe(NULL, AGENT_TIMEOUT_MS, &i->agent, &i->agent_error) == 0;
	sbuf_release(&ignored);
}

static void print_inject(const struct inject_status *s)
{
	printf("\ntrace context can%s be put into requests (--inject; the default of attach and run)%s%s\n", s->on ? "" : "not", s->on ? "" : ": ",
	       s->why_not);
	for (int mode = 0; mode < INJECT_MODES && s->on; mode++) {
		struct sbuf lacks = {0};
		inject_explain(s, (enum inject_mode)mode, &lacks);
		printf("  %-8s %s%s\n", inject_mode_name((enum inject_mode)mode),
		       lacks.len ? "for programs that do without: " : "for all programs", sbuf_str(&lacks));
		sbuf_release(&lacks);
	}
}

static void print_option(const struct option_status *s)
{
	printf("\ntrace context can%s go in TCP options beside requests (--tcp-option)%s%s\n", s->on ? "" : "not",
	       s->on ? "" : ": ", s->why_not);
}

static void print_text(const struct info *i)
{
	printf("spanhound %s (%s)\nkernel    %s %s %s\n\n", SPANHOUND_VERSION, SPANHOUND_COMMIT, i->kernel.sysname,
	       i->kernel.release, i->kernel.machine);
	for (int n = 0; n < CAPABILITY_CNT; n++) {
		const struct capability *c = &i->capabilities.is[n];
		printf("  %-3s %-15s %s%s%s%s\n", c->works ? "yes" : "NO", capability_name((enum capability_id)n),
		       capability_enables((enum capability_id)n), c->works ? "" : " (", c->why_not,
		       c->works ? "" : ")");
	}
	print_privileges();
	if (i->link < 0) {
		printf("\nNothing can be traced: %s\n", sbuf_str(&i->link_error));
	} else {
		printf("\nprobes are attached by %s links; an empty probe costs per call, at entry (entry and return):\n",
		       link_kind_names[i->link]);
		static const char *const classes[PRICE_CLASSES] = {"nop5", "emulated", "single-step"};
		for (int n = 0; n < PRICE_CLASSES; n++)
			printf("  %-12s %7.0f ns (%.0f ns)\n", classes[n], i->prices.entry_ns[n],
			       i->prices.with_return_ns[n]);
	}
	print_inject(&i->inject);
	print_option(&i->option);
	printf("\nDatadog Agent: %s%s\n", i->agent_answers ? "answers\n" : sbuf_str(&i->agent_error),
	       i->agent_answers ? sbuf_str(&i->agent) : "");
	print_settings(i);
}

static void json_price(struct sbuf *out, const char *name, const double *ns)
{
	sbuf_addf(out, "\"%s\":{\"nop5\":%.0f,\"emulated\":%.0f,\"single_step\":%.0f}", name, ns[PRICE_NOP5],
		  ns[PRICE_EMULATED], ns[PRICE_SINGLE_STEP]);
}

static void print_json(const struct info *i)
{
	struct sbuf out = {0};
	sbuf_addf(&out, "{\"version\":\"%s\",\"commit\":\"%s\",\"kernel\":\"%s\",\"machine\":\"%s\",\"capabilities\":{",
		  SPANHOUND_VERSION, SPANHOUND_COMMIT, i->kernel.release, i->kernel.machine);
	for (int n = 0; n < CAPABILITY_CNT; n++) {
		const struct capability *c = &i->capabilities.is[n];
		sbuf_addf(&out, "%s\"%s\":{\"works\":%s,\"enables\":", n ? "," : "",
			  capability_name((enum capability_id)n), c->works ? "true" : "false");
		sbuf_add_json(&out, sv_of(capability_enables((enum capability_id)n)));
		sbuf_adds(&out, ",\"why_not\":");
		sbuf_add_json(&out, sv_of(c->why_not));
		sbuf_adds(&out, "}");
	}
	static const enum capability_id links[LINK_KINDS] = {CAPABILITY_uprobe_session, CAPABILITY_uprobe_multi,
							     CAPABILITY_perf_uprobe};
	sbuf_adds(&out, "},\"links\":{");
	for (int n = 0; n < LINK_KINDS; n++) {
		const struct capability *c = &i->capabilities.is[links[n]];
		sbuf_addf(&out, "%s\"%s\":{\"available\":%s,\"reason\":", n ? "," : "", link_kind_names[n],
			  c->works ? "true" : "false");
		sbuf_add_json(&out, sv_of(c->why_not));
		sbuf_addc(&out, '}');
	}
	sbuf_adds(&out, "},\"privileges\":{");
	for (unsigned n = 0; n < privilege_cnt; n++)
		sbuf_addf(&out, "%s\"%s\":%s", n ? "," : "", privileges[n].name,
			  privilege_held(privileges[n].number) ? "true" : "false");
	sbuf_adds(&out, "},");
	confinement_json(&out);
	sbuf_addf(&out, ",\"link\":%s%s%s,", i->link < 0 ? "" : "\"", i->link < 0 ? "null" : link_kind_names[i->link],
		  i->link < 0 ? "" : "\"");
	json_price(&out, "entry_ns", i->prices.entry_ns);
	sbuf_addc(&out, ',');
	json_price(&out, "entry_and_return_ns", i->prices.with_return_ns);
	sbuf_addf(&out, ",\"agent\":{\"answers\":%s,\"info\":%s,\"error\":", i->agent_answers ? "true" : "false",
		  i->agent_answers && i->agent.len ? sbuf_str(&i->agent) : "null");
	sbuf_add_json(&out, sbuf_sv(&i->agent_error));
	sbuf_addc(&out, '}');
	json_settings(i, &out);
	sbuf_adds(&out, "}\n");
	fputs(sbuf_str(&out), stdout);
	sbuf_release(&out);
}

/* What a session would say of our environment, and refuse. */
static bool environment_is_good(void)
{
	struct environment e = {0};
	struct sbuf err = {0};
	bool good = environment_read(&e, &err) == 0;
	if (!good)
		log_error("%s", sbuf_str(&err));
	environment_release(&e);
	sbuf_release(&err);
	return good;
}

int cmd_info(int argc, char **argv)
{
	struct options o;
	int rc = options_parse(&o, COMMAND_info, argc, argv), status = options_exit_status(rc);
	if (rc == 0 && o.settings_table) {
		struct sbuf text = {0};
		settings_describe(&text);
		fputs(sbuf_str(&text), stdout);
		sbuf_release(&text);
		status = EXIT_SUCCESS;
	} else if (rc == 0 && !environment_is_good()) {
		status = EXIT_USAGE;
	} else if (rc == 0) {
		struct info i = {.options = &o};
		info_gather(&i);
		if (o.json)
			print_json(&i);
		else
			print_text(&i);
		status = i.link < 0 ? SESSION_FAILED : EXIT_SUCCESS;
		sbuf_release(&i.link_error);
		sbuf_release(&i.agent);
		sbuf_release(&i.agent_error);
	}
	options_release(&o);
	return status;
}
