/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/assembly.h"

#include <stdlib.h>

#include "base/vec.h"
#include "trace/hindex.h"

#define NONE HINDEX_NONE
#define LEFT 4096 /* traces; a power of two */

/* A call that is not reported. Found by (span id, open chunk), freed with its open chunk. */
struct tombstone {
	uint64_t span_id, parent_id;
	uint32_t owner; /* index into opens */
	uint32_t next;	/* of the same owner, or free */
	uint32_t hash;
	bool local_root;
};

struct open_chunk {
	uint64_t trace_hi, trace_lo;
	struct process_info *process; /* a reference is held */
	struct chunk *chunk;	      /* NULL: nothing since the last partial flush */
	uint64_t last_ns;
	uint32_t prev, next; /* by last_ns while open; `next` also links closing and free ones */
	uint32_t tombstones;
	uint32_t hash;
	bool closed;
};

struct open_list {
	uint32_t first, last;
};

struct assembly {
	struct assembly_options options;
	VEC(struct open_chunk) opens;
	VEC(struct tombstone) tombstones;
	struct hindex by_trace, by_span;
	uint32_t free_open, free_tombstone;
	uint32_t recent;	  /* the last one found: spans of one trace come in runs */
	struct open_list idle;	  /* not closed; longest untouched first */
	struct open_list closing; /* flushed by the next pass */
	uint64_t left[LEFT];	  /* traces whose root left lately: what comes now is late */
	struct assembly_stats stats;
};

struct assembly *assembly_new(const struct assembly_options *options)
{
	struct assembly *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->options = *options;
	a->free_open = a->free_tombstone = a->recent = NONE;
	a->idle = a->closing = (struct open_list){NONE, NONE};
	return a;
}

/* --- lists of open chunks ----------------------------------------------------------------------------------------- */

static void assembly_link(struct assembly *a, struct open_list *list, uint32_t i)
{
	struct open_chunk *o = &a->opens.data[i];
	o->next = NONE;
	o->prev = list->last;
	if (list->last == NONE)
		list->first = i;
	else
		a->opens.data[list->last].next = i;
	list->last = i;
}

static void assembly_unlink(struct assembly *a, struct open_list *list, uint32_t i)
{
	struct open_chunk *o = &a->opens.data[i];
	if (o->prev == NONE)
		list->first = o->next;
	else
		a->opens.data[o->prev].next = o->next;
	if (o->next == NONE)
		list->last = o->prev;
	else
		a->opens.data[o->next].prev = o->prev;
}

static void assembly_touch(struct assembly *a, uint32_t i, uint64_t now_ns)
{
	struct open_chunk *o = &a->opens.data[i];
	o->last_ns = now_ns;
	if (o->closed || a->idle.last == i)
		return;
	assembly_unlink(a, &a->idle, i);
	assembly_link(a, &a->idle, i);
}

/* --- finding and making them -------------------------------------------------------------------------------------- */

static bool open_is(const struct open_chunk *o, uint64_t hi, uint64_t lo, const struct process_info *process)
{
	return o->trace_lo == lo && o->trace_hi == hi && o->process == process;
}

static uint32_t assembly_find(struct assembly *a, uint64_t hi, uint64_t lo, const struct process_info *process,
			      uint32_t hash)
{
	if (a->recent != NONE && open_is(&a->opens.data[a->recent], hi, lo, process))
		return a->recent;
	uint32_t ref;
	for (uint32_t i = hash; (ref = hindex_at(&a->by_trace, &i, hash)) != NONE; i++)
		if (open_is(&a->opens.data[ref], hi, lo, process))
			return a->recent = ref;
	return NONE;
}

static uint32_t trace_hash(uint64_t hi, uint64_t lo, const struct process_info *process)
{
	return hindex_hash(lo, hi ^ ((uintptr_t)process >> 4));
}

/* The root of a request's trace may end before what was called for it: its last calls come after the response. */
static uint64_t *assembly_left(struct assembly *a, uint64_t lo)
{
	return &a->left[hindex_hash(lo, 0) & (LEFT - 1)];
}

/* Small trace ids of tests, too, must not make up for two processes that lie near each other. */
static uint64_t left_mark(uint64_t lo, const struct process_info *process)
{
	return lo ^ (uint64_t)(uintptr_t)process << 16;
}

static void assembly_close_at(struct assembly *a, uint32_t i)
{
	struct open_chunk *o = &a->opens.data[i];
	if (o->closed)
		return;
	assembly_unlink(a, &a->idle, i);
	*assembly_left(a, o->trace_lo) = left_mark(o->trace_lo, o->process);
	o->closed = true;
	assembly_link(a, &a->closing, i);
}

