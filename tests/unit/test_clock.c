/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"

#define MS ((int64_t)NSEC_PER_MSEC)
#define S  ((int64_t)NSEC_PER_SEC)

/* Two clocks that do as they are told. */
struct clocks {
	uint64_t mono_ns;
	int64_t offset_ns; /* Unix time - monotonic */
	struct clock_anchor anchor;
	int64_t step_ns; /* as it was told last */
};

static enum clock_move read_slowly(struct clocks *c, uint64_t took_ns)
{
	/* The wall clock is read right after the first look: the worst case. */
	struct clock_reading r = {c->mono_ns, c->mono_ns + (uint64_t)c->offset_ns, c->mono_ns + took_ns};
	c->mono_ns += took_ns;
	return clock_anchor_update(&c->anchor, &r, &c->step_ns);
}

static enum clock_move after(struct clocks *c, int64_t ns)
{
	c->mono_ns += (uint64_t)ns;
	return read_slowly(c, 50);
}

static struct clocks start(void)
{
	struct clocks c = {.mono_ns = 500 * NSEC_PER_SEC, .offset_ns = 1700000000 * S};
	assert_int_equal(after(&c, 0), CLOCK_FOLLOWED);
	assert_in_range(c.anchor.unix_minus_mono_ns, c.offset_ns - 50, c.offset_ns);
	return c;
}

static void follows_once_a_second(void **state)
{
	(void)state;
	struct clocks c = start();
	unsigned followed = 0;
	for (int i = 0; i < 10000; i++) { /* a minute at 5 ms and some; 500 ppm fast */
		c.offset_ns += 6 * MS / 2000;
		enum clock_move move = after(&c, 6 * MS);
		assert_int_not_equal(move, CLOCK_STEPPED);
		followed += move == CLOCK_FOLLOWED;
		assert_in_range(c.offset_ns - c.anchor.unix_minus_mono_ns, 0, MS);
	}
	assert_in_range(followed, 58, 61);
}

/* Set by hand, or by NTP at the start; and what suspend does: one clock stands still. */
static void steps_at_once(void **state)
{
	(void)state;
	static const int64_t steps[] = {6 * MS,	      -6 * MS,	       3600 * S,     -3600 * S,
					8 * 3600 * S, -1600000000 * S, 5 * 86400 * S};
	struct clocks c = start();
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		c.offset_ns += steps[i];
		assert_int_equal(after(&c, 5 * MS), CLOCK_STEPPED);
		assert_in_range(c.step_ns - steps[i] + 50, 0, 100);
		assert_in_range(c.offset_ns - c.anchor.unix_minus_mono_ns, 0, 50);
		assert_int_equal(after(&c, 5 * MS), CLOCK_AS_BEFORE);
	}
}

/* The thread lost its processor between the two looks: no step, and nothing to follow. */
static void interrupted_readings(void **state)
{
	(void)state;
	struct clocks c = start();
	int64_t offset = c.anchor.unix_minus_mono_ns;
	for (int i = 0; i < 1000; i++) {
		c.mono_ns += 5 * NSEC_PER_MSEC;
		assert_int_equal(read_slowly(&c, 40 * NSEC_PER_MSEC), CLOCK_AS_BEFORE);
		assert_int_equal(c.anchor.unix_minus_mono_ns, offset);
	}
	assert_int_equal(after(&c, 5 * MS), CLOCK_FOLLOWED);
	/* Even such a one sees what cannot be its own doing. */
	c.offset_ns += 60 * S;
	assert_int_equal(read_slowly(&c, 40 * NSEC_PER_MSEC), CLOCK_STEPPED);
	assert_int_equal(after(&c, 2 * S), CLOCK_STEPPED); /* by as much as that one was off */
	assert_in_range(c.offset_ns - c.anchor.unix_minus_mono_ns, 0, 50);
}

static void real_clocks(void **state)
{
	(void)state;
	struct clock_anchor a = {0};
	int64_t step;
	struct clock_reading r = clock_read();
	assert_true(r.after_ns >= r.before_ns);
	assert_int_equal(clock_anchor_update(&a, &r, &step), CLOCK_FOLLOWED);
	uint64_t unix_ns = clock_mono_ns() + (uint64_t)a.unix_minus_mono_ns, real = clock_ns(CLOCK_REALTIME);
	assert_true(real - unix_ns < NSEC_PER_SEC || unix_ns - real < NSEC_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows_once_a_second),
		cmocka_unit_test(steps_at_once),
		cmocka_unit_test(interrupted_readings),
		cmocka_unit_test(real_clocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
