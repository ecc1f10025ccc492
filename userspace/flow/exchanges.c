/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/exchanges.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/vec.h"
#include "spanhound/ids.h"
#include "trace/annex.h"

/* Exchanges at rest keep their memory, but not that of a burst. */
#define KEEP_FREE 512

/* A span that never was, under which the kernel half put what belongs to an exchange. */
struct exchange_alias {
	struct exchange_alias *next;
	struct sh_span_context fake;
	uint64_t parent_id;
	uint32_t tgid;
};

/* The generation tells a new exchange in the same place. */
struct slot {
	struct exchange *exchange;
	uint32_t generation;
	uint32_t next_free; /* slot + 1 */
};

/* Readers that wait for their writer, by deadline. */
struct searching {
	struct exchange *first, *last;
};

struct exchanges {
	struct exchanges_options options;
	int64_t unix_minus_mono_ns;
	VEC(struct slot) slots;
	uint32_t free_slot; /* + 1 */
	struct exchange *free;
	uint32_t free_cnt;
	struct searching searching[WRITERS];
	struct exchange *considered, **last_considered;
	__u64 rng;
	struct requests *requests;
	struct said *said;
	struct sbuf scratch;
	struct exchanges_stats stats;
};

struct exchanges *exchanges_new(const struct exchanges_options *options)
{
	struct exchanges *x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->options = *options;
	x->last_considered = &x->considered;
	x->requests = requests_new();
	x->said = said_new();
	if (!x->requests || !x->said) {
		exchanges_free(x);
		return NULL;
	}
	if (getrandom(&x->rng, sizeof(x->rng), 0) != sizeof(x->rng))
		x->rng = clock_mono_ns();
	return x;
}

static void exchange_free(struct exchange *e)
{
	if (!e)
		return;
	arena_release(&e->arena);
	free(e);
}

void exchanges_free(struct exchanges *x)
{
	if (!x)
		return;
	vec_foreach (s, &x->slots)
		exchange_free(s->exchange);
	while (x->free) {
		struct exchange *e = x->free;
		x->free = e->next;
		exchange_free(e);
	}
	vec_release(&x->slots);
	requests_free(x->requests);
	said_free(x->said);
	sbuf_release(&x->scratch);
	free(x);
}

void exchanges_set_clock(struct exchanges *x, int64_t unix_minus_mono_ns)
{
	x->unix_minus_mono_ns = unix_minus_mono_ns;
}

/* --- making and giving back --------------------------------------------------------------------------------------- */

/* False when out of memory. */
static bool exchanges_place(struct exchanges *x, struct exchange *e)
{
	if (!x->free_slot) {
		if (vec_push(&x->slots, (struct slot){0}))
			return false;
		x->free_slot = (uint32_t)x->slots.cnt;
	}
	e->slot = x->free_slot - 1;
	struct slot *s = &x->slots.data[e->slot];
	x->free_slot = s->next_free;
	s->exchange = e;
	s->generation++;
	return true;
}

struct exchange *exchanges_make(struct exchanges *x, bool own)
{
	x->stats.own += own;
	struct exchange *e = x->stats.open < x->options.max ? x->free : NULL;
	if (e) {
		x->free = e->next;
		x->free_cnt--;
	} else if (x->stats.open < x->options.max) {
		e = calloc(1, sizeof(*e));
	}
	if (e) {
		struct arena arena = e->arena;
		*e = (struct exchange){.facts = HTTP_FACTS_INIT, .arena = arena};
	}
	if (!e || !exchanges_place(x, e)) {
		exchange_free(e);
		x->stats.too_many++;
		return NULL;
	}
	x->stats.open++;
	return e;
}

static void exchanges_put(struct exchanges *x, struct exchange *e)
{
	struct slot *s = &x->slots.data[e->slot];
	s->exchange = NULL;
	s->next_free = x->free_slot;
	x->free_slot = e->slot + 1;
	x->stats.open--;
	if (e->joined || e->remote)
		joins_end(x->options.joins, e->self.trace_lo);
	if (x->free_cnt >= KEEP_FREE) {
		exchange_free(e);
		return;
	}
	arena_reset(&e->arena);
	e->next = x->free;
	x->free = e;
	x->free_cnt++;
}

void exchanges_own_ids(struct exchanges *x, struct exchange *e)
{
	uint64_t unix_ns = e->start_ns + (uint64_t)x->unix_minus_mono_ns;
	e->self.trace_hi = unix_ns / NSEC_PER_SEC << 32;
	e->self.trace_lo = sh_next_id(&x->rng);
	e->self.span_id = sh_next_id(&x->rng);
	e->parent_id = 0;
	e->root = true;
}

