/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_SAMPLING_H
#define SPANHOUND_SAMPLING_H

#include <linux/types.h>

/* The share of traces that all of Datadog's tracers and the Agent keep for a rate: those whose id, multiplied by this
 * number modulo 2^64, is at most rate x 2^64. One trace is so kept or dropped as a whole, whoever decides: both halves
 * and the services it passes through (dd-trace-py, ddtrace/_trace/sampling_rule.py; Agent,
 * pkg/trace/sampler/sampler.go). */
#define SH_SAMPLING_FACTOR 1111111111111111111ULL

/* A rate as the kernel half can hold it: 0 keeps none, all ones keeps all. The user half makes it
 * (sampling_threshold()). */
#define SH_SAMPLING_NONE 0ULL
#define SH_SAMPLING_ALL	 (~0ULL)

static inline __u64 sh_sampling_hash(__u64 id)
{
	return id * SH_SAMPLING_FACTOR;
}

/* `id`: the lower half of a trace id, or a span id. */
static inline int sh_sampling_keeps(__u64 id, __u64 threshold)
{
	return threshold != SH_SAMPLING_NONE && sh_sampling_hash(id) <= threshold;
}

/* The random value that OpenTelemetry's consistent sampling would have decided by (rv of tracestate's ot= member): by the
 * same hash, turned round, since there a large value is kept. `threshold`: sh_choice.ot_threshold; where rounding has it
 * otherwise, what fits the decision. */
static inline __u64 sh_sampling_random(__u64 id, __u64 threshold, int is_kept)
{
	__u64 random = ~sh_sampling_hash(id) >> 8;
	if (is_kept && random < threshold)
		return threshold;
	if (!is_kept && random >= threshold)
		return threshold ? threshold - 1 : 0;
	return random;
}

/* --- decisions of the kernel half ---------------------------------------------------------------------------------
 *
 * A trace is decided about when its context leaves the process, if not before: in the kernel half then, by rates that it
 * holds for each process. What is known by then is less than at the end: the service, its tags, and, of traces that begin
 * with a request, the name of their first span. A sampling rule that asks for more (a resource, a tag of the span) does not
 * match. */

/* What a trace began with, as far as the kernel half knows. */
enum sh_root {
	SH_ROOT_SERVER, /* a request that was read */
	SH_ROOT_CLIENT, /* one that was written */
	SH_ROOT_OTHER,	/* a probed function, or the process that forked this one */
	SH_ROOTS
};

/* sh_choice.by, sh_decision.by */
#define SH_BY_RULE  (1 << 0)
#define SH_BY_AGENT (1 << 1) /* the rate that the Agent gave */
#define SH_BY_LIMIT (1 << 2) /* of a decision: it was asked whether there were too many, too */
#define SH_BY_US    (1 << 3) /* of a decision: there is one */

/* What a process keeps of the traces that begin in one way. */
struct sh_choice {
	__u64 threshold;
	__u64 rate;	    /* a double, bit by bit: what `threshold` was made of */
	__u64 ot_threshold; /* 56 bits, of rejection (OTEP 235) */
	__u8 by;
	__u8 mechanism; /* N of _dd.p.dm=-N */
	__u8 dm_len;
	__u8 th_len;
	char dm[4];  /* "-3" */
	char th[16]; /* of tracestate's ot= member; th_len 0: there is none */
};

#define SH_NO_LIMIT (~0U)

/* Index 0: of processes beyond the table. The user half fills in the set that is not looked at, then turns to it. */
struct sh_rates {
	__u32 set;			/* 1 or 2: which one counts; 0: none, nothing is decided */
	__u32 limit;			/* traces that a rule keeps in a second; the others are dropped */
	__u64 began_ns, used;		/* the kernel half's */
	struct sh_choice choices[2][4]; /* by enum sh_root */
};

/* About one trace. */
struct sh_decision {
	struct sh_choice choice;
	__s8 priority;
	__u8 by; /* SH_BY_* */
	__u8 pad[6];
};

_Static_assert(sizeof(struct sh_choice) == 48, "ABI");
_Static_assert(sizeof(struct sh_decision) == 56, "ABI");

#endif
