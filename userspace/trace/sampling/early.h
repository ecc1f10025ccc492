/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_EARLY_H
#define TRACE_SAMPLING_EARLY_H

#include <pthread.h>

#include "spanhound/sampling.h"
#include "trace/sampling/rates.h"
#include "trace/sampling/settings.h"

/* Decisions that are made before anything of the trace has ended: by the kernel half, when a context leaves its process, by
 * rates that are kept here. What decides is what sampler.h says, as far as it is known by then:
 *   1. the first sampling rule that the process's service and tags match and, of traces that begin with a request, the name
 *      of its span (http.server.request, http.client.request). A rule that asks for a resource, for another name, or for a
 *      tag that is not the process's, does not match; the next one may.
 *   2. the Agent's rate for the process's service and env, else its default
 *   3. keep
 * Processes for which that comes out alike share an entry, and its rate limit (DD_TRACE_RATE_LIMIT; in this half it is of
 * each process). */
struct early {
	pthread_mutex_t lock;	   /* of all the rest: processes are found by one thread, rates heard by another */
	struct sampling_vars vars; /* of our own environment; borrowed */
	struct sh_rates *table;	   /* the kernel half's memory; NULL: nobody decides early */
	struct early_entry *entries;
	uint32_t cnt, max;
	struct rates *rates; /* NULL: none yet */
	struct sbuf key;     /* scratch */
	uint64_t full;	     /* processes that found no entry of their own: entry 0 decides, by the Agent's default */
};

void early_init(struct early *e, const struct sampling_vars *vars);
void early_release(struct early *e); /* what is in the table stays */
/* From now on there is a table, zeroed, with room for `max`. 0 or -ENOMEM. */
int early_start(struct early *e, struct sh_rates *table, uint32_t max);
/* The index for a process; 0 without a table, or when there is no room. Mistakes in its settings are said elsewhere. */
uint32_t early_index(struct early *e, const struct process_info *info);
/* An Agent's answer to traces (rates.h). Any thread. Takes effect at once. */
void early_answer(struct early *e, struct sv json);

#endif
