/* SPDX-License-Identifier: Apache-2.0 */
/* Symbols that are not simply a function. Functions that cannot log themselves are logged by their caller. */
#include "truth.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOGGED(name, call)                              \
	({                                              \
		long logged_id = truth_enter(name);     \
		__typeof__(call) logged_value = (call); \
		truth_leave(logged_id, "return");       \
		logged_value;                           \
	})

void p_asm_one(long x);
int p_asm_short(int x);
long p_asm_entered(long x);
long p_asm_jumper(long x);
long p_asm_nop5(long x);
long p_asm_redzone(long x);
long p_asm_loop(long x);
long p_asm_nosize(long x);
long p_asm_ends(long x);

static volatile long bad;

static void expect(long got, long want)
{
	if (got != want)
		bad++;
}

static void case_asm(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (long i = 2; i < 22; i++) {
		LOGGED("p_asm_one", (p_asm_one(i), 0));
		expect(LOGGED("p_asm_short", p_asm_short((int)i)), i);
		expect(LOGGED("p_asm_entered", p_asm_entered(i)), i + 1);
		expect(LOGGED("p_asm_jumper", p_asm_jumper(i)), i + 10);
		expect(LOGGED("p_asm_nop5", p_asm_nop5(i)), i + 2);
		expect(LOGGED("p_asm_redzone", p_asm_redzone(i)), i + 3);
		expect(LOGGED("p_asm_loop", p_asm_loop(i)), i * 2);
		expect(LOGGED("p_asm_nosize", p_asm_nosize(i)), i + 4);
		expect(LOGGED("p_asm_ends", p_asm_ends(i)), i + 5);
		expect(LOGGED("p_asm_ends", p_asm_ends(0)), 0);
	}
	if (bad) {
		printf("bad %ld\n", bad);
		exit(6);
	}
}

/* Two names, one function. */
long p_alias_b(long x);
PROBED long p_alias_a(long x)
{
	ENTER("p_alias_a");
	RETURN(x + 1);
}
extern __typeof__(p_alias_a) p_alias_b __attribute__((alias("p_alias_a")));

static void case_alias(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 10; i++)
		p_alias_a(i) + p_alias_b(i);
}

/* The symbol p_ifunc is its resolver's address; what runs is u_ifunc_fast. */
static long u_ifunc_fast(long x)
{
	ENTER("p_ifunc");
	RETURN(x * 3);
}

__attribute__((used)) static long (*u_resolve(void))(long)
{
	return u_ifunc_fast;
}

long p_ifunc(long x) __attribute__((ifunc("u_resolve")));

static void case_ifunc(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (int i = 0; i < 10; i++)
		expect(p_ifunc(i), i * 3);
}

/* GCC moves the unlikely half of this one to p_split.cold. */
__attribute__((cold, noinline)) void u_unlikely(long x)
{
	if (write(-1, &x, 0) == 0)
		bad++;
}

__attribute__((noinline)) long p_split(long x)
{
	ENTER("p_split");
	if (__builtin_expect(x % 3 == 0, 0)) {
		u_unlikely(x);
		u_unlikely(x + 1);
		LEAVE();
		return -x;
	}
	RETURN(x + 1);
}

/* Only p_const.constprop.0 exists of this one: every call has the same second argument. */
static __attribute__((noinline)) long p_const(long x, long always)
{
	ENTER("p_const");
	volatile long r = x;
	for (long i = 0; i < always; i++)
		r += i;
	RETURN(r + always);
}

/* Only p_isra.isra.0: the pointer became the value it points to. */
struct wide {
	long a, b, c;
};
static __attribute__((noinline)) long p_isra(const struct wide *w)
{
	ENTER("p_isra");
	long r = w->b;
	RETURN(r + 1);
}

static void case_pieces(int argc, char **argv)
{
	struct wide w = {argc, 2, 3};

	(void)argv;
	for (int i = 0; i < 12; i++) {
		p_split(i);
		p_const(i, 5);
		w.b = i;
		p_isra(&w);
	}
	p_const(bad, 5);
}

static const struct truth_case cases[] = {
	{"asm", case_asm}, {"alias", case_alias}, {"ifunc", case_ifunc}, {"pieces", case_pieces}, {NULL, NULL},
};

int main(int argc, char **argv)
{
	return truth_main(argc, argv, cases);
}
