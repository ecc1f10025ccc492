/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user half alone, on one thread: records of requests and responses on keepalive connections, as they lie in a
 * ring, become finished spans in chunks. Prints exchanges, nanoseconds of CPU time, and what was allocated meanwhile
 * (bytes in use at the end, more than at the start).
 *
 *   exchanges server|joined CONNECTIONS SECONDS
 *   exchanges idle CONNECTIONS: opened at 20,000 a second, each asked once and silent since; prints the resident KiB
 * they cost
 *
 * server: read and answered by one process. joined: asked by another one that is traced, too.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "flow/flow.h"

#define PASS_EXCHANGES \
	200 /* between two passes over the rings: 2 ms (PASS_NS of kernel/ring.c) at 100,000 a second \
			    */
#define TGID 4242

static const char request[] = "GET /api/users/12345?page=2 HTTP/1.1\r\nHost: shop.example:8080\r\n"
			      "User-Agent: wrk/4.1\r\nAccept: */*\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 12\r\n"
			       "Connection: keep-alive\r\n\r\nhello world\n";

struct bench {
	struct flow *flow;
	struct process_info *process;
	struct chunk_pool *pool;
	uint64_t spans, now_ns, next;
	struct end {
		uint64_t id;
		uint32_t number, seq[2];
	} * servers, *clients;
};

static void sink(void *arg, struct chunk *chunk)
{
	struct bench *b = arg;
	b->spans += chunk->span_cnt;
	chunk_pool_put(b->pool, chunk);
}

static struct process_info *process(void *arg, uint32_t tgid)
{
	struct bench *b = arg;
	(void)tgid;
	return process_info_ref(b->process);
}

static void process_event(void *arg, const struct sh_ev_proc *e)
{
	(void)arg;
	(void)e;
}

static const struct function_info *no_function(void *arg, uint32_t index)
{
	(void)arg;
	(void)index;
	return NULL;
}

static void bench_init(struct bench *b)
{
	b->process = process_info_new();
	b->pool = chunk_pool_new(1 << 20);
	b->now_ns = NSEC_PER_SEC;
	b->process->service = SV("shop");
	struct flow_options options = {
		.assembly = {.max_chunks = 16384,
			     .max_spans = 200000,
			     .partial_min_spans = 300,
			     .max_idle_ns = 30 * NSEC_PER_SEC,
			     .sink = sink,
			     .sink_arg = b,
			     .pool = b->pool},
		.actors = {.process = process, .process_event = process_event, .arg = b},
		.function = no_function,
		.max_functions = 1,
	};
	b->flow = flow_new(&options);
	if (!b->flow)
		abort();
}

static void tell(struct bench *b, const struct end *e, unsigned i, bool server)
{
	struct sh_ev_conn c = {.hdr = {.size = sizeof(c), .kind = SH_EV_CONN},
			       .conn = e->id,
			       .time_ns = b->now_ns,
			       .tgid = TGID + !server,
			       .tid = TGID,
			       .family = 2,
			       .local = {127, 0, 0, 1},
			       .remote = {127, 0, 0, 1},
			       .local_port = (uint16_t)(server ? 80 : i),
			       .remote_port = (uint16_t)(server ? i : 80)};
	c.local[1] = c.remote[1] = (uint8_t)(i >> 16);
	flow_record(b->flow, &c.hdr, b->now_ns);
}

static void move(struct bench *b, struct end *e, uint32_t tgid, bool write, const char *bytes, uint32_t len, bool asks)
{
	static union {
		struct sh_ev_data e;
		char room[512];
	} r;
	r.e = (struct sh_ev_data){.hdr = {.size = (uint32_t)((sizeof(r.e) + len + 7) & ~7u),
					  .kind = SH_EV_DATA,
					  .flags = SH_DATA_START | (write ? SH_DATA_WRITE : 0) |
						   (asks ? SH_DATA_REQUEST | SH_DATA_ROOT : 0)},
				  .conn = e->id,
				  .time_ns = b->now_ns,
				  .tgid = tgid,
				  .tid = tgid,
				  .len = len,
				  .copied = len,
				  .seq = e->seq[write],
				  .number = ++e->number};
	if (asks) {
		r.e.self.trace_hi = 1700000000ULL << 32;
		r.e.self.trace_lo = ++b->next * 0x9e3779b97f4a7c15ULL;
		r.e.self.span_id = b->next * 0xbf58476d1ce4e5b9ULL;
	}
	memcpy(&r.e + 1, bytes, len);
	e->seq[write] += len;
	b->now_ns += 1000;
	flow_record(b->flow, &r.e.hdr, b->now_ns);
}

static void exchange(struct bench *b, unsigned i, bool joined)
{
	if (joined)
		move(b, &b->clients[i], TGID + 1, true, request, sizeof(request) - 1, true);
	move(b, &b->servers[i], TGID, false, request, sizeof(request) - 1, true);
	move(b, &b->servers[i], TGID, true, response, sizeof(response) - 1, false);
	if (joined)
		move(b, &b->clients[i], TGID + 1, false, response, sizeof(response) - 1, false);
}

static uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static long resident_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		abort();
	fclose(f);
	return pages * 4;
}

static unsigned rounds(struct bench *b, unsigned conns, bool joined, unsigned cnt)
{
	static unsigned at;
	for (unsigned i = 0; i < cnt; i++) {
		exchange(b, at++ % conns, joined);
		if (i % PASS_EXCHANGES == PASS_EXCHANGES - 1)
			flow_pass(b->flow, b->now_ns);
	}
	return cnt;
}

static void open_all(struct bench *b, unsigned conns, bool joined)
{
	for (unsigned i = 0; i < conns; i++) {
		b->servers[i].id = 2 * i + 1;
		b->clients[i].id = 2 * i + 2;
		tell(b, &b->servers[i], i, true);
		if (joined)
			tell(b, &b->clients[i], i, false);
		exchange(b, i, joined);
		b->now_ns += 48 * NSEC_PER_USEC;
		if (i % 100 == 99)
			flow_pass(b->flow, b->now_ns);
	}
	b->now_ns += NSEC_PER_SEC;
	flow_pass(b->flow, b->now_ns);
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	if (argc < 3)
		return 2;
	bool joined = !strcmp(argv[1], "joined"), idle = !strcmp(argv[1], "idle");
	unsigned conns = (unsigned)atoi(argv[2]);
	bench_init(&b);
	b.servers = calloc(conns, sizeof(*b.servers));
	b.clients = calloc(conns, sizeof(*b.clients));
	if (!b.servers || !b.clients)
		return 1;
	memset(b.servers, 0, conns * sizeof(*b.servers));
	memset(b.clients, 0, conns * sizeof(*b.clients));
	long before_kib = resident_kib();
	open_all(&b, conns, joined);
	if (idle) {
		printf("%ld\n", resident_kib() - before_kib);
		return 0;
	}
	rounds(&b, conns, joined, 200000);
	size_t used = mallinfo2().uordblks;
	uint64_t done = 0, start = cpu_ns(), end = start + (uint64_t)(atof(argv[3]) * 1e9);
	while (cpu_ns() < end)
		done += rounds(&b, conns, joined, 10000);
	uint64_t took = cpu_ns() - start;
	printf("%llu %llu %lld\n", (unsigned long long)done, (unsigned long long)took,
	       (long long)(mallinfo2().uordblks - used));
	return 0;
}
