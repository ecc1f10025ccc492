/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "binary/switch.h"

static bool is_plain(const struct insn *i, unsigned opcode)
{
	return i->map == 0 && !i->vex && i->opcode == opcode;
}

static bool writes_reg(const struct insn *i, unsigned reg)
{
	return !i->known || (i->writes & GPR_BIT(reg));
}

/* lea T(%rip),%reg as the last thing that wrote reg, from before[from] back. 0: another thing wrote it. */
static uint64_t find_base(const struct insn *before, size_t from, size_t cnt, unsigned reg)
{
	for (size_t k = from; k < cnt; k++) {
		const struct insn *i = &before[k];
		if (is_plain(i, 0x8d) && i->rip_relative && i->reg == reg)
			return i->target;
		bool call = i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT;
		bool kept = reg == GPR_RBX || reg == GPR_RBP || reg >= GPR_R12;
		if (call ? !kept : writes_reg(i, reg))
			return 0;
	}
	return 0;
}

/* add %a,%b, in either encoding. */
static bool find_add(const struct insn *before, size_t cnt, unsigned reg, size_t *ret_at, unsigned *ret_other)
{
	for (size_t k = 0; k < cnt && k < 4; k++) {
		const struct insn *i = &before[k];
		bool form1 = is_plain(i, 0x01) && !i->memory && i->rm == reg;
		bool form3 = is_plain(i, 0x03) && !i->memory && i->reg == reg;
		if (form1 || form3) {
			*ret_at = k;
			*ret_other = form1 ? i->reg : i->rm;
			return true;
		}
		if (writes_reg(i, reg))
			return false;
	}
	return false;
}

static bool is_compare(const struct insn *i)
{
	if (i->map != 0 || i->vex)
		return false;
	bool group = (i->opcode == 0x80 || i->opcode == 0x81 || i->opcode == 0x83) && ((i->modrm >> 3) & 7) == 7;
	return group || i->opcode == 0x3c || i->opcode == 0x3d;
}

/* The condition of a jcc, 0-15, or -1. */
static int condition(const struct insn *i)
{
	if (i->kind != INSN_JCC)
		return -1;
	bool near = i->map == 1 && i->opcode >= 0x80 && i->opcode <= 0x8f;
	bool shorter = i->map == 0 && i->opcode >= 0x70 && i->opcode <= 0x7f;
	return near || shorter ? i->opcode & 15 : -1;
}

/* and $n,%index as the last thing that wrote the index: n + 1 entries, when n is a mask of low bits. */
static uint32_t find_mask(const struct insn *before, size_t from, size_t cnt, unsigned index)
{
	for (size_t k = from; k < cnt; k++) {
		const struct insn *i = &before[k];
		bool group = (is_plain(i, 0x83) || is_plain(i, 0x81)) && ((i->modrm >> 3) & 7) == 4 && !i->memory;
		bool masked = (group && i->rm == index) || (is_plain(i, 0x25) && index == GPR_RAX);
		if (masked)
			return i->imm < 1u << 20 && !(i->imm & (i->imm + 1)) ? i->imm + 1 : 0;
		if (writes_reg(i, index))
			return 0;
	}
	return 0;
}

/* The nearest unsigned comparison with a constant that guards the jump: ja and jae around it, or jbe and jb to it. */
static uint32_t find_bound(const struct insn *jump, const struct insn *before, size_t cnt)
{
	enum { BELOW = 2, ABOVE_EQUAL = 3, BELOW_EQUAL = 6, ABOVE = 7 };
	uint64_t after = jump->addr; /* the instruction executed behind before[k] */
	for (size_t k = 0; k + 1 < cnt; after = before[k].addr, k++) {
		int cc = condition(&before[k]);
		if (cc < 0 || !is_compare(&before[k + 1]))
			continue;
		bool taken = after == before[k].target && after != before[k].addr + before[k].len;
		uint32_t n = before[k + 1].imm;
		if (n > 1u << 20)
			return 0;
		if (taken ? cc == BELOW_EQUAL : cc == ABOVE)
			return n + 1;
		if (taken ? cc == BELOW : cc == ABOVE_EQUAL)
			return n;
	}
	return 0;
}

static bool find_through_register(const struct insn *jump, const struct insn *before, size_t cnt,
				  struct switch_table *ret)
{
	size_t at;
	unsigned other;
	if (!find_add(before, cnt, jump->rm, &at, &other))
		return false;
	for (size_t k = at + 1; k < cnt && k < at + 6; k++) {
		const struct insn *i = &before[k];
		bool load = is_plain(i, 0x63) && i->memory && i->scale == 4 && i->index != GPR_NONE;
		if (load && (i->reg == jump->rm || i->reg == other)) {
			unsigned base = i->reg == jump->rm ? other : jump->rm;
			ret->width = 4;
			ret->cnt = find_mask(before, k + 1, cnt, i->index);
			if (i->rm == base && i->disp == 0)
				ret->addr = ret->base = find_base(before, i->reg == base ? cnt : k + 1, cnt, base);
			return true;
		}
		if (writes_reg(i, jump->rm) || writes_reg(i, other))
			return false;
	}
	return false;
}

bool switch_find(const struct insn *jump, const struct insn *before, size_t cnt, struct switch_table *ret)
{
	*ret = (struct switch_table){.width = 8};
	bool form = false;
	if (!jump->memory) {
		form = find_through_register(jump, before, cnt, ret);
	} else if (jump->index != GPR_NONE && jump->scale == 8) {
		form = true;
		uint64_t base = jump->rm == GPR_NONE ? 0 : find_base(before, 0, cnt, jump->rm);
		if (jump->rm == GPR_NONE || base)
			ret->addr = base + (uint64_t)(int64_t)jump->disp;
	}
	if (form && jump->memory)
		ret->cnt = find_mask(before, 0, cnt, jump->index);
	if (form && ret->addr && !ret->cnt)
		ret->cnt = find_bound(jump, before, cnt);
	return form;
}

int switch_entry(const struct switch_table *t, uint32_t k, const struct code_window *data, size_t data_cnt,
		 uint64_t *ret)
{
	for (size_t d = 0; d < data_cnt; d++) {
		const uint8_t *p = code_window_at(&data[d], t->addr + (uint64_t)k * t->width, t->width);
		if (!p)
			continue;
		if (t->width == 8) {
			memcpy(ret, p, 8);
		} else {
			int32_t rel;
			memcpy(&rel, p, 4);
			*ret = t->base + (uint64_t)(int64_t)rel;
		}
		return 0;
	}
	return -ENOENT;
}
