/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs calls, altstack and coroutines share. */
#include "cases.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void fail(const char *what)
{
	perror(what);
	_exit(4);
}

PROBED long p_leaf(long x)
{
	ENTER("p_leaf");
	RETURN(x + 1);
}

PROBED long p_pair(long x)
{
	ENTER("p_pair");
	long sum = p_leaf(x);
	sum += p_leaf(x + 1);
	RETURN(sum);
}

__attribute__((noinline)) long u_through(long (*f)(long), long x)
{
	volatile char room[256];

	room[x & 255] = 1;
	return f(x) + room[x & 255];
}

void thread_join_all(int cnt, void *(*run)(void *))
{
	pthread_t threads[256];

	for (long i = 0; i < cnt; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			fail("pthread_create");
	for (int i = 0; i < cnt; i++)
		pthread_join(threads[i], NULL);
}

PROBED long p_in_handler(long sig)
{
	ENTER("p_in_handler");
	long r = u_through(p_pair, sig);
	RETURN(r);
}

void on_signal(int sig)
{
	p_in_handler(sig);
	p_leaf(sig);
}

void install_handler(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = handler;
	sa.sa_flags = flags;
	if (sigaction(sig, &sa, NULL))
		fail("sigaction");
}

PROBED long p_raises(long sig)
{
	ENTER("p_raises");
	p_leaf(1);
	raise((int)sig);
	p_leaf(2);
	RETURN(sig);
}

PROBED long p_interrupted(long sig)
{
	ENTER("p_interrupted");
	long r = u_through(p_raises, sig);
	r += p_raises(sig);
	RETURN(r);
}

/* A signal inside a signal. */
void on_signal_nested(int sig)
{
	p_in_handler(sig);
	raise(SIGUSR1);
	p_leaf(sig);
}
