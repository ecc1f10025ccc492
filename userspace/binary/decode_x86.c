/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "binary/decode.h"
#include "binary/decode_x86_tables.h"

#define INSN_MAX 15 /* the processor's own limit */

struct cursor {
	const uint8_t *p;
	size_t sz;
	size_t at;
	bool overrun;
};

static uint8_t next_byte(struct cursor *c)
{
	if (c->at >= c->sz || c->at >= INSN_MAX) {
		c->overrun = true;
		return 0;
	}
	return c->p[c->at++];
}

static uint8_t peek_byte(const struct cursor *c)
{
	return c->at < c->sz ? c->p[c->at] : 0;
}

static uint32_t next_le(struct cursor *c, unsigned bytes)
{
	uint32_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint32_t)next_byte(c) << (8 * i);
	return v;
}

static unsigned modrm_mod(const struct insn *i)
{
	return i->modrm >> 6;
}

static unsigned modrm_reg(const struct insn *i)
{
	return (i->modrm >> 3) & 7;
}

/* Returns the first byte that is neither a legacy prefix nor REX. A REX that is not the last of them has no effect. */
static uint8_t prefixes(struct cursor *c, struct insn *i, bool *addr32)
{
	for (;;) {
		uint8_t b = next_byte(c);
		if (c->overrun)
			return 0;
		if ((b & 0xf0) == 0x40) {
			i->rex = b;
			continue;
		}
		if (b == 0x66)
			i->opsz = true;
		else if (b == 0x67)
			*addr32 = true;
		else if (b == 0xf2)
			i->repne = true;
		else if (b == 0xf3)
			i->rep = true;
		else if (b == 0xf0)
			i->lock = true;
		else if (b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e)
			i->segment = true;
		else if (b != 0x64 && b != 0x65)
			return b;
		i->rex = 0;
	}
}

/* vex_pp: 0 none, 1 66, 2 f3, 3 f2. vvvv is the third operand. */
struct vex {
	unsigned pp;
	unsigned vvvv;
	bool evex;
};

/* VEX (c5, c4), EVEX (62) and AMD's XOP (8f with a map of 8 and more, else it is pop) carry REX, the prefixes and the
 * map in themselves. 0, or -EILSEQ. */
static int vex_prefix(struct cursor *c, struct insn *i, uint8_t first, struct vex *v)
{
	if (i->opsz || i->rep || i->repne || i->lock || i->rex)
		return -EILSEQ;
	uint8_t a = next_byte(c);
	uint8_t b = first == 0xc5 ? a : next_byte(c);
	i->vex = true;
	i->map = 1;
	i->rex = 0x40 | (a & 0x80 ? 0 : 4);
	if (first == 0xc4 || first == 0x8f) {
		i->map = a & 0x1f;
		i->rex |= (uint8_t)((a & 0x40 ? 0 : 2) | (a & 0x20 ? 0 : 1) | (b & 0x80 ? 8 : 0));
	} else if (first == 0x62) {
		i->map = a & 7;
		i->rex |= (uint8_t)((a & 0x40 ? 0 : 2) | (a & 0x20 ? 0 : 1) | (b & 0x80 ? 8 : 0));
		if ((a & 8) || !(b & 4))
			return -EILSEQ;
		next_byte(c);
		v->evex = true;
	}
	v->pp = b & 3;
	v->vvvv = (~b >> 3) & 15;
	bool good = first == 0x8f ? i->map >= 8 && i->map <= 10
				  : (i->map >= 1 && i->map <= 3) || (v->evex && (i->map == 5 || i->map == 6));
	return good ? 0 : -EILSEQ;
}

