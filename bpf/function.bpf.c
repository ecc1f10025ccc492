/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Function spans. One record per call, at its end. The end is seen by a return probe (session or separate) or at the function's own end
 * sites; which, user space decides per function. Programs are thin variants of call_enter() and call_leave():
 *
 *   function_session    uprobe session link: entry and return in one program
 *   function_entry      entry site of a uprobe_multi or perf link; its end is function_return or function_end
 *   function_return     return probe of a uprobe_multi or perf link
 *   function_end        a RET or a tail jump of the function
 *   function_switch     the thread is about to change its stack (swapcontext and its like)
 *   function_longjmp    the thread is about to leave calls by longjmp
 *
 * The *_sleepable variants may wait for a page when they read the target's memory.
 */
#include "capture.bpf.h"

/* Since 6.13; resolved only in the session programs, which older kernels never load. */
extern bool bpf_session_is_return(void) __ksym __weak;

#if defined(__TARGET_ARCH_x86)
#define RETURN_ADDRESS_SZ 8 /* RET took it off the stack */
#else
#define RETURN_ADDRESS_SZ 0 /* it was in the link register */
#endif

enum { CALL_WATCHED, CALL_IGNORED };

/* Entry of a call that was left out: is a tail-called frame waiting for its end? */
static __always_inline int call_ignored(struct sh_context *c, u64 sp)
{
	u32 depth = c->depth;
	if (!depth)
		return CALL_IGNORED;
	struct sh_frame *top = frame_at(c, depth - 1);
	return top->flags & SH_FRAME_TAIL && top->sp == sp ? CALL_WATCHED : CALL_IGNORED;
}

static __always_inline int call_refused(struct sh_context *c, u64 sp, u64 cookie, u32 reason)
{
	count_drop(SH_COOKIE_FUNC(cookie), reason);
	return call_ignored(c, sp);
}

static __always_inline bool call_is_muted(u32 func)
{
	if (shared.winding_up & SH_WINDING_UP)
		return true;
	struct sh_func *f = bpf_map_lookup_elem(&functions, &func);
	return f && f->muted;
}

/* Reads what the probe captures at entry into the arena; the record's head is filled in at the end of the call. */
static __always_inline void frame_capture(struct registers *regs, struct sh_context *c, struct sh_frame *f,
					  struct sh_spec *spec, bool sleepable)
{
	u32 off = c->arena_top;
	if (off > SH_ARENA_SZ - sizeof(struct sh_ev_call))
		return;
	u64 at = OFF_AND_LEN(off, sizeof(struct sh_ev_call));
	u32 len = capture_range(regs, context_arena(c), spec, 0, spec->ret_from, at, sleepable);
	f->record_off = off;
	f->record_len = len;
	c->arena_top = off + len;
}

/* Is there something for the spec to do when the call ends? */
static __always_inline u32 spec_frame_flags(const struct sh_spec *spec)
{
	return spec->min_duration_ns || spec->capture_cnt > spec->ret_from ? SH_FRAME_SPEC : 0;
}

static __always_inline int call_enter(struct pt_regs *regs, bool sleepable)
{
	u64 key = execution_key();
	u64 cookie = bpf_get_attach_cookie(regs);
	u64 sp = PT_REGS_SP(regs);
	u32 altstack = 0;

	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c) {
		c = context_make(key, SH_COOKIE_FUNC(cookie));
		if (!c)
			return CALL_IGNORED;
	}
	if (__builtin_expect(shared.winding_up, 0) && call_is_muted(SH_COOKIE_FUNC(cookie)))
		return call_ignored(c, sp);
	c->seen++;
	if (c->depth) {
		struct sh_frame *top = frame_at(c, c->depth - 1);
		if (top->sp <= sp || top->flags & SH_FRAME_ALTSTACK)
			altstack = frames_settle(c, context_arena(c), key, sp);
	}

	struct sh_spec *spec = NULL;
	struct registers values;
	if (settings.specs && cookie & SH_COOKIE_SPEC) {
		u32 index = SH_COOKIE_SPEC_INDEX(cookie);
		spec = bpf_map_lookup_elem(&specs, &index);
		if (!spec)
			return CALL_IGNORED;
		registers_read(&values, regs);
		u32 reason = spec_decides(&values, SH_COOKIE_FUNC(cookie), spec, sleepable);
		if (reason != SH_MAX_DROPS)
			return call_refused(c, sp, cookie, reason);
	}
	u32 depth = c->depth;
	if (depth >= SH_MAX_FRAMES)
		return call_refused(c, sp, cookie, SH_DROP_stack_full);
	if (cookie & SH_COOKIE_RETURN) {
		/* The kernel would take the frames of the interrupted stack for dead and kill the target at their return. */
		if (altstack)
			return call_refused(c, sp, cookie, SH_DROP_alternate_stack);
		if (c->return_depth >= SH_KERNEL_NEST)
			return call_refused(c, sp, cookie, SH_DROP_return_nesting);
		c->return_depth++;
	}

	struct sh_frame *f = frame_at(c, depth);
	f->func = SH_COOKIE_FUNC(cookie);
	f->sp = sp;
	f->flags = (cookie & SH_COOKIE_RETURN ? SH_FRAME_RETURN : 0) | (altstack ? SH_FRAME_ALTSTACK : 0) |
		   (spec ? spec_frame_flags(spec) : 0);
	f->record_len = 0;
	if (settings.captures && spec && spec->capture_cnt)
		frame_capture(&values, c, f, spec, sleepable);
	f->self.span_id = context_new_id(c);
	u64 now = bpf_ktime_get_ns();
	frame_link(c, f, depth, now);
	f->start_ns = now;
	c->depth = depth + 1;
	if (cookie & SH_COOKIE_ENTRY_ONLY) {
		struct call_end end = {.key = key, .ns = now, .flags = SH_CALL_ENTRY_ONLY};
		frame_pop(c, context_arena(c), &end);
		return CALL_IGNORED;
	}
	return CALL_WATCHED;
}

