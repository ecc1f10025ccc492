/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "trace/log_line.h"

#define S  1000000000LL
#define MS 1000000LL
#define US 1000LL

/* 2026-11-21T22:31:01Z */
#define THEN 1795300261LL
/* 2026-11-21T23:00:00Z */
#define NOW (1795302000LL * S)

static int setup(void **state)
{
	struct sbuf err = {0};
	struct log_reader *r;
	/* 5:30 ahead of UTC all the year. */
	setenv("TZ", "IST-5:30", 1);
	tzset();
	assert_int_equal(log_reader_new(&r, NOW, &err), 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	log_reader_free(*state);
	return 0;
}

static void times(void **state)
{
	static const struct {
		const char *line;
		int64_t from_ns, wide_ns;
	} cases[] = {
		{"2026-11-21T22:31:01Z x", THEN * S, S},
		{"2026-11-21T22:31:01.123Z x", THEN * S + 123 * MS, MS},
		{"2026-11-21T22:31:01.123456789Z x", THEN * S + 123456789, 1},
		{"2026-11-21T22:31:01.1234567890123Z x", THEN * S + 123456789, 1},
		{"2026-11-22T00:01:01.5+01:30 x", THEN * S + 500 * MS, 100 * MS},
		{"2026-11-21T14:31:01-0800 x", THEN * S, S},
		/* in the zone of this process */
		{"2026-11-22 04:01:01,042 INFO x", THEN * S + 42 * MS, MS},
		{"2026/11/22 04:01:01 [error] x", THEN * S, S},
		{"2026/11/22 04:01:01.000042 x", THEN * S + 42 * US, US},
		{"INFO:2026-11-22 04:01:01,042:x", THEN * S + 42 * MS, MS},
		{"127.0.0.1 - - [21/Nov/2026:22:31:01 +0000] \"GET / HTTP/1.1\" 200 2", THEN * S, S},
		{"[Sun Nov 22 04:01:01.123456 2026] [core:notice] x", THEN * S + 123456 * US, US},
		{"Nov 22 04:01:01 host app[12]: x", THEN * S, S},
		{"<34>Nov 22 04:01:01 host app[12]: x", THEN * S, S},
		/* a year ago: that day is yet to come */
		{"Dec 31 00:00:00 host app: x", 1767119400LL * S, S},
		{"1795300261 x", THEN * S, S},
		{"[1795300261.25] x", THEN * S + 250 * MS, 10 * MS},
		{"1795300261123 x", THEN * S + 123 * MS, MS},
		{"{\"ts\":1795300261.5}", THEN * S + 500 * MS, US},
		{"{\"time\":1795300261}", THEN * S, S},
		{"{\"timestamp\":1795300261123}", THEN * S + 123 * MS, MS},
		{"{\"timestamp\":1795300261123456}", THEN * S + 123456 * US, US},
		{"{\"t\":1795300261123456789}", THEN * S + 123456789, 1},
		{"{\"@timestamp\":\"2026-11-21T22:31:01.123Z\"}", THEN * S + 123 * MS, MS},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct log_line l;
		log_reader_line(*state, sv_of(cases[i].line), &l);
		if (l.from_ns != cases[i].from_ns || l.to_ns != cases[i].from_ns + cases[i].wide_ns)
			fail_msg("%s: %lld to %lld, should be %lld and %lld more", cases[i].line, (long long)l.from_ns,
				 (long long)l.to_ns, (long long)cases[i].from_ns, (long long)cases[i].wide_ns);
	}
}

static void no_time(void **state)
{
	static const char *const lines[] = {"",
					    "x",
					    "12:31:01 x",
					    "2026-13-21T22:31:01Z",
					    "2026-11-32T22:31:01Z",
					    "2026-11-21T24:31:01Z",
					    "Foo 21 22:31:01 2026",
					    "17953002611234567 x",
					    "179530026 x",
					    "{}",
					    "{\"time\":\"yesterday\"}",
					    "{\"time\":12}",
					    "{\"time\":1e300}",
					    "{\"time\":-5}",
					    "{\"time\":null}"};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct log_line l;
		log_reader_line(*state, sv_of(lines[i]), &l);
		if (l.from_ns || l.to_ns)
			fail_msg("%s: %lld to %lld", lines[i], (long long)l.from_ns, (long long)l.to_ns);
	}
}

