/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "binary/decode.h"

/* Encodings: Arm Architecture Reference Manual (DDI 0487), C4.1 "A64 instruction set encoding". */
static int64_t sign_extend(uint32_t value, unsigned bits)
{
	return (int64_t)((uint64_t)value << (64 - bits)) >> (64 - bits);
}

static void branch(struct insn *i, enum insn_kind kind, uint32_t field, unsigned bits)
{
	i->kind = kind;
	i->target = i->addr + (uint64_t)(sign_extend(field, bits) * 4);
}

int decode_arm64(const uint8_t *p, size_t sz, uint64_t addr, struct insn *ret)
{
	if (sz < 4)
		return -EILSEQ;
	uint32_t w = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;

	*ret = (struct insn){.addr = addr, .len = 4, .imm = w, .stack = STACK_LOST, .rm = GPR_NONE, .index = GPR_NONE};
	if ((w & 0xfc000000) == 0x14000000)
		branch(ret, INSN_JMP, w & 0x3ffffff, 26);
	else if ((w & 0xfc000000) == 0x94000000)
		branch(ret, INSN_CALL, w & 0x3ffffff, 26);
	else if ((w & 0xff000000) == 0x54000000 || (w & 0x7e000000) == 0x34000000) /* b.cond, cbz, cbnz */
		branch(ret, INSN_JCC, (w >> 5) & 0x7ffff, 19);
	else if ((w & 0x7e000000) == 0x36000000) /* tbz, tbnz */
		branch(ret, INSN_JCC, (w >> 5) & 0x3fff, 14);
	else if ((w & 0xfffffc1f) == 0xd65f0000 || w == 0xd65f0bff || w == 0xd65f0fff) /* ret, retaa, retab */
		ret->kind = INSN_RET;
	else if ((w & 0xfffffc1f) == 0xd61f0000 || (w & 0xfefff800) == 0xd61f0800) /* br, braa.. */
		ret->kind = INSN_JMP_INDIRECT;
	else if ((w & 0xfffffc1f) == 0xd63f0000 || (w & 0xfefff800) == 0xd63f0800) /* blr, blraa.. */
		ret->kind = INSN_CALL_INDIRECT;
	else if (w == 0xd503201f)
		ret->kind = INSN_NOP;
	else if ((w & 0xffffff3f) == 0xd503241f || w == 0xd503233f || w == 0xd503237f) /* bti, paciasp, pacibsp */
		ret->kind = INSN_ENDBR;
	else if ((w & 0xffe0001f) == 0xd4200000 || (w >> 16) == 0) /* brk, udf */
		ret->kind = INSN_TRAP;
	else if ((w & 0xff000000) == 0xd4000000) /* svc, hvc, smc, hlt, dcps */
		ret->kind = INSN_SYSTEM;
	return 4;
}
