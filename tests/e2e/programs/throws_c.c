/* SPDX-License-Identifier: Apache-2.0 */
/* C between C++ frames: it has unwind tables but no personality, so exceptions just pass. */
#include "truth.h"

long p_c_apply(long (*f)(long), long x);
long u_c_apply(long (*f)(long), long x);

PROBED long p_c_apply(long (*f)(long), long x)
{
	ENTER("p_c_apply");
	long r = f(x);
	RETURN(r);
}

__attribute__((noinline)) long u_c_apply(long (*f)(long), long x)
{
	return f(x) + 1;
}
