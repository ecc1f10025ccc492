/* SPDX-License-Identifier: Apache-2.0 */
/* The table of settings: precedence of each, values, masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/variables.h"
#include "trace/settings.h"

/* Sources that can each be silent. */
struct world {
	bool flag, environment, file, target;
	const char *variable; /* NULL: any; else the only one that is set */
};

static bool flag_says(void *arg, const struct setting *s, struct sv *ret)
{
	(void)s;
	*ret = SV("by flag");
	return ((struct world *)arg)->flag;
}

static bool environment_says(void *arg, const char *variable, struct sv *ret)
{
	const struct world *w = arg;
	*ret = SV("by environment");
	return w->environment && (!w->variable || !strcmp(variable, w->variable));
}

static bool file_says(void *arg, const struct setting *s, struct setting_value *ret)
{
	(void)s;
	ret->text = SV("by file");
	ret->line = 7;
	return ((struct world *)arg)->file;
}

static bool target_says(void *arg, const char *variable, struct sv *ret)
{
	(void)variable;
	*ret = SV("by target");
	return ((struct world *)arg)->target;
}

static enum setting_origin resolve(const struct setting *s, struct world w, struct setting_value *ret)
{
	const struct setting_sources from = {flag_says, environment_says, file_says, target_says, &w};
	setting_resolve(s, &from, ret);
	return ret->origin;
}

static const char *const said[] = {[SETTING_BY_TARGET] = "by target",
				   [SETTING_BY_FILE] = "by file",
				   [SETTING_BY_ENVIRONMENT] = "by environment",
				   [SETTING_BY_FLAG] = "by flag"};

/* Each setting under each of the sixteen worlds: the highest that may speak and does is the one in force. */
static void precedence(void **state)
{
	(void)state;
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		bool ours = s->variable[0] && s->scope != SETTING_THEIRS, filed = s->key[0] != '-';
		bool theirs = s->variable[0] && s->scope != SETTING_OURS;
		for (unsigned bits = 0; bits < 16; bits++) {
			struct world w = {bits & 1, bits & 2, bits & 4, bits & 8, NULL};
			struct setting_value v;
			enum setting_origin want = w.flag && s->flag[0]	   ? SETTING_BY_FLAG
						   : w.environment && ours ? SETTING_BY_ENVIRONMENT
						   : w.file && filed	   ? SETTING_BY_FILE
						   : w.target && theirs	   ? SETTING_BY_TARGET
									   : SETTING_BY_DEFAULT;
			if (resolve(s, w, &v) != want)
				fail_msg("%s, world %u: origin %d, not %d", setting_name(s), bits, v.origin, want);
			assert_true(sv_eq(v.text, sv_of(want ? said[want] : s->standard)));
			assert_int_equal(v.line, want == SETTING_BY_FILE ? 7 : 0);
			bool by_variable = want == SETTING_BY_ENVIRONMENT || want == SETTING_BY_TARGET;
			assert_int_equal(v.variable != NULL, by_variable);
		}
	}
}

static const struct setting *named(const char *name)
{
	const struct setting *s = setting_of_variable(sv_of(name));
	if (!s)
		fail_msg("no setting %s", name);
	return s;
}

/* Our environment names the host: the file's URL of the same Agent is void. */
static void groups(void **state)
{
	(void)state;
	struct setting_value v;
	struct world w = {.environment = true, .file = true, .variable = "DD_AGENT_HOST"};
	assert_int_equal(resolve(named("DD_TRACE_AGENT_URL"), w, &v), SETTING_BY_DEFAULT);
	assert_int_equal(resolve(named("DD_AGENT_HOST"), w, &v), SETTING_BY_ENVIRONMENT);
	assert_int_equal(resolve(named("DD_TRACE_API_VERSION"), w, &v), SETTING_BY_FILE);
	w.variable = "DD_TRACE_AGENT_HOSTNAME";
	assert_int_equal(resolve(named("DD_AGENT_HOST"), w, &v), SETTING_BY_ENVIRONMENT);
	assert_string_equal(v.variable, "DD_TRACE_AGENT_HOSTNAME");
	assert_int_equal(resolve(named("DD_TRACE_AGENT_PORT"), w, &v), SETTING_BY_DEFAULT);
	w.variable = "DD_DOGSTATSD_PORT";
	assert_int_equal(resolve(named("DD_DOGSTATSD_URL"), w, &v), SETTING_BY_DEFAULT);
	assert_int_equal(resolve(named("DD_TRACE_AGENT_URL"), w, &v), SETTING_BY_FILE);
}

static bool empty(void *arg, const char *variable, struct sv *ret)
{
	(void)arg;
	(void)variable;
	*ret = SV("");
	return true;
}

static void empty_is_unset(void **state)
{
	(void)state;
	const struct setting_sources from = {.environment = empty, .target = empty};
	struct setting_value v;
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		setting_resolve(s, &from, &v);
		assert_int_equal(v.origin, s->kind == SETTING_PATTERN ? SETTING_BY_ENVIRONMENT : SETTING_BY_DEFAULT);
	}
}

static void table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		assert_true(setting_name(s)[0] != '\0' && s->help[0] != '\0');
		if (s->variable[0])
			assert_ptr_equal(setting_of_variable(sv_of(s->variable)), s); /* no name twice */
		/* A default that is a value is a good one. */
		if (s->kind == SETTING_BOOL || s->kind == SETTING_INTEGER)
			assert_true(setting_check(s, sv_of(s->standard), NULL));
	}
	assert_ptr_equal(setting_of_variable(SV("DD_TRACE_COMPUTE_STATS")),
			 named("DD_TRACE_STATS_COMPUTATION_ENABLED"));
	assert_null(setting_of_variable(SV("DD_TRACE_COMPUTE_STAT")));
	assert_null(setting_of_variable(SV("")));
}

