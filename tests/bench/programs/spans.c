/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user half alone, on one thread: records as they lie in a ring become finished spans, chunks, and the bytes of a
 * v0.4 payload. Prints spans, payload bytes and the nanoseconds of CPU time that took.
 *
 *   spans plain|values SPANS_PER_TRACE SECONDS
 *
 * values: every call carries two integers and a string of 16 bytes, each a tag.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/functions.h"
#include "base/clock.h"
#include "export/payload.h"
#include "flow/flow.h"
#include "trace/propagation/propagation.h"

#define FUNCTIONS     64
#define PASS_SPANS    2000 /* between two passes over the rings: 2 ms (PASS_NS of kernel/ring.c) at 1,000,000 a second */
#define PAYLOAD_BYTES (4 << 20) /* then a new one is begun, as the exporter does */
#define TGID	      4242

static const char probes[] = "probes:\n"
			     "  - function: plain\n"
			     "  - function: values\n"
			     "    args:\n"
			     "      amount: {at: 1, type: i64}\n"
			     "      count: {at: 2, type: i64}\n"
			     "      currency: {at: 3, type: string}\n";

struct bench {
	struct functions *functions;
	struct process_info *process;
	struct chunk_pool *pool;
	struct tags tags;
	struct payload *payload;
	uint64_t spans, bytes;
};

static const struct function_info *bench_function(void *arg, uint32_t index)
{
	struct bench *b = arg;
	return functions_get(b->functions, index);
}

static struct process_info *bench_process(void *arg, uint32_t tgid)
{
	struct bench *b = arg;
	(void)tgid;
	return process_info_ref(b->process);
}

static void bench_process_event(void *arg, const struct sh_ev_proc *e)
{
	(void)arg;
	(void)e;
}

static void payload_end(struct bench *b)
{
	b->bytes += payload_wire_sz(b->payload);
	while (b->payload->chunks.cnt)
		payload_pop(b->payload);
}

static void bench_sink(void *arg, struct chunk *chunk)
{
	struct bench *b = arg;
	b->spans += chunk->span_cnt;
	if (payload_add(b->payload, &b->tags, chunk, 0) < 0)
		abort();
	if (payload_sz(b->payload) > PAYLOAD_BYTES)
		payload_end(b);
	chunk_pool_put(b->pool, chunk);
}

static struct sh_capture *put_capture(struct sh_capture *at, uint8_t index, uint8_t type, const void *data,
				      uint32_t len)
{
	*at = (struct sh_capture){.index = index, .type = type, .len = (int32_t)len};
	memcpy(at + 1, data, len);
	return (struct sh_capture *)((char *)(at + 1) + ((len + 7) & ~7u));
}

/* A root and its children, in the order in which they end. Returns the bytes written. */
static size_t put_trace(char *at, uint64_t trace, unsigned spans, bool values)
{
	char *start = at;
	for (unsigned i = 0; i < spans; i++) {
		bool root = i == spans - 1;
		struct sh_ev_call *e = (struct sh_ev_call *)at;
		*e = (struct sh_ev_call){
			.hdr = {.kind = SH_EV_CALL, .flags = SH_CALL_RET | (root ? SH_CALL_ROOT : 0)},
			.func = (uint32_t)((trace + i) % FUNCTIONS),
			.depth = !root,
			.tgid = TGID,
			.tid = TGID + (uint32_t)(trace % 4),
			.trace_hi = 1700000000ULL << 32,
			.trace_lo = (trace + 1) * 0x9e3779b97f4a7c15ULL,
			.span_id = (trace * spans + i + 1) * 0xbf58476d1ce4e5b9ULL,
			.parent_id = root ? 0 : (trace * spans + spans) * 0xbf58476d1ce4e5b9ULL,
			.start_ns = 1000000000 + trace * 10000 + i * 100,
			.end_ns = 1000000000 + trace * 10000 + i * 100 + 750,
			.ret = i,
		};
		struct sh_capture *c = (struct sh_capture *)(e + 1);
		if (values) {
			int64_t amount = (int64_t)(trace % 100000), count = i;
			c = put_capture(c, 0, SH_I64, &amount, sizeof(amount));
			c = put_capture(c, 1, SH_I64, &count, sizeof(count));
			c = put_capture(c, 2, SH_STRING, "0123456789abcdef", 16);
		}
		e->hdr.size = (uint32_t)((char *)c - at);
		at = (char *)c;
	}
	return (size_t)(at - start);
}

