/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/stats/sketch.h"

#include <errno.h>
#include <math.h>

#define GAMMA	   ((1 + SKETCH_ACCURACY) / (1 - SKETCH_ACCURACY))
#define MULTIPLIER 49.99833328888678 /* 1 / log(GAMMA) */
#define KEPT_BITS  0xfffff80000000000ULL
#define GROW_BY	   64

int32_t sketch_index(double value)
{
	double index = log(value) * MULTIPLIER;
	/* sketches-go's way of rounding down: off by one at whole negative numbers. */
	return index >= 0 ? (int32_t)index : (int32_t)index - 1;
}

/* Makes the bins reach from `low` to `high`, both of them within SKETCH_MAX_BINS of each other. */
static int sketch_reach(struct sketch *s, struct arena *arena, int32_t low, int32_t high)
{
	if (s->bins && low >= s->offset && high < s->offset + (int32_t)s->cap)
		return 0;
	uint32_t cap = (uint32_t)(high - low + 1) + GROW_BY;
	int32_t offset = low - GROW_BY / 2;
	uint32_t *bins = arena_alloc(arena, cap * sizeof(*bins));
	if (!bins)
		return -ENOMEM;
	for (int32_t i = s->min; s->cnt > s->zeros && i <= s->max; i++)
		if (i >= low)
			bins[i - offset] = s->bins[i - s->offset];
	s->bins = bins;
	s->cap = cap;
	s->offset = offset;
	return 0;
}

/* Everything below `floor` goes into its bin. */
static uint32_t sketch_collapse(struct sketch *s, int32_t floor)
{
	uint32_t below = 0;
	for (int32_t i = s->min; i < floor && i <= s->max; i++) {
		below += s->bins[i - s->offset];
		s->bins[i - s->offset] = 0;
	}
	return below;
}

static int sketch_count(struct sketch *s, struct arena *arena, int32_t index)
{
	bool first = s->cnt == s->zeros;
	int32_t high = first || index > s->max ? index : s->max;
	int32_t floor = high - SKETCH_MAX_BINS + 1;
	int32_t low = first || index < s->min ? index : s->min;
	uint32_t below = 0;
	if (low < floor) {
		below = first ? 0 : sketch_collapse(s, floor);
		low = floor;
	}
	if (index < low)
		index = low;
	int rc = sketch_reach(s, arena, low, high);
	if (rc < 0) {
		if (below)
			s->bins[s->max - s->offset] += below;
		return rc;
	}
	s->bins[low - s->offset] += below;
	s->bins[index - s->offset]++;
	s->min = low;
	s->max = high;
	return 0;
}

int sketch_add(struct sketch *s, struct arena *arena, int64_t duration_ns)
{
	double value = (double)duration_ns;
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	bits &= KEPT_BITS;
	memcpy(&value, &bits, sizeof(bits));
	if (value <= 0) {
		s->zeros++;
	} else {
		int rc = sketch_count(s, arena, sketch_index(value));
		if (rc < 0)
			return rc;
	}
	s->cnt++;
	return 0;
}

/* --- protobuf ----------------------------------------------------------------------------------------------------- */

static void put_varint(struct sbuf *out, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		sbuf_addc(out, (char)(v | 0x80));
	sbuf_addc(out, (char)v);
}

static size_t varint_len(uint64_t v)
{
	size_t n = 1;
	while (v >>= 7)
		n++;
	return n;
}

/* Little-endian, as both of ours are. */
static void put_double(struct sbuf *out, double v)
{
	sbuf_add(out, &v, sizeof(v));
}

/* Store.contiguousBinCounts (2, packed) and .contiguousBinIndexOffset (3, zigzag; left out when 0). */
static void put_bins(struct sbuf *out, const struct sketch *s)
{
	uint64_t bytes = 8 * (uint64_t)(s->max - s->min + 1);
	uint64_t zigzag = (uint64_t)(uint32_t)s->min << 1 ^ (s->min < 0 ? UINT32_MAX : 0);
	zigzag &= UINT32_MAX;
	put_varint(out, 1 + varint_len(bytes) + bytes + (zigzag ? 1 + varint_len(zigzag) : 0));
	sbuf_addc(out, 0x12);
	put_varint(out, bytes);
	for (int32_t i = s->min; i <= s->max; i++)
		put_double(out, s->bins[i - s->offset]);
	if (zigzag) {
		sbuf_addc(out, 0x18);
		put_varint(out, zigzag);
	}
}

void sketch_encode(const struct sketch *s, struct sbuf *out)
{
	sbuf_add(out, "\x0a\x09\x09", 3); /* mapping: its length, and gamma alone */
	put_double(out, GAMMA);
	sbuf_addc(out, 0x12); /* positiveValues */
	if (s->cnt > s->zeros)
		put_bins(out, s);
	else
		sbuf_addc(out, 0);
	sbuf_add(out, "\x1a\x00", 2); /* negativeValues */
	if (s->zeros) {
		sbuf_addc(out, 0x21); /* zeroCount */
		put_double(out, s->zeros);
	}
}