static void values(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value, *complaint; /* NULL: good */
	} cases[] = {
		{"DD_TRACE_HEALTH_METRICS_ENABLED", "TRUE", NULL},
		{"DD_TRACE_HEALTH_METRICS_ENABLED", "0", NULL},
		{"DD_TRACE_HEALTH_METRICS_ENABLED", "yes",
		 "DD_TRACE_HEALTH_METRICS_ENABLED: 'yes' is not true or false (1 or 0)"},
		{"DD_TRACE_AGENT_PORT", "65535", NULL},
		{"DD_TRACE_AGENT_PORT", "65536", "DD_TRACE_AGENT_PORT: '65536' is not a whole number from 1 to 65535"},
		{"DD_TRACE_AGENT_PORT", "0x50", "DD_TRACE_AGENT_PORT: '0x50' is not a whole number from 1 to 65535"},
		{"DD_TRACE_AGENT_PORT", "80.5", "DD_TRACE_AGENT_PORT: '80.5' is not a whole number from 1 to 65535"},
		{"DD_TRACE_SAMPLE_RATE", "0.25", NULL},
		{"DD_TRACE_SAMPLE_RATE", "1e-3", NULL},
		{"DD_TRACE_SAMPLE_RATE", "nan", "DD_TRACE_SAMPLE_RATE: 'nan' is not a number from 0 to 1"},
		{"DD_TRACE_SAMPLE_RATE", "2", "DD_TRACE_SAMPLE_RATE: '2' is not a number from 0 to 1"},
		{"DD_TRACE_RATE_LIMIT", "-1", NULL},
		{"DD_TRACE_RATE_LIMIT", "many", "DD_TRACE_RATE_LIMIT: 'many' is not a number"},
		{"DD_TRACE_API_VERSION", "v0.5", NULL},
		{"DD_TRACE_API_VERSION", "v0", "DD_TRACE_API_VERSION: 'v0' is not one of v0.4, v0.5"},
		{"DATADOG_CARDINALITY", "High", NULL},
		{"DD_SERVICE", "anything at all", NULL},
	};
	struct sbuf err = {0};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sbuf_reset(&err);
		bool good = setting_check(named(cases[i].name), sv_of(cases[i].value), &err);
		assert_int_equal(good, cases[i].complaint == NULL);
		assert_string_equal(sbuf_str(&err), cases[i].complaint ? cases[i].complaint : "");
	}
	sbuf_release(&err);
}

static void masks(void **state)
{
	(void)state;
	static const struct setting key = {.variable = "DD_API_KEY"}, text = {.variable = "X"},
				    secret = {.kind = SETTING_SECRET, .variable = "X"};
	const struct {
		const struct setting *s;
		const char *value, *shown;
	} cases[] = {
		{&key, "0123456789abcdef", "****"},
		{&key, "", ""},
		{&secret, "x", "****"},
		{&text, "http://me:pw@host:1/p", "http://****@host:1/p"},
		{&text, "datadog:https://pw@host", "datadog:https://****@host"},
		{&text, "http://a:b@h/,unix:///x@y http://c@d@e?f@g", "http://****@h/,unix:///x@y http://****@e?f@g"},
		{&text, "://", "://"},
		{&text, "plain@text", "plain@text"},
		{named("DD_TAGS"), "team:core,api_key:abc,password:x:y,url:http://a:b@c",
		 "team:core,api_key:****,password:****,url:http://****@c"},
		{named("DD_TAGS"), "token:a plain", "token:**** plain"},
	};
	struct sbuf out = {0};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sbuf_reset(&out);
		setting_show(cases[i].s, sv_of(cases[i].value), &out);
		assert_string_equal(sbuf_str(&out), cases[i].shown);
	}
	sbuf_release(&out);
}

static void variables(void **state)
{
	(void)state;
	unsetenv("DD_TEST_A");
	assert_null(variable_get("DD_TEST_A"));
	assert_int_equal(variable_set_default("DD_TEST_A", "file"), 0);
	assert_string_equal(variable_get("DD_TEST_A"), "file");
	setenv("DD_TEST_A", "ours", 1);
	assert_string_equal(variable_get("DD_TEST_A"), "ours");
	setenv("DD_TEST_A", "", 1);
	assert_string_equal(variable_get("DD_TEST_A"), "file");
	unsetenv("DD_TEST_A");
	assert_int_equal(variable_set_default("DD_TEST_A", "again"), 0);
	assert_string_equal(variable_get("DD_TEST_A"), "again");
	for (int i = 1; i < VARIABLES_MAX; i++) {
		char name[16];
		snprintf(name, sizeof(name), "V%d", i);
		assert_int_equal(variable_set_default(name, "x"), 0);
	}
	assert_int_equal(variable_set_default("ONE_MORE", "x"), -ENOSPC);
	variables_forget();
	assert_null(variable_get("DD_TEST_A"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precedence), cmocka_unit_test(groups), cmocka_unit_test(empty_is_unset),
		cmocka_unit_test(table),      cmocka_unit_test(values), cmocka_unit_test(masks),
		cmocka_unit_test(variables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
