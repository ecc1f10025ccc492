/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stddef.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/put.h"
#include "base/utf8.h"

/* Room that ends where it should: a sanitizer sees what goes beyond. */
static void check_number(uint64_t n)
{
	char want[32], *room = malloc(PUT_U64_MAX);
	int len = snprintf(want, sizeof(want), "%" PRIu64, n);
	char *end = put_u64(room, n);
	assert_int_equal(end - room, len);
	assert_memory_equal(room, want, (size_t)len);
	free(room);
}

static void numbers_are_as_printf_has_them(void **state)
{
	(void)state;
	for (uint64_t n = 0; n < 200000; n++)
		check_number(n);
	for (uint64_t power = 1; power <= 1000000000000000000ULL; power *= 10)
		for (uint64_t digit = 1; digit < 10; digit++)
			for (uint64_t off = 0; off < 3; off++)
				check_number(power * digit - 1 + off);
	for (uint64_t n = UINT64_MAX; n; n = n / 7 * 5)
		check_number(n);
	check_number(UINT64_MAX);
}

static void every_four_digits_at_every_place(void **state)
{
	(void)state;
	for (uint64_t n = 0; n < 10000; n++) {
		check_number(1000000000000000000ULL + n);
		check_number(1000000000000000000ULL + n * 10000);
		check_number(1000000000000000000ULL + n * 100000000);
		check_number(1000000000000000000ULL + n * 1000000000000ULL);
	}
}

static void signed_numbers(void **state)
{
	static const int64_t numbers[] = {0, -1, 1, -10, INT64_MAX, INT64_MIN, -123456789012LL};
	char want[32], got[32];
	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		*put_i64(got, numbers[i]) = '\0';
		snprintf(want, sizeof(want), "%" PRId64, numbers[i]);
		assert_string_equal(got, want);
	}
}

static void hex_has_all_digits(void **state)
{
	char want[32], got[17] = "";
	(void)state;
	for (uint64_t n = UINT64_MAX; n; n = n / 3 * 2) {
		snprintf(want, sizeof(want), "%016" PRIx64, n);
		put_hex64(got, n);
		assert_string_equal(got, want);
	}
	put_hex64(got, 0x0123456789abcdefULL);
	assert_string_equal(got, "0123456789abcdef");
	put_hex64(got, 0);
	assert_string_equal(got, "0000000000000000");
}

/* As the definition has it, byte by byte. */
static size_t plain_json(char *at, struct sv s)
{
	char *start = at;
	*at++ = '"';
	for (size_t i = 0; i < s.len;) {
		unsigned char c = (unsigned char)s.data[i];
		size_t n = utf8_len((struct sv){s.data + i, s.len - i});
		if (!n)
			at += sprintf(at, "\xef\xbf\xbd");
		else if (c == '"' || c == '\\')
			at += sprintf(at, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			at += sprintf(at, "\\u%04x", c);
		else
			at += sprintf(at, "%.*s", (int)n, s.data + i);
		i += n ? n : 1;
	}
	*at++ = '"';
	return (size_t)(at - start);
}

static void check_json(struct sv text)
{
	char *in = malloc(text.len ? text.len : 1), *room = malloc(PUT_JSON_MAX(text.len)),
	     *want = malloc(PUT_JSON_MAX(text.len) + 8);
	if (text.len)
		memcpy(in, text.data, text.len);
	size_t len = plain_json(want, text);
	char *end = put_json(room, (struct sv){in, text.len});
	assert_int_equal(end - room, len);
	assert_memory_equal(room, want, len);
	free(in);
	free(room);
	free(want);
}

/* Each odd character at each place of texts of each length that is treated in its own way. */
static void strings_with_one_odd_character(void **state)
{
	static const struct sv odd[] = {{"\"", 1},	 {"\\", 1},
					{"\n", 1},	 {"\0", 1},
					{"\x1f", 1},	 {"\x7f", 1},
					{"\x80", 1},	 {"\xff", 1},
					{"\xc3\xa4", 2}, {"\xe2\x82\xac", 3},
					{"\xe2\x82", 2}, {"\xf0\x9f\x98\x80", 4},
					{" ", 1},	 {"~", 1}};
	char text[72];
	(void)state;
	for (size_t o = 0; o < sizeof(odd) / sizeof(odd[0]); o++)
		for (size_t len = odd[o].len; len <= 68; len++)
			for (size_t at = 0; at + odd[o].len <= len; at++) {
				memset(text, 'x', sizeof(text));
				memcpy(text + at, odd[o].data, odd[o].len);
				check_json((struct sv){text, len});
			}
	*put_json(text, SV_NULL) = '\0';
	assert_string_equal(text, "\"\"");
}

static void strings_of_anything(void **state)
{
	char text[100];
	unsigned random = 1;
	(void)state;
	for (int round = 0; round < 20000; round++) {
		random = random * 1103515245 + 12345;
		size_t len = random >> 16 & 63;
		bool mostly_plain = random & 0x8000;
		for (size_t i = 0; i < len; i++) {
			random = random * 1103515245 + 12345;
			text[i] = mostly_plain && (random >> 24) % 16 ? 'a' : (char)(random >> 16);
		}
		check_json((struct sv){text, len});
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_as_printf_has_them),
		cmocka_unit_test(every_four_digits_at_every_place),
		cmocka_unit_test(signed_numbers),
		cmocka_unit_test(hex_has_all_digits),
		cmocka_unit_test(strings_with_one_odd_character),
		cmocka_unit_test(strings_of_anything),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
