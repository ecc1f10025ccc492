/* SPDX-License-Identifier: Apache-2.0 */
/* Several processes: whose trace a request belongs to, whatever comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>

#include "spanhound/option.h"
#include "flow_world.h"
#include "spanhound/sampling.h"

static const struct flow_options plain;

#define TRACE_HEADER "4bf92f3577b34da6a3ce929d0e0e4736"
#define WITH_HEADER  "GET /a HTTP/1.1\r\nHost: shop\r\ntraceparent: 00-" TRACE_HEADER "-00f067aa0ba902b7-01\r\n\r\n"
#define HEADER_LO    0xa3ce929d0e0e4736ULL
#define HEADER_HI    0x4bf92f3577b34da6ULL
#define HEADER_SPAN  0x00f067aa0ba902b7ULL

static void child_of(const struct world *w, uint64_t child, uint64_t parent)
{
	const struct seen *c = world_get(w, child), *p = world_get(w, parent);
	assert_int_equal(c->parent_id, parent);
	assert_int_equal(c->trace_lo, p->trace_lo);
	assert_int_equal(c->trace_hi, p->trace_hi);
}

/* The reader's system call may return before the writer's, and be read in an earlier pass, or later. */
static void either_end_first(void **state)
{
	(void)state;
	for (int reader_first = 0; reader_first < 2; reader_first++)
		for (uint64_t apart = 0; apart < 50; apart += 7) {
			struct world w;
			world_init(&w, plain);
			struct end c, s;
			ends_open(&w, &c, 0, &s, 1);
			for (int i = 0; i < 3; i++) {
				if (reader_first)
					end_read(&s, GET);
				else
					end_write(&c, GET);
				world_play(&w);
				for (uint64_t ms = 0; ms < apart; ms++)
					world_pass(&w, 1);
				if (reader_first)
					end_write(&c, GET);
				else
					end_read(&s, GET);
				end_write(&s, OK);
				end_read(&c, OK);
				world_play(&w);
				world_pass(&w, 1);
				child_of(&w, s.self.span_id, c.self.span_id);
				assert_string_equal(world_get(&w, s.self.span_id)->link, "peer");
				assert_true(world_get(&w, s.self.span_id)->local_root);
			}
			assert_int_equal(w.spans.cnt, 6);
			world_end(&w);
		}
}

/* The whole exchange of the reader is over before the writer's record is seen. */
static void answered_before_the_writer_is_seen(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end c, s;
	ends_open(&w, &c, 0, &s, 1);
	end_read(&s, GET);
	world_call(&w, 1, &s.self);
	end_write(&s, OK);
	world_play(&w);
	world_pass(&w, 10);
	assert_int_equal(w.spans.cnt, 0);
	end_write(&c, GET);
	end_read(&c, OK);
	world_play(&w);
	world_pass(&w, 1);
	assert_int_equal(w.spans.cnt, 3);
	child_of(&w, s.self.span_id, c.self.span_id);
	vec_foreach (o, &w.spans)
		assert_int_equal(o->trace_lo, c.self.trace_lo);
	world_end(&w);
}

static void waits_no_longer_than_it_must(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end c, s;
	ends_open(&w, &c, 0, &s, 1);
	world_drop_records(&w); /* the client is not traced */
	struct end far = server_open(&w, 1);
	end_tell(&s);
	end_read(&s, GET);
	end_write(&s, OK);
	end_read(&far, GET);
	end_write(&far, OK);
	world_play(&w);
	world_pass(&w, 0);
	assert_non_null(world_span(&w, far.self.span_id)); /* not of this host */
	world_pass(&w, 49);
	assert_null(world_span(&w, s.self.span_id));
	world_pass(&w, 1);
	assert_string_equal(world_get(&w, s.self.span_id)->link, "");
	/* Nobody wrote the first one: nobody is waited for. */
	world_pass(&w, 1);
	end_read(&s, GET);
	end_write(&s, OK);
	world_play(&w);
	world_pass(&w, 0);
	assert_non_null(world_span(&w, s.self.span_id));
	/* Too late: no link, rather than a wrong one. */
	c.seq[1] = s.seq[0] - (uint32_t)strlen(GET);
	end_tell(&c);
	end_write(&c, GET);
	end_read(&c, OK);
	world_run(&w);
	assert_int_equal(world_get(&w, c.self.span_id)->parent_id, 0);
	assert_int_equal(world_get(&w, s.self.span_id)->parent_id, 0);
	/* But whoever is known to ask is waited for, and long; another one meanwhile is not held up. */
	end_read(&s, GET);
	end_write(&s, OK);
	uint64_t waits = s.self.span_id;
	struct end c2, s2;
	ends_open(&w, &c2, 2, &s2, 1);
	end_read(&s2, GET);
	end_write(&s2, OK);
	world_play(&w);
	world_pass(&w, 500);
	assert_null(world_span(&w, waits));
	assert_non_null(world_span(&w, s2.self.span_id));
	end_write(&c, GET);
	end_read(&c, OK);
	world_run(&w);
	child_of(&w, waits, c.self.span_id);
	/* Its record was lost. */
	end_read(&s, GET);
	end_write(&s, OK);
	world_play(&w);
	world_pass(&w, 999);
	assert_null(world_span(&w, s.self.span_id));
	world_pass(&w, 1);
	assert_non_null(world_span(&w, s.self.span_id));
	world_end(&w);
}

