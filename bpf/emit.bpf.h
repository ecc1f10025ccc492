/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef EMIT_BPF_H
#define EMIT_BPF_H

#include "maps.bpf.h"

/* Records go to the ring of the CPU they are made on. Waking the consumer costs the traced thread microseconds, so a
 * record wakes it only when it said that it sleeps; while records flow it comes by itself every few milliseconds. */

static __always_inline void *ring_here(void)
{
	u32 cpu = bpf_get_smp_processor_id();
	return bpf_map_lookup_elem(&rings, &cpu);
}

static __always_inline u64 wakeup_flags(void)
{
	if (__builtin_expect(shared.consumer_asleep, 0) && __sync_lock_test_and_set(&shared.consumer_asleep, 0))
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* Process events are few and wake at once: a new process is to be attached without delay. */
static __always_inline void emit_process(u16 kind, u32 tgid, u32 tid, u32 other)
{
	void *ring = ring_here();
	struct sh_ev_proc *e = ring ? bpf_ringbuf_reserve(ring, sizeof(*e), 0) : NULL;
	if (!e) {
		__sync_fetch_and_add(&shared.process_events_lost, 1);
		return;
	}
	e->hdr = (struct sh_ev_hdr){.size = sizeof(*e), .kind = kind};
	e->tgid = tgid;
	e->tid = tid;
	e->other = other;
	e->pad = 0;
	e->time_ns = bpf_ktime_get_ns();
	/* Not by its helper, which sk_msg programs have only in newer kernels (not in 6.12). */
	struct task_struct *t = bpf_get_current_task_btf();
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), t->comm);
	bpf_ringbuf_submit(e, kind == SH_EV_THREAD ? wakeup_flags() : BPF_RB_FORCE_WAKEUP);
}

#endif
