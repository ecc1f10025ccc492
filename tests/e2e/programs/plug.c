/* SPDX-License-Identifier: Apache-2.0 */
/* A library that programs load late. Its functions log through the program that loads it (-rdynamic). */
#include "truth.h"

long p_plug_work(long x);

PROBED static long p_plug_inner(long x)
{
	ENTER("p_plug_inner");
	RETURN(x * 2);
}

PROBED long p_plug_work(long x)
{
	ENTER("p_plug_work");
	long r = p_plug_inner(x);
	r += p_plug_inner(r);
	RETURN(r);
}
