/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef CONTEXT_BPF_H
#define CONTEXT_BPF_H

#include "emit.bpf.h"
#include "spanhound/ids.h"

/* A BPF-to-BPF call: verified once, not at each caller. Not every object that includes one uses it. */
#define SUBPROGRAM static __attribute__((noinline, unused))
/* A global function is verified once for all its callers, on its own, unless the compiler inlines it after all. */
#define GLOBAL __attribute__((noinline))

/* The execution context: which trace this thread is in and which probed calls are open in it.
 * A context belongs to the thread that runs, so nothing in it needs an atomic. */

/* 0: of a process outside of the PID namespace that is looked at. The branch is decided when the program is loaded. */
static __always_inline u64 execution_key(void)
{
	struct bpf_pidns_info in_ns = {};
	if (!settings.pid_ns_ino)
		return bpf_get_current_pid_tgid();
	if (bpf_get_ns_current_pid_tgid(settings.pid_ns_dev, settings.pid_ns_ino, &in_ns, sizeof(in_ns)))
		return 0;
	return (u64)in_ns.tgid << 32 | in_ns.pid;
}

static __always_inline u64 random_u64(void)
{
	return (u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
}

static __always_inline u64 context_new_id(struct sh_context *c)
{
	return sh_next_id(&c->rng);
}

/* NULL when there is no room: *ret_reason is the drop reason. */
static __always_inline struct sh_context *context_create(u64 key, u32 *ret_reason)
{
	u32 zero = 0;
	struct blank *blank = bpf_map_lookup_elem(&blanks, &zero);

	*ret_reason = SH_DROP_no_memory;
	if (!blank)
		return NULL;
	long err = bpf_map_update_elem(&contexts, &key, &blank->context, BPF_NOEXIST);
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c) {
		*ret_reason = err == -E2BIG ? SH_DROP_threads_full : SH_DROP_no_memory;
		return NULL;
	}
	c->rng = random_u64();
	emit_process(SH_EV_THREAD, key >> 32, (u32)key, 0);
	return c;
}

/* NULL when this process is not chosen, or with the call counted when there is no room. */
SUBPROGRAM struct sh_context *context_make(u64 key, u32 func)
{
	u32 reason;

	if (!process_chosen(key >> 32))
		return NULL;
	struct sh_context *c = context_create(key, &reason);
	if (!c) {
		__sync_fetch_and_add(&shared.seen, 1);
		count_drop(func, reason);
	}
	return c;
}

/* What the thread does from here on, it does for this span. */
static __always_inline void context_work_for(struct sh_context *c, const struct sh_span_context *span, u32 link)
{
	c->base = *span;
	c->base_depth = c->depth;
	c->base_flags = SH_BASE_LINK(link);
}

/* The first span of a new trace. */
static __always_inline void context_start_trace(struct sh_context *c, struct sh_span_context *root, u64 now_ns)
{
	root->trace_hi = (now_ns + shared.unix_minus_mono_ns) / 1000000000ULL << 32;
	root->trace_lo = context_new_id(c);
}

#endif