/* What of its operands a VEX or EVEX instruction writes; the general registers among them are few. */
static unsigned vex_flags(struct insn *i, const struct vex *v)
{
	unsigned op = i->opcode;
	if (i->map == 1) {
		if (op == 0x77 && !v->evex)
			return 0;
		unsigned f = M | WS;
		bool imm = (op >= 0x70 && op <= 0x73) || op == 0xc2 || op == 0xc4 || op == 0xc5 || op == 0xc6;
		bool to_reg = op == 0x50 || op == 0xd7 || op == 0xc5 || op == 0x93;
		bool convert = (op == 0x2c || op == 0x2d || op == 0x78 || op == 0x79) && v->pp >= 2;
		if (to_reg || convert)
			f |= WG;
		if (op == 0x7e && v->pp == 1)
			f |= WM;
		bool load = op == 0x10 || op == 0x12 || op == 0x28 || op == 0x2a || (op >= 0x2c && op <= 0x2f) ||
			    (op >= 0x51 && op <= 0x76) || (op == 0x7e && v->pp == 2) || op == 0xc2 || op == 0xc4 ||
			    op == 0xc6 || (op >= 0xd0 && op != 0xd6 && op != 0xe7 && op != 0xf7);
		return (load ? f & ~(unsigned)WS : f) | (imm ? I8 : 0);
	}
	if (i->map == 2 && !v->evex && (op == 0xf2 || op == 0xf5 || op == 0xf6 || op == 0xf7)) {
		if (op == 0xf6)
			i->writes |= (uint16_t)GPR_BIT(v->vvvv);
		return M | WG;
	}
	if (i->map == 2 && !v->evex && op == 0xf3) {
		i->writes |= (uint16_t)GPR_BIT(v->vvvv);
		return M;
	}
	if (i->map == 3) {
		if (op == 0xf0 && !v->evex)
			return M | I8 | WG;
		if (op >= 0x60 && op <= 0x63)
			i->writes |= GPR_BIT(GPR_RCX);
		return M | I8 | (op >= 0x14 && op <= 0x17 ? WM : WS);
	}
	if (i->map >= 8)
		return M | X | (i->map == 8 ? I8 : i->map == 10 ? IZ : 0);
	return M | (i->map == 5 || i->map == 6 ? WS | X : WS);
}

/* 0f 38 and 0f 3a without VEX. */
static unsigned three_byte_flags(struct insn *i)
{
	unsigned op = i->opcode;
	if (i->map == 3) {
		if (op >= 0x60 && op <= 0x63)
			i->writes |= GPR_BIT(GPR_RCX);
		if (op >= 0x14 && op <= 0x17)
			return M | I8 | WM;
		bool good = (op >= 0x08 && op <= 0x0f) || (op >= 0x20 && op <= 0x22) || (op >= 0x40 && op <= 0x44) ||
			    (op >= 0x60 && op <= 0x63) || op == 0xcc || op == 0xce || op == 0xcf || op == 0xdf;
		return M | I8 | (good ? 0 : X);
	}
	if (op == 0xf0 || op == 0xf6) /* movbe or crc32, adcx or adox; wrss stores */
		return op == 0xf6 && !i->opsz && !i->rep ? M | X : M | WG;
	if (op == 0xf1)
		return i->repne ? M | WG : M | WM;
	if (op == 0xf9)
		return M | WM;
	bool good = op <= 0x0b || op == 0x10 || op == 0x14 || op == 0x15 || op == 0x17 || (op >= 0x1c && op <= 0x1e) ||
		    (op >= 0x20 && op <= 0x25) || (op >= 0x28 && op <= 0x2b) || (op >= 0x30 && op <= 0x41) ||
		    (op >= 0xc8 && op <= 0xcd) || op == 0xcf || (op >= 0xdb && op <= 0xdf);
	return M | (good ? 0 : X);
}

static void move_stack(struct insn *i, enum insn_kind kind, int32_t by)
{
	i->kind = kind;
	i->writes |= GPR_BIT(GPR_RSP);
	i->stack = i->opsz ? STACK_LOST : STACK_MOVE;
	i->stack_move = by;
}

/* Opcodes of the one-byte map that the table leaves to be finished, in groups of a kind. Each returns the flags to go
 * on with. */
