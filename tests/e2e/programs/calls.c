/* SPDX-License-Identifier: Apache-2.0 */
#include "cases.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

PROBED long p_middle(long x)
{
	ENTER("p_middle");
	long sum = u_through(p_pair, x);
	sum += p_leaf(sum);
	RETURN(sum);
}

PROBED long p_outer(long x)
{
	ENTER("p_outer");
	long sum = p_middle(x) + p_pair(x);
	sum += u_through(p_middle, x);
	RETURN(sum);
}

void case_nested(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 20; i++)
		p_outer(i);
	p_leaf(0);
	u_through(p_leaf, 1);
}

PROBED long p_recurse(long n)
{
	ENTER("p_recurse");
	long sum = n ? p_recurse(n - 1) + 1 : 0;
	if (n == 3)
		sum += p_leaf(n);
	RETURN(sum);
}

PROBED long p_fib(long n)
{
	ENTER("p_fib");
	long sum = n < 2 ? n : p_fib(n - 1) + p_fib(n - 2);
	RETURN(sum);
}

void case_recursion(int argc, char **argv)
{
	(void)argc, (void)argv;
	p_recurse(12);
	if (p_fib(10) != 55)
		fail("p_fib");
	p_recurse(0);
}

PROBED long p_even(long n);
PROBED long p_odd(long n)
{
	ENTER("p_odd");
	long is = n ? p_even(n - 1) : 0;
	RETURN(is);
}

PROBED long p_even(long n)
{
	ENTER("p_even");
	long is = n ? u_through(p_odd, n - 1) : 1;
	RETURN(is);
}

void case_mutual(int argc, char **argv)
{
	(void)argc, (void)argv;
	p_even(20);
	p_odd(21);
	p_even(1);
}

void case_deep(int argc, char **argv)
{
	long depth = argc > 0 ? atol(argv[0]) : 60;

	if (p_recurse(depth - 1) < depth - 1)
		fail("p_recurse");
	p_pair(1);
}

static pthread_barrier_t barrier;

static void *many_calls(void *arg)
{
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 20; i++) {
		p_outer((long)arg);
		p_recurse(5);
		p_even(3);
	}
	return NULL;
}

void case_threads(int argc, char **argv)
{
	int cnt = argc > 0 ? atoi(argv[0]) : 64;

	pthread_barrier_init(&barrier, NULL, cnt);
	thread_join_all(cnt, many_calls);
}

PROBED int p_error_int(int n)
{
	ENTER("p_error_int");
	RETURN(n % 3 ? n : -n - 1);
}

PROBED void *p_error_null(long n)
{
	ENTER("p_error_null");
	RETURN((void *)(n % 2 ? &barrier : NULL));
}

PROBED unsigned char p_error_bool(long n)
{
	ENTER("p_error_bool");
	RETURN((unsigned char)(n % 4 != 0));
}

void case_errors(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 12; i++) {
		p_error_int(i);
		p_error_null(i);
		p_error_bool(i);
	}
}

PROBED static void p_at_exit(void)
{
	ENTER("p_at_exit");
	p_leaf(7);
	LEAVE();
}

PROBED static long p_exits(long status)
{
	ENTER("p_exits");
	p_leaf(1);
	exit((int)status);
	RETURN(0L);
}

PROBED static long p_before_exit(long status)
{
	ENTER("p_before_exit");
	long r = u_through(p_exits, status);
	RETURN(r);
}

void case_exit(int argc, char **argv)
{
	(void)argc, (void)argv;
	atexit(p_at_exit);
	p_leaf(0);
	p_before_exit(0);
}

PROBED static long p_exits_now(long status)
{
	ENTER("p_exits_now");
	p_leaf(1);
	_exit((int)status);
	RETURN(0L);
}

void case__exit(int argc, char **argv)
{
	(void)argc, (void)argv;
	u_through(p_exits_now, 0);
}

PROBED static long p_killed(long sig)
{
	ENTER("p_killed");
	p_leaf(1);
	kill(getpid(), (int)sig);
	for (;;)
		pause();
	RETURN(0L);
}

PROBED static long p_before_kill(long sig)
{
	ENTER("p_before_kill");
	long r = u_through(p_killed, sig);
	RETURN(r);
}

void case_sigkill(int argc, char **argv)
{
	(void)argc, (void)argv;
	p_before_kill(SIGKILL);
}

PROBED static long p_crashes(long x)
{
	ENTER("p_crashes");
	*(volatile int *)x = 1;
	RETURN(0L);
}

void case_segv(int argc, char **argv)
{
	struct rlimit none = {0, 0};

	(void)argc, (void)argv;
	setrlimit(RLIMIT_CORE, &none);
	u_through(p_crashes, 8);
}

static const struct truth_case cases[] = {
#define ENTRY(name) {#name, case_##name},
	CASES(ENTRY)
#undef ENTRY
		{NULL, NULL},
};

int main(int argc, char **argv)
{
	return truth_main(argc, argv, cases);
}