static void by_header(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0), c = client_open(&w, 0);
	end_read(&s, WITH_HEADER);
	world_call(&w, 0, &s.self);
	c.context = s.self;
	end_write(&c, GET);
	end_read(&c, OK);
	end_write(&s, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 3);
	vec_foreach (o, &w.spans) {
		assert_int_equal(o->trace_hi, HEADER_HI);
		assert_int_equal(o->trace_lo, HEADER_LO);
		assert_int_equal(o->parent_id, o->span_id == s.self.span_id ? HEADER_SPAN : s.self.span_id);
	}
	assert_string_equal(world_get(&w, s.self.span_id)->link, "header");
	world_end(&w);
}

static void decide(struct sh_ev_data *d, uint8_t by, int8_t priority, uint8_t mechanism, double rate)
{
	d->decided = SH_BY_US | by;
	d->priority = priority;
	d->mechanism = mechanism;
	memcpy(&d->rate, &rate, sizeof(rate));
}

/* What the kernel half put on the wire is reported, for all processes that the trace goes through; the first time counts. */
static void decided_on_the_wire(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end client, server = server_open(&w, 0), c, s;
	ends_open(&w, &c, 0, &s, 1);
	end_read(&server, GET);
	c.context = server.self;
	decide(end_write(&c, GET), SH_BY_RULE | SH_BY_LIMIT, -1, 3, 0.1);
	end_read(&s, GET);
	end_write(&s, OK);
	end_read(&c, OK);
	decide(end_write(&c, GET), SH_BY_AGENT, 1, 1, 0.5);
	end_read(&c, OK);
	end_write(&server, OK);
	/* A trace of another thread's: nobody has decided. */
	client = client_open(&w, 0);
	end_write(&client, GET);
	end_read(&client, OK);
	world_run(&w);
	for (size_t i = 0; i < w.spans.cnt; i++) {
		const struct seen *o = &w.spans.data[i];
		if (o->span_id == client.self.span_id) {
			assert_int_equal(o->decided, DECIDED_NOT);
			continue;
		}
		assert_int_equal(o->decided, DECIDED_HERE);
		assert_int_equal(o->priority, -1);
		assert_int_equal(o->mechanism, 3);
		assert_int_equal(o->rates, RATE_RULE | RATE_LIMIT);
		assert_true(o->rate == 0.1);
	}
	world_end(&w);
}

/* Of a trace that a header names, without a word on whether it is kept. */
static void decided_of_a_remote_trace(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end server = server_open(&w, 0), c = client_open(&w, 0);
	end_read(&server, "GET /a HTTP/1.1\r\nHost: shop\r\nx-datadog-trace-id: 77\r\nx-datadog-parent-id: 5\r\n\r\n");
	c.context = server.self;
	decide(end_write(&c, GET), SH_BY_AGENT, 0, 1, 0.5);
	end_read(&c, OK);
	end_write(&server, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 2);
	for (size_t i = 0; i < w.spans.cnt; i++) {
		assert_int_equal(w.spans.data[i].trace_lo, 77);
		assert_int_equal(w.spans.data[i].decided, DECIDED_HERE);
		assert_int_equal(w.spans.data[i].priority, 0);
		assert_int_equal(w.spans.data[i].rates, RATE_AGENT);
	}
	world_end(&w);
}

/* The request at hand came with a TCP option. */
static void heard(struct world *w, const struct sh_ev_option *option)
{
	struct sh_ev_data **at = (struct sh_ev_data **)&w->records.data[w->records.cnt - 1];
	size_t behind = sizeof(**at) + (((*at)->copied + 7) & ~7u);
	*at = realloc(*at, behind + sizeof(*option));
	assert_non_null(*at);
	memcpy((char *)*at + behind, option, sizeof(*option));
	(*at)->hdr.size = (uint32_t)(behind + sizeof(*option));
	(*at)->hdr.flags |= SH_DATA_OPTION;
}

/* Before it: nothing, another trace, the same one. */
static void option_beside_headers(void **state)
{
	(void)state;
	static const char *const heads[] = {
		GET, "GET /a HTTP/1.1\r\nHost: shop\r\nx-datadog-trace-id: 77\r\nx-datadog-parent-id: 5\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: shop\r\nx-datadog-trace-id: 78\r\nx-datadog-parent-id: 6\r\n"
		"x-datadog-sampling-priority: 2\r\nx-datadog-tags: _dd.p.tid=6b02000000000000\r\n\r\n"};
	for (int i = 0; i < 6; i++) {
		bool sure = i & 1;
		struct sh_ev_option option = {.span = {.trace_hi = 0x6b02ULL << 48, .trace_lo = 78, .span_id = 9},
					      .priority = 1,
					      .sure = sure};
		struct world w;
		world_init(&w, plain);
		struct end server = server_open(&w, 0);
		end_read(&server, heads[i / 2]);
		heard(&w, &option);
		end_write(&server, OK);
		world_run(&w);
		const struct seen *o = world_get(&w, server.self.span_id);
		bool counts = i / 2 == 0 || (i / 2 == 2 && sure);
		assert_string_equal(o->link, counts ? "option" : "header");
		assert_int_equal(o->parent_id, counts ? 9 : i / 2 == 1 ? 5 : 6);
		assert_int_equal(o->trace_lo, i / 2 == 1 ? 77 : 78);
		if (i / 2 != 1) {
			assert_true(o->trace_hi == option.span.trace_hi);
			assert_int_equal(o->priority, i / 2 == 0 ? 1 : 2);
		}
		world_end(&w);
	}
}

/* Who wrote it was seen, here. */
static void join_outranks_option(void **state)
{
	(void)state;
	struct sh_ev_option option = {.span = {.trace_lo = 78, .span_id = 9}, .priority = 1, .sure = 1};
	struct world w;
	world_init(&w, plain);
	struct end server, c;
	ends_open(&w, &c, 0, &server, 1);
	end_write(&c, GET);
	end_read(&server, GET);
	heard(&w, &option);
	end_write(&server, OK);
	end_read(&c, OK);
	world_run(&w);
	child_of(&w, server.self.span_id, c.self.span_id);
	assert_string_equal(world_get(&w, server.self.span_id)->link, "peer");
	world_end(&w);
}

