/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_DECODE_H
#define BINARY_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One machine instruction: its length, where it goes, which registers and what of the stack it changes.
 *
 * x86-64 is decoded by tables of our own, not by capstone: placing 10,000 functions and scanning a text section for
 * branch targets needs some 50 ns an instruction, capstone takes about 700 (it also prints each one). Capstone is the
 * independent referee of the unit tests, on every instruction of several large binaries and on random bytes.
 * Whatever the tables do not know in full says so (`known` is false), and callers must then assume anything.
 *
 * arm64 knows control flow only; everything else is `known = false`. */
enum decode_arch {
	DECODE_X86_64,
	DECODE_ARM64,
};

/* Bytes of a loaded file, borrowed; `addr` is the ELF virtual address of data[0]. */
struct code_window {
	const uint8_t *data;
	size_t sz;
	uint64_t addr;
	enum decode_arch arch;
};

enum insn_kind {
	INSN_OTHER,
	INSN_NOP,	    /* 90, 0f 1f, with any prefixes; changes nothing */
	INSN_ENDBR,	    /* endbr64, or arm64's bti/paciasp hints */
	INSN_PUSH,	    /* of anything */
	INSN_POP,	    /* into anything */
	INSN_RET,	    /* near return, with or without an immediate, rep or bnd */
	INSN_JMP,	    /* direct, `target` */
	INSN_JCC,	    /* direct, `target`, or the next instruction; loop and jrcxz too */
	INSN_CALL,	    /* direct, `target` */
	INSN_JMP_INDIRECT,  /* through a register or memory */
	INSN_CALL_INDIRECT, /* likewise */
	INSN_TRAP,	    /* ud2, int3, hlt: control does not come back */
	INSN_SYSTEM,	    /* syscall, sysenter, int N, arm64's svc: control comes back */
	INSN_FAR,	    /* far jump, call and return, iret, sysret: where to cannot be told */
};

/* What an instruction does to the stack pointer (and, for the frame pointer, what can undo it). */
enum stack_effect {
	STACK_SAME,
	STACK_MOVE,	/* rsp += stack_move */
	STACK_FROM_RBP, /* rsp = rbp + stack_move: mov rsp,rbp; lea rsp,[rbp+x] */
	STACK_LEAVE,	/* rsp = rbp + 8, rbp = saved */
	STACK_SAVE_RBP, /* rbp = rsp + stack_move: mov rbp,rsp; lea rbp,[rsp+x] */
	STACK_LOST,	/* rsp is something else now */
};

enum gpr {
	GPR_RAX,
	GPR_RCX,
	GPR_RDX,
	GPR_RBX,
	GPR_RSP,
	GPR_RBP,
	GPR_RSI,
	GPR_RDI,
	GPR_R8,
	GPR_R9,
	GPR_R10,
	GPR_R11,
	GPR_R12,
	GPR_R13,
	GPR_R14,
	GPR_R15,
	GPR_NONE = 0xff,
};
#define GPR_BIT(reg) (1u << (reg))

struct insn {
	uint64_t addr;
	uint64_t target;    /* direct branches: where to; else the address a rip-relative operand names, or 0 */
	int32_t stack_move; /* bytes, see stack_effect */
	int32_t disp;	    /* displacement of the memory operand */
	uint32_t imm;	    /* low 32 bits of the immediate, sign-extended from 8 where it has 8 */
	uint16_t writes;    /* general registers it may change, one bit each (enum gpr); rsp included */
	uint8_t len;
	uint8_t kind;	 /* enum insn_kind */
	uint8_t stack;	 /* enum stack_effect */
	uint8_t map;	 /* opcode map: 0 one byte, 1 0f, 2 0f38, 3 0f3a; VEX and EVEX keep their own */
	uint8_t opcode;	 /* last opcode byte */
	uint8_t modrm;	 /* valid when has_modrm */
	uint8_t rex;	 /* 0 or 0x40-0x4f */
	uint8_t reg, rm; /* modrm fields with their REX bits; rm is the base of a memory operand, or GPR_NONE */
	uint8_t index;	 /* index register, or GPR_NONE */
	uint8_t scale;	 /* 1, 2, 4, 8 */
	bool known;	 /* `writes` and `writes_mem` are complete */
	bool writes_mem; /* may change memory */
	bool has_modrm;
	bool memory; /* modrm names memory */
	bool rip_relative;
	bool vex;     /* VEX or EVEX encoded */
	bool opsz;    /* 66 */
	bool rep;     /* f3 */
	bool repne;   /* f2, also bnd */
	bool segment; /* es, cs, ss or ds prefix (notrack is ds): no uprobe can be placed on it */
	bool lock;    /* likewise */
};

/* Decodes the instruction at p (`addr` in the file's address space) and returns its length, > 0, or -EILSEQ: no valid
 * instruction, or it does not end within `sz` bytes. */
int decode_insn(enum decode_arch arch, const uint8_t *p, size_t sz, uint64_t addr, struct insn *ret);

/* The same at an address of the window; -EILSEQ outside of it. */
int decode_at(const struct code_window *code, uint64_t addr, struct insn *ret);

/* Where the window holds [addr, addr + sz), or NULL. */
const uint8_t *code_window_at(const struct code_window *code, uint64_t addr, size_t sz);

/* decode.c's halves, one per architecture. */
int decode_x86(const uint8_t *p, size_t sz, uint64_t addr, struct insn *ret);
int decode_arm64(const uint8_t *p, size_t sz, uint64_t addr, struct insn *ret);

#endif
