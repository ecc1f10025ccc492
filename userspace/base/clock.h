/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_USEC 1000ULL

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* The clock of bpf_ktime_get_ns(). */
static inline uint64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* What to add to a monotonic time to get Unix time. Moves when the wall clock is set. */
static inline int64_t clock_mono_to_unix_ns(void)
{
	uint64_t before = clock_mono_ns(), real = clock_ns(CLOCK_REALTIME), after = clock_mono_ns();
	return (int64_t)(real - (before + (after - before) / 2));
}

#endif
