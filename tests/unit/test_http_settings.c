/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/http_settings.h"

/* An environment: name, value, name, value, NULL. */
static struct sv lookup(void *arg, const char *name)
{
	for (const char *const *at = arg; *at; at += 2)
		if (strcmp(*at, name) == 0)
			return sv_of(at[1]);
	return SV_NULL;
}

static struct sbuf err;

static struct http_settings *settings(const char *const *environment)
{
	sbuf_reset(&err);
	struct http_settings *s = http_settings_new(lookup, (void *)environment, NULL, &err);
	assert_non_null(s);
	return s;
}
#define SETTINGS(...) settings((const char *const[]){__VA_ARGS__, NULL})

static void defaults(void **state)
{
	struct http_settings *s = SETTINGS("NOTHING", "1");
	(void)state;
	assert_string_equal(sbuf_str(&err), "");
	assert_true(http_status_is_in(&s->server_errors, 500));
	assert_true(http_status_is_in(&s->client_errors, 599));
	assert_false(http_status_is_in(&s->server_errors, 499));
	assert_false(http_status_is_in(&s->client_errors, 404));
	assert_int_equal(s->server_query, HTTP_QUERY_OBFUSCATED);
	assert_int_equal(s->client_query, HTTP_QUERY_OBFUSCATED);
	assert_false(s->client_ip);
	assert_true(s->peer_service);
	assert_int_equal(s->header_tag_cnt, 0);
	assert_int_equal(s->mapping_cnt, 0);
	assert_int_equal(s->client_ip_header.len, 0);
	http_settings_unref(http_settings_ref(s));
	http_settings_unref(s);
	http_settings_unref(NULL);
}

static void statuses(void **state)
{
	struct http_settings *s =
		SETTINGS("DD_TRACE_HTTP_SERVER_ERROR_STATUSES", "404-499, 599-510 ,200",
			 "DD_HTTP_CLIENT_ERROR_STATUSES", "400-499", "DD_HTTP_SERVER_ERROR_STATUSES", "1");
	(void)state;
	assert_string_equal(sbuf_str(&err), "");
	assert_true(http_status_is_in(&s->server_errors, 404));
	assert_true(http_status_is_in(&s->server_errors, 510));
	assert_true(http_status_is_in(&s->server_errors, 200));
	assert_false(http_status_is_in(&s->server_errors, 500));
	assert_false(http_status_is_in(&s->server_errors, 1));
	assert_true(http_status_is_in(&s->client_errors, 400));
	assert_false(http_status_is_in(&s->client_errors, 500));
	http_settings_unref(s);
}

static void header_tags(void **state)
{
	struct http_settings *s =
		SETTINGS("DD_TRACE_HEADER_TAGS",
			 "X-Request-Id, content-type:ctype ,Cookie,X.Odd Name_1:, user-agent : ua ,x-request-id:rid,,");
	(void)state;
	assert_int_equal(s->header_tag_cnt, 3);
	assert_true(sv_eq(s->header_tags[0].header, SV("x-request-id")));
	assert_true(sv_eq(s->header_tags[0].tag[0], SV("rid")));
	assert_true(sv_eq(s->header_tags[1].tag[1], SV("ctype")));
	assert_true(sv_eq(s->header_tags[2].header, SV("user-agent")));
	assert_true(sv_eq(s->header_tags[2].tag[0], SV("ua")));
	assert_non_null(strstr(sbuf_str(&err), "DD_TRACE_HEADER_TAGS='X.Odd Name_1:': header or header:tag"));
	http_settings_unref(s);

	s = SETTINGS("DD_TRACE_HEADER_TAGS", "X.Odd  b:c\td");
	assert_string_equal(sbuf_str(&err), "");
	assert_int_equal(s->header_tag_cnt, 3);
	assert_true(sv_eq(s->header_tags[0].tag[0], SV("http.request.headers.x_odd")));
	assert_true(sv_eq(s->header_tags[0].tag[1], SV("http.response.headers.x_odd")));
	assert_true(sv_eq(s->header_tags[1].tag[1], SV("c")));
	http_settings_unref(s);

	struct sbuf many = {0};
	for (int i = 0; i < HTTP_MAX_HEADER_TAGS + 1; i++)
		sbuf_addf(&many, "h%d,", i);
	s = SETTINGS("DD_TRACE_HEADER_TAGS", sbuf_str(&many));
	assert_int_equal(s->header_tag_cnt, HTTP_MAX_HEADER_TAGS);
	assert_non_null(strstr(sbuf_str(&err), "at most"));
	http_settings_unref(s);
	sbuf_release(&many);
}

static void peer_service(void **state)
{
	static const struct {
		const char *schema, *enabled;
		bool expected;
	} cases[] = {{"", "", true},	   {"v0", "", false}, {"v0", "true", true},
		     {"", "false", false}, {"v1", "0", true}, {"V1", "", true}};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_settings *s = SETTINGS("DD_TRACE_SPAN_ATTRIBUTE_SCHEMA", cases[i].schema,
						   "DD_TRACE_PEER_SERVICE_DEFAULTS_ENABLED", cases[i].enabled);
		assert_string_equal(sbuf_str(&err), "");
		assert_int_equal(s->peer_service, cases[i].expected);
		http_settings_unref(s);
	}
	struct http_settings *s = SETTINGS("DD_TRACE_PEER_SERVICE_MAPPING", "10.0.0.1:db,a:b:c,x");
	assert_int_equal(s->mapping_cnt, 2);
	assert_true(sv_eq(s->mappings[0].from, SV("10.0.0.1")));
	assert_true(sv_eq(s->mappings[1].to, SV("b:c")));
	assert_string_equal(sbuf_str(&err),
			    "DD_TRACE_PEER_SERVICE_MAPPING='x': from:to, separated by commas or blanks\n");
	http_settings_unref(s);
}

