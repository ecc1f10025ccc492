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

/* The standard pattern is only tried on what may hold a secret: it finds what it finds when it is always tried. */
static void tried_where_it_matters(void **state)
{
	static const char *const pieces[] = {
		"pass",	     "PWD",	    "pword",	     "passwd",	    "new_",	  "phrase",
		"secret",    "api",	    "Key",	     "-",	    "_",	  "id",
		"token",     "consumer",    "sign",	     "ed",	    "ature",	  "Auth",
		"orization", "=",	    "%3D",	     "%22",	    ":",	  "%3A",
		"\"",	     "&",	    "bearer",	     "%20",	    " ",	  "ghp_",
		"ghU_" A36,  "eyJ",	    "EYi",	     "eyKa.eyLb.c", "ey",	  "-----BEGIN",
		"-----END",  "PRIVATE KEY", "-----",	     "ssh-rsa",	    "ecdsa-sha2", A108,
		"x",	     "1",	    "abcdefghijklm", "page",	    "\n",	  "%",
		".",	     "to",	    "ken",
	};
	struct query_obfuscator *always;
	struct sbuf pattern = {0}, text = {0}, out[2] = {0}, err = {0};
	(void)state;
	sbuf_adds(&pattern, "(?xi)");
	sbuf_addsv(&pattern, query_obfuscator_standard());
	assert_int_equal(query_obfuscator_new(sbuf_sv(&pattern), &always, &err), 0);
	srand(11);
	unsigned found = 0;
	for (int i = 0; i < 30000; i++) {
		sbuf_reset(&text);
		for (int n = rand() % 8; n >= 0; n--)
			sbuf_adds(&text, pieces[(size_t)rand() % (sizeof(pieces) / sizeof(pieces[0]))]);
		for (size_t k = 0; k < text.len; k++)
			if (rand() % 10 == 0)
				text.data[k] ^= (char)(rand() % 4 ? 0x20 : rand());
		sbuf_reset(&out[0]);
		sbuf_reset(&out[1]);
		query_obfuscate(standard, sbuf_sv(&text), &out[0]);
		query_obfuscate(always, sbuf_sv(&text), &out[1]);
		assert_int_equal(out[0].len, out[1].len);
		assert_memory_equal(sbuf_str(&out[0]), sbuf_str(&out[1]), out[0].len);
		found += out[0].len != text.len;
	}
	assert_true(found > 1000);
	query_obfuscator_unref(always);
	sbuf_release(&pattern);
	sbuf_release(&text);
	sbuf_release(&out[0]);
	sbuf_release(&out[1]);
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
		cmocka_unit_test(vectors),     cmocka_unit_test(tried_where_it_matters),
		cmocka_unit_test(own_pattern), cmocka_unit_test(hostile),
		cmocka_unit_test(limits),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
