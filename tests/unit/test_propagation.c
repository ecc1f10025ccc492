/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/propagation/propagation.h"

/* tests/e2e/test_propagation.py compares with ddtrace over thousands of requests; here are the published vectors: W3C
 * Trace Context's test suite (w3c/trace-context test/test.py), B3's README, Datadog's system tests. */

struct case_state {
	struct arena arena;
	struct propagation_settings settings;
	struct propagation_headers headers;
	struct propagation_context ctx;
	struct sbuf out;
};

static struct sv no_environment(void *arg, const char *name)
{
	const char *const *pairs = arg;
	for (; pairs && *pairs; pairs += 2) {
		if (!strcmp(pairs[0], name))
			return sv_of(pairs[1]);
	}
	return SV_NULL;
}

static void use(struct case_state *c, const char *const *environment)
{
	struct sbuf warn = {0};
	propagation_settings_read(&c->settings, no_environment, (void *)environment, &warn);
	assert_int_equal(warn.len, 0);
}

/* Headers as a text of "name: value" lines. */
static int extract(struct case_state *c, const char *text)
{
	c->headers = (struct propagation_headers){0};
	while (*text) {
		const char *end = strchrnul(text, '\n'), *colon = memchr(text, ':', (size_t)(end - text));
		assert_non_null(colon);
		struct sv name = {text, (size_t)(colon - text)}, value = {colon + 1, (size_t)(end - colon - 1)};
		assert_true(propagation_headers_add(&c->headers, &c->arena, name, value) >= 0);
		text = *end ? end + 1 : end;
	}
	return propagation_extract(&c->settings, &c->headers, &c->arena, &c->ctx);
}

static const char *inject(struct case_state *c, uint64_t span_id)
{
	sbuf_reset(&c->out);
	assert_int_equal(propagation_inject(&c->settings, &c->ctx, span_id, &c->out).len, 0);
	return sbuf_str(&c->out);
}

#define assert_sv(s, text)                                                       \
	do {                                                                     \
		struct sv sv_ = (s);                                             \
		if (!sv_eq(sv_, sv_of(text)))                                    \
			fail_msg("'" SV_FMT "' is not '%s'", SV_ARG(sv_), text); \
	} while (0)

static int start(void **state)
{
	struct case_state *c = calloc(1, sizeof(*c));
	propagation_settings_init(&c->settings);
	*state = c;
	return 0;
}

static int stop(void **state)
{
	struct case_state *c = *state;
	arena_release(&c->arena);
	sbuf_release(&c->out);
	free(c);
	return 0;
}

#define TRACE "12345678901234567890123456789012"
#define SPAN  "1234567890123456"

