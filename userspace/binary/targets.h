/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_TARGETS_H
#define BINARY_TARGETS_H

#include "binary/decode.h"

/* Which addresses of a text section something jumps to, calls, or takes the address of: one bit a byte. A probe moved
 * behind such an address would miss, or see twice, what arrives there; hand-written assembly does enter other
 * functions in their middle. One linear scan of the section, about 15 ms a megabyte.
 *
 * Not seen: addresses that exist only in data (jump tables, relocations); a caller who knows some adds them. */
struct code_targets {
	uint64_t *bits;
	uint64_t addr;
	size_t sz;
};

/* Scans a section. `starts` (sorted, may be NULL) are addresses known to begin an instruction, such as functions:
 * where the scan has fallen out of step (data between functions), it falls in again there. 0 or -ENOMEM. */
int code_targets_init(struct code_targets *t, const struct code_window *text, const uint64_t *starts, size_t start_cnt);
void code_targets_release(struct code_targets *t);

/* Adds one; outside of the section it is ignored. */
void code_targets_add(struct code_targets *t, uint64_t addr);
bool code_targets_has(const struct code_targets *t, uint64_t addr);

#endif
