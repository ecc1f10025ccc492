/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_LIMITER_H
#define TRACE_SAMPLING_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

/* A token bucket that holds one second's worth, and says which share it let through of late: that of the current
 * second, averaged with that of the second before (dd-trace-py, internal/rate_limiter.py). */
struct limiter {
	double per_second; /* 0: nothing passes; below 0: everything */
	double tokens;
	uint64_t filled_ns; /* monotonic */
	uint64_t window_ns; /* beginning of the current second; 0: none yet */
	uint64_t allowed, asked;
	double before; /* share of the second before; below 0: there was none */
};

void limiter_init(struct limiter *l, double per_second, uint64_t now_ns);
bool limiter_allow(struct limiter *l, uint64_t now_ns);
/* Somebody else asked, of the same limit: what was allowed there is not any more here. */
void limiter_note(struct limiter *l, uint64_t now_ns, bool allowed);
double limiter_effective_rate(const struct limiter *l);

#endif
