/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PRIORITY_H
#define BASE_PRIORITY_H

/* How our threads share processors with those who are traced.
 *
 * The consumer and the exporter wake every so often and work off what has gathered: tens of microseconds at once while
 * there is little of it (base/pace.h), milliseconds when there is much. A traced thread that wakes on that processor
 * meanwhile must not wait for the end of it; but neither may we starve on a busy machine, for then the rings run over.
 *
 * Since Linux 6.12 a thread may ask for time slices of its own length (sched_setattr(2), sched_runtime of SCHED_OTHER).
 * Whoever has the longer ones is interrupted at once by the waking of one with shorter ones, and has nevertheless its
 * full share: weights decide about that, not slices. So we ask for slices of 4 ms: longer than everybody's (0.75 ms * (1 +
 * log2(processors)), 3 ms at most), and no longer than need be, since with many others on a processor one's turn comes
 * the later the longer one's slices are. A traced thread waits if we have run for more than the difference of the two
 * without a break; a pass over the rings is a tenth of that.
 *
 * Measured on 6.18, two processors with other work on them, nginx answering 10,000 requests a second, over 8 s: how often
 * it woke while one of our threads ran on its processor, and how often it then waited for more than 50 us.
 *
 *	as everybody	  96 times, of which  82
 *	slices of 10 ms	 236 times, of which  18
 *	slices of 100 ms 296 times, of which  20
 *	SCHED_IDLE	  21 times, of which  18: it hardly ever ran, and records were lost in every run
 *
 * SCHED_IDLE would have to be left again while rings fill, by a thread that does not get to run; and it does nothing for
 * a target in another control group. Linux up to 6.5 lets a waking thread interrupt one that has been running anyway.
 * From 6.6 to 6.11 there is no way but a lower weight, which would cost records on a busy machine: nothing is done. */

/* Of the calling thread, and of those it will make. Kernels that do not know it take no notice. 0 or -errno. */
int priority_give_way(void);

#endif
