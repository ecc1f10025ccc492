/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/sv.h"

/* A bump allocator: many small objects that die together. After warm-up a reset arena
 * serves its next generation without touching malloc. Valid when zeroed. */
struct arena_block {
	struct arena_block *next;
	size_t used;
	size_t cap;
	uint64_t data[];
};

struct arena {
	struct arena_block *blocks; /* the one in use first */
	struct arena_block *spare;  /* emptied by arena_reset, reused */
};

/* arena_take() when the block in use is full. */
void *arena_take_more(struct arena *a, size_t sz);

/* 8-byte aligned, or NULL when out of memory. Not zeroed: what is not written to is not fetched into the cache either. */
static inline void *arena_take(struct arena *a, size_t sz)
{
	struct arena_block *b = a->blocks;
	if (!b || b->cap - b->used < sz)
		return arena_take_more(a, sz);
	void *p = (char *)b->data + b->used;
	/* The capacity is a multiple of 8. */
	b->used += (sz + 7) & ~(size_t)7;
	return p;
}

/* The same, zeroed. */
static inline void *arena_alloc(struct arena *a, size_t sz)
{
	void *p = arena_take(a, sz);
	return p ? memset(p, 0, sz) : NULL;
}

/* A NUL-terminated copy; SV_NULL when out of memory. */
static inline struct sv arena_dup(struct arena *a, struct sv s)
{
	char *p = (char *)arena_take(a, s.len + 1);
	if (!p)
		return SV_NULL;
	if (s.len)
		memcpy(p, s.data, s.len);
	p[s.len] = '\0';
	return (struct sv){p, s.len};
}

void arena_reset(struct arena *a);
void arena_release(struct arena *a);

#endif
