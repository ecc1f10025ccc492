/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

/* Counts of 64-bit values in buckets of at most 1/16 relative width: 16 per power of two. */
#define HISTOGRAM_SUB	  16
#define HISTOGRAM_BUCKETS ((64 - 4 + 1) * HISTOGRAM_SUB)

struct histogram {
	uint64_t cnt;
	uint64_t max;
	uint32_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t v)
{
	if (v < HISTOGRAM_SUB)
		return (unsigned)v;
	unsigned exp = 63 - (unsigned)__builtin_clzll(v);
	return (exp - 3) * HISTOGRAM_SUB + (unsigned)((v >> (exp - 4)) & (HISTOGRAM_SUB - 1));
}

static inline void histogram_add(struct histogram *h, uint64_t v)
{
	h->cnt++;
	h->max = v > h->max ? v : h->max;
	h->buckets[histogram_bucket(v)]++;
}

/* The upper edge of the bucket that holds quantile q (0..1], never above the maximum seen. */
static inline uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t rank = (uint64_t)(q * (double)h->cnt + 0.999999), sum = 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS && h->cnt; i++) {
		sum += h->buckets[i];
		if (sum < rank)
			continue;
		if (i < HISTOGRAM_SUB)
			return i;
		unsigned shift = i / HISTOGRAM_SUB - 1;
		uint64_t edge = ((uint64_t)(HISTOGRAM_SUB + i % HISTOGRAM_SUB + 1) << shift) - 1;
		return edge < h->max ? edge : h->max;
	}
	return h->max;
}

#endif
