/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "binary/ends.h"
#include "elf_walk.h"

#define BASE 0x401000ull
#define DATA 0x500000ull

struct ends_case {
	const char *what;
	const char *bytes; /* hex */
	enum ends_verdict verdict;
	const char *sites;	/* "r3 t8 i9 c2": kind and offset */
	uint64_t sz;		/* 0: all */
	uint64_t cold, cold_sz; /* a second range, from BASE */
	uint64_t landing;	/* extra entry, from BASE; 0: none */
	const char *data;	/* hex at DATA */
	uint64_t noreturn;	/* a function that never returns, from BASE; 0: none */
	uint64_t noreturn_slot; /* a word of the GOT with such a function, from DATA; 0: none */
	bool maybe_split;
};

#define CASE(w, b, v, s, ...)                                                  \
	{                                                                      \
		.what = w, .bytes = b, .verdict = v, .sites = s, ##__VA_ARGS__ \
	}
/* push rbx; lea rax, [DATA]; movsxd rdx, [rax+4*rdi]; add rdx, rax; jmp rdx: 17 bytes */
#define OPEN "53 488d05f8ef0f00 486314b8 4801c2 ffe2 "

/* clang-format off */
static const struct ends_case cases[] = {
	CASE("ret", "c3", ENDS_ALL, "r0"),
	CASE("ret imm16", "c20800", ENDS_ALL, "r0"),
	CASE("rep ret", "f3c3", ENDS_ALL, "r0"),
	CASE("bnd ret", "f2c3", ENDS_ALL, "r0"),
	CASE("two rets", "85ff 7401 c3 c3", ENDS_ALL, "r4 r5"),
	CASE("padding behind ret", "c3 9090 0f1f00 cccc", ENDS_ALL, "r0"),
	CASE("push and pop", "53 31c0 5b c3", ENDS_ALL, "r4"),
	CASE("frame by leave", "55 4889e5 4883ec20 c9 c3", ENDS_ALL, "r9"),
	CASE("frame by mov rsp, rbp", "55 4889e5 4883e4e0 4889ec 5d c3", ENDS_ALL, "r12"),
	CASE("frame by lea rsp, [rbp-8]", "55 4889e5 53 4829c4 488d65f8 5b 5d c3", ENDS_ALL, "r14"),
	CASE("frame by lea rbp, [rsp+x]", "55 4883ec10 488d6c2410 4889ec 5d c3", ENDS_ALL, "r14"),
	CASE("sub and add of 32 bits", "4881ec00010000 4881c400010000 c3", ENDS_ALL, "r14"),
	CASE("sub by its negative", "4883ec80 4883c480 c3", ENDS_ALL, "r8"),
	CASE("lea moves the stack", "488d6424f8 488d642408 c3", ENDS_ALL, "r10"),
	CASE("ret with something pushed", "53 c3", ENDS_STACK, ""),
	CASE("ret behind a lost stack is taken for one", "488d2437 c3", ENDS_ALL, "r4"),
	CASE("tail jump", "31c0 e9fe000000", ENDS_ALL, "t2"),
	CASE("tail jump rel8", "31c0 eb7f", ENDS_ALL, "t2"),
	CASE("tail jump with a moved stack", "50 e9fe000000", ENDS_STACK, ""),
	CASE("loop is no end", "31c0 ebfe", ENDS_NONE, ""),
	CASE("loop at the entry is the function calling itself", "ffcf 75fc c3", ENDS_ALL, "c2 r4"),
	CASE("a jump to the entry calls itself", "90 ebfd", ENDS_ALL, "t1"),
	CASE("a jump to the entry with a moved stack is a loop", "50 ebfd", ENDS_NONE, ""),
	CASE("conditional tail jump", "85ff 0f84fa000000 c3", ENDS_ALL, "c2 r8"),
	CASE("jump to the cold part is none", "85ff 7503 c3 9090 31c0 90 c3", ENDS_ALL, "r4 r10", .sz = 5, .cold = 7, .cold_sz = 4),
	CASE("cold part unknown", "53 85ff 7505 5b c3 9090 90 5b c3", ENDS_STACK, "", .sz = 7),
	CASE("cold part known", "53 85ff 7505 5b c3 9090 90 5b c3", ENDS_ALL, "r6 r11", .sz = 7, .cold = 9, .cold_sz = 3),
	CASE("never returns: ud2", "0f0b", ENDS_NONE, ""),
	CASE("never returns: call at the end", "50 e800000000", ENDS_NONE, ""),
	CASE("indirect tail call", "488b07 ffe0", ENDS_ALL, "i3"),
	CASE("indirect tail call through memory", "ff6708", ENDS_ALL, "i0"),
	CASE("indirect jump with a moved stack stays", "53 ffe0", ENDS_NONE, ""),
	CASE("indirect jump at an unknown depth", "488d2437 ffe0", ENDS_AMBIGUOUS, ""),
	CASE("notrack jump is a switch", "3effe0 c3", ENDS_SWITCH, ""),
	CASE("jump through a table, unread", "ff24fd00005000 c3", ENDS_AMBIGUOUS, ""),
	CASE("switch of addresses", "83ff01 7708 ff24fd00005000 90 c3 90 c3", ENDS_ALL, "r13 r15", .data = "0c10400000000000 0e10400000000000"),
	CASE("switch of offsets", "83ff02 7714 488d05f4ef0f00 486314b8 4801c2 3effe2 90 90 c3 c3 c3", ENDS_ALL, "r24 r25 r26",
	     .data = "1810f0ff 1910f0ff 1a10f0ff"),
	CASE("switch of offsets, below", "83ff03 7201 c3 488d05f3ef0f00 486314b8 4801c2 ffe2 90 90 c3 c3 c3", ENDS_ALL, "r5 r24 r25 r26",
	     .data = "1810f0ff 1910f0ff 1a10f0ff"),
	CASE("switch by a mask", "83e701 488d05f6ef0f00 486314b8 4801c2 ffe2 c3 c3", ENDS_ALL, "r19 r20",
	     .data = "1310f0ff 1410f0ff"),
	CASE("switch whose table leads outside", "83e701 488d05f6ef0f00 486314b8 4801c2 3effe2 c3 c3", ENDS_SWITCH, "",
	     .data = "1410f0ff 1420f0ff"),
	CASE("switch without its table", "83ff02 7714 488d05f4ef0f00 486314b8 4801c2 3effe2 90 90 c3 c3 c3", ENDS_SWITCH, ""),
	CASE("far return", "cb", ENDS_FAR, ""),
	CASE("runs on", "31c0", ENDS_FALLS_OUT, ""),
	CASE("last instruction cut off", "31c0 e9", ENDS_UNDECODABLE, ""),
	CASE("not an instruction", "06", ENDS_UNDECODABLE, ""),
	CASE("jump into an instruction", "7401 b8c3c3c3c3 c3", ENDS_UNDECODABLE, ""),
	CASE("data behind ret is left alone", "c3 0606", ENDS_ALL, "r0"),
	CASE("code that nothing reaches", "c3 31c0 c3", ENDS_UNREACHED, ""),
	CASE("unreached code without ends", "c3 31c0 ebf7", ENDS_ALL, "r0", .sz = 3),
	CASE("landing pad", "e800000000 c3 4889c7 c3", ENDS_ALL, "r5 r9", .landing = 6),
	CASE("landing pad untold", "e800000000 c3 4889c7 c3", ENDS_UNREACHED, ""),
	CASE("behind a call that returns not, another depth", "53 85ff 7407 5b c3 e8f4000000 5b c3", ENDS_ALL, "r6 r13"),
	CASE("depths disagree behind a call that returns not", "85ff 7406 53 e8f6000000 c3", ENDS_ALL, "r10"),
	CASE("told that it does not return", "85ff 7406 53 e8f6000000 c3", ENDS_ALL, "r10", .noreturn = 0x100),
	CASE("called through the GOT, then padding", "53 ff1509f00f00 9090", ENDS_FALLS_OUT, ""),
	CASE("called through the GOT, told that it does not return", "53 ff1509f00f00 9090", ENDS_NONE, "", .noreturn_slot = 0x10),
	CASE("another word of the GOT", "53 ff1509f00f00 9090", ENDS_FALLS_OUT, "", .noreturn_slot = 0x18),
	CASE("dead jump to where the function ends", "c3 eb00", ENDS_ALL, "r0"),
	CASE("dead jump to behind where it ends", "c3 eb01", ENDS_UNREACHED, ""),
	CASE("live jump to where it ends is a tail jump", "31c0 eb00", ENDS_ALL, "t2"),
	CASE("stays with a moved stack, but perhaps in a piece without a name", "53 ffe0", ENDS_SWITCH, "", .maybe_split = true),
	CASE("open switch, ended by an entry outside", OPEN "5b c3 5b c3", ENDS_ALL, "r18 r20", .data = "1110f0ff 1310f0ff 0020f0ff"),
	CASE("open switch, ended by the end of the data", OPEN "5b c3 5b c3", ENDS_ALL, "r18 r20", .data = "1110f0ff 1310f0ff"),
	CASE("open switch, ended within an instruction", OPEN "b800000000 5b c3 5b c3", ENDS_ALL, "r23 r25", .data = "1110f0ff 1810f0ff 1210f0ff"),
	CASE("open switch, ended by what an entry's code names", OPEN "488d0df0ef0f00 5b c3 5b c3 5b c3", ENDS_UNREACHED, "",
	     .data = "1110f0ff 1a10f0ff 1c10f0ff"),
	CASE("the same, but nothing names it", OPEN "488d0df1ff0f00 5b c3 5b c3 5b c3", ENDS_ALL, "r25 r27 r29",
	     .data = "1110f0ff 1a10f0ff 1c10f0ff"),
	CASE("open switch that misses code", OPEN "5b c3 5b c3", ENDS_UNREACHED, "", .data = "1110f0ff 0020f0ff"),
	CASE("open switch, and something that is not code", OPEN "5b c3 06", ENDS_SWITCH, "", .data = "1110f0ff 0020f0ff"),
	CASE("open switch with an entry to the function itself", OPEN "5b c3 5b c3", ENDS_SWITCH, "", .data = "1110f0ff 0010f0ff"),
	CASE("open switch at the entry's depth may be a table of functions", "488d05f9ef0f00 486314b8 4801c2 ffe2 c3", ENDS_AMBIGUOUS, "",
	     .data = "1010f0ff 0020f0ff"),
	CASE("not when the table is known to have ended", "488d05f9ef0f00 486314b8 4801c2 ffe2 c3", ENDS_ALL, "r16", .data = "1010f0ff"),
	CASE("locked ret", "f0c3", ENDS_UNPROBEABLE, ""),
	CASE("segment on a tail jump", "3ee900010000", ENDS_UNPROBEABLE, ""),
	CASE("system calls return", "0f05 c3", ENDS_ALL, "r2"),
	CASE("outside of the window", "c3", ENDS_BAD_RANGE, "", .sz = 100000),
	CASE("call for its address only: not understood", "e800000000 58 c3", ENDS_STACK, ""),
};
/* clang-format on */