/* --- spans that never are ----------------------------------------------------------------------------------------- */

static uint64_t exchange_parent(const struct exchange *e)
{
	return e->joined ? e->writer.span_id : e->remote ? e->remote->span_id : e->parent_id;
}

static void exchanges_forget(struct exchanges *x, const struct sh_span_context *span, uint64_t parent_id, uint32_t tgid,
			     uint64_t now_ns)
{
	struct actor *actor = span->span_id ? actors_get(x->options.actors, tgid) : NULL;
	if (actor)
		assembly_forget(x->options.assembly, span->trace_hi, span->trace_lo, actor_info(actor), span->span_id,
				parent_id, true, now_ns);
}

void exchanges_mistaken(struct exchanges *x, struct exchange *e, const struct sh_span_context *fake, uint64_t parent_id,
			uint32_t tgid)
{
	struct exchange_alias *a = arena_alloc(&e->arena, sizeof(*a));
	if (!a)
		return;
	*a = (struct exchange_alias){.next = e->aliases, .fake = *fake, .parent_id = parent_id, .tgid = tgid};
	e->aliases = a;
	if (fake->trace_lo == e->self.trace_lo)
		return;
	joins_begin(x->options.joins, fake->trace_lo, 0);
	joins_same(x->options.joins, fake->trace_lo, e->self.trace_hi, e->self.trace_lo, 0);
	joins_end(x->options.joins, fake->trace_lo);
}

static void exchange_forget_aliases(struct exchanges *x, const struct exchange *e, uint64_t now_ns)
{
	for (const struct exchange_alias *a = e->aliases; a; a = a->next) {
		bool of_dropped = e->dropped && a->parent_id == e->self.span_id;
		exchanges_forget(x, &a->fake, of_dropped ? exchange_parent(e) : a->parent_id, a->tgid, now_ns);
	}
}

/* --- whose trace -------------------------------------------------------------------------------------------------- */

static uint64_t exchange_token(const struct exchanges *x, const struct exchange *e)
{
	return (uint64_t)x->slots.data[e->slot].generation << 32 | e->slot;
}

static struct exchange *exchanges_by_token(struct exchanges *x, uint64_t token)
{
	if (token == JOINS_NONE || (uint32_t)token >= x->slots.cnt)
		return NULL;
	const struct slot *s = &x->slots.data[(uint32_t)token];
	return s->generation == token >> 32 ? s->exchange : NULL;
}

static void exchange_joined(struct exchanges *x, struct exchange *e, const struct join_writer *writer)
{
	e->writer = writer->self;
	e->joined = true;
	joins_same(x->options.joins, e->self.trace_lo, writer->self.trace_hi, writer->self.trace_lo, writer->tgid);
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
	struct tag *tags =
		r->tag_cnt && !chunk->propagated ? arena_alloc(&chunk->arena, r->tag_cnt * sizeof(*tags)) : NULL;
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
	joins_same(x->options.joins, e->self.trace_lo, e->remote->trace_hi, e->remote->trace_lo, 0);
	exchange_tell_decision(x, e->remote);
}

static void exchanges_search(struct exchanges *x, struct exchange *e, const struct join_key *key,
			     enum exchange_writer who, uint64_t deadline_ns)
{
	struct searching *list = &x->searching[who];
	e->searching = who;
	e->deadline_ns = deadline_ns;
	e->key = *key;
	e->prev_searching = list->last;
	e->next_searching = NULL;
	*(list->last ? &list->last->next_searching : &list->first) = e;
	list->last = e;
}

static void exchange_leave(struct exchanges *x, struct exchange *e, uint64_t now_ns);

/* Found, or given up. */
static void exchanges_searched(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	struct searching *list = &x->searching[e->searching];
	e->searching = WRITER_STRANGE;
	*(e->prev_searching ? &e->prev_searching->next_searching : &list->first) = e->next_searching;
	*(e->next_searching ? &e->next_searching->prev_searching : &list->last) = e->prev_searching;
	if (!e->joined)
		exchange_settle(x, e);
	if (e->finished)
		exchange_leave(x, e, now_ns);
}

static void exchanges_written(struct exchanges *x, const struct exchange *e, const struct join_key *key,
			      uint64_t now_ns)
{
	struct join_writer writer = {e->self, e->tgid};
	struct exchange *reader = exchanges_by_token(x, joins_written(x->options.joins, key, &writer));
	if (!reader || !reader->searching)
		return;
	exchange_joined(x, reader, &writer);
	exchanges_searched(x, reader, now_ns);
}

/* A request that carries headers of the program's own takes the place that they name: once. Whose caller is not known may be
 * handing on the headers of one that was not seen (through TLS, say), and is left as it is. */
