/* SPDX-License-Identifier: Apache-2.0 */
/* The whole user half on a capture: no kernel, no root. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <uthash.h>

#include "app/cmd.h"
#include "app/environment.h"
#include "app/exporters.h"
#include "app/functions.h"
#include "app/recorder.h"
#include "app/sampling.h"
#include "app/summary.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#ifndef MAX_FUNCTIONS /* the fuzzer makes tables anew for each input */
#define MAX_FUNCTIONS (1u << 20)
#define MAX_CHUNKS    65536
#endif
#define MAX_SPANS	 4000000 /* a file is read as fast as it goes: what the exporter holds up waits */
#define QUEUE_SPANS	 2000000
#define QUEUE_HIGH	 200000 /* waiting spans at which reading pauses */
#define PARTIAL_SPANS	 300
#define FLUSH_TIMEOUT_NS (30 * NSEC_PER_SEC)
#define IDLE_NS		 (30 * NSEC_PER_SEC)
#define POOL_IDLE	 65536 /* spans */

struct replayed {
	uint32_t tgid;
	struct process_info *info;
	UT_hash_handle hh;
};

struct replay {
	struct capture_reader reader;
	struct probe_list *list;
	struct functions *functions;
	struct replayed *processes;
	struct arena arena;
	struct chunk_pool *pool;
	struct environment environment;
	struct flow *flow;
	struct sbuf span_rules; /* of DD_SPAN_SAMPLING_RULES_FILE */
	struct pipeline *pipeline;
	bool any_agent; /* a Datadog Agent gets the spans */
	struct export_queue *queue;
	struct diagnostics diagnostics;
	uint64_t now_ns, records;
	int64_t unix_minus_mono_ns;
	struct capture_account account;
	bool has_account;
};

static const struct function_info *replay_function(void *arg, uint32_t index)
{
	struct replay *r = arg;
	return functions_get(r->functions, index);
}

static struct process_info *replay_process(void *arg, uint32_t tgid)
{
	struct replay *r = arg;
	struct replayed *p;
	HASH_FIND_INT(r->processes, &tgid, p);
	return p ? process_info_ref(p->info) : NULL;
}

static void replay_mistakes(void *arg, const struct process_info *process, struct sv lines)
{
	struct replay *r = arg;
	environment_mistakes(&r->environment, process, lines);
}

static void replay_process_event(void *arg, const struct sh_ev_proc *e)
{
	(void)arg;
	(void)e;
}

static void replay_push(void *arg, struct chunk *chunk)
{
	struct replay *r = arg;
	struct export_queue_stats stats;
	const struct timespec pause = {.tv_nsec = 1000000};
	for (;;) {
		export_queue_stats(r->queue, &stats);
		if (stats.held < QUEUE_HIGH)
			break;
		nanosleep(&pause, NULL);
	}
	export_queue_push(r->queue, chunk);
}

static uint32_t text_number(struct sv text)
{
	char buf[16] = "";
	memcpy(buf, text.data ? text.data : "", text.len < sizeof(buf) ? text.len : sizeof(buf) - 1);
	return (uint32_t)strtoul(buf, NULL, 10);
}

static int add_function(struct replay *r, const struct capture_entry *e, const void *body)
{
	struct plan_function *f = arena_alloc(&r->arena, sizeof(*f));
	if (!f)
		return -ENOMEM;
	*f = (struct plan_function){
		.index = (uint32_t)e->id,
		.arena = &r->arena,
		.probe = text_number(capture_text(body, e->size, "probe")),
		.raw = arena_dup(&r->arena, capture_text(body, e->size, "raw")),
		.display = arena_dup(&r->arena, capture_text(body, e->size, "display")),
		.name = arena_dup(&r->arena, capture_text(body, e->size, "name")),
		.module = arena_dup(&r->arena, capture_text(body, e->size, "module")),
		.build_id = arena_dup(&r->arena, capture_text(body, e->size, "build_id")),
	};
	if (e->id >= MAX_FUNCTIONS || f->probe >= r->list->probes.cnt)
		return -EBADMSG;
	return functions_publish(r->functions, f);
}