static void traceparent_versions(void **state)
{
	struct case_state *c = *state;
	static const char *const good[] = {
		"00-" TRACE "-" SPAN "-01",
		"01-" TRACE "-" SPAN "-01",
		"01-" TRACE "-" SPAN "-01-what-the-future-will-be-like",
		"cc-" TRACE "-" SPAN "-01",
		" 00-" TRACE "-" SPAN "-01 ",
		"\t00-" TRACE "-" SPAN "-01\t",
	};
	static const char *const bad[] = {
		"",
		"00-" TRACE "-" SPAN "-01.",
		"00-" TRACE "-" SPAN "-01-what-the-future-will-be-like",
		"cc-" TRACE "-" SPAN "-01.what-the-future-will-not-be-like",
		"cc-" TRACE "-" SPAN "-01-",
		"ff-" TRACE "-" SPAN "-01",
		".0-" TRACE "-" SPAN "-01",
		"0.-" TRACE "-" SPAN "-01",
		"000-" TRACE "-" SPAN "-01",
		"0000-" TRACE "-" SPAN "-01",
		"00-00000000000000000000000000000000-" SPAN "-01",
		"00-.2345678901234567890123456789012-" SPAN "-01",
		"00-1234567890123456789012345678901.-" SPAN "-01",
		"00-123456789012345678901234567890123-" SPAN "-01",
		"00-1234567890123456789012345678901-" SPAN "-01",
		"00-" TRACE "-0000000000000000-01",
		"00-" TRACE "-.234567890123456-01",
		"00-" TRACE "-12345678901234567-01",
		"00-" TRACE "-123456789012345-01",
		"00-" TRACE "-" SPAN "-.0",
		"00-" TRACE "-" SPAN "-0.",
		"00-" TRACE "-" SPAN "-001",
		"00-" TRACE "-" SPAN "-1",
		"00-" TRACE "-" SPAN "-",
		"00-ABCDEF78901234567890123456789012-" SPAN "-01",
		"00-" TRACE "-" SPAN "-01\n",
		"00_" TRACE "-" SPAN "-01",
	};
	char text[256];
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "traceparent:%s", good[i]);
		assert_int_equal(extract(c, text), 1);
		assert_int_equal(c->ctx.trace_hi, 0x1234567890123456);
		assert_int_equal(c->ctx.trace_lo, 0x7890123456789012);
		assert_int_equal(c->ctx.span_id, 0x1234567890123456);
		assert_int_equal(c->ctx.priority, 1);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		c->headers = (struct propagation_headers){.value[PROPAGATION_HEADER_TRACEPARENT] = sv_of(bad[i])};
		/* A line feed at the end is stripped, as in Python; no HTTP head brings one. */
		bool stripped = bad[i][0] && bad[i][strlen(bad[i]) - 1] == '\n';
		if (propagation_extract(&c->settings, &c->headers, &c->arena, &c->ctx) != stripped)
			fail_msg("'%s'", bad[i]);
	}
	assert_int_equal(extract(c, "traceparent: 00-" TRACE "-" SPAN "-01\ntraceparent: 00-" TRACE "-" SPAN "-01"), 0);
	assert_int_equal(extract(c, "TraceParent: 00-" TRACE "-" SPAN "-00"), 1);
	assert_int_equal(c->ctx.priority, 0);
	assert_int_equal(extract(c, "trace-parent: 00-" TRACE "-" SPAN "-00"), 0);
	assert_int_equal(extract(c, "tracestate: foo=1"), 0);
}

static void tracestate_lists(void **state)
{
	struct case_state *c = *state;
	static const char *const vectors[][2] = {
		{"tracestate: foo=1,bar=2", "foo=1,bar=2"},
		{"tracestate: foo=1\ntracestate: bar=2,rojo=3", "foo=1,bar=2,rojo=3"},
		{"TraceState: foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"},
		{"tracestate: foo=1,\ntracestate:\ntracestate: , bar=2", "foo=1,bar=2"},
		{"tracestate: foo=1,foo=2", "foo=1,foo=2"},
		{"tracestate: foo=1,dd=s:1,bar=2", "dd=s:1,foo=1,bar=2"},
		{"tracestate: foo=1,dd=s:1,ot=th:8,dd=s:2", "dd=s:2,ot=th:8,foo=1"},
		{"tracestate: a=\x01,b=2", ""},
	};
	char text[512];
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		snprintf(text, sizeof(text), "traceparent: 00-" TRACE "-" SPAN "-01\n%s", vectors[i][0]);
		assert_int_equal(extract(c, text), 1);
		assert_sv(c->ctx.tracestate, vectors[i][1]);
	}
}