static size_t unhex(const char *s, uint8_t *out)
{
	size_t n = 0;
	for (; s && *s; s++) {
		if (*s == ' ')
			continue;
		unsigned v;
		assert_int_equal(sscanf(s, "%2x", &v), 1);
		out[n++] = (uint8_t)v;
		s++;
	}
	return n;
}

static bool is_noreturn(void *ctx, uint64_t target)
{
	const struct ends_case *c = ctx;
	return c->noreturn && target == BASE + c->noreturn;
}

static bool is_noreturn_slot(void *ctx, uint64_t slot)
{
	const struct ends_case *c = ctx;
	return c->noreturn_slot && slot == DATA + c->noreturn_slot;
}

static void cases_by_hand(void **state)
{
	(void)state;
	struct graph g = {0};
	struct ends e = {0};
	struct cost_kernel k = {true, 5};
	for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		const struct ends_case *c = &cases[n];
		uint8_t bytes[512], data[64];
		memset(bytes, 0x90, sizeof(bytes));
		memset(data, 0, sizeof(data));
		size_t sz = unhex(c->bytes, bytes), data_sz = unhex(c->data, data);
		struct code_window text = {bytes, sizeof(bytes), BASE, DECODE_X86_64};
		struct code_window rodata = {data, data_sz, DATA, DECODE_X86_64};
		struct graph_range ranges[2] = {{BASE, c->sz ? c->sz : sz}, {BASE + c->cold, c->cold_sz}};
		uint64_t landing = BASE + c->landing;
		struct graph_input in = {.code = &text,
					 .ranges = ranges,
					 .range_cnt = c->cold_sz ? 2 : 1,
					 .entries = &landing,
					 .entry_cnt = c->landing ? 1 : 0,
					 .data = &rodata,
					 .data_cnt = data_sz ? 1 : 0,
					 .noreturn = is_noreturn,
					 .noreturn_slot = is_noreturn_slot,
					 .maybe_split = c->maybe_split,
					 .ctx = (void *)(uintptr_t)c};
		char sites[256] = "";
		assert_int_equal(ends_find(&g, &in, &k, &e), 0);
		vec_foreach (s, &e.sites)
			snprintf(sites + strlen(sites), sizeof(sites) - strlen(sites), "%s%c%llu", *sites ? " " : "",
				 "rtic"[s->kind], (unsigned long long)(s->addr - BASE));
		if (e.verdict != c->verdict || strcmp(sites, c->sites) != 0)
			fail_msg("%s: %s at +%lld, sites '%s'; expected %s, '%s'", c->what,
				 ends_verdict_name(e.verdict), (long long)(e.culprit - BASE), sites,
				 ends_verdict_name(c->verdict), c->sites);
	}
	ends_release(&e);
	graph_release(&g);
}

