/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_HINDEX_H
#define TRACE_HINDEX_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/sv.h"
#include "spanhound/ids.h"

/* An open-addressing index from a 32-bit hash to the number of an item that lives elsewhere. The hash is kept beside
 * the number, so probing, deleting and growing never touch the items. Valid when zeroed.
 * Lookup: for (uint32_t i = hash, ref; (ref = hindex_at(x, &i, hash)) != HINDEX_NONE; i++) compare item[ref]. */
#define HINDEX_NONE UINT32_MAX

struct hindex_slot {
	uint32_t hash;
	uint32_t ref1; /* item + 1; 0: free */
};

struct hindex {
	struct hindex_slot *slots;
	uint32_t cap; /* a power of two, at least twice cnt */
	uint32_t cnt;
};

/* The next item at or after slot *i whose hash is `hash`; *i becomes its slot. HINDEX_NONE at the end. */
static inline uint32_t hindex_at(const struct hindex *x, uint32_t *i, uint32_t hash)
{
	if (!x->cap)
		return HINDEX_NONE;
	for (;; (*i)++) {
		const struct hindex_slot *s = &x->slots[*i & (x->cap - 1)];
		if (!s->ref1)
			return HINDEX_NONE;
		if (s->hash == hash)
			return s->ref1 - 1;
	}
}

static inline void hindex_place(struct hindex *x, uint32_t hash, uint32_t ref1)
{
	uint32_t i = hash;
	while (x->slots[i & (x->cap - 1)].ref1)
		i++;
	x->slots[i & (x->cap - 1)] = (struct hindex_slot){hash, ref1};
}

/* 0 or -ENOMEM. */
static inline int hindex_put(struct hindex *x, uint32_t hash, uint32_t ref)
{
	if (x->cnt >= x->cap / 2) {
		struct hindex grown = {.cap = x->cap ? x->cap * 2 : 256};
		grown.slots = grown.cap ? calloc(grown.cap, sizeof(*grown.slots)) : NULL;
		if (!grown.slots)
			return -ENOMEM;
		for (uint32_t i = 0; i < x->cap; i++)
			if (x->slots[i].ref1)
				hindex_place(&grown, x->slots[i].hash, x->slots[i].ref1);
		free(x->slots);
		x->slots = grown.slots;
		x->cap = grown.cap;
	}
	hindex_place(x, hash, ref + 1);
	x->cnt++;
	return 0;
}

/* Removes item `ref`, which must be there; what was probed past it moves up, so there are no deletion marks. */
static inline void hindex_del(struct hindex *x, uint32_t hash, uint32_t ref)
{
	uint32_t mask = x->cap - 1, hole = hash & mask;
	while (x->slots[hole].ref1 != ref + 1)
		hole = (hole + 1) & mask;
	for (uint32_t i = (hole + 1) & mask; x->slots[i].ref1; i = (i + 1) & mask) {
		/* An item may move to the hole unless its home lies behind the hole on its way here. */
		if (((i - x->slots[i].hash) & mask) >= ((i - hole) & mask)) {
			x->slots[hole] = x->slots[i];
			hole = i;
		}
	}
	x->slots[hole] = (struct hindex_slot){0};
	x->cnt--;
}

static inline void hindex_release(struct hindex *x)
{
	free(x->slots);
	*x = (struct hindex){0};
}

/* Empty, but keeps its memory unless that is so much that wiping it costs. */
static inline void hindex_clear(struct hindex *x)
{
	if (x->cap > 8192)
		hindex_release(x);
	else if (x->cnt)
		memset(x->slots, 0, x->cap * sizeof(*x->slots));
	x->cnt = 0;
}

/* Mixes two words into a hash. */
static inline uint32_t hindex_hash(uint64_t a, uint64_t b)
{
	return (uint32_t)(sh_mix64(a ^ (b * 0x9e3779b97f4a7c15ULL)) >> 32);
}

static inline uint64_t hindex_word(uint64_t h, uint64_t w)
{
	h = (h ^ w) * 0xbf58476d1ce4e5b9ULL;
	return h ^ h >> 29;
}

/* For hindex_hash(). Eight bytes a step, the last ones with some that were taken already. */
static inline uint64_t hindex_text(uint64_t seed, struct sv s)
{
	uint64_t h = seed + s.len * 0x9e3779b97f4a7c15ULL, w = 0;
	if (s.len < sizeof(w)) {
		for (size_t i = 0; i < s.len; i++)
			w = w << 8 | (unsigned char)s.data[i];
		return hindex_word(h, w);
	}
	for (size_t i = 0;; i += sizeof(w)) {
		i = i + sizeof(w) > s.len ? s.len - sizeof(w) : i;
		memcpy(&w, s.data + i, sizeof(w));
		h = hindex_word(h, w);
		if (i + sizeof(w) == s.len)
			return h;
	}
}

#endif