static void tracestate_limits(void **state)
{
	struct case_state *c = *state;
	struct sbuf text = {0}, want = {0};
	sbuf_adds(&text, "traceparent: 00-" TRACE "-" SPAN "-01\ntracestate: ");
	for (int i = 0; i < 40; i++)
		sbuf_addf(&text, "v%d=%d,", i, i);
	sbuf_adds(&text, "dd=s:2");
	sbuf_adds(&want, "dd=s:2");
	for (int i = 0; i < 31; i++)
		sbuf_addf(&want, ",v%d=%d", i, i);
	assert_int_equal(extract(c, sbuf_str(&text)), 1);
	assert_sv(c->ctx.tracestate, sbuf_str(&want));
	assert_int_equal(c->ctx.priority, 2);

	/* 122 + 1 + 302 bytes; the next one is not long and does not fit, so the list ends there. */
	sbuf_reset(&text);
	sbuf_reset(&want);
	sbuf_addf(&text, "traceparent: 00-" TRACE "-" SPAN "-01\ntracestate: a=%0*d,b=%0*d,c=%0*d,e=1", 120, 0, 300, 0,
		  120, 0);
	sbuf_addf(&want, "a=%0*d,b=%0*d", 120, 0, 300, 0);
	extract(c, sbuf_str(&text));
	assert_sv(c->ctx.tracestate, sbuf_str(&want));
	/* A long one that does not fit is passed over. */
	sbuf_reset(&text);
	sbuf_addf(&text, "traceparent: 00-" TRACE "-" SPAN "-01\ntracestate: a=%0*d,b=%0*d,c=%0*d,e=1", 120, 0, 300, 0,
		  127, 0);
	sbuf_adds(&want, ",e=1");
	extract(c, sbuf_str(&text));
	assert_sv(c->ctx.tracestate, sbuf_str(&want));
	sbuf_release(&text);
	sbuf_release(&want);
}

/* Datadog's system tests, parametric/test_headers_tracestate_dd.py and the wire reference. */
static void dd_member(void **state)
{
	struct case_state *c = *state;
	assert_int_equal(extract(c, "traceparent: 00-" TRACE "-" SPAN "-01\n"
				    "tracestate: foo=1,dd=s:2;o:rum;p:0123456789abcdef;t.dm:-4;t.usr.id:baz64~~;"
				    "t.url:http://localhost"),
			 1);
	assert_int_equal(c->ctx.priority, 2);
	assert_sv(c->ctx.origin, "rum");
	assert_sv(c->ctx.last_parent, "0123456789abcdef");
	assert_sv(propagation_tag(&c->ctx, SV("_dd.p.dm")), "-4");
	assert_sv(propagation_tag(&c->ctx, SV("_dd.p.usr.id")), "baz64==");
	assert_sv(propagation_tag(&c->ctx, SV("_dd.p.url")), "http://localhost");
	assert_int_equal(c->ctx.tag_cnt, 3);
	assert_string_equal(
		inject(c, 0xabc),
		"x-datadog-trace-id: 8687463697196027922\r\nx-datadog-parent-id: 2748\r\n"
		"x-datadog-sampling-priority: 2\r\nx-datadog-origin: rum\r\n"
		"x-datadog-tags: _dd.p.dm=-4,_dd.p.usr.id=baz64==,_dd.p.url=http://localhost,"
		"_dd.p.tid=1234567890123456\r\n"
		"traceparent: 00-" TRACE "-0000000000000abc-01\r\n"
		"tracestate: dd=p:0000000000000abc;s:2;o:rum;t.dm:-4;t.usr.id:baz64~~;t.url:http://localhost;"
		"t.tid:1234567890123456,foo=1\r\n");
	static const struct {
		const char *flag, *dd;
		int32_t priority;
	} reconciled[] = {
		{"01", "s:2", 2},
		{"01", "s:0", 1},
		{"01", "s:-1", 1},
		{"01", "t.x:y", 1},
		{"00", "s:2", 0},
		{"00", "s:0", 0},
		{"00", "s:-1", -1},
		{"00", "t.x:y", 0},
		{"01", "s:x", 1},
		{"00", "s:-1;", 0},
		{"01", "o:rum", PROPAGATION_PRIORITY_NONE},
		{"00", "o:rum;s:2", 0},
		{"03", "s:2", 2},
		{"02", "s:-1", -1},
	};
	for (size_t i = 0; i < sizeof(reconciled) / sizeof(reconciled[0]); i++) {
		char text[200];
		snprintf(text, sizeof(text), "traceparent: 00-" TRACE "-" SPAN "-%s\ntracestate: dd=%s",
			 reconciled[i].flag, reconciled[i].dd);
		assert_int_equal(extract(c, text), 1);
		assert_int_equal(c->ctx.priority, reconciled[i].priority);
	}
	assert_int_equal(extract(c, "traceparent: 00-" TRACE "-" SPAN "-01\ntracestate: dd=p:XX!X"), 1);
	assert_sv(c->ctx.last_parent, "XX!X");
}

