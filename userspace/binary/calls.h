/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_CALLS_H
#define BINARY_CALLS_H

#include "binary/graph.h"

/* Can an exception pass through a function's frame? Not when everything it calls, directly or further down, is code
 * that was read here and calls nothing else: then a return probe on it harms nobody. The proof covers calls and tail
 * jumps to known functions, and switches whose tables were read; an indirect call, a call through the PLT (unless the
 * caller vouches for it), a system call (a cancellation or a signal may unwind from there) or one byte that is not
 * understood, and there is no proof.
 *
 * Exceptions thrown out of signal handlers at any instruction (-fnon-call-exceptions) are not covered. */
#define CALLS_MAX_FUNCS 256   /* looked at for one question; beyond that there is no proof */
#define CALLS_MAX_MEMO	65536 /* answers kept; what does not fit is found again, and counted */

struct calls_func {
	const struct code_window *code;
	struct graph_range ranges[GRAPH_MAX_RANGES];
	size_t range_cnt;
};

struct calls_ops {
	/* Fills in the function that begins exactly at addr; false when there is none, or its size is not known. */
	bool (*resolve)(void *ctx, uint64_t addr, struct calls_func *ret);
	/* Known never to unwind, by name (memcpy, strlen, __stack_chk_fail): PLT stubs too. NULL: none. */
	bool (*allowed)(void *ctx, uint64_t addr);
	void *ctx;
	const struct code_window *data; /* for jump tables, see graph.h */
	size_t data_cnt;
};

enum calls_verdict {
	CALLS_NEVER_UNWIND,
	CALLS_INDIRECT,	   /* indirect call or jump */
	CALLS_UNRESOLVED,  /* a target that is no known function, nor allowed */
	CALLS_SYSTEM,	   /* system call, far transfer */
	CALLS_UNDECODABLE, /* not all instructions */
	CALLS_TOO_MANY,	   /* CALLS_MAX_FUNCS */
};

struct calls_memo;
struct calls {
	struct calls_ops ops;
	struct graph graph;
	struct calls_memo *memo; /* open addressing, power of two */
	size_t memo_cap;
	size_t memo_cnt;
	uint64_t memo_full; /* answers not kept */
};

/* Where the proof failed: the instruction, and the function it is in. */
struct calls_why {
	enum calls_verdict verdict;
	uint64_t func;
	uint64_t insn;
};

/* The windows and ctx must outlive it. `ops` is copied. */
void calls_init(struct calls *c, const struct calls_ops *ops);
void calls_release(struct calls *c);

/* 0: proven that nothing unwinds through the function at addr. 1: it may, see *ret_why (may be NULL). -ENOMEM. */
int calls_may_unwind(struct calls *c, uint64_t addr, struct calls_why *ret_why);

#endif
