/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef FRAMES_BPF_H
#define FRAMES_BPF_H

#include "context.bpf.h"

/* The stack of open calls of one thread, and its only invariant: a frame whose stack pointer lies below the thread's
 * is gone from the real stack, however it left (longjmp, exception, a return nobody saw). Stacks grow downward. */

#define FRAME_MASK (SH_MAX_FRAMES - 1)
_Static_assert((SH_MAX_FRAMES & FRAME_MASK) == 0, "masks are the verifier's bounds");

/* How a call ends, for the functions that report it. */
struct call_end {
	u64 key; /* of the thread */
	u64 ns;
	u64 ret;
	u32 flags; /* SH_CALL_* */
};

static __always_inline struct sh_frame *frame_at(struct sh_context *c, u32 i)
{
	return &c->frames[i & FRAME_MASK];
}

static __always_inline u16 frame_flags(const struct sh_frame *f)
{
	return (f->flags & SH_FRAME_ROOT ? SH_CALL_ROOT : 0) | (f->flags & SH_FRAME_CONTINUED ? SH_CALL_CONTINUED : 0);
}

/* Who frame `i`, about to be pushed, is called by; its span id is there already. */
static __always_inline void frame_link(struct sh_context *c, struct sh_frame *f, u32 i, u64 now_ns)
{
	if (c->base.span_id && i <= c->base_depth) {
		f->self.trace_hi = c->base.trace_hi;
		f->self.trace_lo = c->base.trace_lo;
		f->parent_id = c->base.span_id;
		if (c->base_flags & SH_BASE_FORKED)
			f->flags |= SH_FRAME_ROOT | SH_FRAME_CONTINUED;
	} else if (i) {
		struct sh_frame *caller = frame_at(c, i - 1);
		f->self.trace_hi = caller->self.trace_hi;
		f->self.trace_lo = caller->self.trace_lo;
		f->parent_id = caller->self.span_id;
		caller->flags |= SH_FRAME_HAD_CHILD;
		if (i == c->inherited)
			f->flags |= SH_FRAME_ROOT | SH_FRAME_CONTINUED;
	} else {
		context_start_trace(c, &f->self, now_ns);
		f->parent_id = 0;
		f->flags |= SH_FRAME_ROOT;
	}
}

static __always_inline void call_fill(struct sh_ev_call *e, struct sh_context *c, struct sh_frame *f, u32 i,
				      const struct call_end *end)
{
	e->hdr.kind = SH_EV_CALL;
	e->hdr.flags = end->flags | frame_flags(f);
	e->func = f->func;
	e->depth = i;
	e->tgid = end->key >> 32;
	e->tid = (u32)end->key;
	e->trace_hi = f->self.trace_hi;
	e->trace_lo = f->self.trace_lo;
	e->span_id = f->self.span_id;
	e->parent_id = f->parent_id;
	e->start_ns = f->start_ns;
	e->end_ns = end->ns;
	e->ret = end->ret;
}

