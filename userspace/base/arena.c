/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>

/* The first block is small, since most arenas are those of short traces; each further one is twice as large. */
#define ARENA_FIRST_SZ 496
#define ARENA_BLOCK_SZ 8192

struct arena_block {
	struct arena_block *next;
	size_t used;
	size_t cap;
	uint64_t data[];
};

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

/* Not zeroed. */
static void *arena_take(struct arena *a, size_t sz)
{
	if (sz > SIZE_MAX / 2)
		return NULL;
	sz = (sz + 7) & ~(size_t)7;
	struct arena_block *b = a->blocks;
	if (!b || b->cap - b->used < sz) {
		b = arena_block_get(a, sz);
		if (!b)
			return NULL;
		b->next = a->blocks;
		a->blocks = b;
	}
	void *p = (char *)b->data + b->used;
	b->used += sz;
	return p;
}

void *arena_alloc(struct arena *a, size_t sz)
{
	void *p = arena_take(a, sz);
	return p ? memset(p, 0, sz) : NULL;
}

struct sv arena_dup(struct arena *a, struct sv s)
{
	char *p = arena_take(a, s.len + 1);
	if (!p)
		return SV_NULL;
	if (s.len)
		memcpy(p, s.data, s.len);
	p[s.len] = '\0';
	return (struct sv){p, s.len};
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
