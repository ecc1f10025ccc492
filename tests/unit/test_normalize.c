/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "trace/normalize.h"

/* The vectors are those of the Agent's own tests, pkg/trace/traceutil/normalize. */

struct vector {
	const char *in, *out;
};

static char *repeat(const char *s, int times)
{
	struct sbuf b = {0};
	while (times-- > 0)
		sbuf_adds(&b, s);
	char *text = sbuf_detach(&b);
	assert_non_null(text);
	return text;
}

static void check(void (*fn)(struct sbuf *, struct sv), const char *in, const char *want)
{
	struct sbuf b = {0};
	fn(&b, sv_of(in));
	assert_string_equal(sbuf_str(&b), want);
	sbuf_release(&b);
}

static void check_repeated(void (*fn)(struct sbuf *, struct sv), const char *in, int n, const char *want, int m)
{
	char *a = repeat(in, n), *b = repeat(want, m);
	check(fn, a, b);
	free(a);
	free(b);
}

static void tags(void **state)
{
	(void)state;
	static const struct vector v[] = {
		{"#test_starting_hash", "test_starting_hash"},
		{"TestCAPSandSuch", "testcapsandsuch"},
		{"Test Conversion Of Weird !@#$%^&**() Characters", "test_conversion_of_weird_characters"},
		{"$#weird_starting", "weird_starting"},
		{"allowed:c0l0ns", "allowed:c0l0ns"},
		{"1love", "love"},
		{"ünicöde", "ünicöde"},
		{"ünicöde:metäl", "ünicöde:metäl"},
		{"Data🐨dog🐶 繋がっ⛰てて", "data_dog_繋がっ_てて"},
		{" spaces   ", "spaces"},
		{" #hashtag!@#spaces #__<>#  ", "hashtag_spaces"},
		{":testing", ":testing"},
		{"_foo", "foo"},
		{":::test", ":::test"},
		{"contiguous_____underscores", "contiguous_underscores"},
		{"foo_", "foo"},
		{"\xef\xbf\xbd", ""},
		{"\xef\xbf\xbd\xef\xbf\xbd", ""},
		{"\xef\xbf\xbdodd_\xef\xbf\xbd\xef\xbf\xbd"
		 "case\xef\xbf\xbd",
		 "odd_case"},
		{"test\x99\x8f"
		 "foo",
		 "test_foo"},
		{"AlsO:ök", "also:ök"},
		{":still_ok", ":still_ok"},
		{"___trim", "trim"},
		{"12.:trim@", ":trim"},
		{"12.:trim@@", ":trim"},
		{"fun:ky__tag/1", "fun:ky_tag/1"},
		{"fun:ky@tag/2", "fun:ky_tag/2"},
		{"fun:ky@@@tag/3", "fun:ky_tag/3"},
		{"tag:1/2.3", "tag:1/2.3"},
		{"---fun:k####y_ta@#g/1_@@#", "fun:k_y_ta_g/1"},
		{"AlsO:œ#@ö))œk", "also:œ_ö_œk"},
		{"", ""},
		{"a\xef\xbf\xbd\xef\xbf\xbd"
		 "b",
		 "a_b"},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		check(normalize_tag, v[i].in, v[i].out);
	check_repeated(normalize_tag, "a", 888, "a", 200);
	check_repeated(normalize_tag, "🐨", 400, "", 0);
}

static void tag_values(void **state)
{
	(void)state;
	static const struct vector v[] = {
		{"1love", "1love"},
		{"_foo", "_foo"},
		{"12.:trim@@", "12.:trim"},
		{"PROD", "prod"},
		{"&&prod", "_prod"},
		{"a_b_c", "a_b_c"},
		{"ÀÉÎ", "àéî"},
		{"ẞ", "ẞ"},
		{"ДОМ", "дом"},
		{"٣x", "٣x"},
		{"²", ""},
		{"\xff\xfe", ""},
		{"x\xc3", "x"},
		{"x\xe7\xb9y", "x_y"},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		check(normalize_tag_value, v[i].in, v[i].out);
}

/* "a#" × 300: 200 characters are looked at, 100 of them kept; the gap at the end goes. */
static void tag_length(void **state)
{
	(void)state;
	char *in = repeat("a#", 300);
	struct sbuf b = {0};
	normalize_tag_value(&b, sv_of(in));
	assert_int_equal(b.len, 199);
	sbuf_release(&b);
	free(in);
	/* 3-byte letters: 400 bytes are reached first. */
	in = repeat("繋", 300);
	normalize_tag_value(&b, sv_of(in));
	assert_int_equal(b.len, 402);
	sbuf_release(&b);
	free(in);
}

static void service_plain(struct sbuf *b, struct sv s)
{
	normalize_service(b, s, SV_NULL);
}

static void service_go(struct sbuf *b, struct sv s)
{
	normalize_service(b, s, SV("go"));
}

static void services(void **state)
{
	(void)state;
	check(service_plain, "", "unnamed-service");
	check(service_go, "", "unnamed-go-service");
	check(service_plain, "good", "good");
	check(service_plain, "bad&service", "bad_service");
	check(service_plain, "My Svc$1", "my_svc_1");
	check(service_plain, "$$$", "unnamed-service");
	check(service_go, "\xff\xff", "unnamed-go-service");
	check(service_plain, "127.site.platform-db-replica1", "127.site.platform-db-replica1");
	check(service_plain, "hyphenated-service-name", "hyphenated-service-name");
	check(service_plain, "🐨animal-db🐶", "_animal-db");
	check_repeated(service_plain, "Too$Long$.", 20, "too_long_.", 10);
	check(normalize_peer_service, "", "");
	check(normalize_peer_service, "$$$", "");
	check(normalize_peer_service, "Bad&Service", "bad_service");
}

static void names(void **state)
{
	(void)state;
	check(normalize_name, "", "unnamed_operation");
	check(normalize_name, "good", "good");
	check(normalize_name, "bad-name", "bad_name");
	check(normalize_name, "&***", "unnamed_operation");
	check(normalize_name, "&&&&&&&_test-name-", "test_name");
	check(normalize_name, "a-b c.d", "a_b_c.d");
	check(normalize_name, "GET /x", "GET_x");
	check(normalize_name, "a_.b", "a.b");
	check(normalize_name, "a.-b", "a.b");
	check(normalize_name, "a._b", "a._b");
	check(normalize_name, "trailing_", "trailing");
	check(normalize_name, "operator()", "operator");
	check(normalize_name, "ns::fn", "ns_fn");
	check(normalize_name, "über", "ber");
	check_repeated(normalize_name, "Too-Long-.", 20, "Too_Long.", 10);
}

static void resources_and_types(void **state)
{
	(void)state;
	assert_true(sv_eq(normalize_resource(SV(""), SV("name")), SV("name")));
	assert_true(sv_eq(normalize_resource(SV("res"), SV("name")), SV("res")));
	char *s = repeat("é", 3000);
	assert_int_equal(normalize_resource(sv_of(s), SV_NULL).len, 5000);
	assert_int_equal(normalize_resource((struct sv){s + 1, 5999}, SV_NULL).len, 4999);
	assert_int_equal(normalize_type(sv_of(s)).len, 100);
	assert_int_equal(normalize_type((struct sv){s + 1, 5999}).len, 99);
	free(s);
}

static void utf8(void **state)
{
	(void)state;
	static const struct vector v[] = {
		{"plain ascii text, longer than eight", "plain ascii text, longer than eight"},
		{"ü€😀", "ü€😀"},
		{"a\xff"
		 "b",
		 "a\xef\xbf\xbd"
		 "b"},
		{"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},		  /* overlong */
		{"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
		{"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"12345678\xe2\x82", "12345678\xef\xbf\xbd\xef\xbf\xbd"},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		check(utf8_add_valid, v[i].in, v[i].out);
		assert_int_equal(utf8_valid(sv_of(v[i].in)), strcmp(v[i].in, v[i].out) == 0);
	}
	/* Every code point there and back. */
	for (uint32_t cp = 1; cp < 0x110000; cp++) {
		if (cp >= 0xd800 && cp < 0xe000)
			continue;
		char b[4];
		size_t n = utf8_encode(cp, b), m;
		assert_int_equal(utf8_decode((struct sv){b, n}, &m), cp);
		assert_int_equal(n, m);
		char low[4];
		assert_int_equal(utf8_encode(unicode_lower(cp), low), n);
		assert_true(unicode_lower(cp) == cp || unicode_is_letter(cp));
	}
	assert_int_equal(utf8_cut(SV("a\x80\x80\x80\x80\x80"), 5).len, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags),	    cmocka_unit_test(tag_values), cmocka_unit_test(tag_length),
		cmocka_unit_test(services), cmocka_unit_test(names),	  cmocka_unit_test(resources_and_types),
		cmocka_unit_test(utf8),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
