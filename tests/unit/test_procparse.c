/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/glob.h"
#include "target/procparse.h"
#include "target/text.h"

#define assert_sv(s, text)                                                           \
	do {                                                                         \
		struct sv got_ = (s);                                                \
		assert_int_equal(got_.len, strlen(text));                            \
		assert_memory_equal(got_.data ? got_.data : "", text, strlen(text)); \
	} while (0)

static void test_stat(void **state)
{
	(void)state;
	struct proc_stat s;
	const char *tail =
		" S 1 42 42 0 -1 4194560 100 200 0 0 10 20 30 40 20 0 7 0 123456 1000 2000 18446744073709551615\n";
	const char *names[] = {"redis-server", "a b", "x) R 9 (y", "new\nline", "", "((", "))"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char text[256];
		snprintf(text, sizeof(text), "42 (%s)%s", names[i], tail);
		assert_int_equal(proc_stat_parse(sv_of(text), &s), 0);
		assert_sv(s.comm, names[i]);
		assert_int_equal(s.state, 'S');
		assert_int_equal(s.ppid, 1);
		assert_int_equal(s.threads, 7);
		assert_int_equal(s.start_ticks, 123456);
		assert_false(s.kernel_thread);
	}
	assert_int_equal(proc_stat_parse(SV("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 2 0 0"), &s),
			 0);
	assert_true(s.kernel_thread);
	assert_int_equal(proc_stat_parse(SV(""), &s), -EINVAL);
	assert_int_equal(proc_stat_parse(SV("42 (x"), &s), -EINVAL);
	assert_int_equal(proc_stat_parse(SV("42 )x("), &s), -EINVAL);
	assert_int_equal(proc_stat_parse(SV("42 (x) S 1 2 3"), &s), -EINVAL);
}

static void test_status(void **state)
{
	(void)state;
	struct proc_status s;
	/* The kernel escapes a newline in Name, so no name can forge a line. */
	assert_int_equal(proc_status_parse(SV("Name:\ta\\nTgid:\t1\nUmask:\t0022\nTgid:\t77\nPid:\t78\nPPid:\t5\n"
					      "Uid:\t1000\t1001\t1002\t1003\nNSpid:\t77\t12\t1\nThreads:\t3\n"
					      "Seccomp:\t2\nSeccomp_filters:\t1\n"),
					   &s),
			 0);
	assert_int_equal(s.tgid, 77);
	assert_int_equal(s.ppid, 5);
	assert_int_equal(s.uid, 1000);
	assert_int_equal(s.euid, 1001);
	assert_int_equal(s.ns_pid, 1);
	assert_int_equal(s.ns_depth, 2);
	assert_int_equal(s.threads, 3);
	assert_int_equal(s.seccomp, 2);
	assert_int_equal(proc_status_parse(SV("Tgid:\t9\n"), &s), 0);
	assert_int_equal(s.ns_pid, 9);
	assert_int_equal(s.seccomp, -1);
	assert_int_equal(proc_status_parse(SV("Name:\tx\n"), &s), -EINVAL);
	assert_int_equal(proc_status_parse(SV("Tgid:\t99999999999999999999\n"), &s), -EINVAL);
}

static void test_environ(void **state)
{
	(void)state;
	struct sv v, env = {"DD_SERVICE_X=no\0DD_SERVICE=shop\0EMPTY=\0DD_SERVICE=second\0garbage\0LAST=1", 71};
	assert_true(environ_get(env, "DD_SERVICE", &v));
	assert_sv(v, "shop");
	assert_true(environ_get(env, "EMPTY", &v));
	assert_sv(v, "");
	assert_false(environ_get(env, "garbage", &v));
	assert_false(environ_get(env, "DD", &v));
	assert_false(environ_get(SV_NULL, "DD", &v));
}

