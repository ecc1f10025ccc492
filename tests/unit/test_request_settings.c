/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "trace/request_settings.h"

static struct sv text_of(struct sbuf *text, const char *name, const char *value)
{
	request_settings_put(text, name, sv_of(value));
	return sbuf_sv(text);
}

static void test_reads_both(void **state)
{
	(void)state;
	struct sbuf text = {0}, err = {0};
	text_of(&text, "DD_TRACE_CLIENT_IP_ENABLED", "true");
	text_of(&text, "DD_TRACE_PROPAGATION_STYLE", "b3");
	text_of(&text, "DD_TRACE_BAGGAGE_TAG_KEYS", "a.b");
	struct request_settings *s = request_settings_new(sbuf_sv(&text), NULL, &err);
	memset(text.data, 'x', text.len); /* the object does not lean on it */
	assert_int_equal(err.len, 0);
	assert_true(s->http->client_ip);
	assert_int_equal(s->propagation.extract_cnt, 1);
	assert_int_equal(s->propagation.extract[0], PROPAGATION_STYLE_b3);
	assert_true(sv_eq(s->propagation.baggage_tag_keys[0], SV("a.b")));
	request_settings_unref(s);
	sbuf_release(&text);
}

static void test_defaults(void **state)
{
	(void)state;
	struct request_settings *s = request_settings_new(SV_NULL, NULL, NULL);
	assert_false(s->http->client_ip);
	assert_int_equal(s->propagation.extract_cnt, 3);
	request_settings_unref(s);
	/* Text that no process's environment has: not ended, without '=', a name that is part of another. */
	s = request_settings_new(
		SV("DD_TRACE_CLIENT_IP_ENABLED\0XDD_TRACE_CLIENT_IP_ENABLED=1\0\0DD_TRACE_CLIENT_IP_ENABLE=1\0="), NULL,
		NULL);
	assert_false(s->http->client_ip);
	request_settings_unref(s);
}

static void test_mistakes(void **state)
{
	(void)state;
	struct sbuf text = {0}, err = {0};
	text_of(&text, "DD_TRACE_CLIENT_IP_ENABLED", "maybe");
	text_of(&text, "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT", "forget");
	struct request_settings_set *set = request_settings_set_new();
	bool made;
	struct request_settings *s = request_settings_get(set, sbuf_sv(&text), &made, &err);
	assert_true(made);
	assert_non_null(strstr(err.data, "DD_TRACE_CLIENT_IP_ENABLED='maybe'"));
	assert_non_null(strstr(err.data, "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT: 'forget'"));
	sbuf_reset(&err);
	struct request_settings *again = request_settings_get(set, sbuf_sv(&text), &made, &err);
	assert_ptr_equal(again, s);
	assert_false(made);
	assert_int_equal(err.len, 0);
	request_settings_set_free(set);
	assert_false(s->http->client_ip); /* in use: it stays */
	request_settings_unref(again);
	request_settings_unref(s);
	sbuf_release(&text);
	sbuf_release(&err);
}

/* More than are kept: unused ones make room, and when all are in use the rest is not shared. */
static void test_many(void **state)
{
	(void)state;
	enum { CNT = REQUEST_SETTINGS_MAX + 20 };
	static struct request_settings *held[CNT];
	struct request_settings_set *set = request_settings_set_new();
	struct sbuf text = {0};
	bool made;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CNT; i++) {
			char value[16];
			snprintf(value, sizeof(value), "x-%d-%d", round, i);
			sbuf_reset(&text);
			held[i] = request_settings_get(set, text_of(&text, "DD_TRACE_HEADER_TAGS", value), &made, NULL);
			assert_non_null(held[i]);
			assert_true(made);
			assert_int_equal(held[i]->refs, i < REQUEST_SETTINGS_MAX ? 2 : 1);
		}
		for (int i = 0; i < CNT; i++)
			request_settings_unref(held[i]);
	}
	sbuf_release(&text);
	request_settings_set_free(set);
}

/* What the readers ask for and what the table has is the same. */
static unsigned asked[64];

static struct sv note(void *arg, const char *name)
{
	(void)arg;
	for (unsigned i = 0; request_variables[i]; i++)
		if (!strcmp(request_variables[i], name)) {
			asked[i]++;
			return SV_NULL;
		}
	fail_msg("%s is not in the table", name);
	return SV_NULL;
}

static void test_table(void **state)
{
	(void)state;
	struct propagation_settings p;
	struct sbuf err = {0};
	propagation_settings_read(&p, note, NULL, NULL);
	http_settings_unref(http_settings_new(note, NULL, NULL, &err));
	for (unsigned i = 0; request_variables[i]; i++)
		if (!asked[i])
			fail_msg("nobody reads %s", request_variables[i]);
	assert_int_equal(err.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_both), cmocka_unit_test(test_defaults), cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_many),	   cmocka_unit_test(test_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
