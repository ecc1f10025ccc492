/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_STATS_BUCKET_H
#define TRACE_STATS_BUCKET_H

#include "base/vec.h"
#include "trace/stats/key.h"
#include "trace/stats/sketch.h"

/* The counts of the spans that ended in the same ten seconds, by key. What could grow without bound is bounded as in
 * dd-trace-go (pkg/trace/stats/statsraw.go): beyond so many different values of a field, or keys, the value of that
 * field, or of all, becomes STATS_BLOCKED. */
#define STATS_MAX_KEYS		  7000
#define STATS_MAX_RESOURCES	  1024
#define STATS_MAX_ENDPOINTS	  512
#define STATS_MAX_PEER_SETS	  512
#define STATS_MAX_ADDITIONAL_SETS 100

struct stats_group {
	struct stats_key key; /* its strings are the bucket's */
	uint64_t hits, errors, duration_ns, top_level_hits;
	struct sketch ok, failed;
};

/* Different values seen; two that share 64 bits of hash count for one. */
struct stats_set {
	struct hindex index;
	VEC(uint64_t) hashes;
};

/* Valid when zeroed. */
struct stats_bucket {
	uint64_t start_ns; /* Unix time */
	VEC(struct stats_group) groups;
	struct hindex by_key;
	struct stats_set resources, endpoints, peers, additional;
	uint64_t collapsed; /* spans of which a field was blocked */
	struct arena arena;
};

/* 0, or -ENOMEM with the span not counted. The key may be changed. `max_keys`: from STATS_MAX_KEYS on down. */
int stats_bucket_add(struct stats_bucket *b, struct stats_key *key, const struct span *s, bool top_level,
		     uint32_t max_keys);
/* Empty, with its memory kept. */
void stats_bucket_reset(struct stats_bucket *b);
void stats_bucket_release(struct stats_bucket *b);

#endif
