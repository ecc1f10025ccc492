/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef EXCHANGE_BPF_H
#define EXCHANGE_BPF_H

#include "deferral.bpf.h"

/* Exchanges: how a request is recognised, and what it is caused by. Begun where its bytes are seen first: in the system
 * call's exit, or before they pass (inject.bpf.c). */

enum { DIR_READ = 1, DIR_WRITE = 2 };

static __always_inline u32 at_most(u64 n, u32 limit)
{
	return n > limit ? limit : n;
}

/* The same to the verifier, which on 6.1 does not see what the compiler does: that it is so already. */
#define AT_MOST_AGAIN(n, limit)        \
	do {                           \
		barrier_var(n);        \
		if ((n) > (limit))     \
			(n) = (limit); \
	} while (0)

enum { LOOKS_UNDECIDED, LOOKS_REQUEST, LOOKS_RESPONSE, LOOKS_OTHER };

#define FOUR(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

/* The methods of HTTP and WebDAV (IANA's registry) by their first four bytes. User space reads the whole line and may say
 * that it is no request after all. */
static __always_inline u32 looks_like(u32 first)
{
	switch (first) {
	case FOUR('H', 'T', 'T', 'P'):
		return LOOKS_RESPONSE;
	case FOUR('G', 'E', 'T', ' '):
	case FOUR('P', 'O', 'S', 'T'):
	case FOUR('P', 'U', 'T', ' '):
	case FOUR('H', 'E', 'A', 'D'):
	case FOUR('D', 'E', 'L', 'E'):
	case FOUR('P', 'A', 'T', 'C'):
	case FOUR('O', 'P', 'T', 'I'):
	case FOUR('C', 'O', 'N', 'N'):
	case FOUR('T', 'R', 'A', 'C'):
	case FOUR('P', 'R', 'O', 'P'):
	case FOUR('M', 'K', 'C', 'O'):
	case FOUR('M', 'O', 'V', 'E'):
	case FOUR('C', 'O', 'P', 'Y'):
	case FOUR('L', 'O', 'C', 'K'):
	case FOUR('U', 'N', 'L', 'O'):
	case FOUR('R', 'E', 'P', 'O'):
	case FOUR('S', 'E', 'A', 'R'):
		return LOOKS_REQUEST;
	}
	return LOOKS_OTHER;
}

/* A function is running that was called for what the thread works for. */
static __always_inline bool is_called(const struct sh_context *c)
{
	return c->depth && (!c->base.span_id || c->depth > c->base_depth);
}

/* Goes an event loop on where it connected for something else than it read last? */
static __always_inline bool resumes(const struct sh_context *c, const struct sh_conn *conn, u32 tid)
{
	return conn->flags & SH_CONN_FLAG_CONNECT && conn->resume.span_id && conn->connect_tid == tid &&
	       conn->resume.span_id != c->base.span_id;
}

/* The span a request written now is caused by, into conn->self's trace. Returns the parent's id. */
static __always_inline u64 exchange_parent(struct sh_context *c, struct sh_conn *conn, struct sh_ev_data *e)
{
	u32 depth = c->depth;
	bool based = base_is_sure(c, e->time_ns);

	if (is_called(c)) {
		struct sh_frame *f = frame_at(c, depth - 1);
		f->flags |= SH_FRAME_HAD_CHILD;
		conn->self.trace_hi = f->self.trace_hi;
		conn->self.trace_lo = f->self.trace_lo;
		e->link = based ? c->base_flags >> 8 : SH_LINK_FUNCTION;
		if (based)
			conn->resume = c->base;
		return f->self.span_id;
	}
	/* An event loop that goes on where it connected: what it has read since then, of the same batch, is another's. The
	 * connection that another thread opened is a pool's. */
	if (resumes(c, conn, e->tid)) {
		context_work_for(c, &conn->resume, SH_LINK_CONNECTION);
		based = true;
	}
	if (conn->talk & SH_TALK_UNKNOWN) { /* nor is it for what was read since */
		conn->talk &= ~SH_TALK_UNKNOWN;
		c->base.span_id = 0;
		based = false;
	}
	if (based) {
		conn->resume = c->base;
		e->link = c->base_flags & SH_BASE_FORKED ? SH_LINK_FORK : c->base_flags >> 8;
	} else if (conn->flags & SH_CONN_FLAG_CONNECT && conn->resume.span_id) {
		e->link = SH_LINK_CONNECTION;
	} else {
		context_start_trace(c, &conn->self, e->time_ns);
		return 0;
	}
	conn->self.trace_hi = conn->resume.trace_hi;
	conn->self.trace_lo = conn->resume.trace_lo;
	return conn->resume.span_id;
}

/* Ids and cause of a request: conn->self, and of e parent_id and link. False when there is no room: *ret_reason.
 * `left`: where the request was read from, if the thread may leave it for later from here on; else NULL. */
static __always_inline bool exchange_make(u64 key, u32 direction, u32 process, struct sock *left, struct sh_conn *conn,
					  struct sh_ev_data *e, u32 *ret_reason)
{
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c)
		c = context_create(key, ret_reason);
	if (!c) {
		conn->self.span_id = 0;
		return false;
	}
	conn->self.span_id = context_new_id(c);
	e->link = SH_LINK_NONE;
	if (direction == DIR_READ) {
		conn->flags = (conn->flags | SH_CONN_FLAG_SERVER) & ~SH_CONN_FLAG_ANSWERED;
		context_start_trace(c, &conn->self, e->time_ns);
		e->parent_id = 0;
		if (conn->reader)
			conn_answered(conn);
		if (c->base_sock)
			base_left(c, key);
		context_work_for(c, &conn->self, SH_LINK_THREAD);
		c->base_sock = 0;
		if (!(process & SH_PROCESS_TASKS)) {
			c->base_sock = (u64)left;
			conn->reader = key;
			__sync_fetch_and_add(&c->open, 1);
		}
	} else {
		if (c->base_sock && !is_called(c) && resumes(c, conn, e->tid))
			base_left(c, key);
		c->base_sock = 0;
		conn->flags &= ~SH_CONN_FLAG_SERVER;
		if (!(conn->flags & SH_CONN_FLAG_CONNECT))
			conn->resume.span_id = 0;
		e->parent_id = exchange_parent(c, conn, e);
		if (process & SH_PROCESS_TASKS && e->link == SH_LINK_HANDOFF) /* for this one request */
			c->base.span_id = 0;
		conn->flags &= ~SH_CONN_FLAG_CONNECT; /* what was connected for is asked for */
	}
	return true;
}

#endif
