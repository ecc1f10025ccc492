/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_PLACEMENT_H
#define BINARY_PLACEMENT_H

#include "binary/cost.h"
#include "binary/graph.h"
#include "binary/targets.h"

/* Where in a function its entry probe goes. Not always at the symbol: what a probe costs is decided by the instruction
 * under it (cost.h), and some instructions further on there is often one that is 12-30 times cheaper.
 *
 * The site is equal to the entry for everything a probe can read there: the registers asked for and the stack pointer
 * hold what they held at the entry, no memory was written but the function's own frame below the stack pointer (so
 * stack arguments, the return address on top of the stack and what arguments point to are the same), and whoever is at
 * the site came straight from the entry, exactly once: nothing jumps to the site or between entry and site, neither in
 * the function nor from outside. A return probe may be set there for the same reason. What may differ: flags, rax, r10,
 * r11, vector registers, and callee-saved registers. A load that faults between the two is a call seen at the entry and
 * not at the site.
 *
 * Only x86-64 moves; elsewhere the site is the entry. */
#define PLACEMENT_MAX_INSNS 8

#define PLACEMENT_KEEP_SYSV \
	(GPR_BIT(GPR_RDI) | GPR_BIT(GPR_RSI) | GPR_BIT(GPR_RDX) | GPR_BIT(GPR_RCX) | GPR_BIT(GPR_R8) | GPR_BIT(GPR_R9))
/* Go's ABIInternal: nine argument registers, closure context, g. */
#define PLACEMENT_KEEP_GO                                                                                  \
	(PLACEMENT_KEEP_SYSV | GPR_BIT(GPR_RAX) | GPR_BIT(GPR_RBX) | GPR_BIT(GPR_R10) | GPR_BIT(GPR_R11) | \
	 GPR_BIT(GPR_R14))

struct placement_options {
	struct cost_kernel kernel;
	uint16_t keep;	   /* exactly the registers (GPR_BIT) the probe reads: 0 for none; PLACEMENT_KEEP_* for all */
	uint8_t max_insns; /* walked over at most; 0: PLACEMENT_MAX_INSNS */
	/* Of the whole text section. NULL: unknown who jumps in from outside, so every site is the entry. */
	const struct code_targets *targets;
	/* Scratch for functions with indirect jumps (which may be switches that jump back to their beginning).
	 * NULL: those are not moved. */
	struct graph *graph;
};

enum placement_reason {
	PLACEMENT_AT_ENTRY_CHEAP, /* nothing to gain */
	PLACEMENT_MOVED,
	/* at the entry, because the way to a cheaper site is barred by: */
	PLACEMENT_STACK,       /* the stack pointer moves */
	PLACEMENT_ARGUMENT,    /* an argument register changes */
	PLACEMENT_MEMORY,      /* memory is written */
	PLACEMENT_TARGET,      /* something jumps there */
	PLACEMENT_CONTROL,     /* control leaves first: return, indirect jump or call, system call */
	PLACEMENT_UNKNOWN,     /* an instruction whose effects are not known */
	PLACEMENT_LIMIT,       /* max_insns */
	PLACEMENT_END,	       /* end of the function */
	PLACEMENT_INDIRECT,    /* the function's indirect jumps might lead there */
	PLACEMENT_UNDECODABLE, /* not all of the function is instructions */
	PLACEMENT_NO_SIZE,     /* size unknown */
	PLACEMENT_NO_TARGETS,  /* options.targets missing */
	PLACEMENT_ARCH,
};

struct placement {
	uint32_t offset;		/* of the site, bytes from the function's address */
	enum placement_cost cost;	/* at the site; COST_UNPROBEABLE: there is none, do not attach */
	enum placement_cost entry_cost; /* at the entry, for comparison */
	enum placement_reason reason;
};

/* 0, -ERANGE when the function is not within the window, or -ENOMEM. func_sz 0 means unknown. */
int placement_find(const struct code_window *code, uint64_t func_addr, uint64_t func_sz,
		   const struct placement_options *options, struct placement *ret);

/* "moved", "stack pointer moves", ...: for `functions` and logs. */
const char *placement_reason_name(enum placement_reason reason);

#endif
