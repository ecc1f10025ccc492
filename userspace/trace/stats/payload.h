/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_STATS_PAYLOAD_H
#define TRACE_STATS_PAYLOAD_H

#include "trace/stats/bucket.h"

/* The body of one request to /v0.6/stats: ClientStatsPayload in msgpack (pkg/proto/datadog/trace/stats.proto). */
struct stats_payload {
	struct stats_payload *next;
	struct process_info *who; /* a reference is held: one process of those it is about */
	struct sbuf body;
	uint32_t groups;
	uint64_t hits;
};

/* The Agent takes 25 MiB. */
#define STATS_PAYLOAD_SZ (4 << 20)

struct stats_payload_options {
	struct process_info *who;
	struct sv env;	   /* when the process has none */
	uint64_t sequence; /* of the payload, from 0 */
	uint64_t duration_ns;
};

/* The groups of the bucket from `*first` on, as many as fit; *first becomes the next one's number. NULL: out of memory.
 */
struct stats_payload *stats_payload_new(const struct stats_bucket *b, size_t *first,
					const struct stats_payload_options *options);
void stats_payload_free(struct stats_payload *p); /* NULL is fine */

/* From the thread that counts to the one that sends, without a lock. Valid when zeroed. */
#define STATS_BOX_MAX 512 /* payloads; beyond, the new one is dropped */
struct stats_box {
	struct stats_payload *latest; /* atomic; each leads to the one before it */
	uint32_t cnt;		      /* atomic */
	uint64_t lost;		      /* atomic */
};
/* Takes ownership. False: there were too many already, and it is gone. */
bool stats_box_put(struct stats_box *b, struct stats_payload *p);
/* All that were put, first one first; the caller's from now on. NULL: none. Costs one load then. */
struct stats_payload *stats_box_take(struct stats_box *b);
void stats_box_release(struct stats_box *b);

#endif
