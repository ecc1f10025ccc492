/* SPDX-License-Identifier: Apache-2.0 */
/* `sampling:` of the file: what it stands for, and what is wrong with it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "probe/list.h"
#include "target/identify.h"

static void assert_setting(const struct tag_vec *settings, const char *name, const char *want)
{
	struct sv value = SV_NULL;
	assert_true(tags_get(settings, name, &value) == (want != NULL));
	if (want && !sv_eq(value, sv_of(want)))
		fail_msg("%s is " SV_FMT, name, SV_ARG(value));
}

static void stands_for(void **state)
{
	(void)state;
	static const char yaml[] = "sampling: {rate: 0.5, rate_limit: -1}\n"
				   "targets:\n"
				   "  - name: a\n"
				   "    sampling:\n"
				   "      rules:\n"
				   "        - {service: 'a\"*', name: true, resource: \"true\", sample_rate: 1e0,\n"
				   "           tags: {k: -0.5, n: '5', e: 05, f: .5, g: 5.}}\n"
				   "        - sample_rate: 0\n"
				   "      span_rules: '[{\"name\":\"x\"}]'\n";
	struct diagnostics d = {0};
	struct probe_list *list = NULL;
	struct sbuf said = {0};
	/* 1e0 is text: what it looks like to JSON is not asked. */
	assert_int_equal(probe_list_parse(&list, "b", yaml, strlen(yaml), &d), -EINVAL);
	diagnostics_print(&d, &said);
	assert_non_null(strstr(sbuf_str(&said), "rules: rule 1: 'name'"));
	sbuf_release(&said);
	diagnostics_release(&d);
	probe_list_free(list);

	static const char good[] = "sampling: {rate: 0.5, rate_limit: -1}\n"
				   "targets:\n"
				   "  - name: a\n"
				   "    sampling:\n"
				   "      rules:\n"
				   "        - {service: 'a\"*', resource: \"true\", sample_rate: 0.25,\n"
				   "           tags: {k: \"-0.5\", n: '5'}}\n"
				   "        - sample_rate: 0\n"
				   "      span_rules: '[{\"name\":\"x\"}]'\n";
	assert_int_equal(probe_list_parse(&list, "g", good, strlen(good), &d), 0);
	assert_setting(&list->settings, "DD_TRACE_SAMPLE_RATE", "0.5");
	assert_setting(&list->settings, "DD_TRACE_RATE_LIMIT", "-1");
	assert_setting(&list->settings, "DD_TRACE_SAMPLING_RULES", NULL);
	const struct tag_vec *own = &list->targets.data[0].settings;
	assert_setting(own, "DD_TRACE_SAMPLING_RULES",
		       "[{\"service\":\"a\\\"*\",\"resource\":\"true\",\"sample_rate\":0.25,"
		       "\"tags\":{\"k\":\"-0.5\",\"n\":\"5\"}},{\"sample_rate\":0}]");
	assert_setting(own, "DD_SPAN_SAMPLING_RULES", "[{\"name\":\"x\"}]");
	probe_list_free(list);
	diagnostics_release(&d);
}

static void mistakes(void **state)
{
	(void)state;
	static const struct {
		const char *yaml;
		unsigned column;
		const char *says;
	} v[] = {
		{"sampling: {rate: 2}\n", 18, "rate: '2' is not a rate from 0 to 1"},
		{"sampling: {rate_limit: x}\n", 24, "rate_limit: 'x' is not a number"},
		{"sampling: {rules: [{sample_rate: many}]}\n", 19, "rules: rule 1: 'sample_rate' must be a number"},
		{"sampling: {rules: {sample_rate: 1}}\n", 19, "rules: expected a list of rules"},
		{"sampling: {span_rules: 5}\n", 24, "span_rules: expected a list of rules"},
		{"sampling: {rules: \"{\"}\n", 19, "rules: "},
		{"sampling: {rats: 1}\n", 12, "did you mean 'rate'"},
		{"settings: {DD_TRACE_RATE_LIMIT: 1}\n", 12, "has a key of its own: sampling.rate_limit"},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct diagnostics d = {0};
		struct probe_list *bad = NULL;
		struct sbuf said = {0};
		assert_int_equal(probe_list_parse(&bad, "b", v[i].yaml, strlen(v[i].yaml), &d), -EINVAL);
		diagnostics_print(&d, &said);
		if (d.error_cnt != 1 || d.items.data[0].pos.column != v[i].column ||
		    !strstr(sbuf_str(&said), v[i].says))
			fail_msg("%s", sbuf_str(&said));
		sbuf_release(&said);
		diagnostics_release(&d);
		probe_list_free(bad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(stands_for), cmocka_unit_test(mistakes)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
