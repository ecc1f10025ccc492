/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/nearest.h"

static unsigned distance(const char *a, const char *b)
{
	return edit_distance(sv_of(a), sv_of(b), 100);
}

static void test_distance(void **state)
{
	(void)state;
	assert_int_equal(distance("", ""), 0);
	assert_int_equal(distance("abc", ""), 3);
	assert_int_equal(distance("", "abc"), 3);
	assert_int_equal(distance("abc", "abc"), 0);
	assert_int_equal(distance("abc", "ABC"), 0);
	assert_int_equal(distance("chrage_card", "charge_card"), 1);
	assert_int_equal(distance("kitten", "sitting"), 3);
	assert_int_equal(distance("ab", "ba"), 1);
	assert_int_equal(distance("flaw", "lawn"), 2);
	assert_int_equal(edit_distance(SV("kitten"), SV("sitting"), 2), 3);
	assert_int_equal(edit_distance(SV("a"), SV("abcdefgh"), 2), 3);
}

static void test_nearest(void **state)
{
	static const char *const names[] = {"charge_card", "charge_cart", "refund", "main", "a"};
	static const struct {
		const char *wanted, *best;
	} cases[] = {
		{"chrage_card", "charge_card"},
		{"charge_cards", "charge_card"},
		{"mian", "main"},
		{"refnd", "refund"},
		{"something else", NULL},
		{"", NULL},
		{"x", NULL},
		{"charge_cart", "charge_cart"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nearest n;
		nearest_init(&n, sv_of(cases[i].wanted));
		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
			nearest_offer(&n, sv_of(names[j]));
		assert_true(sv_eq(n.best, sv_of(cases[i].best)));
	}
}

static void test_long_names(void **state)
{
	char a[NEAREST_MAX_LEN + 1], b[NEAREST_MAX_LEN + 1];
	(void)state;
	memset(a, 'x', sizeof(a));
	memset(b, 'x', sizeof(b));
	b[5] = 'y';
	assert_int_equal(edit_distance((struct sv){a, NEAREST_MAX_LEN}, (struct sv){b, NEAREST_MAX_LEN}, 3), 1);
	assert_int_equal(edit_distance((struct sv){a, NEAREST_MAX_LEN + 1}, (struct sv){b, NEAREST_MAX_LEN}, 3), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_long_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