static void origin_is_encoded(void **state)
{
	struct case_state *c = *state;
	assert_int_equal(extract(c, "x-datadog-trace-id: 1\nx-datadog-parent-id: 2\nx-datadog-sampling-priority: 1\n"
				    "x-datadog-origin: synthetics~;=web,z"),
			 1);
	assert_non_null(strstr(inject(c, 3), "dd=p:0000000000000003;s:1;o:synthetics__~web_z\r\n"));
}

static void datadog(void **state)
{
	struct case_state *c = *state;
	assert_int_equal(extract(c, "x-datadog-trace-id: 1234567890123456789\nx-datadog-parent-id: 987654321\n"
				    "x-datadog-sampling-priority: -1\nx-datadog-origin: synthetics\n"
				    "x-datadog-tags: _dd.p.tid=640cfd8d00000000,_dd.p.dm=-4,foo=bar"),
			 1);
	assert_int_equal(c->ctx.trace_hi, 0x640cfd8d00000000);
	assert_int_equal(c->ctx.trace_lo, 1234567890123456789);
	assert_int_equal(c->ctx.span_id, 987654321);
	assert_int_equal(c->ctx.priority, -1);
	assert_int_equal(c->ctx.tag_cnt, 2);
	assert_sv(c->ctx.origin, "synthetics");
	static const char *const ignored[] = {
		"x-datadog-parent-id: 2",
		"x-datadog-trace-id: 0",
		"x-datadog-trace-id: -1",
		"x-datadog-trace-id: abc",
		"x-datadog-trace-id: 18446744073709551616",
		"x-datadog-trace-id:",
		"x-datadog-trace-id: 1\nx-datadog-parent-id: x",
		"x-datadog-trace-id: 1\nx-datadog-sampling-priority: high",
		"x-datadog-trace-id: 1\nx-datadog-trace-id: 1",
	};
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
		assert_int_equal(extract(c, ignored[i]), 0);
		assert_int_equal(c->ctx.trace_lo, 0);
		assert_int_equal(c->ctx.priority, PROPAGATION_PRIORITY_NONE);
	}
	assert_int_equal(extract(c, "x-datadog-trace-id: 1"), 1);
	assert_int_equal(c->ctx.span_id, 0);
}

