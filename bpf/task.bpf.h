/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef TASK_BPF_H
#define TASK_BPF_H

#include "context.bpf.h"

/*
 * Goroutines: threads run whichever is ready, so what is worked for belongs to the goroutine, not to the thread. For the
 * time of a system call the thread has its goroutine's work in its context, as if it were its own; between system calls it
 * has none.
 *
 * A goroutine is known by its number: the address of its struct is used again. Go has that address in r14 and in its
 * thread-local slot; C code that Go called, and anything else, is not taken for a goroutine.
 */

/* `g`: address of the goroutine's struct. 0: none (the scheduler's own stack), or not known. */
SUBPROGRAM u64 goroutine_number(u64 g, u32 process)
{
	u64 number = 0;
	u32 offset = SH_PROCESS_GOID(process);

	if (!offset || bpf_probe_read_user(&number, sizeof(number), (void *)(g + offset)))
		return 0;
	return number;
}

#if defined(__TARGET_ARCH_x86)
static __always_inline u64 goroutine_of_call(struct pt_regs *regs)
{
	return regs->r14; /* at a function's entry (Go's ABIInternal) */
}

static __always_inline u64 goroutine_argument(struct pt_regs *regs)
{
	return regs->rax;
}

SUBPROGRAM u64 thread_slot(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u64 slot = 0;

	bpf_probe_read_user(&slot, sizeof(slot), (void *)(t->thread.fsbase - 8));
	return slot;
}

static __always_inline u64 goroutine_of_syscall(struct pt_regs *regs)
{
	u64 g = regs->r14;
	return thread_slot() == g ? g : 0;
}
#else
static __always_inline u64 goroutine_of_call(struct pt_regs *regs)
{
	return 0;
}

static __always_inline u64 goroutine_argument(struct pt_regs *regs)
{
	return 0;
}

static __always_inline u64 goroutine_of_syscall(struct pt_regs *regs)
{
	return 0;
}
#endif

/* Tells one program from the next that the same process executes. */
static __always_inline u32 task_space(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct mm_struct *mm = NULL;

	bpf_core_read(&mm, sizeof(mm), &t->mm);
	return (u32)((u64)mm >> 6) & ~SH_TASK_GIVEN;
}

/* Calls, for the stack's sake: half of what a program may have is the system call's. */
SUBPROGRAM int task_begin(u64 id, u64 key)
{
	struct sh_task task = {.id = id, .tgid = key >> 32, .space = task_space()};
	struct sh_task_work *work = id ? bpf_map_lookup_elem(&tasks, &task) : NULL;
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	u32 reason;

	if (!c && work)
		c = context_create(key, &reason);
	if (!c)
		return 0;
	c->base.span_id = 0;
	if (!work)
		return 0;
	c->base = work->base;
	c->base_depth = c->depth;
	c->base_flags = work->flags;
	return 0;
}

SUBPROGRAM int task_end(u64 id, u64 key)
{
	struct sh_task task = {.id = id, .tgid = key >> 32, .space = task_space()};
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);

	if (!c)
		return 0;
	if (id) {
		struct sh_task_work *work = bpf_map_lookup_elem(&tasks, &task);
		bool works = c->base.span_id && !(c->base_flags & SH_BASE_ANSWERED);
		struct sh_task_work now = {.base = c->base, .flags = c->base_flags};
		if (works && work)
			*work = now;
		else if (works)
			bpf_map_update_elem(&tasks, &task, &now, BPF_ANY);
		else if (work)
			bpf_map_delete_elem(&tasks, &task);
	}
	c->base.span_id = 0;
	return 0;
}

#endif
