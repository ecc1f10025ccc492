/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef CONNECTION_BPF_H
#define CONNECTION_BPF_H

#include "frames.bpf.h"

/* Connections are the kernel's sockets, not file descriptors: dup, fork and descriptors passed over are the same connection. */

#define AF_UNIX	    1
#define AF_INET	    2
#define AF_INET6    10
#define SOCK_STREAM 1

/* include/net/tcp_states.h */
#define TCP_ESTABLISHED	    1
#define TCP_SYN_SENT	    2
#define TCP_FIN_WAIT1	    4
#define TCP_CLOSE	    7
#define TCP_LAST_ACK	    9

#define ANON_INODE_FS_MAGIC 0x09041934 /* include/uapi/linux/magic.h */

#define S_IFMT		    0170000
#define S_IFSOCK	    0140000

/* Since 6.2: a pointer whose type the verifier believes and that may be read through at no cost. Before: each read is a call. */
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym __weak;
#define TYPED(type, pointer) ((type *)bpf_rdonly_cast((pointer), bpf_core_type_id_kernel(type)))

#define O_NONBLOCK 04000 /* asm-generic/fcntl.h */

/* Reads from it wait in the kernel. */
static __always_inline bool socket_waits(struct sock *sk)
{
	return !(BPF_CORE_READ(sk, sk_socket, file, f_flags) & O_NONBLOCK);
}

static __always_inline bool family_followed(u16 family)
{
	return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

static __always_inline bool socket_of_file_typed(struct file *untyped, struct socket_place *ret)
{
	struct file *file = TYPED(struct file, untyped);
	struct inode *inode = file->f_inode;
	if ((inode->i_mode & S_IFMT) != S_IFSOCK) {
		struct super_block *sb = TYPED(struct super_block, inode->i_sb);
		ret->event = sb->s_magic == ANON_INODE_FS_MAGIC;
		return false;
	}
	struct socket *socket = TYPED(struct socket, file->private_data);
	if (socket->type != SOCK_STREAM)
		return false;
	struct sock *sk = socket->sk;
	if (!sk)
		return false;
	ret->sk = sk;
	ret->family = sk->__sk_common.skc_family;
	ret->ino = inode->i_ino;
	return family_followed(ret->family);
}

static __always_inline bool socket_of_file(struct file *file, struct socket_place *ret)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK) {
		ret->event = BPF_CORE_READ(inode, i_sb, s_magic) == ANON_INODE_FS_MAGIC;
		return false;
	}
	struct socket *socket = BPF_CORE_READ(file, private_data);
	if (BPF_CORE_READ(socket, type) != SOCK_STREAM)
		return false;
	struct sock *sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return false;
	ret->sk = sk;
	ret->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	ret->ino = BPF_CORE_READ(inode, i_ino);
	return family_followed(ret->family);
}

static __always_inline struct file *file_of_fd(u32 fd)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct files_struct *files = t->files;
	if (!files)
		return NULL;
	struct fdtable *table = files->fdt;
	struct file *file = NULL;

	if (fd >= table->max_fds || bpf_probe_read_kernel(&file, sizeof(file), table->fd + fd))
		return NULL;
	return file;
}

/* False: no stream socket of a family we follow. */
static __always_inline bool socket_of_fd(u32 fd, struct socket_place *ret)
{
	struct file *file = file_of_fd(fd);
	if (!file)
		return false;
	return bpf_rdonly_cast ? socket_of_file_typed(file, ret) : socket_of_file(file, ret);
}

/* --- the other end of a Unix socket ------------------------------------------------------------------------------- */

static __always_inline struct sock *unix_other(struct sock *sk)
{
	if (!bpf_core_field_exists(struct unix_sock, peer))
		return NULL;
	return BPF_CORE_READ((struct unix_sock *)sk, peer);
}

/* 0: it is closed, or nobody accepted it yet. */
static __always_inline u64 unix_ino(struct sock *sk)
{
	return sk ? BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino) : 0;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static __always_inline struct sh_conn *conn_get(const struct socket_place *s)
{
	u64 key = (u64)s->sk;
	struct sh_conn *c = bpf_map_lookup_elem(&conns, &key);

	/* The end of a TCP socket is seen, so its address is its own; that of a Unix socket may have been given on. */
	if (c && s->family == AF_UNIX && c->ino != s->ino) {
		bpf_map_delete_elem(&conns, &key);
		return NULL;
	}
	return c;
}

/* On its own, because of the 128 bytes that it takes of the stack. */
SUBPROGRAM struct sh_conn *conn_make(struct sock *sk, u64 ino, u16 family, u32 tgid)
{
	u64 key = (u64)sk;
	struct sh_conn new = {.ino = family == AF_UNIX ? ino : 0, .family = family, .tgid = tgid};

	new.id = __sync_fetch_and_add(&shared.next_conn, 1) + 1;
	if (bpf_map_update_elem(&conns, &key, &new, BPF_NOEXIST))
		__sync_fetch_and_add(&shared.conns_full, 1);
	return bpf_map_lookup_elem(&conns, &key);
}

/* Who is connected with whom, told once. */
static __always_inline void conn_tell(struct sh_conn *c, struct sock *sk, u64 key)
{
	void *ring = ring_here();
	struct sh_ev_conn *e = ring ? bpf_ringbuf_reserve(ring, sizeof(*e), 0) : NULL;
	if (!e) {
		__sync_fetch_and_add(&shared.data_lost, 1);
		return;
	}
	c->flags |= SH_CONN_FLAG_TOLD;
	__builtin_memset(e, 0, sizeof(*e));
	e->hdr.size = sizeof(*e);
	e->hdr.kind = SH_EV_CONN;
	e->hdr.flags = c->flags & SH_CONN_FLAG_CONNECT ? SH_CONN_CONNECT : 0;
	e->conn = c->id;
	e->time_ns = bpf_ktime_get_ns();
	e->tgid = key ? key >> 32 : c->tgid;
	e->tid = (u32)key;
	e->family = c->family;
	e->connect_us = c->connect == (u32)c->connect ? c->connect : 0;
	e->parent = c->resume;
	e->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (c->family == AF_UNIX) {
		*(u64 *)e->local = c->ino;
		*(u64 *)e->remote = unix_ino(unix_other(sk));
	} else {
		e->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
		e->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	}
	if (c->family == AF_INET) {
		BPF_CORE_READ_INTO((u32 *)e->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((u32 *)e->remote, sk, __sk_common.skc_daddr);
	} else if (c->family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&e->remote, sk, __sk_common.skc_v6_daddr);
	}
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline void conn_tell_end(struct sh_conn *c, u32 state, u32 error)
{
	void *ring = ring_here();
	struct sh_ev_close *e = ring ? bpf_ringbuf_reserve(ring, sizeof(*e), 0) : NULL;
	if (!e) {
		__sync_fetch_and_add(&shared.data_lost, 1);
		return;
	}
	e->hdr = (struct sh_ev_hdr){.size = sizeof(*e), .kind = SH_EV_CLOSE};
	e->conn = c->id;
	e->time_ns = bpf_ktime_get_ns();
	e->state = state;
	e->error = error;
	e->number = ++c->number;
	e->pad = 0;
	bpf_ringbuf_submit(e, wakeup_flags());
}

static __always_inline void conn_end(struct sh_conn *c, struct sock *sk, u32 error)
{
	u64 key = (u64)sk;
	if (c->flags & SH_CONN_FLAG_TOLD)
		conn_tell_end(c, SH_CONN_CLOSED, error);
	bpf_map_delete_elem(&conns, &key);
}

#endif
