/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef IO_BPF_H
#define IO_BPF_H

#include "exchange.bpf.h"

/* The bytes that a system call moved: a copy of the first and the last of them, and where in the stream they are. */

#define RCV_SHUTDOWN 1 /* include/net/sock.h */

struct user_iovec {
	u64 base, len;
};

/* Each a global function: verified once, on its own, whatever is around it. */
int io_piece(struct io *io, struct data_scratch *s, u32 i);
int io_tail(struct io *io, struct data_scratch *s, u32 i, u32 here);
u32 io_copy(struct io *io, struct data_scratch *s, u32 want);

/* The i-th iovec's part of what is to be copied. Nonzero: there is no more. */
GLOBAL int io_piece(struct io *io, struct data_scratch *s, u32 i)
{
	struct user_iovec v;

	if (!io || !s || i >= io->count || io->passed >= io->len ||
	    bpf_probe_read_user(&v, sizeof(v), (void *)(io->data + i * sizeof(v))))
		return 1;
	u32 here = at_most(v.len, io->len - io->passed);
	if (io->copied < io->want && here) {
		u32 n = at_most(here, io->want - io->copied);
		u32 at = io->copied;
		AT_MOST_AGAIN(at, SH_MAX_HEAD);
		AT_MOST_AGAIN(n, SH_MAX_HEAD);
		if (bpf_probe_read_user(s->bytes + at, n, (void *)v.base))
			return 1;
		io->copied += n;
	}
	io->passed += here;
	return 0;
}

/* The last bytes of a call may lie in several pieces of memory: those in the i-th, `here` bytes of which passed. On its
 * own, because io_piece() is as deep in the stack as 6.1 allows. */
GLOBAL int io_tail(struct io *io, struct data_scratch *s, u32 i, u32 here)
{
	struct user_iovec v;
	u32 behind = io ? io->len - io->passed : SH_TAIL_LEN;

	if (!io || !s || behind >= SH_TAIL_LEN ||
	    bpf_probe_read_user(&v, sizeof(v), (void *)(io->data + i * sizeof(v))))
		return 0;
	u32 n = at_most(here, SH_TAIL_LEN - behind);
	u32 at = SH_TAIL_LEN - behind - n;
	AT_MOST_AGAIN(at, SH_TAIL_LEN);
	AT_MOST_AGAIN(n, SH_TAIL_LEN);
	if (n && !bpf_probe_read_user(s->event.tail + at, n, (void *)(v.base + here - n)))
		s->event.tail_len += n;
	return 0;
}

/* Copies the first `want` bytes; when that is not all, the last ones, too. Returns how many were copied. */
GLOBAL u32 io_copy(struct io *io, struct data_scratch *s, u32 want)
{
	if (!io || !s)
		return 0;
	s->event.tail_len = 0;
	want = at_most(io->len, at_most(want, SH_MAX_HEAD));
	if (io->form == SH_SYS_BUFFER) {
		AT_MOST_AGAIN(want, SH_MAX_HEAD);
		if (want && bpf_probe_read_user(s->bytes, want, (void *)io->data))
			return 0;
		if (want < io->len && io->len >= SH_TAIL_LEN &&
		    !bpf_probe_read_user(s->event.tail, SH_TAIL_LEN, (void *)(io->data + io->len - SH_TAIL_LEN)))
			s->event.tail_len = SH_TAIL_LEN;
		return want;
	}
	if (io->form != SH_SYS_VECTOR)
		return 0;
	io->copied = io->passed = 0;
	io->want = want;
	for (u32 i = 0; i < SH_MAX_IOVECS; i++) {
		u32 before = io->passed;
		if (io_piece(io, s, i))
			break;
		if (want < io->len && io->len - io->passed < SH_TAIL_LEN)
			io_tail(io, s, i, io->passed - before);
	}
	if (io->copied >= io->len || s->event.tail_len < SH_TAIL_LEN)
		s->event.tail_len = 0;
	return io->copied;
}

/* Sequence number behind the last byte that was written, of TCP. */
static __always_inline u32 io_written(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	return bpf_rdonly_cast ? TYPED(struct tcp_sock, tp)->write_seq : BPF_CORE_READ(tp, write_seq);
}

/* Sequence number of the first byte of what just passed. */
static __always_inline u32 io_seq(const struct io *io)
{
	if (io->socket.family == AF_UNIX)
		return 0;
	struct sock *sk = io->socket.sk;
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	bool write = io->direction == DIR_WRITE;
	u32 end, behind;
	u8 shutdown;
	if (bpf_rdonly_cast) {
		tp = TYPED(struct tcp_sock, tp);
		end = write ? tp->write_seq : tp->copied_seq;
		behind = tp->rcv_nxt;
		shutdown = TYPED(struct sock, sk)->sk_shutdown;
	} else {
		end = write ? BPF_CORE_READ(tp, write_seq) : BPF_CORE_READ(tp, copied_seq);
		behind = BPF_CORE_READ(tp, rcv_nxt);
		shutdown = BPF_CORE_READ(sk, sk_shutdown);
	}
	/* A FIN takes a number, too: when it came with the bytes, they were read with it. */
	if (!write && shutdown & RCV_SHUTDOWN && end == behind)
		end--;
	return end - io->len;
}

#endif
