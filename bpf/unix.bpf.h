/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef UNIX_BPF_H
#define UNIX_BPF_H

#include "connection.bpf.h"

/*
 * Which request that is read from a Unix socket is which one that was written to its other end. There is no sequence
 * number, and either end's system call may return first; but of the two ends one can see the other, and HTTP has one
 * request at a time under way. The asking end counts its requests as their system calls return. Whoever reads a request
 * finds there either a request that is not answered yet: that is the one; or an answer that was read: then the system
 * call that wrote this one has not returned yet, and it will get the next number.
 *
 * Requests written before the last one was answered make this ambiguous: from then on no number is given.
 */

/* NULL: its other end is not a chosen process's, or was not used since it is one. */
static __always_inline struct sh_conn *unix_other_conn(struct sock *sk)
{
	struct sock *other = unix_other(sk);
	u64 key = (u64)other, ino = unix_ino(other);
	struct sh_conn *conn = ino ? bpf_map_lookup_elem(&conns, &key) : NULL;
	/* Else of one that had this address before. */
	return conn && conn->family == AF_UNIX && conn->ino == ino ? conn : NULL;
}

/* A request was read: its number, 0: not known. */
static __always_inline u32 unix_request_read(struct sock *sk, struct sh_conn *conn)
{
	struct sh_conn *asker = unix_other_conn(sk);
	if (!asker)
		return 0;
	u32 asked = *(volatile u32 *)&asker->asked;
	u32 number = SH_ASKED_NUMBER(asked) + !(asked & SH_ASKED_UNANSWERED);
	if (asked & SH_ASKED_AMBIGUOUS || number == SH_ASKED_NUMBER(conn->asked)) /* as the one before: not both */
		return 0;
	conn->asked = SH_ASKED(number);
	return number;
}

static __always_inline u32 unix_request_written(struct sock *sk, struct sh_conn *conn)
{
	u32 before = conn->asked;
	u32 flags = before & SH_ASKED_AMBIGUOUS;
	if (before & SH_ASKED_UNANSWERED) { /* unless its reader has it already */
		struct sh_conn *reader = unix_other_conn(sk);
		if (!reader || SH_ASKED_NUMBER(reader->asked) != SH_ASKED_NUMBER(before))
			flags = SH_ASKED_AMBIGUOUS;
	}
	u32 number = SH_ASKED_NUMBER(before) + 1;
	*(volatile u32 *)&conn->asked = SH_ASKED(number) | SH_ASKED_UNANSWERED | flags;
	return flags ? 0 : number;
}

static __always_inline void unix_answer_read(struct sh_conn *conn)
{
	*(volatile u32 *)&conn->asked = conn->asked & ~SH_ASKED_UNANSWERED;
}

#endif
