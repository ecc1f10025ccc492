/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/flow.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sbuf.h"
#include "spanhound/limits.h"

#define DEFAULT_CONNECTIONS SH_MAX_CONNS
#define DEFAULT_EXCHANGES   65536
#define DEFAULT_JOINS	    65536 /* messages, and traces that are part of others, of the last seconds */
#define MAX_LATE	    16384 /* chunks */

struct flow {
	struct flow_options options;
	struct actors *actors;
	struct assembly *assembly;
	struct calls *calls;
	struct joins *joins;
	struct exchanges *exchanges;
	struct connections *connections;
	struct chunk *late, **late_end; /* whose trace may turn out to be part of another one */
	uint32_t late_cnt;
	uint64_t now_ns, malformed, unresolved;
};

static void flow_give(struct flow *f, struct chunk *chunk)
{
	const struct joins_decision *d = joins_decision(f->joins, chunk->trace_lo);
	if (d && !chunk->decided) {
		chunk->decided = d->here ? DECIDED_HERE : DECIDED_UPSTREAM;
		chunk->priority = d->priority;
		chunk->mechanism = d->mechanism;
		chunk->rates = d->rates;
		chunk->rule_rate = chunk->agent_rate = d->rate;
		if (d->origin[0])
			chunk->origin = arena_dup(&chunk->arena, sv_of(d->origin));
	}
	f->options.assembly.sink(f->options.assembly.sink_arg, chunk);
}

/* The process that its trace came from decides about it. */
static void flow_own(struct flow *f, struct chunk *chunk, uint32_t tgid)
{
	const struct actor *actor = tgid ? actors_get(f->actors, tgid) : NULL;
	if (actor && actor_info(actor) != chunk->process)
		chunk->owner = process_info_ref(actor_info(actor));
}

/* What was decided about a trace, as the kernel half knew it, holds for the one that it is part of, unless more is known
 * about that. */
static void flow_hand_on(struct flow *f, uint64_t begun_lo, uint64_t real_lo)
{
	const struct joins_decision *d = begun_lo == real_lo ? NULL : joins_decision(f->joins, begun_lo);
	struct joins_decision copy;
	if (!d || joins_decision(f->joins, real_lo))
		return;
	copy = *d; /* the table may move */
	joins_decide(f->joins, real_lo, &copy);
}

/* A chunk leaves under the name of the trace that its own turned out to be part of. */
static void flow_sink(void *arg, struct chunk *chunk)
{
	struct flow *f = arg;
	uint32_t tgid;
	uint64_t begun_lo = chunk->trace_lo;
	if (joins_resolve(f->joins, &chunk->trace_hi, &chunk->trace_lo, f->now_ns, &tgid)) {
		flow_hand_on(f, begun_lo, chunk->trace_lo);
		flow_own(f, chunk, tgid);
		flow_give(f, chunk);
	} else if (f->late_cnt < MAX_LATE) {
		chunk->next = NULL;
		*f->late_end = chunk;
		f->late_end = &chunk->next;
		f->late_cnt++;
	} else {
		f->unresolved++;
		flow_give(f, chunk);
	}
}

static void flow_late(struct flow *f)
{
	struct chunk *chunk = f->late, *next;
	f->late = NULL;
	f->late_end = &f->late;
	f->late_cnt = 0;
	for (; chunk; chunk = next) {
		next = chunk->next;
		chunk->next = NULL;
		flow_sink(f, chunk);
	}
}

static uint32_t or_default(uint32_t value, uint32_t standard)
{
	return value ? value : standard;
}

static void flow_want(void *arg, const struct request_settings *settings)
{
	struct flow *f = arg;
	connections_want(f->connections, settings);
}

static bool flow_open(struct flow *f)
{
	struct flow_options *o = &f->options;
	struct assembly_options assembly = o->assembly;
	assembly.sink = flow_sink;
	assembly.sink_arg = f;
	f->actors = actors_new(&o->actors, flow_want, f);
	f->assembly = assembly_new(&assembly);
	f->joins = joins_new(or_default(o->max_joins, DEFAULT_JOINS));
	if (!f->actors || !f->assembly || !f->joins)
		return false;
	struct calls_options calls = {.actors = f->actors,
				      .assembly = f->assembly,
				      .function = o->function,
				      .arg = o->function_arg,
				      .max_functions = o->max_functions};
	f->calls = calls_new(&calls);
	struct exchanges_options exchanges = {.assembly = f->assembly,
					      .actors = f->actors,
					      .joins = f->joins,
					      .max = or_default(o->max_exchanges, DEFAULT_EXCHANGES)};
	f->exchanges = exchanges_new(&exchanges);
	struct connections_options connections = {.exchanges = f->exchanges,
						  .actors = f->actors,
						  .max = or_default(o->max_connections, DEFAULT_CONNECTIONS),
						  .head_max = o->head_max};
	f->connections = f->exchanges ? connections_new(&connections) : NULL;
	return f->calls && f->connections;
}

struct flow *flow_new(const struct flow_options *options)
{
	struct flow *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->options = *options;
	f->late_end = &f->late;
	if (flow_open(f))
		return f;
	flow_free(f);
	return NULL;
}

void flow_free(struct flow *f)
{
	if (!f)
		return;
	while (f->late) {
		struct chunk *chunk = f->late;
		f->late = chunk->next;
		chunk_pool_put(f->options.assembly.pool, chunk);
	}
	connections_free(f->connections);
	exchanges_free(f->exchanges);
	joins_free(f->joins);
	calls_free(f->calls);
	assembly_free(f->assembly);
	actors_free(f->actors);
	free(f);
}