/* NONE beyond the limit or out of memory. */
static uint32_t assembly_make(struct assembly *a, uint64_t hi, uint64_t lo, struct process_info *process, uint32_t hash)
{
	if (a->stats.open_chunks >= a->options.max_chunks)
		return NONE;
	uint32_t i = a->free_open;
	if (i == NONE) {
		i = (uint32_t)a->opens.cnt;
		if (vec_push(&a->opens, (struct open_chunk){.next = NONE}))
			return NONE;
		a->free_open = i;
	}
	if (hindex_put(&a->by_trace, hash, i))
		return NONE;
	struct open_chunk *o = &a->opens.data[i];
	a->free_open = o->next;
	*o = (struct open_chunk){.trace_hi = hi, .trace_lo = lo, .tombstones = NONE, .hash = hash};
	o->process = process_info_ref(process);
	assembly_link(a, &a->idle, i);
	a->stats.open_chunks++;
	if (*assembly_left(a, lo) == left_mark(lo, process))
		assembly_close_at(a, i);
	return a->recent = i;
}

static void assembly_drop_tombstones(struct assembly *a, struct open_chunk *o)
{
	while (o->tombstones != NONE) {
		uint32_t i = o->tombstones;
		struct tombstone *t = &a->tombstones.data[i];
		o->tombstones = t->next;
		hindex_del(&a->by_span, t->hash, i);
		t->next = a->free_tombstone;
		a->free_tombstone = i;
		a->stats.open_tombstones--;
	}
}

/* The caller has taken it off its list. */
static void assembly_unmake(struct assembly *a, uint32_t i)
{
	struct open_chunk *o = &a->opens.data[i];
	assembly_drop_tombstones(a, o);
	hindex_del(&a->by_trace, o->hash, i);
	process_info_unref(o->process);
	o->process = NULL;
	o->next = a->free_open;
	a->free_open = i;
	if (a->recent == i)
		a->recent = NONE;
	a->stats.open_chunks--;
}

/* --- flushing ----------------------------------------------------------------------------------------------------- */

static const struct tombstone *assembly_tombstone(const struct assembly *a, uint32_t owner, uint64_t span_id)
{
	uint32_t hash = hindex_hash(span_id, owner), ref;
	for (uint32_t i = hash; (ref = hindex_at(&a->by_span, &i, hash)) != NONE; i++) {
		const struct tombstone *t = &a->tombstones.data[ref];
		if (t->span_id == span_id && t->owner == owner)
			return t;
	}
	return NULL;
}

static void assembly_reparent(struct assembly *a, uint32_t owner, struct span *s)
{
	const struct tombstone *t = assembly_tombstone(a, owner, s->parent_id);
	if (!t)
		return;
	/* A chain is as long as the number of tombstones at most, unless the ids are damaged and form a circle. */
	for (uint64_t left = a->stats.open_tombstones; t && left; left--) {
		s->parent_id = t->parent_id;
		s->local_root |= t->local_root;
		t = t->local_root ? NULL : assembly_tombstone(a, owner, s->parent_id);
	}
	a->stats.reparented++;
}

/* Hands the spans gathered so far to the sink. */
static void assembly_emit(struct assembly *a, uint32_t i, bool partial)
{
	struct open_chunk *o = &a->opens.data[i];
	struct chunk *c = o->chunk;
	if (!c)
		return;
	if (o->tombstones != NONE)
		for (uint32_t s = 0; s < c->span_cnt; s++)
			assembly_reparent(a, i, &c->spans[s]);
	c->partial = partial;
	o->chunk = NULL;
	a->stats.open_spans -= c->span_cnt;
	a->stats.flushed_spans += c->span_cnt;
	a->stats.flushed_chunks++;
	a->options.sink(a->options.sink_arg, c);
}

static void assembly_flush_list(struct assembly *a, struct open_list *list, bool partial)
{
	while (list->first != NONE) {
		uint32_t i = list->first;
		assembly_unlink(a, list, i);
		assembly_emit(a, i, partial);
		assembly_unmake(a, i);
	}
}

void assembly_pass(struct assembly *a, uint64_t now_ns)
{
	assembly_flush_list(a, &a->closing, false);
	while (a->idle.first != NONE) {
		uint32_t i = a->idle.first;
		struct open_chunk *o = &a->opens.data[i];
		/* A clock read before the last add is no reason to expire. */
		if (now_ns < o->last_ns || now_ns - o->last_ns <= a->options.max_idle_ns)
			break;
		a->stats.idle_chunks += o->chunk != NULL;
		assembly_unlink(a, &a->idle, i);
		assembly_emit(a, i, true);
		assembly_unmake(a, i);
	}
}