static void sites_say_where_to_and_what_they_cost(void **state)
{
	(void)state;
	/* test edi,edi; je far; jmp far */
	static const uint8_t bytes[] = {0x85, 0xff, 0x0f, 0x84, 0xf8, 0x00, 0x00, 0x00, 0xe9, 0xf3, 0x01, 0x00, 0x00};
	struct code_window text = {bytes, sizeof(bytes), BASE, DECODE_X86_64};
	struct graph_range r = {BASE, sizeof(bytes)};
	struct graph_input in = {.code = &text, .ranges = &r, .range_cnt = 1};
	struct cost_kernel k = {0};
	struct graph g = {0};
	struct ends e = {0};
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.sites.cnt, 2);
	assert_true(e.conditional);
	assert_int_equal(e.sites.data[0].target, BASE + 0x100);
	assert_int_equal(e.sites.data[1].target, BASE + 0x200);
	assert_int_equal(e.sites.data[1].cost, COST_EMULATED);
	assert_int_equal(e.exits.cnt, 2);
	assert_int_equal(e.exits.data[0], BASE + 0x100);
	assert_int_equal(e.exits.data[1], BASE + 0x200);

	/* A piece of the function that was not named: where it is, is told. */
	static const uint8_t split[] = {0x53, 0xe9, 0xfa, 0x00, 0x00, 0x00};
	struct code_window other = {split, sizeof(split), BASE, DECODE_X86_64};
	r.sz = sizeof(split);
	in.code = &other;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_STACK);
	assert_int_equal(e.outside, BASE + 0x100);
	assert_int_equal(e.sites.cnt, 0);

	/* arm64: b.eq +8; ret; b away; a br says nothing. */
	static const uint8_t arm[] = {0x40, 0, 0, 0x54, 0xc0, 0x03, 0x5f, 0xd6, 0x40, 0, 0, 0x14};
	struct code_window a64 = {arm, sizeof(arm), BASE, DECODE_ARM64};
	r.sz = sizeof(arm);
	in.code = &a64;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_ALL);
	assert_int_equal(e.sites.cnt, 2);
	assert_int_equal(e.sites.data[0].addr, BASE + 4);
	assert_int_equal(e.sites.data[1].target, BASE + 8 + 0x100);
	static const uint8_t br[] = {0x00, 0x02, 0x1f, 0xd6};
	struct code_window a64br = {br, sizeof(br), BASE, DECODE_ARM64};
	r.sz = sizeof(br);
	in.code = &a64br;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_AMBIGUOUS);
	ends_release(&e);
	graph_release(&g);
}