static unsigned group_stack(struct insn *i, unsigned f)
{
	switch (i->opcode) {
	case 0x50 ... 0x57:
	case 0x68:
	case 0x6a:
	case 0x9c:
		i->writes_mem = true;
		move_stack(i, INSN_PUSH, -8);
		return f;
	case 0x8f: /* with another reg it would be XOP */
		move_stack(i, INSN_POP, 8);
		return modrm_reg(i) == 0 ? f : BAD;
	case 0xc2:
	case 0xc3:
		move_stack(i, INSN_RET, 8);
		return f;
	case 0xc8:
		i->writes |= GPR_BIT(GPR_RSP) | GPR_BIT(GPR_RBP);
		i->writes_mem = true;
		i->stack = STACK_LOST;
		return f | I16 | I8;
	case 0xc9:
		i->writes |= GPR_BIT(GPR_RSP) | GPR_BIT(GPR_RBP);
		i->stack = STACK_LEAVE;
		return f;
	default: /* 58-5f, 9d */
		move_stack(i, INSN_POP, 8);
		return f;
	}
}

static unsigned group_string(struct insn *i, unsigned f)
{
	bool two = i->opcode <= 0xa7; /* movs, cmps: source and destination */
	bool lods = i->opcode == 0xac || i->opcode == 0xad;
	i->writes |= GPR_BIT(GPR_RCX);
	if (two || lods)
		i->writes |= GPR_BIT(GPR_RSI);
	if (!lods)
		i->writes |= GPR_BIT(GPR_RDI);
	i->writes_mem = i->opcode <= 0xa5 || i->opcode == 0xaa || i->opcode == 0xab;
	return lods ? f | WA : f;
}

/* Groups 1, 3, 4 and 11, by modrm.reg. */
static unsigned group_arithmetic(struct insn *i, unsigned f)
{
	unsigned reg = modrm_reg(i);
	switch (i->opcode) {
	case 0x80:
	case 0x81:
	case 0x83:
		return reg == 7 ? f : f | WM;
	case 0xc6: /* f8 is xabort and xbegin */
	case 0xc7:
		return reg == 0 ? f : i->modrm == 0xf8 ? (f & ~(unsigned)WM) | X : BAD;
	case 0xfe:
		return reg < 2 ? f | WM : BAD;
	default: /* f6, f7 */
		if (reg < 2)
			return f | (i->opcode == 0xf6 ? I8 : IZ);
		if (reg < 4)
			return f | WM;
		i->writes |= GPR_BIT(GPR_RDX);
		return f | WA;
	}
}

static unsigned group_five(struct insn *i, unsigned f)
{
	switch (modrm_reg(i)) {
	case 0:
	case 1:
		return f | WM;
	case 2:
		i->kind = INSN_CALL_INDIRECT;
		return f | X;
	case 4:
		i->kind = INSN_JMP_INDIRECT;
		return f;
	case 6:
		i->writes_mem = true;
		move_stack(i, INSN_PUSH, -8);
		return f;
	case 7:
		return BAD;
	default:
		i->kind = INSN_FAR;
		return i->memory ? f | X : BAD;
	}
}

static unsigned group_one_byte(struct insn *i, unsigned f)
{
	switch (i->opcode) {
	case 0x50 ... 0x5f:
	case 0x68:
	case 0x6a:
	case 0x8f:
	case 0x9c:
	case 0x9d:
	case 0xc2:
	case 0xc3:
	case 0xc8:
	case 0xc9:
		return group_stack(i, f);
	case 0xa4 ... 0xa7:
	case 0xaa ... 0xaf:
		return group_string(i, f);
	case 0x80 ... 0x83:
	case 0xc6:
	case 0xc7:
	case 0xf6:
	case 0xf7:
	case 0xfe:
		return group_arithmetic(i, f);
	case 0xff:
		return group_five(i, f);
	case 0x8d:
		return i->memory ? f : BAD;
	case 0x90:
		if (!(i->rex & 1)) {
			i->kind = INSN_NOP;
			return f;
		}
		i->writes |= GPR_BIT(GPR_R8); /* xchg r8, rax */
		return f | WA;
	case 0x99:
		i->writes |= GPR_BIT(GPR_RDX);
		return f;
	case 0xa2:
	case 0xa3:
		i->writes_mem = true;
		return f;
	case 0xca:
	case 0xcb:
	case 0xcf:
		i->kind = INSN_FAR;
		return f | X;
	case 0xcc:
	case 0xf1:
	case 0xf4:
		i->kind = INSN_TRAP;
		return f;
	case 0xcd:
		i->kind = INSN_SYSTEM;
		return f | WA;
	case 0xd8 ... 0xdf: /* fnstsw ax */
		return i->opcode == 0xdf && i->modrm == 0xe0 ? f | WA : f;
	default: /* in, out, ins, outs, cli, sti */
		return f | X;
	}
}