void assembly_flush(struct assembly *a)
{
	assembly_flush_list(a, &a->closing, false);
	assembly_flush_list(a, &a->idle, true);
}

void assembly_free(struct assembly *a)
{
	if (!a)
		return;
	vec_foreach (o, &a->opens) {
		if (!o->process)
			continue;
		chunk_pool_put(a->options.pool, o->chunk);
		process_info_unref(o->process);
	}
	hindex_release(&a->by_trace);
	hindex_release(&a->by_span);
	vec_release(&a->opens);
	vec_release(&a->tombstones);
	free(a);
}

/* --- what arrives ------------------------------------------------------------------------------------------------- */

/* The chunk that takes open chunk i's next span, or NULL when out of memory. */
static struct chunk *assembly_chunk(struct assembly *a, uint32_t i)
{
	struct open_chunk *o = &a->opens.data[i];
	if (o->chunk)
		return o->chunk;
	struct chunk *c = chunk_pool_get(a->options.pool);
	if (!c)
		return NULL;
	c->trace_hi = o->trace_hi;
	c->trace_lo = o->trace_lo;
	c->process = process_info_ref(o->process);
	return o->chunk = c;
}

struct span *assembly_add(struct assembly *a, uint64_t trace_hi, uint64_t trace_lo, struct process_info *process,
			  uint64_t now_ns, struct chunk **ret_chunk)
{
	uint32_t hash = trace_hash(trace_hi, trace_lo, process);
	uint32_t i = assembly_find(a, trace_hi, trace_lo, process, hash);
	if (i != NONE) {
		const struct open_chunk *o = &a->opens.data[i];
		if (o->chunk && !o->closed && a->options.partial_min_spans &&
		    o->chunk->span_cnt >= a->options.partial_min_spans) {
			assembly_emit(a, i, true);
			a->stats.partial_chunks++;
		}
	}
	if (a->stats.open_spans < a->options.max_spans) {
		if (i == NONE)
			i = assembly_make(a, trace_hi, trace_lo, process, hash);
		struct chunk *c = i == NONE ? NULL : assembly_chunk(a, i);
		struct span *s = c ? chunk_add(c) : NULL;
		if (s) {
			assembly_touch(a, i, now_ns);
			a->stats.open_spans++;
			*ret_chunk = c;
			return s;
		}
	}
	a->stats.limit_spans++;
	return NULL;
}

void assembly_close(struct assembly *a, struct chunk *chunk)
{
	uint32_t hash = trace_hash(chunk->trace_hi, chunk->trace_lo, chunk->process);
	uint32_t i = assembly_find(a, chunk->trace_hi, chunk->trace_lo, chunk->process, hash);
	if (i != NONE)
		assembly_close_at(a, i);
}

static void assembly_bury(struct assembly *a, uint32_t owner, uint64_t span_id, uint64_t parent_id, bool local_root)
{
	uint32_t hash = hindex_hash(span_id, owner), i = a->free_tombstone;
	if (a->stats.open_tombstones >= a->options.max_spans)
		goto lost;
	if (i == NONE) {
		i = (uint32_t)a->tombstones.cnt;
		if (vec_push(&a->tombstones, (struct tombstone){.next = NONE}))
			goto lost;
		a->free_tombstone = i;
	}
	if (hindex_put(&a->by_span, hash, i))
		goto lost;
	struct tombstone *t = &a->tombstones.data[i];
	struct open_chunk *o = &a->opens.data[owner];
	a->free_tombstone = t->next;
	*t = (struct tombstone){span_id, parent_id, owner, o->tombstones, hash, local_root};
	o->tombstones = i;
	a->stats.open_tombstones++;
	return;
lost:
	a->stats.lost_tombstones++;
}

void assembly_forget(struct assembly *a, uint64_t trace_hi, uint64_t trace_lo, struct process_info *process,
		     uint64_t span_id, uint64_t parent_id, bool local_root, uint64_t now_ns)
{
	uint32_t hash = trace_hash(trace_hi, trace_lo, process);
	uint32_t i = assembly_find(a, trace_hi, trace_lo, process, hash);
	if (i == NONE)
		i = assembly_make(a, trace_hi, trace_lo, process, hash);
	if (i == NONE) {
		a->stats.lost_tombstones++;
		return;
	}
	assembly_touch(a, i, now_ns);
	assembly_bury(a, i, span_id, parent_id, local_root);
	if (local_root)
		assembly_close_at(a, i);
}

void assembly_stats(const struct assembly *a, struct assembly_stats *ret_stats)
{
	*ret_stats = a->stats;
}
