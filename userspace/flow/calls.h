/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_CALLS_H
#define FLOW_CALLS_H

#include "flow/actors.h"
#include "trace/assembly.h"
#include "trace/span.h"

/* From records of the kernel half to spans: every function call that ended becomes one span of its trace.
 * Pure: works the same on a live ring and on a replayed file. Used by one thread, the consumer. */

/* What is known of a probed function. Published once, then constant, for as long as records may name it. */
struct function_info {
	struct sv name;	    /* span name */
	struct sv resource; /* default resource */
	struct sv service, type;
	bool normal, clean;	/* as in span; clean: where nothing is added to it */
	const struct tag *tags; /* of every span of this function */
	uint16_t tag_cnt;
	uint32_t probe;
	/* Adds what depends on the record's values: resource, tags, metrics, error. NULL: nothing does. `record` is
	 * whole: its size covers a struct sh_ev_call. Strings it keeps go into the arena. */
	void (*decorate)(const struct function_info *f, const struct sh_ev_call *record, struct span *span,
			 struct arena *arena);
	const void *decorate_arg;
	/* Adds to metrics; NULL: to none. `who` outlives the call. */
	void (*measure)(const struct function_info *f, const struct sh_ev_call *record, struct process_info *who);
	bool no_span; /* its calls are measured, and are no spans: counted in calls_stats.metric_only */
};

struct calls;

struct calls_options {
	struct actors *actors; /* a record of an unknown process is dropped{malformed} */
	struct assembly *assembly;
	/* NULL when the index is unknown. */
	const struct function_info *(*function)(void *arg, uint32_t index);
	void *arg;
	uint32_t max_functions;
};

struct calls *calls_new(const struct calls_options *options);
void calls_free(struct calls *c); /* NULL is fine */

/* What to add to a record's times for Unix time. */
void calls_set_clock(struct calls *c, int64_t unix_minus_mono_ns);
/* SH_EV_CALL and SH_EV_GONE. */
void calls_record(struct calls *c, const struct sh_ev_hdr *record, uint64_t now_ns);

struct calls_stats {
	uint64_t spans; /* calls that became spans */
	uint64_t errors;
	uint64_t trace_limit, malformed, metric_only; /* calls that did not */
};
void calls_stats(const struct calls *c, struct calls_stats *ret);

/* The index is to be given to another function: no record names this one any more. Any thread that knows that. */
void calls_forget(struct calls *c, uint32_t index);

struct function_stats {
	uint64_t spans, errors;
	uint64_t p50_ns, p95_ns, max_ns; /* of durations; percentiles within 1/16 */
};
/* All zero when the function was never called. */
void calls_function_stats(const struct calls *c, uint32_t index, struct function_stats *ret);

#endif