/* The children of a call that is not reported move up to its parent; user space is told, if it has any. */
static __always_inline void emit_gone(const struct sh_frame *f, u64 key)
{
	if (!(f->flags & SH_FRAME_HAD_CHILD))
		return;
	void *ring = ring_here();
	struct sh_ev_gone *e = ring ? bpf_ringbuf_reserve(ring, sizeof(*e), 0) : NULL;
	if (!e)
		return;
	e->hdr = (struct sh_ev_hdr){.size = sizeof(*e), .kind = SH_EV_GONE, .flags = frame_flags(f)};
	e->func = f->func;
	e->tgid = key >> 32;
	e->trace_hi = f->self.trace_hi;
	e->trace_lo = f->self.trace_lo;
	e->span_id = f->self.span_id;
	e->parent_id = f->parent_id;
	e->time_ns = bpf_ktime_get_ns();
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* NULL when no probe captures values. */
static __always_inline struct sh_arena *context_arena(struct sh_context *c)
{
	return settings.captures ? (struct sh_arena *)(c + 1) : NULL;
}

static __always_inline u32 exception_size(const struct sh_context *c)
{
	return sizeof(struct sh_capture) + ((c->exc.type_len + 7) & 0x78);
}

static __always_inline void exception_fill(struct sh_capture *cap, const struct sh_context *c)
{
	*cap = (struct sh_capture){.index = SH_CAPTURE_EXCEPTION, .type = SH_STRING, .len = c->exc.type_len};
	__builtin_memcpy(cap + 1, c->exc.type, SH_EXC_TYPE_LEN);
}

static __always_inline void emit_plain(struct sh_context *c, struct sh_frame *f, u32 i, const struct call_end *end)
{
	void *ring = ring_here();
	struct sh_ev_call *e = ring ? bpf_ringbuf_reserve(ring, sizeof(*e), 0) : NULL;
	if (!e) {
		count_drop(f->func, SH_DROP_ring_full);
		return;
	}
	e->hdr.size = sizeof(*e);
	call_fill(e, c, f, i, end);
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* A call that an exception ended, with the exception's type. */
SUBPROGRAM void emit_exception(struct sh_context *c, u32 i, const struct call_end *end)
{
	struct {
		struct sh_ev_call call;
		struct sh_capture cap;
		char type[SH_EXC_TYPE_LEN];
	} * e;
	if (!c || !end)
		return;
	struct sh_frame *f = frame_at(c, i);
	void *ring = ring_here();
	e = ring ? bpf_ringbuf_reserve(ring, sizeof(*e), 0) : NULL;
	if (!e) {
		count_drop(f->func, SH_DROP_ring_full);
		return;
	}
	call_fill(&e->call, c, f, i, end);
	e->call.hdr.size = sizeof(e->call) + exception_size(c);
	exception_fill(&e->cap, c);
	bpf_ringbuf_submit(e, wakeup_flags());
}

/* A call with captures: they lie in the arena behind room for its head. */
SUBPROGRAM void emit_record(struct sh_context *c, struct sh_arena *a, u32 i, const struct call_end *end)
{
	if (!c || !a || !end)
		return;
	struct sh_frame *f = frame_at(c, i);
	u32 off = f->record_off & (SH_ARENA_SZ - 1), len = f->record_len;
	if (len > SH_MAX_RECORD - sizeof(struct sh_capture) - SH_EXC_TYPE_LEN)
		len = SH_MAX_RECORD - sizeof(struct sh_capture) - SH_EXC_TYPE_LEN;
	struct sh_ev_call *e = (struct sh_ev_call *)(a->data + off);
	if (end->flags & SH_CALL_EXCEPTION) {
		exception_fill((struct sh_capture *)(a->data + off + len), c);
		len += exception_size(c);
	}
	call_fill(e, c, f, i, end);
	len &= 0xff8;
	if (len > SH_MAX_RECORD)
		len = SH_MAX_RECORD;
	e->hdr.size = len;
	void *ring = ring_here();
	if (!ring || bpf_ringbuf_output(ring, e, len, wakeup_flags()))
		count_drop(f->func, SH_DROP_ring_full);
}

static __always_inline void frame_emit(struct sh_context *c, struct sh_arena *a, u32 i, const struct call_end *end)
{
	struct sh_frame *f = frame_at(c, i);
	if (settings.captures && f->record_len)
		emit_record(c, a, i, end);
	else if (end->flags & SH_CALL_EXCEPTION)
		emit_exception(c, i, end);
	else
		emit_plain(c, f, i, end);
}

static __always_inline void frame_forget(struct sh_context *c, struct sh_frame *f)
{
	if (f->flags & SH_FRAME_RETURN && c->return_depth)
		c->return_depth--;
	if (f->record_len)
		c->arena_top = f->record_off;
}

/* The exchange that began inside a call outlives it. */
static __always_inline void context_shrink(struct sh_context *c, u32 depth)
{
	c->depth = depth;
	if (c->base_depth > depth)
		c->base_depth = depth;
}

/* Takes the topmost frame off and reports it. Frames of the parent process end unreported: they are its calls. */
static __always_inline void frame_pop(struct sh_context *c, struct sh_arena *a, const struct call_end *end)
{
	u32 i = c->depth - 1;
	struct sh_frame *f = frame_at(c, i);

	if (i < c->inherited) {
		c->inherited = i;
		__sync_fetch_and_add(&shared.inherited_ends, 1);
	} else {
		frame_emit(c, a, i, end);
	}
	frame_forget(c, f);
	context_shrink(c, i);
}

static __always_inline void frame_drop(struct sh_context *c, u64 key, u32 reason)
{
	u32 i = c->depth - 1;
	struct sh_frame *f = frame_at(c, i);

	if (i < c->inherited) {
		c->inherited = i;
	} else {
		emit_gone(f, key);
		count_drop(f->func, reason);
	}
	frame_forget(c, f);
	context_shrink(c, i);
}

/* The paths that are not taken at every call: defined once in frames.bpf.c and verified once, as global functions.
 * Such a function takes whole structs and returns a number; the verifier knows nothing of its callers. */

/* frame_pop(), respecting min_duration. end->flags 0: left without a return, by an exception if one is under way. */
int frame_end(struct sh_context *c, struct sh_arena *a, struct call_end *end);
/* Ends the frames above `keep` that way. */
int frames_unwind(struct sh_context *c, struct sh_arena *a, struct call_end *end, u32 keep);
/* Ends the frames that jumped to a function which ended with this stack pointer. */
int frames_end_tails(struct sh_context *c, struct sh_arena *a, struct call_end *end, u64 sp);
int frames_drop_all(struct sh_context *c, u64 key, u32 reason);
/* How many frames are alive when a function is entered with this stack pointer. */
u32 frames_alive(struct sh_context *c, u64 sp, u32 altstack);
/* A function is entered although the topmost frame lies at or below the stack pointer, or on a signal stack. Leaves the
 * frames that are alive. True: this call runs on an alternate stack. */
u32 frames_settle(struct sh_context *c, struct sh_arena *a, u64 key, u64 sp);
/* The frame that the end of `func` at this stack pointer closes: its index + 1, or 0. */
u32 frame_find(struct sh_context *c, u64 sp, u32 func);

/* frames_unwind() now. */
static __always_inline void frames_leave(struct sh_context *c, u64 key, u32 keep, u32 flags)
{
	struct call_end end = {.key = key, .ns = bpf_ktime_get_ns(), .flags = flags};
	frames_unwind(c, context_arena(c), &end, keep);
}

static __always_inline struct sh_spec *func_spec(u32 index)
{
	struct sh_func *f = bpf_map_lookup_elem(&functions, &index);
	u32 spec = f ? f->spec : 0;
	return f ? bpf_map_lookup_elem(&specs, &spec) : NULL;
}

/* sigaltstack(2) of the running thread, as it is while a handler runs on it. */
static __always_inline bool on_alternate_stack(u64 sp)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	u64 base = BPF_CORE_READ(t, sas_ss_sp);
	u64 size = BPF_CORE_READ(t, sas_ss_size);
	return size && sp - base < size;
}

#endif
