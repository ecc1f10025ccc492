/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef HEARD_BPF_H
#define HEARD_BPF_H

#include "option.bpf.h"

/* What a TCP option says of a request that was read: to the user half with its record, and, where it counts for more than the
 * request's headers, to those that are written for it. */

int option_take(struct io *io);

/* The option that came for the request that was read, if it is this one's: false, if none did. */
static __always_inline bool option_of(struct option_end *o, const struct sh_ev_data *e, struct sh_option *ret)
{
	u32 before, version = __sync_fetch_and_add(&o->version, 0);
	*ret = o->option;
	if (version & 1 || __sync_fetch_and_add(&o->version, 0) != version || !ret->span_id)
		return false;
	/* Else these are not its first bytes, but among its first four. */
	before = e->seq - ret->at;
	return e->hdr.flags & SH_DATA_START ? !before : before - 1 < SH_OPTION_BYTES - 1;
}

static __always_inline void option_to_remote(const struct sh_option *o, struct sh_remote *r)
{
	r->trace_hi = o->trace_hi;
	r->trace_lo = o->trace_lo;
	r->parent_id = o->span_id;
	r->priority = o->priority;
	r->sampled = 1;
	r->unsure = r->flags = r->stated = r->carries = 0;
}

/* After what the headers of a request that was read say of its trace, before that is kept. */
GLOBAL int option_take(struct io *io)
{
	u32 index = REMOTE_SCRATCH_EXIT, zero = 0;

	if (!settings.option || !io || !(io->process & SH_PROCESS_OPTION) ||
	    !(io->process & (SH_PROCESS_READS_DATADOG | SH_PROCESS_READS_TRACECONTEXT | SH_PROCESS_READS_OTHERWISE)))
		return 0;
	u64 key = (u64)io->socket.sk;
	struct option_end *o = bpf_map_lookup_elem(&option_ends, &key);
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	struct sh_ev_option *e;
	struct sh_option option;
	if (!o || !s || !r || !option_of(o, &s->event, &option))
		return 0;
	option_count(SH_OPTION_heard);
	u32 at = (s->event.copied + 7) & ~7u;
	AT_MOST_AGAIN(at, SH_MAX_HEAD);
	e = (void *)(s->bytes + at);
	e->span.trace_hi = option.trace_hi;
	e->span.trace_lo = option.trace_lo;
	e->span.span_id = option.span_id;
	e->priority = option.priority;
	e->sure = option.sure;
	__builtin_memset(e->pad, 0, sizeof(e->pad));
	s->event.hdr.flags |= SH_DATA_OPTION;
	/* Where headers name the trace they brought more along; which span they name matters here to who hands it on. */
	if (r->remote.unsure ? option.sure : !r->remote.trace_lo)
		option_to_remote(&option, &r->remote);
	return 0;
}

#endif
