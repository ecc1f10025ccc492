/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CASES_H
#define CASES_H

#include "truth.h"

/* The program `calls`: its cases by file. altstack and coroutines are programs of their own, because a tracer may see what a
 * program imports and treat it differently. Probed functions are named p_*, functions between them u_* (never probed). */

/* clang-format off */
#define CASES(x)                                                                                                       \
	x(nested) x(recursion) x(mutual) x(deep) x(threads) x(errors) x(exit) x(_exit) x(sigkill) x(segv)                     \
	x(tail) x(tail_long)                                                                                                  \
	x(longjmp) x(longjmp_far) x(longjmp_again) x(pthread_exit) x(pthread_exit_cleanup) x(cancel)                          \
	x(signal) x(signal_jump) x(timer)                                                                                     \
	x(fork) x(fork_threads) x(fork_parent_first) x(fork_and_wait) x(vfork) x(spawn) x(exec) x(exec_thread) x(child)                        \
	x(thread_killed) x(thread_exit_raw) x(exits)
/* clang-format on */

#define DECLARE(name) void case_##name(int argc, char **argv);
CASES(DECLARE)
#undef DECLARE

/* Small probed pieces the cases share. */
long p_leaf(long x);
long p_pair(long x);	 /* two leaves */
long p_raises(long sig); /* leaf, the signal, leaf */
long p_in_handler(long sig);
long p_interrupted(long sig); /* p_raises twice, once through u_through */
long u_through(long (*f)(long), long x);
void fail(const char *what);
void thread_join_all(int cnt, void *(*run)(void *));
void install_handler(int sig, void (*handler)(int), int flags);
void on_signal(int sig);	/* calls probed functions */
void on_signal_nested(int sig); /* and raises SIGUSR1 in between */

/* tail.c, always optimised: ends by a jump */
long p_tail_direct(long x);   /* jumps to p_tail_target */
long p_tail_unprobed(long x); /* jumps to u_tail_target, which calls p_leaf */
long p_tail_indirect(long x, long (*f)(long));
long p_tail_chain(long x); /* p_tail_direct by a jump */
long p_tail_loop(long x);  /* to itself's twin and back, x times */

#endif
