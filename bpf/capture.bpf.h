/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef CAPTURE_BPF_H
#define CAPTURE_BPF_H

#include "frames.bpf.h"

/* Obeys struct sh_spec: decides whether a call is wanted and copies the values asked for. Whatever is specific to the probe
 * is data; there is no generated code. */

/* v[0] is the return value, v[1] to v[6] the integer arguments. Copied once: the verifier does not allow a computed offset
 * into the registers themselves. */
struct registers {
	u64 v[8];
};

static __always_inline void registers_read(struct registers *r, struct pt_regs *regs)
{
	r->v[0] = PT_REGS_RC(regs);
	r->v[1] = PT_REGS_PARM1(regs);
	r->v[2] = PT_REGS_PARM2(regs);
	r->v[3] = PT_REGS_PARM3(regs);
	r->v[4] = PT_REGS_PARM4(regs);
	r->v[5] = PT_REGS_PARM5(regs);
#if defined(__TARGET_ARCH_x86)
	r->v[6] = regs->r9; /* libbpf has PT_REGS_PARM6 only since 1.2 */
#elif defined(__TARGET_ARCH_arm64)
	r->v[6] = __PT_REGS_CAST(regs)->regs[5];
#endif
	r->v[7] = 0;
}

/* Global functions, verified once. Each comes twice: the second may sleep until a page of the target is there. */

/* Does the spec's condition hold? */
int when_holds(struct registers *regs, struct sh_spec *spec);
int when_holds_sleepable(struct registers *regs, struct sh_spec *spec);
/* Appends the captures [from, to) to the record of `len` bytes at arena offset `off`; returns the record's new length. */
u32 captures_read(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 from_and_to, u64 off_and_len);
u32 captures_read_sleepable(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 from_and_to,
			    u64 off_and_len);
#define OFF_AND_LEN(off, len) ((u64)(len) << 32 | (off))

/* rate: so many calls in each second of the monotonic clock, over all threads. */
static __always_inline bool rate_allows(u32 func, u32 per_sec)
{
	struct sh_func *f = bpf_map_lookup_elem(&functions, &func);
	if (!f)
		return false;
	u64 second = bpf_ktime_get_ns() / 1000000000ULL;
	u64 window = f->rate_window;
	if (window != second && __sync_val_compare_and_swap(&f->rate_window, window, second) == window)
		f->rate_used = 0;
	return __sync_fetch_and_add(&f->rate_used, 1) < per_sec;
}

/* SH_MAX_DROPS: the call is wanted; else the reason why not. */
static __always_inline u32 spec_decides(struct registers *regs, u32 func, struct sh_spec *spec, bool sleepable)
{
	if (spec->cond_cnt && !(sleepable ? when_holds_sleepable(regs, spec) : when_holds(regs, spec)))
		return SH_DROP_when;
	if (spec->sample_below && bpf_get_prandom_u32() >= spec->sample_below)
		return SH_DROP_sample;
	if (spec->rate_per_sec && !rate_allows(func, spec->rate_per_sec))
		return SH_DROP_rate;
	return SH_MAX_DROPS;
}

static __always_inline u32 capture_range(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 from,
					 u32 to, u64 off_and_len, bool sleepable)
{
	return sleepable ? captures_read_sleepable(regs, a, spec, from << 16 | to, off_and_len)
			 : captures_read(regs, a, spec, from << 16 | to, off_and_len);
}

#endif