static void datadog_tags(void **state)
{
	struct case_state *c = *state;
	static const struct {
		const char *tags, *error;
		unsigned cnt;
	} vectors[] = {
		{"_dd.p.dm=-4", "", 1},
		{"_dd.p.dm=-4,", "", 1},
		{"_dd.p.dm=-256", "decoding_error", 0},
		{"_dd.p.dm=4,_dd.p.x=1", "decoding_error", 1},
		{"_dd.p.x", "decoding_error", 0},
		{"_dd.p.x=1,,_dd.p.y=2", "decoding_error", 0},
		{"_dd.p.upstream_services=a,other=1", "", 0},
		{"_dd.p.tid=1234", "malformed_tid 1234", 0},
		{"_dd.p.tid=0000000000000000", "malformed_tid 0000000000000000", 0},
		{"_dd.p.tid=640CFD8D00000000", "malformed_tid 640CFD8D00000000", 0},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		char text[200];
		snprintf(text, sizeof(text), "x-datadog-trace-id: 1\nx-datadog-parent-id: 2\nx-datadog-tags: %s",
			 vectors[i].tags);
		assert_int_equal(extract(c, text), 1);
		assert_sv(c->ctx.error, vectors[i].error);
		assert_int_equal(c->ctx.tag_cnt, vectors[i].cnt);
		/* Tags that could not be read are not handed on. */
		if (vectors[i].error[0])
			assert_null(strstr(inject(c, 3), "x-datadog-tags"));
	}
	struct sbuf text = {0};
	sbuf_addf(&text, "x-datadog-trace-id: 1\nx-datadog-parent-id: 2\nx-datadog-tags: _dd.p.x=%0*d", 505, 0);
	assert_int_equal(extract(c, sbuf_str(&text)), 1);
	assert_sv(c->ctx.error, "extract_max_size");
	text.len -= 1;
	text.data[text.len] = '\0';
	assert_int_equal(extract(c, sbuf_str(&text)), 1);
	assert_sv(c->ctx.error, "");
	sbuf_release(&text);
	assert_int_equal(propagation_set_tag(&c->ctx, &c->arena, SV("_dd.p.dm"), SV("-1")), 0);
	sbuf_reset(&c->out);
	assert_sv(propagation_inject(&c->settings, &c->ctx, 3, &c->out), "inject_max_size");
	assert_null(strstr(c->out.data, "x-datadog-tags"));
	assert_non_null(strstr(c->out.data, "t.dm:-1"));
}

static void b3(void **state)
{
	struct case_state *c = *state;
	use(c, (const char *const[]){"DD_TRACE_PROPAGATION_STYLE", "b3", NULL});
	static const struct {
		const char *text;
		int32_t priority;
	} vectors[] = {
		{"b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90", 1},
		{"b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d", 2},
		{"b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0", 0},
		{"B3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1", PROPAGATION_PRIORITY_NONE},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		assert_int_equal(extract(c, vectors[i].text), 1);
		assert_int_equal(c->ctx.trace_hi, 0x80f198ee56343ba8);
		assert_int_equal(c->ctx.trace_lo, 0x64fe8b2a57d3eff7);
		assert_int_equal(c->ctx.span_id, 0xe457b5a2e4d86bd1);
		assert_int_equal(c->ctx.priority, vectors[i].priority);
	}
	assert_string_equal(inject(c, 5), "b3: 80f198ee56343ba864fe8b2a57d3eff7-0000000000000005\r\n");
	c->ctx.priority = 2;
	c->ctx.trace_hi = 0;
	assert_string_equal(inject(c, 5), "b3: 64fe8b2a57d3eff7-0000000000000005-d\r\n");
	/* A decision alone belongs to no trace. */
	assert_int_equal(extract(c, "b3: 0"), 0);
	assert_int_equal(extract(c, "b3: xyz-1-1"), 0);
	assert_int_equal(extract(c, "b3:"), 0);

	use(c, (const char *const[]){"DD_TRACE_PROPAGATION_STYLE", "b3multi", NULL});
	assert_int_equal(extract(c,
				 "X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7\nX-B3-ParentSpanId: 05e3ac9a4f6e3b90\n"
				 "X-B3-SpanId: e457b5a2e4d86bd1\nX-B3-Sampled: 1"),
			 1);
	assert_string_equal(inject(c, 5),
			    "x-b3-traceid: 80f198ee56343ba864fe8b2a57d3eff7\r\nx-b3-spanid: 0000000000000005\r\n"
			    "x-b3-sampled: 1\r\n");
	assert_int_equal(extract(c, "x-b3-traceid: 463ac35c9f6413ad\nx-b3-spanid: a2fb4a1d1a96d312\nx-b3-flags: 1"), 1);
	assert_string_equal(inject(c, 5),
			    "x-b3-traceid: 463ac35c9f6413ad\r\nx-b3-spanid: 0000000000000005\r\nx-b3-flags: 1\r\n");
	c->ctx.priority = -1;
	assert_non_null(strstr(inject(c, 5), "x-b3-sampled: 0\r\n"));
}

