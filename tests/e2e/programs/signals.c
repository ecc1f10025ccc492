/* SPDX-License-Identifier: Apache-2.0 */
/* Signal handlers that call probed functions, on the thread's stack and on alternate stacks below and above it. */
#include "cases.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define STACK_SZ (1 << 18)

PROBED static long p_in_handler(long sig)
{
	ENTER("p_in_handler");
	long r = u_through(p_pair, sig);
	RETURN(r);
}

static void on_signal(int sig)
{
	p_in_handler(sig);
	p_leaf(sig);
}

static void install(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = handler;
	sa.sa_flags = flags;
	if (sigaction(sig, &sa, NULL))
		fail("sigaction");
}

PROBED static long p_raises(long sig)
{
	ENTER("p_raises");
	p_leaf(1);
	raise((int)sig);
	p_leaf(2);
	RETURN(sig);
}

PROBED static long p_interrupted(long sig)
{
	ENTER("p_interrupted");
	long r = u_through(p_raises, sig);
	r += p_raises(sig);
	RETURN(r);
}

/* A signal inside a signal. */
static void on_signal_nested(int sig)
{
	p_in_handler(sig);
	raise(SIGUSR1);
	p_leaf(sig);
}

void case_signal(int argc, char **argv)
{
	(void)argc, (void)argv;
	install(SIGUSR1, on_signal, 0);
	install(SIGUSR2, on_signal_nested, 0);
	for (int i = 0; i < 5; i++) {
		p_interrupted(SIGUSR1);
		p_interrupted(SIGUSR2);
		raise(SIGUSR1); /* no probed frame open below */
	}
}

static char *stacks; /* three of STACK_SZ, in order of address */

static void *on_altstack(void *arg)
{
	stack_t alt = {.ss_sp = arg, .ss_size = STACK_SZ};

	if (sigaltstack(&alt, NULL))
		fail("sigaltstack");
	for (int i = 0; i < 5; i++) {
		p_interrupted(SIGUSR1);
		p_interrupted(SIGUSR2);
		raise(SIGUSR1);
		p_pair(i);
	}
	return NULL;
}

static void with_altstack(void *(*run)(void *), char *thread_stack, char *alt_stack)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, thread_stack, STACK_SZ);
	if (pthread_create(&thread, &attr, run, alt_stack))
		fail("pthread_create");
	pthread_join(thread, NULL);
}

static void map_stacks(void)
{
	stacks = mmap(NULL, 3 * STACK_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stacks == MAP_FAILED)
		fail("mmap");
}

void case_altstack_low(int argc, char **argv)
{
	(void)argc, (void)argv;
	map_stacks();
	install(SIGUSR1, on_signal, SA_ONSTACK);
	install(SIGUSR2, on_signal_nested, SA_ONSTACK);
	with_altstack(on_altstack, stacks + STACK_SZ, stacks);
}

void case_altstack_high(int argc, char **argv)
{
	(void)argc, (void)argv;
	map_stacks();
	install(SIGUSR1, on_signal, SA_ONSTACK);
	install(SIGUSR2, on_signal_nested, SA_ONSTACK);
	with_altstack(on_altstack, stacks + STACK_SZ, stacks + 2 * STACK_SZ);
}

static sigjmp_buf out_of_handler;

PROBED static long p_handler_jumps(long x)
{
	ENTER("p_handler_jumps");
	p_leaf(x);
	siglongjmp(out_of_handler, 1);
	RETURN(x);
}

static void on_signal_jump(int sig)
{
	u_through(p_handler_jumps, sig);
}

PROBED static long p_catches_signal(long sig)
{
	ENTER("p_catches_signal");
	if (!sigsetjmp(out_of_handler, 1))
		p_raises(sig);
	else
		truth_unwind(truth_id, "longjmp");
	p_pair(sig);
	RETURN(sig);
}

static void *jumping_thread(void *arg)
{
	stack_t alt = {.ss_sp = arg, .ss_size = STACK_SZ};

	if (sigaltstack(&alt, NULL))
		fail("sigaltstack");
	for (int i = 0; i < 5; i++) {
		p_catches_signal(SIGUSR1); /* handler on the alternate stack */
		p_catches_signal(SIGUSR2); /* on the thread's own */
	}
	return NULL;
}

void case_siglongjmp(int argc, char **argv)
{
	(void)argc, (void)argv;
	map_stacks();
	install(SIGUSR1, on_signal_jump, SA_ONSTACK);
	install(SIGUSR2, on_signal_jump, 0);
	with_altstack(jumping_thread, stacks + STACK_SZ, stacks);
	with_altstack(jumping_thread, stacks + STACK_SZ, stacks + 2 * STACK_SZ);
}

static volatile sig_atomic_t ticks;

static void on_timer(int sig)
{
	p_in_handler(sig);
	ticks++;
}

PROBED static long p_busy(long until)
{
	sigset_t alarm;

	ENTER("p_busy");
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	/* Interrupted anywhere in this loop, but not inside the log. */
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	while (ticks < until)
		;
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	RETURN(until);
}

void case_timer(int argc, char **argv)
{
	struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	sigset_t alarm;

	(void)argc, (void)argv;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	install(SIGALRM, on_timer, 0);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 1; i <= 20; i++)
		p_busy(i * 3);
	setitimer(ITIMER_REAL, &never, NULL);
}
