/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * C++ exceptions and Rust panics on their way through open frames. The functions hooked are those of the Itanium C++ ABI
 * (section 2.4 and 2.5) and of its level I, which Rust uses too. With them the end of a frame that an exception leaves is known when
 * the unwinder passes it, and so is its type; without them it is noticed at the thread's next event.
 */
#include "frames.bpf.h"

/* struct _Unwind_Exception, Itanium C++ ABI 1.2: 32 bytes in front of the thrown object. */
#define UNWIND_HEADER_SZ 32
#define CLASS_RUST	 0x4d4f5a0052555354ULL /* "MOZ\0RUST", std::panicking's exception class */

static __always_inline struct sh_context *context_with_frames(u64 key)
{
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	return c && c->depth ? c : NULL;
}

static __always_inline void exception_begin(struct sh_context *c, u64 object)
{
	if (c->exc.object && c->exc.object != object)
		c->exc_outer = c->exc;
	c->exc.object = object;
	c->exc.thrown_ns = bpf_ktime_get_ns();
	c->exc.depth = c->depth;
	c->exc.type_len = 0;
}

/* __cxa_throw(void *object, std::type_info *type, void (*destructor)(void *)); the type's name is its second word. */
SEC("?uprobe") int exception_throw(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_context *c = context_with_frames(key);
	u64 name = 0;

	if (!c)
		return 0;
	exception_begin(c, PT_REGS_PARM1(regs));
	bpf_probe_read_user(&name, sizeof(name), (void *)(PT_REGS_PARM2(regs) + 8));
	long n = bpf_probe_read_user_str(c->exc.type, SH_EXC_TYPE_LEN, (void *)name);
	c->exc.type_len = n > 0 ? n - 1 : 0;
	return 0;
}

/* _Unwind_RaiseException(struct _Unwind_Exception *): called by __cxa_throw, too, and by Rust's panic. */
SEC("?uprobe") int exception_raise(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_context *c = context_with_frames(key);
	u64 header = PT_REGS_PARM1(regs), class = 0;

	if (!c)
		return 0;
	if (c->exc.object == header + UNWIND_HEADER_SZ) { /* __cxa_throw told its type, or its memory is used again */
		c->exc.depth = c->depth;
		c->exc.thrown_ns = bpf_ktime_get_ns();
		return 0;
	}
	exception_begin(c, header + UNWIND_HEADER_SZ);
	bpf_probe_read_user(&class, sizeof(class), (void *)header);
	if (class == CLASS_RUST) {
		__builtin_memcpy(c->exc.type, "panic", 5);
		c->exc.type_len = 5;
	}
	return 0;
}

/* struct _Unwind_Context of libgcc (unwind-dw2.c): 18 saved registers on x86-64, then the CFA of the frame unwound last,
 * which is the stack pointer in the frame that is to go on. */
#define UNWIND_CONTEXT_CFA (18 * 8)
#define UNWIND_SPAN	   (8ULL << 20) /* a CFA farther up than _STK_LIM is none: another unwinder's struct */

/* _Unwind_SetIP(struct _Unwind_Context *, ip): a personality routine has found a catch clause or a cleanup, and the unwinder
 * is about to go on there. What that frame had called is gone. */
SEC("?uprobe") int exception_land(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_context *c = context_with_frames(key);
	u64 cfa = 0;

	if (!c || bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(PT_REGS_PARM1(regs) + UNWIND_CONTEXT_CFA)) ||
	    cfa - PT_REGS_SP(regs) > UNWIND_SPAN)
		return 0;
	frames_leave(c, key, frames_alive(c, cfa - 1, on_alternate_stack(cfa)),
		     SH_CALL_UNWOUND | (c->exc.object ? SH_CALL_EXCEPTION : 0));
	return 0;
}

/* __cxa_begin_catch(struct _Unwind_Exception *): whatever lies below the catching function is gone. */
SEC("?uprobe") int exception_catch(struct pt_regs *regs)
{
	u64 key = execution_key();
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);

	if (!c)
		return 0;
	u64 sp = PT_REGS_SP(regs);
	if (c->depth && frame_at(c, c->depth - 1)->sp <= sp)
		frames_leave(c, key, frames_alive(c, sp, on_alternate_stack(sp)), 0);
	if (c->exc.object == PT_REGS_PARM1(regs) + UNWIND_HEADER_SZ) {
		c->exc = c->exc_outer;
		c->exc_outer.object = 0;
	}
	return 0;
}