/* What the option outranks is handed on: that is no header of the program's own. */
static void option_and_forwarded_header(void **state)
{
	(void)state;
	static const char head[] =
		"GET /a HTTP/1.1\r\nHost: shop\r\nx-datadog-trace-id: 78\r\nx-datadog-parent-id: 6\r\n\r\n";
	struct sh_ev_option option = {
		.span = {.trace_lo = 78, .span_id = 9}, .priority = SH_OPTION_NO_PRIORITY, .sure = 1};
	struct world w;
	world_init(&w, plain);
	struct end server = server_open(&w, 0), c = client_open(&w, 0);
	end_read(&server, head);
	heard(&w, &option);
	c.context = server.self;
	end_write(&c, head);
	end_read(&c, OK);
	end_write(&server, OK);
	world_run(&w);
	assert_int_equal(world_get(&w, server.self.span_id)->parent_id, 9);
	assert_string_equal(world_get(&w, c.self.span_id)->link, "thread");
	world_end(&w);
}

/* Cut off: a record that says it has one, and has none. */
static void option_that_is_not_there(void **state)
{
	(void)state;
	struct sh_ev_option option = {.span = {.trace_lo = 78, .span_id = 9}};
	struct world w;
	world_init(&w, plain);
	struct end server = server_open(&w, 0);
	end_read(&server, GET);
	heard(&w, &option);
	w.records.data[w.records.cnt - 1]->size -= 8;
	world_run(&w);
	assert_int_equal(w.spans.cnt, 0);
	world_flush(&w);
	struct flow_stats stats;
	flow_stats(w.flow, &stats);
	assert_int_equal(stats.connections.malformed, 1);
	world_release(&w);
}

/* A proxy that hands its caller's header on: the backend is called by the proxy, whichever comes first. */
static void join_outranks_forwarded_header(void **state)
{
	(void)state;
	for (int reader_first = 0; reader_first < 2; reader_first++) {
		struct world w;
		world_init(&w, plain);
		struct end front = server_open(&w, 0), up, back;
		ends_open(&w, &up, 0, &back, 1);
		end_read(&front, WITH_HEADER);
		up.context = front.self;
		if (reader_first) {
			end_read(&back, WITH_HEADER);
			world_play(&w);
			world_pass(&w, 5);
			end_write(&up, WITH_HEADER);
		} else {
			end_write(&up, WITH_HEADER);
			end_read(&back, WITH_HEADER);
		}
		end_write(&back, OK);
		end_read(&up, OK);
		end_write(&front, OK);
		world_run(&w);
		assert_int_equal(w.spans.cnt, 3);
		child_of(&w, back.self.span_id, up.self.span_id);
		child_of(&w, up.self.span_id, front.self.span_id);
		assert_int_equal(world_get(&w, front.self.span_id)->parent_id, HEADER_SPAN);
		assert_int_equal(world_get(&w, back.self.span_id)->trace_lo, HEADER_LO);
		assert_string_equal(world_get(&w, back.self.span_id)->link, "peer");
		world_end(&w);
	}
}

#define OWN_HEADER(trace) "GET /b HTTP/1.1\r\nHost: shop\r\ntraceparent: 00-" trace "-00000000000a0b0c-01\r\n\r\n"
#define OWN_SPAN	  0xa0b0cULL
#define OTHER_TRACE	  "1111111111111111bbbbbbbbbbbbbbbb"

/* A program that sends headers of its own: its client's span is the one they name, whichever end is seen first. */
static void own_headers_are_adopted(void **state)
{
	(void)state;
	for (int reader_first = 0; reader_first < 2; reader_first++)
		for (int other = 0; other < 2; other++) {
			struct world w;
			world_init(&w, plain);
			const char *own = other ? OWN_HEADER(OTHER_TRACE) : OWN_HEADER(TRACE_HEADER);
			struct end front = server_open(&w, 0), up, back;
			ends_open(&w, &up, 0, &back, 1);
			end_read(&front, WITH_HEADER);
			up.context = front.self;
			if (reader_first) {
				end_read(&back, own);
				world_play(&w);
				world_pass(&w, 5);
				end_write(&up, own);
			} else {
				end_write(&up, own);
				end_read(&back, own);
			}
			end_write(&back, OK);
			end_read(&up, OK);
			end_write(&front, OK);
			world_run(&w);
			assert_int_equal(w.spans.cnt, 3);
			const struct seen *s = world_get(&w, OWN_SPAN);
			assert_string_equal(s->link, "adopted");
			assert_int_equal(s->parent_id, other ? 0 : front.self.span_id);
			assert_int_equal(s->trace_hi, other ? 0x1111111111111111ULL : HEADER_HI);
			assert_int_equal(s->trace_lo, other ? 0xbbbbbbbbbbbbbbbbULL : HEADER_LO);
			assert_null(world_span(&w, up.self.span_id));
			child_of(&w, back.self.span_id, OWN_SPAN);
			assert_int_equal(world_get(&w, front.self.span_id)->trace_lo, HEADER_LO);
			world_end(&w);
		}
}

/* Sent again, or by a process whose tracer reports that span, or for nobody that is known, or changed on the wire, whichever of the
 * two records of a proxy comes first: it keeps its own place. */
