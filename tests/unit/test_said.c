/* SPDX-License-Identifier: Apache-2.0 */
/* Spans that headers named (flow/said.h): remembered for each process, and forgotten oldest first. */
#include "flow/said.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

static void test_each_apart(void **state)
{
	(void)state;
	struct said *s = said_new();
	assert_false(said_has(s, 1, 2, 3));
	assert_false(said_add(s, 1, 2, 3));
	assert_true(said_add(s, 1, 2, 3));
	assert_true(said_has(s, 1, 2, 3));
	assert_false(said_has(s, 2, 2, 3));
	assert_false(said_has(s, 1, 3, 3));
	assert_false(said_has(s, 1, 2, 0));
	assert_false(said_has(s, 1, 3, 2));
	assert_false(said_has(s, 0, 0, 0));
	assert_false(said_add(s, 0, 0, 0));
	assert_true(said_has(s, 0, 0, 0));
	said_free(s);
	said_free(NULL);
}

/* The last ones are there, whatever fell together; of the oldest of very many none is. */
static void test_forgets(void **state)
{
	(void)state;
	struct said *s = said_new();
	unsigned kept = 0;
	for (uint64_t i = 1; i <= 16 * SAID_SPANS; i++) {
		assert_false(said_add(s, 7, i, i));
		for (uint64_t back = 0; back < SAID_WAYS && back < i; back++)
			assert_true(said_has(s, 7, i - back, i - back));
	}
	for (uint64_t i = 1; i <= SAID_SPANS; i++)
		assert_false(said_has(s, 7, i, i));
	for (uint64_t i = 15 * SAID_SPANS + 1; i <= 16 * SAID_SPANS; i++)
		kept += said_has(s, 7, i, i);
	assert_true(kept > SAID_SPANS / 2);
	/* One that is asked for often stays. */
	for (uint64_t i = 0; i < 4 * SAID_SPANS; i++) {
		said_add(s, 8, i, i);
		assert_int_equal(said_add(s, 9, 5, 5), i != 0);
	}
	said_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_apart),
		cmocka_unit_test(test_forgets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