static void queries(void **state)
{
	struct http_settings *s = SETTINGS("DD_HTTP_SERVER_TAG_QUERY_STRING", "False");
	(void)state;
	assert_int_equal(s->server_query, HTTP_QUERY_NONE);
	assert_int_equal(s->client_query, HTTP_QUERY_OBFUSCATED);
	http_settings_unref(s);
	s = SETTINGS("DD_TRACE_HTTP_CLIENT_TAG_QUERY_STRING", "0");
	assert_int_equal(s->client_query, HTTP_QUERY_NONE);
	http_settings_unref(s);
	s = SETTINGS("DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP", "");
	assert_string_equal(sbuf_str(&err), "");
	assert_int_equal(s->server_query, HTTP_QUERY_NONE);
	assert_int_equal(s->client_query, HTTP_QUERY_PLAIN);
	assert_null(s->obfuscator);
	http_settings_unref(s);
	s = SETTINGS("DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP", "a(b");
	assert_int_equal(s->server_query, HTTP_QUERY_NONE);
	assert_int_equal(s->client_query, HTTP_QUERY_NONE);
	assert_non_null(
		strstr(sbuf_str(&err), "DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP='a(b': missing closing parenthesis"));
	http_settings_unref(s);

	struct query_obfuscator *standard;
	assert_int_equal(query_obfuscator_new(SV_NULL, &standard, &err), 0);
	const char *const none[] = {NULL};
	s = http_settings_new(lookup, (void *)none, standard, &err);
	assert_ptr_equal(s->obfuscator, standard);
	query_obfuscator_unref(standard);
	http_settings_unref(s);
}

static void collect(void *arg, struct sv name)
{
	sbuf_addf(arg, SV_FMT " ", SV_ARG(name));
}

static void wanted(void **state)
{
	struct sbuf names = {0};
	struct http_settings *s = SETTINGS("DD_TRACE_HEADER_TAGS", "A b", "DD_TRACE_CLIENT_IP_HEADER", "X_My_IP");
	(void)state;
	http_settings_headers(s, collect, &names);
	assert_string_equal(sbuf_str(&names), "a b ");
	http_settings_unref(s);
	sbuf_reset(&names);
	s = SETTINGS("DD_TRACE_CLIENT_IP_HEADER", "X_My_IP", "DD_TRACE_CLIENT_IP_ENABLED", "1");
	http_settings_headers(s, collect, &names);
	assert_string_equal(sbuf_str(&names), "x-my-ip ");
	http_settings_unref(s);
	sbuf_reset(&names);
	s = SETTINGS("DD_TRACE_CLIENT_IP_ENABLED", "TRUE");
	http_settings_headers(s, collect, &names);
	assert_string_equal(sbuf_str(&names),
			    "x-forwarded-for x-real-ip true-client-ip x-client-ip forwarded forwarded-for "
			    "x-cluster-client-ip fastly-client-ip cf-connecting-ip cf-connecting-ipv6 ");
	http_settings_unref(s);
	sbuf_release(&names);
}

/* Each is told, and counts as unset. */
static void wrong_values(void **state)
{
	static const char *const cases[][3] = {
		{"DD_TRACE_HTTP_SERVER_ERROR_STATUSES", "abc",
		 "='abc': a status or a range of them, as in 404,500-599\n"},
		{"DD_TRACE_HTTP_CLIENT_ERROR_STATUSES", "5000", "a status"},
		{"DD_TRACE_HTTP_CLIENT_ERROR_STATUSES", "500-", "a status"},
		{"DD_TRACE_HTTP_CLIENT_ERROR_STATUSES", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "at most 16"},
		{"DD_TRACE_CLIENT_IP_ENABLED", "yes", "='yes': true, false, 1 or 0\n"},
		{"DD_HTTP_SERVER_TAG_QUERY_STRING", "no", "true, false, 1 or 0"},
		{"DD_TRACE_SPAN_ATTRIBUTE_SCHEMA", "v2", "='v2': v0 or v1\n"},
		{"DD_TRACE_PEER_SERVICE_DEFAULTS_ENABLED", "on", "true, false"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_settings *s = SETTINGS(cases[i][0], cases[i][1]);
		if (!strstr(sbuf_str(&err), cases[i][0]) || !strstr(sbuf_str(&err), cases[i][2]))
			fail_msg("%s", sbuf_str(&err));
		assert_true(http_status_is_in(&s->server_errors, 500));
		assert_int_equal(s->server_query, HTTP_QUERY_OBFUSCATED);
		assert_false(s->client_ip);
		assert_true(s->peer_service);
		http_settings_unref(s);
	}
}

static int teardown(void **state)
{
	(void)state;
	sbuf_release(&err);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),	cmocka_unit_test(statuses), cmocka_unit_test(header_tags),
		cmocka_unit_test(peer_service), cmocka_unit_test(queries),  cmocka_unit_test(wanted),
		cmocka_unit_test(wrong_values),
	};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