static void not_adopted(void **state)
{
	(void)state;
	for (int how = 0; how < 4; how++) {
		struct world w;
		world_init(&w, plain);
		w.process[0]->instrumented = how == 1;
		struct end front = server_open(&w, 0), up = client_open(&w, 0);
		if (how != 2)
			end_read(&front, WITH_HEADER);
		if (how != 2)
			up.context = front.self;
		uint64_t first = 0;
		for (int i = 0; i < 2; i++) {
			struct sh_ev_data *e = end_write(&up, OWN_HEADER(TRACE_HEADER));
			e->hdr.flags |= how == 3 ? SH_DATA_RENAMED : 0;
			end_read(&up, OK);
			first = i ? first : up.self.span_id;
		}
		if (how != 2)
			end_write(&front, OK);
		world_run(&w);
		assert_int_equal(w.spans.cnt, how == 2 ? 2 : 3);
		assert_int_equal(world_span(&w, OWN_SPAN) != NULL, how == 0);
		assert_int_equal(world_span(&w, first) != NULL, how != 0);
		assert_string_equal(world_get(&w, up.self.span_id)->link, how == 2 ? "" : "thread");
		world_end(&w);
	}
}

static void deliver(struct world *w, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		world_deliver(w, i);
}

/* A proxy of many threads: what it read and what it handed on lie in the rings of two CPUs, and the second may be read first. */
static void headers_handed_on_are_not_adopted(void **state)
{
	(void)state;
	for (int order = 0; order < 2; order++) {
		struct world w;
		world_init(&w, plain);
		struct end front = server_open(&w, 0), up = client_open(&w, 0);
		size_t opened = w.records.cnt;
		end_read(&front, WITH_HEADER);
		size_t came = w.records.cnt;
		up.context = front.self;
		end_write(&up, WITH_HEADER);
		end_read(&up, OK);
		size_t end = w.records.cnt;
		deliver(&w, 0, opened);
		deliver(&w, order ? came : opened, order ? end : came);
		deliver(&w, order ? opened : came, order ? came : end);
		world_drop_records(&w);
		world_pass(&w, 1);
		end_write(&front, OK);
		world_run(&w);
		assert_int_equal(w.spans.cnt, 2);
		assert_null(world_span(&w, 0x00f067aa0ba902b7ULL));
		child_of(&w, up.self.span_id, front.self.span_id);
		assert_int_equal(world_get(&w, front.self.span_id)->parent_id, 0x00f067aa0ba902b7ULL);
		world_end(&w);
	}
}

/* --- chains ------------------------------------------------------------------------------------------------------- */

enum { A_ASKS, B_READS, B_ASKS, C_READS, C_ANSWERS, B_READS_ANSWER, B_ANSWERS, A_READS_ANSWER, CHAIN };

struct chain {
	struct end a, b, up, c;
};

/* Three processes in a row: the records, in the order in which they were made, after those that tell the ends. */
static void chain_write(struct world *w, struct chain *x)
{
	ends_open(w, &x->a, 0, &x->b, 1);
	ends_open(w, &x->up, 1, &x->c, 2);
	world_play(w);
	end_write(&x->a, GET);
	end_read(&x->b, GET);
	x->up.context = x->b.self;
	end_write(&x->up, GET);
	end_read(&x->c, GET);
	end_write(&x->c, OK);
	end_read(&x->up, OK);
	end_write(&x->b, OK);
	end_read(&x->a, OK);
}

static void chain_close(struct chain *x)
{
	end_close(&x->a, SH_CONN_CLOSED, 0);
	end_close(&x->b, SH_CONN_CLOSED, 0);
	end_close(&x->up, SH_CONN_CLOSED, 0);
	end_close(&x->c, SH_CONN_CLOSED, 0);
}

static void chain_is_one_trace(struct world *w, const struct chain *x)
{
	child_of(w, x->b.self.span_id, x->a.self.span_id);
	child_of(w, x->up.self.span_id, x->b.self.span_id);
	child_of(w, x->c.self.span_id, x->up.self.span_id);
	assert_int_equal(world_get(w, x->a.self.span_id)->parent_id, 0);
	vec_foreach (s, &w->spans)
		assert_int_equal(s->trace_lo, x->a.self.trace_lo);
}

/* Looked at; the account goes on without them. */
static void world_forget_spans(struct world *w)
{
	w->spans.cnt = 0;
}

static void spans_are(struct world *w, uint64_t requests)
{
	struct flow_stats s;
	flow_stats(w->flow, &s);
	assert_int_equal(s.exchanges.spans, requests);
	assert_int_equal(s.exchanges.own, 0);
	assert_int_equal(s.exchanges.torn, 0);
	assert_int_equal(s.exchanges.open, 0);
}

static bool next_permutation(int *v, int n)
{
	int i = n - 2, k = n - 1;
	while (i >= 0 && v[i] > v[i + 1])
		i--;
	if (i < 0)
		return false;
	while (v[k] < v[i])
		k--;
	int t = v[i];
	v[i] = v[k], v[k] = t;
	for (i++, k = n - 1; i < k; i++, k--)
		t = v[i], v[i] = v[k], v[k] = t;
	return true;
}

/* Rings are read one after the other: within a pass any order is possible. */
static void chain_in_every_order(void **state)
{
	(void)state;
	struct world w;
	int order[CHAIN] = {0, 1, 2, 3, 4, 5, 6, 7};
	world_init(&w, plain);
	do {
		struct chain x;
		chain_write(&w, &x);
		for (int i = 0; i < CHAIN; i++)
			world_deliver(&w, (size_t)order[i]);
		world_drop_records(&w);
		world_pass(&w, 1);
		assert_int_equal(w.spans.cnt, 4);
		chain_is_one_trace(&w, &x);
		world_forget_spans(&w);
		chain_close(&x);
		world_play(&w);
	} while (next_permutation(order, CHAIN));
	spans_are(&w, 40320 * 4);
	world_release(&w);
}