static void name_thread(struct flow *flow, uint32_t tid)
{
	struct sh_ev_proc e = {
		.hdr = {.size = sizeof(e), .kind = SH_EV_THREAD}, .tgid = TGID, .tid = tid, .comm = "worker"};
	flow_record(flow, &e.hdr, 1);
}

static void publish_functions(struct bench *b, bool values)
{
	static struct plan_function plans[FUNCTIONS];
	static struct arena arena;
	static char names[FUNCTIONS][24];
	for (uint32_t i = 0; i < FUNCTIONS; i++) {
		snprintf(names[i], sizeof(names[i]), "handle_request_%u", i);
		plans[i] = (struct plan_function){
			.index = i,
			.arena = &arena,
			.probe = values,
			.raw = sv_of(names[i]),
			.display = sv_of(names[i]),
			.name = sv_of(names[i]),
			.module = SV("/usr/local/bin/checkout"),
			.build_id = SV("8f3b2a1c4d5e6f708192a3b4c5d6e7f801234567"),
		};
		if (functions_publish(b->functions, &plans[i]) < 0)
			abort();
	}
}

static void bench_init(struct bench *b, const struct probe_list *list, bool values)
{
	b->functions = functions_new(list, FUNCTIONS);
	b->process = process_info_new();
	b->pool = chunk_pool_new(1 << 20);
	if (!b->functions || !b->process || !b->pool)
		abort();
	b->process->pid = b->process->ns_pid = TGID;
	b->process->name = b->process->service = SV("checkout");
	b->process->env = SV("prod");
	b->process->version = SV("1.4.2");
	b->process->language = SV("cpp");
	b->process->runtime_id = SV("0f2b6f6e-6b0a-4a54-9a59-3f1f9a7c2d11");
	b->process->hostname = SV("node-17");
	b->payload = payload_new(b->process, false, PAYLOAD_V04);
	if (!b->payload)
		abort();
	publish_functions(b, values);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void run_batch(struct flow *flow, const char *records, size_t len, uint64_t now)
{
	for (size_t at = 0; at < len;) {
		const struct sh_ev_hdr *h = (const struct sh_ev_hdr *)(records + at);
		flow_record(flow, h, now);
		at += h->size;
	}
	flow_pass(flow, now);
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	struct diagnostics d = {0};
	struct probe_list *list;
	if (argc != 4 || probe_list_parse(&list, "bench", probes, sizeof(probes) - 1, &d) < 0)
		return 2;
	bool values = !strcmp(argv[1], "values");
	unsigned spans = (unsigned)atoi(argv[2]), traces = PASS_SPANS / spans;
	double seconds = atof(argv[3]);

	bench_init(&b, list, values);
	struct flow_options options = {
		.assembly = {.max_chunks = 2 * PASS_SPANS,
			     .max_spans = 1000000,
			     .partial_min_spans = 300,
			     .max_idle_ns = UINT64_MAX,
			     .sink = bench_sink,
			     .sink_arg = &b,
			     .pool = b.pool},
		.actors = {.process = bench_process, .process_event = bench_process_event, .arg = &b},
		.function = bench_function,
		.function_arg = &b,
		.max_functions = FUNCTIONS,
	};
	struct flow *flow = flow_new(&options);
	char *records = malloc((size_t)PASS_SPANS * 256);
	size_t len = 0;
	if (!flow || !records)
		return 1;
	for (unsigned i = 0; i < 4; i++)
		name_thread(flow, TGID + i);
	for (uint64_t i = 0; i < traces; i++)
		len += put_trace(records + len, i, spans, values);
	for (uint64_t now = 1; now < 100; now++)
		run_batch(flow, records, len, now);
	payload_end(&b);
	b.spans = b.bytes = 0;
	uint64_t start = cpu_ns(), end = start + (uint64_t)(seconds * 1e9), now = 100;
	while (cpu_ns() < end)
		run_batch(flow, records, len, now++);
	uint64_t took = cpu_ns() - start;
	payload_end(&b);
	printf("%llu %llu %llu\n", (unsigned long long)b.spans, (unsigned long long)b.bytes, (unsigned long long)took);
	return 0;
}