/* Ranges that lie apart, each with its bytes, and a jump table that leads out of both. */
static void pieces_have_bytes_of_their_own(void **state)
{
	(void)state;
	static const uint8_t hot[] = {0x53, 0x85, 0xff, 0x0f, 0x85, 0xf7,
				      0xff, 0x0f, 0x00, 0x5b, 0xc3}; /* jne to cold */
	static const uint8_t cold[] = {0x31, 0xc0, 0x5b, 0xc3};
	const uint8_t *bytes[] = {hot, cold};
	struct code_window arch = {.arch = DECODE_X86_64};
	struct graph_range ranges[] = {{BASE, sizeof(hot)}, {BASE + 0x100000, sizeof(cold)}};
	struct graph_input in = {.code = &arch, .ranges = ranges, .bytes = bytes, .range_cnt = 1};
	struct cost_kernel k = {0};
	struct graph g = {0};
	struct ends e = {0};
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_STACK);
	assert_int_equal(e.exits.cnt, 1);
	assert_int_equal(e.exits.data[0], BASE + 0x100000);
	in.range_cnt = 2;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_ALL);
	assert_int_equal(e.exits.cnt, 0);
	assert_int_equal(e.sites.cnt, 2);
	assert_int_equal(e.sites.data[1].addr, BASE + 0x100003);
	bytes[1] = NULL;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_BAD_RANGE);

	/* and edi, 1; lea rax, [DATA]; movsxd rdx, [rax+4*rdi]; add rdx, rax; jmp rdx; ret */
	static const uint8_t jump[] = {0x83, 0xe7, 0x01, 0x48, 0x8d, 0x05, 0xf6, 0xef, 0x0f, 0x00,
				       0x48, 0x63, 0x14, 0xb8, 0x48, 0x01, 0xc2, 0xff, 0xe2, 0xc3};
	static const uint8_t table[] = {0x13, 0x10, 0xf0, 0xff, 0x14, 0x20, 0xf0, 0xff};
	struct code_window data = {table, sizeof(table), DATA, DECODE_X86_64};
	bytes[0] = jump;
	ranges[0].sz = sizeof(jump);
	in.range_cnt = 1;
	in.data = &data;
	in.data_cnt = 1;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_AMBIGUOUS);
	assert_int_equal(e.exits.cnt, 1);
	assert_int_equal(e.exits.data[0], BASE + 0x1014);
	ends_release(&e);
	graph_release(&g);
}

