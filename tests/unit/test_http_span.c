/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/http.h"

/* An environment: name, value, name, value, NULL. */
static struct sv lookup(void *arg, const char *name)
{
	for (const char *const *at = arg; *at; at += 2)
		if (strcmp(*at, name) == 0)
			return sv_of(at[1]);
	return SV_NULL;
}

static struct arena arena;
static struct resources resources;
static struct routes routes;
static struct sbuf scratch, text;

static const struct http_facts server_facts = {
	.server = true,
	.minor = 1,
	.status = 200,
	.method = {"GET", 3},
	.target = {"/users/42?page=2&token=s", 24},
	.host = {"shop.example:8000", 17},
	.user_agent = {"curl/8", 6},
	.peer = {.family = 4, .bytes = {10, 0, 0, 9}, .port = 50000},
	.local = {.family = 4, .bytes = {10, 0, 0, 1}, .port = 8000},
	.request_sz = 0,
	.response_sz = 512,
	.first_byte_ns = 1500,
	.connect_ns = HTTP_UNKNOWN,
};

static struct http_facts client_facts(void)
{
	struct http_facts f = server_facts;
	f.server = false;
	f.connect_ns = 70000;
	f.peer = (struct http_address){.family = 4, .bytes = {93, 184, 216, 34}, .port = 8000};
	return f;
}

/* The span as text: name, resource, type and error; then tags and metrics in their order. */
static const char *filled(const struct http_facts *facts, const char *const *environment)
{
	struct sbuf err = {0};
	struct http_settings *s = http_settings_new(lookup, (void *)environment, NULL, &err);
	struct http_naming naming = {{NULL, &routes}, &resources, &scratch};
	struct span span = {0};
	arena_reset(&arena);
	sbuf_reset(&text);
	assert_true(http_span(&span, &arena, facts, s, &naming, 1, 1));
	/* Room for what the caller adds; and nothing of the settings is used after them. */
	span.tags[span.tag_cnt++] = (struct tag){SV("more"), SV("1")};
	span.metrics[span.metric_cnt++] = (struct metric){SV("more"), 1};
	http_settings_unref(s);
	sbuf_addf(&text, SV_FMT "|" SV_FMT "|" SV_FMT "|%d\n", SV_ARG(span.name), SV_ARG(span.resource),
		  SV_ARG(span.type), span.error);
	for (uint32_t i = 0; i < span.shared_tag_cnt; i++)
		sbuf_addf(&text, SV_FMT "=" SV_FMT "\n", SV_ARG(span.shared_tags[i].key),
			  SV_ARG(span.shared_tags[i].value));
	for (uint32_t i = 0; i < span.tag_cnt; i++)
		sbuf_addf(&text, SV_FMT "=" SV_FMT "\n", SV_ARG(span.tags[i].key), SV_ARG(span.tags[i].value));
	for (uint32_t i = 0; i < span.metric_cnt; i++)
		sbuf_addf(&text, SV_FMT "=%g\n", SV_ARG(span.metrics[i].key), span.metrics[i].value);
	sbuf_release(&err);
	return sbuf_str(&text);
}
#define FILLED(facts, ...) filled(facts, (const char *const[]){__VA_ARGS__, NULL})
#define PLAIN(facts)	   FILLED(facts, "NOTHING", "1")

static void has(const char *span, const char *line)
{
	size_t n = strlen(line);
	for (const char *at = span; (at = strstr(at, line)); at++)
		if ((at == span || at[-1] == '\n') && at[n] == '\n')
			return;
	fail_msg("no line '%s' in\n%s", line, span);
}

static void lacks(const char *span, const char *key)
{
	for (const char *at = span; (at = strstr(at, key)); at++)
		if (at == span || at[-1] == '\n')
			fail_msg("'%s' in\n%s", key, span);
}

static void server(void **state)
{
	(void)state;
	assert_string_equal(PLAIN(&server_facts), "http.server.request|GET /users/?|web|0\n"
						  "component=http\n"
						  "span.kind=server\n"
						  "http.method=GET\n"
						  "http.url=http://shop.example:8000/users/42?page=2&<redacted>\n"
						  "http.status_code=200\n"
						  "http.version=1.1\n"
						  "http.useragent=curl/8\n"
						  "more=1\n"
						  "_dd.measured=1\n"
						  "http.request.content_length=0\n"
						  "http.response.content_length=512\n"
						  "spanhound.first_byte_ns=1500\n"
						  "more=1\n");
}