static __always_inline int spec_finish(struct registers *regs, struct sh_context *c, u64 key, u64 now, bool sleepable)
{
	if (!c || !regs)
		return 0;
	struct sh_frame *f = frame_at(c, c->depth - 1);
	struct sh_spec *spec = func_spec(f->func);
	if (!spec)
		return 0;
	if (now - f->start_ns < spec->min_duration_ns) {
		frame_drop(c, key, SH_DROP_min_duration);
		return 1;
	}
	u32 len = f->record_len;
	if (settings.captures && spec->capture_cnt > spec->ret_from && len >= sizeof(struct sh_ev_call) &&
	    len <= SH_MAX_RECORD)
		f->record_len = capture_range(regs, context_arena(c), spec, spec->ret_from, spec->capture_cnt,
					      OFF_AND_LEN(f->record_off, len), sleepable);
	return 0;
}

/* min_duration and the values read at return: what only probes with a spec have. Twice, because kernels before 6.8 (commit
 * 2afae08c9dcb) verify each global function that a program mentions, also one it cannot reach. */
SUBPROGRAM int frame_finish(struct registers *regs, struct sh_context *c, u64 key, u64 now)
{
	return spec_finish(regs, c, key, now, false);
}

SUBPROGRAM int frame_finish_sleepable(struct registers *regs, struct sh_context *c, u64 key, u64 now)
{
	return spec_finish(regs, c, key, now, true);
}

#if defined(__TARGET_ARCH_x86)
/* Will a conditional jump be taken? Condition codes: Intel SDM volume 1, appendix B. */
static __always_inline bool condition_taken(struct pt_regs *regs, u32 cc)
{
	enum { CF = 1 << 0, PF = 1 << 2, ZF = 1 << 6, SF = 1 << 7, OF = 1 << 11 };
	u64 flags = regs->eflags;
	bool less = !(flags & SF) != !(flags & OF), holds = false;
	switch (cc >> 1) {
	case 0:
		holds = flags & OF;
		break;
	case 1:
		holds = flags & CF;
		break;
	case 2:
		holds = flags & ZF;
		break;
	case 3:
		holds = flags & (CF | ZF);
		break;
	case 4:
		holds = flags & SF;
		break;
	case 5:
		holds = flags & PF;
		break;
	case 6:
		holds = less;
		break;
	case 7:
		holds = less || flags & ZF;
		break;
	}
	return holds != (cc & 1);
}
#else
static __always_inline bool condition_taken(struct pt_regs *regs, u32 cc)
{
	return true;
}
#endif

