/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_ENDS_H
#define BINARY_ENDS_H

#include "binary/cost.h"
#include "binary/graph.h"

/* Where a function ends: the instructions behind which its frame is gone. A probe on each of them sees the end of
 * every call without touching the return address, which is what functions need through which an unwinder may pass.
 *
 * At each of them the stack pointer is what it was at the entry (the return address is on top), so an end belongs to
 * the frame with the same stack pointer; where the analysis could not follow the stack, compare before you believe. */
#define ENDS_MAX       1024 /* sites of one function */
#define ENDS_MAX_EXITS 256  /* places outside of it that it jumps to */

enum end_kind {
	END_RETURN,
	END_TAIL_JUMP,	   /* jmp to another function, or to this one's own entry (a call of itself) */
	END_TAIL_INDIRECT, /* jmp through a register or memory */
	/* jcc to another function: a probe on it fires whether it is taken or not. Treat the call as ended at the
	 * target's entry, or do without this function. */
	END_TAIL_CONDITIONAL,
};

struct end_site {
	uint64_t addr;
	uint64_t target; /* of END_TAIL_JUMP and END_TAIL_CONDITIONAL; else 0 */
	enum end_kind kind;
	enum placement_cost cost; /* a return is always single-stepped */
};

enum ends_verdict {
	ENDS_ALL,  /* sites are all ends there are; exceptions and longjmp pass none of them */
	ENDS_NONE, /* never returns */
	/* not provable; culprit says where: */
	ENDS_UNDECODABLE, /* the function is not instructions all through */
	ENDS_FALLS_OUT,	  /* runs on into what follows it */
	ENDS_FAR,	  /* far returns, iret */
	ENDS_SWITCH,	  /* an unread switch, and ends in code that perhaps only it reaches */
	ENDS_UNREACHED,	  /* ends in code that nothing seen reaches: it may be data */
	ENDS_AMBIGUOUS,	  /* an indirect jump that may be a tail call or a switch */
	ENDS_STACK,	  /* the stack is not at its entry depth at an end: no ordinary function */
	ENDS_UNPROBEABLE, /* an end no uprobe can be placed on */
	ENDS_TOO_MANY,	  /* ENDS_MAX, or the function is larger than GRAPH_MAX_SZ */
	ENDS_BAD_RANGE,
};

struct ends {
	VEC(struct end_site) sites; /* valid with ENDS_ALL */
	enum ends_verdict verdict;
	uint64_t culprit;
	/* With ENDS_STACK, where the jump at the culprit goes, or 0: most likely a .cold piece of the same function.
	 * Who can find out its size adds it to the ranges and asks again. */
	uint64_t outside;
	/* Everywhere outside of the ranges that direct jumps and jump tables lead to, each once, whatever the verdict
	 * (as far as the function could be followed). What among them is no other function is a piece of this one and
	 * has to be among the ranges before ENDS_ALL means all. More than ENDS_MAX_EXITS: ENDS_TOO_MANY. */
	VEC(uint64_t) exits;
	bool conditional; /* there are END_TAIL_CONDITIONAL sites */
};

/* Finds the ends of a function (graph.h says what to give: the more, the more functions are provable: .cold pieces,
 * landing pads, .rodata for switches). `g` is scratch, kept by the caller across calls. 0 or -ENOMEM; `ret` is valid
 * when zeroed and may be used again and again. */
int ends_find(struct graph *g, const struct graph_input *in, const struct cost_kernel *kernel, struct ends *ret);
void ends_release(struct ends *e);

/* "all", "falls out", ... */
const char *ends_verdict_name(enum ends_verdict verdict);

#endif
