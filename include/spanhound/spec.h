/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_SPEC_H
#define SPANHOUND_SPEC_H

/* What one probe of the probe list asks of the kernel half: which values to copy, under which
 * condition, how often. Made by userspace/probe, obeyed by bpf/capture.bpf.h: adding a probe never compiles BPF. */

#include <linux/types.h>

#define SH_MAX_CAPTURES 8
#define SH_MAX_CONDS	8
#define SH_MAX_DEREFS	4
#define SH_MAX_STRING	256 /* longest string or byte capture; sh_capture_spec.max_len <= this */
#define SH_PREFIX_LEN	16  /* longest prefix a string condition compares */
#define SH_MAX_ARGS	6   /* integer argument registers of the System V AMD64 ABI (arm64 has 8) */

enum sh_type {
	SH_I8 = 1,
	SH_I16 = 2,
	SH_I32 = 3,
	SH_I64 = 4,
	SH_U8 = 5,
	SH_U16 = 6,
	SH_U32 = 7,
	SH_U64 = 8,
	SH_BOOL = 9,
	SH_PTR = 10,
	SH_CHAR = 11,
	SH_STRING = 12, /* up to max_len bytes, to the NUL */
	SH_BYTES = 13,	/* max_len bytes, or as many as capture len_from - 1 said if that is fewer */
};

/* How a value is found: v = argument register `arg` (1-based; 0: the return value);
 * for each deref: v = *(u64 *)(v + deref[i]); then
 *   integers: v itself, or with SH_CAP_LOAD the integer of this type at v + offset;
 *   strings, bytes: the memory at v + offset.
 * Integers are 8 bytes in the record, sign- or zero-extended from their type. */
struct sh_capture_spec {
	__u8 arg;
	__u8 type; /* enum sh_type */
	__u8 flags;
	__u8 deref_cnt;
	__u8 len_from; /* SH_BYTES: index + 1 of an earlier integer capture; 0: max_len */
	__u8 pad;
	__u16 max_len;
	__s32 offset;
	__s32 deref[SH_MAX_DEREFS];
};

#define SH_CAP_LOAD   (1 << 0)
#define SH_CAP_HIDDEN (1 << 1) /* only a condition or a length reads it: not in the record */

enum sh_op {
	SH_OP_EQ = 1,
	SH_OP_NE = 2,
	SH_OP_LT = 3, /* signed for SH_I*, unsigned otherwise; likewise the next three */
	SH_OP_LE = 4,
	SH_OP_GT = 5,
	SH_OP_GE = 6,
	SH_OP_MASK = 7,	  /* (value & operand) != 0 */
	SH_OP_PREFIX = 8, /* a string that starts with `prefix` */
	SH_OP_NOT_PREFIX = 9,
};

/* Conditions are a disjunction of conjunctions: conds[i] is and-ed with its predecessor
 * unless `or_before` is set, which opens the next alternative. A value that cannot be read makes its comparison false. */
struct sh_cond {
	__u8 capture; /* index into captures */
	__u8 op;      /* enum sh_op */
	__u8 or_before;
	__u8 prefix_len;
	__u32 pad;
	__u64 operand;
	char prefix[SH_PREFIX_LEN];
};

struct sh_spec {
	__u8 capture_cnt; /* captures[] before ret_from are read at entry, the others (arg == 0) at return */
	__u8 ret_from;
	__u8 cond_cnt;
	__u8 pad[5];
	__u64 min_duration_ns; /* shorter calls are dropped{min_duration}; 0: none */
	__u32 sample_below;    /* a call is kept when a random u32 is below this; 0: no sampling */
	__u32 rate_per_sec;    /* calls kept per second over all threads; 0: no limit */
	struct sh_capture_spec captures[SH_MAX_CAPTURES];
	struct sh_cond conds[SH_MAX_CONDS];
};

_Static_assert(sizeof(struct sh_capture_spec) == 28, "ABI");
_Static_assert(sizeof(struct sh_cond) == 32, "ABI");
_Static_assert(sizeof(struct sh_spec) == 24 + 28 * SH_MAX_CAPTURES + 32 * SH_MAX_CONDS, "ABI");

#endif
