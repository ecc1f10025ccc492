/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEAD_CASE_H
#define HEAD_CASE_H

#include "spanhound/carry.h"
#include "spanhound/forward.h"

/* A head and what was read of it: in both halves, and as the value of the map between them (head.bpf.c). */
struct head_case {
	struct sh_head head;
	struct sh_remote remote;
	struct sh_carry carry;
	struct sh_forward forward;
	__u32 reads, pad;
	__u8 bytes[SH_MAX_HEAD + SH_HEAD_SLACK];
};

#endif
