/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/exchanges.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/vec.h"

struct list {
	struct exchange *first, **end;
};

struct exchanges {
	struct exchanges_options options;
	int64_t unix_minus_mono_ns;
	VEC(struct exchange *) slots;
	struct exchange *free;
	uint32_t cnt;
	struct exchange *searching, **searching_end; /* by deadline */
	struct list held; /* finished; whose trace theirs is part of is not settled */
	uint64_t rng;
	struct requests *requests;
	struct sbuf scratch;
	struct exchanges_stats stats;
};

struct exchanges *exchanges_new(const struct exchanges_options *options)
{
	struct exchanges *x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->options = *options;
	x->requests = requests_new();
	if (!x->requests) {
		free(x);
		return NULL;
	}
	x->searching_end = &x->searching;
	x->held.end = &x->held.first;
	if (getrandom(&x->rng, sizeof(x->rng), 0) != sizeof(x->rng))
		x->rng = clock_mono_ns();
	return x;
}

void exchanges_free(struct exchanges *x)
{
	if (!x)
		return;
	vec_foreach (e, &x->slots) {
		arena_release(&(*e)->arena);
		free(*e);
	}
	vec_release(&x->slots);
	requests_free(x->requests);
	sbuf_release(&x->scratch);
	free(x);
}

void exchanges_set_clock(struct exchanges *x, int64_t unix_minus_mono_ns)
{
	x->unix_minus_mono_ns = unix_minus_mono_ns;
}

/* --- making and giving back --------------------------------------------------------------------------------------- */

struct exchange *exchanges_make(struct exchanges *x)
{
	struct exchange *e = x->free;
	if (x->cnt >= x->options.max) {
		x->stats.too_many++;
		return NULL;
	}
	if (e) {
		x->free = e->next;
	} else {
		e = calloc(1, sizeof(*e));
		if (!e || vec_push(&x->slots, e)) {
			free(e);
			x->stats.too_many++;
			return NULL;
		}
		e->slot = (uint32_t)x->slots.cnt - 1;
	}
	struct exchange blank = {.facts = HTTP_FACTS_INIT, .arena = e->arena, .slot = e->slot, .generation = e->generation + 1};
	*e = blank;
	x->cnt++;
	return e;
}

static void exchanges_put(struct exchanges *x, struct exchange *e)
{
	arena_reset(&e->arena);
	e->generation++;
	e->next = x->free;
	x->free = e;
	x->cnt--;
}

static uint64_t exchanges_random(struct exchanges *x)
{
	/* splitmix64, as the kernel half makes its ids. */
	uint64_t z = x->rng += 0x9e3779b97f4a7c15ULL;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	z ^= z >> 31;
	return z ? z : 1;
}

void exchanges_own_ids(struct exchanges *x, struct exchange *e)
{
	uint64_t unix_ns = e->start_ns + (uint64_t)x->unix_minus_mono_ns;
	x->stats.own++;
	e->self.trace_hi = unix_ns / NSEC_PER_SEC << 32;
	e->self.trace_lo = exchanges_random(x);
	e->self.span_id = exchanges_random(x);
	e->parent_id = 0;
	e->root = true;
}

/* --- whose trace -------------------------------------------------------------------------------------------------- */

static uint64_t exchange_token(const struct exchange *e)
{
	return (uint64_t)e->generation << 32 | e->slot;
}

static struct exchange *exchanges_by_token(struct exchanges *x, uint64_t token)
{
	struct exchange *e = (uint32_t)token < x->slots.cnt ? x->slots.data[(uint32_t)token] : NULL;
	return e && e->generation == token >> 32 ? e : NULL;
}

static void exchange_joined(struct exchanges *x, struct exchange *e, const struct sh_span_context *writer)
{
	e->writer = *writer;
	e->joined = true;
	joins_same(x->options.joins, e->self.trace_lo, writer->trace_hi, writer->trace_lo);
}