static void exchange_adopt(struct exchanges *x, struct exchange *e)
{
	const struct propagation_context *named = e->named;
	bool caused = e->parent_id && e->link != SH_LINK_FUNCTION && e->link != SH_LINK_NONE;
	if (!named || !named->trace_lo || !named->span_id || !caused ||
	    said_add(x->said, e->tgid, named->trace_lo, named->span_id))
		return;
	e->adopted = true;
	e->self.span_id = named->span_id;
	if (said_has(x->said, e->tgid, named->trace_lo, 0)) /* the one that is served goes on */
		return;
	e->self.trace_hi = named->trace_hi;
	e->self.trace_lo = named->trace_lo;
	e->parent_id = 0;
	e->root = true;
	exchange_tell_decision(x, named);
}

/* What came in before it is known once the pass is over: it may lie in a ring that is read later. */
static void exchange_consider(struct exchanges *x, struct exchange *e, const struct join_key *key)
{
	e->considered = true;
	e->has_key = key != NULL;
	if (key)
		e->key = *key;
	e->next_considered = NULL;
	*x->last_considered = e;
	x->last_considered = &e->next_considered;
}

static void exchanges_decide(struct exchanges *x, uint64_t now_ns)
{
	while (x->considered) {
		struct exchange *e = x->considered;
		x->considered = e->next_considered;
		e->considered = false;
		exchange_adopt(x, e);
		if (e->has_key)
			exchanges_written(x, e, &e->key, now_ns);
		if (e->finished)
			exchange_leave(x, e, now_ns);
	}
	x->last_considered = &x->considered;
}

/* What it may hand on. */
static void exchange_note_remote(struct exchanges *x, const struct exchange *e)
{
	const struct propagation_context *came = e->headers ? e->headers : e->remote;
	if (!came || !came->trace_lo)
		return;
	said_add(x->said, e->tgid, came->trace_lo, 0);
	if (came->span_id)
		said_add(x->said, e->tgid, came->trace_lo, came->span_id);
}

void exchanges_join(struct exchanges *x, struct exchange *e, const struct join_key *key, enum exchange_writer who,
		    uint64_t now_ns)
{
	struct joins *j = x->options.joins;
	struct join_writer writer;
	if (!e->facts.server) {
		if (e->decision.decided)
			joins_decide(j, e->self.trace_lo, &e->decision);
		if (e->named)
			exchange_consider(x, e, key);
		else if (key)
			exchanges_written(x, e, key, now_ns);
		return;
	}
	exchange_note_remote(x, e);
	bool wait = who != WRITER_STRANGE && key;
	bool joined = key && joins_read(j, key, wait ? exchange_token(x, e) : JOINS_NONE, &writer);
	uint64_t deadline_ns = now_ns + (who == WRITER_TRACED ? EXCHANGES_TRACED_NS : EXCHANGES_SEARCH_NS);
	/* The header, too, waits: who forwards a header of its caller is not named by it, but by the join. */
	if (joined || wait || e->remote)
		joins_begin(j, e->self.trace_lo, wait && !joined ? deadline_ns : 0);
	if (joined)
		exchange_joined(x, e, &writer);
	else if (wait)
		exchanges_search(x, e, key, who, deadline_ns);
	else
		exchange_settle(x, e);
}

/* --- to spans ----------------------------------------------------------------------------------------------------- */

const char *exchange_link_name(enum exchange_link link)
{
	static const char *const names[EXCHANGE_LINKS] = {"none",     "thread", "connection", "handoff", "fork",
							  "function", "peer",	"header",     "adopted", "option"};
	return names[link];
}

