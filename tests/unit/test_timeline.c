/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/timeline.h"

/* A span of process `pid` (0: it does not say), from `start` on for `duration`. */
static void add(struct timeline *t, uint64_t id, uint64_t trace, unsigned pid, unsigned tid, int64_t start,
		int64_t duration, const char *more)
{
	char json[1024], process[64] = "";
	if (pid)
		snprintf(process, sizeof(process), ",\"process_id\":%u", pid);
	int n = snprintf(
		json, sizeof(json),
		"{\"service\":\"s%u\",\"name\":\"n\",\"resource\":\"\\\",\\\"span_id\\\":7\",\"trace_id\":%llu,"
		"\"span_id\":%llu,\"parent_id\":0,\"start\":%lld,\"duration\":%lld,\"error\":0,\"meta\":{%s},"
		"\"metrics\":{\"thread.id\":%u%s},\"type\":\"\",\"trace_id_128\":\"6b02241f00000000%016llx\"}",
		tid / 10, (unsigned long long)trace, (unsigned long long)id, (long long)start, (long long)duration,
		more, tid, process, (unsigned long long)trace);
	assert_int_equal(timeline_add(t, (struct sv){json, (size_t)n}), 0);
}

#define SERVED(path) "\"span.kind\":\"server\",\"http.method\":\"GET\",\"http.url\":\"http://h:80" path "?q\""

/* The span id found, or minus the answer. */
static int64_t find(struct timeline *t, struct log_line l, struct timeline_filter f)
{
	const struct timeline_span *s;
	enum timeline_answer answer = timeline_find(t, &l, &f, &s);
	assert_true((answer == TIMELINE_FOUND) == (s != NULL));
	return s ? (int64_t)s->span_id : -(int64_t)answer;
}

#define AT(from, to, ...)      ((struct log_line){.from_ns = (from), .to_ns = (to), __VA_ARGS__})
#define FIND(t, from, to, ...) find((t), AT(from, to, __VA_ARGS__), (struct timeline_filter){0})

static void nested(void **state)
{
	(void)state;
	struct timeline *t = timeline_new();
	/* Not in order of time: spans are written as their traces end. */
	add(t, 3, 9, 1, 10, 3000, 1000, "");
	add(t, 1, 9, 0, 10, 1000, 5000, "");
	add(t, 2, 9, 0, 10, 2000, 3000, "");
	add(t, 4, 9, 0, 10, 4500, 400, "");
	assert_int_equal(timeline_count(t), 4);
	assert_int_equal(FIND(t, 999, 1000), -TIMELINE_NO_SPAN);
	assert_int_equal(FIND(t, 1000, 1001), 1);
	assert_int_equal(FIND(t, 2500, 2501), 2);
	assert_int_equal(FIND(t, 3500, 3501), 3);
	assert_int_equal(FIND(t, 4000, 4001), 3);
	assert_int_equal(FIND(t, 4001, 4002), 2);
	assert_int_equal(FIND(t, 6000, 6001), 1);
	assert_int_equal(FIND(t, 6001, 6002), -TIMELINE_NO_SPAN);
	/* A time as wide as two of them that are not nested. */
	assert_int_equal(FIND(t, 4000, 5000), -TIMELINE_AMBIGUOUS);
	assert_int_equal(FIND(t, 0, 0), -TIMELINE_NO_TIME);
	timeline_free(t);
}

static void threads_and_processes(void **state)
{
	(void)state;
	struct timeline *t = timeline_new();
	add(t, 1, 8, 1, 10, 1000, 1000, "");
	add(t, 2, 9, 1, 11, 1000, 1000, "");
	add(t, 3, 7, 2, 20, 1000, 1000, "");
	add(t, 4, 6, 2, 20, 5000, 1000, "");
	/* Says not whose it is. */
	assert_int_equal(FIND(t, 1500, 1501), -TIMELINE_NOBODYS);
	assert_int_equal(FIND(t, 1500, 1501, .pid = 1, .pid_said = true), -TIMELINE_AMBIGUOUS);
	assert_int_equal(FIND(t, 1500, 1501, .pid = 1, .pid_said = true, .tid = 10), 1);
	assert_int_equal(FIND(t, 1500, 1501, .tid = 11), 2);
	assert_int_equal(FIND(t, 1500, 1501, .pid = 2), 3);
	/* A process without spans: none is for it. What only looks like a pid says nothing then. */
	assert_int_equal(FIND(t, 1500, 1501, .pid = 5, .pid_said = true), -TIMELINE_NO_SPAN);
	assert_int_equal(FIND(t, 1500, 1501, .pid = 5), -TIMELINE_NOBODYS);
	assert_int_equal(FIND(t, 5500, 5501, .pid = 1, .pid_said = true), -TIMELINE_NO_SPAN);
	/* Of one service; pids of another namespace. */
	struct timeline_filter of_two = {.service = SV("s2")};
	assert_int_equal(find(t, AT(1500, 1501), of_two), 3);
	assert_int_equal(find(t, AT(1500, 1501, .pid = 77, .pid_said = true), of_two), -TIMELINE_NO_SPAN);
	of_two.any_pid = true;
	assert_int_equal(find(t, AT(1500, 1501, .pid = 77, .pid_said = true), of_two), 3);
	timeline_free(t);
}