static bool is_possible(const int *order)
{
	static const int before[][2] = {{A_ASKS, A_READS_ANSWER},
					{B_READS, B_ANSWERS},
					{B_ASKS, B_READS_ANSWER},
					{C_READS, C_ANSWERS},
					{B_READS, B_ASKS}};
	int at[CHAIN];
	for (int i = 0; i < CHAIN; i++)
		at[order[i]] = i;
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
		if (at[before[i][0]] > at[before[i][1]])
			return false;
	return true;
}

/* A pass after each record: in the order of what one thread did, and otherwise in any. */
static void chain_over_passes(void **state)
{
	(void)state;
	struct world w;
	int order[CHAIN] = {0, 1, 2, 3, 4, 5, 6, 7};
	uint64_t cnt = 0, forgotten = 0;
	world_init(&w, plain);
	do {
		struct chain x;
		if (!is_possible(order))
			continue;
		chain_write(&w, &x);
		for (int i = 0; i < CHAIN; i++) {
			world_deliver(&w, (size_t)order[i]);
			world_pass(&w, 3);
		}
		world_drop_records(&w);
		/* A call of the last one, seen when all others had left. */
		world_pass(&w, 60);
		if (w.spans.cnt < 4) {
			/* Of the traces that left, a table of fixed size remembers most: two may have one place. */
			forgotten++;
			world_pass(&w, 30000);
		}
		assert_int_equal(w.spans.cnt, 4);
		chain_is_one_trace(&w, &x);
		world_forget_spans(&w);
		chain_close(&x);
		world_play(&w);
		cnt++;
	} while (next_permutation(order, CHAIN));
	assert_true(cnt > 1000);
	assert_true(forgotten <= cnt / 200);
	spans_are(&w, cnt * 4);
	world_release(&w);
}

/* The first hop of three waits for a writer in vain; what hangs under it waits with it, then leaves. */
static void chain_without_its_head(void **state)
{
	(void)state;
	struct world w;
	struct chain x;
	world_init(&w, plain);
	chain_write(&w, &x);
	for (int i = 0; i < CHAIN; i++)
		if (i != A_ASKS && i != A_READS_ANSWER)
			world_deliver(&w, (size_t)i);
	world_drop_records(&w);
	w.requests--;
	world_call(&w, 2, &x.c.self);
	world_play(&w);
	world_pass(&w, 49);
	assert_int_equal(w.spans.cnt, 0);
	world_pass(&w, 2);
	assert_int_equal(w.spans.cnt, 4);
	child_of(&w, x.up.self.span_id, x.b.self.span_id);
	child_of(&w, x.c.self.span_id, x.up.self.span_id);
	vec_foreach (s, &w.spans)
		assert_int_equal(s->trace_lo, x.b.self.trace_lo);
	world_end(&w);
}

/* Parts of a trace that leave before it is known whose it is must not leave under the wrong name. */
static void partial_chunks_wait(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, (struct flow_options){.assembly = {.partial_min_spans = 2}});
	struct end c, s;
	ends_open(&w, &c, 0, &s, 1);
	end_read(&s, GET);
	for (int i = 0; i < 9; i++)
		world_call(&w, 1, &s.self);
	world_play(&w);
	world_pass(&w, 5);
	assert_int_equal(w.spans.cnt, 0);
	end_write(&c, GET);
	end_write(&s, OK);
	end_read(&c, OK);
	world_play(&w);
	world_pass(&w, 1);
	assert_int_equal(w.spans.cnt, 11);
	vec_foreach (o, &w.spans)
		assert_int_equal(o->trace_lo, c.self.trace_lo);
	world_end(&w);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static void by_both_families(void **state)
{
	static const char *const ips[][2] = {
		{"127.0.0.1", "127.0.0.1"}, {"10.0.0.1", "10.0.0.2"}, {"::1", "::1"}, {"fd00::1", "fd00::2"}};
	(void)state;
	struct world w;
	world_init(&w, plain);
	for (int mapped = 0; mapped < 2; mapped++)
		for (size_t i = 0; i < 4; i++)
			for (int reader_first = 0; reader_first < 2; reader_first++) {
				struct end c, s;
				ends_make(&w, &c, 0, &s, 1, ips[i][0], ips[i][1]);
				if (mapped && i < 2) {
					char text[40];
					s.family = AF_INET6;
					snprintf(text, sizeof(text), "::ffff:%s", ips[i][0]);
					inet_pton(AF_INET6, text, s.remote);
					snprintf(text, sizeof(text), "::ffff:%s", ips[i][1]);
					inet_pton(AF_INET6, text, s.local);
				}
				end_tell(&c);
				end_tell(&s);
				if (reader_first)
					end_read(&s, GET);
				end_write(&c, GET);
				if (!reader_first)
					end_read(&s, GET);
				end_write(&s, OK);
				end_read(&c, OK);
				world_run(&w);
				child_of(&w, s.self.span_id, c.self.span_id);
			}
	world_end(&w);
}