static __always_inline void call_leave(struct pt_regs *regs, u64 sp, bool sleepable)
{
	u64 now = bpf_ktime_get_ns();
	u64 key = execution_key();
	u64 cookie = bpf_get_attach_cookie(regs);

	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c)
		return;
	if (cookie & SH_COOKIE_CONDITION && !condition_taken(regs, cookie >> SH_COOKIE_CC_SHIFT & 15))
		return;
	if (!c->depth) {
		if (!shared.winding_up)
			__sync_fetch_and_add(&shared.strange_ends, 1);
		return;
	}
	struct sh_frame *f = frame_at(c, c->depth - 1);
	if (f->sp == sp && f->flags & SH_FRAME_TAIL) {
		/* The topmost call jumped into one that was left out: this is that one's end, or its own jump onwards. */
		if (cookie & SH_COOKIE_TAIL)
			return;
	} else if (f->sp != sp || f->func != SH_COOKIE_FUNC(cookie)) {
		u32 found = frame_find(c, sp, SH_COOKIE_FUNC(cookie));
		if (!found) {
			__sync_fetch_and_add(&shared.strange_ends, 1);
			return;
		}
		struct call_end left = {.key = key, .ns = now};
		frames_unwind(c, context_arena(c), &left, found);
		if (!c->depth)
			return;
		f = frame_at(c, c->depth - 1);
	}
	if (cookie & SH_COOKIE_TAIL) {
		f->flags |= SH_FRAME_TAIL;
		return;
	}
	if (c->exc.object && c->depth <= c->exc.depth && f->start_ns < c->exc.thrown_ns)
		c->exc.object = 0; /* a call that was open at the throw ends as usual: it was caught */
	struct call_end end = {.key = key,
			       .ns = now,
			       .ret = PT_REGS_RC(regs),
			       .flags = cookie & SH_COOKIE_JUMP ? SH_CALL_TAIL : SH_CALL_RET};
	bool reported = true;
	if (settings.specs && f->flags & SH_FRAME_SPEC) {
		struct registers values;
		registers_read(&values, regs);
		reported = !(sleepable ? frame_finish_sleepable(&values, c, key, now)
				       : frame_finish(&values, c, key, now));
	}
	if (reported)
		frame_pop(c, context_arena(c), &end);
	/* Callers that jumped here end with it. */
	if (!c->depth)
		return;
	f = frame_at(c, c->depth - 1);
	if (f->sp == sp && f->flags & SH_FRAME_TAIL)
		frames_end_tails(c, context_arena(c), &end, sp);
}

static __always_inline int session(struct pt_regs *regs, bool sleepable)
{
	if (bpf_session_is_return()) {
		call_leave(regs, PT_REGS_SP(regs) - RETURN_ADDRESS_SZ, sleepable);
		return 0;
	}
	return call_enter(regs, sleepable); /* CALL_IGNORED: no return instance is made */
}

SEC("?uprobe") int function_session(struct pt_regs *regs)
{
	return session(regs, false);
}

SEC("?uprobe.s") int function_session_sleepable(struct pt_regs *regs)
{
	return session(regs, true);
}

SEC("?uprobe") int function_entry(struct pt_regs *regs)
{
	call_enter(regs, false);
	return 0;
}

SEC("?uprobe.s") int function_entry_sleepable(struct pt_regs *regs)
{
	call_enter(regs, true);
	return 0;
}

SEC("?uretprobe") int function_return(struct pt_regs *regs)
{
	call_leave(regs, PT_REGS_SP(regs) - RETURN_ADDRESS_SZ, false);
	return 0;
}

SEC("?uretprobe.s") int function_return_sleepable(struct pt_regs *regs)
{
	call_leave(regs, PT_REGS_SP(regs) - RETURN_ADDRESS_SZ, true);
	return 0;
}

SEC("?uprobe") int function_end(struct pt_regs *regs)
{
	call_leave(regs, PT_REGS_SP(regs), false);
	return 0;
}

SEC("?uprobe.s") int function_end_sleepable(struct pt_regs *regs)
{
	call_leave(regs, PT_REGS_SP(regs), true);
	return 0;
}

SEC("?uprobe") int function_switch(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (c)
		frames_drop_all(c, key, SH_DROP_stack_switch);
	return 0;
}

#if defined(__TARGET_ARCH_x86)
/* Where longjmp(env) will put the stack pointer; 0: cannot tell. Both glibc (JB_RSP of sysdeps/x86_64/jmpbuf-offsets.h) and musl
 * (src/setjmp/x86_64) keep it in the seventh word; glibc rotated and xor-ed with the thread's pointer guard
 * (PTR_MANGLE, sysdeps/unix/sysv/linux/x86_64/pointer_guard.h; tcbhead_t.pointer_guard is at fs:0x30). */
static __always_inline u64 longjmp_target(u64 env, u64 sp)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	u64 word = 0, guard = 0;

	if (bpf_probe_read_user(&word, sizeof(word), (void *)(env + 6 * 8)))
		return 0;
	if (word - sp < 1ULL << 40)
		return word;
	u64 fs = BPF_CORE_READ(t, thread.fsbase);
	if (bpf_probe_read_user(&guard, sizeof(guard), (void *)(fs + 0x30)))
		return 0;
	return (word >> 17 | word << 47) ^ guard;
}
#else
static __always_inline u64 longjmp_target(u64 env, u64 sp)
{
	return 0;
}
#endif

SEC("?uprobe") int function_longjmp(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c || !c->depth)
		return 0;
	u64 target = longjmp_target(PT_REGS_PARM1(regs), PT_REGS_SP(regs));
	if (target)
		frames_leave(c, key, frames_alive(c, target - 1, on_alternate_stack(target)), SH_CALL_UNWOUND);
	return 0;
}