static void client(void **state)
{
	struct http_facts f = client_facts();
	(void)state;
	assert_string_equal(PLAIN(&f), "http.client.request|GET /users/?|http|0\n"
				       "component=http\n"
				       "span.kind=client\n"
				       "http.method=GET\n"
				       "http.url=http://shop.example:8000/users/42?page=2&<redacted>\n"
				       "http.status_code=200\n"
				       "http.version=1.1\n"
				       "http.useragent=curl/8\n"
				       "out.host=shop.example\n"
				       "peer.service=shop.example\n"
				       "_dd.peer.service.source=out.host\n"
				       "more=1\n"
				       "network.destination.port=8000\n"
				       "spanhound.connect_ns=70000\n"
				       "_dd.measured=1\n"
				       "http.request.content_length=0\n"
				       "http.response.content_length=512\n"
				       "spanhound.first_byte_ns=1500\n"
				       "more=1\n");
	has(FILLED(&f, "DD_TRACE_PEER_SERVICE_MAPPING", "shop.example:shop"), "peer.service=shop");
	has(sbuf_str(&text), "_dd.peer.service.remapped_from=shop.example");
	lacks(FILLED(&f, "DD_TRACE_SPAN_ATTRIBUTE_SCHEMA", "v0"), "peer.service");
	f.host = SV("[2001:DB8::1]:80");
	has(PLAIN(&f), "out.host=2001:db8::1");
	f.host = SV("User:pw@EXAMPLE.com");
	has(PLAIN(&f), "out.host=example.com");
	has(sbuf_str(&text), "http.url=http://EXAMPLE.com/users/42?page=2&<redacted>");
}

static void nothing_known(void **state)
{
	struct http_facts f = HTTP_FACTS_INIT;
	(void)state;
	f.server = true;
	assert_string_equal(PLAIN(&f), "http.server.request|HTTP|web|0\ncomponent=http\nspan.kind=server\nmore=1\n"
				       "_dd.measured=1\nmore=1\n");
	f.server = false;
	assert_string_equal(PLAIN(&f), "http.client.request|HTTP|http|0\ncomponent=http\nspan.kind=client\nmore=1\n"
				       "_dd.measured=1\nmore=1\n");
}

static void urls(void **state)
{
	static const struct {
		const char *method, *target, *host, *url;
	} cases[] = {
		{"GET", "/", "h", "http://h/"},
		{"GET", "/%41%20b%7e%2F%zz%4", "h", "http://h/A%20b~%2F%zz%4"},
		{"GET", "/a?b#c", "h", "http://h/a?b#c"},
		{"GET", "/a#b?c", "h", "http://h/a#b?c"},
		{"GET", "/a?", "h", "http://h/a?"},
		{"GET", "http://u:p@proxy.d:81/x?y", "other", "http://proxy.d:81/x?y"},
		{"GET", "https://secure", "other", "https://secure/"},
		{"OPTIONS", "*", "h", "http://h"},
		{"GET", "/x", "", "http://10.0.0.1:8000/x"},
		{"CONNECT", "h:443", "h", NULL},
	};
	struct http_facts f = server_facts;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[128];
		f.method = sv_of(cases[i].method);
		f.target = sv_of(cases[i].target);
		f.host = sv_of(cases[i].host);
		snprintf(line, sizeof(line), "http.url=%s", cases[i].url ? cases[i].url : "");
		if (cases[i].url)
			has(PLAIN(&f), line);
		else
			lacks(PLAIN(&f), "http.url");
	}
	f = server_facts;
	f.host = SV_NULL;
	f.tls = true;
	f.local = (struct http_address){.family = 6, .bytes = {[15] = 1}, .port = 443};
	has(PLAIN(&f), "http.url=https://[::1]/users/42?page=2&<redacted>");
	f.local.family = 0;
	has(PLAIN(&f), "http.url=/users/42?page=2&<redacted>");
}

