/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/sv.h"

/* A bump allocator: many small objects that die together. After warm-up a reset arena
 * serves its next generation without touching malloc. Valid when zeroed. */
struct arena_block;
struct arena {
	struct arena_block *blocks; /* the one in use first */
	struct arena_block *spare;  /* emptied by arena_reset, reused */
};

/* Zeroed, 8-byte aligned, or NULL when out of memory. */
void *arena_alloc(struct arena *a, size_t sz);
/* A NUL-terminated copy; SV_NULL when out of memory. */
struct sv arena_dup(struct arena *a, struct sv s);
void arena_reset(struct arena *a);
void arena_release(struct arena *a);

#endif
