/* SPDX-License-Identifier: Apache-2.0 */
#include "target_help.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "target/scan.h"

static const char *python(void)
{
	return access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
}

static void test_names(void **state)
{
	(void)state;
	pid_t pid = SPAWN("/bin/sleep", "argv-zero", "1000");
	assert_true(matches(SPEC(names, SV("sleep")), pid));
	assert_true(matches(SPEC(names, SV("sl[e]*")), pid));
	assert_false(matches(SPEC(names, SV("slee")), pid));
	assert_false(matches(SPEC(names, SV("argv-zero")), pid));
	assert_true(matches(SPEC(exes, SV("*/sleep")), pid));
	assert_false(matches(SPEC(exes, SV("sleep")), pid));
	assert_true(matches(SPEC(cmdlines, SV("argv-zero 1000")), pid));
	assert_false(matches(SPEC(cmdlines, SV("argv-zero")), pid));
	assert_true(matches(SPEC(pids, pid), pid));
	assert_false(matches(SPEC(pids, pid + 1), pid));
	/* Nothing asked, nothing found. */
	assert_false(matches((struct target_spec){0}, pid));
	/* A comm of 15 bytes is a cut one: the executable's name is there whole. */
	copy_file("/bin/sleep", in_dir("a-very-long-program-name"));
	pid = SPAWN(in_dir("a-very-long-program-name"), "x", "1000");
	assert_true(matches(SPEC(names, SV("a-very-long-program-name")), pid));
	assert_true(matches(SPEC(names, SV("a-very-long-pro")), pid));
}

static void test_and_or(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	pid_t pid = SPAWN("/bin/sleep", "sleep", "1000");
	struct target_spec s = {0};
	assert_int_equal(vec_push(&s.names, SV("nginx")), 0);
	assert_int_equal(vec_push(&s.names, SV("sleep")), 0);
	assert_true(matches(s, pid)); /* or, within a kind */
	assert_int_equal(vec_push(&s.cmdlines, SV("*2000")), 0);
	assert_false(matches(s, pid)); /* and, between kinds */
	assert_int_equal(vec_push(&s.cmdlines, SV("*1000")), 0);
	assert_true(matches(s, pid));
	assert_int_equal(vec_push(&s.pids, 1), 0);
	assert_false(matches(s, pid));
	struct target_spec specs[] = {s, SPEC(exes, SV("/nowhere")), SPEC(names, SV("sleep")), SPEC(pids, pid)};
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	assert_int_equal(target_first_match(specs, 4, &p, NULL), 2);
	assert_int_equal(target_first_match(specs, 2, &p, NULL), -1);
	struct sbuf text = {0};
	target_spec_describe(&s, &text);
	assert_string_equal(text.data, "name 'nginx' or 'sleep' and pid 1 and cmdline '*2000' or '*1000'");
	sbuf_release(&text);
	target_spec_release(&s);
	proc_close(&p);
}

static void test_scripts(void **state)
{
	(void)state;
	write_text(in_dir("work er.py"), "import time\ntime.sleep(1000)\n");
	write_text(in_dir("job.sh"), "#!/bin/sh\nkill -STOP $$\n");
	write_text(in_dir("viaenv"), "#!/usr/bin/env python3\nimport time\ntime.sleep(1000)\n");
	assert_int_equal(chmod(in_dir("job.sh"), 0755), 0);
	assert_int_equal(chmod(in_dir("viaenv"), 0755), 0);
	pid_t py = SPAWN(python(), "python3", "-u", "-X", "dev", in_dir("work er.py"), "arg");
	pid_t sh = SPAWN(in_dir("job.sh"), in_dir("job.sh"));
	pid_t env = SPAWN(in_dir("viaenv"), "viaenv");
	pid_t module = SPAWN(python(), "python3", "-m", "http.server", "--bind", "127.0.0.1", "0");
	assert_true(eventually(matches(SPEC(names, SV("work er.py")), py)));
	assert_false(matches(SPEC(names, SV("arg")), py));
	assert_true(matches(SPEC(names, SV("python3*")), py));
	assert_true(matches(SPEC(cmdlines, SV("python3 -u *work er.py arg")), py));
	assert_true(eventually(matches(SPEC(names, SV("job.sh")), sh)));
	assert_true(eventually(matches(SPEC(names, SV("viaenv")), env)));
	assert_true(eventually(matches(SPEC(names, SV("http.server")), module)));
	assert_true(matches(SPEC(names, SV("server")), module));
}

static void test_node(void **state)
{
	(void)state;
	if (system("command -v node >/dev/null") != 0)
		skip();
	write_text(in_dir("front.js"), "setTimeout(() => {}, 1e6)\n");
	pid_t pid = SPAWN("node", "node", "--max-old-space-size=64", in_dir("front.js"));
	assert_true(eventually(matches(SPEC(names, SV("front.js")), pid)));
	assert_true(eventually(matches(SPEC(names, SV("node")), pid)));
}