/* "tag" texts alternate with "is" texts. */
static void add_tags(struct process_info *p, const struct capture_entry *e, const void *body)
{
	const char *at = body, *end = at + e->size;
	uint32_t cap = 0;
	for (const char *t = at; t + 4 < end; t++)
		cap += memcmp(t, "tag", 4) == 0;
	p->tags = arena_alloc(&p->arena, cap * sizeof(*p->tags));
	while (p->tags && p->tag_cnt < cap) {
		struct sv key = capture_text(at, (size_t)(end - at), "tag");
		if (!key.data)
			return;
		at = key.data + key.len + 1;
		struct sv value = capture_text(at, (size_t)(end - at), "is");
		p->tags[p->tag_cnt++] = (struct tag){arena_dup(&p->arena, key), arena_dup(&p->arena, value)};
	}
}

/* Those of the time of the capture; ours come first now as they did then. */
static void add_settings(struct replay *r, struct process_info *p, const struct capture_entry *e, const void *body)
{
	struct sbuf text = {0};
	const char *at = body, *end = at + e->size;
	sbuf_addsv(&text, sbuf_sv(&r->environment.requests));
	struct sv setting;
	while ((setting = capture_text(at, (size_t)(end - at), "setting")).data) {
		sbuf_addsv(&text, setting);
		sbuf_addc(&text, '\0');
		at = setting.data + setting.len + 1;
	}
	p->settings = arena_dup(&p->arena, sbuf_sv(&text));
	sbuf_release(&text);
}

/* The file's list is the one that the numbers of targets refer to, unless they came from the command line. */
static void add_routes(struct replay *r, struct process_info *p)
{
	if (p->target && p->target <= r->list->targets.cnt)
		p->routes[0] = &r->list->targets.data[p->target - 1].routes;
	p->routes[1] = &r->list->routes;
	routes_hold(p->routes[0]);
}

static int add_process(struct replay *r, const struct capture_entry *e, const void *body)
{
	uint32_t tgid = (uint32_t)e->id;
	struct process_info *info = process_info_new();
	struct replayed *p;
	if (!info)
		return -ENOMEM;
	struct arena *a = &info->arena;
	info->pid = tgid;
	info->ns_pid = text_number(capture_text(body, e->size, "ns_pid"));
	info->name = arena_dup(a, capture_text(body, e->size, "name"));
	info->service = arena_dup(a, capture_text(body, e->size, "service"));
	info->base_service = arena_dup(a, capture_text(body, e->size, "base_service"));
	info->service_source = arena_dup(a, capture_text(body, e->size, "service_source"));
	info->env = arena_dup(a, capture_text(body, e->size, "env"));
	info->version = arena_dup(a, capture_text(body, e->size, "version"));
	info->language = arena_dup(a, capture_text(body, e->size, "language"));
	info->language_version = arena_dup(a, capture_text(body, e->size, "language_version"));
	info->interpreter = arena_dup(a, capture_text(body, e->size, "interpreter"));
	info->runtime_id = arena_dup(a, capture_text(body, e->size, "runtime_id"));
	info->container_id = arena_dup(a, capture_text(body, e->size, "container_id"));
	info->hostname = arena_dup(a, capture_text(body, e->size, "hostname"));
	info->report_hostname = text_number(capture_text(body, e->size, "report_hostname")) == 1;
	info->commit = arena_dup(a, capture_text(body, e->size, "commit"));
	info->repository = arena_dup(a, capture_text(body, e->size, "repository"));
	info->go_path = arena_dup(a, capture_text(body, e->size, "go_path"));
	info->python_package = arena_dup(a, capture_text(body, e->size, "python_package"));
	info->process_tags = arena_dup(a, capture_text(body, e->size, "process_tags"));
	info->target = text_number(capture_text(body, e->size, "target"));
	add_settings(r, info, e, body);
	add_routes(r, info);
	add_tags(info, e, body);
	HASH_FIND_INT(r->processes, &tgid, p);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p) {
			process_info_unref(info);
			return -ENOMEM;
		}
		p->tgid = tgid;
		HASH_ADD_INT(r->processes, tgid, p);
	}
	process_info_unref(p->info);
	p->info = info;
	if (r->flow)
		flow_refresh(r->flow);
	return 0;
}