static void exchange_tell_decision(struct exchanges *x, const struct propagation_context *r)
{
	struct joins_decision d = {.decided = true, .mechanism = MECHANISM_UNSAID};
	if (r->priority == PROPAGATION_PRIORITY_NONE)
		return;
	d.priority = (int8_t)(r->priority < INT8_MIN ? INT8_MIN : r->priority > INT8_MAX ? INT8_MAX : r->priority);
	struct sv dm = propagation_tag(r, SV("_dd.p.dm"));
	if (dm.len >= 2 && dm.len <= 4 && dm.data[0] == '-')
		d.mechanism = (int16_t)strtol(dm.data + 1, NULL, 10);
	size_t len = r->origin.len < sizeof(d.origin) - 1 ? r->origin.len : sizeof(d.origin) - 1;
	memcpy(d.origin, r->origin.data ? r->origin.data : "", len);
	joins_decide(x->options.joins, r->trace_lo, &d);
}

/* The _dd.p.* tags that came along go on with the chunk of the process they came to. */
static void exchange_carry(const struct propagation_context *r, struct chunk *chunk)
{
	struct tag *tags = r->tag_cnt && !chunk->propagated ? arena_alloc(&chunk->arena, r->tag_cnt * sizeof(*tags)) : NULL;
	if (!tags)
		return;
	for (uint16_t i = 0; i < r->tag_cnt; i++)
		if (!sv_eq(r->tags[i].key, SV("_dd.p.tid")) && !sv_eq(r->tags[i].key, SV("_dd.p.dm")))
			tags[chunk->propagated_cnt++] = (struct tag){arena_dup(&chunk->arena, r->tags[i].key),
								     arena_dup(&chunk->arena, r->tags[i].value)};
	chunk->propagated = tags;
}

/* Nobody here wrote it: its header says whose it is, or it is the first of its trace. */
static void exchange_settle(struct exchanges *x, struct exchange *e)
{
	if (!e->remote || !e->remote->trace_lo) {
		joins_settle(x->options.joins, e->self.trace_lo);
		return;
	}
	joins_same(x->options.joins, e->self.trace_lo, e->remote->trace_hi, e->remote->trace_lo);
	exchange_tell_decision(x, e->remote);
}

static uint64_t exchange_parent(const struct exchange *e)
{
	return e->joined ? e->writer.span_id : e->remote ? e->remote->span_id : e->parent_id;
}

void exchanges_join(struct exchanges *x, struct exchange *e, const struct join_key *key, enum exchange_writer who,
		    uint64_t now_ns)
{
	struct sh_span_context writer;
	if (!e->facts.server) {
		uint64_t token = key ? joins_written(x->options.joins, key, &e->self) : JOINS_NONE;
		struct exchange *reader = token == JOINS_NONE ? NULL : exchanges_by_token(x, token);
		if (reader && reader->searching)
			exchange_joined(x, reader, &e->self);
		return;
	}
	bool wait = who != WRITER_STRANGE && key;
	uint64_t deadline_ns = now_ns + (who == WRITER_TRACED ? EXCHANGES_TRACED_NS : EXCHANGES_SEARCH_NS);
	/* The header, too, waits: who forwards a header of its caller is not named by it, but by the join. */
	if (wait || e->remote)
		joins_begin(x->options.joins, e->self.trace_lo, wait ? deadline_ns : 0);
	if (key && joins_read(x->options.joins, key, exchange_token(e), &writer)) {
		exchange_joined(x, e, &writer);
		return;
	}
	if (!wait) {
		exchange_settle(x, e);
		return;
	}
	e->searching = true;
	e->deadline_ns = deadline_ns;
	e->next_searching = NULL;
	*x->searching_end = e;
	x->searching_end = &e->next_searching;
}

