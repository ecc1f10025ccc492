/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/injection.h"
#include "app/policy.h"
#include "app/table.h"
#include "base/log.h"
#include "target/identify.h"
#include "target/match.h"
#include "target/scan.h"

#define NAMES_TIMEOUT_MS 1500
#define MAX_ROWS	 32768
#define MAX_PORTS_SHOWN	 8

/* What is shown of one process. Its strings belong to `info`, `text` or the program. */
struct row {
	int pid;
	int spec;	       /* that chooses it, or -1 */
	const char *why;       /* NULL: its target, or nobody asked */
	const char *headers;   /* how they get into its requests: "plain", "verdict", "none"; NULL: nobody asked */
	struct sv headers_why; /* "none" */
	struct process_info *info;
	struct identify_details details;
	struct container container;
	struct sv container_name, exe;
	struct int_vec ports;
	struct arena text;
};

struct ps {
	struct options *o;
	struct policy policy;
	struct listeners listeners;
	bool headers; /* somebody may get some */
	struct inject_status inject;
	VEC(struct row) rows;
	size_t seen, denied, overflow;
};

static void row_release(struct row *r)
{
	process_info_unref(r->info);
	vec_release(&r->ports);
	arena_release(&r->text);
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

/* Whether it would be traced, and if not, why. False: nobody asks for it. */
static bool judge(struct ps *ps, struct proc *p, struct row *r)
{
	const struct probe_list *list = ps->o->list;
	r->spec = target_first_match(list->targets.data, list->targets.cnt, p, &ps->listeners);
	if (r->spec >= 0)
		return true;
	if (!list->targets.cnt)
		policy_admits(&ps->policy.target, p, &ps->listeners);
	if (p->skipped[0])
		r->why = arena_dup(&r->text, sv_of(p->skipped)).data;
	else if (list->targets.cnt)
		r->why = p->denied ? "may not be looked at closely" : "no target asks for it";
	return p->skipped[0] || !list->targets.cnt || ps->o->all;
}

static void judge_headers(const struct ps *ps, struct proc *p, struct row *r)
{
	const struct probe_list *list = ps->o->list;
	enum target_inject how = list->targets.data[r->spec].propagation.inject;
	struct sbuf why = {0};
	struct injection_choice c =
		injection_choose(&ps->inject, how ? how : injection_standard(ps->o->session.inject, list->propagation),
				 p, r->info, &(struct sh_watched){0});
	injection_explain(&c, &ps->inject, &why);
	r->headers = !c.left ? inject_mode_name(c.mode) : "none";
	r->headers_why = arena_dup(&r->text, sbuf_sv(&why));
	sbuf_release(&why);
}

static void describe(struct ps *ps, struct proc *p, struct row *r)
{
	struct sbuf name = {0};
	struct identify_options options = {
		.spec = r->spec >= 0 ? &ps->o->list->targets.data[r->spec] : NULL,
		.details = &r->details,
		.languages = ps->policy.target.languages,
		.hostname = identify_hostname(),
	};
	struct container c;
	if (identify_process(p, &options, &r->info) < 0)
		return;
	if (proc_container(p, &c) == 0) {
		r->container = (struct container){arena_dup(&r->text, c.id), arena_dup(&r->text, c.pod),
						  arena_dup(&r->text, c.unit), c.runtime};
		if (c.id.len && ps->policy.target.containers)
			containers_name(ps->policy.target.containers, c.id, &name);
		r->container_name = arena_dup(&r->text, sbuf_sv(&name));
	}
	if (proc_exe(p, &r->exe) == 0)
		r->exe = arena_dup(&r->text, r->exe);
	else
		r->exe = SV_NULL;
	listeners_ports(&ps->listeners, p, &r->ports);
	if (ps->headers && r->spec >= 0)
		judge_headers(ps, p, r);
	sbuf_release(&name);
}

static int look_at(void *arg, struct proc *p)
{
	struct ps *ps = arg;
	struct row row = {.pid = p->pid, .spec = -1};
	ps->seen++;
	if (p->dir < 0) { /* hidepid: not even its name is ours to see */
		ps->denied++;
		return 0;
	}
	if (!judge(ps, p, &row)) {
		row_release(&row);
		return 0;
	}
	if (ps->rows.cnt >= MAX_ROWS) {
		ps->overflow++;
		row_release(&row);
		return 0;
	}
	describe(ps, p, &row);
	ps->denied += p->denied;
	if (p->denied && row.spec < 0 && !row.why)
		row.why = "may not be looked at closely";
	if (!row.info || vec_push(&ps->rows, row) < 0)
		row_release(&row);
	return 0;
}

static int want_name(void *arg, struct proc *p)
{
	struct ps *ps = arg;
	struct container c;
	struct sbuf ignored = {0};
	if (p->dir >= 0 && proc_container(p, &c) == 0 && c.id.len)
		containers_name(ps->policy.target.containers, c.id, &ignored);
	sbuf_release(&ignored);
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static int gather(struct ps *ps, struct sbuf *err)
{
	struct probe_list *list = ps->o->list;
	int rc = policy_open(&ps->policy, list, true, err);
	if (rc < 0)
		return rc;
	policy_apply(&ps->policy, list);
	ps->headers = injection_wanted(ps->o->session.inject, list->propagation, list->targets.data, list->targets.cnt);
	if (ps->headers)
		inject_probe(&ps->inject, true);
	if (ps->policy.runtime) {
		rc = scan_each(proc_root(), want_name, ps, err);
		policy_wait(&ps->policy, NAMES_TIMEOUT_MS);
	}
	if (rc == 0)
		rc = scan_each(proc_root(), look_at, ps, err);
	if (ps->rows.cnt)
		qsort(ps->rows.data, ps->rows.cnt, sizeof(ps->rows.data[0]), by_pid);
	return rc;
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static void add_with_origin(struct sbuf *out, struct sv value, const char *from)
{
	sbuf_addsv(out, value);
	if (value.len && from)
		sbuf_addf(out, " (%s)", from);
}

static void add_ports(struct sbuf *out, const struct int_vec *ports)
{
	for (size_t i = 0; i < ports->cnt && i < MAX_PORTS_SHOWN; i++)
		sbuf_addf(out, "%s%d", i ? "," : "", ports->data[i]);
	if (ports->cnt > MAX_PORTS_SHOWN)
		sbuf_addf(out, ",+%zu", ports->cnt - MAX_PORTS_SHOWN);
}

static const char *traced_word(const struct row *r)
{
	return r->spec >= 0 ? "yes" : r->why ? "no" : "-";
}

enum column { PID, TRACED, NAME, CONTAINER, LANGUAGE, PORTS, SERVICE, ENV, VERSION, HEADERS, WHY, COLUMN_CNT };
static const struct table_column columns[COLUMN_CNT] = {
	[PID] = {"PID", 10},	     [TRACED] = {"TRACED", 6},	    [NAME] = {"NAME", 24},
	[CONTAINER] = {"IN", 24},    [LANGUAGE] = {"LANGUAGE", 24}, [PORTS] = {"PORTS", 24},
	[SERVICE] = {"SERVICE", 40}, [ENV] = {"ENV", 28},	    [VERSION] = {"VERSION", 28},
	[HEADERS] = {"HEADERS", 80}, [WHY] = {"WHY", 100},
};

static void cell(const struct ps *ps, const struct row *r, enum column column, struct sbuf *out)
{
	const struct language *l = &r->details.language;
	switch (column) {
	case PID:
		sbuf_addf(out, "%d", r->pid);
		break;
	case TRACED:
		sbuf_adds(out, traced_word(r));
		break;
	case NAME:
		sbuf_addsv(out, r->info->name);
		break;
	case CONTAINER:
		if (r->container_name.len)
			sbuf_addsv(out, r->container_name);
		else if (r->container.id.len)
			sbuf_add(out, r->container.id.data, r->container.id.len < 12 ? r->container.id.len : 12);
		else
			sbuf_addsv(out, r->container.unit);
		break;
	case LANGUAGE:
		sbuf_addf(out, "%s%s%s", runtime_title(l->runtime), l->version[0] ? " " : "",
			  l->version + (l->version[0] == 'v'));
		break;
	case PORTS:
		add_ports(out, &r->ports);
		break;
	case SERVICE:
		add_with_origin(out, r->info->service, r->details.service_from);
		break;
	case ENV:
		add_with_origin(out, r->info->env, r->details.env_from);
		break;
	case VERSION:
		add_with_origin(out, r->info->version, r->details.version_from);
		break;
	case HEADERS:
		if (r->headers)
			sbuf_addf(out, "%s%s" SV_FMT, r->headers, r->headers_why.len ? ": " : "",
				  SV_ARG(r->headers_why));
		break;
	case WHY:
		if (r->why)
			sbuf_adds(out, r->why);
		else if (r->spec >= 0)
			target_spec_describe(&ps->o->list->targets.data[r->spec], out);
		break;
	case COLUMN_CNT:
		break;
	}
}

static void table_cell(const void *arg, size_t row, unsigned column, struct sbuf *out)
{
	const struct ps *ps = arg;
	cell(ps, &ps->rows.data[row], (enum column)column, out);
}

/* --- for machines ------------------------------------------------------------------------------------------------- */

static void json_text(struct sbuf *out, const char *key, struct sv value)
{
	sbuf_addf(out, ",\"%s\":", key);
	sbuf_add_json(out, value);
}

static void json_row(const struct ps *ps, const struct row *r, struct sbuf *out)
{
	struct sbuf why = {0};
	const struct language *l = &r->details.language;
	sbuf_addf(out, "{\"pid\":%d,\"ns_pid\":%u", r->pid, r->info->ns_pid);
	json_text(out, "name", r->info->name);
	json_text(out, "exe", r->exe);
	json_text(out, "language", r->info->language);
	json_text(out, "runtime", sv_of(runtime_title(l->runtime)));
	json_text(out, "runtime_version", sv_of(l->version));
	json_text(out, "service", r->info->service);
	json_text(out, "service_from", sv_of(r->details.service_from ? r->details.service_from : ""));
	json_text(out, "env", r->info->env);
	json_text(out, "env_from", sv_of(r->details.env_from ? r->details.env_from : ""));
	json_text(out, "version", r->info->version);
	json_text(out, "version_from", sv_of(r->details.version_from ? r->details.version_from : ""));
	json_text(out, "container_id", r->container.id);
	json_text(out, "container_name", r->container_name);
	json_text(out, "container_runtime", sv_of(r->container.runtime ? r->container.runtime : ""));
	json_text(out, "pod_uid", r->container.pod);
	json_text(out, "unit", r->container.unit);
	sbuf_adds(out, ",\"ports\":[");
	for (size_t i = 0; i < r->ports.cnt; i++)
		sbuf_addf(out, "%s%d", i ? "," : "", r->ports.data[i]);
	cell(ps, r, WHY, &why);
	sbuf_addf(out, "],\"traced\":%s", r->spec >= 0 ? "true" : r->why ? "false" : "null");
	json_text(out, "why", sbuf_sv(&why));
	if (r->headers) {
		json_text(out, "headers", sv_of(r->headers));
		json_text(out, "headers_why", r->headers_why);
	}
	sbuf_addc(out, '}');
	sbuf_release(&why);
}

static void print_json(const struct ps *ps)
{
	struct sbuf out = {0};
	sbuf_adds(&out, "{\"processes\":[");
	for (size_t i = 0; i < ps->rows.cnt; i++) {
		sbuf_adds(&out, i ? ",\n" : "\n");
		json_row(ps, &ps->rows.data[i], &out);
	}
	sbuf_addf(&out, "\n],\"seen\":%zu,\"denied\":%zu,\"left_out\":%zu}\n", ps->seen, ps->denied, ps->overflow);
	fputs(sbuf_str(&out), stdout);
	sbuf_release(&out);
}

static int list_processes(struct options *o)
{
	struct ps ps = {.o = o};
	struct sbuf err = {0};
	int rc = gather(&ps, &err), status = SESSION_CLEAN;
	if (rc < 0) {
		log_error("%s", err.len ? sbuf_str(&err) : strerror(-rc));
		status = SESSION_FAILED;
	} else if (o->json) {
		print_json(&ps);
	} else if (ps.rows.cnt) {
		table_print(columns, COLUMN_CNT, ps.rows.cnt, table_cell, &ps);
	}
	for (size_t i = 0; rc >= 0 && !ps.rows.cnt && i < o->list->targets.cnt; i++) {
		sbuf_reset(&err);
		scan_explain(proc_root(), &o->list->targets.data[i], ps.denied, &err);
		log_error("%s", sbuf_str(&err));
		status = SESSION_MISTAKE;
	}
	if (ps.denied && rc >= 0)
		log_warn("%zu process%s could not be looked at closely%s", ps.denied, ps.denied == 1 ? "" : "es",
			 geteuid() ? ": run as root" : "");
	if (ps.overflow)
		log_warn("%zu processes beyond %d are not shown", ps.overflow, MAX_ROWS);
	vec_foreach (row, &ps.rows)
		row_release(row);
	vec_release(&ps.rows);
	listeners_release(&ps.listeners);
	policy_forget(o->list);
	policy_release(&ps.policy);
	sbuf_release(&err);
	return status;
}

int cmd_ps(int argc, char **argv)
{
	struct options o;
	int rc = options_parse(&o, COMMAND_ps, argc, argv), status = options_exit_status(rc);
	if (rc == 0)
		status = list_processes(&o);
	options_release(&o);
	return status;
}
