/* SPDX-License-Identifier: Apache-2.0 */
#include "app/contexts.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "app/session_private.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "target/procparse.h"

#define MAX_THREADS SH_MAX_THREADS
#define MAX_COMM    16 /* TASK_COMM_LEN */

/* One thread, or goroutine. */
struct row {
	uint32_t tid;			   /* 0: a goroutine */
	const struct context_now *now;	   /* one of view.now */
	struct flow_question *work, *call; /* NULL: it is in none */
};

struct view {
	struct session *session;
	uint32_t tgid;
	VEC(uint32_t) tids;
	struct context_now *now; /* of the threads, then of the goroutines */
	VEC(struct row) rows;
	VEC(struct flow_question) questions;
};

static void view_release(struct view *v)
{
	vec_release(&v->tids);
	vec_release(&v->rows);
	vec_release(&v->questions);
	freep(&v->now);
}

/* --- whom ---------------------------------------------------------------------------------------------------------- */

/* The process that this thread is of; 0: there is neither. */
static int process_of(uint32_t tid)
{
	char path[256], text[4096];
	struct proc_status status;
	snprintf(path, sizeof(path), "%s/%u/status", proc_root(), tid);
	__cleanup(fclosep) FILE *f = fopen(path, "re");
	size_t len = f ? fread(text, 1, sizeof(text), f) : 0;
	return proc_status_parse((struct sv){text, len}, &status) == 0 ? status.tgid : 0;
}

static void explain_untraced(const struct session *s, uint32_t pid, struct sbuf *out)
{
	int tgid = process_of(pid);
	if (!tgid)
		sbuf_addf(out, "there is no process %u", pid);
	else if ((uint32_t)tgid != pid)
		sbuf_addf(out, "%u is a thread of process %d: ask for --pid %d", pid, tgid, tgid);
	else
		sbuf_addf(
			out,
			"process %u is not traced by this spanhound (process %d); `spanhound ps%s%s --pid %u` says why not",
			pid, (int)getpid(), s->options.config ? " -c " : "", s->options.config ? s->options.config : "",
			pid);
}

static int view_threads(struct view *v)
{
	char path[256];
	struct dirent *e;
	uint64_t tid;
	int rc = 0;
	snprintf(path, sizeof(path), "%s/%u/task", proc_root(), v->tgid);
	DIR *d = opendir(path);
	if (!d)
		return -ESRCH;
	while (rc == 0 && v->tids.cnt < MAX_THREADS && (e = readdir(d)))
		if (units_unsigned(sv_of(e->d_name), &tid))
			rc = vec_push(&v->tids, (uint32_t)tid);
	closedir(d);
	return rc < 0 ? rc : v->tids.cnt ? 0 : -ESRCH;
}

/* --- what ---------------------------------------------------------------------------------------------------------- */

/* 0, -ESRCH or -ENOMEM. */
static int view_read(struct view *v)
{
	struct context_maps maps;
	int rc = view_threads(v);
	if (rc < 0)
		return rc;
	size_t threads = v->tids.cnt;
	v->now = calloc(threads + SH_MAX_TASKS, sizeof(*v->now));
	if (!v->now)
		return -ENOMEM;
	kernel_context_maps(v->session->kernel, &maps);
	rc = contexts_of_threads(&maps, v->tgid, v->tids.data, threads, v->now);
	int goroutines = rc < 0 ? 0 : contexts_of_goroutines(&maps, v->tgid, v->now + threads, SH_MAX_TASKS);
	for (size_t i = 0; i < threads + (goroutines > 0 ? (size_t)goroutines : 0) && rc == 0; i++)
		rc = vec_push(&v->rows, ((struct row){.tid = i < threads ? v->tids.data[i] : 0, .now = &v->now[i]}));
	return rc;
}

/* Asks what the consumer knows of all spans; `user` is where the answer goes. */
static int view_ask(struct view *v)
{
	int rc = 0;
	vec_foreach (r, &v->rows) {
		if (r->now->work.span_id && rc == 0)
			rc = vec_push(&v->questions,
				      ((struct flow_question){.span = r->now->work,
							      .user = &r->work,
							      .expected = !r->now->answered && !r->now->goroutine}));
		if (r->now->call.span_id && rc == 0)
			rc = vec_push(&v->questions, ((struct flow_question){.span = r->now->call, .user = &r->call}));
	}
	if (rc == 0 && v->questions.cnt)
		rc = inquiry_make(v->session, v->questions.data, v->questions.cnt);
	if (rc == 0)
		vec_foreach (q, &v->questions)
			*(struct flow_question **)q->user = q;
	return rc;
}

/* What was worked for is over: its thread has only done nothing else since. */
static bool row_over(const struct row *r)
{
	return r->work && !r->call && !r->work->request && (r->now->answered || r->now->goroutine);
}

/* --- said ---------------------------------------------------------------------------------------------------------- */

