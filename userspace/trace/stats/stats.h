/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_STATS_STATS_H
#define TRACE_STATS_STATS_H

#include "trace/stats/payload.h"

/* Statistics of spans as Datadog's tracers send them to /v0.6/stats, so that traces need not all be sent: counts,
 * errors and durations by what the Agent's concentrator would group by (pkg/trace/stats/span_concentrator.go).
 *
 * A span belongs to the bucket in which it ended. The current bucket and the one before stay open; what ended earlier
 * is counted in the older one of the two, what ends in the future in the current one. One collector speaks for many
 * processes: those of one env, version, service, language and container are counted together. One thread. */

#define STATS_BUCKET_NS	    (10 * 1000000000ULL)
#define STATS_OPEN	    2	  /* buckets that stay open */
#define STATS_MAX_GROUPS    1024  /* sets of processes; spans of further ones are left to the Agent to count */
#define STATS_MAX_OPEN_KEYS 50000 /* of all open buckets; beyond, new keys are blocked as in bucket.h */

struct stats;

struct stats_options {
	struct stats_box *box; /* where payloads go */
};

struct stats *stats_new(const struct stats_options *options); /* NULL: out of memory */
void stats_free(struct stats *s); /* NULL is fine; what was counted and not flushed is gone */
/* For tests and for what the Agent says; the env of those without one (its default_env). 0 or -ENOMEM. */
int stats_set_peer_tags(struct stats *s, const struct sv *keys, uint32_t cnt);
int stats_set_additional_tags(struct stats *s, const struct sv *keys, uint32_t cnt);
void stats_set_default_env(struct stats *s, struct sv env);
/* Counts the chunk's spans, before anything is left out of it, and sets `counted`; which is not set when there are too
 * many sets of processes or no memory: then the Agent counts them. `now_unix_ns`: Unix time. */
void stats_chunk(struct stats *s, struct chunk *c, uint64_t now_unix_ns);
/* About once a second: buckets that are old enough go to the box. */
void stats_pass(struct stats *s, uint64_t now_unix_ns);
/* All buckets: at the end. */
void stats_flush(struct stats *s);

struct stats_stats {
	uint64_t spans, counted; /* seen; of those that count */
	uint64_t collapsed;	 /* of which a field was blocked, see bucket.h */
	uint64_t left_to_agent;	 /* spans of chunks that were not counted */
	uint64_t lost;		 /* counted spans of payloads that did not fit into memory or the box */
	uint64_t payloads;
	uint32_t groups;
};
void stats_stats(const struct stats *s, struct stats_stats *ret);

#endif
