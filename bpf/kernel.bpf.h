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
#include <bpf/bpf_endian.h>
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
	unsigned long s_magic;
	u32 s_dev;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
	void *private_data;
	unsigned int f_flags;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct ns_common {
	unsigned int inum;
};

struct netns_ipv4 {
	unsigned int sysctl_tcp_notsent_lowat;
};

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	u8 bytes[16];
} __attribute__((aligned(4)));

typedef struct {
	s64 counter;
} atomic64_t;

struct sock_common {
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	u16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	int sk_wmem_queued;
	int sk_sndbuf;
	u8 sk_shutdown;
	struct socket *sk_socket;
	void *sk_user_data;
};

struct list_head {
	struct list_head *next;
};

struct sk_buff_head {
	u32 qlen;
};

struct sk_psock { /* of a socket in a map */
	struct sk_buff_head ingress_skb;
	struct list_head ingress_msg;
};

struct unix_sock {
	struct sock sk;
	struct sock *peer;
};

struct tcp_sock {
	u32 rcv_nxt;
	u32 snd_nxt;
	u32 copied_seq;
	u32 write_seq;
	u32 mss_cache;
	u32 notsent_lowat;
	u64 bytes_sent;
};

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
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

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct task_struct {
	struct pid *thread_pid;
	int pid;
	int tgid;
	int exit_code;
	unsigned long sas_ss_sp;
	unsigned long sas_ss_size;
	struct mm_struct *mm;
	struct files_struct *files;
	struct signal_struct *signal;
	char comm[16];
	struct thread_struct thread;
};

struct sk_buff {
	char cb[48]; /* of TCP: struct tcp_skb_cb */
};

struct tcp_skb_cb {
	u32 seq;
	u32 end_seq;
};

struct bpf_sock_ops_kern { /* what a sockops program's context is to the kernel */
	struct sk_buff *skb;
};

struct bpf_iter__tcp {
	struct sock_common *sk_common;
};

#pragma clang attribute pop

#endif
