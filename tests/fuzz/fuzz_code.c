/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding, placement, ends and call analysis over any bytes: byte 0 chooses the architecture and options, the next
 * three where the function lies in the rest and how long it is, and whether there is a second piece and data. */
#include <stdlib.h>

#include "binary/calls.h"
#include "binary/ends.h"
#include "binary/placement.h"

#define BASE 0x400ff0ull /* a page boundary is near */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct code_window text;

static bool resolve(void *ctx, uint64_t addr, struct calls_func *ret)
{
	(void)ctx;
	if (addr < BASE || addr >= BASE + text.sz)
		return false;
	uint64_t left = BASE + text.sz - addr;
	*ret = (struct calls_func){&text, {{addr, left < 40 ? left : 40}}, 1};
	return true;
}

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void place(const struct graph_range *f, struct graph *g, uint8_t flags)
{
	struct code_targets t;
	if (code_targets_init(&t, &text, &f->addr, 1))
		return;
	struct placement_options o = {.kernel = {flags & 2, flags & 4 ? 5 : 0},
				      .keep = flags & 8 ? PLACEMENT_KEEP_SYSV : 0,
				      .targets = &t,
				      .graph = flags & 16 ? g : NULL};
	struct placement p;
	if (placement_find(&text, f->addr, f->sz, &o, &p) == 0) {
		struct insn i;
		check(f->sz == 0 || p.offset < f->sz);
		check(p.offset == 0 || !code_targets_has(&t, f->addr + p.offset));
		if (p.cost != COST_UNPROBEABLE) {
			check(decode_at(&text, f->addr + p.offset, &i) > 0);
			check(f->sz == 0 || p.offset + i.len <= f->sz);
			check(cost_of(text.arch, &i, &o.kernel) == p.cost);
		}
	}
	code_targets_release(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct graph g;
	static struct ends e;
	static struct cost_kernel kernel = {true, 5};
	if (size < 6)
		return 0;
	uint8_t flags = data[0];
	text = (struct code_window){data + 4, size - 4, BASE, flags & 1 ? DECODE_ARM64 : DECODE_X86_64};
	struct graph_range r[2] = {{BASE + data[1], data[2]}, {BASE + data[3], flags >> 5}};
	uint64_t landing = BASE + data[3];
	struct graph_input in = {.code = &text,
				 .ranges = r,
				 .range_cnt = flags & 32 ? 2 : 1,
				 .entries = &landing,
				 .entry_cnt = flags & 64 ? 1 : 0,
				 .data = &text,
				 .data_cnt = flags & 128 ? 1 : 0};
	place(&r[0], &g, flags);
	if (ends_find(&g, &in, &kernel, &e) == 0) {
		check((e.verdict == ENDS_ALL) == (e.sites.cnt > 0));
		vec_foreach (s, &e.sites) {
			struct insn i;
			check(graph_inside(&in, s->addr) && s->cost != COST_UNPROBEABLE);
			check(decode_at(&text, s->addr, &i) > 0);
		}
	}
	struct calls_ops ops = {.resolve = resolve, .data = &text, .data_cnt = 1};
	struct calls c;
	calls_init(&c, &ops);
	struct calls_why why;
	int may = calls_may_unwind(&c, r[0].addr, &why);
	check(may < 0 || (may == 0) == (why.verdict == CALLS_NEVER_UNWIND));
	check(calls_may_unwind(&c, r[0].addr, NULL) == may);
	calls_release(&c);
	return 0;
}
