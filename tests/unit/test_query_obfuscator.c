/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "trace/query_obfuscator.h"

#define R    "<redacted>"
#define A36  "abcdefghijklmnopqrstuvwxyz0123456789"
#define A108 A36 A36 A36

static struct query_obfuscator *standard;

static void expect(struct query_obfuscator *q, const char *in, const char *want)
{
	struct sbuf out = {0};
	query_obfuscate(q, sv_of(in), &out);
	assert_string_equal(sbuf_str(&out), want);
	sbuf_release(&out);
}

/* What ddtrace 4.16 made of the same. */
static void vectors(void **state)
{
	static const char *const cases[][2] = {
		{"token=abc&x=1", R "&x=1"},
		{"page=2&token=s&password=p", "page=2&" R "&" R},
		{"secret_key=1;b=2", R},
		{"access_token=abc123", "access_" R},
		{"api_key=1&pwd=2&auth=1&x", R "&" R "&" R "&x"},
		{"pass=03cb9f67&key2=val2", R "&key2=val2"},
		{"json=%7B%20%22sign%22%3A%20%22d3a%22%7D", "json=%7B%20" R "%7D"},
		{"a=%22password%22%3A%22x%22", "a=" R},
		{"\"token\" : \"x%20y\"", R},
		{"old_passwd=1&new-pwd2%20%3D1&pass-phrase=x", R "&" R "&" R},
		{"mytoken=3&monkey=3&passage=1", "my" R "&monkey=3&passage=1"},
		{"Bearer%20abc.def", R},
		{"x=bearer abc.d-f/g", "x=" R "/g"},
		{"token:abcdefghijklm", R},
		{"token%3Aabcdefghijkl", "token%3Aabcdefghijkl"},
		{"t=ghp_" A36, "t=" R},
		{"q=eyJhbGciOiJ.eyJzdWIiOiI.sig-a_&x=1", "q=" R "&x=1"},
		{"qeyJhbGciOiJ.eyJzdWIiOiI", "qeyJhbGciOiJ.eyJzdWIiOiI"},
		{"%20eyJhbGciOiJ.eyJzdWIiOiI", "%20" R},
		{"ssh=ssh-rsa%20" A108, "ssh=" R},
		{"ssh=ssh-rsa%20" A36, "ssh=ssh-rsa%20" A36},
		{"k=ecdsa-sha2-nistp256%20" A108 "=%20me", "k=" R},
		{"k=-----BEGIN%20RSA PRIVATE%20KEY-----ab/c-----END RSA PRIVATE KEY-----%0A&x", "k=" R "&x"},
		{"user=bob&sid=123&sessionid=9", "user=bob&sid=123&sessionid=9"},
		{"email=a@b.c&id=4111111111111111", "email=a@b.c&id=4111111111111111"},
		{"", ""},
		{"pass=", "pass="},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(standard, cases[i][0], cases[i][1]);
	assert_int_equal(query_obfuscator_failures(standard), 0);
}

static void own_pattern(void **state)
{
	struct query_obfuscator *q;
	struct sbuf err = {0};
	(void)state;
	assert_int_equal(query_obfuscator_new(SV("b+|(c)d"), &q, &err), 0);
	expect(q, "abbBcd", "a" R "B" R);
	query_obfuscator_unref(query_obfuscator_ref(q));
	expect(q, "xyz", "xyz");
	query_obfuscator_unref(q);
	/* Nothing is no match. */
	assert_int_equal(query_obfuscator_new(SV("z*"), &q, &err), 0);
	expect(q, "azzb", "a" R "b");
	query_obfuscator_unref(q);
	assert_int_equal(query_obfuscator_new(SV("(("), &q, &err), -EINVAL);
	assert_non_null(strstr(sbuf_str(&err), "parenthesis"));
	assert_non_null(strstr(sbuf_str(&err), "offset 2"));
	sbuf_release(&err);
	query_obfuscator_unref(NULL);
}

static struct sbuf repeated(const char *begin, const char *part, size_t times)
{
	struct sbuf b = {0};
	sbuf_adds(&b, begin);
	while (times--)
		sbuf_adds(&b, part);
	return b;
}

/* Nobody's query may hold up the rest, nor slip through by being hard. */
static void hostile(void **state)
{
	static const char *const cases[][2] = {
		{"", "p"},
		{"pass", "%20"},
		{"", "pass%20"},
		{".ey", "Ia"},
		{"", ".eyIa.eyI"},
		{"ssh-rsa ", "%20"},
		{"", "-----BEGIN "},
		{"-----BEGIN", "a"},
		{"", " PRIVATE KEY"},
		{"\"pass\":\"", "%2"},
		{"", "pass\":\"x"},
		{"ecdsa-", "a-"},
	};
	struct timespec begin, end;
	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sbuf in = repeated(cases[i][0], cases[i][1], (8192 - strlen(cases[i][0])) / strlen(cases[i][1]));
		struct sbuf out = {0};
		query_obfuscate(standard, sbuf_sv(&in), &out);
		assert_true(strcmp(sbuf_str(&in), sbuf_str(&out)) == 0 || strstr(sbuf_str(&out), R));
		sbuf_release(&in);
		sbuf_release(&out);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_in_range(end.tv_sec - begin.tv_sec, 0, 3);

	struct query_obfuscator *q;
	struct sbuf err = {0}, in = repeated("", "a", 5000), out = {0};
	assert_int_equal(query_obfuscator_new(SV("(a+)+[bc]"), &q, &err), 0);
	query_obfuscate(q, sbuf_sv(&in), &out);
	assert_string_equal(sbuf_str(&out), R);
	assert_int_equal(query_obfuscator_failures(q), 1);
	query_obfuscator_unref(q);
	sbuf_release(&in);
	sbuf_release(&out);
}

static void limits(void **state)
{
	uint64_t before = query_obfuscator_failures(standard);
	struct sbuf in = repeated("", "pwd=1&", 150), out = {0};
	(void)state;
	query_obfuscate(standard, sbuf_sv(&in), &out);
	assert_int_equal(out.len, 100 * strlen(R "&") - 1 + strlen(R));
	sbuf_release(&in);
	sbuf_reset(&out);
	in = repeated("", "x", 8193);
	query_obfuscate(standard, sbuf_sv(&in), &out);
	assert_string_equal(sbuf_str(&out), R);
	assert_int_equal(query_obfuscator_failures(standard), before + 2);
	sbuf_release(&in);
	sbuf_release(&out);
}

static int setup(void **state)
{
	struct sbuf err = {0};
	(void)state;
	return query_obfuscator_new(SV_NULL, &standard, &err);
}

static int teardown(void **state)
{
	(void)state;
	query_obfuscator_unref(standard);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors),
		cmocka_unit_test(own_pattern),
		cmocka_unit_test(hostile),
		cmocka_unit_test(limits),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
