/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_DECODE_X86_TABLES_H
#define BINARY_DECODE_X86_TABLES_H

#include <stdint.h>

/* The opcode maps of 64-bit mode (Intel SDM volume 2, appendix A; AMD64 APM volume 3, appendix A), as far as length
 * and written operands go. Prefixes, REX, VEX and EVEX are taken off before one_byte is read. */
enum {
	BAD = 1 << 0,  /* no such instruction in 64-bit mode, or one nothing is known about */
	M = 1 << 1,    /* has a ModRM byte */
	I8 = 1 << 2,   /* imm8 */
	IZ = 1 << 3,   /* imm32, or imm16 under 66 */
	I16 = 1 << 4,  /* imm16 */
	R8 = 1 << 5,   /* rel8 */
	R32 = 1 << 6,  /* rel32 */
	WM = 1 << 7,   /* writes the r/m operand */
	WG = 1 << 8,   /* writes the general register in modrm.reg */
	WO = 1 << 9,   /* writes the register in the opcode's low bits */
	WA = 1 << 10,  /* writes rax */
	B = 1 << 11,   /* byte operands: without REX, 4-7 mean ah, ch, dh, bh */
	WS = 1 << 12,  /* writes r/m when it is memory; the register form is no general register */
	GRP = 1 << 13, /* finished in group() */
	X = 1 << 14,   /* effects unknown */
};

/* clang-format off */
static const uint16_t one_byte[256] = {
	/* 00 */ M | B | WM, M | WM, M | B | WG, M | WG, I8 | WA, IZ | WA, BAD, BAD,
	/* 08 */ M | B | WM, M | WM, M | B | WG, M | WG, I8 | WA, IZ | WA, BAD, BAD,
	/* 10 */ M | B | WM, M | WM, M | B | WG, M | WG, I8 | WA, IZ | WA, BAD, BAD,
	/* 18 */ M | B | WM, M | WM, M | B | WG, M | WG, I8 | WA, IZ | WA, BAD, BAD,
	/* 20 */ M | B | WM, M | WM, M | B | WG, M | WG, I8 | WA, IZ | WA, BAD, BAD,
	/* 28 */ M | B | WM, M | WM, M | B | WG, M | WG, I8 | WA, IZ | WA, BAD, BAD,
	/* 30 */ M | B | WM, M | WM, M | B | WG, M | WG, I8 | WA, IZ | WA, BAD, BAD,
	/* 38 */ M | B, M, M | B, M, I8, IZ, BAD, BAD,
	/* 40 */ BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD,
	/* 48 */ BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD,
	/* 50 */ GRP, GRP, GRP, GRP, GRP, GRP, GRP, GRP,
	/* 58 */ GRP | WO, GRP | WO, GRP | WO, GRP | WO, GRP | WO, GRP | WO, GRP | WO, GRP | WO,
	/* 60 */ BAD, BAD, BAD, M | WG, BAD, BAD, BAD, BAD,
	/* 68 */ GRP | IZ, M | IZ | WG, GRP | I8, M | I8 | WG, GRP, GRP, GRP, GRP,
	/* 70 */ R8, R8, R8, R8, R8, R8, R8, R8,
	/* 78 */ R8, R8, R8, R8, R8, R8, R8, R8,
	/* 80 */ M | I8 | B | GRP, M | IZ | GRP, BAD, M | I8 | GRP, M | B, M, M | B | WM | WG, M | WM | WG,
	/* 88 */ M | B | WM, M | WM, M | B | WG, M | WG, M | WM, M | WG | GRP, M | X, M | WM | GRP,
	/* 90 */ GRP, WO | WA, WO | WA, WO | WA, WO | WA, WO | WA, WO | WA, WO | WA,
	/* 98 */ WA, GRP, BAD, 0, GRP, GRP, 0, WA,
	/* a0 */ WA, WA, GRP, GRP, GRP, GRP, GRP, GRP,
	/* a8 */ I8, IZ, GRP, GRP, GRP, GRP, GRP, GRP,
	/* b0 */ I8 | B | WO, I8 | B | WO, I8 | B | WO, I8 | B | WO, I8 | B | WO, I8 | B | WO, I8 | B | WO, I8 | B | WO,
	/* b8 */ WO, WO, WO, WO, WO, WO, WO, WO, /* imm64 with REX.W */
	/* c0 */ M | I8 | B | WM, M | I8 | WM, I16 | GRP, GRP, BAD, BAD, M | I8 | B | WM | GRP, M | IZ | WM | GRP,
	/* c8 */ GRP, GRP, I16 | GRP, GRP, GRP, I8 | GRP, BAD, GRP,
	/* d0 */ M | B | WM, M | WM, M | B | WM, M | WM, BAD, BAD, BAD, WA,
	/* d8 */ M | WS | GRP, M | WS | GRP, M | WS | GRP, M | WS | GRP, M | WS | GRP, M | WS | GRP, M | WS | GRP, M | WS | GRP,
	/* e0 */ R8, R8, R8, R8, I8 | GRP, I8 | GRP, I8 | GRP, I8 | GRP,
	/* e8 */ R32, R32, BAD, R8, GRP, GRP, GRP, GRP,
	/* f0 */ BAD, GRP, BAD, BAD, GRP, 0, M | B | GRP, M | GRP,
	/* f8 */ 0, 0, GRP, GRP, 0, 0, M | B | GRP, M | GRP,
};

