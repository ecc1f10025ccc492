/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_GRAPH_H
#define BINARY_GRAPH_H

#include "base/vec.h"
#include "binary/decode.h"
#include "binary/switch.h"

/* A function followed from its entry along its control flow: which bytes are reached as instructions, how far the
 * stack pointer has moved at each of them, where control leaves.
 *
 * The stack depth is what tells a tail call from a switch: at an end of the function the return address is on top. It
 * is forgotten (GRAPH_UNKNOWN) where paths disagree, which in compiled code happens only behind a call that does not
 * return, and where the stack pointer is computed. */
#define GRAPH_MAX_SZ	 (1u << 20) /* bytes of one function, all its ranges together */
#define GRAPH_MAX_RANGES 8
#define GRAPH_MAX_TABLE	 4096 /* entries of one jump table */
#define GRAPH_MAX_OPEN	 1024 /* switches of unknown length in one function */
#define GRAPH_MAX_EXITS	 256  /* table_exits kept; a switch may also have been read wrongly */
#define GRAPH_UNKNOWN	 INT32_MIN

struct graph_range {
	uint64_t addr;
	uint64_t sz;
};

struct graph_input {
	const struct code_window *code;
	const struct graph_range *ranges; /* the function first, then its .cold and .part pieces */
	size_t range_cnt;
	const uint8_t *const *bytes; /* of each range; NULL: all are within `code`, which else only says `arch` */
	/* There may be pieces that are not among the ranges, for nothing names them (a stripped file): a switch that
	 * cannot be read may lead there. */
	bool maybe_split;
	const uint64_t *entries; /* reached from nowhere in the code: landing pads of exceptions. May be NULL. */
	size_t entry_cnt;
	const struct code_window *data; /* where jump tables lie (.rodata). May be NULL: switches stay unresolved. */
	size_t data_cnt;
	/* Does the function at `target` never return? And the one whose address the word at `slot` holds (of an entry
	 * of the GOT, called without PLT)? NULL: unknown, which costs precision only. */
	bool (*noreturn)(void *ctx, uint64_t target);
	bool (*noreturn_slot)(void *ctx, uint64_t slot);
	void *ctx;
};

enum graph_jump {
	JUMP_NOT_INDIRECT,
	JUMP_SWITCH, /* its table was read */
	/* Its table was read, but nothing in the code says how long it is (a match over all there is has no default):
	 * up to where it cannot go on. That may be too far, never too short, unless it leads to pieces not known. */
	JUMP_OPEN_SWITCH,
	JUMP_UNRESOLVED, /* stays in the function, by its form or its stack depth, but where to is not known */
	JUMP_TAIL_CALL,	 /* leaves the function */
	JUMP_AMBIGUOUS,
};

struct graph_insn {
	struct insn insn;
	int32_t depth; /* stack pointer less its value at entry, <= 0, before the instruction; or GRAPH_UNKNOWN */
	uint8_t jump;  /* enum graph_jump */
	bool reached;  /* along the flow; else decoded one after the other in a gap that is not padding */
};

enum graph_fault {
	GRAPH_WHOLE,
	GRAPH_BAD_RANGE, /* no bytes, or outside of the window */
	GRAPH_TOO_LARGE,
	GRAPH_UNDECODABLE, /* the flow reaches bytes that are no instruction */
	GRAPH_OVERLAP,	   /* two flows disagree where instructions begin */
	GRAPH_FALLS_OUT,   /* runs on behind its last byte */
	GRAPH_FAR,	   /* far jump or return */
};

struct graph_open { /* private: a switch whose table is read entry by entry */
	struct switch_table table;
	uint64_t bound; /* the nearest address behind the table's that the function names */
	uint32_t slot;
	uint8_t flags;
	bool ended;
};

struct graph_slot;
struct graph {
	VEC(struct graph_insn) insns; /* by address within each range, ranges in order */
	enum graph_fault fault;	      /* when not GRAPH_WHOLE, insns is empty and fault_addr says where */
	uint64_t fault_addr;
	bool data_gap;		   /* bytes that no flow reaches are not instructions either */
	VEC(uint64_t) table_exits; /* where jump tables lead outside of the ranges: those switches stay unresolved */
	/* What ended the tables of open switches: no entries, or ones that lead to pieces which have to be added. */
	VEC(uint64_t) table_stops;
	/* private; kept from one function to the next */
	struct graph_slot *slots;
	uint32_t *work;
	VEC(struct graph_open) open;
	VEC(uint64_t) named;
	size_t slot_cap;
	size_t work_cap;
	size_t work_cnt;
};

/* 0 (look at `fault`), or -ENOMEM. A graph may be built again and again; valid when zeroed. */
int graph_build(struct graph *g, const struct graph_input *in);
void graph_release(struct graph *g);

/* Is addr within one of the input's ranges? */
bool graph_inside(const struct graph_input *in, uint64_t addr);

#endif