/* A program that calls itself something. */
static void test_renamed(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "odd (n)\nme");
		for (;;)
			pause();
	}
	spawned[spawned_cnt++] = pid;
	assert_true(eventually(matches(SPEC(names, SV("odd (n)\nme")), pid)));
	assert_true(matches(SPEC(names, SV("test_match")), pid)); /* the executable's name stays */
}

static int listen_on(int family, int *ret_port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *addr = family == AF_INET6 ? (struct sockaddr *)&six : (struct sockaddr *)&four;
	socklen_t len = family == AF_INET6 ? sizeof(six) : sizeof(four);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, addr, len) < 0 || listen(fd, 1) < 0 || getsockname(fd, addr, &len) < 0)
		return -1;
	*ret_port = ntohs(family == AF_INET6 ? six.sin6_port : four.sin_port);
	return fd;
}

static void test_ports(void **state)
{
	(void)state;
	static const int families[] = {AF_INET, AF_INET6};
	for (size_t i = 0; i < 2; i++) {
		int port = 0, client_port = 0;
		int fd = listen_on(families[i], &port);
		if (fd < 0 && families[i] == AF_INET6)
			continue; /* a machine without IPv6 */
		assert_true(fd >= 0);
		/* A child that holds the listening socket, and one that does not. */
		pid_t holder = fork();
		if (holder == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		spawned[spawned_cnt++] = holder;
		int other = listen_on(AF_INET, &client_port);
		close(fd);
		assert_true(matches(SPEC(ports, port), holder));
		assert_false(matches(SPEC(ports, port), getpid()));
		assert_true(matches(SPEC(ports, client_port), getpid()));
		assert_false(matches(SPEC(ports, client_port), holder));
		close(other);
		reap(holder);
	}
}

/* The same port in two network namespaces is two ports. */
static void test_port_namespaces(void **state)
{
	(void)state;
	int port = 0;
	char script[512];
	if (geteuid() != 0)
		skip();
	int fd = listen_on(AF_INET, &port);
	snprintf(script, sizeof(script),
		 "import socket,time; s=socket.socket(); s.bind(('', %d)); s.listen(); time.sleep(1000)", port);
	pid_t pid = SPAWN("unshare", "unshare", "--net", python(), "-c", script);
	assert_true(eventually(matches(SPEC(ports, port), pid)));
	assert_true(matches(SPEC(ports, port), getpid()));
	close(fd);
	assert_true(matches(SPEC(ports, port), pid));
	assert_false(matches(SPEC(ports, port), getpid()));
	/* Both through one table of listeners. */
	struct listeners l = {0};
	struct proc p = PROC_INIT;
	struct target_spec spec = SPEC(ports, port);
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	assert_false(target_matches(&spec, &p, &l));
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	assert_true(target_matches(&spec, &p, &l));
	assert_int_equal(l.cnt, 2);
	proc_close(&p);
	listeners_release(&l);
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *fake_root(void)
{
	static char root[256];
	snprintf(root, sizeof(root), "%s", in_dir("proc"));
	assert_int_equal(mkdir(root, 0755), 0);
	return root;
}

static void test_container(void **state)
{
	(void)state;
	const char *root = fake_root();
	struct proc p = PROC_INIT;
	fake_process(root, 10, "web", "/bin/web", "web", 4);
	write_text(in_dir("proc/10/cgroup"), "0::/system.slice/docker-" HEX64 ".scope\n");
	fake_process(root, 11, "web", "/bin/web", "web", 4);
	static const struct {
		const char *want;
		bool inside;
	} cases[] = {{"0123456789ab", true}, {HEX64, true}, {"1234", false}, {"", false}, {"*cdef", true}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct target_spec spec = SPEC(containers, sv_of(cases[i].want));
		assert_int_equal(proc_open(&p, root, 10), 0);
		assert_int_equal(target_matches(&spec, &p, NULL), cases[i].inside);
		assert_int_equal(proc_open(&p, root, 11), 0);
		assert_false(target_matches(&spec, &p, NULL));
	}
	proc_close(&p);
}

static void test_scan(void **state)
{
	(void)state;
	const char *root = fake_root();
	struct sbuf err = {0};
	struct scan s = {0};
	for (int pid = 30; pid > 20; pid--)
		fake_process(root, pid, pid % 2 ? "odd" : "even", "/bin/prog", "prog", 5);
	write_text(in_dir("proc/22/stat"), "22 (even) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0");
	write_text(in_dir("proc/24/stat"), "24 (even) S 1 1 1 0 -1 2097152 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0");
	assert_int_equal(symlink("26", in_dir("proc/self")), 0);
	assert_int_equal(mkdir(in_dir("proc/irq"), 0755), 0);
	assert_int_equal(mkdir(in_dir("proc/99999999999999999999"), 0755), 0);
	assert_int_equal(mkdir(in_dir("proc/31"), 0755), 0); /* gone before its stat was read */
	struct target_spec specs[] = {SPEC(names, SV("even")), SPEC(names, SV("none")), SPEC(names, SV("*"))};
	assert_int_equal(scan_processes(root, specs, 3, &s, &err), 0);
	assert_int_equal(s.seen, 7);
	assert_int_equal(s.cnt, 7);
	assert_int_equal(s.per_spec[0], 2); /* 28 and 30 */
	assert_int_equal(s.per_spec[1], 0);
	assert_int_equal(s.per_spec[2], 7);
	for (size_t i = 0; i < s.cnt; i++) {
		assert_true(i == 0 || s.data[i].pid > s.data[i - 1].pid);
		assert_int_equal(s.data[i].spec, s.data[i].pid % 2 ? 2 : 0);
		assert_int_equal(s.data[i].start_ticks, s.data[i].pid * 10);
	}
	scan_release(&s);
	assert_int_equal(scan_processes("/nonexistent", specs, 3, &s, &err), -ENOENT);
	assert_string_equal(err.data, "cannot list the processes in /nonexistent: No such file or directory");
	sbuf_release(&err);
}

static void expect_explanation(const char *root, struct target_spec spec, const char *text)
{
	struct sbuf out = {0};
	scan_explain(root, &spec, 0, &out);
	assert_string_equal(sbuf_str(&out), text);
	sbuf_release(&out);
}

static void test_explain(void **state)
{
	(void)state;
	const char *root = fake_root();
	fake_process(root, 1, "nginx", "/usr/sbin/nginx", "nginx", 6);
	fake_process(root, 2, "nginx", "/usr/sbin/nginx", "nginx", 6);
	fake_process(root, 3, "python3", "/usr/bin/python3.11", "python3\0/srv/checkout.py", 25);
	fake_process(root, 4, "redis-server", "/usr/bin/redis-server", "redis", 6);
	fake_process(root, 5, "evil\x1b[2J", "/x", "x", 2);
	write_text(in_dir("proc/4/status"), "Tgid:\t3\n");
	write_text(in_dir("proc/5/stat"), "5 (kworker/0) S 2 0 0 0 -1 2097152 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0");
	expect_explanation(root, SPEC(names, SV("ngnix")),
			   "no process matches name 'ngnix'; similar names running: nginx");
	expect_explanation(root, SPEC(names, SV("check*out")),
			   "no process matches name 'check*out'; similar names running: checkout.py");
	expect_explanation(root, SPEC(exes, SV("/opt/redis")),
			   "no process matches exe '/opt/redis'; similar names running: redis-server");
	expect_explanation(root, SPEC(names, SV("postgres")), "no process matches name 'postgres'");
	expect_explanation(root, SPEC(pids, 77), "no process 77");
	expect_explanation(root, SPEC(pids, 4), "no process 4: it is a thread of process 3 (redis-server)");
	expect_explanation(root, SPEC(pids, 5), "process 5 (kworker/0) is a kernel thread");
	fake_process(root, 6, "evil\x1b[2J", "/evi\nl", "x", 2);
	expect_explanation(root, SPEC(names, SV("evil2")),
			   "no process matches name 'evil2'; similar names running: evi?l, evil?[2J");
	int port = 0;
	int fd = listen_on(AF_INET, &port);
	pid_t holder = fork();
	if (holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	spawned[spawned_cnt++] = holder;
	close(fd);
	struct sbuf out = {0};
	char want[64];
	snprintf(want, sizeof(want), "%d (test_match)", port);
	scan_explain("/proc", &SPEC(ports, port + 1), 3, &out);
	assert_non_null(strstr(out.data, want));
	assert_non_null(strstr(out.data, "(3 processes could not be looked at: run as root)"));
	sbuf_release(&out);
}

/* A thousand processes within 50 ms of processor time, the best of five; sanitizers cost as much again. */
static void test_speed(void **state)
{
	(void)state;
	enum { CNT = 250 };
	static pid_t pids[CNT];
	struct sbuf err = {0};
	struct scan s = {0};
	for (int i = 0; i < CNT; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	struct target_spec specs[] = {SPEC(names, SV("test_matc?")), SPEC(cmdlines, SV("*no such*")), SPEC(ports, 1)};
	uint64_t best = UINT64_MAX;
	for (int i = 0; i < 5; i++) {
		uint64_t before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		assert_int_equal(scan_processes("/proc", specs, 3, &s, &err), 0);
		uint64_t took = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
		best = took < best ? took : best;
		assert_true(s.per_spec[0] >= CNT);
		if (i == 4)
			print_message("scan: %zu processes, %.1f us of CPU each\n", s.seen,
				      (double)best / 1e3 / (double)s.seen);
		assert_true(best / s.seen < 150 * NSEC_PER_USEC);
		scan_release(&s);
	}
	for (int i = 0; i < CNT; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

static int end_test(void **state)
{
	reap_all(state);
	return remove_test_dir(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_test_dir, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),   TEST(test_and_or),	TEST(test_scripts),	    TEST(test_node),
		TEST(test_renamed), TEST(test_ports),	TEST(test_port_namespaces), TEST(test_container),
		TEST(test_scan),    TEST(test_explain), TEST(test_speed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
