/* SPDX-License-Identifier: Apache-2.0 */
/* Signal handlers that call probed functions, on the interrupted stack. On stacks of their own: altstack.c */
#include "cases.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

void case_signal(int argc, char **argv)
{
	(void)argc, (void)argv;
	install_handler(SIGUSR1, on_signal, 0);
	install_handler(SIGUSR2, on_signal_nested, 0);
	for (int i = 0; i < 5; i++) {
		p_interrupted(SIGUSR1);
		p_interrupted(SIGUSR2);
		raise(SIGUSR1); /* no probed frame open below */
	}
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

void case_signal_jump(int argc, char **argv)
{
	(void)argc, (void)argv;
	install_handler(SIGUSR1, on_signal_jump, 0);
	for (int i = 0; i < 5; i++)
		p_catches_signal(SIGUSR1);
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
	install_handler(SIGALRM, on_timer, 0);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 1; i <= 20; i++)
		p_busy(i * 3);
	setitimer(ITIMER_REAL, &never, NULL);
}
