/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_THRESHOLD_H
#define TRACE_SAMPLING_THRESHOLD_H

#include "spanhound/sampling.h"

/* A rate (0..1; beyond: the nearer end; not a number: 0) as sh_sampling_keeps() takes it. */
static inline __u64 sampling_threshold(double rate)
{
	if (rate >= 1)
		return SH_SAMPLING_ALL;
	return rate > 0 ? (__u64)(rate * 0x1p64) : SH_SAMPLING_NONE;
}

#endif