/* Requests one behind the other, written and read in pieces that do not match, each joined with its own. */
static void pipelined_ones_are_joined(void **state)
{
	(void)state;
	static const char all[] =
		"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\n\r\n";
	enum { EACH = 19, CNT = 4, LEN = EACH * CNT };
	assert_int_equal(sizeof(all) - 1, LEN);
	struct world w;
	world_init(&w, plain);
	for (int cut = 1; cut < LEN; cut++) {
		struct end c, s;
		ends_open(&w, &c, 0, &s, 1);
		c.context = (struct sh_span_context){1, 2, 3};
		end_move(&s, false, all, LEN - EACH, LEN - EACH);
		end_move(&s, false, all + LEN - EACH, EACH, EACH);
		end_move(&c, true, all, (size_t)cut, (size_t)cut);
		end_move(&c, true, all + cut, (size_t)(LEN - cut), (size_t)(LEN - cut));
		for (int i = 0; i < CNT; i++) {
			end_write(&s, OK);
			end_read(&c, OK);
		}
		end_close(&c, SH_CONN_CLOSED, 0);
		end_close(&s, SH_CONN_CLOSED, 0);
		size_t before = w.spans.cnt;
		world_flush(&w);
		assert_int_equal(w.spans.cnt - before, 2 * CNT);
		for (size_t i = before; i < w.spans.cnt; i++) {
			const struct seen *o = &w.spans.data[i];
			if (strcmp(o->name, "http.server.request"))
				continue;
			assert_string_equal(o->link, "peer");
			assert_string_equal(world_get(&w, o->parent_id)->resource, o->resource);
			assert_string_equal(world_get(&w, o->parent_id)->name, "http.client.request");
		}
	}
	world_end(&w);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

/* Requests for which there was no room do not shift the answers. */
static void more_requests_than_exchanges(void **state)
{
	(void)state;
	for (uint32_t max = 1; max < 6; max++) {
		struct world w;
		world_init(&w, (struct flow_options){.max_exchanges = max});
		struct end s = server_open(&w, 0), other = server_open(&w, 0);
		for (int round = 0; round < 3; round++) {
			char request[200] = "", answer[300] = "";
			for (int i = 0; i < 5; i++) {
				sprintf(request + strlen(request), "GET /%c HTTP/1.1\r\n\r\n", 'a' + i);
				sprintf(answer + strlen(answer), "HTTP/1.1 20%d OK\r\nContent-Length: 0\r\n\r\n", i);
			}
			end_read(&s, request);
			end_read(&other, GET);
			end_write(&s, answer);
			end_write(&other, OK);
			world_run(&w);
		}
		assert_int_equal(w.spans.cnt, 3 * max);
		vec_foreach (o, &w.spans)
			assert_int_equal(o->status[2] - '0', o->resource[5] - 'a');
		world_end(&w);
	}
}

static void more_spans_than_the_assembly_holds(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, (struct flow_options){.assembly = {.max_chunks = 2}});
	for (int i = 0; i < 5; i++) {
		struct end s = server_open(&w, 0);
		end_read(&s, GET);
		end_write(&s, OK);
	}
	world_run(&w);
	assert_int_equal(w.spans.cnt, 2);
	assert_int_equal(world_dropped(&w, SH_DROP_trace_limit), 3);
	world_end(&w);
}

/* What was done for a request whose span is dropped is not left without a parent. */
static void children_of_a_dropped_one(void **state)
{
	(void)state;
	for (int joined = 0; joined < 2; joined++) {
		struct world w;
		world_init(&w, plain);
		struct end c, s;
		ends_open(&w, &c, 0, &s, 1);
		if (joined)
			end_write(&c, GET);
		end_read(&s, GET);
		struct sh_span_context lost = s.self;
		world_call(&w, 1, &lost);
		end_write(&s, OK);
		end_lose(&s);
		if (joined)
			end_read(&c, OK);
		end_read(&s, GET);
		end_write(&s, OK);
		world_run(&w);
		assert_int_equal(world_dropped(&w, SH_DROP_exchange_torn), 1);
		assert_null(world_span(&w, lost.span_id));
		const struct seen *call = world_resource(&w, "work");
		assert_int_equal(call->parent_id, joined ? c.self.span_id : 0);
		assert_int_equal(call->trace_lo, joined ? c.self.trace_lo : lost.trace_lo);
		world_end(&w);
	}
}

static void thread_names_are_bounded(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct sh_ev_proc thread = {.hdr = {.size = sizeof(thread), .kind = SH_EV_THREAD}, .tgid = TGID(0)};
	for (uint32_t i = 0; i < 100000; i++) {
		thread.tid = i;
		snprintf(thread.comm, sizeof(thread.comm), "t%u", i);
		flow_record(w.flow, &thread.hdr, w.time_ns);
	}
	struct end s = server_open(&w, 0);
	s.tid = 99999;
	end_read(&s, GET);
	end_write(&s, OK);
	s.tid = 1;
	end_read(&s, GET);
	end_write(&s, OK);
	world_run(&w);
	assert_string_equal(world_nth(&w, 0)->thread[0] ? world_nth(&w, 0)->thread : world_nth(&w, 1)->thread,
			    "t99999");
	assert_string_equal(world_get(&w, s.self.span_id)->thread, "");
	world_end(&w);
}

/* --- any interleaving --------------------------------------------------------------------------------------------- */

struct script {
	bool write;
	const char *text; /* NULL: closed */
};

