/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef CONTEXT_BPF_H
#define CONTEXT_BPF_H

#include "emit.bpf.h"

/* A BPF-to-BPF call: verified once, not at each caller. Not every object that includes one uses it. */
#define SUBPROGRAM static __attribute__((noinline, unused))
/* A global function is verified once for all its callers, on its own, unless the compiler inlines it after all. */
#define GLOBAL __attribute__((noinline))

/* The execution context: which trace this thread is in and which probed calls are open in it.
 * A context belongs to the thread that runs, so nothing in it needs an atomic. */

static __always_inline u64 execution_key(void)
{
	return bpf_get_current_pid_tgid();
}

static __always_inline u64 random_u64(void)
{
	return (u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
}

/* splitmix64 (Steele, Lea, Flood 2014): a bijection of its counter, so one thread never repeats an id. */
static __always_inline u64 context_new_id(struct sh_context *c)
{
	u64 z = c->rng += 0x9e3779b97f4a7c15ULL;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	z ^= z >> 31;
	return z ? z : 1;
}

/* NULL when this process is not chosen, or with the call counted when there is no room. */
SUBPROGRAM struct sh_context *context_make(u64 key, u32 func)
{
	u32 zero = 0;
	u32 tgid = key >> 32;

	if (!process_chosen(tgid))
		return NULL;
	struct blank *blank = bpf_map_lookup_elem(&blanks, &zero);
	if (!blank)
		return NULL;
	long err = bpf_map_update_elem(&contexts, &key, &blank->context, BPF_NOEXIST);
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c) {
		__sync_fetch_and_add(&shared.seen, 1);
		count_drop(func, err == -E2BIG ? SH_DROP_threads_full : SH_DROP_no_memory);
		return NULL;
	}
	c->rng = random_u64();
	emit_process(SH_EV_THREAD, tgid, (u32)key, 0);
	return c;
}

/* The first span of a new trace. */
static __always_inline void context_start_trace(struct sh_context *c, struct sh_span_context *root, u64 now_ns)
{
	root->trace_hi = (now_ns + shared.unix_minus_mono_ns) / 1000000000ULL << 32;
	root->trace_lo = context_new_id(c);
}

#endif