/* Instructions whose registers are fixed: xgetbv, rdtscp, rdtsc, cpuid, cmpxchg8b. */
static unsigned group_fixed(struct insn *i, unsigned f)
{
	switch (i->opcode) {
	case 0x01:
		if (i->modrm != 0xd0 && i->modrm != 0xf9)
			return f | X;
		i->writes |= GPR_BIT(GPR_RDX) | (i->modrm == 0xf9 ? GPR_BIT(GPR_RCX) : 0);
		return f | WA;
	case 0xa2:
		i->writes |= GPR_BIT(GPR_RBX) | GPR_BIT(GPR_RCX) | GPR_BIT(GPR_RDX);
		return f | WA;
	case 0xc7: /* in registers: rdrand, rdseed, rdpid */
		if (!i->memory)
			return modrm_reg(i) >= 6 ? f | WM : BAD;
		if (modrm_reg(i) == 1)
			i->writes |= GPR_BIT(GPR_RDX);
		return f | WM | WA;
	default:
		i->writes |= GPR_BIT(GPR_RDX);
		return f | WA;
	}
}

static unsigned group_two_byte(struct insn *i, unsigned f)
{
	unsigned reg = modrm_reg(i);
	switch (i->opcode) {
	case 0x01:
	case 0x31:
	case 0xa2:
	case 0xc7:
		return group_fixed(i, f);
	case 0x05:
	case 0x34:
		i->kind = INSN_SYSTEM;
		i->writes |= GPR_BIT(GPR_RCX) | GPR_BIT(GPR_R11);
		return f | WA;
	case 0x07:
	case 0x35:
		i->kind = INSN_FAR;
		return f | X;
	case 0x0b:
	case 0xb9:
	case 0xff:
		i->kind = INSN_TRAP;
		return f;
	case 0x1e:
		if (i->rep && !i->memory && reg == 1) /* rdssp */
			return f | WM;
		if (i->rep && i->modrm == 0xfa)
			i->kind = INSN_ENDBR;
		return f;
	case 0x1f:
		if (reg == 0)
			i->kind = INSN_NOP;
		return f;
	case 0x2c:
	case 0x2d:
		return i->rep || i->repne ? f | WG : f;
	case 0x20 ... 0x23: /* control and debug registers: mod is ignored */
		i->memory = false;
		return f | X;
	case 0x7e:
		return i->rep ? f : f | WM;
	case 0xa0:
	case 0xa8:
		i->writes_mem = true;
		move_stack(i, INSN_PUSH, -8);
		return f;
	case 0xa1:
	case 0xa9:
		move_stack(i, INSN_POP, 8);
		return f;
	case 0xae:
		if (i->memory)
			return f | WM;
		return i->rep && reg < 2 ? f | WM : f | (i->rep ? X : 0);
	case 0xb8:
		return i->rep ? f : BAD;
	case 0xba:
		return reg < 4 ? BAD : reg == 4 ? f : f | WM;
	case 0xf7: /* maskmovq stores at rdi */
		i->writes_mem = true;
		return f;
	default:
		return f | X;
	}
}

/* ModRM, SIB and displacement. */
static void operands(struct cursor *c, struct insn *i)
{
	unsigned mod = modrm_mod(i), rm = i->modrm & 7;
	unsigned b = i->rex & 1 ? 8 : 0, x = i->rex & 2 ? 8 : 0;
	unsigned disp = mod == 1 ? 1 : mod == 2 ? 4 : 0;

	if (!i->memory)
		return;
	if (rm == 4) {
		uint8_t sib = next_byte(c);
		unsigned index = ((sib >> 3) & 7) | x;
		i->scale = (uint8_t)(1 << (sib >> 6));
		i->index = index == 4 ? GPR_NONE : (uint8_t)index;
		i->rm = (uint8_t)((sib & 7) | b);
		if (mod == 0 && (sib & 7) == 5) {
			i->rm = GPR_NONE;
			disp = 4;
		}
	} else if (mod == 0 && rm == 5) {
		i->rm = GPR_NONE;
		i->rip_relative = true;
		disp = 4;
	}
	if (disp == 1)
		i->disp = (int8_t)next_byte(c);
	else if (disp == 4)
		i->disp = (int32_t)next_le(c, 4);
}

