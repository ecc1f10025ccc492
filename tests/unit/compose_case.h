/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMPOSE_CASE_H
#define COMPOSE_CASE_H

#include "spanhound/carry.h"
#include "spanhound/sampling.h"

/* What the kernel half's writer of headers is given, and what it wrote (compose.bpf.c). */
struct compose_case {
	__u64 trace_lo; /* as this half began the trace */
	__u64 span_id, parent_id;
	__u32 process, rates, link;
	__u32 block_len;
	struct sh_remote remote;
	struct sh_carried carried;
	struct sh_decision decision;
	__u8 block[4096];
};

/* Ids to decide about, one behind the other. */
struct sampling_batch {
	__u64 rng, threshold;
	__u64 kept, sum; /* of those kept; no two sets of them have the same but by chance */
	__u32 cnt, pad;
};

#endif