static void limits_hold(void **state)
{
	(void)state;
	struct graph g = {0};
	struct ends e = {0};
	struct cost_kernel k = {0};
	size_t sz = GRAPH_MAX_SZ + 1;
	uint8_t *bytes = malloc(sz);
	memset(bytes, 0x90, sz);
	bytes[sz - 2] = 0xc3;
	struct code_window text = {bytes, sz, BASE, DECODE_X86_64};
	struct graph_range r = {BASE, sz};
	struct graph_input in = {.code = &text, .ranges = &r, .range_cnt = 1};
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_TOO_MANY);
	r.sz = GRAPH_MAX_SZ;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_ALL);
	/* je to a ret of its own, ENDS_MAX + 1 times */
	for (size_t i = 0; i <= ENDS_MAX; i++)
		memcpy(bytes + 3 * i, "\x74\x00\xc3", 3), bytes[3 * i + 1] = 1;
	r.sz = 3 * (ENDS_MAX + 1) + 1;
	bytes[r.sz - 1] = 0x90;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_FALLS_OUT);
	bytes[r.sz - 1] = 0xc3;
	assert_int_equal(ends_find(&g, &in, &k, &e), 0);
	assert_int_equal(e.verdict, ENDS_TOO_MANY);
	free(bytes);
	ends_release(&e);
	graph_release(&g);
}