static void read_modrm(struct cursor *c, struct insn *i)
{
	i->has_modrm = true;
	i->modrm = next_byte(c);
	i->memory = modrm_mod(i) != 3;
	i->reg = (uint8_t)(modrm_reg(i) | (i->rex & 4 ? 8 : 0));
	i->rm = (uint8_t)((i->modrm & 7) | (i->rex & 1 ? 8 : 0));
}

/* 0, or -EILSEQ. 66 on a branch means rel16 to AMD and nothing to Intel: nobody uses it, and it is refused (as the
 * kernel does), unless REX.W overrides it (the linker's TLS sequences). */
static int immediate(struct cursor *c, struct insn *i, unsigned f, bool addr32)
{
	if (f & (R8 | R32)) {
		if (i->opsz && !(i->rex & 8))
			return -EILSEQ;
		int32_t rel = f & R8 ? (int8_t)next_byte(c) : (int32_t)next_le(c, 4);
		i->target = i->addr + c->at + (uint64_t)(int64_t)rel;
		bool loop = i->map == 0 && i->opcode >= 0xe0 && i->opcode <= 0xe3;
		if (i->map == 0 && i->opcode == 0xe8)
			i->kind = INSN_CALL;
		else if (i->map == 0 && (i->opcode == 0xe9 || i->opcode == 0xeb))
			i->kind = INSN_JMP;
		else
			i->kind = INSN_JCC;
		if (loop && i->opcode != 0xe3)
			i->writes |= GPR_BIT(GPR_RCX);
	}
	if (f & I16)
		i->imm = next_le(c, 2);
	if (f & I8)
		i->imm = (uint32_t)(int8_t)next_byte(c);
	if (f & IZ)
		i->imm = next_le(c, i->opsz && !(i->rex & 8) ? 2 : 4);
	if (i->map == 0 && !i->vex && i->opcode >= 0xb8 && i->opcode <= 0xbf) {
		i->imm = next_le(c, i->opsz && !(i->rex & 8) ? 2 : 4);
		if (i->rex & 8)
			next_le(c, 4);
	}
	if (i->map == 0 && !i->vex && i->opcode >= 0xa0 && i->opcode <= 0xa3)
		for (int n = addr32 ? 4 : 8; n > 0; n--)
			next_byte(c);
	return 0;
}

static void write_reg(struct insn *i, unsigned f, unsigned reg)
{
	if ((f & B) && !i->rex && reg >= 4 && reg < 8)
		reg -= 4;
	i->writes |= (uint16_t)GPR_BIT(reg);
}

static void effects(struct insn *i, unsigned f)
{
	if (f & WG)
		write_reg(i, f, i->reg);
	if (f & WA)
		i->writes |= GPR_BIT(GPR_RAX);
	if (f & WO)
		write_reg(i, f, (i->opcode & 7) | (i->rex & 1 ? 8 : 0));
	if ((f & WM) && !i->memory)
		write_reg(i, f, i->rm);
	if ((f & (WM | WS)) && i->memory)
		i->writes_mem = true;
	i->known = !(f & X);
}

static bool is_lea(const struct insn *i)
{
	return i->map == 0 && i->opcode == 0x8d && i->index == GPR_NONE && (i->rex & 8) && !i->opsz;
}

/* mov to, from between 64-bit registers, in either of its encodings. */
static bool is_mov(const struct insn *i, unsigned to, unsigned from)
{
	if (i->map != 0 || i->memory || !(i->rex & 8))
		return false;
	return (i->opcode == 0x89 && i->rm == to && i->reg == from) ||
	       (i->opcode == 0x8b && i->reg == to && i->rm == from);
}

