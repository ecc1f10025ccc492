/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_GUARD_H
#define APP_GUARD_H

#include "app/session.h"
#include "base/memory.h"
#include "kernel/capabilities.h"

/* Guard rails of a daemon, looked at once a second, when the configuration asks for them:
 *
 * limits: {target_overhead: 5%}. What probes cost the traced threads is estimated: calls of each function times this
 * machine's price for its kind of probe. Above that share of one CPU, all targets together, the probes that cost most are
 * taken off until the rest is below; each comes back after a while (GUARD_BACKOFF, doubled each time it had to go again)
 * once all is below half of the limit. Calls of a probe that is off are not seen, so they are in no account.
 *
 * limits: {memory: 256m}, or what the cgroup that we run in may take (base/memory.h). Above 9/10 of that much the queue of
 * spans takes half as many (those it does not take are dropped{queue_full}), down to GUARD_MIN_QUEUE; below 7/10 it takes twice
 * as many, up to its own limit, or what is sure to fit in when it starts. */
#define GUARD_BACKOFF_S	    30
#define GUARD_MAX_BACKOFF_S 3600
#define GUARD_MIN_QUEUE	    1000 /* spans */
#define GUARD_SPAN \
	2048 /* bytes a waiting span takes at most, as a rule: alone in its chunk, with values and their tags */
#define GUARD_EXPORTER (24 << 20) /* what an exporter holds by itself: DD_TRACE_WRITER_BUFFER_SIZE_BYTES */

struct guard_probe {
	uint64_t cost_ns;  /* at the last look, since the start */
	uint64_t past_ns;  /* of this, functions that were forgotten */
	uint64_t spent_ns; /* in the last interval */
	uint64_t off_until_ns;
	uint32_t backoff_s;
};

struct guard {
	struct session *session;
	struct price_list prices;
	uint64_t past_calls[COST_UNPROBEABLE][SITE_END_NONE + 1]; /* of functions that were forgotten */
	bool priced;
	double limit; /* share of one CPU; 0: none */
	struct memory_limit memory;
	uint64_t memory_looked_ns;
	uint32_t queue_spans, queue_limit;
	struct guard_probe *probes; /* by index; as many as the list may have */
	size_t probe_cap;
	uint64_t looked_ns;
	uint32_t off;			    /* probes that are, */
	uint64_t taken_off, restored, shed; /* and how often something was done */
	double share;			    /* of one CPU, in the last interval */
};

/* Allocates nothing big where nothing is asked for. 0 or -ENOMEM. */
int guard_init(struct guard *g, struct session *s);
void guard_release(struct guard *g);
/* True: probes were taken off or put back (and it was said). */
bool guard_tick(struct guard *g, uint64_t now_ns);
/* The function will be forgotten; what it cost will not. */
void guard_unpublish(struct guard *g, const struct plan_function *f);
/* Estimate of all calls so far; measures prices when that was not done yet. */
uint64_t guard_cost_ns(struct guard *g);

#endif