static void add_name(const struct view *v, uint32_t tid, struct sbuf *out)
{
	char path[256], name[MAX_COMM + 1];
	snprintf(path, sizeof(path), "%s/%u/task/%u/comm", proc_root(), v->tgid, tid);
	__cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, name, sizeof(name));
	if (n > 0 && name[n - 1] == '\n')
		n--;
	sbuf_addf(out, "\"tid\":%u,\"name\":", tid);
	sbuf_add_json(out, (struct sv){name, n > 0 ? (size_t)n : 0});
}

static void add_function(const struct view *v, uint32_t func, struct sbuf *out)
{
	const struct function_info *info = functions_get(v->session->functions, func);
	const struct plan_function *f = functions_plan(v->session->functions, func);
	sbuf_adds(out, ",\"function\":");
	sbuf_add_json(out, info && info->resource.len ? info->resource : f ? f->display : SV("?"));
}

static void add_request(const struct row *r, uint64_t unix_minus_mono_ns, struct sbuf *out)
{
	const struct flow_question *q = r->work;
	sbuf_adds(out, ",\"request\":{\"method\":");
	sbuf_add_json(out, sv_of(q->method));
	sbuf_adds(out, ",\"path\":");
	sbuf_add_json(out, sv_of(q->path));
	sbuf_addf(out, ",\"start\":%" PRIu64 ",\"answered\":%s}", q->start_ns + unix_minus_mono_ns,
		  r->now->answered ? "true" : "false");
}

static void add_context(const struct view *v, const struct row *r, struct sbuf *out)
{
	const struct flow_question *q = r->call ? r->call : r->work;
	uint64_t now = clock_mono_ns(), unix_minus_mono_ns = (uint64_t)clock_mono_to_unix_ns();
	uint64_t start = r->call ? r->now->call_ns : q->request ? q->start_ns : 0;
	sbuf_addf(out,
		  ",\"trace_id\":\"%016" PRIx64 "%016" PRIx64 "\",\"span_id\":\"%016" PRIx64
		  "\",\"dd_trace_id\":\"%" PRIu64 "\",\"dd_span_id\":\"%" PRIu64 "\",\"settled\":%s",
		  (uint64_t)q->span.trace_hi, (uint64_t)q->span.trace_lo, (uint64_t)q->span.span_id,
		  (uint64_t)q->span.trace_lo, (uint64_t)q->span.span_id, q->settled ? "true" : "false");
	if (r->call)
		add_function(v, r->now->func, out);
	sbuf_addf(out, ",\"start\":%" PRIu64 ",\"elapsed\":%" PRIu64, start ? start + unix_minus_mono_ns : 0,
		  start && now > start ? now - start : 0);
	if (r->work && r->work->request)
		add_request(r, unix_minus_mono_ns, out);
}

static void view_print(const struct view *v, const struct process_info *info, struct sbuf *out)
{
	bool first = true;
	sbuf_addf(out, "{\"pid\":%u,\"name\":", v->tgid);
	sbuf_add_json(out, info ? info->name : SV(""));
	sbuf_adds(out, ",\"service\":");
	sbuf_add_json(out, info ? info->service : SV(""));
	sbuf_adds(out, ",\"contexts\":[");
	vec_foreach (r, &v->rows) {
		bool over = row_over(r);
		if (over && !r->tid)
			continue;
		sbuf_adds(out, first ? "\n{" : ",\n{");
		first = false;
		if (r->tid)
			add_name(v, r->tid, out);
		else
			sbuf_addf(out, "\"goroutine\":%" PRIu64, r->now->goroutine);
		if (!over && (r->call || r->work))
			add_context(v, r, out);
		sbuf_addc(out, '}');
	}
	sbuf_adds(out, "\n]}\n");
}

bool contexts_answer(struct session *s, struct sv words, struct sbuf *out)
{
	struct sv verb = SV("context ");
	uint64_t pid = 0;
	if (!sv_starts(words, verb) ||
	    !units_unsigned((struct sv){words.data + verb.len, words.len - verb.len}, &pid) || !pid ||
	    pid > INT32_MAX) {
		sbuf_adds(out, "context of which process? context PID");
		return false;
	}
	const struct process *p = processes_find(s->processes, (uint32_t)pid);
	if (!p || p->ended) {
		explain_untraced(s, (uint32_t)pid, out);
		return false;
	}
	struct view v = {.session = s, .tgid = (uint32_t)pid};
	int rc = view_read(&v);
	if (rc == 0)
		rc = view_ask(&v);
	if (rc == 0)
		view_print(&v, p->info, out);
	else if (rc == -ESRCH)
		sbuf_addf(out, "process %u has just ended", v.tgid);
	else if (rc == -ETIMEDOUT)
		sbuf_adds(out, "spanhound is too busy to answer: its reader of the kernel's records makes no progress");
	else
		sbuf_adds(out, strerror(-rc));
	view_release(&v);
	return rc == 0;
}