static void frame_effects(struct insn *i)
{
	if (i->vex || !i->has_modrm)
		return;
	if (is_mov(i, GPR_RBP, GPR_RSP)) {
		i->stack = STACK_SAVE_RBP;
	} else if (is_lea(i) && i->reg == GPR_RBP && i->rm == GPR_RSP) {
		i->stack = STACK_SAVE_RBP;
		i->stack_move = i->disp;
	}
}

static void stack_effects(struct insn *i)
{
	bool pops_rsp =
		i->kind == INSN_POP &&
		((i->map == 0 && !i->has_modrm && (i->opcode & 7) == GPR_RSP && !(i->rex & 1) && i->opcode != 0x9d) ||
		 (i->has_modrm && !i->memory && i->rm == GPR_RSP));
	if (pops_rsp)
		i->stack = STACK_LOST;
	if (i->stack != STACK_SAME)
		return;
	if (!(i->writes & GPR_BIT(GPR_RSP)) && i->known) {
		frame_effects(i);
		return;
	}
	if (i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT)
		return;
	i->stack = STACK_LOST;
	if (i->vex || i->map != 0 || !(i->rex & 8) || i->opsz)
		return;
	unsigned op = modrm_reg(i);
	if ((i->opcode == 0x81 || i->opcode == 0x83) && !i->memory && (op == 0 || op == 5)) {
		i->stack = STACK_MOVE;
		i->stack_move = op == 0 ? (int32_t)i->imm : (int32_t)(0 - i->imm);
	} else if (is_lea(i) && (i->rm == GPR_RSP || i->rm == GPR_RBP)) {
		i->stack = i->rm == GPR_RSP ? STACK_MOVE : STACK_FROM_RBP;
		i->stack_move = i->disp;
	} else if (is_mov(i, GPR_RSP, GPR_RBP)) {
		i->stack = STACK_FROM_RBP;
	}
}

/* Opcode, its map and what the tables say of it. BAD when there is none. */
static unsigned opcode_flags(struct cursor *c, struct insn *i, uint8_t first, struct vex *v)
{
	if (first == 0xc4 || first == 0xc5 || first == 0x62 || (first == 0x8f && (peek_byte(c) & 0x1f) >= 8)) {
		if (vex_prefix(c, i, first, v) < 0)
			return BAD;
		i->opcode = next_byte(c);
		return vex_flags(i, v);
	}
	i->opcode = first;
	if (first != 0x0f)
		return one_byte[first];
	i->map = 1;
	i->opcode = next_byte(c);
	if (i->opcode != 0x38 && i->opcode != 0x3a)
		return two_byte[i->opcode];
	i->map = i->opcode == 0x38 ? 2 : 3;
	i->opcode = next_byte(c);
	return three_byte_flags(i);
}

int decode_x86(const uint8_t *p, size_t sz, uint64_t addr, struct insn *ret)
{
	struct cursor c = {.p = p, .sz = sz};
	struct vex v = {0};
	bool addr32 = false;

	*ret = (struct insn){.addr = addr, .rm = GPR_NONE, .index = GPR_NONE, .scale = 1};
	uint8_t first = prefixes(&c, ret, &addr32);
	unsigned f = opcode_flags(&c, ret, first, &v);
	if (f & M)
		read_modrm(&c, ret);
	if ((f & GRP) && !ret->vex)
		f = ret->map == 0 ? group_one_byte(ret, f) : group_two_byte(ret, f);
	if (c.overrun || (f & BAD))
		return -EILSEQ;
	if (f & M)
		operands(&c, ret);
	if (immediate(&c, ret, f, addr32) < 0 || c.overrun)
		return -EILSEQ;

	ret->len = (uint8_t)c.at;
	if (ret->rip_relative)
		ret->target = addr + ret->len + (uint64_t)(int64_t)ret->disp;
	effects(ret, f);
	if (ret->kind == INSN_RET && ret->opcode == 0xc2)
		ret->stack_move += (int32_t)ret->imm;
	if (ret->kind == INSN_CALL)
		ret->known = false;
	stack_effects(ret);
	return ret->len;
}
