/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
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

/* The wall clock, read between two looks at the monotonic one. */
struct clock_reading {
	uint64_t before_ns, real_ns, after_ns;
};

static inline struct clock_reading clock_read(void)
{
	struct clock_reading r;
	r.before_ns = clock_mono_ns();
	r.real_ns = clock_ns(CLOCK_REALTIME);
	r.after_ns = clock_mono_ns();
	return r;
}

/* What to add to a monotonic time to get Unix time. Moves when the wall clock is set, and while the machine is suspended. */
static inline int64_t clock_reading_offset(const struct clock_reading *r)
{
	return (int64_t)(r->real_ns - (r->before_ns + (r->after_ns - r->before_ns) / 2));
}

static inline int64_t clock_mono_to_unix_ns(void)
{
	struct clock_reading r = clock_read();
	return clock_reading_offset(&r);
}

/* Everything is measured on the monotonic clock, which nobody can set and which stands still while the machine is suspended
 * (bpf_ktime_get_ns(); its sister that counts on, bpf_ktime_get_boot_ns(), differs in that alone). So durations are true
 * whatever happens to the wall clock, and do not count time in which nothing ran. Unix time is where the anchor is: it follows
 * small corrections once a second, and steps (clock_settime(2), resume) with the next reading. What was under way in a step
 * is told by the clock as it is when it ends. */
struct clock_anchor {
	int64_t unix_minus_mono_ns;
	uint64_t due_ns; /* of the next small correction */
	bool set;
};

enum clock_move { CLOCK_AS_BEFORE, CLOCK_FOLLOWED, CLOCK_STEPPED };

#define CLOCK_FOLLOW_NS NSEC_PER_SEC
#define CLOCK_STEP_NS	(5 * NSEC_PER_MSEC) /* adjtimex(2) corrects half a millisecond a second */
#define CLOCK_PRECISE_NS \
	(100 * NSEC_PER_USEC) /* a reading that took longer was interrupted: no use for small corrections */

/* To be called often. *ret_step_ns: how far a step went. */
static inline enum clock_move clock_anchor_update(struct clock_anchor *a, const struct clock_reading *r,
						  int64_t *ret_step_ns)
{
	int64_t offset = clock_reading_offset(r), move = offset - a->unix_minus_mono_ns;
	uint64_t took = r->after_ns - r->before_ns, far = move < 0 ? -(uint64_t)move : (uint64_t)move;
	bool stepped = a->set && far > CLOCK_STEP_NS + took;
	if (a->set && !stepped && (r->after_ns < a->due_ns || took > CLOCK_PRECISE_NS))
		return CLOCK_AS_BEFORE;
	*a = (struct clock_anchor){offset, r->after_ns + CLOCK_FOLLOW_NS, true};
	*ret_step_ns = move;
	return stepped ? CLOCK_STEPPED : CLOCK_FOLLOWED;
}

#endif
