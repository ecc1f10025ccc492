/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "binary/placement.h"

#define REACH 128 /* bytes: more than PLACEMENT_MAX_INSNS instructions of 15 */

const char *placement_reason_name(enum placement_reason reason)
{
	static const char *const names[] = {
		[PLACEMENT_AT_ENTRY_CHEAP] = "cheap at entry",
		[PLACEMENT_MOVED] = "moved",
		[PLACEMENT_STACK] = "stack pointer moves",
		[PLACEMENT_ARGUMENT] = "argument register changes",
		[PLACEMENT_MEMORY] = "memory is written",
		[PLACEMENT_TARGET] = "branch target",
		[PLACEMENT_CONTROL] = "control leaves",
		[PLACEMENT_UNKNOWN] = "unknown instruction",
		[PLACEMENT_LIMIT] = "too far",
		[PLACEMENT_END] = "function ends",
		[PLACEMENT_INDIRECT] = "indirect jumps",
		[PLACEMENT_UNDECODABLE] = "undecodable",
		[PLACEMENT_NO_SIZE] = "size unknown",
		[PLACEMENT_NO_TARGETS] = "branch targets unknown",
		[PLACEMENT_ARCH] = "architecture",
	};
	return names[reason];
}

/* What the function does to its own first bytes. */
struct own_scan {
	uint64_t jumped_to[REACH / 64]; /* by a jmp or jcc of the function */
	bool indirect;			/* has indirect jumps */
	bool whole;			/* all of it decodes */
};

static bool is_jumped_to(const struct own_scan *own, uint32_t offset)
{
	return offset < REACH && (own->jumped_to[offset / 64] >> (offset % 64) & 1);
}

static void scan_function(const struct code_window *code, uint64_t func, uint64_t sz, struct own_scan *own)
{
	const uint8_t *p = code_window_at(code, func, sz);
	*own = (struct own_scan){.whole = true};
	for (uint64_t at = 0; at < sz;) {
		struct insn i;
		int len = decode_insn(code->arch, p + at, sz - at, func + at, &i);
		if (len < 0) {
			own->whole = false;
			return;
		}
		uint64_t to = i.target - func;
		if ((i.kind == INSN_JMP || i.kind == INSN_JCC) && to < REACH)
			own->jumped_to[to / 64] |= 1ull << (to % 64);
		own->indirect |= i.kind == INSN_JMP_INDIRECT;
		at += (uint64_t)len;
	}
}

/* A general register saved below the stack pointer, in the function's own frame: nothing of the caller's. */
static bool stores_in_red_zone(const struct insn *i)
{
	bool mov = i->map == 0 && !i->vex &&
		   (i->opcode == 0x88 || i->opcode == 0x89 || i->opcode == 0xc6 || i->opcode == 0xc7);
	return mov && i->memory && i->rm == GPR_RSP && i->index == GPR_NONE && i->disp <= -8 && i->disp >= -128;
}

/* Whether what follows the instruction is still as good as the entry; else why not. */
static bool can_pass(const struct insn *i, uint16_t keep, enum placement_reason *ret_why)
{
	if (i->kind == INSN_PUSH || i->kind == INSN_POP || (i->writes & GPR_BIT(GPR_RSP)))
		*ret_why = PLACEMENT_STACK;
	else if (i->kind != INSN_OTHER && i->kind != INSN_NOP && i->kind != INSN_ENDBR)
		*ret_why = PLACEMENT_CONTROL;
	else if (!i->known || i->stack == STACK_LOST)
		*ret_why = PLACEMENT_UNKNOWN;
	else if (i->writes_mem && !stores_in_red_zone(i))
		*ret_why = PLACEMENT_MEMORY;
	else if (i->writes & keep)
		*ret_why = PLACEMENT_ARGUMENT;
	else
		return true;
	return false;
}

/* An optimised nop is replaced by a call, which writes the eight bytes below the stack pointer: the red zone. At the
 * entry nothing is in it yet, unless the function jumps back there. */
static bool is_site(const struct insn *i, enum placement_cost cost, bool only_nops_before, bool jumped_to)
{
	if (cost == COST_UNPROBEABLE)
		return false;
	return cost != COST_OPTIMISED_NOP5 || (i->kind == INSN_NOP && only_nops_before && !jumped_to);
}

static bool is_fast(enum placement_cost cost)
{
	return cost <= COST_EMULATED;
}

struct prologue {
	const struct code_window *code;
	const struct placement_options *options;
	const struct own_scan *own;
	uint64_t func;
	uint64_t sz;
};