/* The wire reference, 7.6. */
static void conflict(void **state)
{
	struct case_state *c = *state;
	static const char text[] =
		"x-datadog-trace-id: 2\nx-datadog-parent-id: 2\n"
		"traceparent: 00-" TRACE "-" SPAN "-01\ntracestate: dd=s:2;foo:bar,x=1\nbaggage: k=v";
	assert_int_equal(extract(c, text), 1);
	assert_int_equal(c->ctx.trace_lo, 2);
	assert_int_equal(c->ctx.link_cnt, 1);
	assert_int_equal(c->ctx.links[0].trace_lo, 8687463697196027922);
	assert_int_equal(c->ctx.links[0].trace_hi, 1311768467284833366);
	assert_int_equal(c->ctx.links[0].span_id, 1311768467284833366);
	assert_int_equal(c->ctx.links[0].flags, 1);
	assert_sv(c->ctx.links[0].tracestate, "dd=s:2;foo:bar,x=1");
	assert_sv(c->ctx.links[0].reason, "terminated_context");
	assert_sv(c->ctx.links[0].context_headers, "tracecontext");
	assert_int_equal(c->ctx.tracestate.len, 0);

	use(c, (const char *const[]){"DD_TRACE_PROPAGATION_EXTRACT_FIRST", "true", NULL});
	assert_int_equal(extract(c, text), 1);
	assert_int_equal(c->ctx.link_cnt, 0);

	use(c, (const char *const[]){"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT", "restart", NULL});
	assert_int_equal(extract(c, text), 1);
	assert_int_equal(c->ctx.trace_lo, 0);
	assert_int_equal(c->ctx.link_cnt, 1);
	assert_int_equal(c->ctx.links[0].trace_lo, 2);
	assert_sv(c->ctx.links[0].reason, "propagation_behavior_extract");
	assert_sv(c->ctx.links[0].context_headers, "datadog");
	assert_int_equal(c->ctx.baggage_cnt, 1);

	use(c, (const char *const[]){"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT", "ignore", NULL});
	assert_int_equal(extract(c, text), 0);
	assert_int_equal(c->ctx.baggage_cnt, 0);
}

static void same_trace(void **state)
{
	struct case_state *c = *state;
	static const char ids[] = "x-datadog-trace-id: 2\nx-datadog-parent-id: 10\nx-datadog-sampling-priority: 2\n"
				  "traceparent: 00-00000000000000000000000000000002-";
	char text[400];
	snprintf(text, sizeof(text), "%s000000000000000a-00\ntracestate: foo=1", ids);
	assert_int_equal(extract(c, text), 1);
	assert_int_equal(c->ctx.span_id, 10);
	assert_int_equal(c->ctx.last_parent.len, 0);
	assert_int_equal(c->ctx.priority, 2);
	assert_sv(c->ctx.tracestate, "foo=1");
	snprintf(text, sizeof(text), "%s000000000000000b-03\ntracestate: foo=1,dd=s:1;p:0123456789abcdef", ids);
	assert_int_equal(extract(c, text), 1);
	assert_int_equal(c->ctx.span_id, 11);
	assert_sv(c->ctx.last_parent, "0123456789abcdef");
	assert_non_null(strstr(inject(c, 1), "-0000000000000001-03\r\n"));
	snprintf(text, sizeof(text), "%s000000000000000b-01", ids);
	assert_int_equal(extract(c, text), 1);
	assert_int_equal(c->ctx.span_id, 11);
	assert_sv(c->ctx.last_parent, "000000000000000a");
	assert_int_equal(c->ctx.link_cnt, 0);
	/* ddtrace raises here, and starts a new trace. */
	assert_int_equal(
		extract(c, "x-datadog-trace-id: 2\ntraceparent: 00-00000000000000000000000000000002-" SPAN "-01"), 1);
	assert_int_equal(c->ctx.span_id, 0x1234567890123456);
	assert_int_equal(c->ctx.last_parent.len, 0);
}

