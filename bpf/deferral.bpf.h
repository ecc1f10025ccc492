/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef DEFERRAL_BPF_H
#define DEFERRAL_BPF_H

#include "connection.bpf.h"

/*
 * An event loop may put a request off: a timer, or an answer to something we do not see, goes on with it, in whichever turn
 * of the loop and after whatever was read in it. While a thread has requests that were read whole and left without
 * anything done for them, what it asks for may be for one of those: there is no link then. They count until they are
 * answered.
 *
 * Some read all requests there are before they do anything for the first (HAProxy). Of a request with a body it is not known here
 * whether it was read whole: it counts, too, until the thread comes back to it for the rest. Of programs that never leave one
 * that was read whole (SH_PROCESS_AT_ONCE) it does not: such a one has no more than a part of it.
 */

#define DEFERRAL_MAX_NS (60 * 1000000000ULL) /* an answer may be missed: a Unix socket's end is not seen */

static __always_inline bool deferring(const struct sh_context *c, u64 now_ns)
{
	return c->deferred && now_ns - c->deferred_ns < DEFERRAL_MAX_NS;
}

/* May what the thread does now be for what it last read? */
static __always_inline bool base_is_sure(const struct sh_context *c, u64 now_ns)
{
	u32 link = c->base_flags >> 8;
	if (!c->base.span_id || c->base_flags & SH_BASE_ANSWERED)
		return false;
	return (link != SH_LINK_THREAD && link != SH_LINK_CONNECTION) || !deferring(c, now_ns);
}

/* The thread turns to something else. */
SUBPROGRAM int base_left(struct sh_context *c, u64 key)
{
	u64 sock = c->base_sock;
	struct sh_conn *conn = sock ? bpf_map_lookup_elem(&conns, &sock) : NULL;

	c->base_sock = 0;
	if (!conn || conn->self.span_id != c->base.span_id || conn->flags & SH_CONN_FLAG_ANSWERED)
		return 0;
	if (conn->flags & SH_CONN_FLAG_DEFERRED || conn->reader != key)
		return 0;
	conn->flags |= SH_CONN_FLAG_DEFERRED;
	c->deferred_ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&c->deferred, 1);
	return 0;
}

/* It comes back to a request for the rest of it. */
static __always_inline void base_taken_up(struct sh_context *c, struct sh_conn *conn, struct sock *sk)
{
	if (conn->flags & SH_CONN_FLAG_DEFERRED && c->deferred)
		__sync_fetch_and_add(&c->deferred, -1);
	conn->flags &= ~SH_CONN_FLAG_DEFERRED;
	c->base_sock = (u64)sk;
}

/* Of a request that `c` read. */
static __always_inline void context_answered(struct sh_context *c, struct sh_conn *conn)
{
	bool deferred = conn->flags & SH_CONN_FLAG_DEFERRED;

	conn->reader = 0;
	conn->flags &= ~SH_CONN_FLAG_DEFERRED;
	if (c && c->open)
		__sync_fetch_and_add(&c->open, -1);
	if (c && deferred && c->deferred)
		__sync_fetch_and_add(&c->deferred, -1);
}

/* It is answered, or never will be. */
SUBPROGRAM int conn_answered(struct sh_conn *conn)
{
	u64 key = conn->reader;
	context_answered(key ? bpf_map_lookup_elem(&contexts, &key) : NULL, conn);
	return 0;
}

/* A thread connects, for what it works for. */
static __always_inline void conn_connects(struct sh_conn *conn, u64 key)
{
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	u64 now_ns = bpf_ktime_get_ns();
	if (conn->family != AF_UNIX) /* of which it is not seen when they are connected */
		conn->connect = now_ns;
	conn->connect_tid = (u32)key;
	conn->flags |= SH_CONN_FLAG_CONNECT;
	if (!c)
		return;
	c->base_sock = 0;
	if (base_is_sure(c, now_ns))
		conn->resume = c->base;
	else if ((c->loops || c->deferred) && c->open) /* of a thread's first turn it is not seen that it loops */
		conn->talk |= SH_TALK_UNKNOWN;
}

#endif
