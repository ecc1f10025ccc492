/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/cost.h"

#define PAGE_SZ 4096

const char *cost_name(enum placement_cost cost)
{
	static const char *const names[] = {
		[COST_OPTIMISED_NOP5] = "nop",
		[COST_EMULATED] = "emulated",
		[COST_SINGLE_STEP] = "single-step",
		[COST_UNPROBEABLE] = "unprobeable",
	};
	return names[cost];
}

/* x86_nops of arch/x86/include/asm/nops.h go up to 8 bytes. */
static enum placement_cost nop_cost(const struct insn *i, const struct cost_kernel *k)
{
	if (i->rep) /* pause: emulated by some kernels, stepped by others */
		return COST_SINGLE_STEP;
	if (k->optimised_nop_sz && i->len == k->optimised_nop_sz && i->addr % PAGE_SZ + i->len <= PAGE_SZ)
		return COST_OPTIMISED_NOP5;
	if (i->map == 0 && !i->opsz)
		return COST_EMULATED;
	return k->emulates_nops && i->len <= 8 ? COST_EMULATED : COST_SINGLE_STEP;
}

static bool refused_opcode(const struct insn *i)
{
	if (i->map == 1) {
		switch (i->opcode) {
		case 0x00:
		case 0x01:
		case 0x05 ... 0x09:
		case 0x30:
		case 0x34:
		case 0x35:
		case 0x37:
		case 0x78:
		case 0x79:
		case 0xae:
			return true;
		}
		return false;
	}
	if (i->map != 0)
		return false;
	switch (i->opcode) {
	case 0x6c ... 0x6f:
	case 0xcc ... 0xcf:
	case 0xe4 ... 0xe7:
	case 0xec ... 0xef:
	case 0xf1:
	case 0xf4:
	case 0xfa:
	case 0xfb:
		return true;
	case 0x8e: /* the instruction after a move to ss cannot be interrupted */
		return (i->reg & 7) == 2;
	case 0x90:
		return i->rex & 1;
	case 0xc6:
	case 0xc7: /* xabort, xbegin: a trap aborts the transaction */
		return i->modrm == 0xf8;
	}
	return false;
}

static enum placement_cost x86_cost(const struct insn *i, const struct cost_kernel *k)
{
	if (i->vex || i->segment || i->lock || i->kind == INSN_TRAP || i->kind == INSN_SYSTEM || i->kind == INSN_FAR ||
	    refused_opcode(i))
		return COST_UNPROBEABLE;
	switch ((enum insn_kind)i->kind) {
	case INSN_NOP:
		return nop_cost(i, k);
	case INSN_PUSH:
		if (i->map == 0 && i->opcode >= 0x50 && i->opcode <= 0x57 &&
		    (i->len == 1 || (i->len == 2 && i->rex == 0x41)))
			return COST_EMULATED;
		return COST_SINGLE_STEP;
	case INSN_JMP:
	case INSN_JCC:
	case INSN_CALL:
		if (i->opsz)
			return COST_UNPROBEABLE;
		return i->map == 0 && i->opcode >= 0xe0 && i->opcode <= 0xe3 ? COST_SINGLE_STEP : COST_EMULATED;
	default:
		return COST_SINGLE_STEP;
	}
}

/* aarch64_insn_is_steppable refuses exceptions, most of msr/mrs and exclusives (a trap clears the monitor). */
static enum placement_cost arm64_cost(const struct insn *i, const struct cost_kernel *k)
{
	uint32_t w = i->imm;
	switch ((enum insn_kind)i->kind) {
	case INSN_JMP:
	case INSN_JCC:
	case INSN_CALL:
	case INSN_RET:
	case INSN_JMP_INDIRECT:
	case INSN_CALL_INDIRECT: /* the authenticating forms of the last three are stepped */
		return (w & 0xfc000000) == 0xd4000000 && (w & 0x800) ? COST_SINGLE_STEP : COST_EMULATED;
	case INSN_NOP:
		return k->emulates_nops ? COST_EMULATED : COST_SINGLE_STEP;
	case INSN_TRAP:
	case INSN_SYSTEM:
	case INSN_FAR:
		return COST_UNPROBEABLE;
	default:
		break;
	}
	bool exclusive = (w & 0x3f000000) == 0x08000000;
	bool system = (w & 0xffc00000) == 0xd5000000 && i->kind != INSN_ENDBR;
	if (exclusive || system)
		return COST_UNPROBEABLE;
	return COST_SINGLE_STEP;
}

enum placement_cost cost_of(enum decode_arch arch, const struct insn *i, const struct cost_kernel *kernel)
{
	return arch == DECODE_X86_64 ? x86_cost(i, kernel) : arm64_cost(i, kernel);
}
