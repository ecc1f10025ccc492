/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef CAUSE_BPF_H
#define CAUSE_BPF_H

#include "exchange.bpf.h"
#include "remote.bpf.h"
#include "unix.bpf.h"

/*
 * Here it is decided what causes what, because here it is known when it happens: a request read begins an exchange, and the
 * thread works for it from then on; a request written is an exchange caused by what the thread works for.
 */

/* Each a global function: verified once, on its own, whatever is around it. */
int exchange_begin(struct io *io, struct sh_conn *conn, struct sh_ev_data *e);
int talk_goes_on(struct io *io, struct sh_conn *conn);

/* `brief`: an event loop only looks what there is beside what it has to do. That may be for whatever it read, unless it has
 * read one thing only. */
static __always_inline void context_idle(u64 key, bool brief)
{
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c)
		return;
	c->loops = 1;
	if (brief && c->open == 1)
		return;
	if (c->base_sock)
		base_left(c, key);
	c->base.span_id = 0;
}

/* What was decided about its trace before its bytes passed. */
static __always_inline void exchange_decided(u64 trace_lo, struct sh_ev_data *e)
{
	u64 key = trace_lo;
	struct sh_decision *d = settings.inject ? bpf_map_lookup_elem(&decisions, &key) : NULL;
	if (!d)
		return;
	e->decided = d->by;
	e->priority = d->priority;
	e->mechanism = d->choice.mechanism;
	e->rate = d->choice.rate;
}

GLOBAL int exchange_begin(struct io *io, struct sh_conn *conn, struct sh_ev_data *e)
{
	u32 reason = 0;

	if (!io || !conn || !e)
		return 0;
	if (io->socket.family == AF_UNIX)
		e->seq = io->direction == DIR_READ ? unix_request_read(io->socket.sk, conn)
						   : unix_request_written(io->socket.sk, conn);
	u64 key = io->key; /* before 6.2 keys have to be on the stack */
	__sync_fetch_and_add(&shared.exchanges, 1);
	e->hdr.flags |= SH_DATA_REQUEST;
	if (conn->inject & SH_CONN_INJECT_PENDING && io->direction == DIR_WRITE) {
		e->parent_id = conn->parent_id;
		e->link = conn->link;
		exchange_decided(conn->self.trace_lo, e);
		if (conn->inject & SH_CONN_INJECT_RENAMED)
			e->hdr.flags |= SH_DATA_RENAMED;
	} else if (!exchange_make(key, io->direction, io->process, io->puts_off ? io->socket.sk : NULL, conn, e,
				  &reason)) {
		__sync_fetch_and_add(&shared.drops[reason & (SH_KERNEL_DROPS - 1)], 1);
		e->hdr.flags &= ~SH_DATA_REQUEST;
		return 0;
	}
	if (!e->parent_id || e->link == SH_LINK_FORK)
		e->hdr.flags |= SH_DATA_ROOT;
	e->self = conn->self;
	return 0;
}

/* What the request was written for, or the connection opened, goes on. */
static __always_inline void go_back(struct sh_context *c, const struct sh_conn *conn)
{
	if (!conn->resume.span_id)
		c->base.span_id = 0;
	else if (c->base.span_id != conn->resume.span_id)
		context_work_for(c, &conn->resume, SH_LINK_CONNECTION);
}

/* A response passes, or the rest of a body that is read: whom does the thread work for from here on? */
static __always_inline void exchange_goes_on(struct io *io, struct sh_conn *conn, bool answer)
{
	bool served = conn->flags & SH_CONN_FLAG_SERVER;
	u64 key = io->key; /* before 6.2 keys have to be on the stack */
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);

	if (conn->reader && served && answer && io->direction == DIR_WRITE) {
		if (conn->reader == key) /* as mostly */
			context_answered(c, conn);
		else
			conn_answered(conn);
	}
	if (!c || !conn->self.span_id)
		return;
	if (c->base_sock && c->base_sock != (u64)io->socket.sk)
		base_left(c, key);
	if (served && io->direction == DIR_WRITE) {
		if (c->base.span_id != conn->self.span_id)
			context_work_for(c, &conn->self, SH_LINK_CONNECTION);
		c->base_sock = 0;
		if (answer) {
			c->base_flags |= SH_BASE_ANSWERED;
			conn->flags |= SH_CONN_FLAG_ANSWERED;
		}
	} else if (served) {
		if (c->base.span_id != conn->self.span_id && !(conn->flags & SH_CONN_FLAG_ANSWERED))
			context_work_for(c, &conn->self, SH_LINK_CONNECTION);
		if (conn->reader == key && !(io->process & SH_PROCESS_AT_ONCE) &&
		    !(conn->flags & SH_CONN_FLAG_ANSWERED))
			base_taken_up(c, conn, io->socket.sk);
	} else if (io->direction == DIR_READ && !(io->process & SH_PROCESS_TASKS)) { /* who reads may only pass it on */
		go_back(c, conn);
	}
}

/* Bytes of another protocol pass. A question to a store, say, is for what the thread works for, and with that an event loop
 * goes on once it reads the answer; a thread that serves one request at a time does anyway. */
GLOBAL int talk_goes_on(struct io *io, struct sh_conn *conn)
{
	if (!io || !conn)
		return 0;
	u64 key = io->key; /* before 6.2 keys have to be on the stack */
	struct sh_context *c = io->process & SH_PROCESS_TASKS ? NULL : bpf_map_lookup_elem(&contexts, &key);

	if (!c)
		return 0;
	if (io->direction == DIR_WRITE) {
		bool sure = base_is_sure(c, bpf_ktime_get_ns());
		if (conn->talk & SH_TALK_ASKED && conn->resume.span_id != (sure ? c->base.span_id : 0))
			conn->talk |= SH_TALK_SHARED;
		if (sure)
			conn->resume = c->base;
		else
			conn->resume.span_id = 0;
		conn->talk |= SH_TALK_ASKED;
		if (conn->talk & SH_TALK_HEARD && !(conn->talk & SH_TALK_SHARED))
			c->base_sock = 0; /* it is not put off: its answer will be read here */
		return 0;
	}
	conn->talk = (conn->talk & ~SH_TALK_ASKED) | SH_TALK_HEARD;
	if (!c->loops)
		return 0;
	if (c->base_sock)
		base_left(c, key);
	if (conn->talk & SH_TALK_SHARED)
		c->base.span_id = 0;
	else
		go_back(c, conn);
	return 0;
}

#endif