static void queries(void **state)
{
	struct http_facts f = server_facts, c = client_facts();
	(void)state;
	has(FILLED(&f, "DD_HTTP_SERVER_TAG_QUERY_STRING", "false"), "http.url=http://shop.example:8000/users/42");
	has(FILLED(&f, "DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP", ""), "http.url=http://shop.example:8000/users/42");
	has(FILLED(&c, "DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP", ""),
	    "http.url=http://shop.example:8000/users/42?page=2&token=s");
	has(FILLED(&c, "DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP", "page=."),
	    "http.url=http://shop.example:8000/users/42?<redacted>&token=s");
}

static void resource(const struct http_facts *f, const char *want)
{
	PLAIN(f);
	const char *at = strchr(sbuf_str(&text), '|') + 1, *end = strchr(at, '|');
	if (!sv_eq((struct sv){at, (size_t)(end - at)}, sv_of(want)))
		fail_msg("%.*s, not %s", (int)(end - at), at, want);
}

static void resource_names(void **state)
{
	struct http_facts f = server_facts, c = client_facts();
	struct sbuf err = {0};
	(void)state;
	f.status = c.status = 404;
	resource(&f, "GET 404");
	resource(&c, "GET /users/?");
	f.status = 405;
	f.method = SV("DELETE");
	resource(&f, "DELETE 405");
	f.status = 0;
	f.target = SV("http://h/a/7?x");
	resource(&f, "DELETE /a/?");
	f.method = SV("CONNECT");
	f.target = SV("h:443");
	resource(&f, "CONNECT");
	f.method = SV("OPTIONS");
	f.target = SV("*");
	resource(&f, "OPTIONS *");
	/* A configured route names its 404s, too. */
	f = server_facts;
	f.status = 404;
	assert_int_equal(routes_add(&routes, SV("/users/{id}"), &err), 0);
	resource(&f, "GET /users/{id}");
	has(sbuf_str(&text), "http.route=/users/{id}");
	routes_release(&routes);
	f.status = 200;
	lacks(PLAIN(&f), "http.route");
}

static void too_many_resources(void **state)
{
	struct http_facts f = server_facts;
	struct sbuf err = {0};
	char target[32];
	(void)state;
	resources_release(&resources);
	resources = (struct resources){.max = 10};
	assert_int_equal(routes_add(&routes, SV("/users/{id}"), &err), 0);
	for (int i = 0; i < 20; i++) {
		target[0] = '/';
		target[1] = (char)('a' + i);
		f.target = (struct sv){target, 2};
		resource(&f, i < 10 ? (snprintf(target + 8, 16, "GET /%c", 'a' + i), target + 8) : "GET *");
	}
	assert_int_equal(resources.overflow, 10);
	f.method = SV("FROBNICATE");
	resource(&f, "OTHER *");
	f.target = SV("/users/1");
	resource(&f, "OTHER *");
	f.method = SV("GET");
	resource(&f, "GET /users/{id}");
	routes_release(&routes);
	resources_release(&resources);
	resources = (struct resources){0};
}

static void errors(void **state)
{
	struct http_facts f = server_facts, c = client_facts();
	(void)state;
	f.status = c.status = 503;
	assert_non_null(strstr(PLAIN(&f), "|web|1\n"));
	lacks(sbuf_str(&text), "error.");
	assert_non_null(strstr(PLAIN(&c), "|http|1\n"));
	assert_non_null(strstr(FILLED(&f, "DD_TRACE_HTTP_SERVER_ERROR_STATUSES", "400-499"), "|web|0\n"));
	assert_non_null(strstr(FILLED(&c, "DD_TRACE_HTTP_SERVER_ERROR_STATUSES", "400-499"), "|http|1\n"));
	assert_non_null(strstr(FILLED(&c, "DD_TRACE_HTTP_CLIENT_ERROR_STATUSES", "400-499"), "|http|0\n"));

	c.status = 0;
	c.failure = HTTP_ERRNO;
	c.error_number = ECONNREFUSED;
	assert_non_null(strstr(PLAIN(&c), "|http|1\n"));
	has(sbuf_str(&text), "error.type=ECONNREFUSED");
	has(sbuf_str(&text), "error.message=Connection refused");
	lacks(sbuf_str(&text), "http.status_code");
	c.error_number = 77;
	has(PLAIN(&c), "error.type=errno 77");
	c.failure = HTTP_CLOSED;
	has(PLAIN(&c), "error.message=connection closed before the response");
	c.status = 200;
	has(PLAIN(&c), "error.message=connection closed before the end of the response");
	has(sbuf_str(&text), "error.type=ConnectionClosed");

	f.status = 0;
	f.failure = HTTP_CLIENT_LEFT;
	assert_non_null(strstr(PLAIN(&f), "|web|0\n"));
	has(sbuf_str(&text), "spanhound.aborted=client");
	f.truncated = true;
	has(PLAIN(&f), "spanhound.truncated=true");
}

