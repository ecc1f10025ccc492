/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"

static void walk(void **state)
{
	(void)state;
	struct json j =
		json_start(SV(" {\"a\" : [1, -2.5e1 ,true,null,{}], \"b\\u0041\":\"x\\n\\u20ac\\ud83d\\ude00\\ud800\", "
			      "\"c\":{\"d\":[[],[0]]}} "));
	struct sbuf key = {0}, text = {0};
	double v = 0;
	bool b = false;
	assert_true(json_enter(&j, '{'));
	assert_true(json_key(&j, &key) && sv_eq(sbuf_sv(&key), SV("a")));
	assert_true(json_enter(&j, '['));
	assert_true(json_item(&j) && json_number(&j, &v) && v == 1);
	assert_true(json_item(&j) && json_number(&j, &v) && v == -25);
	assert_true(json_item(&j) && json_bool(&j, &b) && b);
	assert_true(json_item(&j) && json_skip(&j));
	assert_true(json_item(&j) && json_peek(&j) == '{' && json_skip(&j));
	assert_false(json_item(&j));
	assert_true(json_key(&j, &key) && sv_eq(sbuf_sv(&key), SV("bA")));
	assert_true(json_string(&j, &text));
	assert_string_equal(sbuf_str(&text), "x\n€😀\xef\xbf\xbd");
	assert_true(json_key(&j, &key) && json_skip(&j));
	assert_false(json_key(&j, &key));
	assert_true(json_end(&j));
	sbuf_release(&key);
	sbuf_release(&text);
}

static void accepted(void **state)
{
	(void)state;
	static const char *const good[] = {
		"0",	       "-0",
		"1.5",	       "1e9",
		"1E+9",	       "\"\"",
		"[]",	       "{}",
		"[[[[]]]]",    "null",
		"true",	       "{\"a\":{\"b\":{\"c\":[1,{\"d\":2},3]}},\"e\":[]}",
		" [ 1 , 2 ] ", "\"\\\"\\\\\\/\\b\"",
	};
	static const char *const bad[] = {
		"",	     "01",	   "-",		 "1.",	     ".5",	  "1e",		"+1",	 "\"",
		"\"\\",	     "\"\t\"",	   "[",		 "[1",	     "[1,",	  "[1,]",	"[,]",	 "[1 2]",
		"{",	     "{\"a\"",	   "{\"a\":",	 "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{1:1}",
		"{\"a\" 1}", "nul",	   "truex",	 "1 2",	     "[1}",	  "{\"a\":1]",	"]",	 "}",
		",",	     "{\"a\":[1}", "[{\"a\":1]", "\xff",     "'a'",
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct json j = json_start(sv_of(good[i]));
		if (!json_skip(&j) || !json_end(&j))
			fail_msg("refused %s", good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct json j = json_start(sv_of(bad[i]));
		if (json_skip(&j) && json_end(&j))
			fail_msg("took %s", bad[i]);
	}
	static const char *const strings[] = {"\"\\u12\"", "\"\\u12g4\"", "\"\\x\"", "\"a", "5"};
	struct sbuf text = {0};
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		struct json j = json_start(sv_of(strings[i]));
		assert_false(json_string(&j, &text));
		assert_true(j.failed);
		assert_false(json_string(&j, &text));
	}
	sbuf_release(&text);
}

static void deep(void **state)
{
	(void)state;
	for (unsigned n = JSON_MAX_DEPTH - 1; n <= JSON_MAX_DEPTH + 1; n++) {
		struct sbuf b = {0};
		for (unsigned i = 0; i < n; i++)
			sbuf_adds(&b, i % 2 ? "[" : "{\"k\":");
		sbuf_adds(&b, "1");
		for (unsigned i = n; i-- > 0;)
			sbuf_adds(&b, i % 2 ? "]" : "}");
		struct json j = json_start(sbuf_sv(&b));
		assert_int_equal(json_skip(&j) && json_end(&j), n <= JSON_MAX_DEPTH);
		sbuf_release(&b);
	}
}

static void forgiving(void **state)
{
	(void)state;
	struct json j = json_start(SV("[\"x\",1,true,[2]]"));
	double v = 7;
	bool b = false;
	struct sbuf s = {0};
	json_enter(&j, '[');
	assert_true(json_item(&j));
	json_maybe_number(&j, &v);
	assert_true(json_item(&j));
	json_maybe_bool(&j, &b);
	assert_true(json_item(&j));
	json_maybe_string(&j, &s);
	assert_true(json_item(&j));
	json_maybe_number(&j, &v);
	assert_false(json_item(&j));
	assert_true(json_end(&j) && v == 7 && !b && s.len == 0);
	sbuf_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk),
		cmocka_unit_test(accepted),
		cmocka_unit_test(deep),
		cmocka_unit_test(forgiving),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
