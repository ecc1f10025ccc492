/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PIPELINE_H
#define TRACE_PIPELINE_H

#include "trace/agent_link.h"
#include "trace/assembly.h"
#include "trace/sampling/sampler.h"
#include "trace/span_rules.h"
#include "trace/stats/stats.h"

/* What happens to a chunk between assembly and the exporters: span rules change it, its trace is decided about (by the
 * names that its spans were given, as Datadog's tracers do it), for an Agent its spans are obfuscated and normalised,
 * then they are counted, as the Agent would do it in this order, and what the Agent does not want is left out. Counting
 * and leaving out need an Agent that says it can do without (client_drop_p0s and /v0.6/stats at /info), and a user who
 * asked for it. One thread, the consumer. */
struct pipeline;

struct pipeline_options {
	struct sampling_vars vars; /* of our own environment; borrowed */
	struct agent_link *agent;  /* NULL: there is none */
	bool stats;		   /* DD_TRACE_STATS_COMPUTATION_ENABLED */
	bool may_drop;		   /* nobody but that Agent gets the chunks */
	bool normalize;		   /* an Agent gets them, too: their names become what it would make of them */
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
/* From the next chunk on; NULL: none. They must outlive it. */
void pipeline_set_span_rules(struct pipeline *p, const struct span_rules *rules);
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
	uint64_t left_out;  /* spans not sent because their trace was not kept */
	uint64_t ruled_out; /* spans that a span rule drops */
	uint64_t unlinked;  /* links and events of span rules that were not added: unreadable, or too many */
	bool counting;	    /* now */
	uint64_t no_memory; /* spans of which something could not be obfuscated, and is "?", or normalised */
};
void pipeline_stats(const struct pipeline *p, struct pipeline_stats *ret);

#endif
