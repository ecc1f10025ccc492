/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pace.h"

/* Rounds of `percent` of the time, until the sleep has settled. */
static uint64_t settled(unsigned percent)
{
	struct pace p = {0};
	uint64_t now = 1000, sleep = PACE_MOST_NS;
	for (int i = 0; i < 200; i++) {
		uint64_t work = sleep * percent / (100 - percent);
		sleep = pace_sleep_ns(&p, now, now + work);
		now += work + sleep;
	}
	return sleep;
}

static void short_rounds_of_little_work(void **state)
{
	(void)state;
	assert_int_equal(settled(0), PACE_MOST_NS);
	uint64_t sleep = settled(5);
	assert_in_range(sleep * 5 / 95, PACE_WORK_NS / 2, PACE_WORK_NS * 2);
	assert_in_range(settled(2) * 2 / 98, PACE_WORK_NS / 2, PACE_WORK_NS * 2);
	assert_in_range(settled(14), PACE_LEAST_NS, PACE_LEAST_NS * 2);
}

static void long_rounds_of_much(void **state)
{
	(void)state;
	assert_int_equal(settled(20), PACE_MOST_NS);
	assert_int_equal(settled(90), PACE_MOST_NS);
}

/* An hour of sleep, then work again. */
static void after_a_long_sleep(void **state)
{
	(void)state;
	struct pace p = {0};
	uint64_t hour = 3600ULL * 1000000000;
	assert_int_equal(pace_sleep_ns(&p, 1, 1), PACE_MOST_NS);
	assert_int_equal(pace_sleep_ns(&p, hour, hour + 20000), PACE_MOST_NS);
	assert_int_equal(pace_sleep_ns(&p, 100 * hour, 100 * hour + 20000), PACE_MOST_NS);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_rounds_of_little_work),
		cmocka_unit_test(long_rounds_of_much),
		cmocka_unit_test(after_a_long_sleep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
