/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_SWITCH_H
#define BINARY_SWITCH_H

#include "binary/decode.h"

/* A switch statement's jump table, found from the instructions in front of an indirect jump. GCC and clang write
 *   lea T(%rip),%b; movslq (%b,%i,4),%x; add %b,%x; [notrack] jmp *%x      32-bit entries, relative to T
 *   [notrack] jmp *T(,%i,8)                                                64-bit addresses
 *   lea T(%rip),%b; [notrack] jmp *(%b,%i,8)                               64-bit addresses
 * behind `cmp $n,%i; ja default` or `and $n,%i`. */
#define SWITCH_HISTORY 24 /* instructions looked back at */

struct switch_table {
	uint64_t addr; /* 0: not found */
	uint64_t base; /* what entries are relative to; 0 when they are addresses */
	uint32_t cnt;  /* 0: no bound was found */
	uint8_t width; /* 4 or 8 */
};

/* Whether the jump has one of these forms. What could be found out of the table is in *ret. `before` is latest first.
 */
bool switch_find(const struct insn *jump, const struct insn *before, size_t cnt, struct switch_table *ret);

/* Target of entry k, or -ENOENT when no window holds it. */
int switch_entry(const struct switch_table *t, uint32_t k, const struct code_window *data, size_t data_cnt,
		 uint64_t *ret);

#endif
