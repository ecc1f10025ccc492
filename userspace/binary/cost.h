/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_COST_H
#define BINARY_COST_H

#include "binary/decode.h"

/* What a uprobe on an instruction costs, by how the kernel gets the instruction executed afterwards. Cheapest first.
 * Prices of one call on the machines measured: 340 ns, 510 ns, 9-17 us. */
enum placement_cost {
	COST_OPTIMISED_NOP5, /* replaced by a call into a trampoline: no trap */
	COST_EMULATED,	     /* the kernel moves the registers itself */
	COST_SINGLE_STEP,    /* run from the XOL slot under the trap flag */
	COST_UNPROBEABLE,    /* refused by the kernel, or probing it would break the program */
};

/* What the running kernel does with nops: found by trial (attach to a nop of one's own and take the time), never by
 * version. All false/zero is the floor and always right, only dearer. */
struct cost_kernel {
	bool emulates_nops;	  /* 0f 1f and 66 90 (610f6e14c29d, 6.16) */
	uint8_t optimised_nop_sz; /* 5 (6.18), 10 in later trees; 0: none. Never for one that crosses a page. */
};

/* x86: arch/x86/kernel/uprobes.c, from 5.15 on.
 *  - emulated: push of a register (no prefix, or 41), call/jmp rel, jcc, nop (push_setup_xol_ops,
 * branch_setup_xol_ops);
 *  - refused: es, cs, ss, ds and lock prefixes (is_prefix_bad; so notrack jumps, and nops padded by 2e), int3, int N,
 *    ud2, syscall, port I/O, moves to ss (good_insns_64, good_2byte_insns, insn_masking_exception);
 *  - refused by us though the kernel takes it: VEX and EVEX, where it takes the opcode byte after the prefix for a
 *    one-byte opcode (vpor is eb: emulated as a jump; vpshufd is 70: as jo), and 49 90, xchg r8,rax, emulated as a nop.
 *    Seen on 6.18.44: attaching works, and the program computes with a wrong register from then on.
 * arm64: arch/arm64/kernel/probes/decode-insn.c and simulate-insn.c. */
enum placement_cost cost_of(enum decode_arch arch, const struct insn *i, const struct cost_kernel *kernel);

/* "nop", "emulated", "single-step", "unprobeable": as shown to the user. */
const char *cost_name(enum placement_cost cost);

#endif
