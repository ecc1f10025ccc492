/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdlib.h>

/* The first block is small, since most arenas are those of short traces, and thousands of them may be on their way: what
 * a span of a request takes. Each further one is twice as large. */
#define ARENA_FIRST_SZ 720
#define ARENA_BLOCK_SZ 8192

static struct arena_block *arena_block_get(struct arena *a, size_t sz)
{
	for (struct arena_block **at = &a->spare; *at; at = &(*at)->next) {
		struct arena_block *b = *at;
		if (b->cap < sz)
			continue;
		*at = b->next;
		b->used = 0;
		return b;
	}
	size_t cap = a->blocks ? a->blocks->cap * 2 : ARENA_FIRST_SZ;
	cap = cap > ARENA_BLOCK_SZ ? ARENA_BLOCK_SZ : cap;
	cap = sz > cap ? sz : cap;
	struct arena_block *b = malloc(sizeof(*b) + cap);
	if (b) {
		b->cap = cap;
		b->used = 0;
	}
	return b;
}

void *arena_take_more(struct arena *a, size_t sz)
{
	if (sz > SIZE_MAX / 2)
		return NULL;
	sz = (sz + 7) & ~(size_t)7;
	struct arena_block *b = arena_block_get(a, sz);
	if (!b)
		return NULL;
	b->next = a->blocks;
	a->blocks = b;
	b->used = sz;
	return b->data;
}

void arena_reset(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *b = a->blocks;
		a->blocks = b->next;
		b->next = a->spare;
		a->spare = b;
	}
}

void arena_release(struct arena *a)
{
	arena_reset(a);
	while (a->spare) {
		struct arena_block *b = a->spare;
		a->spare = b->next;
		free(b);
	}
}
