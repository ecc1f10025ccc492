/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef INCOMING_BPF_H
#define INCOMING_BPF_H

#include "exchange.bpf.h"
#include "remote.bpf.h"

/* What a request that was read says of the trace it continues, kept for the headers of those that are written for it. In
 * several calls, one beside the other, for the stack's sake. */

/* Each a global function: verified once, on its own, whatever is around it. */
int request_head(void);
int request_remote(void);
int request_carry(void);
int request_carry_more(void);
int request_keep(struct io *io);

/* May what its process asks for have to name the trace that this request continues? */
static __always_inline bool wants_remote(const struct io *io, const struct data_scratch *s)
{
	return settings.inject && io->process & SH_PROCESS_INJECT && io->direction == DIR_READ &&
	       s->event.hdr.flags & SH_DATA_REQUEST;
}

GLOBAL int request_head(void)
{
	u32 index = REMOTE_SCRATCH_EXIT, zero = 0;
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	if (!settings.inject || !s || !r)
		return 0;
	r->head.len = at_most(s->event.copied, SH_MAX_HEAD);
	sh_head_read(&r->head, s->bytes);
	return 0;
}

/* The trace that a request continues: of the head that was read. */
GLOBAL int request_remote(void)
{
	u32 index = REMOTE_SCRATCH_EXIT, zero = 0;
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	if (!settings.inject || !s || !r)
		return 0;
	struct sh_head *h = &r->head;
	u32 reads = s->io.process;
	if (!(reads & SH_PROCESS_READS_DATADOG))
		sh_head_ignore_datadog(h);
	if (!(reads & SH_PROCESS_READS_TRACECONTEXT))
		sh_head_ignore_tracecontext(h);
	if (!(reads & SH_PROCESS_READS_BAGGAGE))
		sh_head_ignore_baggage(h);
	sh_head_remote(h, s->bytes, &r->remote);
	bool both = h->at[SH_HEAD_TRACE_ID] && h->at[SH_HEAD_TRACEPARENT];
	if ((reads & SH_PROCESS_READS_B3 && h->flags & SH_HEAD_B3) || (reads & SH_PROCESS_READS_W3C_FIRST && both))
		r->remote.unsure = 1;
	if (!(reads & (SH_PROCESS_READS_DATADOG | SH_PROCESS_READS_TRACECONTEXT | SH_PROCESS_READS_B3)))
		r->remote.unsure = 0; /* whatever it is */
	return 0;
}

/* And what it brings along: in two calls, for the stack's sake. */
GLOBAL int request_carry(void)
{
	u32 index = REMOTE_SCRATCH_EXIT, zero = 0;
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	struct sh_carry *c = bpf_map_lookup_elem(&carry_scratch, &zero);
	if (!settings.inject || !s || !r || !c)
		return 0;
	sh_carry_begin(c);
	if (r->remote.unsure)
		return 0;
	sh_carry_datadog(c, &r->head, s->bytes);
	sh_carry_tracestate(c, &r->head, s->bytes, &r->remote);
	return 0;
}

GLOBAL int request_carry_more(void)
{
	u32 index = REMOTE_SCRATCH_EXIT, zero = 0;
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	struct sh_carry *c = bpf_map_lookup_elem(&carry_scratch, &zero);
	if (!settings.inject || !s || !r || !c)
		return 0;
	if (!r->remote.unsure)
		sh_carry_own_member(c, s->bytes, &r->remote);
	if (r->head.end && !(r->head.flags & SH_HEAD_STRANGE))
		sh_carry_baggage(c, &r->head, s->bytes);
	return 0;
}

/* What the exchange's ids stand for from here on. */
GLOBAL int request_keep(struct io *io)
{
	u32 index = REMOTE_SCRATCH_EXIT, zero = 0;

	if (!settings.inject || !io)
		return 0;
	struct sh_conn *conn = conn_get(&io->socket);
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	struct sh_carry *carry = bpf_map_lookup_elem(&carry_scratch, &zero);
	if (!conn || !s || !r || !carry)
		return 0;
	u64 key = conn->self.trace_lo;
	if (sh_carry_any(carry)) {
		r->remote.carries = 1;
		bpf_map_update_elem(&carried, &key, &carry->out, BPF_ANY);
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
