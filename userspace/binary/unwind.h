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

#define UNWIND_LSDA_UNKNOWN INT32_MIN

struct unwind_function {	   /* 16 bytes: browsers have 900,000 of them */
	uint64_t start : 48;	   /* user space has no more */
	uint64_t personality : 16; /* one of enum unwind_personality */
	uint32_t len;		   /* functions beyond 4 GiB do not exist */
	int32_t lsda; /* where its exception tables are, from lsda_base; 0: none; UNWIND_LSDA_UNKNOWN. See lsda.h */
};

struct unwind {
	struct unwind_function *functions; /* by start */
	size_t cnt;
	uint32_t personalities; /* mask over all CIEs of the module */
	bool present; /* there is an .eh_frame; without one nothing is known (Go, -fno-asynchronous-unwind-tables) */
	bool damaged; /* it could not be read to its end, or has more than UNWIND_FUNCTION_MAX */
	uint64_t skipped; /* FDEs not kept: beyond UNWIND_FUNCTION_MAX, empty, outside of code */
	uint64_t lsda_base;
	/* private to lsda.c: .gcc_except_table, read when first asked for */
	struct sv tables;
	uint64_t tables_vaddr;
	void *tables_owned;
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
/* How many of functions[] begin at or before vaddr. */
size_t unwind_function_behind(const struct unwind *u, uint64_t vaddr);

static inline void unwind_closep(struct unwind **u)
{
	unwind_close(*u);
	*u = NULL;
}

#endif
