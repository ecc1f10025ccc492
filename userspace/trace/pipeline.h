/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PIPELINE_H
#define TRACE_PIPELINE_H

#include "trace/agent_link.h"
#include "trace/assembly.h"
#include "trace/sampling/sampler.h"
#include "trace/stats/stats.h"

/* What happens to a chunk between assembly and the exporters: it is counted, then its trace is decided about, then what
 * the Agent does not want is left out of it. Counting and leaving out need an Agent that says it can do without
 * (client_drop_p0s and /v0.6/stats at /info), and a user who asked for it. One thread, the consumer. */
struct pipeline;

struct pipeline_options {
	struct sampling_vars vars; /* of our own environment; borrowed */
	struct agent_link *agent;  /* NULL: there is none */
	bool stats;		   /* DD_TRACE_STATS_COMPUTATION_ENABLED */
	bool may_drop;		   /* nobody but that Agent gets the chunks */
	struct sv stats_tags;	   /* DD_TRACE_STATS_ADDITIONAL_TAGS: keys between commas */
	struct chunk_pool *pool;   /* what is left out whole goes back here */
	/* Takes ownership of the chunk. */
	void (*push)(void *arg, struct chunk *chunk);
	void (*mistakes)(void *arg, const struct process_info *process, struct sv lines); /* as sampler_options */
	void *arg;
};

/* NULL when out of memory. */
struct pipeline *pipeline_new(const struct pipeline_options *options);
void pipeline_free(struct pipeline *p); /* NULL is fine */
/* Takes ownership. The sink of assembly: `arg` is the pipeline. */
void pipeline_chunk(void *arg, struct chunk *c);
/* After each pass over the rings, before the chunks it closes are flushed: monotonic time, and what to add to it for
 * Unix time. */
void pipeline_pass(struct pipeline *p, uint64_t now_ns, int64_t unix_minus_mono_ns);
/* At the end, when no more chunks come: open statistics go to the Agent's link. */
void pipeline_flush(struct pipeline *p);

struct pipeline_stats {
	struct sampler_stats sampling;
	struct stats_stats stats;
	uint64_t left_out; /* spans not sent because their trace was not kept */
	bool counting;	   /* now */
};
void pipeline_stats(const struct pipeline *p, struct pipeline_stats *ret);

#endif
