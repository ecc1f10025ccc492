/* SPDX-License-Identifier: Apache-2.0 */
#include "spanhound/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct sh_option one = {.trace_hi = 0x6b029ec6ULL << 32,
				     .trace_lo = 0x1122334455667788,
				     .span_id = 0x99aabbccddeeff01,
				     .at = 0x01020304,
				     .priority = 1};

static void bytes(void **state)
{
	(void)state;
	static const uint8_t want[SH_OPTION_LEN] = {254,  28,	0x53, 0x48, 0x02, 0x03, 0x04, 0x03, 0x6b, 0x02,
						    0x9e, 0xc6, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
						    0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01};
	uint8_t got[SH_OPTION_LEN];
	sh_option_write(&one, got);
	assert_memory_equal(got, want, sizeof(want));
}

static void there_and_back(void **state)
{
	(void)state;
	static const int8_t priorities[] = {-2, -1, 0, 1, 2, 12, SH_OPTION_NO_PRIORITY};
	static const int32_t apart[] = {0, 1, 2, 3, -1, -65536, 65536, (1 << 23) - 1, -(1 << 23)};
	static const uint32_t seqs[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffff, 0x1000000, 0xffffffff, 0x12345678};
	for (size_t p = 0; p < sizeof(priorities); p++)
		for (size_t a = 0; a < sizeof(apart) / sizeof(apart[0]); a++)
			for (size_t s = 0; s < sizeof(seqs) / sizeof(seqs[0]); s++)
				for (uint8_t sure = 0; sure < 2; sure++) {
					struct sh_option in = one, out;
					uint8_t wire[SH_OPTION_LEN];
					in.priority = priorities[p];
					in.sure = sure;
					in.at = seqs[s] + (uint32_t)apart[a];
					assert_true(sh_option_fits(&in));
					sh_option_write(&in, wire);
					assert_true(sh_option_read(&out, wire, seqs[s]));
					assert_memory_equal(&in, &out, sizeof(in));
				}
}

static void what_does_not_fit(void **state)
{
	(void)state;
	struct sh_option o = one;
	o.trace_hi |= 1;
	assert_false(sh_option_fits(&o));
	o = one;
	o.trace_lo = 0;
	assert_false(sh_option_fits(&o));
	o = one;
	o.span_id = 0;
	assert_false(sh_option_fits(&o));
	o = one;
	o.priority = 13;
	assert_false(sh_option_fits(&o));
	o.priority = -3;
	assert_false(sh_option_fits(&o));
}

static void of_others(void **state)
{
	(void)state;
	struct sh_option o;
	uint8_t wire[SH_OPTION_LEN];
	for (int i = 0; i < 4; i++) { /* kind, length, number */
		sh_option_write(&one, wire);
		wire[i]++;
		assert_false(sh_option_read(&o, wire, one.at));
	}
	sh_option_write(&one, wire);
	memset(wire + 12, 0, 8);
	assert_false(sh_option_read(&o, wire, one.at));
	sh_option_write(&one, wire);
	memset(wire + 20, 0, 8);
	assert_false(sh_option_read(&o, wire, one.at));
}

/* It goes with the segment that has the request's fourth byte, wherever the first is. */
static void which_segment(void **state)
{
	(void)state;
	static const uint32_t ats[] = {1000, 0xfffffffe, 0x7ffffffe, 0};
	for (size_t i = 0; i < sizeof(ats) / sizeof(ats[0]); i++) {
		uint32_t at = ats[i];
		assert_true(sh_option_rides(at, at, at + 4));
		assert_true(sh_option_rides(at, at - 100, at + 1000));
		assert_true(sh_option_rides(at, at + 3, at + 4));
		assert_false(sh_option_rides(at, at, at + 3));
		assert_false(sh_option_rides(at, at + 4, at + 1000));
		assert_false(sh_option_rides(at, at - 10, at));
		assert_false(sh_option_rides(at, at + 3, at + 3)); /* an ACK alone */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes),     cmocka_unit_test(there_and_back), cmocka_unit_test(what_does_not_fit),
		cmocka_unit_test(of_others), cmocka_unit_test(which_segment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
