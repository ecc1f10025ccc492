/* SPDX-License-Identifier: Apache-2.0 */
/* Always compiled with -O2: these functions end by a jump, not by a return, which the harness verifies. */
#include "cases.h"

#include <stdlib.h>

PROBED long p_tail_target(long x)
{
	ENTER("p_tail_target");
	long r = p_leaf(x);
	RETURN(r);
}

__attribute__((noinline)) long u_tail_target(long x)
{
	long r = p_leaf(x) + p_leaf(x + 1);

	truth_jumped_end();
	return r;
}

PROBED long p_tail_direct(long x)
{
	long id = truth_enter("p_tail_direct");

	p_leaf(x);
	truth_tail(id);
	return p_tail_target(x + 1);
}

PROBED long p_tail_unprobed(long x)
{
	long id = truth_enter("p_tail_unprobed");

	p_leaf(x);
	truth_jump(id, 0);
	return u_tail_target(x + 1);
}

PROBED long p_tail_indirect(long x, long (*f)(long))
{
	long id = truth_enter("p_tail_indirect");

	truth_jump(id, f == p_tail_target);
	return f(x + 1);
}

PROBED long p_tail_chain(long x)
{
	long id = truth_enter("p_tail_chain");

	truth_tail(id);
	return p_tail_direct(x + 1);
}

PROBED long p_tail_twin(long x)
{
	long id = truth_enter("p_tail_twin");

	truth_tail(id);
	return p_tail_loop(x - 1);
}

PROBED long p_tail_loop(long x)
{
	long id = truth_enter("p_tail_loop");

	if (!x) {
		truth_leave(id, "return");
		return 0;
	}
	truth_tail(id);
	return p_tail_twin(x);
}

PROBED static long p_tail_caller(long x)
{
	ENTER("p_tail_caller");
	long r = p_tail_direct(x);
	r += p_tail_unprobed(x);
	r += p_tail_indirect(x, p_tail_target);
	r += p_tail_indirect(x, u_tail_target);
	r += p_tail_chain(x);
	r += p_tail_loop(10);
	r += p_leaf(x);
	RETURN(r);
}

/* A state machine of tail calls, longer than any stack of frames. argv: steps */
void case_tail_long(int argc, char **argv)
{
	p_tail_loop(argc > 0 ? atol(argv[0]) : 400);
	p_leaf(1);
}

void case_tail(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 5; i++) {
		p_tail_caller(i);
		p_tail_direct(i);
		p_tail_unprobed(i);
		p_tail_chain(i);
	}
}