void flow_set_clock(struct flow *f, int64_t unix_minus_mono_ns)
{
	calls_set_clock(f->calls, unix_minus_mono_ns);
	exchanges_set_clock(f->exchanges, unix_minus_mono_ns);
}

void flow_refresh(struct flow *f)
{
	actors_refresh(f->actors);
}

void flow_record(struct flow *f, const struct sh_ev_hdr *record, uint64_t now_ns)
{
	f->now_ns = now_ns;
	switch (record->kind) {
	case SH_EV_CALL:
	case SH_EV_GONE:
		calls_record(f->calls, record, now_ns);
		return;
	case SH_EV_CONN:
	case SH_EV_DATA:
	case SH_EV_CLOSE:
		connections_record(f->connections, record, now_ns);
		return;
	case SH_EV_THREAD:
	case SH_EV_FORK:
	case SH_EV_EXEC:
	case SH_EV_EXIT:
	case SH_EV_MAP:
	case SH_EV_TURN:
		if (record->size >= sizeof(struct sh_ev_proc))
			actors_event(f->actors, (const struct sh_ev_proc *)record, now_ns);
		return;
	}
	f->malformed++;
}

void flow_pass(struct flow *f, uint64_t now_ns)
{
	f->now_ns = now_ns;
	connections_pass(f->connections, now_ns);
	exchanges_pass(f->exchanges, now_ns);
	flow_late(f);
	assembly_pass(f->assembly, now_ns);
	actors_pass(f->actors, now_ns);
}

void flow_flush(struct flow *f, uint64_t now_ns)
{
	f->now_ns = UINT64_MAX; /* whatever is not known by now never will be */
	connections_flush(f->connections, now_ns);
	exchanges_flush(f->exchanges, now_ns);
	flow_late(f);
	assembly_flush(f->assembly);
}

struct asked {
	struct flow_question *questions;
	size_t cnt;
};

static int by_span(const void *a, const void *b)
{
	const struct flow_question *x = a, *y = b;
	return x->span.span_id < y->span.span_id ? -1 : x->span.span_id > y->span.span_id;
}

static void keep_text(char *to, size_t size, struct sv text)
{
	size_t len = text.len < size ? text.len : size - 1;
	memcpy(to, len ? text.data : "", len);
	to[len] = '\0';
}

/* Several threads may work for the same. */
static void answer_exchange(void *arg, const struct exchange *e)
{
	struct asked *a = arg;
	struct flow_question key = {.span = e->self};
	struct flow_question *end = a->questions + a->cnt,
			     *q = bsearch(&key, a->questions, a->cnt, sizeof(key), by_span);
	while (q && q > a->questions && q[-1].span.span_id == e->self.span_id)
		q--;
	for (; q && q < end && q->span.span_id == e->self.span_id; q++) {
		q->request = true;
		q->server = e->facts.server;
		q->start_ns = e->start_ns;
		keep_text(q->method, sizeof(q->method), e->facts.method);
		keep_text(q->path, sizeof(q->path), http_target_path(e->facts.target));
	}
}

void flow_ask(struct flow *f, struct flow_question *questions, size_t cnt, uint64_t now_ns)
{
	struct asked asked = {questions, cnt};
	uint32_t tgid;
	if (!cnt)
		return;
	qsort(questions, cnt, sizeof(*questions), by_span);
	exchanges_each(f->exchanges, answer_exchange, &asked);
	for (size_t i = 0; i < cnt; i++) {
		uint64_t hi = questions[i].span.trace_hi, lo = questions[i].span.trace_lo;
		questions[i].settled = joins_resolve(f->joins, &hi, &lo, now_ns, &tgid);
		questions[i].span.trace_hi = hi;
		questions[i].span.trace_lo = lo;
	}
}

void flow_stats(const struct flow *f, struct flow_stats *ret)
{
	calls_stats(f->calls, &ret->calls);
	exchanges_stats(f->exchanges, &ret->exchanges);
	connections_stats(f->connections, &ret->connections);
	joins_stats(f->joins, &ret->joins);
	assembly_stats(f->assembly, &ret->assembly);
	ret->malformed = f->malformed;
	ret->unresolved = f->unresolved;
}

const struct requests *flow_requests(const struct flow *f)
{
	return exchanges_requests(f->exchanges);
}

void flow_forget_function(struct flow *f, uint32_t index)
{
	calls_forget(f->calls, index);
}

const struct calls *flow_calls(const struct flow *f)
{
	return f->calls;
}

void flow_account(const struct flow *f, uint64_t *ret_own, uint64_t dropped[])
{
	struct flow_stats s;
	flow_stats(f, &s);
	*ret_own = s.exchanges.own;
	dropped[SH_DROP_trace_limit] += s.calls.trace_limit + s.exchanges.trace_limit;
	dropped[SH_DROP_malformed] += s.calls.malformed + s.exchanges.malformed;
	dropped[SH_DROP_metric_only] += s.calls.metric_only;
	dropped[SH_DROP_exchange_torn] += s.exchanges.torn + s.connections.torn;
	dropped[SH_DROP_not_http] += s.connections.not_http;
	dropped[SH_DROP_exchange_limit] += s.exchanges.too_many + s.connections.refused;
}
