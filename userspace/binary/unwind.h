/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_UNWIND_H
#define BINARY_UNWIND_H

#include "binary/elf.h"
#include "binary/symbols.h"

/* What .eh_frame tells: where functions begin and end, also in stripped files, and which languages' exceptions are
 * handled here. Format: Linux Standard Base, "Exception Frames". */

#define UNWIND_FUNCTION_MAX (4U << 20) /* FDEs kept; Chromium has about 900,000 */
#define UNWIND_CIE_MAX	    65536      /* CIEs looked at; linkers merge them to a dozen */

/* Who runs when an exception passes a frame. */
enum unwind_personality {
	UNWIND_NONE = 0,
	UNWIND_C_CLEANUP = 1 << 0, /* __gcc_personality_v0: C with cleanup attributes, compiled with -fexceptions */
	UNWIND_CXX = 1 << 1,	   /* __gxx_personality_v0 */
	UNWIND_RUST = 1 << 2,	   /* rust_eh_personality */
	UNWIND_OTHER = 1 << 3,	   /* another language's, or one whose name is not to be found, or a damaged table */
};

struct unwind_function {
	uint64_t start;
	uint32_t len;	      /* functions beyond 4 GiB do not exist */
	uint32_t personality; /* one of enum unwind_personality */
};

struct unwind {
	struct unwind_function *functions; /* by start */
	size_t cnt;
	uint32_t personalities; /* mask over all CIEs of the module */
	bool present; /* there is an .eh_frame; without one nothing is known (Go, -fno-asynchronous-unwind-tables) */
	bool damaged; /* it could not be read to its end */
	uint64_t skipped; /* FDEs not kept: beyond UNWIND_FUNCTION_MAX, empty, outside of code */
};

/* `tab` names a personality that is linked in; may be NULL, and then such a one is UNWIND_OTHER. Nothing is kept of
 * either. 0 or -ENOMEM. */
int unwind_open(struct unwind **ret, struct elf *elf, const struct symtab *tab);
/* NULL is fine. */
void unwind_close(struct unwind *u);

/* The piece of code an address is in: a function, or its cold part. False when no FDE covers it. */
bool unwind_function_range(const struct unwind *u, uint64_t vaddr, uint64_t *ret_start, uint64_t *ret_end);
/* The same with the personality; NULL when no FDE covers it. */
const struct unwind_function *unwind_function_at(const struct unwind *u, uint64_t vaddr);

static inline void unwind_closep(struct unwind **u)
{
	unwind_close(*u);
	*u = NULL;
}

#endif
