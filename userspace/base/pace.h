/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PACE_H
#define BASE_PACE_H

#include <stdint.h>

/* How long a thread that works off what others leave sleeps between two looks. Whoever wakes up on its processor while
 * it works may wait for it: so it works for a short time at once, and often. Where it has much to do that helps nobody,
 * and sleeping long costs least. A zeroed one is ready. */
struct pace {
	uint64_t work_ns, cycle_ns; /* of the last rounds, each round counting for less than the one after it */
	uint64_t ended_ns;
};

#define PACE_WORK_NS  35000   /* at once, about */
#define PACE_LEAST_NS 250000  /* waking up costs some microseconds, too */
#define PACE_MOST_NS  5000000 /* at 100,000 requests a second, what is on its way fills a cache of a megabyte or two */

/* A round of work is over, in monotonic ns: how long to sleep now. */
uint64_t pace_sleep_ns(struct pace *p, uint64_t began_ns, uint64_t ended_ns);

#endif
