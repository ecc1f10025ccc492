/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_DECISIONS_H
#define TRACE_SAMPLING_DECISIONS_H

#include "base/sbuf.h"
#include "base/vec.h"
#include "trace/hindex.h"
#include "trace/span.h"

/* A bounded memory of sampling decisions by trace, with what the trace carries besides: for the pieces that
 * follow the first one, in all processes of this host. When it is full the decision remembered first is forgotten. Nothing is allocated once it was
 * full, unless a trace carries more text than those before. */
struct decision {
	uint64_t trace_hi, trace_lo;
	double rate; /* rule_rate or agent_rate, as `rates` says */
	double limit_rate;
	/* Origin, then key and value of each propagated tag, each with a NUL behind it. NULL: nothing ever was. */
	struct sbuf *carried;
	uint32_t hash;
	int16_t mechanism;
	uint16_t propagated_cnt;
	uint8_t decided, rates;
	int8_t priority;
	bool used;
}; /* a cache line: one of them is touched for every trace */

struct decisions {
	VEC(struct decision) items;
	struct hindex by_trace;
	uint32_t max;
	uint32_t oldest;    /* once there are `max` */
	uint64_t forgotten; /* to make room */
};

void decisions_init(struct decisions *d, uint32_t max);
void decisions_release(struct decisions *d);
/* Gives the chunk the decision of its trace; false when there is none. Texts go into the chunk's arena. */
bool decisions_recall(const struct decisions *d, struct chunk *c);
/* The share that a rate limit let through when the chunk's trace was decided about by it; false when it was not. */
bool decisions_limit(const struct decisions *d, const struct chunk *c, double *ret_rate);
/* Remembers the chunk's, in place of an earlier one. Out of memory it is not remembered. */
void decisions_remember(struct decisions *d, const struct chunk *c);

#endif