static void client_address(void **state)
{
	struct http_facts f = server_facts;
	struct http_header headers[] = {
		{SV("x-real-ip"), SV("8.8.8.8")}, {SV("forwarded"), SV("for=9.9.9.9")}, {SV("x-mine"), SV("7.7.7.7")}};
	(void)state;
	f.request_headers = headers;
	f.request_header_cnt = 3;
	lacks(PLAIN(&f), "network.client.ip");
	lacks(sbuf_str(&text), "http.client_ip");
	has(FILLED(&f, "DD_TRACE_CLIENT_IP_ENABLED", "1"), "http.client_ip=8.8.8.8");
	has(sbuf_str(&text), "network.client.ip=10.0.0.9");
	has(FILLED(&f, "DD_TRACE_CLIENT_IP_ENABLED", "1", "DD_TRACE_CLIENT_IP_HEADER", "X-Mine"),
	    "http.client_ip=7.7.7.7");
	has(FILLED(&f, "DD_TRACE_CLIENT_IP_ENABLED", "1", "DD_TRACE_CLIENT_IP_HEADER", "forwarded"),
	    "http.client_ip=10.0.0.9");
	f.request_header_cnt = 0;
	has(FILLED(&f, "DD_TRACE_CLIENT_IP_ENABLED", "1"), "http.client_ip=10.0.0.9");
	f.peer = (struct http_address){.family = 6, .bytes = {[10] = 0xff, 0xff, 1, 2, 3, 4}};
	has(FILLED(&f, "DD_TRACE_CLIENT_IP_ENABLED", "1"), "network.client.ip=1.2.3.4");
	f.peer.family = 0;
	lacks(FILLED(&f, "DD_TRACE_CLIENT_IP_ENABLED", "1"), "network.client.ip");
}

static void header_tags(void **state)
{
	struct http_facts f = server_facts;
	struct http_header request[] = {{SV("x-request-id"), SV("a\r\n b")}, {SV("content-type"), SV("text/plain")}};
	struct http_header response[] = {{SV("content-type"), SV("text/html")}, {SV("x-request-id"), SV("")}};
	(void)state;
	f.request_headers = request;
	f.request_header_cnt = 2;
	f.response_headers = response;
	f.response_header_cnt = 2;
	has(FILLED(&f, "DD_TRACE_HEADER_TAGS", "X-Request-Id,content-type"), "http.request.headers.x-request-id=a   b");
	has(sbuf_str(&text), "http.request.headers.content-type=text/plain");
	has(sbuf_str(&text), "http.response.headers.content-type=text/html");
	lacks(sbuf_str(&text), "http.response.headers.x-request-id");
	has(FILLED(&f, "DD_TRACE_HEADER_TAGS", "x-request-id:rid,content-type:ctype"), "rid=a   b");
	has(sbuf_str(&text), "ctype=text/html");
	assert_null(strstr(sbuf_str(&text), "text/plain"));
}

static int teardown(void **state)
{
	(void)state;
	resources_release(&resources);
	arena_release(&arena);
	sbuf_release(&scratch);
	sbuf_release(&text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server),
		cmocka_unit_test(client),
		cmocka_unit_test(nothing_known),
		cmocka_unit_test(urls),
		cmocka_unit_test(queries),
		cmocka_unit_test(resource_names),
		cmocka_unit_test(too_many_resources),
		cmocka_unit_test(errors),
		cmocka_unit_test(client_address),
		cmocka_unit_test(header_tags),
	};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
