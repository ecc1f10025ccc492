/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SYSCALL_BPF_H
#define SYSCALL_BPF_H

#include "kernel.bpf.h"

/* A system call as its exit sees it: the saved registers still hold its number and arguments. */
struct syscall {
	u64 args[4];
	s64 ret;
	u32 what;    /* SH_SYS_* */
	u32 process; /* SH_PROCESS_* */
};

#if defined(__TARGET_ARCH_x86)
static __always_inline u64 syscall_number(struct pt_regs *regs)
{
	return regs->orig_rax;
}

static __always_inline void syscall_args(struct pt_regs *regs, u64 *args)
{
	args[0] = regs->rdi;
	args[1] = regs->rsi;
	args[2] = regs->rdx;
	args[3] = regs->r10;
}
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs___syscall { /* the kernel's, of which user space knows the front alone */
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
} __attribute__((preserve_access_index));

static __always_inline u64 syscall_number(struct pt_regs *regs)
{
	return ((struct pt_regs___syscall *)regs)->syscallno;
}

static __always_inline void syscall_args(struct pt_regs *regs, u64 *args)
{
	struct pt_regs___syscall *r = (void *)regs;
	args[0] = r->orig_x0;
	args[1] = r->regs[1];
	args[2] = r->regs[2];
	args[3] = r->regs[3];
}
#endif

/* For programs that are called within one: the registers as user space left them. */
static __always_inline struct pt_regs *syscall_under_way(void)
{
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

struct user_msghdr { /* of linux/socket.h, to its iovecs */
	u64 name;
	u32 namelen, pad;
	u64 iov, iovlen;
};

#endif