static enum exchange_link exchange_link(const struct exchange *e)
{
	if (e->facts.server)
		return e->joined			 ? EXCHANGE_LINK_PEER
		       : e->by_option			 ? EXCHANGE_LINK_OPTION
		       : e->remote && e->remote->span_id ? EXCHANGE_LINK_HEADER
							 : EXCHANGE_LINK_NONE;
	if (e->adopted)
		return EXCHANGE_LINK_ADOPTED;
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

/* Beside those of http_span(), and those that headers bring. */
enum { MORE_TAGS = 3, REMOTE_TAGS = 2, MORE_METRICS = 1 };

/* What the headers said that is for the first span of this process alone. */
static void exchange_add_remote(const struct propagation_context *r, struct span *s, struct arena *a)
{
	if (r->last_parent.len)
		s->tags[s->tag_cnt++] = (struct tag){SV("_dd.parent_id"), arena_dup(a, r->last_parent)};
	if (r->error.len)
		s->tags[s->tag_cnt++] = (struct tag){SV("_dd.propagation_error"), arena_dup(a, r->error)};
	for (uint16_t i = 0; i < r->baggage_tag_cnt; i++)
		s->tags[s->tag_cnt++] =
			(struct tag){arena_dup(a, r->baggage_tags[i].key), arena_dup(a, r->baggage_tags[i].value)};
}

/* Without memory, or room, there is none. */
static void exchange_add_link(struct exchanges *x, const struct propagation_link *l, struct span *s, struct chunk *c)
{
	struct span_link link = {.trace_hi = l->trace_hi,
				 .trace_lo = l->trace_lo,
				 .span_id = l->span_id,
				 .has_flags = true,
				 .flags = (uint8_t)l->flags,
				 .tracestate = arena_dup(&c->arena, l->tracestate)};
	link.attributes = arena_alloc(&c->arena, 2 * sizeof(*link.attributes));
	if (!link.attributes)
		return;
	link.attributes[link.attribute_cnt++] = (struct tag){SV("reason"), arena_dup(&c->arena, l->reason)};
	if (l->context_headers.len)
		link.attributes[link.attribute_cnt++] =
			(struct tag){SV("context_headers"), arena_dup(&c->arena, l->context_headers)};
	annex_add_link(c, s, &link, &x->scratch);
}

/* Traces that the headers claimed besides, or instead of, the one that it is in. */
static void exchange_add_links(struct exchanges *x, const struct exchange *e, struct span *s, struct chunk *c)
{
	const struct propagation_context *r = e->headers ? e->headers : e->remote;
	for (uint16_t i = 0; r && i < r->link_cnt; i++)
		exchange_add_link(x, &r->links[i], s, c);
	/* Whoever wrote the request is known, and handed on what somebody else had sent. */
	if (!r || !r->span_id || r->span_id == s->parent_id || (!e->joined && !e->by_option))
		return;
	struct propagation_link instead = {.trace_hi = r->trace_hi,
					   .trace_lo = r->trace_lo,
					   .span_id = r->span_id,
					   .flags = r->priority > 0,
					   .reason = SV("forwarded_context")};
	exchange_add_link(x, &instead, s, c);
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
	unsigned more = MORE_TAGS + (e->remote ? REMOTE_TAGS + e->remote->baggage_tag_cnt : 0);
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
	exchange_add_links(x, e, s, chunk);
	s->metrics[s->metric_cnt++] = (struct metric){SV("thread.id"), e->tid};
}

static void exchange_emit(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	struct actor *actor = actors_get(x->options.actors, e->tgid);
	struct chunk *chunk;
	struct span *s = actor ? assembly_add(x->options.assembly, e->self.trace_hi, e->self.trace_lo,
					      actor_info(actor), now_ns, &chunk)
			       : NULL;
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
}

/* What becomes of it is known. */
static void exchange_leave(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	if (!e->dropped)
		exchange_emit(x, e, now_ns);
	else if (e->facts.server)
		exchanges_forget(x, &e->self, exchange_parent(e), e->tgid, now_ns);
	exchange_forget_aliases(x, e, now_ns);
	exchanges_put(x, e);
}

void exchanges_finish(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	e->finished = true;
	if (!e->searching && !e->considered)
		exchange_leave(x, e, now_ns);
}

void exchanges_drop(struct exchanges *x, struct exchange *e, uint64_t now_ns)
{
	x->stats.torn++;
	e->dropped = true;
	exchanges_finish(x, e, now_ns);
}

static void exchanges_expire(struct exchanges *x, uint64_t deadline_ns, uint64_t now_ns)
{
	for (int who = 0; who < WRITERS; who++)
		while (x->searching[who].first && x->searching[who].first->deadline_ns <= deadline_ns) {
			struct exchange *e = x->searching[who].first;
			joins_give_up(x->options.joins, &e->key, exchange_token(x, e));
			exchanges_searched(x, e, now_ns);
		}
}

void exchanges_pass(struct exchanges *x, uint64_t now_ns)
{
	exchanges_decide(x, now_ns);
	exchanges_expire(x, now_ns, now_ns);
}

void exchanges_flush(struct exchanges *x, uint64_t now_ns)
{
	exchanges_decide(x, now_ns);
	exchanges_expire(x, UINT64_MAX, now_ns);
}

void exchanges_each(const struct exchanges *x, void (*fn)(void *arg, const struct exchange *e), void *arg)
{
	for (size_t i = 0; i < x->slots.cnt; i++)
		if (x->slots.data[i].exchange)
			fn(arg, x->slots.data[i].exchange);
}

const struct requests *exchanges_requests(const struct exchanges *x)
{
	return x->requests;
}

void exchanges_stats(const struct exchanges *x, struct exchanges_stats *ret)
{
	*ret = x->stats;
}