static void requests(void **state)
{
	(void)state;
	struct timeline *t = timeline_new();
	add(t, 1, 8, 1, 10, 1000, 1000, SERVED("/a"));
	add(t, 2, 9, 1, 10, 1500, 1000, SERVED("/b"));
	add(t, 3, 9, 0, 10, 1600, 100, "");
	add(t, 4, 7, 1, 10, 1000, 1000, SERVED("/a"));
	assert_int_equal(FIND(t, 1000, 3000, .method = SV("GET"), .path = SV("/b")), 2);
	assert_int_equal(FIND(t, 1000, 3000, .method = SV("GET"), .path = SV("/a")), -TIMELINE_AMBIGUOUS);
	assert_int_equal(FIND(t, 1000, 3000, .method = SV("POST"), .path = SV("/b")), -TIMELINE_NO_SPAN);
	timeline_free(t);
}

static void long_ones_before_many(void **state)
{
	(void)state;
	struct timeline *t = timeline_new();
	add(t, 1, 9, 1, 10, 0, 1000000, "");
	for (int i = 1; i < 1000; i++)
		add(t, 1 + (uint64_t)i, 9, 0, 10, i * 1000, 10, "");
	assert_int_equal(FIND(t, 999500, 999501), 1);
	assert_int_equal(FIND(t, 500005, 500006), 501);
	timeline_free(t);
}

static void what_it_says(void **state)
{
	(void)state;
	struct timeline *t = timeline_new();
	const struct timeline_span *s;
	struct timeline_filter f = {0};
	struct log_line l = AT(1500, 1501);
	add(t, 18277340358226093893ULL, 0xfedcba9876543210ULL, 4242, 4243, 1000, 1000,
	    "\"env\":\"prod\",\"version\":\"1.2\"," SERVED("/a/b"));
	assert_int_equal(timeline_find(t, &l, &f, &s), TIMELINE_FOUND);
	assert_true(s->span_id == 18277340358226093893ULL && s->trace_lo == 0xfedcba9876543210ULL);
	assert_true(s->trace_hi == 0x6b02241f00000000ULL && s->start_ns == 1000 && s->end_ns == 2000);
	assert_true(s->pid == 4242 && s->tid == 4243 && s->served);
	assert_true(sv_eq(s->service, SV("s424")) && sv_eq(s->env, SV("prod")) && sv_eq(s->version, SV("1.2")));
	assert_true(sv_eq(s->method, SV("GET")) && sv_eq(s->path, SV("/a/b")));
	timeline_free(t);
}

static void not_a_span(void **state)
{
	(void)state;
	static const char *const lines[] = {
		"",
		"{",
		"{}",
		"[]",
		"1",
		"{\"a\":1,\"span_id\":5}",
		"{\"a\":1,\"span_id\":5,\"start\":1,\"duration\":1,\"trace_id_128\":\"5\"}",
		"{\"a\":1,\"span_id\":5,\"start\":-1,\"duration\":1,\"trace_id_128\":\"00000000000000000000000000000001\"}",
		"{\"a\":1,\"span_id\":5,\"start\":1,\"duration\":1e99,\"trace_id_128\":\"00000000000000000000000000000001\"}"};
	struct timeline *t = timeline_new();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(timeline_add(t, sv_of(lines[i])), -EINVAL);
	assert_int_equal(timeline_count(t), 0);
	assert_int_equal(FIND(t, 1, 2), -TIMELINE_NO_SPAN);
	timeline_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested),	cmocka_unit_test(threads_and_processes),
		cmocka_unit_test(requests),	cmocka_unit_test(long_ones_before_many),
		cmocka_unit_test(what_it_says), cmocka_unit_test(not_a_span),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
