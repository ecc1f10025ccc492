/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Work given from one thread to another, as the probe list declares it: who gives saves what it works for under a value that
 * travels with the work (a pointer to the task, say), who takes works for it from then on.
 *
 *   handoff_give   entry of the function that enqueues
 *   handoff_take   entry of the function that gets the work as an argument, or the end of the one that returns it
 *
 * The cookie's low half is the argument that holds the value, 1 to 6; 0: the return value.
 */
#include "capture.bpf.h"

static __always_inline u64 handoff_key(struct pt_regs *regs)
{
	struct registers values;
	registers_read(&values, regs);
	return values.v[bpf_get_attach_cookie(regs) & 7];
}

/* What the thread works for; span_id 0: nothing that is known. */
static __always_inline void given_for(u64 key, struct sh_span_context *ret)
{
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);

	ret->span_id = 0;
	if (!c)
		return;
	c->base_sock = 0; /* not put off, but given on */
	if (c->base.span_id) {
		if (!(c->base_flags & SH_BASE_ANSWERED))
			*ret = c->base;
	} else if (c->depth) {
		*ret = frame_at(c, c->depth - 1)->self;
	}
}

SEC("?uprobe") int handoff_give(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_handoff work = {.tgid = key >> 32, .value = handoff_key(regs)};
	struct sh_span_context span;

	given_for(key, &span);
	if (!span.span_id) { /* the value may have named other work before, which nobody took */
		bpf_map_delete_elem(&handoffs, &work);
		return 0;
	}
	if (bpf_map_update_elem(&handoffs, &work, &span, BPF_ANY))
		__sync_fetch_and_add(&shared.handoffs_full, 1);
	return 0;
}

SEC("?uprobe") int handoff_take(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_handoff work = {.tgid = key >> 32, .value = handoff_key(regs)};
	u32 reason;

	if (!process_chosen(work.tgid))
		return 0;
	struct sh_span_context *span = bpf_map_lookup_elem(&handoffs, &work);
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c && span)
		c = context_create(key, &reason);
	if (!c)
		return 0;
	if (!span) { /* work that nobody gave: it is not the last one's */
		c->base.span_id = 0;
		return 0;
	}
	context_work_for(c, span, SH_LINK_HANDOFF);
	bpf_map_delete_elem(&handoffs, &work);
	return 0;
}
