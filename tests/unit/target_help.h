/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_HELP_H
#define TARGET_HELP_H

/* For the tests of target/: real processes that end with the test, and directories that look like /proc. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target/match.h"

#define assert_sv(s, text)                                                               \
	do {                                                                             \
		struct sv got_ = (s);                                                    \
		if (!sv_eq(got_, sv_of(text)))                                           \
			fail_msg("got '" SV_FMT "', expected '%s'", SV_ARG(got_), text); \
	} while (0)

static char test_dir[64];

static inline int make_test_dir(void **state)
{
	(void)state;
	snprintf(test_dir, sizeof(test_dir), "/tmp/spanhound-test-XXXXXX");
	return mkdtemp(test_dir) ? chmod(test_dir, 0755) : -1;
}

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static inline int remove_test_dir(void **state)
{
	(void)state;
	return nftw(test_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path below the test's directory; valid until the fourth next call. */
static inline const char *in_dir(const char *fmt, ...)
{
	static char paths[4][512];
	static unsigned int turn;
	char *path = paths[turn++ % 4];
	va_list ap;
	int n = snprintf(path, sizeof(paths[0]), "%s/", test_dir);
	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	return path;
}

static inline void write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	fclose(f);
}

static inline void write_text(const char *path, const char *text)
{
	write_file(path, text, strlen(text));
}

static inline void copy_file(const char *from, const char *to)
{
	char command[1200];
	snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
	assert_int_equal(system(command), 0);
}

/* A process of a directory that looks like /proc. */
static inline void fake_process(const char *root, int pid, const char *comm, const char *exe, const char *cmdline,
				size_t cmdline_len)
{
	char path[512], text[512];
	snprintf(path, sizeof(path), "%s/%d", root, pid);
	assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/%d/stat", root, pid);
	snprintf(text, sizeof(text), "%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, comm, pid * 10);
	write_text(path, text);
	snprintf(path, sizeof(path), "%s/%d/status", root, pid);
	snprintf(text, sizeof(text), "Name:\tx\nTgid:\t%d\nPPid:\t1\nUid:\t0\t0\t0\t0\nNSpid:\t%d\n", pid, pid);
	write_text(path, text);
	snprintf(path, sizeof(path), "%s/%d/cmdline", root, pid);
	write_file(path, cmdline, cmdline_len);
	snprintf(path, sizeof(path), "%s/%d/cgroup", root, pid);
	write_text(path, "0::/\n");
	snprintf(path, sizeof(path), "%s/%d/environ", root, pid);
	write_text(path, "");
	snprintf(path, sizeof(path), "%s/%d/exe", root, pid);
	if (exe)
		assert_int_equal(symlink(exe, path), 0);
}

#define MAX_SPAWNED 16
static pid_t spawned[MAX_SPAWNED];
static size_t spawned_cnt;

/* Runs a program found on the PATH and returns when it has executed; envp NULL: ours. */
static inline pid_t spawn(const char *file, const char *const argv[], const char *const envp[])
{
	int ready[2];
	char c;
	assert_true(spawned_cnt < MAX_SPAWNED);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvpe(file, (char *const *)argv, envp ? (char *const *)envp : environ);
		_exit(127);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 0);
	close(ready[0]);
	spawned[spawned_cnt++] = pid;
	return pid;
}

static inline void reap(pid_t pid)
{
	for (size_t i = 0; i < spawned_cnt; i++) {
		if (spawned[i] != pid)
			continue;
		spawned[i] = spawned[--spawned_cnt];
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return;
	}
}

static inline int reap_all(void **state)
{
	(void)state;
	while (spawned_cnt)
		reap(spawned[0]);
	return 0;
}

#define SPAWN(file, ...) spawn(file, (const char *[]){__VA_ARGS__, NULL}, NULL)

/* Whether the expression comes true within ten seconds. */
#define eventually(expr)                                                     \
	({                                                                   \
		bool true_ = false;                                          \
		for (int try_ = 0; try_ < 2000 && !(true_ = (expr)); try_++) \
			usleep(5000);                                        \
		true_;                                                       \
	})

/* A spec of one value. */
#define SPEC(kind, value) \
	((struct target_spec){.kind = {(__typeof__(*((struct target_spec *)0)->kind.data)[]){value}, 1, 1}})

static inline bool matches(struct target_spec spec, int pid)
{
	struct proc p = PROC_INIT;
	bool yes = proc_open(&p, "/proc", pid) == 0 && target_matches(&spec, &p, NULL);
	proc_close(&p);
	return yes;
}

#endif
