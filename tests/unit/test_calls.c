/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "binary/calls.h"
#include "elf_walk.h"

/* A little program: functions of 16 bytes each, the n-th at BASE + 16 n. */
#define BASE	0x401000ull
#define FUNC	16
#define MAX	400
#define AT(n)	(BASE + FUNC * (uint64_t)(n))
#define ALLOWED (BASE + 0x100000)

struct world {
	uint8_t bytes[MAX * FUNC];
	struct code_window text;
	int resolved;
};

static bool world_resolve(void *ctx, uint64_t addr, struct calls_func *ret)
{
	struct world *w = ctx;
	if (addr < BASE || addr >= AT(MAX) || (addr - BASE) % FUNC)
		return false;
	w->resolved++;
	ret->code = &w->text;
	ret->ranges[0] = (struct graph_range){addr, FUNC};
	ret->range_cnt = 1;
	return true;
}

static bool world_allowed(void *ctx, uint64_t addr)
{
	(void)ctx;
	return addr == ALLOWED;
}

static void world_init(struct world *w, struct calls *c)
{
	memset(w->bytes, 0xc3, sizeof(w->bytes));
	for (int i = 0; i < MAX; i++)
		memset(w->bytes + i * FUNC + 1, 0xcc, FUNC - 1);
	w->text = (struct code_window){w->bytes, sizeof(w->bytes), BASE, DECODE_X86_64};
	w->resolved = 0;
	struct calls_ops ops = {.resolve = world_resolve, .allowed = world_allowed, .ctx = w};
	calls_init(c, &ops);
}

static void put(struct world *w, int func, const char *bytes, size_t sz)
{
	memcpy(w->bytes + func * FUNC, bytes, sz);
}
#define PUT(w, func, literal) put(w, func, literal, sizeof(literal) - 1)

/* op rel32 at an offset of a function. */
static void branch(struct world *w, int func, int at, uint8_t op, uint64_t to)
{
	int32_t rel = (int32_t)(to - (AT(func) + (uint64_t)at + 5));
	w->bytes[func * FUNC + at] = op;
	memcpy(w->bytes + func * FUNC + at + 1, &rel, 4);
}

static void call_then_ret(struct world *w, int func, uint64_t to)
{
	branch(w, func, 0, 0xe8, to);
	w->bytes[func * FUNC + 5] = 0xc3;
}

static void verdict(struct calls *c, int func, enum calls_verdict expected)
{
	struct calls_why why;
	int may = calls_may_unwind(c, AT(func), &why);
	assert_int_equal(may, expected != CALLS_NEVER_UNWIND);
	assert_int_equal(why.verdict, expected);
	/* The same from memory. */
	assert_int_equal(calls_may_unwind(c, AT(func), NULL), may);
}

static void single_functions(void **state)
{
	(void)state;
	struct world w;
	struct calls c;
	world_init(&w, &c);
	PUT(&w, 1, "\xff\x10\xc3");	/* call *(%rax) */
	PUT(&w, 2, "\xff\xe0");		/* jmp *%rax */
	PUT(&w, 3, "\x3e\xff\xe0");	/* a switch, unread */
	PUT(&w, 4, "\x0f\x05\xc3");	/* syscall */
	PUT(&w, 5, "\x06");		/* nothing */
	PUT(&w, 6, "\xcb");		/* far return */
	PUT(&w, 7, "\x0f\x0b");		/* ud2 */
	PUT(&w, 8, "\xc3\xff\xd0\xc3"); /* an indirect call that nothing seems to reach */
	PUT(&w, 9, "\xc3\x06\x06");	/* data behind */
	call_then_ret(&w, 10, ALLOWED);
	call_then_ret(&w, 11, ALLOWED + 16);   /* somebody else's PLT */
	call_then_ret(&w, 12, AT(13) + 1);     /* into the middle of a function */
	call_then_ret(&w, 14, AT(14));	       /* itself */
	branch(&w, 15, 0, 0xe9, ALLOWED + 16); /* tail jump */
	PUT(&w, 16, "\x74\x7f\xc3");	       /* conditional one, to the middle of another */

	verdict(&c, 0, CALLS_NEVER_UNWIND);
	verdict(&c, 1, CALLS_INDIRECT);
	verdict(&c, 2, CALLS_INDIRECT);
	verdict(&c, 3, CALLS_INDIRECT);
	verdict(&c, 4, CALLS_SYSTEM);
	verdict(&c, 5, CALLS_UNDECODABLE);
	verdict(&c, 6, CALLS_SYSTEM);
	verdict(&c, 7, CALLS_NEVER_UNWIND);
	verdict(&c, 8, CALLS_INDIRECT);
	verdict(&c, 9, CALLS_UNDECODABLE);
	verdict(&c, 10, CALLS_NEVER_UNWIND);
	verdict(&c, 11, CALLS_UNRESOLVED);
	verdict(&c, 12, CALLS_UNRESOLVED);
	verdict(&c, 14, CALLS_NEVER_UNWIND);
	verdict(&c, 15, CALLS_UNRESOLVED);
	verdict(&c, 16, CALLS_UNRESOLVED);
	calls_release(&c);
}