static void whose(void **state)
{
	static const struct {
		const char *line;
		uint32_t pid, tid;
		bool said;
		const char *method, *path;
	} cases[] = {
		{"1795300261 app[12]: x", 12, 0, false, "", ""},
		{"1795300261 pid=12 tid=34 x", 12, 34, true, "", ""},
		{"1795300261 [7] process 12, thread: 34", 12, 34, true, "", ""},
		{"1795300261 [7] [8] x", 7, 0, false, "", ""},
		{"2026/11/21 22:31:01 [error] 12#34: *5 open() failed, request: \"GET /a/b?c=d HTTP/1.1\"", 12, 34,
		 true, "GET", "/a/b"},
		{"1.2.3.4 - - [21/Nov/2026:22:31:01 +0000] \"POST /x HTTP/2.0\" 200 2", 0, 0, false, "POST", "/x"},
		{"1795300261 stupid=5 x", 0, 0, false, "", ""},
		{"{\"time\":1795300261,\"pid\":12,\"thread_id\":34}", 12, 34, true, "", ""},
		{"{\"time\":1795300261,\"process\":{\"pid\":12,\"thread\":{\"id\":34}}}", 12, 0, true, "", ""},
		{"{\"time\":1795300261,\"process.pid\":\"12\",\"thread\":\"MainThread\"}", 12, 0, true, "", ""},
		{"{\"time\":1795300261,\"method\":\"GET\",\"path\":\"/a?b\"}", 0, 0, false, "GET", "/a"},
		{"{\"time\":1795300261,\"method\":\"GET\",\"url\":\"http://h:1/a#b\"}", 0, 0, false, "GET", "/a"},
		{"{\"time\":1795300261,\"request\":\"GET /a HTTP/1.1\"}", 0, 0, false, "GET", "/a"},
		{"{\"time\":1795300261,\"path\":\"/etc/passwd\"}", 0, 0, false, "", ""},
		{"{\"time\":1795300261,\"pid\":-1,\"tid\":4294967296}", 0, 0, false, "", ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct log_line l;
		log_reader_line(*state, sv_of(cases[i].line), &l);
		if (l.pid != cases[i].pid || l.tid != cases[i].tid || l.pid_said != cases[i].said ||
		    !sv_eq(l.method, sv_of(cases[i].method)) || !sv_eq(l.path, sv_of(cases[i].path)))
			fail_msg("%s: pid %u%s, tid %u, '" SV_FMT "' '" SV_FMT "'", cases[i].line, l.pid,
				 l.pid_said ? " said" : "", l.tid, SV_ARG(l.method), SV_ARG(l.path));
	}
}

static void already(void **state)
{
	static const char *const lines[] = {"1795300261 [dd.service=x dd.trace_id=1 dd.span_id=2] x",
					    "{\"time\":1,\"dd.trace_id\":\"1\"}",
					    "{\"time\":1,\"dd\":{\"trace_id\":\"1\"}}"};
	struct log_line l;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		log_reader_line(*state, sv_of(lines[i]), &l);
		assert_true(l.correlated);
	}
	log_reader_line(*state, SV("{\"time\":1,\"message\":\"dd.trace_id\"}"), &l);
	assert_false(l.correlated);
	assert_true(l.json && !l.empty);
	log_reader_line(*state, SV("{}"), &l);
	assert_true(l.json && l.empty);
	log_reader_line(*state, SV("{\"time\":1795300261} and more"), &l);
	assert_false(l.json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(times, setup, teardown),
		cmocka_unit_test_setup_teardown(no_time, setup, teardown),
		cmocka_unit_test_setup_teardown(whose, setup, teardown),
		cmocka_unit_test_setup_teardown(already, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
