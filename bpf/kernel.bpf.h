/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef KERNEL_BPF_H
#define KERNEL_BPF_H

/* The kernel types we touch, with only the fields we read; CO-RE finds their real offsets. */

#include <linux/types.h>
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct xol_area {
	unsigned long vaddr; /* of the return probe trampoline too: uprobe_get_trampoline_vaddr() */
};

struct uprobes_state {
	struct xol_area *xol_area;
};

struct super_block {
	u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
};

struct mm_struct {
	struct file *exe_file;
	struct uprobes_state uprobes_state;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
};

struct thread_struct {
	unsigned long fsbase; /* x86 */
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	unsigned long sas_ss_sp;
	unsigned long sas_ss_size;
	struct mm_struct *mm;
	struct signal_struct *signal;
	char comm[16];
	struct thread_struct thread;
};

#pragma clang attribute pop

#endif
