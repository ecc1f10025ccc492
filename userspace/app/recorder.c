/* SPDX-License-Identifier: Apache-2.0 */
#include "app/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

struct recorded {
	uint32_t tgid;
	struct process_info *info; /* a reference: its address is not given to another meanwhile */
	UT_hash_handle hh;
};

struct recorder {
	struct recorder_options options;
	struct capture_writer *writer;
	struct recorded *processes;
	uint32_t *functions; /* by index: the serial number of the one that was described last */
	uint32_t function_cap;
	struct sbuf text;
};

int recorder_open(struct recorder **ret, const struct recorder_options *options, struct sbuf *err)
{
	struct recorder *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->options = *options;
	int rc = capture_writer_open(&r->writer, options->path, options->unix_minus_mono_ns, err);
	if (rc < 0) {
		free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void recorder_probes(struct recorder *r, struct sv yaml)
{
	capture_write(r->writer, CAPTURE_PROBES, RECORDED_YAML, yaml.data, yaml.len);
}

void recorder_function_option(struct recorder *r, struct sv text)
{
	capture_write(r->writer, CAPTURE_PROBES, RECORDED_OPTION, text.data, text.len);
}

static bool recorder_first(struct recorder *r, const struct plan_function *f)
{
	if (f->index >= r->function_cap) {
		uint32_t cap = f->index + 1024;
		uint32_t *grown = reallocarray(r->functions, cap, sizeof(*grown));
		if (!grown)
			return false;
		memset(grown + r->function_cap, 0, (cap - r->function_cap) * sizeof(*grown));
		r->functions = grown;
		r->function_cap = cap;
	}
	bool first = r->functions[f->index] != f->serial;
	r->functions[f->index] = f->serial;
	return first;
}

static void recorder_function(struct recorder *r, uint32_t index)
{
	const struct plan_function *f = functions_plan(r->options.functions, index);
	if (!f || !recorder_first(r, f))
		return;
	sbuf_reset(&r->text);
	capture_add_text(&r->text, "name", f->name);
	capture_add_text(&r->text, "display", f->display);
	capture_add_text(&r->text, "raw", f->raw);
	capture_add_text(&r->text, "module", f->module);
	capture_add_text(&r->text, "build_id", f->build_id);
	char probe[16];
	snprintf(probe, sizeof(probe), "%u", f->probe);
	capture_add_text(&r->text, "probe", sv_of(probe));
	capture_write(r->writer, CAPTURE_FUNCTION, index, r->text.data, r->text.len);
}

static void recorder_write_process(struct recorder *r, uint32_t tgid, const struct process_info *p)
{
	char ns_pid[16];
	snprintf(ns_pid, sizeof(ns_pid), "%u", p->ns_pid);
	sbuf_reset(&r->text);
	capture_add_text(&r->text, "name", p->name);
	capture_add_text(&r->text, "service", p->service);
	capture_add_text(&r->text, "base_service", p->base_service);
	capture_add_text(&r->text, "service_source", p->service_source);
	capture_add_text(&r->text, "env", p->env);
	capture_add_text(&r->text, "version", p->version);
	capture_add_text(&r->text, "language", p->language);
	capture_add_text(&r->text, "language_version", p->language_version);
	capture_add_text(&r->text, "interpreter", p->interpreter);
	capture_add_text(&r->text, "runtime_id", p->runtime_id);
	capture_add_text(&r->text, "container_id", p->container_id);
	capture_add_text(&r->text, "hostname", p->hostname);
	capture_add_text(&r->text, "report_hostname", p->report_hostname ? SV("1") : SV("0"));
	capture_add_text(&r->text, "commit", p->commit);
	capture_add_text(&r->text, "repository", p->repository);
	capture_add_text(&r->text, "go_path", p->go_path);
	capture_add_text(&r->text, "python_package", p->python_package);
	capture_add_text(&r->text, "process_tags", p->process_tags);
	capture_add_text(&r->text, "ns_pid", sv_of(ns_pid));
	char target[16];
	snprintf(target, sizeof(target), "%u", p->target);
	capture_add_text(&r->text, "target", sv_of(target));
	for (struct sv rest = p->settings; rest.len;) {
		size_t len = strnlen(rest.data, rest.len), skip = len + (len < rest.len);
		capture_add_text(&r->text, "setting", (struct sv){rest.data, len});
		rest = (struct sv){rest.data + skip, rest.len - skip};
	}
	for (uint32_t i = 0; i < p->tag_cnt; i++) {
		capture_add_text(&r->text, "tag", p->tags[i].key);
		capture_add_text(&r->text, "is", p->tags[i].value);
	}
	capture_write(r->writer, CAPTURE_PROCESS, tgid, r->text.data, r->text.len);
}

static void recorder_process(struct recorder *r, uint32_t tgid)
{
	struct process_info *info = r->options.process(r->options.arg, tgid);
	struct recorded *p;
	HASH_FIND_INT(r->processes, &tgid, p);
	if (!info || (p && p->info == info)) {
		process_info_unref(info);
		return;
	}
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p) {
			process_info_unref(info);
			return;
		}
		p->tgid = tgid;
		HASH_ADD_INT(r->processes, tgid, p);
	}
	process_info_unref(p->info);
	p->info = info;
	recorder_write_process(r, tgid, info);
}

void recorder_record(struct recorder *r, const struct sh_ev_hdr *record)
{
	if (record->kind == SH_EV_CALL && record->size >= sizeof(struct sh_ev_call)) {
		const struct sh_ev_call *e = (const void *)record;
		recorder_function(r, e->func);
		recorder_process(r, e->tgid);
	} else if (record->kind == SH_EV_GONE && record->size >= sizeof(struct sh_ev_gone)) {
		recorder_process(r, ((const struct sh_ev_gone *)record)->tgid);
	} else if (record->kind == SH_EV_DATA && record->size >= sizeof(struct sh_ev_data)) {
		recorder_process(r, ((const struct sh_ev_data *)record)->tgid);
	} else if (record->kind == SH_EV_CONN || record->kind == SH_EV_CLOSE) {
		/* their process is told with the first bytes */
	} else if (record->size >= sizeof(struct sh_ev_proc) && record->kind != SH_EV_EXEC) {
		recorder_process(r, ((const struct sh_ev_proc *)record)->tgid);
	}
	capture_write(r->writer, CAPTURE_RECORD, 0, record, record->size);
}

void recorder_pass(struct recorder *r, uint64_t now_ns)
{
	capture_write(r->writer, CAPTURE_PASS, 0, &now_ns, sizeof(now_ns));
}

void recorder_clock(struct recorder *r, int64_t unix_minus_mono_ns)
{
	capture_write(r->writer, CAPTURE_CLOCK, 0, &unix_minus_mono_ns, sizeof(unix_minus_mono_ns));
}

int recorder_close(struct recorder *r, const struct capture_account *account, struct sbuf *err)
{
	if (!r)
		return 0;
	if (account)
		capture_write(r->writer, CAPTURE_ACCOUNT, 0, account, sizeof(*account));
	int rc = capture_writer_close(r->writer, err);
	struct recorded *p, *next;
	HASH_ITER (hh, r->processes, p, next) {
		HASH_DEL(r->processes, p);
		process_info_unref(p->info);
		free(p);
	}
	free(r->functions);
	sbuf_release(&r->text);
	free(r);
	return rc;
}
