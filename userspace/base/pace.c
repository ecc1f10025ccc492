/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pace.h"

#define WEIGHT	     8 /* rounds */
#define BUSY_PCT     15
#define LONG_IDLE_NS 1000000000 /* beyond it, however long is the same */

uint64_t pace_sleep_ns(struct pace *p, uint64_t began_ns, uint64_t ended_ns)
{
	uint64_t since = p->ended_ns ? p->ended_ns : began_ns;
	p->work_ns += ended_ns - began_ns - p->work_ns / WEIGHT;
	uint64_t cycle_ns = ended_ns - since < LONG_IDLE_NS ? ended_ns - since : LONG_IDLE_NS;
	p->cycle_ns += cycle_ns - p->cycle_ns / WEIGHT;
	p->ended_ns = ended_ns;
	if (p->work_ns * 100 >= p->cycle_ns * BUSY_PCT)
		return PACE_MOST_NS;
	uint64_t sleep_ns = p->work_ns ? PACE_WORK_NS * p->cycle_ns / p->work_ns : PACE_MOST_NS;
	return sleep_ns < PACE_LEAST_NS ? PACE_LEAST_NS : sleep_ns > PACE_MOST_NS ? PACE_MOST_NS : sleep_ns;
}
