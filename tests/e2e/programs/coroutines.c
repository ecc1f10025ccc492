/* SPDX-License-Identifier: Apache-2.0 */
/* coroutines: stack switches by swapcontext(3). */
#include "cases.h"

#include <stdlib.h>
#include <ucontext.h>

static ucontext_t main_context, coroutine_context[2];
static struct truth_stack coroutine_stack[2];

__attribute__((noinline)) static void u_yield(int self)
{
	truth_switch(NULL);
	swapcontext(&coroutine_context[self], &main_context);
	truth_switch(&coroutine_stack[self]);
}

PROBED static long p_coroutine_step(long self)
{
	ENTER("p_coroutine_step");
	p_leaf(self);
	u_yield((int)self);
	p_leaf(self);
	RETURN(self);
}

static void coroutine(int self)
{
	truth_switch(&coroutine_stack[self]);
	for (int i = 0; i < 5; i++)
		p_coroutine_step(self);
	truth_switch(NULL);
}

PROBED static long p_scheduler(long rounds)
{
	ENTER("p_scheduler");
	for (long i = 0; i < rounds; i++) {
		swapcontext(&main_context, &coroutine_context[i % 2]);
		p_leaf(i);
	}
	RETURN(rounds);
}

static void case_coroutine(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 2; i++) {
		getcontext(&coroutine_context[i]);
		coroutine_context[i].uc_stack.ss_size = 1 << 16;
		coroutine_context[i].uc_stack.ss_sp = malloc(1 << 16);
		coroutine_context[i].uc_link = &main_context;
		makecontext(&coroutine_context[i], (void (*)(void))coroutine, 1, i);
	}
	p_scheduler(12);
	p_pair(1);
}

static const struct truth_case cases[] = {{"coroutine", case_coroutine}, {NULL, NULL}};

int main(int argc, char **argv)
{
	return truth_main(argc, argv, cases);
}
