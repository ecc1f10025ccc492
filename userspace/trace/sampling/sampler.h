/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_SAMPLER_H
#define TRACE_SAMPLING_SAMPLER_H

#include "trace/sampling/rates.h"
#include "trace/sampling/settings.h"

/* Decides about traces as Datadog's tracers do, once per trace, lazily: when a chunk is about to be sent.
 * What comes first decides:
 *   1. manual.keep or manual.drop, a tag of any span of the chunk, whatever was decided before (keep wins)
 *   2. a decision that came with the trace's context, that the kernel half made when it left (early.h), or that an earlier
 *      chunk of the trace got
 *   3. the first sampling rule that matches the local root, behind it the rate limit of the process
 *   4. the Agent's rate for the root's service and its env; for services the Agent does not list, the Agent's default
 *      (as all of Datadog's tracers do but that for Python)
 *   5. keep
 * There is one decision for all of a trace on this host, whoever is done first: that of the process the trace came from
 * (chunk.owner), with its rules, rates and limit.
 * In a piece of a trace whose local root has not ended, rules see the process's service and tags alone.
 * Spans of a dropped trace that a span rule keeps get _dd.span_sampling.*, and `kept` is set in them.
 *
 * Used by one thread; only rates come from another, through the box. After warm-up nothing is allocated. */

#define SAMPLER_MAX_OPEN  4096	/* traces of which pieces left: what is remembered of them */
#define SAMPLER_MAX_ENDED 16384 /* traces whose local root ended */
/* A process without spans for so long is forgotten: of a storm of short ones not many are kept. */
#define SAMPLER_IDLE_NS (10 * 1000000000ULL)

struct sampler;

struct sampler_options {
	/* Of our own environment; goes before that of the traced processes. Borrowed. */
	struct sampling_vars vars;
	struct rates_box *rates; /* NULL: no Agent says rates */
	/* A process's variables have mistakes: one line for each. Once per process. NULL: nobody wants to know. */
	void (*mistakes)(void *arg, const struct process_info *process, struct sv lines);
	void *arg;
};

/* NULL when out of memory. Mistakes in options->vars are said through `mistakes` (process: NULL). */
struct sampler *sampler_new(const struct sampler_options *options);
void sampler_free(struct sampler *s); /* NULL is fine */
/* Decides. `now_ns` is monotonic. */
void sampler_chunk(struct sampler *s, struct chunk *c, uint64_t now_ns);
/* Leaves of a chunk that is not kept what a receiver wants all the same: all of it when there is an error in it, else
 * the spans that span rules keep. False: nothing, and the chunk is to be dropped. The spans left out are counted and
 * reported with the process's next chunk (dropped_traces, dropped_spans). Only for receivers that said so, and only
 * when the spans are in the statistics we send. */
bool sampler_reduce(struct sampler *s, struct chunk *c);
/* About once a second: processes that were silent for a minute are forgotten; their limiters are full again by then. */
void sampler_sweep(struct sampler *s, uint64_t now_ns);

struct sampler_stats {
	uint64_t kept, dropped;	     /* chunks by priority; not all of the dropped are left out */
	uint64_t reduced_traces;     /* left out whole by sampler_reduce() */
	uint64_t reduced_spans;	     /* left out, of chunks sent and not sent */
	uint64_t kept_spans;	     /* by span rules */
	uint64_t limited;	     /* traces that a rule kept and the rate limit dropped */
	uint64_t rates, rates_taken; /* in force now; tables from the Agent */
	uint32_t processes;
};
void sampler_stats(const struct sampler *s, struct sampler_stats *ret);

#endif