static void baggage(void **state)
{
	struct case_state *c = *state;
	assert_int_equal(extract(c, "baggage: user.id=alice,region=eu%20west,k = v ,e=%C3%A9,bad=%ff%25"), 1);
	assert_int_equal(c->ctx.baggage_cnt, 5);
	assert_sv(c->ctx.baggage[1].value, "eu west");
	assert_sv(c->ctx.baggage[2].key, "k");
	assert_sv(c->ctx.baggage[3].value, "\xc3\xa9");
	assert_sv(c->ctx.baggage[4].value, "\xef\xbf\xbd%");
	assert_int_equal(c->ctx.baggage_tag_cnt, 1);
	assert_sv(c->ctx.baggage_tags[0].key, "baggage.user.id");
	assert_sv(c->ctx.baggage_tags[0].value, "alice");
	assert_string_equal(inject(c, 0), "baggage: user.id=alice,region=eu%20west,k=v,e=%C3%A9,bad=%EF%BF%BD%25\r\n");
	static const char *const broken[] = {"a=1,b", "a=1,=2", "a=1,b=", "a", ",", "a=1,", "="};
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		char text[64];
		snprintf(text, sizeof(text), "baggage: %s", broken[i]);
		assert_int_equal(extract(c, text), 0);
		assert_int_equal(c->ctx.baggage_cnt, 0);
	}
	struct sbuf text = {0};
	sbuf_adds(&text, "baggage: k0=0");
	for (int i = 1; i < 70; i++)
		sbuf_addf(&text, ",k%d=%d", i, i);
	assert_int_equal(extract(c, sbuf_str(&text)), 1);
	assert_int_equal(c->ctx.baggage_cnt, 64);
	sbuf_reset(&text);
	sbuf_addf(&text, "baggage: a=1,b=%0*d,c=1", 8192, 0);
	assert_int_equal(extract(c, sbuf_str(&text)), 1);
	assert_int_equal(c->ctx.baggage_cnt, 1);
	sbuf_release(&text);
}

static void rates(void **state)
{
	struct case_state *c = *state;
	c->ctx.trace_lo = 608670876157572556;
	assert_int_equal(propagation_set_rate(&c->ctx, &c->arena, 1, true), 0);
	assert_sv(c->ctx.tracestate, "ot=rv:a1d034b053bc62;th:0");
	static const struct {
		double rate;
		const char *th;
	} vectors[] = {{0.5, "8"}, {0.25, "c"}, {0.6, "66666666666668"}};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		c->ctx.tracestate = SV_NULL;
		assert_int_equal(propagation_set_rate(&c->ctx, &c->arena, vectors[i].rate, true), 0);
		char *th = strstr(c->ctx.tracestate.data, "th:");
		assert_non_null(th);
		assert_string_equal(th + 3, vectors[i].th);
	}
	/* A decision that was no matter of probability takes back the threshold, nothing else. */
	c->ctx.tracestate = SV("ot=rv:a1d034b053bc62;th:8;x:y,foo=1");
	assert_int_equal(propagation_set_rate(&c->ctx, &c->arena, -1, true), 0);
	assert_sv(c->ctx.tracestate, "ot=rv:a1d034b053bc62;x:y,foo=1");
	c->ctx.tracestate = SV("ot=th:8,foo=1");
	assert_int_equal(propagation_set_rate(&c->ctx, &c->arena, 0, true), 0);
	assert_sv(c->ctx.tracestate, "foo=1");
	c->ctx.tracestate = SV_NULL;
	assert_int_equal(propagation_set_rate(&c->ctx, &c->arena, 0, true), 0);
	assert_int_equal(c->ctx.tracestate.len, 0);
}

