/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_STATS_SKETCH_H
#define TRACE_STATS_SKETCH_H

#include <stdint.h>

#include "base/arena.h"
#include "base/sbuf.h"

/* How durations are distributed, within 1 %: DDSketch with the mapping and the store of the Agent and of dd-trace-go
 * (sketches-go, LogCollapsingLowestDenseDDSketch(0.01, 2048)), in its protobuf form byte for byte. Valid when zeroed;
 * its memory is the arena's. */
struct sketch {
	uint32_t *bins;
	int32_t offset;	  /* index of bins[0] */
	uint32_t cap;	  /* of bins */
	int32_t min, max; /* of the bins in use, when there are any */
	uint32_t zeros;
	uint64_t cnt; /* all */
};

#define SKETCH_ACCURACY 0.01
#define SKETCH_MAX_BINS 2048 /* beyond, the lowest ones become one */

/* A duration loses its low bits first, as the Agent has it (pkg/trace/stats/statsraw.go): 10 significant bits are left.
 * 0 or -ENOMEM, unchanged then. */
int sketch_add(struct sketch *s, struct arena *arena, int64_t duration_ns);
/* The bin of a value above 0. */
int32_t sketch_index(double value);
/* Appends message DDSketch (sketches-go, ddsketch.proto). */
void sketch_encode(const struct sketch *s, struct sbuf *out);
/* An upper bound for what that appends. */
static inline size_t sketch_encoded_max(const struct sketch *s)
{
	return 48 + (s->cnt > s->zeros ? 8 * (size_t)(s->max - s->min + 1) : 0);
}

#endif