static const uint16_t two_byte[256] = {
	/* 00 */ M | GRP, M | GRP, M | WG, M | WG, BAD, GRP, GRP, GRP,
	/* 08 */ GRP, GRP, BAD, GRP, BAD, M, BAD, BAD,
	/* 10 */ M, M | WS, M, M | WS, M, M, M, M | WS,
	/* 18 */ M, M, M | X, M | X, M, M, M | GRP, M | GRP,
	/* 20 */ M | GRP, M | GRP, M | GRP, M | GRP, BAD, BAD, BAD, BAD,
	/* 28 */ M, M | WS, M, M | WS, M | GRP, M | GRP, M, M,
	/* 30 */ GRP, GRP, GRP, GRP, GRP, GRP, BAD, GRP,
	/* 38 */ BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD,
	/* 40 */ M | WG, M | WG, M | WG, M | WG, M | WG, M | WG, M | WG, M | WG,
	/* 48 */ M | WG, M | WG, M | WG, M | WG, M | WG, M | WG, M | WG, M | WG,
	/* 50 */ M | WG, M, M, M, M, M, M, M,
	/* 58 */ M, M, M, M, M, M, M, M,
	/* 60 */ M, M, M, M, M, M, M, M,
	/* 68 */ M, M, M, M, M, M, M, M,
	/* 70 */ M | I8, M | I8, M | I8, M | I8, M, M, M, 0,
	/* 78 */ BAD, BAD, BAD, BAD, M, M, M | GRP, M | WS,
	/* 80 */ R32, R32, R32, R32, R32, R32, R32, R32,
	/* 88 */ R32, R32, R32, R32, R32, R32, R32, R32,
	/* 90 */ M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM,
	/* 98 */ M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM, M | B | WM,
	/* a0 */ GRP, GRP, GRP, M, M | I8 | WM, M | WM, BAD, BAD,
	/* a8 */ GRP, GRP, GRP, M | WM, M | I8 | WM, M | WM, M | GRP, M | WG,
	/* b0 */ M | B | WM | WA, M | WM | WA, M | X, M | WM, M | X, M | X, M | WG, M | WG,
	/* b8 */ M | WG | GRP, M | GRP, M | I8 | GRP, M | WM, M | WG, M | WG, M | WG, M | WG,
	/* c0 */ M | B | WM | WG, M | WM | WG, M | I8, M | WM, M | I8, M | I8 | WG, M | I8, M | GRP,
	/* c8 */ WO, WO, WO, WO, WO, WO, WO, WO,
	/* d0 */ M, M, M, M, M, M, M | WS, M | WG,
	/* d8 */ M, M, M, M, M, M, M, M,
	/* e0 */ M, M, M, M, M, M, M, M | WS,
	/* e8 */ M, M, M, M, M, M, M, M,
	/* f0 */ M, M, M, M, M, M, M, M | GRP,
	/* f8 */ M, M, M, M, M, M, M, M | GRP,
};
/* clang-format on */

#endif
