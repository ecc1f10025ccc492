/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef LEARN_BPF_H
#define LEARN_BPF_H

#include "exchange.bpf.h"

/*
 * Where requests begin on a connection that is older than us. It may be in the middle of a body when it is enrolled, and a body
 * may be made of requests: a log of them that is sent on, say. So the first two are let pass, and only their ends are kept:
 *
 *   a request is written, and nothing but it, to its end, before a final answer comes;
 *   exactly there, after the answer, another one begins, and is answered.
 *
 * If the first was a part of a body, the first answer was that body's, too early. No request has two: what is answered next is
 * no part of it. (Who writes several requests before he reads an answer is not learned from.)
 */

static __always_inline bool learn_is_asked(u32 learned)
{
	return learned & 1;
}

/* Such a connection, as long as it is not known. */
static __always_inline bool learn_wanted(const struct sh_conn *conn)
{
	return !(conn->inject & SH_CONN_INJECT_ENROLLED) && conn->learned != SH_LEARNED_KNOWN;
}

/* Nothing was ever written on it: its first request is still to come. */
static __always_inline bool learn_is_fresh(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	return !BPF_CORE_READ(tp, bytes_sent) && BPF_CORE_READ(tp, write_seq) == BPF_CORE_READ(tp, snd_nxt);
}

/* Of the request under way `size` bytes more are written, at `seq`. False: that one was over before. */
static __always_inline bool learn_more(struct sh_conn *conn, u32 seq, u32 size)
{
	s32 left = conn->next_seq - seq;
	if (!learn_is_asked(conn->learned) || left <= 0)
		return false;
	if (size > (u32)left)
		conn->learned = SH_LEARNED_NOTHING;
	return true;
}

/* May a request that begins at `seq` be the next one to learn from? */
static __always_inline bool learn_may_begin(struct sh_conn *conn, u32 seq, bool begins)
{
	bool right = begins && !learn_is_asked(conn->learned);
	if (!right || conn->next_seq != seq)
		conn->learned = SH_LEARNED_NOTHING;
	return right;
}

/* `len`: of the whole request; 0: that is not known. */
static __always_inline void learn_request(struct sh_conn *conn, u32 seq, u32 len)
{
	conn->learned = len ? conn->learned + 1 : SH_LEARNED_NOTHING;
	conn->next_seq = seq + len;
}

/* A final answer was read; `certain`: it begins where a read began, and its status was seen. */
static __always_inline void learn_answer(struct sh_conn *conn, struct sock *sk, bool certain)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	if (!conn->learned || conn->learned == SH_LEARNED_KNOWN)
		return;
	if (!certain || !learn_is_asked(conn->learned) || BPF_CORE_READ(tp, write_seq) != conn->next_seq) {
		conn->learned = SH_LEARNED_NOTHING;
		return;
	}
	conn->learned++;
	if (conn->learned == SH_LEARNED_KNOWN)
		conn->inject |= SH_CONN_INJECT_NEXT;
}

#endif
