/* SPDX-License-Identifier: Apache-2.0 */
/* fork, vfork, posix_spawn, exec, and threads that die with calls open. */
#include "cases.h"

#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		fail("child");
}

static __thread pid_t child_of_fork;

PROBED static long p_forks(long x)
{
	ENTER("p_forks");
	p_leaf(x);
	child_of_fork = fork();
	p_pair(x);
	RETURN(x);
}

PROBED static long p_before_fork(long x)
{
	ENTER("p_before_fork");
	long r = u_through(p_forks, x);
	r += p_leaf(x);
	RETURN(r);
}

/* A child that waits for its parent, as a prefork worker for its first request; with an argument the parent awaits a line. */
void case_fork_and_wait(int argc, char **argv)
{
	char line[16];
	int fds[2];

	(void)argv;
	if (pipe(fds))
		fail("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[1]);
		if (read(fds[0], line, 1) != 1)
			_exit(1);
		p_pair(1);
		_exit(0);
	}
	if (argc > 0 && !fgets(line, sizeof(line), stdin))
		fail("line");
	p_pair(2);
	if (write(fds[1], "x", 1) != 1)
		fail("write");
	reap(pid);
}

/* The child goes on in the middle of the functions and returns through frames its parent entered. */
void case_fork(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 3; i++) {
		p_before_fork(i);
		if (!child_of_fork) {
			p_pair(i); /* a call after the last inherited frame: a trace of its own */
			_exit(0);
		}
		reap(child_of_fork);
	}
}

static void *forking_thread(void *arg)
{
	for (int i = 0; i < 4; i++) {
		p_before_fork((long)arg);
		if (!child_of_fork) {
			p_leaf(i);
			_exit(0);
		}
		reap(child_of_fork);
	}
	return NULL;
}

void case_fork_threads(int argc, char **argv)
{
	(void)argc, (void)argv;
	thread_join_all(8, forking_thread);
}

PROBED static long p_abandons(long x)
{
	int gone[2];
	char c;

	ENTER("p_abandons");
	if (pipe(gone))
		fail("pipe");
	if (fork()) {
		p_leaf(x);
		_exit(0);
	}
	close(gone[1]);
	while (read(gone[0], &c, 1) < 0)
		;
	p_pair(x);
	RETURN(x);
}

/* The parent is gone before the child returns from the function they were both in. */
void case_fork_parent_first(int argc, char **argv)
{
	(void)argc, (void)argv;
	u_through(p_abandons, 1);
	p_leaf(5);
	_exit(0);
}

static void exec_self(const char *name)
{
	char *const args[] = {"calls", (char *)truth_log_path(), (char *)name, NULL};

	execv("/proc/self/exe", args);
	_exit(5);
}

PROBED static long p_vforks(long x)
{
	ENTER("p_vforks");
	truth_before_exec();
	setenv("TRUTH_NOWAIT", "1", 1);
	pid_t pid = vfork();
	if (!pid) {
		p_leaf(x);
		exec_self("child");
	}
	p_leaf(x + 1);
	reap(pid);
	unsetenv("TRUTH_NOWAIT");
	RETURN(x);
}

void case_vfork(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 3; i++)
		u_through(p_vforks, i);
}

PROBED static long p_spawns(long x)
{
	char *const args[] = {"calls", (char *)truth_log_path(), "child", NULL};
	pid_t pid;

	ENTER("p_spawns");
	truth_before_exec();
	setenv("TRUTH_NOWAIT", "1", 1);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ))
		fail("posix_spawn");
	reap(pid);
	unsetenv("TRUTH_NOWAIT");
	p_leaf(x);
	RETURN(x);
}

void case_spawn(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 3; i++)
		u_through(p_spawns, i);
}

/* What an executed image does: calls at once, and calls for longer than a tracer may need to notice it. */
void case_child(int argc, char **argv)
{
	struct timespec step = {0, 5000000};

	(void)argc, (void)argv;
	for (int i = 0; i < 60; i++) {
		p_pair(i);
		nanosleep(&step, NULL);
	}
}

PROBED static long p_execs(long x)
{
	ENTER("p_execs");
	p_leaf(x);
	truth_before_exec();
	setenv("TRUTH_NOWAIT", "1", 1);
	exec_self("child");
	RETURN(x);
}

PROBED static long p_before_exec(long x)
{
	ENTER("p_before_exec");
	long r = u_through(p_execs, x);
	RETURN(r);
}

void case_exec(int argc, char **argv)
{
	(void)argc, (void)argv;
	p_before_exec(1);
}

static pthread_barrier_t inside;

PROBED static long p_stays(long x)
{
	ENTER("p_stays");
	p_leaf(x);
	pthread_barrier_wait(&inside);
	for (;;)
		pause();
	RETURN(x);
}

static void *staying_thread(void *arg)
{
	u_through(p_stays, (long)arg);
	return NULL;
}

static void *executing_thread(void *arg)
{
	pthread_barrier_wait(&inside);
	p_before_exec((long)arg);
	return NULL;
}

/* exec from a thread that is not the leader kills its siblings, whose calls are open. */
void case_exec_thread(int argc, char **argv)
{
	pthread_t thread;

	(void)argc, (void)argv;
	pthread_barrier_init(&inside, NULL, 3);
	pthread_create(&thread, NULL, staying_thread, NULL);
	pthread_create(&thread, NULL, executing_thread, NULL);
	p_stays(1);
}

/* The process ends while other threads are inside. */
void case_thread_killed(int argc, char **argv)
{
	pthread_t thread;

	(void)argc, (void)argv;
	pthread_barrier_init(&inside, NULL, 5);
	for (long i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, staying_thread, (void *)i))
			fail("pthread_create");
	pthread_barrier_wait(&inside);
	p_pair(1);
}

PROBED static long p_exits_thread(long x)
{
	ENTER("p_exits_thread");
	p_leaf(x);
	syscall(SYS_exit, 0);
	RETURN(x);
}

static void *raw_exit_thread(void *arg)
{
	u_through(p_exits_thread, (long)arg);
	return NULL;
}

/* The bare system call: no unwinding, no cleanup. pthread_join works because the kernel clears the thread's id. */
void case_thread_exit_raw(int argc, char **argv)
{
	(void)argc, (void)argv;
	thread_join_all(8, raw_exit_thread);
	p_pair(1);
}

/* So many children, one after the other, that call and end. argv[0]: how many; [1]: a second at most, as it may be */
void case_exits(int argc, char **argv)
{
	long cnt = argc > 0 ? atol(argv[0]) : 100, rate = argc > 1 ? atol(argv[1]) : 0;
	struct timespec due;

	clock_gettime(CLOCK_MONOTONIC, &due);
	for (long i = 0; i < cnt; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			p_leaf(i);
			_exit(0);
		}
		reap(pid);
		if (!rate)
			continue;
		due.tv_nsec += 1000000000 / rate;
		due.tv_sec += due.tv_nsec / 1000000000;
		due.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
	}
}