static int add_probes(struct replay *r, const struct capture_entry *e, const void *body)
{
	struct sbuf err = {0};
	const char *text = body;
	size_t len = strnlen(text, e->size);
	int rc = 0;
	if (e->id == RECORDED_YAML && len) {
		probe_list_free(r->list);
		r->list = NULL;
		rc = probe_list_parse(&r->list, "the capture's probe list", text, len, &r->diagnostics);
	} else if (e->id == RECORDED_OPTION && r->list) {
		char *copy = strndup(text, len);
		rc = copy ? probe_list_add_function(r->list, copy, &err) : -ENOMEM;
		free(copy);
	}
	sbuf_release(&err);
	return rc < 0 ? -EBADMSG : 0;
}

static int replay_open_flow(struct replay *r)
{
	struct flow_options flow = {
		.assembly = {.max_chunks = MAX_CHUNKS,
			     .max_spans = MAX_SPANS,
			     .partial_min_spans = PARTIAL_SPANS,
			     .max_idle_ns = IDLE_NS,
			     .sink = pipeline_chunk,
			     .sink_arg = r->pipeline,
			     .pool = r->pool},
		.actors = {.process = replay_process,
			   .process_event = replay_process_event,
			   .mistakes = replay_mistakes,
			   .arg = r},
		.function = replay_function,
		.function_arg = r,
		.max_functions = MAX_FUNCTIONS,
		.head_max = http1_head_max(r->list->capture.head),
	};
	r->functions = functions_new(r->list, MAX_FUNCTIONS);
	r->flow = r->functions ? flow_new(&flow) : NULL;
	if (!r->flow)
		return -ENOMEM;
	pipeline_set_span_rules(r->pipeline, &r->list->span_rules);
	flow_set_clock(r->flow, r->reader.header.unix_minus_mono_ns);
	r->unix_minus_mono_ns = r->reader.header.unix_minus_mono_ns;
	return 0;
}

static int replay_record(struct replay *r, const struct capture_entry *e, const void *body)
{
	const struct sh_ev_hdr *h = body;
	if (e->size < sizeof(*h) || h->size > e->size || h->size < sizeof(*h))
		return -EBADMSG;
	r->records += h->kind == SH_EV_CALL || (h->kind == SH_EV_DATA && h->flags & SH_DATA_REQUEST);
	/* Until the first pass says what time it is; else that pass would take every open trace for idle since boot. */
	if (!r->now_ns && h->kind == SH_EV_CALL && h->size >= sizeof(struct sh_ev_call))
		r->now_ns = ((const struct sh_ev_call *)h)->end_ns;
	else if (!r->now_ns && h->kind == SH_EV_DATA && h->size >= sizeof(struct sh_ev_data))
		r->now_ns = ((const struct sh_ev_data *)h)->time_ns;
	flow_record(r->flow, h, r->now_ns);
	return 0;
}