/* Functions of real programs: how many are provable, with what each caller can give from .eh_frame: a piece that is
 * reached with a moved stack is fetched as a further range. */
static size_t find_func(const struct elf_walk *w, uint64_t addr)
{
	size_t lo = 0, hi = w->funcs.cnt;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (w->funcs.data[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? lo - 1 : 0;
}

static void real_file(const char *path)
{
	struct elf_walk w;
	struct graph g = {0};
	struct ends e = {0};
	struct cost_kernel k = {true, 5};
	size_t verdicts[ENDS_BAD_RANGE + 1] = {0}, sites = 0, conditional = 0, joined = 0;
	if (elf_walk_open(&w, path))
		return;
	uint64_t began = clock_mono_ns();
	for (size_t i = 0; i < w.funcs.cnt; i++) {
		struct graph_range r[GRAPH_MAX_RANGES] = {{w.funcs.data[i].addr, w.funcs.data[i].sz}};
		struct graph_input in = {
			.code = &w.text, .ranges = r, .range_cnt = 1, .data = w.data, .data_cnt = w.data_cnt};
		for (;;) {
			assert_int_equal(ends_find(&g, &in, &k, &e), 0);
			if (e.verdict != ENDS_STACK || !e.outside || in.range_cnt == GRAPH_MAX_RANGES)
				break;
			const struct walk_func *f = &w.funcs.data[find_func(&w, e.outside)];
			if (e.outside - f->addr >= f->sz)
				break;
			r[in.range_cnt++] = (struct graph_range){f->addr, f->sz};
			joined++;
		}
		verdicts[e.verdict]++;
		sites += e.sites.cnt;
		conditional += e.conditional;
	}
	double us = (double)(clock_mono_ns() - began) / 1e3;
	printf("  %-42s %6zu functions, provable %.1f %%, %zu sites, %zu with conditional tail jumps, %zu pieces "
	       "joined, "
	       "%.1f us each\n   ",
	       path, w.funcs.cnt, 100.0 * (double)(verdicts[ENDS_ALL] + verdicts[ENDS_NONE]) / (double)w.funcs.cnt,
	       sites, conditional, joined, us / (double)w.funcs.cnt);
	for (int v = 0; v <= ENDS_BAD_RANGE; v++)
		if (verdicts[v])
			printf(" %s %zu;", ends_verdict_name(v), verdicts[v]);
	printf("\n");
	assert_true(verdicts[ENDS_ALL] * 100 >= w.funcs.cnt * 60);
	ends_release(&e);
	graph_release(&g);
	elf_walk_close(&w);
}

static void real_programs(void **state)
{
	(void)state;
	for (size_t k = 0; k < WALK_FILES; k++)
		real_file(walk_files[k]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cases_by_hand),
		cmocka_unit_test(sites_say_where_to_and_what_they_cost),
		cmocka_unit_test(pieces_have_bytes_of_their_own),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(real_programs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