/* --- to spans ----------------------------------------------------------------------------------------------------- */
void exchanges_mistaken(struct exchanges *x, struct exchange *e, const struct sh_span_context *ids, uint64_t now_ns)
{
	struct actor *actor = actors_get(x->options.actors, e->tgid);
	if (!ids->span_id || !actor)
		return;
	if (ids->trace_lo != e->self.trace_lo) {
		joins_begin(x->options.joins, ids->trace_lo, 0);
		joins_same(x->options.joins, ids->trace_lo, e->self.trace_hi, e->self.trace_lo);
	}
	assembly_forget(x->options.assembly, ids->trace_hi, ids->trace_lo, actor_info(actor), ids->span_id,
			e->self.span_id, false, now_ns);
}


const char *exchange_link_name(enum exchange_link link)
{
	static const char *const names[EXCHANGE_LINKS] = {"none", "thread", "connection", "handoff",
							  "fork", "function", "peer", "header"};
	return names[link];
}

static enum exchange_link exchange_link(const struct exchange *e)
{
	if (e->facts.server)
		return e->joined ? EXCHANGE_LINK_PEER :
		       e->remote && e->remote->span_id ? EXCHANGE_LINK_HEADER : EXCHANGE_LINK_NONE;
	switch ((enum sh_link)e->link) {
	case SH_LINK_THREAD:
		return EXCHANGE_LINK_THREAD;
	case SH_LINK_CONNECTION:
		return EXCHANGE_LINK_CONNECTION;
	case SH_LINK_HANDOFF:
		return EXCHANGE_LINK_HANDOFF;
	case SH_LINK_FORK:
		return EXCHANGE_LINK_FORK;
	case SH_LINK_FUNCTION:
		return EXCHANGE_LINK_FUNCTION;
	case SH_LINK_NONE:
		break;
	}
	return EXCHANGE_LINK_NONE;
}

enum { MORE_TAGS = 5, MORE_METRICS = 1 };

/* What the headers said that is for the first span of this process alone. */
static void exchange_add_remote(const struct propagation_context *r, struct span *s, struct arena *a)
{
	if (r->last_parent.len)
		s->tags[s->tag_cnt++] = (struct tag){SV("_dd.parent_id"), arena_dup(a, r->last_parent)};
	if (r->error.len)
		s->tags[s->tag_cnt++] = (struct tag){SV("_dd.propagation_error"), arena_dup(a, r->error)};
	for (uint16_t i = 0; i < r->baggage_tag_cnt; i++)
		s->tags[s->tag_cnt++] = (struct tag){arena_dup(a, r->baggage_tags[i].key), arena_dup(a, r->baggage_tags[i].value)};
}

static void exchange_describe(struct exchanges *x, const struct exchange *e, struct span *s, struct chunk *chunk,
			      const struct actor *actor, unsigned more_tags)
{
	const struct process_info *info = actor_info(actor);
	struct http_naming naming = {.routes = {info->routes[0], info->routes[1]},
				     .resources = requests_resources(x->requests, info->service),
				     .scratch = &x->scratch};
	http_span(s, &chunk->arena, &e->facts, actor_requests(actor)->http, &naming, more_tags, MORE_METRICS);
}

static void exchange_span(struct exchanges *x, struct exchange *e, struct span *s, struct chunk *chunk,
			  const struct actor *actor)
{
	s->span_id = e->self.span_id;
	s->parent_id = exchange_parent(e);
	s->start_ns = (int64_t)(e->start_ns + (uint64_t)x->unix_minus_mono_ns);
	s->duration_ns = e->end_ns > e->start_ns ? (int64_t)(e->end_ns - e->start_ns) : 0;
	s->probe = UINT32_MAX;
	s->local_root = e->root || e->facts.server;
	unsigned more = MORE_TAGS + (e->remote ? e->remote->baggage_tag_cnt : 0);
	exchange_describe(x, e, s, chunk, actor, more);
	if (e->connect_only) {
		s->name = s->resource = SV("tcp.connect");
		s->type = SV_NULL;
	}
	struct sv thread = actor_thread_name(actor, e->tid);
	enum exchange_link link = exchange_link(e);
	if (!s->tags || !s->metrics)
		return;
	if (thread.len)
		s->tags[s->tag_cnt++] = (struct tag){SV("thread.name"), arena_dup(&chunk->arena, thread)};
	if (link)
		s->tags[s->tag_cnt++] = (struct tag){SV("spanhound.link"), sv_of(exchange_link_name(link))};
	if (e->unfinished)
		s->tags[s->tag_cnt++] = (struct tag){SV("spanhound.unfinished"), SV("true")};
	if (e->remote)
		exchange_add_remote(e->remote, s, &chunk->arena);
	s->metrics[s->metric_cnt++] = (struct metric){SV("thread.id"), e->tid};
}

