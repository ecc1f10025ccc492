/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>
#include <capstone/capstone.h>

#include "base/clock.h"
#include "binary/placement.h"
#include "elf_walk.h"

#define BASE 0x401000ull

/* --- every rule, by hand-assembled bytes --- */

struct rule {
	const char *what;
	const char *bytes; /* hex, blanks ignored; placed at BASE + at */
	uint32_t offset;   /* expected */
	enum placement_cost cost;
	enum placement_reason reason;
	uint64_t at;	     /* where the function begins, from BASE */
	uint64_t sz;	     /* of the function, 0: all the bytes */
	const char *outside; /* code elsewhere in the section (at BASE + 0x100) */
	uint16_t keep;	     /* 0: SysV */
	uint8_t nop_sz;	     /* the kernel's optimised nop; 0: 5, 0xff: none */
	bool old_kernel;     /* emulates no long nops */
};

#define RULE(w, b, o, c, r, ...)                                                          \
	{                                                                                 \
		.what = w, .bytes = b, .offset = o, .cost = c, .reason = r, ##__VA_ARGS__ \
	}
/* clang-format off */
static const struct rule rules[] = {
	RULE("push at entry stays", "55 4889e5 c3", 0, COST_EMULATED, PLACEMENT_AT_ENTRY_CHEAP),
	RULE("push r12 is emulated", "4154 415c c3", 0, COST_EMULATED, PLACEMENT_AT_ENTRY_CHEAP),
	RULE("push with REX.W is stepped, next push is not", "4855 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_STACK),
	RULE("behind endbr64", "f30f1efa 55 4889e5 5d c3", 4, COST_EMULATED, PLACEMENT_MOVED),
	RULE("endbr64 and nothing else", "f30f1efa c3", 0, COST_SINGLE_STEP, PLACEMENT_STACK),
	RULE("nop at entry", "90 c3", 0, COST_EMULATED, PLACEMENT_AT_ENTRY_CHEAP),
	RULE("nop5 at entry", "0f1f440000 c3", 0, COST_OPTIMISED_NOP5, PLACEMENT_AT_ENTRY_CHEAP),
	RULE("nop5 behind endbr64", "f30f1efa 0f1f440000 55 c3", 4, COST_OPTIMISED_NOP5, PLACEMENT_MOVED),
	RULE("nop5 on a kernel that steps it", "f30f1efa 0f1f440000 55 c3", 9, COST_EMULATED, PLACEMENT_MOVED, .nop_sz = 0xff, .old_kernel = true),
	RULE("nop5 on a kernel that only emulates it", "f30f1efa 0f1f440000 55 c3", 4, COST_EMULATED, PLACEMENT_MOVED, .nop_sz = 0xff),
	RULE("nop5 behind other instructions is passed by", "31c0 0f1f440000 eb00 c3", 7, COST_EMULATED, PLACEMENT_MOVED),
	RULE("nop5 that the function jumps back to", "0f1f440000 488944 24f8 eb f4", 0x0a, COST_EMULATED, PLACEMENT_MOVED),
	RULE("nop5 across a page is only emulated", "0f1f440000 c3", 0, COST_EMULATED, PLACEMENT_AT_ENTRY_CHEAP, .at = 0xffd),
	RULE("nop5 up to the page's end", "0f1f440000 c3", 0, COST_OPTIMISED_NOP5, PLACEMENT_AT_ENTRY_CHEAP, .at = 0xffb),
	RULE("nop cut off by the function's end", "90 0f1f440000", 0, COST_EMULATED, PLACEMENT_AT_ENTRY_CHEAP, .sz = 3),
	RULE("push outside of the function", "f30f1efa 55", 0, COST_SINGLE_STEP, PLACEMENT_END, .sz = 4),
	RULE("test and je", "4885ff 7401 c3 c3", 3, COST_EMULATED, PLACEMENT_MOVED),
	RULE("near jcc", "4885ff 0f8400000000 c3", 3, COST_EMULATED, PLACEMENT_MOVED),
	RULE("jmp rel32", "31c0 e900000000 c3", 2, COST_EMULATED, PLACEMENT_MOVED),
	RULE("call rel32", "31c0 e800000000 c3", 2, COST_EMULATED, PLACEMENT_MOVED),
	RULE("load into rax, then push", "488b07 53 c3", 3, COST_EMULATED, PLACEMENT_MOVED),
	RULE("rax matters to who reads it", "488b07 53 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT, .keep = PLACEMENT_KEEP_SYSV | GPR_BIT(GPR_RAX)),
	RULE("rdi changes", "4889f7 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("rdi changes, nobody reads it", "4889f7 55 c3", 3, COST_EMULATED, PLACEMENT_MOVED, .keep = GPR_BIT(GPR_RSI)),
	RULE("edx changes by cdq", "99 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("ch changes", "b501 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("bpl does not", "40b501 55 c3", 3, COST_EMULATED, PLACEMENT_MOVED),
	RULE("r9d changes by xor", "4531c9 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("rcx changes by a string instruction", "a6 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("xchg", "4887f8 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("setcc cl", "0f94c1 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("mul", "48f7e6 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT),
	RULE("sub rsp", "4883ec08 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_STACK),
	RULE("lea rsp", "488d6424f8 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_STACK),
	RULE("pop", "5b 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_STACK),
	RULE("store to the caller's memory", "488907 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_MEMORY),
	RULE("store to a global", "c7050000000000000000 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_MEMORY),
	RULE("store over the return address", "48890424 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_MEMORY),
	RULE("store into the red zone", "48897c24f8 55 c3", 5, COST_EMULATED, PLACEMENT_MOVED),
	RULE("store with an index", "48897c04f8 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_MEMORY),
	RULE("vector store reaching over it", "0f114424f8 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_MEMORY),
	RULE("call through memory", "488b07 ff10 c3", 0, COST_SINGLE_STEP, PLACEMENT_CONTROL),
	RULE("syscall", "b801000000 0f05 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_CONTROL),
	RULE("loop back to the site", "31c0 ebfe c3", 0, COST_SINGLE_STEP, PLACEMENT_TARGET),
	RULE("loop back between entry and site", "31c0 31db 4885ff 75f9 c3", 0, COST_SINGLE_STEP, PLACEMENT_TARGET),
	RULE("loop back to the entry is no different", "31c0 4885ff 75f9 c3", 5, COST_EMULATED, PLACEMENT_MOVED),
	RULE("loop back behind the site", "31c0 4885ff 7400 31db ebfc", 5, COST_EMULATED, PLACEMENT_MOVED),
	RULE("entered in the middle from outside", "31c0 55 5d c3", 0, COST_SINGLE_STEP, PLACEMENT_TARGET, .outside = "e9fdfeffff"),
	RULE("called in the middle from outside", "31c0 55 5d c3", 0, COST_SINGLE_STEP, PLACEMENT_TARGET, .outside = "e8fdfeffff"),
	RULE("its middle's address taken outside", "31c0 55 5d c3", 0, COST_SINGLE_STEP, PLACEMENT_TARGET, .outside = "488d05fbfeffff"),
	RULE("called at its entry from outside", "31c0 55 5d c3", 2, COST_EMULATED, PLACEMENT_MOVED, .outside = "e8fbfeffff"),
	RULE("eight instructions", "31c031c031c031c031c031c031c031c0 55 c3", 16, COST_EMULATED, PLACEMENT_MOVED),
	RULE("nine instructions", "31c031c031c031c031c031c031c031c031c0 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_LIMIT),
	RULE("locked at entry, next is better", "f0480fc107 55 c3", 0, COST_UNPROBEABLE, PLACEMENT_MEMORY),
	RULE("AVX at entry is never probed", "c5f9efc0 55 c3", 4, COST_EMULATED, PLACEMENT_MOVED),
	RULE("AVX at entry, then something stepped", "c5f9efc0 31c0 c3", 4, COST_SINGLE_STEP, PLACEMENT_MOVED),
	RULE("AVX and ret", "c5f9efc0 c3", 4, COST_SINGLE_STEP, PLACEMENT_MOVED),
	RULE("xchg r8, rax is no nop", "4190 c3", 0, COST_UNPROBEABLE, PLACEMENT_ARGUMENT),
	RULE("cs-prefixed nop cannot be probed, but passed", "662e0f1f840000000000 55 c3", 10, COST_EMULATED, PLACEMENT_MOVED),
	RULE("ud2", "0f0b", 0, COST_UNPROBEABLE, PLACEMENT_CONTROL),
	RULE("int3", "cc", 0, COST_UNPROBEABLE, PLACEMENT_CONTROL),
	RULE("not an instruction", "06 55", 0, COST_UNPROBEABLE, PLACEMENT_UNDECODABLE),
	RULE("data further on", "31c0 55 5d c3 06", 0, COST_SINGLE_STEP, PLACEMENT_UNDECODABLE),
	RULE("one byte", "c3", 0, COST_SINGLE_STEP, PLACEMENT_STACK),
	RULE("tail call through a register", "488b07 55 5d ffe0", 3, COST_EMULATED, PLACEMENT_MOVED),
	RULE("switch at the entry's depth", "31c0 4885ff 7400 3effe0", 0, COST_SINGLE_STEP, PLACEMENT_INDIRECT),
	RULE("switch below a push", "31c0 55 3effe0", 2, COST_EMULATED, PLACEMENT_MOVED),
	RULE("jump through a table of pointers, at the entry's depth", "31c0 4885ff 7400 ff24c500104000", 0, COST_SINGLE_STEP, PLACEMENT_INDIRECT),
	RULE("Go: rbx is an argument", "31db 55 c3", 0, COST_SINGLE_STEP, PLACEMENT_ARGUMENT, .keep = PLACEMENT_KEEP_GO),
};
/* clang-format on */

static size_t unhex(const char *s, uint8_t *out)
{
	size_t n = 0;
	for (; *s; s++) {
		if (*s == ' ')
			continue;
		unsigned v;
		assert_int_equal(sscanf(s, "%2x", &v), 1);
		out[n++] = (uint8_t)v;
		s++;
	}
	return n;
}

static void rules_by_hand(void **state)
{
	(void)state;
	struct graph g = {0};
	for (size_t k = 0; k < sizeof(rules) / sizeof(rules[0]); k++) {
		const struct rule *r = &rules[k];
		uint8_t bytes[8192];
		memset(bytes, 0xcc, sizeof(bytes));
		size_t sz = unhex(r->bytes, bytes + r->at);
		if (r->outside)
			unhex(r->outside, bytes + 0x100);
		struct code_window text = {bytes, sizeof(bytes), BASE, DECODE_X86_64};
		struct code_targets t;
		assert_int_equal(code_targets_init(&t, &text, NULL, 0), 0);
		struct placement_options o = {
			.kernel = {!r->old_kernel, r->nop_sz == 0xff ? 0 : 5},
			.keep = r->keep ? r->keep : PLACEMENT_KEEP_SYSV,
			.targets = &t,
			.graph = &g,
		};
		struct placement p;
		assert_int_equal(placement_find(&text, BASE + r->at, r->sz ? r->sz : sz, &o, &p), 0);
		if (p.offset != r->offset || p.cost != r->cost || p.reason != r->reason)
			fail_msg("%s: at +%u, %s, %s; expected +%u, %s, %s", r->what, p.offset, cost_name(p.cost),
				 placement_reason_name(p.reason), r->offset, cost_name(r->cost),
				 placement_reason_name(r->reason));
		code_targets_release(&t);
	}
	graph_release(&g);
}

static void what_is_not_given(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3};
	struct code_window text = {bytes, sizeof(bytes), BASE, DECODE_X86_64};
	struct placement_options o = {.keep = PLACEMENT_KEEP_SYSV};
	struct placement p;

	assert_int_equal(placement_find(&text, BASE, sizeof(bytes), &o, &p), 0);
	assert_int_equal(p.offset, 0);
	assert_int_equal(p.reason, PLACEMENT_NO_TARGETS);

	struct code_targets t;
	assert_int_equal(code_targets_init(&t, &text, NULL, 0), 0);
	o.targets = &t;
	assert_int_equal(placement_find(&text, BASE, 0, &o, &p), 0);
	assert_int_equal(p.offset, 0);
	assert_int_equal(p.reason, PLACEMENT_NO_SIZE);
	assert_int_equal(placement_find(&text, BASE, sizeof(bytes) + 1, &o, &p), -ERANGE);
	assert_int_equal(placement_find(&text, BASE - 1, 2, &o, &p), -ERANGE);
	assert_int_equal(placement_find(&text, BASE + 6, 0, &o, &p), -ERANGE);
	assert_int_equal(placement_find(&text, BASE, UINT64_MAX, &o, &p), -ERANGE);

	/* A function that has indirect jumps, without the scratch to look into them. */
	static const uint8_t tail[] = {0x31, 0xc0, 0x55, 0x5d, 0xff, 0xe0};
	struct code_window other = {tail, sizeof(tail), BASE, DECODE_X86_64};
	code_targets_release(&t);
	assert_int_equal(code_targets_init(&t, &other, NULL, 0), 0);
	assert_int_equal(placement_find(&other, BASE, sizeof(tail), &o, &p), 0);
	assert_int_equal(p.reason, PLACEMENT_INDIRECT);
	code_targets_add(&t, BASE + 2);
	struct graph g = {0};
	o.graph = &g;
	assert_int_equal(placement_find(&other, BASE, sizeof(tail), &o, &p), 0);
	assert_int_equal(p.reason, PLACEMENT_TARGET);
	code_targets_release(&t);
	graph_release(&g);

	/* arm64: paciasp; stp; the site is the entry. */
	static const uint8_t arm[] = {0x3f, 0x23, 0x03, 0xd5, 0xfd, 0x7b, 0xbf, 0xa9, 0xc0, 0x03, 0x5f, 0xd6};
	struct code_window a64 = {arm, sizeof(arm), BASE, DECODE_ARM64};
	assert_int_equal(placement_find(&a64, BASE, sizeof(arm), &o, &p), 0);
	assert_int_equal(p.offset, 0);
	assert_int_equal(p.cost, COST_SINGLE_STEP);
	assert_int_equal(p.reason, PLACEMENT_ARCH);
}

/* The scan falls into step again at a known start, and takes no targets from what it misread. */
static void targets_behind_data(void **state)
{
	(void)state;
	/* e9 begins data; the function at 3 is `jmp +0`, to 5 */
	static const uint8_t bytes[] = {0x90, 0x90, 0xe9, 0xeb, 0x00, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3};
	struct code_window text = {bytes, sizeof(bytes), BASE, DECODE_X86_64};
	uint64_t starts[] = {BASE, BASE + 3};
	struct code_targets t;
	assert_int_equal(code_targets_init(&t, &text, starts, 2), 0);
	assert_true(code_targets_has(&t, BASE + 5));
	assert_false(code_targets_has(&t, BASE + 6));
	assert_false(code_targets_has(&t, BASE - 1));
	assert_false(code_targets_has(&t, BASE + sizeof(bytes)));
	code_targets_add(&t, BASE + sizeof(bytes)); /* ignored */
	code_targets_release(&t);
}

/* --- proof on real programs, by another decoder and another scan --- */

struct proof {
	csh cs;
	cs_insn *insn;
	uint8_t *target; /* one byte per byte of text */
	const struct elf_walk *w;
	bool arguments; /* must stay, or the stack pointer alone */
};

static void proof_target(struct proof *p, uint64_t addr)
{
	if (addr - p->w->text.addr < p->w->text.sz)
		p->target[addr - p->w->text.addr] = 1;
}

static void proof_scan_range(struct proof *p, uint64_t from, uint64_t to)
{
	const uint8_t *q = code_window_at(&p->w->text, from, to - from);
	size_t left = to - from;
	uint64_t at = from;
	while (left > 0) {
		if (!cs_disasm_iter(p->cs, &q, &left, &at, p->insn)) {
			q++, left--, at++;
			continue;
		}
		const cs_x86 *x = &p->insn->detail->x86;
		for (int k = 0; k < x->op_count; k++) {
			bool branch = p->insn->id == X86_INS_LOOP || cs_insn_group(p->cs, p->insn, CS_GRP_JUMP) ||
				      cs_insn_group(p->cs, p->insn, CS_GRP_CALL);
			if (x->operands[k].type == X86_OP_IMM && branch)
				proof_target(p, (uint64_t)x->operands[k].imm);
			if (p->insn->id == X86_INS_LEA && x->operands[k].type == X86_OP_MEM &&
			    x->operands[k].mem.base == X86_REG_RIP)
				proof_target(p, at + (uint64_t)x->operands[k].mem.disp);
		}
	}
}

/* Each function by itself, and what lies between them. */
static void proof_scan(struct proof *p)
{
	uint64_t at = p->w->text.addr;
	for (size_t i = 0; i < p->w->funcs.cnt; i++) {
		const struct walk_func *f = &p->w->funcs.data[i];
		if (f->addr > at)
			proof_scan_range(p, at, f->addr);
		if (f->addr + f->sz > at)
			proof_scan_range(p, f->addr > at ? f->addr : at, f->addr + f->sz);
		if (f->addr + f->sz > at)
			at = f->addr + f->sz;
	}
	proof_scan_range(p, at, p->w->text.addr + p->w->text.sz);
}

static bool is_kept(const struct proof *p, unsigned reg)
{
	static const unsigned regs[] = {
		X86_REG_RDI, X86_REG_EDI, X86_REG_DI,  X86_REG_DIL, X86_REG_RSI, X86_REG_ESI, X86_REG_SI,  X86_REG_SIL,
		X86_REG_RDX, X86_REG_EDX, X86_REG_DX,  X86_REG_DL,  X86_REG_DH,	 X86_REG_RCX, X86_REG_ECX, X86_REG_CX,
		X86_REG_CL,  X86_REG_CH,  X86_REG_R8,  X86_REG_R8D, X86_REG_R8W, X86_REG_R8B, X86_REG_R9,  X86_REG_R9D,
		X86_REG_R9W, X86_REG_R9B, X86_REG_RSP, X86_REG_ESP, X86_REG_SP,	 X86_REG_SPL,
	};
	const size_t stack_regs = sizeof(regs) / sizeof(regs[0]) - 4;
	for (size_t k = 0; k < sizeof(regs) / sizeof(regs[0]); k++)
		if (regs[k] == reg)
			return p->arguments || k >= stack_regs;
	return false;
}

/* The instruction leaves arguments, stack pointer and the caller's memory alone, and goes on to the next. */
static bool proof_harmless(struct proof *p)
{
	cs_regs reads, writes;
	uint8_t nr, nw;
	unsigned id = p->insn->id;
	if (cs_insn_group(p->cs, p->insn, CS_GRP_JUMP) || cs_insn_group(p->cs, p->insn, CS_GRP_CALL) ||
	    cs_insn_group(p->cs, p->insn, CS_GRP_RET) || cs_insn_group(p->cs, p->insn, CS_GRP_INT))
		return false;
	if (id == X86_INS_TEST) /* capstone has it write its operand */
		return true;
	if (cs_regs_access(p->cs, p->insn, reads, &nr, writes, &nw) != CS_ERR_OK)
		return false;
	for (int k = 0; k < nw; k++)
		if (is_kept(p, writes[k]))
			return false;
	const cs_x86 *x = &p->insn->detail->x86;
	for (int k = 0; k < x->op_count; k++) {
		const cs_x86_op *op = &x->operands[k];
		if (op->type != X86_OP_MEM || !(op->access & CS_AC_WRITE))
			continue;
		bool own = op->mem.base == X86_REG_RSP && op->mem.index == X86_REG_INVALID && op->mem.disp < 0 &&
			   op->mem.disp + op->size <= 0;
		if (!own)
			return false;
	}
	return true;
}

static bool proof_emulated(const cs_insn *in)
{
	switch (in->id) {
	case X86_INS_PUSH:
		return in->size <= 2 && in->detail->x86.operands[0].type == X86_OP_REG;
	case X86_INS_NOP:
		return true;
	case X86_INS_JMP:
	case X86_INS_CALL:
		return in->detail->x86.operands[0].type == X86_OP_IMM;
	default:
		return in->mnemonic[0] == 'j' && in->id != X86_INS_JRCXZ && in->id != X86_INS_JECXZ;
	}
}

static void proof_moved(struct proof *p, const struct walk_func *f, const struct placement *s)
{
	const uint8_t *q = code_window_at(&p->w->text, f->addr, f->sz);
	size_t left = f->sz;
	uint64_t at = f->addr, site = f->addr + s->offset;
	for (;;) {
		uint64_t here = at;
		assert_true(cs_disasm_iter(p->cs, &q, &left, &at, p->insn));
		if (here > f->addr && p->target[here - p->w->text.addr])
			fail_msg("%llx: placed at or behind branch target %llx", (unsigned long long)f->addr,
				 (unsigned long long)here);
		if (here == site)
			break;
		if (here > site || !proof_harmless(p))
			fail_msg("%llx: walked over %s %s", (unsigned long long)here, p->insn->mnemonic,
				 p->insn->op_str);
	}
	if (s->cost == COST_EMULATED && !proof_emulated(p->insn))
		fail_msg("%llx: %s is not emulated", (unsigned long long)site, p->insn->mnemonic);
}

/* A jump table of the function, read as far as its entries stay inside of it, has no way to the site. */
static void proof_tables(struct proof *p, const struct walk_func *f, const struct placement *s)
{
	const uint8_t *q = code_window_at(&p->w->text, f->addr, f->sz);
	size_t left = f->sz;
	uint64_t at = f->addr;
	while (left > 0 && cs_disasm_iter(p->cs, &q, &left, &at, p->insn)) {
		const cs_x86 *x = &p->insn->detail->x86;
		if (p->insn->id != X86_INS_LEA || x->operands[1].mem.base != X86_REG_RIP)
			continue;
		uint64_t table = at + (uint64_t)x->operands[1].mem.disp;
		for (size_t d = 0; d < p->w->data_cnt; d++)
			for (uint64_t k = 0; k < 1024; k++) {
				const uint8_t *e = code_window_at(&p->w->data[d], table + 4 * k, 4);
				int32_t rel;
				if (!e)
					break;
				memcpy(&rel, e, 4);
				uint64_t to = table + (uint64_t)(int64_t)rel;
				if (to - f->addr >= f->sz)
					break;
				if (to > f->addr && to <= f->addr + s->offset)
					fail_msg("%llx: placed behind table target %llx", (unsigned long long)f->addr,
						 (unsigned long long)to);
			}
	}
}

static void proof_file(const struct elf_walk *w, const char *path, uint16_t keep)
{
	struct proof p = {.w = w, .target = calloc(w->text.sz, 1), .arguments = keep == PLACEMENT_KEEP_SYSV};
	assert_int_equal(cs_open(CS_ARCH_X86, CS_MODE_64, &p.cs), CS_ERR_OK);
	cs_option(p.cs, CS_OPT_DETAIL, CS_OPT_ON);
	p.insn = cs_malloc(p.cs);
	proof_scan(&p);

	uint64_t *starts = calloc(w->funcs.cnt + 1, sizeof(*starts));
	for (size_t i = 0; i < w->funcs.cnt; i++)
		starts[i] = w->funcs.data[i].addr;
	uint64_t began = clock_mono_ns();
	struct code_targets t;
	assert_int_equal(code_targets_init(&t, &w->text, starts, w->funcs.cnt), 0);
	uint64_t scanned = clock_mono_ns();
	struct graph g = {0};
	struct placement_options o = {.kernel = {true, 5}, .keep = keep, .targets = &t, .graph = &g};
	struct placement *all = calloc(w->funcs.cnt + 1, sizeof(*all));
	size_t moved = 0, fast = 0, fast_at_entry = 0;
	for (size_t i = 0; i < w->funcs.cnt; i++) {
		assert_int_equal(placement_find(&w->text, starts[i], w->funcs.data[i].sz, &o, &all[i]), 0);
		moved += all[i].offset > 0;
		fast += all[i].cost <= COST_EMULATED;
		fast_at_entry += all[i].entry_cost <= COST_EMULATED;
	}
	uint64_t placed = clock_mono_ns();
	for (size_t i = 0; i < w->funcs.cnt; i++)
		if (all[i].offset > 0) {
			proof_moved(&p, &w->funcs.data[i], &all[i]);
			proof_tables(&p, &w->funcs.data[i], &all[i]);
		}
	double n = (double)w->funcs.cnt;
	printf("  %-42s %6zu functions, moved %5zu, at a fast site %4.1f %% (symbol: %4.1f %%); scan %.1f ms, "
	       "placing %.2f us each\n",
	       path, w->funcs.cnt, moved, 100 * (double)fast / n, 100 * (double)fast_at_entry / n,
	       (double)(scanned - began) / 1e6, (double)(placed - scanned) / 1e3 / n);
	assert_true(moved > 0);
	free(all);
	free(starts);
	graph_release(&g);
	code_targets_release(&t);
	free(p.target);
	cs_free(p.insn, 1);
	cs_close(&p.cs);
}

static void real_programs(uint16_t keep)
{
	size_t done = 0;
	for (size_t k = 0; k < WALK_FILES; k++) {
		struct elf_walk w;
		if (elf_walk_open(&w, walk_files[k]))
			continue;
		proof_file(&w, walk_files[k], keep);
		elf_walk_close(&w);
		done++;
	}
	if (!done)
		skip();
}

static void moved_sites_equal_the_entry(void **state)
{
	(void)state;
	printf("all argument registers kept:\n");
	real_programs(PLACEMENT_KEEP_SYSV);
}

static void share_without_arguments(void **state)
{
	(void)state;
	printf("no argument captured:\n");
	real_programs(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_by_hand),	   cmocka_unit_test(what_is_not_given),
		cmocka_unit_test(targets_behind_data),	   cmocka_unit_test(moved_sites_equal_the_entry),
		cmocka_unit_test(share_without_arguments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
