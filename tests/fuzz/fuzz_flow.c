/* SPDX-License-Identifier: Apache-2.0 */
/* Records of connections, in any order and damaged in any way, through flow/: nothing is counted twice or lost. The
 * input is read as a list of steps, so that what is mutated are connections, orders and flags rather than struct
 * fields. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "flow/flow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CONNS	  12 /* more than the table has room for */
#define MAX_CONNS 8
#define TGID	  1000u

struct fuzz {
	const uint8_t *at, *end;
	struct flow *flow;
	struct chunk_pool *pool;
	struct process_info *process[3];
	uint64_t now_ns, next_id, requests, calls, spans;
	struct {
		uint64_t id;
		uint32_t number, seq[2];
		struct sh_span_context self;
	} conns[CONNS];
};

#define check(good)                                                                        \
	do {                                                                               \
		if (!(good)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #good); \
			abort();                                                           \
		}                                                                          \
	} while (0)

static uint8_t byte(struct fuzz *f)
{
	return f->at < f->end ? *f->at++ : 0;
}

static void sink(void *arg, struct chunk *chunk)
{
	struct fuzz *f = arg;
	for (uint32_t i = 0; i < chunk->span_cnt; i++) {
		const struct span *s = &chunk->spans[i];
		check(s->name.len && s->resource.len && s->duration_ns >= 0);
		for (uint32_t t = 0; t < s->tag_cnt; t++)
			check(s->tags[t].key.len && s->tags[t].value.data);
	}
	check(chunk->span_cnt > 0);
	f->spans += chunk->span_cnt;
	chunk_pool_put(f->pool, chunk);
}

static struct process_info *process(void *arg, uint32_t tgid)
{
	struct fuzz *f = arg;
	return tgid - TGID < 3 ? process_info_ref(f->process[tgid - TGID]) : NULL;
}

static void process_event(void *arg, const struct sh_ev_proc *e)
{
	(void)arg, (void)e;
}