static void exchange_emit(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	struct actor *actor = actors_get(x->options.actors, e->tgid);
	struct chunk *chunk;
	struct span *s = actor ? assembly_add(x->options.assembly, e->self.trace_hi, e->self.trace_lo, actor_info(actor),
					      now_ns, &chunk) : NULL;
	if (s) {
		exchange_span(x, e, s, chunk, actor);
		if (e->remote && !e->joined)
			exchange_carry(e->remote, chunk);
		x->stats.spans++;
		x->stats.errors += s->error;
		x->stats.links[exchange_link(e)]++;
		struct request_name name = {s->service.len ? s->service : actor_info(actor)->service, s->resource,
					    e->facts.server};
		requests_count(x->requests, &name, s->error, (uint64_t)s->duration_ns);
		if (s->local_root)
			assembly_close(x->options.assembly, chunk);
	} else if (actor) {
		x->stats.trace_limit++;
	} else {
		x->stats.malformed++;
	}
	exchanges_put(x, e);
}

/* Into the assembly, unless it may still turn out that its trace is part of another one. */
static void exchange_leave(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	uint64_t hi = e->self.trace_hi, lo = e->self.trace_lo;
	if (joins_resolve(x->options.joins, &hi, &lo, now_ns)) {
		exchange_emit(x, e, now_ns);
		return;
	}
	e->next = NULL;
	*x->held.end = e;
	x->held.end = &e->next;
}

void exchanges_finish(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	e->finished = true;
	if (!e->searching)
		exchange_leave(x, e, now_ns);
}

void exchanges_drop(struct exchanges *x, struct exchange *e)
{
	x->stats.torn++;
	if (!e->searching) {
		exchanges_put(x, e);
		return;
	}
	/* It is on the list of those that search; its trace's other spans are still to come. */
	e->finished = true;
	e->self.span_id = 0;
}

static void exchanges_searched(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	e->searching = false;
	if (!e->joined)
		exchange_settle(x, e);
	if (!e->finished)
		return;
	if (e->self.span_id)
		exchange_leave(x, e, now_ns);
	else
		exchanges_put(x, e);
}

void exchanges_pass(struct exchanges *x, uint64_t now_ns)
{
	/* Joined ones need not wait for those before them. */
	struct exchange **at = &x->searching;
	while (*at) {
		struct exchange *e = *at;
		if (!e->joined && now_ns < e->deadline_ns) {
			at = &e->next_searching;
			continue;
		}
		*at = e->next_searching;
		exchanges_searched(x, e, now_ns);
	}
	x->searching_end = at;
	struct exchange *held = x->held.first, *next;
	x->held.first = NULL;
	x->held.end = &x->held.first;
	for (; held; held = next) {
		next = held->next;
		exchange_leave(x, held, now_ns);
	}
}

void exchanges_flush(struct exchanges *x)
{
	exchanges_pass(x, UINT64_MAX);
}

const struct requests *exchanges_requests(const struct exchanges *x)
{
	return x->requests;
}

void exchanges_stats(const struct exchanges *x, struct exchanges_stats *ret)
{
	*ret = x->stats;
}