static int replay_entry(struct replay *r, const struct capture_entry *e, const void *body)
{
	if (e->kind == CAPTURE_PROBES)
		return r->flow ? -EBADMSG : add_probes(r, e, body);
	int rc = r->flow ? 0 : replay_open_flow(r);
	if (rc < 0)
		return rc;
	switch (e->kind) {
	case CAPTURE_FUNCTION:
		return add_function(r, e, body);
	case CAPTURE_PROCESS:
		return add_process(r, e, body);
	case CAPTURE_RECORD:
		return replay_record(r, e, body);
	case CAPTURE_PASS:
		if (e->size >= 8)
			memcpy(&r->now_ns, body, 8);
		pipeline_pass(r->pipeline, r->now_ns, r->unix_minus_mono_ns);
		flow_pass(r->flow, r->now_ns);
		return 0;
	case CAPTURE_CLOCK: {
		int64_t offset = 0;
		memcpy(&offset, body, e->size >= 8 ? 8 : 0);
		flow_set_clock(r->flow, offset);
		r->unix_minus_mono_ns = offset;
		return 0;
	}
	case CAPTURE_ACCOUNT:
		if (e->size >= sizeof(r->account))
			memcpy(&r->account, body, sizeof(r->account));
		r->has_account = e->size >= sizeof(r->account);
		return 0;
	}
	return 0; /* of a later minor format */
}

static int replay_all(struct replay *r, const char *path)
{
	struct capture_entry e;
	const void *body;
	int rc;
	while ((rc = capture_next(&r->reader, &e, &body)) > 0) {
		rc = replay_entry(r, &e, body);
		if (rc < 0)
			break;
	}
	if (rc == -EBADMSG)
		log_error("%s is damaged at byte %zu; what was read before is kept", path, r->reader.at);
	else if (rc < 0)
		log_error("%s: %s", path, strerror(-rc));
	else if (!r->has_account)
		log_warn("%s ends early: spanhound was killed while it wrote it", path);
	return rc;
}

/* Where every call of the capture went: what the kernel half dropped when it was made, and what we drop now. */
static void replay_account(struct replay *r, struct session_account *ret)
{
	struct export_queue_stats queue;
	struct pipeline_stats pipeline;
	uint64_t own = 0;
	export_queue_stats(r->queue, &queue);
	*ret = (struct session_account){.seen = r->has_account ? r->account.seen : r->records,
					.exported = queue.exported};
	for (unsigned i = 0; i < SH_KERNEL_DROPS; i++)
		ret->dropped[i] = r->account.dropped[i];
	if (r->flow)
		flow_account(r->flow, &own, ret->dropped);
	ret->seen += own;
	pipeline_stats(r->pipeline, &pipeline);
	ret->dropped[SH_DROP_span_rule] = pipeline.ruled_out;
	ret->dropped[SH_DROP_queue_full] = queue.queue_full;
	ret->dropped[SH_DROP_export_failed] = queue.export_failed;
	ret->dropped[SH_DROP_agent_backpressure] = queue.backpressure;
	uint64_t sum = ret->exported;
	for (unsigned i = 0; i < SH_MAX_DROPS; i++)
		sum += ret->dropped[i];
	ret->unaccounted = (int64_t)(ret->seen - sum);
}

static int replay_finish(struct replay *r, const char *summary, uint64_t start_ns)
{
	struct session_account a;
	struct sbuf text = {0};
	if (r->flow)
		flow_flush(r->flow, r->now_ns);
	export_queue_stop(r->queue, FLUSH_TIMEOUT_NS);
	double seconds = (double)(clock_mono_ns() - start_ns) / NSEC_PER_SEC;
	replay_account(r, &a);
	log_info("replayed %" PRIu64 " calls in %.3f s (%.0f a second): exported %" PRIu64, r->records, seconds,
		 seconds > 0 ? (double)r->records / seconds : 0, a.exported);
	int rc = 0;
	if (summary) {
		sbuf_addc(&text, '{');
		summary_json_account(&a, &text);
		sbuf_adds(&text, "}\n");
		rc = summary_write(&text, summary);
	}
	sbuf_release(&text);
	if (rc < 0)
		return SESSION_FAILED;
	/* A capture that ends early has no account to add up: what it holds must be there. */
	bool whole = r->has_account ? !a.unaccounted : r->records <= a.exported + a.dropped[SH_DROP_span_rule];
	return whole && !a.dropped[SH_DROP_export_failed] && !a.dropped[SH_DROP_agent_backpressure] ? SESSION_CLEAN
												    : SESSION_LOSSY;
}

