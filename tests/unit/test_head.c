/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "spanhound/head.h"
#include "spanhound/ids.h"
#include "trace/propagation/propagation.h"

struct head_case {
	struct sh_head head;
	struct sh_remote remote;
	uint8_t bytes[SH_MAX_HEAD + SH_HEAD_SLACK];
};

static void read_bytes(struct head_case *c, const char *text, size_t len)
{
	memset(c, 0xee, sizeof(*c));
	assert_true(len <= SH_MAX_HEAD);
	memcpy(c->bytes, text, len);
	c->head.len = (__u32)len;
	sh_head_read(&c->head, c->bytes);
	sh_head_remote(&c->head, c->bytes, &c->remote);
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

/* What the user half makes of the same head. */
static void extract(struct arena *a, const char *text, struct propagation_context *ctx)
{
	struct propagation_settings settings;
	struct propagation_headers headers = {0};
	propagation_settings_init(&settings);
	for (const char *line = strchr(text, '\n') + 1; *line != '\r';) {
		const char *end = strstr(line, "\r\n"), *colon = memchr(line, ':', (size_t)(end - line));
		if (colon)
			assert_true(propagation_headers_add(&headers, a, (struct sv){line, (size_t)(colon - line)},
							    (struct sv){colon + 1, (size_t)(end - colon - 1)}) >= 0);
		line = end + 2;
	}
	assert_true(propagation_extract(&settings, &headers, a, ctx) >= 0);
}

static uint64_t below(__u64 *rng, uint64_t n)
{
	return sh_next_id(rng) % n;
}

/* Mostly right headers; some are damaged. */
static void make_head(__u64 *rng, char *text, size_t room)
{
	static const char *const priorities[] = {"-1", "0", "1", "2", "+1", "3", "", "x", "-0"};
	uint64_t hi = below(rng, 2) ? (below(rng, 1u << 31) + 1) << 32 : 0, lo = sh_next_id(rng),
		 span = sh_next_id(rng);
	size_t len = (size_t)snprintf(text, room, "GET /%" PRIu64 " HTTP/1.1\r\nHost: a\r\n", below(rng, 1000));
#define ADD(...) len += (size_t)snprintf(text + len, room - len, __VA_ARGS__)
	for (int n = 0; n < 2; n++) {
		bool datadog = below(rng, 2);
		if (datadog && below(rng, 4)) {
			ADD("X-Datadog-Trace-Id: %" PRIu64 "\r\n", lo);
			if (below(rng, 8))
				ADD("x-datadog-parent-id:%" PRIu64 "\r\n", span);
			if (below(rng, 3))
				ADD("x-datadog-sampling-priority: %s\r\n",
				    priorities[below(rng, below(rng, 4) ? 4 : 9)]);
			if (hi && below(rng, 8))
				ADD("x-datadog-tags: %s_dd.p.tid=%016" PRIx64 "%s\r\n",
				    below(rng, 2) ? "_dd.p.dm=-4," : "", hi, below(rng, 2) ? ",_dd.p.a=b=c" : "");
		} else if (!datadog && below(rng, 4)) {
			ADD("Traceparent: 00-%016" PRIx64 "%016" PRIx64 "-%016" PRIx64 "-0%u\r\n", hi, lo, span,
			    (unsigned)below(rng, 2));
			if (!below(rng, 4))
				ADD("tracestate: dd=s:2;p:0123456789abcdef,a=b\r\n");
		} else {
			ADD("Accept: */*\r\n");
		}
		if (!below(rng, 3))
			lo += below(rng, 2);
	}
	ADD("\r\n");
#undef ADD
	size_t first = (size_t)(strchr(text, '\n') + 1 - text);
	static const char letters[] = "0a,=:- f\tZ_\"";
	while (!below(rng, 3)) {
		char *c = &text[first + below(rng, len - first - 2)];
		if (*c != '\r' && *c != '\n')
			*c = letters[below(rng, sizeof(letters) - 1)];
	}
}

static void test_agrees(void **state)
{
	(void)state;
	__u64 rng = 42;
	unsigned sure = 0, told = 0;
	struct head_case c;
	char text[2048];
	for (int i = 0; i < 300000; i++) {
		struct arena a = {0};
		struct propagation_context ctx;
		make_head(&rng, text, sizeof(text));
		read_text(&c, text);
		extract(&a, text, &ctx);
		const struct sh_remote *r = &c.remote;
		if (!r->unsure) {
			sure++;
			told += (r->trace_lo | r->trace_hi) != 0;
			bool same = r->trace_lo == ctx.trace_lo && r->trace_hi == ctx.trace_hi &&
				    r->parent_id == ctx.span_id &&
				    (r->priority == SH_REMOTE_NO_PRIORITY || r->priority == ctx.priority);
			if (!same)
				fail_msg("%s\nkernel %" PRIx64 " %" PRIx64 " %" PRIx64 " %d\nuser %" PRIx64 " %" PRIx64
					 " %" PRIx64 " %d",
					 text, (uint64_t)r->trace_hi, (uint64_t)r->trace_lo, (uint64_t)r->parent_id,
					 r->priority, ctx.trace_hi, ctx.trace_lo, ctx.span_id, ctx.priority);
		}
		arena_release(&a);
	}
	assert_true(sure > 100000 && told > 50000);
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_bounds),
					   cmocka_unit_test(test_numbers), cmocka_unit_test(test_agrees),
					   cmocka_unit_test(test_usual)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
