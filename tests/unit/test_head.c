/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "head_help.h"

static void read_bytes(struct head_case *c, const char *text, size_t len)
{
	assert_true(len <= SH_MAX_HEAD);
	head_read(c, text, len, "", SH_READS_USUAL);
}

static void read_text(struct head_case *c, const char *text)
{
	read_bytes(c, text, strlen(text));
}

static void test_lines(void **state)
{
	(void)state;
	struct head_case c;
	read_text(&c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(c.head.end, 27);
	assert_int_equal(c.head.first_end, 16);
	assert_int_equal(c.head.flags, 0);
	assert_int_equal(c.remote.unsure | c.remote.trace_lo | c.remote.trace_hi, 0);
	read_text(&c, "GET / HTTP/1.1\r\nHost: x\r\n");
	assert_int_equal(c.head.end, 0);
	assert_true(c.remote.unsure);
	read_text(&c, "GET / HTTP/1.1\r\n\r");
	assert_int_equal(c.head.end, 0);
	read_text(&c, "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n");
	assert_true(c.head.flags & SH_HEAD_STRANGE);
	read_text(&c, "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n");
	assert_true(c.head.flags & SH_HEAD_STRANGE);
	read_text(&c, "POST / HTTP/1.1\r\ncontent-LENGTH: 18446744073709551615\r\n\r\nGET / HTTP/1.1\r\n\r\n");
	assert_true(c.head.length == UINT64_MAX);
	assert_int_equal(c.head.end, 57);
	assert_int_equal(c.head.flags, 0);
	read_text(&c, "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n");
	assert_true(c.head.flags & SH_HEAD_STRANGE);
	read_text(&c, "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n");
	assert_true(c.head.flags & SH_HEAD_STRANGE);
	read_text(&c, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\nB3: 0\r\n\r\n");
	assert_int_equal(c.head.flags, SH_HEAD_CHUNKED | SH_HEAD_UPGRADE | SH_HEAD_CARRIES);
	read_text(&c, "POST / HTTP/1.1\r\nContent-Lengths: 1\r\nContent-Type: a\r\n\r\n");
	assert_int_equal(c.head.at[SH_HEAD_LENGTH], 0);
}

/* Too many lines, and heads without end, are not known; the last line that fits is. */
static void test_bounds(void **state)
{
	(void)state;
	struct head_case c;
	char text[SH_MAX_HEAD + 1];
	for (int lines = SH_HEAD_LINES - 3; lines < SH_HEAD_LINES + 3; lines++) {
		size_t len = (size_t)sprintf(text, "GET / HTTP/1.1\r\n");
		for (int i = 0; i < lines; i++)
			len += (size_t)sprintf(text + len, "A: b\r\n");
		len += (size_t)sprintf(text + len, "\r\n");
		read_bytes(&c, text, len);
		assert_int_equal(c.head.end != 0, lines < SH_HEAD_LINES);
		if (c.head.end)
			assert_int_equal(c.head.end, len);
	}
	for (size_t pad = SH_MAX_HEAD - 60; pad <= SH_MAX_HEAD - 20; pad++) {
		size_t len = (size_t)snprintf(text, sizeof(text), "GET /%0*d HTTP/1.1\r\nA: b\r\n\r\n", (int)pad, 0);
		if (len > SH_MAX_HEAD)
			len = SH_MAX_HEAD;
		read_bytes(&c, text, len);
		bool whole = memmem(text, len, "\r\n\r\n", 4) != NULL;
		assert_int_equal(c.head.end, whole ? len : 0);
	}
}

static uint64_t decimal(const char *text, uint32_t len, __u64 *bad)
{
	struct head_case c;
	memset(c.bytes, '9', sizeof(c.bytes));
	memcpy(c.bytes + 5, text, len);
	return sh_head_decimal(&c.head, c.bytes, 5, len, bad);
}

static void test_numbers(void **state)
{
	(void)state;
	__u64 rng = 1;
	char text[24];
	for (int i = 0; i < 20000; i++) {
		uint64_t n = sh_next_id(&rng) >> (i % 64);
		__u64 bad = 0;
		__u64 half = sh_hex_print8((__u32)n);
		snprintf(text, sizeof(text), "%08x", (__u32)n);
		assert_memory_equal(&half, text, 8);
		assert_int_equal(sh_hex_parse8(half, &bad), (__u32)n);
		int len = snprintf(text, sizeof(text), "%" PRIu64, n);
		assert_true(decimal(text, (uint32_t)len, &bad) == n);
		assert_int_equal(bad, 0);
	}
	for (int c = 0; c < 256; c++) {
		__u64 bad = 0;
		memcpy(text, "00000000", 8);
		text[c % 8] = (char)c;
		sh_hex_parse8(sh_word((__u8 *)text), &bad);
		assert_int_equal(bad != 0, !c || !strchr("0123456789abcdef", c));
	}
	static const char *const wrong[] = {"",
					    "18446744073709551616",
					    "18446744073709551620",
					    "20000000000000000000",
					    "9999999999999999999x",
					    "99999999999999999999",
					    "1a",
					    " 1",
					    "-1"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		__u64 bad = 0;
		decimal(wrong[i], (uint32_t)strlen(wrong[i]), &bad);
		assert_true(bad != 0);
	}
}

static void test_agrees(void **state)
{
	(void)state;
	static struct head_checker checker;
	__u64 rng = 42;
	char text[2048];
	head_checker_init(&checker);
	for (int i = 0; i < 150000; i++) {
		__u32 reads = head_any_reads(&rng);
		head_make(&rng, text, sizeof(text));
		const char *wrong = head_check(&checker, text, strlen(text), reads);
		if (wrong)
			fail_msg("%s, of who reads %x:\n%s", wrong, reads, text);
	}
	print_message("%" PRIu64 " heads understood, %" PRIu64 " name a trace, %" PRIu64 " cannot be told\n",
		      checker.sure, checker.told, checker.unsure);
	print_message("%" PRIu64 " heads name one span, %" PRIu64 " of them in B3's words\n", checker.forwarded,
		      checker.b3);
	assert_true(checker.forwarded > 5000 && checker.b3 > 1000);
	assert_true(checker.sure > 40000 && checker.told > 20000 && checker.unsure < checker.told / 2);
	http1_shared_release(&checker.shared);
	http1_wanted_release(&checker.shared.wanted);
}

/* Control characters are no blanks, hyphens or colons, wherever others may take them for some. */
static void test_control_characters(void **state)
{
	(void)state;
	struct head_case c;
	static const char *const no_length[] = {"Content\rLength: 5", "Content-Length\x1a 5", "Content-Length\x1a: 5"};
	static const char *const strange[] = {
		"Content-Length: \r5",	  "Content-Length: 5\r", "Content-Length: 5\x01", "x-datadog-trace-id: 1\r",
		"x-datadog\rtrace-id: 1", "traceparent\x1a 1",	 "x-datadog-trace-id:\r1"};
	char text[128];
	for (size_t i = 0; i < sizeof(no_length) / sizeof(no_length[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n\r\n", no_length[i]);
		read_text(&c, text);
		assert_true(!c.head.at[SH_HEAD_LENGTH] && !c.head.length);
	}
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n\r\n", strange[i]);
		read_text(&c, text);
		assert_true(c.head.flags & SH_HEAD_STRANGE && c.remote.unsure);
	}
}

/* What tracers send is never unsure. */
static void test_usual(void **state)
{
	(void)state;
	struct head_case c;
	read_text(
		&c,
		"GET / HTTP/1.1\r\nHost: a\r\nx-datadog-trace-id: 11803532876627986230\r\nx-datadog-parent-id: 67667974448284343\r\n"
		"x-datadog-sampling-priority: 2\r\nx-datadog-origin: rum\r\n"
		"x-datadog-tags: _dd.p.dm=-4,_dd.p.tid=6b01f95000000000,_dd.p.usr.id=dGVzdA==\r\n"
		"traceparent: 00-6b01f95000000000a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
		"tracestate: dd=s:2;o:rum;p:00f067aa0ba902b7\r\n\r\n");
	assert_int_equal(c.remote.unsure, 0);
	assert_true(c.remote.trace_hi == 0x6b01f95000000000 && c.remote.trace_lo == 0xa3ce929d0e0e4736);
	assert_true(c.remote.parent_id == 0x00f067aa0ba902b7);
	assert_int_equal(c.remote.priority, 2);
	assert_true(c.head.flags == (SH_HEAD_CARRIES | SH_HEAD_TRACESTATE));
	read_text(&c, "GET / HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n\r\n");
	assert_int_equal(c.remote.unsure, 0);
	assert_int_equal(c.remote.sampled, 0);
	assert_int_equal(c.remote.priority, 0);
}

#define W3C(trace, span) "traceparent: 00-000000000000000000000000000000" trace "-00000000000000" span "-01\r\n"

/* What does not count is not there any more; that two styles name two spans of one trace is said. */
static void test_counts(void **state)
{
	static const struct {
		const char *headers;
		__u32 reads, datadog, w3c, parent, differs;
	} cases[] = {
		{"x-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("05", "06"), SH_READS_USUAL, 1, 1, 6, 0},
		{"x-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("05", "07"), SH_READS_USUAL, 1, 1, 7, 1},
		{"x-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("08", "07"), SH_READS_USUAL, 1, 0, 6, 0},
		{"x-datadog-trace-id: 0\r\nx-datadog-parent-id: 6\r\n" W3C("08", "07"), SH_READS_USUAL, 0, 1, 7, 0},
		{"x-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("05", "07"), SH_STYLE_DATADOG, 1, 0, 6, 0},
		{"x-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("05", "07"), SH_STYLE_TRACECONTEXT, 0, 1, 7,
		 0},
		{"x-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("05", "07"),
		 SH_STYLE_TRACECONTEXT | SH_STYLE_DATADOG << 4, 0, 1, 7, 0},
		{"b3: 5-9-1\r\nx-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("05", "09"),
		 SH_STYLE_B3 | SH_STYLE_DATADOG << 4 | SH_STYLE_TRACECONTEXT << 8, 0, 1, 9, 0},
		{"b3: 5-9-1\r\nx-datadog-trace-id: 5\r\nx-datadog-parent-id: 6\r\n" W3C("05", "09"), 0, 0, 0, 0, 0},
	};
	struct head_case c;
	char text[512];
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n", cases[i].headers);
		head_read(&c, text, strlen(text), "", cases[i].reads);
		assert_int_equal(c.remote.unsure, 0);
		assert_int_equal(c.head.at[SH_HEAD_TRACE_ID] != 0, cases[i].datadog);
		assert_int_equal(c.head.at[SH_HEAD_PARENT_ID] != 0, cases[i].datadog);
		assert_int_equal(c.head.at[SH_HEAD_TRACEPARENT] != 0, cases[i].w3c);
		assert_int_equal(c.remote.parent_id, cases[i].parent);
		assert_int_equal(c.remote.differs, cases[i].differs);
	}
}

#define LO	     "a3ce929d0e0e4736"
#define TRACE	     "6b01f95000000000" LO
#define SPAN	     "00f067aa0ba902b7"
#define OTHER	     "05e3ac9a4f6e3b90"
#define PARENT_OF(x) "traceparent: 00-" TRACE "-" x "-01\r\n"
#define DATADOG(x)                                                                   \
	"x-datadog-trace-id: 11803532876627986230\r\nx-datadog-parent-id: " x "\r\n" \
	"x-datadog-tags: _dd.p.tid=6b01f95000000000\r\n"

/* Which span is named by a head that is handed on, how often, and how often another one beside it. */
static void test_forward(void **state)
{
	static const struct {
		const char *headers;
		unsigned is_known, hi, spans, others;
	} cases[] = {
		{"", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "\r\n", 1, 1, 1, 0},
		{"b3: " LO "-" SPAN "\r\n", 1, 0, 1, 0},
		{"B3:" LO "-" SPAN "-d\r\n", 1, 0, 1, 0},
		{"b3: " TRACE "-" SPAN "-0-" OTHER "\r\n", 1, 1, 1, 1},
		{"b3: 6B01F95000000000A3CE929D0E0E4736-00F067AA0BA902B7-1\r\n", 1, 1, 1, 0},
		{"X-B3-TraceId: " TRACE "\r\nx-b3-spanid: " SPAN "\r\n", 1, 1, 1, 0},
		{"x-b3-parentspanid:" OTHER "\r\nx-b3-spanid: " SPAN "\r\nx-b3-sampled: 1\r\nx-b3-traceid: " LO "\r\n",
		 1, 0, 1, 1},
		{"b3: " TRACE "-" SPAN "\r\nx-b3-traceid: " TRACE "\r\nx-b3-spanid: " SPAN "\r\n" PARENT_OF(SPAN)
			 DATADOG("67667974448284343") "tracestate: dd=p:" OTHER "\r\n",
		 1, 1, 4, 1},
		{"tracestate: dd=p:" OTHER "\r\n" DATADOG("67667974448284343"), 1, 1, 1, 0},
		{PARENT_OF(SPAN) "tracestate: x=y , dd=s:1;p:" OTHER " \t,z=p:" OTHER "\r\n", 1, 1, 1, 1},
		{PARENT_OF(SPAN) "tracestate: xdd=p:" OTHER ",x=dd=p:" OTHER "\r\n", 1, 1, 1, 0},
		{PARENT_OF(SPAN) "tracestate: dd=xp:" OTHER ";s:1\r\n", 1, 1, 1, 0},
		{PARENT_OF(SPAN) "tracestate: dd=p:" OTHER "0\r\n", 1, 1, 1, 0},
		{PARENT_OF(SPAN) "tracestate: dd=p:05e3ac9a4f6e3b9\r\n", 1, 1, 1, 0},
		{PARENT_OF(SPAN) "tracestate: dd=p:" OTHER ";p:" OTHER "\r\n", 1, 1, 1, 0},
		{PARENT_OF(SPAN) "tracestate: dd=p:" OTHER ",dd=s:1\r\n", 1, 1, 1, 0},
		{PARENT_OF(SPAN) "tracestate: dd=p:" OTHER "\r\ntracestate: x=y\r\n", 1, 1, 1, 0},
		/* The decision alone names no span. */
		{"b3: 0\r\n", 0, 0, 0, 0},
		{"x-b3-sampled: 1\r\nx-b3-flags: 1\r\n", 0, 0, 0, 0},
		{"b3: 0\r\nx-b3-sampled: 1\r\nx-b3-flags: 1\r\n" PARENT_OF(SPAN), 1, 1, 1, 0},
		/* Several spans, or none that is known. */
		{PARENT_OF(SPAN) "b3: " TRACE "-" OTHER "\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) "b3: " LO "-" SPAN "\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) DATADOG("67667974448284344"), 0, 0, 0, 0},
		{PARENT_OF(SPAN) "x-datadog-parent-id: 67667974448284343\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) "x-b3-spanid: " SPAN "\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) "x-b3-traceid: " TRACE "\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) "x-b3-parentspanid: " OTHER "\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) "b3: 0\r\nb3: 0\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) "b3:\r\n", 0, 0, 0, 0},
		{PARENT_OF(SPAN) "b3: -\t-\r\n", 0, 0, 0, 0},
		{"traceparent: ff-" TRACE "-" SPAN "-01\r\nb3: " TRACE "-" SPAN "\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-2\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-11\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-1-\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-1-5\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-1-" OTHER "0\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-1-" OTHER "-\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "-1-05e3ac9a4f6e3bxx\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-" SPAN "x1\r\n", 0, 0, 0, 0},
		{"b3: " TRACE "-0000000000000000-1\r\n", 0, 0, 0, 0},
		{"b3: 0000000000000000-" SPAN "-1\r\n", 0, 0, 0, 0},
		{"b3: 0" LO "-" SPAN "-1\r\n", 0, 0, 0, 0},
		{"b3: 5-5-1\r\n", 0, 0, 0, 0},
		{"b3: " LO "\r\n", 0, 0, 0, 0},
		{"b3: " LO "-" SPAN " -1\r\n", 0, 0, 0, 0},
		{"x-b3-traceid: " TRACE "\r\nx-b3-spanid: 5\r\n", 0, 0, 0, 0},
		{"x-b3-traceid: 5\r\nx-b3-spanid: " SPAN "\r\n", 0, 0, 0, 0},
		{"x-b3-traceid: " LO OTHER OTHER "\r\nx-b3-spanid: " SPAN "\r\n", 0, 0, 0, 0},
		{"x-b3-traceid: " TRACE "\r\nx-b3-spanid: " SPAN "\r\nx-b3-parentspanid: 5\r\n", 0, 0, 0, 0},
		{"x-b3-traceid: " TRACE "\r\nx-b3-spanid: " SPAN "\r\nx-b3-spanid: " SPAN "\r\n", 0, 0, 0, 0},
		{"x-b3-traceid: " TRACE "\r\nx-b3-spanid: " SPAN "\r\n folded\r\n", 0, 0, 0, 0},
	};
	struct head_case c;
	char text[1024];
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nA: " SPAN "\r\n%s\r\n", cases[i].headers);
		head_forward(&c, text, strlen(text), "");
		unsigned spans = 0, others = 0, known = !c.forward.bad && c.remote.trace_lo;
		assert_int_equal(known, cases[i].is_known);
		if (!known)
			continue;
		assert_true(c.remote.trace_lo == 0xa3ce929d0e0e4736 && c.remote.parent_id == 0x00f067aa0ba902b7);
		assert_true(c.remote.trace_hi == (cases[i].hi ? 0x6b01f95000000000 : 0));
		for (int j = 0; j < SH_FORWARD_SPOTS; j++)
			if (c.forward.at[j] && !strncasecmp(text + c.forward.at[j], SPAN, 16))
				spans++;
			else if (c.forward.at[j] && !strncasecmp(text + c.forward.at[j], OTHER, 16))
				others++;
			else
				assert_int_equal(c.forward.at[j], 0);
		spans += c.forward.decimal && !strncmp(text + c.forward.decimal, "67667974448284343\r", 18);
		assert_int_equal(spans, cases[i].spans);
		assert_int_equal(others, cases[i].others);
	}
}

/* Wherever in the buffer it lies, to the last byte that is looked at. */
static void test_forward_bounds(void **state)
{
	struct head_case c;
	char text[SH_MAX_HEAD + 256];
	(void)state;
	for (int pad = SH_MAX_HEAD - 200; pad < SH_MAX_HEAD - 60; pad++) {
		int len = snprintf(text, sizeof(text),
				   "GET /%0*d HTTP/1.1\r\nb3: " TRACE "-" SPAN "-1-" OTHER "\r\n\r\n", pad, 0);
		size_t there = len < SH_MAX_HEAD ? (size_t)len : SH_MAX_HEAD;
		head_forward(&c, text, there, "");
		bool known = !c.forward.bad && c.remote.trace_lo;
		/* A value ends below it (sh_head_soft()). */
		assert_int_equal(known, len <= SH_MAX_HEAD);
		if (known)
			assert_memory_equal(text + c.forward.at[SH_FORWARD_B3_PARENT], OTHER, 16);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines),
					   cmocka_unit_test(test_bounds),
					   cmocka_unit_test(test_numbers),
					   cmocka_unit_test(test_agrees),
					   cmocka_unit_test(test_usual),
					   cmocka_unit_test(test_counts),
					   cmocka_unit_test(test_forward),
					   cmocka_unit_test(test_forward_bounds),
					   cmocka_unit_test(test_control_characters)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
