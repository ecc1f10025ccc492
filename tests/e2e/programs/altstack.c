/* SPDX-License-Identifier: Apache-2.0 */
/* altstack: signal handlers that call probed functions on alternate stacks, below and above the thread's. */
#include "cases.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#define STACK_SZ (1 << 18)

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

static void case_altstack_low(int argc, char **argv)
{
	(void)argc, (void)argv;
	map_stacks();
	install_handler(SIGUSR1, on_signal, SA_ONSTACK);
	install_handler(SIGUSR2, on_signal_nested, SA_ONSTACK);
	with_altstack(on_altstack, stacks + STACK_SZ, stacks);
}

static void case_altstack_high(int argc, char **argv)
{
	(void)argc, (void)argv;
	map_stacks();
	install_handler(SIGUSR1, on_signal, SA_ONSTACK);
	install_handler(SIGUSR2, on_signal_nested, SA_ONSTACK);
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

static void case_siglongjmp(int argc, char **argv)
{
	(void)argc, (void)argv;
	map_stacks();
	install_handler(SIGUSR1, on_signal_jump, SA_ONSTACK);
	install_handler(SIGUSR2, on_signal_jump, 0);
	with_altstack(jumping_thread, stacks + STACK_SZ, stacks);
	with_altstack(jumping_thread, stacks + STACK_SZ, stacks + 2 * STACK_SZ);
}

static const struct truth_case cases[] = {
	{"altstack_low", case_altstack_low},
	{"altstack_high", case_altstack_high},
	{"siglongjmp", case_siglongjmp},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return truth_main(argc, argv, cases);
}