static void replay_release(struct replay *r)
{
	struct replayed *p, *next;
	flow_free(r->flow);
	environment_release(&r->environment);
	if (r->queue)
		export_queue_free(r->queue);
	pipeline_free(r->pipeline);
	sbuf_release(&r->span_rules);
	chunk_pool_free(r->pool);
	functions_free(r->functions);
	HASH_ITER (hh, r->processes, p, next) {
		HASH_DEL(r->processes, p);
		process_info_unref(p->info);
		free(p);
	}
	probe_list_free(r->list);
	diagnostics_release(&r->diagnostics);
	arena_release(&r->arena);
}

static void replay_notice(void *arg, const char *line)
{
	(void)arg;
	log_warn("%s", line);
}

static int replay_open_queue(struct replay *r, const struct options *o, struct sbuf *err)
{
	struct export_sink sinks[EXPORTERS_MAX];
	unsigned cnt = 0;
	struct export_queue_options options = {.max_spans = QUEUE_SPANS, .pool = r->pool, .notice = replay_notice};
	int rc = exporters_open(&o->session.exports, sinks, &cnt, err);
	r->any_agent = rc == 0 && exporters_have_agent(sinks, cnt);
	return rc < 0 ? rc : export_queue_start(&r->queue, sinks, cnt, &options, err);
}

/* Sampled as it would be live, but counted by the Agent: what is replayed is long past, and nothing is left out. */
static int replay_open_pipeline(struct replay *r, struct sbuf *err)
{
	struct pipeline_options options = {.pool = r->pool, .normalize = r->any_agent, .push = replay_push, .arg = r};
	return sampling_pipeline(&r->pipeline, &options, &r->span_rules, err);
}

static int replay_file(const struct options *o, const char *path)
{
	struct replay r = {.pool = chunk_pool_new(POOL_IDLE), .list = probe_list_new()};
	struct sbuf err = {0};
	int read = environment_read(&r.environment, &err);
	struct stat st;
	__cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *data = MAP_FAILED;
	int status = SESSION_MISTAKE;

	if (fd < 0 || fstat(fd, &st) < 0)
		log_error("cannot read %s: %s", path, strerror(errno));
	else if (!r.pool || !r.list || read == -ENOMEM)
		log_error("out of memory");
	else if (read < 0)
		log_error("%s", sbuf_str(&err));
	else if (st.st_size > 0 && (data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
		log_error("cannot read %s: %s", path, strerror(errno));
	else if (capture_reader_init(&r.reader, data, data == MAP_FAILED ? 0 : (size_t)st.st_size, &err) < 0)
		log_error("%s %s", path, sbuf_str(&err));
	else if (replay_open_queue(&r, o, &err) < 0 || replay_open_pipeline(&r, &err) < 0)
		log_error("%s", sbuf_str(&err));
	else {
		uint64_t start = clock_mono_ns();
		int rc = replay_all(&r, path);
		status = replay_finish(&r, o->summary, start);
		if (rc < 0)
			status = SESSION_FAILED;
	}
	replay_release(&r);
	if (data != MAP_FAILED)
		munmap(data, (size_t)st.st_size);
	sbuf_release(&err);
	return status;
}

int cmd_replay(int argc, char **argv)
{
	struct options o;
	int rc = options_parse(&o, COMMAND_replay, argc, argv), status = options_exit_status(rc);
	if (rc == 0 && o.rest_cnt != 1) {
		log_error("replay which file? spanhound replay FILE [--export WHERE]");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		status = replay_file(&o, o.rest[0]);
	}
	options_release(&o);
	return status;
}
