/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <stdlib.h>

#include "trace/assembly.h"

/* A chunk that grew beyond this is not kept as it is: one huge trace must not cost memory for ever. */
#define CHUNK_KEEP_SPANS 1024
/* Most traces are short, and tens of thousands of chunks may wait for a slow receiver. */
#define CHUNK_FIRST_SPANS 2
/* So many chunks that a burst left behind are worth a look through the heap, which takes a millisecond. */
#define TRIM_CHUNKS 512

struct chunk_pool {
	struct chunk *mine;	/* of the thread that gets */
	struct chunk *returned; /* atomic stack: pushed one by one, taken as a whole, so there is no ABA */
	uint32_t idle;		/* atomic, weight of both lists */
	uint32_t max_idle;
	uint32_t freed; /* atomic: chunks since the last chunk_pool_trim() */
	/* Chunks of this age and of the one before, by its lowest bit: got, and put, which is atomic. */
	uint32_t age;
	uint64_t got[2], put[2];
};

struct chunk_pool *chunk_pool_new(uint32_t max_idle)
{
	struct chunk_pool *p = calloc(1, sizeof(*p));
	if (p)
		p->max_idle = max_idle;
	return p;
}

/* What a chunk at rest counts for: the spans it has room for, and itself. */
static uint32_t chunk_weight(const struct chunk *c)
{
	return c->span_cap + 1;
}

static void chunk_free(struct chunk *c)
{
	process_info_unref(c->process);
	process_info_unref(c->owner);
	arena_release(&c->arena);
	free(c->spans);
	free(c);
}

static void chunk_free_list(struct chunk *c)
{
	while (c) {
		struct chunk *next = c->next;
		chunk_free(c);
		c = next;
	}
}

void chunk_pool_free(struct chunk_pool *p)
{
	if (!p)
		return;
	chunk_free_list(p->mine);
	chunk_free_list(p->returned);
	free(p);
}

uint32_t chunk_pool_age(const struct chunk_pool *p)
{
	return p->age;
}

void chunk_pool_turn(struct chunk_pool *p)
{
	unsigned before = (p->age + 1) & 1;
	if (p->got[before] == __atomic_load_n(&p->put[before], __ATOMIC_ACQUIRE))
		p->age++;
}

static void chunk_is_got(struct chunk_pool *p, struct chunk *c)
{
	c->age = p->age & 1;
	p->got[c->age]++;
}

static struct chunk *chunk_pool_new_chunk(struct chunk_pool *p)
{
	struct chunk *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	chunk_is_got(p, c);
	return c;
}

struct chunk *chunk_pool_get(struct chunk_pool *p)
{
	if (!p->mine)
		p->mine = __atomic_exchange_n(&p->returned, NULL, __ATOMIC_ACQUIRE);
	struct chunk *c = p->mine;
	if (!c)
		return chunk_pool_new_chunk(p);
	chunk_is_got(p, c);
	p->mine = c->next;
	/* It comes from the other thread, cold; by the time it is asked for it is here. */
	if (c->next)
		__builtin_prefetch(c->next);
	c->next = NULL;
	__atomic_fetch_sub(&p->idle, chunk_weight(c), __ATOMIC_RELAXED);
	return c;
}

static void chunk_clear(struct chunk *c)
{
	process_info_unref(c->process);
	process_info_unref(c->owner);
	if (c->span_cnt > CHUNK_KEEP_SPANS)
		arena_release(&c->arena);
	else
		arena_reset(&c->arena);
	struct span *spans = c->spans;
	uint32_t cap = c->span_cap;
	if (cap > CHUNK_KEEP_SPANS) {
		free(spans);
		spans = NULL;
		cap = 0;
	}
	struct arena arena = c->arena;
	*c = (struct chunk){.spans = spans, .span_cap = cap, .arena = arena};
}

void chunk_pool_put(struct chunk_pool *p, struct chunk *chunk)
{
	if (!chunk)
		return;
	unsigned age = chunk->age;
	chunk_clear(chunk);
	__atomic_add_fetch(&p->put[age], 1, __ATOMIC_RELEASE);
	if (__atomic_add_fetch(&p->idle, chunk_weight(chunk), __ATOMIC_RELAXED) > p->max_idle) {
		__atomic_fetch_sub(&p->idle, chunk_weight(chunk), __ATOMIC_RELAXED);
		chunk_free(chunk);
		__atomic_fetch_add(&p->freed, 1, __ATOMIC_RELAXED);
		return;
	}
	struct chunk *head = __atomic_load_n(&p->returned, __ATOMIC_RELAXED);
	do
		chunk->next = head;
	while (!__atomic_compare_exchange_n(&p->returned, &head, chunk, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

void chunk_pool_trim(struct chunk_pool *p)
{
	if (__atomic_load_n(&p->freed, __ATOMIC_RELAXED) < TRIM_CHUNKS)
		return;
	__atomic_store_n(&p->freed, 0, __ATOMIC_RELAXED);
#ifdef __GLIBC__
	/* What lies between things that stay is not given back otherwise. */
	malloc_trim(0);
#endif
}

struct span *chunk_add(struct chunk *chunk)
{
	if (chunk->span_cnt == chunk->span_cap) {
		uint32_t cap = chunk->span_cap ? chunk->span_cap * 2 : CHUNK_FIRST_SPANS;
		struct span *spans = cap < chunk->span_cap ? NULL : reallocarray(chunk->spans, cap, sizeof(*spans));
		if (!spans)
			return NULL;
		chunk->spans = spans;
		chunk->span_cap = cap;
	}
	struct span *s = &chunk->spans[chunk->span_cnt++];
	*s = (struct span){0};
	return s;
}
