/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that are left without returning: longjmp, pthread_exit, cancellation. */
#include "cases.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>

static jmp_buf target;

PROBED static long p_jumps(long x)
{
	ENTER("p_jumps");
	p_leaf(x);
	if (x >= 0)
		longjmp(target, 1);
	RETURN(x);
}

PROBED static long p_jumped_over(long x)
{
	ENTER("p_jumped_over");
	long r = u_through(p_jumps, x);
	RETURN(r);
}

PROBED static long p_catches(long x)
{
	ENTER("p_catches");
	if (!setjmp(target))
		u_through(p_jumped_over, x);
	else
		truth_unwind(truth_id, "longjmp");
	p_pair(x); /* at the depth of what was jumped over */
	RETURN(x);
}

void case_longjmp(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 10; i++) {
		p_catches(i);
		p_catches(-1);
	}
	/* Caught where no probed frame is open. */
	if (!setjmp(target))
		u_through(p_jumped_over, 1);
	else
		truth_unwind(0, "longjmp");
	p_pair(1);
}

__attribute__((noinline)) static long u_deeper(long n)
{
	volatile char room[128];

	room[n & 127] = 1;
	return n ? u_deeper(n - 1) + room[n & 127] : p_pair(n);
}

PROBED static long p_jump_from_below(long n)
{
	ENTER("p_jump_from_below");
	if (!n)
		longjmp(target, 1);
	long r = u_through(p_jump_from_below, n - 1);
	RETURN(r);
}

/* After the jump the next probed call lies deeper in the stack than the frames that were jumped over:
 * by stack pointers alone they would look open. */
PROBED static long p_catches_far(long n)
{
	ENTER("p_catches_far");
	if (!setjmp(target))
		p_jump_from_below(n);
	else
		truth_unwind(truth_id, "longjmp");
	u_deeper(40);
	p_leaf(n);
	RETURN(n);
}

void case_longjmp_far(int argc, char **argv)
{
	(void)argc, (void)argv;
	p_catches_far(0);
	p_catches_far(5);
	p_catches_far(1);
}

/* A loop that jumps again and again within one outer call: nothing may pile up. */
PROBED static long p_catches_again(long cnt)
{
	volatile long i = 0;

	ENTER("p_catches_again");
	setjmp(target);
	truth_unwind(truth_id, "longjmp");
	if (i++ < cnt)
		p_jumped_over(i);
	RETURN(cnt);
}

void case_longjmp_again(int argc, char **argv)
{
	(void)argc, (void)argv;
	p_catches_again(300);
	p_leaf(1);
}

PROBED static long p_ends_thread(long x)
{
	ENTER("p_ends_thread");
	p_leaf(x);
	pthread_exit(NULL);
	RETURN(x);
}

PROBED static long p_thread_outer(long x)
{
	ENTER("p_thread_outer");
	p_pair(x);
	long r = u_through(p_ends_thread, x);
	RETURN(r);
}

static void *exiting_thread(void *arg)
{
	p_thread_outer((long)arg);
	return NULL;
}

void case_pthread_exit(int argc, char **argv)
{
	(void)argc, (void)argv;
	thread_join_all(8, exiting_thread);
	p_pair(1);
}

static void clean_up(void *arg)
{
	truth_unwind(*(long *)arg, "forced");
	p_pair(3);
}

PROBED static long p_with_cleanup(long x)
{
	ENTER("p_with_cleanup");
	pthread_cleanup_push(clean_up, &truth_id);
	u_through(p_ends_thread, x);
	pthread_cleanup_pop(0);
	RETURN(x);
}

static void *cleaning_thread(void *arg)
{
	p_with_cleanup((long)arg);
	return NULL;
}

void case_pthread_exit_cleanup(int argc, char **argv)
{
	(void)argc, (void)argv;
	thread_join_all(4, cleaning_thread);
}

static pthread_barrier_t waiting;

PROBED static long p_waits(long x)
{
	ENTER("p_waits");
	p_leaf(x);
	pthread_barrier_wait(&waiting);
	for (;;)
		pause();
	RETURN(x);
}

static void *cancelled_thread(void *arg)
{
	u_through(p_waits, (long)arg);
	return NULL;
}

void case_cancel(int argc, char **argv)
{
	pthread_t thread;

	(void)argc, (void)argv;
	pthread_barrier_init(&waiting, NULL, 2);
	for (long i = 0; i < 8; i++) {
		if (pthread_create(&thread, NULL, cancelled_thread, (void *)i))
			fail("pthread_create");
		pthread_barrier_wait(&waiting);
		pthread_cancel(thread);
		pthread_join(thread, NULL);
	}
	p_pair(1);
}