static void chains_cycles_and_memory(void **state)
{
	(void)state;
	struct world w;
	struct calls c;
	world_init(&w, &c);
	/* 20 -> 21 -> 22 -> 20, and 22 tail-jumps to 23: all proven at once. */
	call_then_ret(&w, 20, AT(21));
	call_then_ret(&w, 21, AT(22));
	branch(&w, 22, 0, 0xe8, AT(20));
	branch(&w, 22, 5, 0xe9, AT(23));
	verdict(&c, 20, CALLS_NEVER_UNWIND);
	int before = w.resolved;
	verdict(&c, 21, CALLS_NEVER_UNWIND);
	verdict(&c, 22, CALLS_NEVER_UNWIND);
	verdict(&c, 23, CALLS_NEVER_UNWIND);
	assert_int_equal(w.resolved, before);

	/* 30 -> {31, 32}, 31 -> 32 -> 31, 32 -> 33 which is bad: nobody on the way may be taken for proven. */
	branch(&w, 30, 0, 0xe8, AT(31));
	branch(&w, 30, 5, 0xe9, AT(32));
	call_then_ret(&w, 31, AT(32));
	branch(&w, 32, 0, 0xe8, AT(31));
	branch(&w, 32, 5, 0xe9, AT(33));
	PUT(&w, 33, "\xff\xd0\xc3");
	struct calls_why why;
	assert_int_equal(calls_may_unwind(&c, AT(30), &why), 1);
	assert_int_equal(why.verdict, CALLS_INDIRECT);
	assert_int_equal(why.func, AT(33));
	assert_int_equal(why.insn, AT(33));
	verdict(&c, 31, CALLS_INDIRECT);
	verdict(&c, 32, CALLS_INDIRECT);
	verdict(&c, 33, CALLS_INDIRECT);
	/* Who calls a remembered one learns where the proof failed. */
	call_then_ret(&w, 34, AT(31));
	assert_int_equal(calls_may_unwind(&c, AT(34), &why), 1);
	assert_int_equal(why.func, AT(33));
	calls_release(&c);
}

static void limits_hold(void **state)
{
	(void)state;
	struct world w;
	struct calls c;
	world_init(&w, &c);
	/* A chain of CALLS_MAX_FUNCS is proven, a longer one is not; but its end still can be. */
	for (int i = 0; i < CALLS_MAX_FUNCS; i++)
		call_then_ret(&w, i, AT(i + 1));
	verdict(&c, 0, CALLS_TOO_MANY);
	verdict(&c, 1, CALLS_NEVER_UNWIND);
	calls_release(&c);

	/* More answers than the memory begins with. */
	world_init(&w, &c);
	for (int i = 0; i < MAX; i++)
		verdict(&c, i, CALLS_NEVER_UNWIND);
	assert_int_equal(c.memo_cnt, MAX);
	assert_int_equal(c.memo_full, 0);
	calls_release(&c);
}

/* --- real programs: no proof for what is known to unwind --- */

static bool file_resolve(void *ctx, uint64_t addr, struct calls_func *ret)
{
	const struct elf_walk *w = ctx;
	size_t lo = 0, hi = w->funcs.cnt;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (w->funcs.data[mid].addr < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == w->funcs.cnt || w->funcs.data[lo].addr != addr)
		return false;
	ret->code = &w->text;
	ret->ranges[0] = (struct graph_range){addr, w->funcs.data[lo].sz};
	ret->range_cnt = 1;
	return true;
}

static void real_programs(void **state)
{
	(void)state;
	for (size_t k = 0; k < WALK_FILES; k++) {
		struct elf_walk w;
		if (elf_walk_open(&w, walk_files[k]))
			continue;
		struct calls_ops ops = {.resolve = file_resolve, .ctx = &w, .data = w.data, .data_cnt = w.data_cnt};
		struct calls c;
		calls_init(&c, &ops);
		size_t proven = 0;
		uint64_t began = clock_mono_ns();
		for (size_t i = 0; i < w.funcs.cnt; i++) {
			int may = calls_may_unwind(&c, w.funcs.data[i].addr, NULL);
			assert_true(may >= 0);
			proven += may == 0;
			const char *name = w.funcs.data[i].name;
			if (may == 0 && w.funcs.data[i].lsda)
				fail_msg("%s+%llx has exception tables, yet nothing unwinds through it?", walk_files[k],
					 (unsigned long long)w.funcs.data[i].addr);
			if (may == 0 && name && (strstr(name, "throw") || strcmp(name, "qsort") == 0))
				fail_msg("%s proven never to unwind", name);
		}
		printf("  %-42s %6zu functions, %5zu proven (%.1f %%), %.1f us each\n", walk_files[k], w.funcs.cnt,
		       proven, 100.0 * (double)proven / (double)w.funcs.cnt,
		       (double)(clock_mono_ns() - began) / 1e3 / (double)w.funcs.cnt);
		assert_true(proven > 0);
		calls_release(&c);
		elf_walk_close(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_functions),
		cmocka_unit_test(chains_cycles_and_memory),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(real_programs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