static void test_cmdline(void **state)
{
	(void)state;
	struct sv a, rest = {"a\0\0b c\0d", 8};
	assert_true(cmdline_next(&rest, &a));
	assert_sv(a, "a");
	assert_true(cmdline_next(&rest, &a));
	assert_sv(a, "");
	assert_true(cmdline_next(&rest, &a));
	assert_sv(a, "b c");
	assert_true(cmdline_next(&rest, &a));
	assert_sv(a, "d");
	assert_false(cmdline_next(&rest, &a));
}

static void test_listen(void **state)
{
	(void)state;
	uint64_t inode = 0;
	uint16_t port = 0;
	assert_int_equal(
		listen_parse(SV("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000"
				"        0 34567 1 0000000000000000 100 0 0 10 0"),
			     &inode, &port),
		1);
	assert_int_equal(inode, 34567);
	assert_int_equal(port, 8080);
	assert_int_equal(
		listen_parse(SV("   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A"
				" 00000000:00000000 00:00000000 00000000 0 0 99 1 x"),
			     &inode, &port),
		1);
	assert_int_equal(port, 80);
	assert_int_equal(
		listen_parse(SV("   0: 0100007F:1F90 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000 0 0 5 1"),
			     &inode, &port),
		0);
	assert_int_equal(listen_parse(SV("  sl  local_address rem_address   st"), &inode, &port), 0);
	assert_int_equal(listen_parse(SV("0: 0100007F:11F90 x 0A"), &inode, &port), 0);
	struct tcp_line t;
	const char *established =
		"  12: 0100007F:1F90 0100007F:01BB 01 00000010:00000020 00:00000000 00000000 1000 0 77 1 0 20 4 30 10 -1";
	assert_int_equal(tcp_parse(sv_of(established), &t), 1);
	assert_int_equal(t.state, TCP_LINE_ESTABLISHED);
	assert_int_equal(t.port, 8080);
	assert_int_equal(t.peer_port, 443);
	assert_int_equal(t.inode, 77);
	/* Cut anywhere, it is none, or one with what is there of the inode's number. */
	size_t whole = (size_t)(strstr(established, "77") - established);
	for (size_t len = 0; len <= whole; len++)
		assert_int_equal(tcp_parse((struct sv){established, len}, &t), 0);
	assert_int_equal(tcp_parse(SV("  sl  local_address rem_address   st"), &t), 0);
}

static void test_glob(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *text;
		bool match;
	} cases[] = {
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "anything", true},
		{"redis*", "redis-server", true},
		{"redis", "redis-server", false},
		{"*server", "redis-server", true},
		{"r?dis", "redis", true},
		{"r?dis", "rdis", false},
		{"[a-c]x", "bx", true},
		{"[!a-c]x", "bx", false},
		{"[^a-c]x", "dx", true},
		{"[]]", "]", true},
		{"[a-]", "-", true},
		{"[", "[", true},
		{"[abc", "[abc", true},
		{"\\*", "*", true},
		{"\\*", "a", false},
		{"a\\", "a\\", true},
		{"*a*b*c", "xxaxxbxxc", true},
		{"*a*b*c", "xxaxxcxxb", false},
		{"/opt/*/bin/*", "/opt/a/b/bin/c", true},
		{"*.py", "app.py.bak", false},
		{"**", "x", true},
		{"a*a", "a", false},
		{"[[-\\]]", "\\", true},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (glob_match(sv_of(cases[i].pattern), sv_of(cases[i].text)) != cases[i].match)
			fail_msg("glob '%s' on '%s'", cases[i].pattern, cases[i].text);
	/* Where a backtracking matcher takes longer than the universe has. */
	char *text = malloc(100000);
	memset(text, 'a', 100000);
	assert_false(glob_match(SV("*a*a*a*a*a*a*a*a*a*a*a*a*b"), (struct sv){text, 100000}));
	free(text);
	assert_true(glob_is_pattern(SV("a?")));
	assert_false(glob_is_pattern(SV("a.b-c")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stat),	cmocka_unit_test(test_status), cmocka_unit_test(test_environ),
		cmocka_unit_test(test_cmdline), cmocka_unit_test(test_listen), cmocka_unit_test(test_glob),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
