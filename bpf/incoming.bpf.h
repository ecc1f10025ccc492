/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef INCOMING_BPF_H
#define INCOMING_BPF_H

#include "exchange.bpf.h"
#include "remote.bpf.h"

/* What a request that was read says of the trace it continues, kept for the headers of those that are written for it. In
 * several calls, one beside the other, for the stack's sake. */

/* Each a global function: verified once, on its own, whatever is around it. */
int request_head(void);
int request_otherwise(void);
int request_remote(void);
int request_carry(void);
int request_carry_more(void);
int request_keep(struct io *io);

/* May what its process asks for have to name the trace that this request continues? */
static __always_inline bool wants_remote(const struct io *io, const struct data_scratch *s)
{
	return settings.inject && io->process & (SH_PROCESS_INJECT | SH_PROCESS_OPTION) && io->direction == DIR_READ &&
	       s->event.hdr.flags & SH_DATA_REQUEST;
}

/* The request's bytes, and what is known of it. */
static __always_inline bool request_scratch(struct data_scratch **ret_s, struct remote_scratch **ret_r)
{
	u32 index = REMOTE_SCRATCH_EXIT, zero = 0;
	if (!settings.inject)
		return false;
	*ret_s = bpf_map_lookup_elem(&scratch, &zero);
	*ret_r = bpf_map_lookup_elem(&remote_scratch, &index);
	return *ret_s && *ret_r;
}

GLOBAL int request_head(void)
{
	struct data_scratch *s;
	struct remote_scratch *r;
	if (!request_scratch(&s, &r))
		return 0;
	r->head.len = at_most(s->event.copied, SH_MAX_HEAD);
	sh_head_read(&r->head, s->bytes);
	return 0;
}

/* Of a process that reads other styles than most, or in another order: which, and what B3's headers say. */
GLOBAL int request_otherwise(void)
{
	struct data_scratch *s;
	struct remote_scratch *r;
	if (!request_scratch(&s, &r))
		return 0;
	u32 tgid = s->io.key >> 32;
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	u32 reads = process ? process->reads : 0;
	r->reads = reads;
	sh_head_read_b3(&r->head, s->bytes, reads | reads >> 4 | reads >> 8 | reads >> 12);
	return 0;
}

/* The trace that a request continues: of the head that was read. */
GLOBAL int request_remote(void)
{
	struct data_scratch *s;
	struct remote_scratch *r;
	if (!request_scratch(&s, &r))
		return 0;
	u32 flags = s->io.process;
	u32 reads = (flags & SH_PROCESS_READS_DATADOG ? SH_STYLE_DATADOG : 0) |
		    (flags & SH_PROCESS_READS_TRACECONTEXT ? SH_STYLE_TRACECONTEXT << 4 : 0);
	if (flags & SH_PROCESS_READS_OTHERWISE)
		reads = r->reads;
	if (!(flags & SH_PROCESS_READS_BAGGAGE))
		sh_head_ignore_baggage(&r->head);
	sh_head_remote(&r->head, s->bytes, reads, &r->remote);
	return 0;
}

/* And what it brings along: in two calls, for the stack's sake. */
GLOBAL int request_carry(void)
{
	struct data_scratch *s;
	struct remote_scratch *r;
	if (!request_scratch(&s, &r))
		return 0;
	sh_carry_begin(&r->carry);
	if (r->remote.unsure)
		return 0;
	sh_carry_datadog(&r->carry, &r->head, s->bytes);
	sh_carry_tracestate(&r->carry, &r->head, s->bytes, &r->remote);
	return 0;
}

GLOBAL int request_carry_more(void)
{
	struct data_scratch *s;
	struct remote_scratch *r;
	if (!request_scratch(&s, &r))
		return 0;
	if (!r->remote.unsure)
		sh_carry_own_member(&r->carry, s->bytes, &r->remote);
	if (r->head.end && !(r->head.flags & SH_HEAD_STRANGE))
		sh_carry_baggage(&r->carry, &r->head, s->bytes);
	return 0;
}

/* What the exchange's ids stand for from here on. */
GLOBAL int request_keep(struct io *io)
{
	struct data_scratch *s;
	struct remote_scratch *r;
	if (!io || !request_scratch(&s, &r))
		return 0;
	struct sh_conn *conn = conn_get(&io->socket);
	if (!conn)
		return 0;
	u64 key = conn->self.trace_lo;
	if (sh_carry_any(&r->carry)) {
		r->remote.carries = 1;
		bpf_map_update_elem(&carried, &key, &r->carry.out, BPF_ANY);
	}
	if (!r->remote.unsure && !r->remote.trace_lo)
		return 0;
	bpf_map_update_elem(&remotes, &key, &r->remote, BPF_ANY);
	conn->self.trace_hi |= REMOTE_MARK;
	s->event.self = conn->self;
	key = io->key;
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (c && c->base.span_id == conn->self.span_id)
		c->base = conn->self;
	return 0;
}

#endif