static void header_names(void **state)
{
	struct case_state *c = *state;
	struct sv names[PROPAGATION_HEADER_CNT];
	assert_int_equal(propagation_header_names(&c->settings, names), 8);
	use(c, (const char *const[]){"DD_TRACE_PROPAGATION_STYLE_EXTRACT", "b3", NULL});
	assert_int_equal(propagation_header_names(&c->settings, names), 1);
	assert_sv(names[0], "b3");
	use(c, (const char *const[]){"DD_TRACE_PROPAGATION_STYLE", "none", NULL});
	assert_int_equal(propagation_header_names(&c->settings, names), 0);
	for (unsigned i = 0; i < PROPAGATION_HEADER_CNT; i++)
		assert_int_equal(propagation_header_find(propagation_header_name(i)), i);
	assert_int_equal(propagation_header_find(SV("X-DataDog-Trace-ID")), PROPAGATION_HEADER_DATADOG_TRACE_ID);
	assert_int_equal(propagation_header_find(SV("x-datadog-trace-ie")), -1);
	assert_int_equal(propagation_header_find(SV("b4")), -1);
	assert_int_equal(propagation_header_find(SV("")), -1);
	assert_int_equal(propagation_header_find(SV("x-b3@traceid")), -1);
}

static void mistakes_in_settings(void **state)
{
	struct case_state *c = *state;
	struct sbuf warn = {0};
	const char *const environment[] = {"DD_TRACE_PROPAGATION_STYLE",
					   "jaeger,datadog",
					   "DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH",
					   "many",
					   "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT",
					   "perhaps",
					   NULL};
	propagation_settings_read(&c->settings, no_environment, (void *)environment, &warn);
	assert_string_equal(
		sbuf_str(&warn),
		"DD_TRACE_PROPAGATION_STYLE: 'jaeger' is not a propagation style (datadog, tracecontext, b3, b3multi, "
		"baggage, none)\n"
		"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT: 'perhaps' is not continue, restart or ignore\n"
		"DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH: 'many' is not a number\n");
	assert_int_equal(c->settings.extract_cnt, 1);
	assert_int_equal(c->settings.inject, 1U << PROPAGATION_STYLE_datadog);
	assert_int_equal(c->settings.tags_max, 512);
	sbuf_release(&warn);
}

/* What a context holds may come from anywhere (a probe list, another protocol): no byte of it ends a header line. */
static void nothing_breaks_a_line(void **state)
{
	struct case_state *c = *state;
	c->settings.inject = (1U << PROPAGATION_STYLE_CNT) - 1;
	struct tag tags[] = {{SV("_dd.p.a\r\nx: y"), SV("b")}, {SV("_dd.p.b"), SV("c\r\nx: y")}};
	struct tag items[] = {{SV("k\r\n"), SV("v\r\nx: y")}};
	c->ctx = (struct propagation_context){.trace_lo = 1,
					      .origin = SV("o\r\nx: y"),
					      .tracestate = SV("a=b\r\nx: y"),
					      .tags = tags,
					      .tag_cnt = 2,
					      .baggage = items,
					      .baggage_cnt = 1};
	assert_sv(propagation_inject(&c->settings, &c->ctx, 7, &c->out), "encoding_error");
	unsigned lines = 0;
	for (char *at = c->out.data; (at = strstr(at, "\r\n")); at += 2) {
		lines++;
		assert_true(at[2] != ' ' && at[2] != '\0' ? at[2] == 'x' || at[2] == 't' || at[2] == 'b' : true);
	}
	assert_null(strstr(c->out.data, "\nx: y"));
	assert_int_equal(lines, 10);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(traceparent_versions),
		TEST(tracestate_lists),
		TEST(tracestate_limits),
		TEST(dd_member),
		TEST(origin_is_encoded),
		TEST(datadog),
		TEST(datadog_tags),
		TEST(b3),
		TEST(conflict),
		TEST(same_trace),
		TEST(baggage),
		TEST(rates),
		TEST(header_names),
		TEST(mistakes_in_settings),
		TEST(nothing_breaks_a_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