#define SCRIPT_MAX 8
static const struct script scripts[][SCRIPT_MAX] = {
	{{0, GET},
	 {1, OK},
	 {0, "HEAD /b HTTP/1.1\r\n\r\n"},
	 {1, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
	 {0, NULL}},
	{{0, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGE"},
	 {0, "T /c HTTP/1.1\r\n\r\n"},
	 {1, OK OK},
	 {1, OK},
	 {0, NULL}},
	{{0, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"},
	 {1, "HTTP/1.1 100 C\r\n\r\n"},
	 {0, "abc"},
	 {1, "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"},
	 {1, "c\r\n0\r\n\r\n"},
	 {0, GET},
	 {1, OK}},
	{{0, WITH_HEADER}, {1, "HTTP/1.0 200 OK\r\n\r\n"}, {1, "HTTP/1.1 200 is text"}, {0, NULL}},
	{{0, "GET /ws HTTP/1.1\r\nUpgrade: ws\r\n\r\n"},
	 {1, "HTTP/1.1 101 S\r\n\r\n"},
	 {0, "\x81\x82"},
	 {1, "x"},
	 {0, NULL}},
	{{1, OK}, {0, "garbage"}, {1, "more"}, {0, GET}, {1, OK}, {0, GET}},
	{{0, "POST /a HTTP/1.1\r\nContent-Length: 40\r\n\r\n"},
	 {0, "GET /evil HTTP/1.1\r\n\r\n234567890123456789"},
	 {1, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"},
	 {0, "GET /b HTTP/1.1\r\n"},
	 {0, NULL}},
};
#define SCRIPTS (sizeof(scripts) / sizeof(scripts[0]))

/* Writes the records of a script; returns how many. */
static size_t script_write(struct world *w, const struct script *script)
{
	size_t before = w->records.cnt;
	struct end s = server_open(w, 0);
	for (int i = 0; i < SCRIPT_MAX && (script[i].text || i == 0 || script[i - 1].text); i++)
		if (script[i].text)
			end_move(&s, script[i].write, script[i].text, strlen(script[i].text), strlen(script[i].text));
		else
			end_close(&s, SH_CONN_CLOSED, 0);
	return w->records.cnt - before;
}

static int seen_cmp(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;
	int by_start = (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
	return by_start ? by_start : strcmp(x->resource, y->resource);
}

/* All of a span but the ids that are made up here. */
static void same_spans(struct world *a, struct world *b)
{
	assert_int_equal(a->spans.cnt, b->spans.cnt);
	qsort(a->spans.data, a->spans.cnt, sizeof(struct seen), seen_cmp);
	qsort(b->spans.data, b->spans.cnt, sizeof(struct seen), seen_cmp);
	for (size_t i = 0; i < a->spans.cnt; i++) {
		struct seen x = a->spans.data[i], y = b->spans.data[i];
		if (x.span_id >> 32) /* own */
			x.span_id = y.span_id = x.trace_lo = y.trace_lo = x.trace_hi = y.trace_hi = 0;
		assert_memory_equal(&x, &y, sizeof(x));
	}
}

static uint64_t rng_state = 42;

static uint32_t any(uint32_t below)
{
	rng_state = rng_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(rng_state >> 33) % below;
}

static void interleaved(const struct script *first, const struct script *second, bool passes)
{
	struct world one, two;
	size_t at[2], end[2];
	world_init(&one, plain);
	world_init(&two, plain);
	script_write(&one, first);
	script_write(&one, second);
	world_run(&one);
	at[0] = 0;
	at[1] = end[0] = script_write(&two, first);
	end[1] = end[0] + script_write(&two, second);
	while (at[0] < end[0] || at[1] < end[1]) {
		uint32_t pick = any(2);
		if (at[pick] == end[pick])
			pick = !pick;
		world_deliver(&two, at[pick]++);
		if (passes && any(3) == 0)
			flow_pass(two.flow, two.time_ns);
	}
	world_drop_records(&two);
	world_pass(&two, 1);
	world_pass(&two, 60);
	world_flush(&one);
	world_flush(&two);
	same_spans(&one, &two);
	world_check(&one);
	world_check(&two);
	world_release(&one);
	world_release(&two);
}

static void any_interleaving_of_two(void **state)
{
	(void)state;
	for (size_t a = 0; a < SCRIPTS; a++)
		for (size_t b = 0; b < SCRIPTS; b++)
			for (int i = 0; i < 20; i++)
				interleaved(scripts[a], scripts[b], i & 1);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void exchange_rounds(struct world *w, struct end *s, struct end *c, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		size_t from = w->records.cnt;
		end_write(c, GET);
		end_read(s, GET);
		end_write(s, OK);
		end_read(c, OK);
		for (size_t k = from; k < w->records.cnt; k++)
			flow_record(w->flow, w->records.data[k], w->time_ns);
		world_drop_records(w);
		world_pass(w, 1);
		world_forget_spans(w);
	}
}

/* After the first few nothing is allocated any more (the records of this test are freed again each time). */
static struct flow_question question(const struct sh_span_context *span)
{
	return (struct flow_question){.span = *span};
}

static const struct flow_question *answer_of(const struct flow_question *q, size_t cnt, uint64_t span_id)
{
	for (size_t i = 0; i < cnt; i++)
		if (q[i].span.span_id == span_id)
			return &q[i];
	fail();
	return NULL;
}

/* What is under way is known, under the trace it will be reported in. */
static void asked_while_under_way(void **state)
{
	(void)state;
	struct world w;
	struct end c, s, other;
	world_init(&w, plain);
	ends_open(&w, &c, 0, &s, 1);
	other = server_open(&w, 2);
	end_read(&s, WITH_HEADER);
	world_play(&w);
	struct sh_span_context unknown = {1, 2, 3};
	struct flow_question q[] = {question(&s.self), question(&unknown), question(&s.self)};
	flow_ask(w.flow, q, 0, w.time_ns);
	flow_ask(w.flow, q, 3, w.time_ns);
	/* Its writer may be traced here: then the header says nothing. */
	assert_true(answer_of(q, 3, s.self.span_id)->request);
	assert_false(answer_of(q, 3, s.self.span_id)->settled);
	assert_true(answer_of(q, 3, 3)->settled && !answer_of(q, 3, 3)->request);
	assert_int_equal(answer_of(q, 3, 3)->span.trace_lo, 2);
	end_write(&c, WITH_HEADER);
	end_read(&other, WITH_HEADER);
	world_play(&w);
	world_pass(&w, 1);
	struct flow_question again[] = {question(&other.self), question(&c.self), question(&s.self), question(&s.self)};
	flow_ask(w.flow, again, 4, w.time_ns);
	const struct flow_question *joined = answer_of(again, 4, s.self.span_id);
	for (int i = 0; i < 4; i++) {
		assert_true(again[i].settled && again[i].request);
		assert_string_equal(again[i].method, "GET");
		assert_string_equal(again[i].path, "/a");
		assert_int_equal(again[i].server, again[i].span.span_id != c.self.span_id);
	}
	assert_int_equal(joined->span.trace_lo, c.self.trace_lo);
	assert_int_equal(joined->span.trace_hi, c.self.trace_hi);
	assert_int_equal(answer_of(again, 4, other.self.span_id)->span.trace_lo, HEADER_LO);
	assert_int_equal(answer_of(again, 4, other.self.span_id)->span.trace_hi, HEADER_HI);
	end_write(&other, OK);
	world_play(&w);
	world_pass(&w, 1);
	struct flow_question over = question(&other.self);
	flow_ask(w.flow, &over, 1, w.time_ns);
	assert_false(over.request);
	world_end(&w);
}

static void asked_texts_are_bounded(void **state)
{
	(void)state;
	struct world w;
	char text[900] = "GET /";
	world_init(&w, plain);
	struct end s = server_open(&w, 1);
	memset(text + 5, 'x', 600);
	strcpy(text + 605, "?q=1 HTTP/1.1\r\n\r\n");
	end_read(&s, text);
	world_play(&w);
	struct flow_question q = question(&s.self);
	flow_ask(w.flow, &q, 1, w.time_ns);
	assert_true(q.request);
	assert_int_equal(strlen(q.path), FLOW_PATH_MAX - 1);
	world_end(&w);
}

static void nothing_grows(void **state)
{
	(void)state;
	struct world w;
	struct end c, s;
	world_init(&w, plain);
	ends_open(&w, &c, 0, &s, 1);
	world_play(&w);
	exchange_rounds(&w, &s, &c, 100);
	size_t before = mallinfo2().uordblks;
	exchange_rounds(&w, &s, &c, 1000);
	size_t after = mallinfo2().uordblks;
	/* Traces that were joined are remembered: their index doubles now and then. */
	assert_true(after - before <= 4096 * 8);
	world_release(&w);
}

static void requests_in_a_step(struct world *w, int64_t step_ns)
{
	struct end c, s;
	world_init(w, plain);
	flow_set_clock(w->flow, 1000 * (int64_t)NSEC_PER_SEC);
	ends_open(w, &c, 0, &s, 1);
	end_write(&c, GET);
	end_read(&s, GET);
	world_call(w, 1, &s.self);
	world_play(w);
	world_pass(w, 7);
	flow_set_clock(w->flow, 1000 * (int64_t)NSEC_PER_SEC + step_ns);
	end_write(&s, OK);
	end_read(&c, OK);
	world_play(w);
	world_pass(w, 10);
	assert_int_equal(w->spans.cnt, 3);
}

/* The clock is set, or the machine sleeps, while requests are under way: they last as long as they did. */
static void clock_steps(void **state)
{
	(void)state;
	static const int64_t steps_s[] = {3600, -3600, 8 * 3600, -999, 1};
	struct world calm, w;
	requests_in_a_step(&calm, 0);
	for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
		int64_t step = steps_s[i] * (int64_t)NSEC_PER_SEC;
		requests_in_a_step(&w, step);
		vec_foreach (o, &w.spans) {
			const struct seen *same = world_get(&calm, o->span_id);
			assert_int_equal(o->duration_ns, same->duration_ns);
			assert_true(o->duration_ns >= 0 && o->duration_ns < (int64_t)NSEC_PER_SEC);
			assert_true(o->start_ns == same->start_ns || o->start_ns == same->start_ns + step);
		}
		world_end(&w);
	}
	world_end(&calm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(either_end_first),
		cmocka_unit_test(answered_before_the_writer_is_seen),
		cmocka_unit_test(waits_no_longer_than_it_must),
		cmocka_unit_test(by_header),
		cmocka_unit_test(decided_on_the_wire),
		cmocka_unit_test(decided_of_a_remote_trace),
		cmocka_unit_test(join_outranks_forwarded_header),
		cmocka_unit_test(own_headers_are_adopted),
		cmocka_unit_test(not_adopted),
		cmocka_unit_test(headers_handed_on_are_not_adopted),
		cmocka_unit_test(chain_in_every_order),
		cmocka_unit_test(chain_over_passes),
		cmocka_unit_test(chain_without_its_head),
		cmocka_unit_test(partial_chunks_wait),
		cmocka_unit_test(by_both_families),
		cmocka_unit_test(option_beside_headers),
		cmocka_unit_test(join_outranks_option),
		cmocka_unit_test(option_and_forwarded_header),
		cmocka_unit_test(option_that_is_not_there),
		cmocka_unit_test(pipelined_ones_are_joined),
		cmocka_unit_test(more_requests_than_exchanges),
		cmocka_unit_test(more_spans_than_the_assembly_holds),
		cmocka_unit_test(children_of_a_dropped_one),
		cmocka_unit_test(thread_names_are_bounded),
		cmocka_unit_test(any_interleaving_of_two),
		cmocka_unit_test(asked_while_under_way),
		cmocka_unit_test(asked_texts_are_bounded),
		cmocka_unit_test(nothing_grows),
		cmocka_unit_test(clock_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