static void walk(const struct prologue *p, struct placement *ret)
{
	unsigned max = p->options->max_insns ? p->options->max_insns : PLACEMENT_MAX_INSNS;
	const uint8_t *bytes = code_window_at(p->code, p->func, p->sz);
	bool only_nops = true;
	uint32_t at = 0;

	ret->reason = PLACEMENT_LIMIT;
	for (unsigned n = 0; n <= max; n++) {
		struct insn i;
		if (at >= p->sz || decode_insn(p->code->arch, bytes + at, p->sz - at, p->func + at, &i) < 0) {
			ret->reason = PLACEMENT_END;
			return;
		}
		bool jumped_to = is_jumped_to(p->own, at);
		if (at > 0 && (jumped_to || code_targets_has(p->options->targets, p->func + at))) {
			ret->reason = PLACEMENT_TARGET;
			return;
		}
		enum placement_cost cost = cost_of(p->code->arch, &i, &p->options->kernel);
		if (cost < ret->cost && is_site(&i, cost, only_nops, jumped_to)) {
			ret->offset = at;
			ret->cost = cost;
		}
		if (is_fast(ret->cost)) {
			ret->reason = ret->offset ? PLACEMENT_MOVED : PLACEMENT_AT_ENTRY_CHEAP;
			return;
		}
		if (!can_pass(&i, p->options->keep, &ret->reason)) {
			if (ret->offset)
				ret->reason = PLACEMENT_MOVED; /* away from an entry that cannot be probed */
			return;
		}
		only_nops &= i.kind == INSN_NOP || i.kind == INSN_ENDBR;
		at += i.len;
		if (at + 15 > REACH)
			return;
	}
}

/* A switch that jumps back to the function's beginning, before any stack was taken, would make the site fire again.
 * It jumps with the stack depth of its targets, so only indirect jumps at the entry's own depth are suspect. */
static int indirect_jumps_stay_away(const struct prologue *p, bool *ret)
{
	struct graph *g = p->options->graph;
	struct graph_range range = {p->func, p->sz};
	struct graph_input in = {.code = p->code, .ranges = &range, .range_cnt = 1};

	*ret = false;
	if (!g)
		return 0;
	int err = graph_build(g, &in);
	if (err || g->fault != GRAPH_WHOLE)
		return err;
	vec_foreach (n, &g->insns) {
		if (n->insn.kind != INSN_JMP_INDIRECT || n->jump == JUMP_TAIL_CALL)
			continue;
		if (!n->reached || n->depth == GRAPH_UNKNOWN || n->depth == 0)
			return 0;
	}
	*ret = true;
	return 0;
}

static void stay_at_entry(struct placement *ret, enum placement_reason reason)
{
	ret->offset = 0;
	ret->cost = ret->entry_cost;
	ret->reason = reason;
}

int placement_find(const struct code_window *code, uint64_t func_addr, uint64_t func_sz,
		   const struct placement_options *options, struct placement *ret)
{
	struct insn first;
	struct own_scan own;
	struct prologue p = {code, options, &own, func_addr, func_sz};

	*ret = (struct placement){.cost = COST_UNPROBEABLE, .entry_cost = COST_UNPROBEABLE};
	const uint8_t *bytes = code_window_at(code, func_addr, func_sz ? func_sz : 1);
	if (!bytes)
		return -ERANGE;
	uint64_t left = func_sz ? func_sz : code->sz - (func_addr - code->addr);
	if (decode_insn(code->arch, bytes, left, func_addr, &first) < 0) {
		ret->reason = PLACEMENT_UNDECODABLE;
		return 0;
	}
	ret->entry_cost = cost_of(code->arch, &first, &options->kernel);
	stay_at_entry(ret, PLACEMENT_ARCH);
	if (code->arch != DECODE_X86_64)
		return 0;
	if (func_sz == 0) {
		/* An unknown size hides whether the function jumps back to an optimised nop. */
		stay_at_entry(ret, is_fast(ret->entry_cost) ? PLACEMENT_AT_ENTRY_CHEAP : PLACEMENT_NO_SIZE);
		return 0;
	}
	if (ret->entry_cost == COST_EMULATED || !options->targets) {
		stay_at_entry(ret, ret->entry_cost == COST_EMULATED ? PLACEMENT_AT_ENTRY_CHEAP : PLACEMENT_NO_TARGETS);
		return 0;
	}
	scan_function(code, func_addr, func_sz, &own);
	if (!own.whole) {
		stay_at_entry(ret, PLACEMENT_UNDECODABLE);
		return 0;
	}
	ret->cost = COST_UNPROBEABLE;
	walk(&p, ret);
	if (ret->offset == 0 || !own.indirect)
		return 0;
	bool away;
	int err = indirect_jumps_stay_away(&p, &away);
	if (!away)
		stay_at_entry(ret, PLACEMENT_INDIRECT);
	return err;
}