static const struct function_info *function(void *arg, uint32_t index)
{
	static const struct function_info info = {.name = {"work", 4}, .resource = {"work", 4}};
	(void)arg;
	return index < 4 ? &info : NULL;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static const char *const pieces[] = {
	"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"GET /a HTTP/1.1\r\nX-A: 1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nPOST /c HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
	"GET /a HTTP/1.1\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
	"x-datadog-trace-id: 7\r\nx-datadog-parent-id: 8\r\n\r\n",
	"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	"0\r\n\r\n",
	"HTTP/1.0 200 OK\r\n\r\n",
	"CONNECT a:1 HTTP/1.1\r\n\r\n",
	"HTTP/1.1 101 Switching\r\n\r\n",
	"GET ",
	"HTTP",
	"\r\n",
	"12345",
};

/* A piece, a part of one, or bytes of the input. */
static struct sv payload(struct fuzz *f)
{
	uint8_t what = byte(f);
	if (what < 0xf0) {
		struct sv s = sv_of(pieces[what % (sizeof(pieces) / sizeof(pieces[0]))]);
		size_t cut = what & 0x80 ? byte(f) % (s.len + 1) : 0;
		return what & 0x40 ? (struct sv){s.data, s.len - cut} : (struct sv){s.data + cut, s.len - cut};
	}
	size_t len =
		(size_t)(f->end - f->at) < (size_t)(what & 15) * 4 ? (size_t)(f->end - f->at) : (size_t)(what & 15) * 4;
	struct sv s = {(const char *)f->at, len};
	f->at += len;
	return s;
}

static void context(struct fuzz *f, struct sh_span_context *c, uint8_t conn)
{
	*c = byte(f) & 1 ? f->conns[conn].self : (struct sh_span_context){1, f->next_id % 64, f->next_id + 1};
	f->next_id++;
}

static void step_told(struct fuzz *f, uint8_t conn)
{
	static const uint16_t families[] = {2, 2, 10, 1};
	uint8_t what = byte(f);
	struct sh_ev_conn e = {
		.hdr = {.size = sizeof(e), .kind = SH_EV_CONN, .flags = what >> 7},
		.conn = f->conns[conn].id,
		.time_ns = f->now_ns,
		.tgid = TGID + (what >> 5 & 3),
		.family = families[what & 3],
		/* Two connections of one number are the two ends of one. */
		.local_port = conn & 1 ? 80 : 4000 + conn / 2,
		.remote_port = conn & 1 ? 4000 + conn / 2 : 80,
		.connect_us = what & 4 ? UINT32_MAX : 5,
		.local = {127, 0, 0, 1},
		.remote = {127, 0, 0, 1},
	};
	context(f, &e.parent, conn);
	flow_record(f->flow, &e.hdr, f->now_ns);
}

static uint32_t number(struct fuzz *f, uint8_t conn)
{
	uint8_t how = byte(f);
	uint32_t *next = &f->conns[conn].number;
	if (how < 0xc0)
		return ++*next;
	if (how < 0xe0)
		return *next += 1 + how % 4; /* lost */
	return *next + how % 8 - 3;	     /* before its time, or again */
}

static void step_data(struct fuzz *f, uint8_t conn)
{
	static union {
		struct sh_ev_data e;
		char room[sizeof(struct sh_ev_data) + 512 + sizeof(struct sh_ev_option)];
	} r;
	uint8_t flags = byte(f), how = byte(f);
	struct sv bytes = payload(f);
	size_t copied = bytes.len < 512 ? bytes.len : 512;
	bool write = flags & SH_DATA_WRITE;
	r.e = (struct sh_ev_data){
		.hdr = {.size = (uint32_t)((sizeof(r.e) + copied + 7) & ~(size_t)7),
			.kind = SH_EV_DATA,
			.flags = flags},
		.conn = f->conns[conn].id,
		.time_ns = f->now_ns,
		.tgid = TGID + (how & 3),
		.tid = TGID + (how >> 2 & 3),
		.copied = (uint32_t)copied,
		.len = (uint32_t)copied + (how & 16 ? byte(f) * 37u : 0),
		.seq = f->conns[conn].seq[write],
		.number = number(f, conn),
		.link = how >> 5,
		.tail_len = how & 16 ? 8 : 0,
		.tail = {'\r', '\n', '0', '\r', '\n', '\r', '\n'},
	};
	r.e.tail_len -= r.e.tail_len && how & 32;
	if (how == 255)
		r.e.hdr.size = byte(f);
	if (how == 254)
		r.e.copied = r.e.len = 5000;
	if (copied)
		memcpy(&r.e + 1, bytes.data, copied);
	if (how >= 248) { /* with an option behind, or without */
		r.e.hdr.flags |= SH_DATA_OPTION;
		r.e.hdr.size += how >= 250 ? sizeof(struct sh_ev_option) : 0;
	}
	f->conns[conn].seq[write] += r.e.len;
	if (flags & SH_DATA_REQUEST) {
		f->requests++;
		context(f, &r.e.self, conn);
		r.e.parent_id = byte(f) & 1 ? f->next_id / 2 : 0;
		f->conns[conn].self = r.e.self;
		f->conns[conn ^ 1].seq[!write] = r.e.seq; /* the other end of the same bytes */
	}
	flow_record(f->flow, &r.e.hdr, f->now_ns);
}

static void step_close(struct fuzz *f, uint8_t conn)
{
	static const uint32_t errors[] = {0, 0, 104, 111};
	uint8_t what = byte(f);
	struct sh_ev_close e = {.hdr = {.size = what == 255 ? 8 : sizeof(e), .kind = SH_EV_CLOSE},
				.conn = f->conns[conn].id,
				.time_ns = f->now_ns,
				.state = what & 3,
				.error = errors[what >> 2 & 3],
				.number = number(f, conn)};
	flow_record(f->flow, &e.hdr, f->now_ns);
	if (what & 0x80)
		f->conns[conn].id += CONNS, f->conns[conn].number = 0;
}

static void step_call(struct fuzz *f, uint8_t conn)
{
	uint8_t what = byte(f);
	struct sh_ev_call e = {.hdr = {.size = sizeof(e), .kind = SH_EV_CALL, .flags = what & SH_CALL_ROOT},
			       .func = what >> 1 & 7,
			       .tgid = TGID + (what >> 4 & 3),
			       .start_ns = f->now_ns,
			       .end_ns = f->now_ns};
	struct sh_span_context c;
	context(f, &c, conn);
	e.trace_hi = c.trace_hi;
	e.trace_lo = c.trace_lo;
	e.parent_id = c.span_id;
	e.span_id = ++f->next_id;
	f->calls++;
	flow_record(f->flow, &e.hdr, f->now_ns);
}

static void step_process(struct fuzz *f)
{
	uint8_t what = byte(f);
	struct sh_ev_proc e = {.hdr = {.size = sizeof(e), .kind = (uint16_t)(SH_EV_THREAD + what % 5)},
			       .tgid = TGID + (what >> 6),
			       .tid = TGID + (what >> 4 & 3),
			       .comm = "worker"};
	flow_record(f->flow, &e.hdr, f->now_ns);
}

static void step(struct fuzz *f)
{
	uint8_t what = byte(f), conn = (what >> 4) % CONNS;
	f->now_ns += 1000;
	switch (what & 15) {
	case 0:
		step_told(f, conn);
		break;
	case 1:
		step_close(f, conn);
		break;
	case 2:
		step_call(f, conn);
		break;
	case 3:
		step_process(f);
		break;
	case 4:
	case 5:
		f->now_ns += (uint64_t)byte(f) * byte(f) * NSEC_PER_MSEC;
		flow_pass(f->flow, f->now_ns);
		break;
	default:
		step_data(f, conn);
	}
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static void check_account(const struct fuzz *f)
{
	uint64_t own, dropped[SH_MAX_DROPS] = {0}, sum = 0;
	struct flow_stats s;
	flow_account(f->flow, &own, dropped);
	flow_stats(f->flow, &s);
	for (int i = 0; i < SH_MAX_DROPS; i++)
		sum += dropped[i];
	check(f->requests + own + f->calls == s.exchanges.spans + s.calls.spans + sum);
	check(f->spans == s.exchanges.spans + s.calls.spans);
	check(s.exchanges.open == 0 && s.assembly.open_spans == 0 && s.assembly.open_chunks == 0);
	check(s.connections.open <= MAX_CONNS && s.joins.waiting <= 64 && s.joins.traces <= 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {
		.at = data, .end = data + size, .pool = chunk_pool_new(100), .now_ns = NSEC_PER_SEC, .next_id = 1};
	for (int i = 0; i < 3; i++)
		f.process[i] = process_info_new();
	f.process[1]->settings = SV("DD_TRACE_HEADER_TAGS=x-a:a\0DD_TRACE_CLIENT_IP_ENABLED=1\0");
	for (uint32_t i = 0; i < CONNS; i++)
		f.conns[i].id = i + 1;
	struct flow_options options = {
		.assembly = {.max_chunks = 32,
			     .max_spans = 100,
			     .partial_min_spans = 5,
			     .max_idle_ns = NSEC_PER_SEC,
			     .sink = sink,
			     .sink_arg = &f,
			     .pool = f.pool},
		.actors = {.process = process, .process_event = process_event, .arg = &f},
		.function = function,
		.max_functions = 4,
		.max_connections = MAX_CONNS,
		.max_exchanges = 12,
		.max_joins = 64,
		.head_max = 300,
	};
	f.flow = flow_new(&options);
	while (f.at < f.end)
		step(&f);
	flow_flush(f.flow, f.now_ns);
	check_account(&f);
	flow_free(f.flow);
	for (int i = 0; i < 3; i++) {
		check(f.process[i]->refs == 1);
		process_info_unref(f.process[i]);
	}
	chunk_pool_free(f.pool);
	return 0;
}
