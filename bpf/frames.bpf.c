/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rare paths of the frame stack: calls left without a return, signal stacks, tail calls. */
#include "frames.bpf.h"

/* Loops call a global function for each frame: the verifier then walks its body once, not once per turn. */

static __always_inline u32 unwound_flags(struct sh_context *c)
{
	u32 flags = SH_CALL_UNWOUND;
	if (c->exc.object && c->depth <= c->exc.depth)
		flags |= SH_CALL_EXCEPTION;
	return flags;
}

GLOBAL int frame_end(struct sh_context *c, struct sh_arena *a, struct call_end *end)
{
	if (!c || !end || !c->depth)
		return 0;
	struct sh_frame *f = frame_at(c, c->depth - 1);
	if (settings.specs && f->flags & SH_FRAME_SPEC) {
		struct sh_spec *spec = func_spec(f->func);
		if (spec && end->ns - f->start_ns < spec->min_duration_ns) {
			frame_drop(c, end->key, SH_DROP_min_duration);
			return 0;
		}
	}
	struct call_end how = *end;
	if (!how.flags)
		how.flags = unwound_flags(c);
	frame_pop(c, a, &how);
	return 0;
}

GLOBAL int frames_unwind(struct sh_context *c, struct sh_arena *a, struct call_end *end, u32 keep)
{
	if (!c || !end)
		return 0;
	for (u32 n = 0; n < SH_MAX_FRAMES; n++) {
		if (c->depth <= keep)
			break;
		frame_end(c, a, end);
	}
	return 0;
}

GLOBAL int frames_end_tails(struct sh_context *c, struct sh_arena *a, struct call_end *end, u64 sp)
{
	if (!c || !end)
		return 0;
	for (u32 n = 0; n < SH_MAX_FRAMES; n++) {
		if (!c->depth)
			break;
		struct sh_frame *f = frame_at(c, c->depth - 1);
		if (f->sp != sp || !(f->flags & SH_FRAME_TAIL))
			break;
		frame_end(c, a, end);
	}
	return 0;
}

int frame_discard(struct sh_context *c, u64 key, u32 reason);
GLOBAL int frame_discard(struct sh_context *c, u64 key, u32 reason)
{
	if (c && c->depth)
		frame_drop(c, key, reason);
	return 0;
}

GLOBAL int frames_drop_all(struct sh_context *c, u64 key, u32 reason)
{
	if (!c)
		return 0;
	for (u32 n = 0; n < SH_MAX_FRAMES; n++) {
		if (!c->depth)
			break;
		frame_discard(c, key, reason);
	}
	return 0;
}

/* Does the word at `sp` return into the return probe trampoline? Then the function there was entered by a jump from one
 * that holds a return instance: both are open. */
static __always_inline bool returns_to_trampoline(u64 sp)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	u64 trampoline = BPF_CORE_READ(t, mm, uprobes_state.xol_area, vaddr);
	u64 word = 0;
	if (!trampoline || bpf_probe_read_user(&word, sizeof(word), (void *)sp))
		return false;
	return word == trampoline;
}

#define ALIVE_ALTSTACK	 (1 << 0) /* the function runs on an alternate stack */
#define ALIVE_TRAMPOLINE (1 << 1) /* returns_to_trampoline() */

int frame_alive(struct sh_context *c, u32 i, u64 sp, u32 how);
GLOBAL int frame_alive(struct sh_context *c, u32 i, u64 sp, u32 how)
{
	if (!c)
		return 0;
	struct sh_frame *f = frame_at(c, i);
	bool altstack = how & ALIVE_ALTSTACK, was_altstack = f->flags & SH_FRAME_ALTSTACK;
	if (altstack != was_altstack)
		return altstack; /* the interrupted stack lives, wherever it lies; a handler's is over */
	if (f->sp != sp)
		return f->sp > sp;
	/* Entered by a jump from that very frame, or called again from where it was called. */
	return f->flags & SH_FRAME_TAIL || (f->flags & SH_FRAME_RETURN && how & ALIVE_TRAMPOLINE);
}

GLOBAL u32 frames_alive(struct sh_context *c, u64 sp, u32 altstack)
{
	if (!c)
		return 0;
	u32 keep = c->depth;
	u32 how = (altstack ? ALIVE_ALTSTACK : 0) | (returns_to_trampoline(sp) ? ALIVE_TRAMPOLINE : 0);
	for (u32 n = 0; n < SH_MAX_FRAMES; n++) {
		if (!keep || frame_alive(c, keep - 1, sp, how))
			break;
		keep--;
	}
	return keep;
}

/* The largest step of the stack pointer that still counts as one stack: beyond it the thread changed stacks.
 * The default RLIMIT_STACK of Linux (_STK_LIM). */
#define SAME_STACK_SPAN (8ULL << 20)

GLOBAL u32 frames_settle(struct sh_context *c, struct sh_arena *a, u64 key, u64 sp)
{
	if (!c || !c->depth)
		return 0;
	bool altstack = on_alternate_stack(sp);
	u32 keep = frames_alive(c, sp, altstack);
	struct sh_frame *top = frame_at(c, c->depth - 1);
	if (keep < c->depth && !altstack && !(top->flags & SH_FRAME_ALTSTACK) && sp - top->sp > SAME_STACK_SPAN) {
		frames_drop_all(c, key, SH_DROP_stack_switch);
		return 0;
	}
	struct call_end end = {.key = key, .ns = bpf_ktime_get_ns()};
	frames_unwind(c, a, &end, keep);
	return altstack;
}

enum { FIND_ABOVE, FIND_HERE, FIND_NONE };

int frame_find_at(struct sh_context *c, u32 i, u64 sp, u32 func);
GLOBAL int frame_find_at(struct sh_context *c, u32 i, u64 sp, u32 func)
{
	if (!c)
		return FIND_NONE;
	struct sh_frame *f = frame_at(c, i);
	if (f->sp == sp && f->func == func)
		return FIND_HERE;
	return f->sp > sp && !(f->flags & SH_FRAME_ALTSTACK) ? FIND_NONE : FIND_ABOVE;
}

GLOBAL u32 frame_find(struct sh_context *c, u64 sp, u32 func)
{
	if (!c)
		return 0;
	u32 i = c->depth;
	for (u32 n = 0; n < SH_MAX_FRAMES; n++) {
		if (!i)
			break;
		int found = frame_find_at(c, i - 1, sp, func);
		if (found != FIND_ABOVE)
			return found == FIND_HERE ? i : 0;
		i--;
	}
	return 0;
}
