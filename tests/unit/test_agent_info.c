/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/agent/info.json is the answer of Agent 7.85.1. Run from the root of the source, or with
 * SPANHOUND_GOLDEN=.../tests/golden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "trace/agent_info.h"

static struct agent_info *parse(struct sv json)
{
	struct agent_info *i = NULL;
	struct sbuf err = {0};
	if (agent_info_parse(&i, json, &err) < 0)
		fail_msg("%s", sbuf_str(&err));
	sbuf_release(&err);
	return i;
}

static struct sbuf golden(void)
{
	const char *dir = getenv("SPANHOUND_GOLDEN");
	char path[4096], part[4096];
	struct sbuf b = {0};
	snprintf(path, sizeof(path), "%s/agent/info.json", dir ? dir : "tests/golden");
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;)
		sbuf_add(&b, part, n);
	fclose(f);
	return b;
}

static void real_answer(void **state)
{
	(void)state;
	struct sbuf json = golden();
	struct agent_info *i = parse(sbuf_sv(&json));
	assert_true(sv_eq(i->version, SV("7.85.1")));
	assert_int_equal(i->endpoints.cnt, 23);
	assert_true(agent_info_serves(i, SV("/v0.4/traces")));
	assert_true(agent_info_serves(i, SV("v0.5/traces")));
	assert_true(agent_info_serves(i, SV("/telemetry/proxy/api/v2/apmtelemetry")));
	assert_false(agent_info_serves(i, SV("/v0.9/traces")));
	assert_false(agent_info_serves(i, SV("/v0.4/traces/x")));
	assert_true(i->client_drop_p0s && i->span_meta_structs && i->span_events && i->long_running_spans);
	assert_true(agent_info_takes_stats(i));
	assert_false(i->big_resource);
	assert_int_equal(i->max_request_bytes, 26214400);
	assert_true(sv_eq(i->default_env, SV("none")));
	assert_int_equal(i->statsd_port, 8125);
	assert_int_equal(i->peer_tags.cnt, 44);
	assert_true(agent_list_has(&i->peer_tags, SV("peer.service")));
	assert_int_equal(i->span_kinds_stats_computed.cnt, 4);
	assert_true(sv_eq(i->span_kinds_stats_computed.data[0], SV("server")));
	assert_int_equal(i->obfuscation_version, 1);
	assert_int_equal(i->filter_tags.require.cnt, 0);
	assert_true(i->obfuscation.said && i->obfuscation.redis && i->obfuscation.memcached);
	assert_true(i->obfuscation.credit_cards && i->obfuscation.mongodb && i->obfuscation.elasticsearch);
	assert_false(i->obfuscation.redis_remove_all_args);
	assert_false(i->obfuscation.http_remove_query);
	agent_info_unref(agent_info_ref(i));
	agent_info_unref(i);
	/* Cut off anywhere: refused, or (behind the closing brace) whole. */
	for (size_t n = 0; n < json.len; n++) {
		struct sbuf err = {0};
		i = NULL;
		int r = agent_info_parse(&i, (struct sv){json.data, n}, &err);
		assert_true(r == 0 ? json.data[n] == '\n' : r == -EINVAL && err.len && !i);
		agent_info_unref(i);
		sbuf_release(&err);
	}
	sbuf_release(&json);
}

static void other_agents(void **state)
{
	(void)state;
	struct agent_info *i = parse(SV("{\"config\":{\"obfuscation\":{\"redis\":{\"Enabled\":true,\"RemoveAllArgs\":"
					"true},\"memcached\":{\"Enabled\":true,\"KeepCommand\":true}}},"
					"\"filter_tags\":{\"reject\":[\"a:b\",\"c\"]},"
					"\"filter_tags_regex\":{\"require\":[\"x.*\"]},"
					"\"ignore_resources\":[\"GET /h.*\"],\"feature_flags\":[\"big_resource\"]}"));
	assert_true(i->obfuscation.redis && i->obfuscation.redis_remove_all_args);
	assert_true(i->obfuscation.memcached && i->obfuscation.memcached_keep_command);
	assert_int_equal(i->filter_tags.reject.cnt, 2);
	assert_true(sv_eq(i->filter_tags.reject.data[1], SV("c")));
	assert_int_equal(i->filter_tags_regex.require.cnt, 1);
	assert_int_equal(i->ignore_resources.cnt, 1);
	assert_true(i->big_resource);
	assert_false(i->client_drop_p0s);
	assert_false(agent_info_takes_stats(i));
	agent_info_unref(i);
}

/* An answer whose fields are of other kinds is an answer of which those fields are not known. */
static void odd_kinds(void **state)
{
	(void)state;
	static const char *const odd[] = {
		"{}",
		"{\"endpoints\":{},\"peer_tags\":null,\"client_drop_p0s\":\"yes\",\"config\":[1,2,{\"a\":[]}]}",
		"{\"endpoints\":[1,{\"a\":2},\"\",null,[\"/x\"]],\"obfuscation_version\":-1,\"version\":5}",
		"{\"obfuscation_version\":1e300,\"config\":{\"statsd_port\":70000,\"max_request_bytes\":-3.5}}",
		"{\"version\":{\"version\":\"7\"},\"filter_tags\":[],\"feature_flags\":\"big_resource\"}",
	};
	for (size_t n = 0; n < sizeof(odd) / sizeof(odd[0]); n++) {
		struct agent_info *i = parse(sv_of(odd[n]));
		assert_int_equal(i->version.len, 0);
		assert_int_equal(i->obfuscation_version, 0);
		assert_int_equal(i->statsd_port, 0);
		assert_int_equal(i->max_request_bytes, 0);
		assert_false(agent_info_serves(i, SV("/v0.4/traces")));
		agent_info_unref(i);
	}
}

static void lists_are_bounded(void **state)
{
	(void)state;
	struct sbuf b = {0};
	sbuf_adds(&b, "{\"peer_tags\":[\"t\"");
	for (int i = 0; i < 5000; i++)
		sbuf_addf(&b, ",\"t%d\"", i);
	sbuf_adds(&b, "]}");
	struct agent_info *i = parse(sbuf_sv(&b));
	assert_int_equal(i->peer_tags.cnt, AGENT_INFO_MAX_LIST);
	agent_info_unref(i);
	sbuf_reset(&b);
	for (int n = 0; n < AGENT_INFO_MAX + 1; n++)
		sbuf_addc(&b, ' ');
	struct sbuf err = {0};
	assert_int_equal(agent_info_parse(&i, sbuf_sv(&b), &err), -EINVAL);
	sbuf_release(&err);
	sbuf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_answer),
		cmocka_unit_test(other_agents),
		cmocka_unit_test(odd_kinds),
		cmocka_unit_test(lists_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
