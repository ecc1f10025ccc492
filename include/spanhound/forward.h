/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_FORWARD_H
#define SPANHOUND_FORWARD_H

#include "spanhound/remote.h"

/* A head whose trace headers a proxy hands on: which span they name, and where, so that the proxy's own can take its place, of
 * the same length. One reader for both halves. That span is known where every header that names one names the same, in the
 * form that tracers write: Datadog's and W3C's as in remote.h, B3's with a trace id of 32 or 16 hex digits and span ids of 16
 * (B3 propagation, openzipkin). A B3 header that says the decision alone names none.
 *
 * Beside the span itself there is named
 *  - its parent (X-B3-ParentSpanId, the last part of b3), which is to be the parent of the proxy's span then;
 *  - in our member of tracestate the last of Datadog's spans (p:), which is the proxy's from there on, whoever it was before. A
 *    tracestate that is longer than SH_FORWARD_STATE bytes, there twice, or with several members or items of that name stays as
 *    it is. */

#define SH_FORWARD_STATE 512 /* bytes of tracestate that are looked at */

/* Where sixteen hex digits lie. */
enum sh_forward_spot {
	SH_FORWARD_TRACEPARENT,
	SH_FORWARD_STATE_LAST,
	SH_FORWARD_B3,
	SH_FORWARD_B3_SPAN_ID,
	SH_FORWARD_SPANS, /* of the span up to here, of its parent behind */
	SH_FORWARD_B3_PARENT = SH_FORWARD_SPANS,
	SH_FORWARD_B3_PARENT_ID,
	SH_FORWARD_SPOTS
};

struct sh_forward {
	__u16 at[SH_FORWARD_SPOTS]; /* 0: not there */
	__u16 decimal, decimal_len; /* of x-datadog-parent-id; 0: not there */
	__u64 bad;		    /* not 0: nothing is known */
	/* Of the tracestate being read. */
	__u32 from, len;
	__u32 where;		 /* enum sh_forward_where */
	__u32 item;		 /* where the next item of our member begins */
	__u32 ours, lasts, last; /* members, items, and where the digits of one lie */
	__u32 pad;
};

#if defined(__bpf__)
#define SH_FORWARD_CALL static __attribute__((noinline))
#else
#define SH_FORWARD_CALL static inline
#endif

enum sh_forward_where { SH_FORWARD_BETWEEN, SH_FORWARD_OURS, SH_FORWARD_OTHERS };

struct sh_forward_loop {
	struct sh_forward *f;
	const __u8 *bytes;
};

/* Sixteen hex digits in either case. Sets *bad when they are none. A call in the kernel half, where several in one function would
 * keep all their constants on the stack. */
SH_FORWARD_CALL __u64 sh_forward_hex(const __u8 *p, __u64 *bad)
{
	__u64 hi = sh_hex_parse8(sh_lower(sh_word(p)), bad);
	return hi << 32 | sh_hex_parse8(sh_lower(sh_word(p + 8)), bad);
}

/* --- Datadog's and W3C's headers -------------------------------------------------------------------------------------- */

static inline void sh_forward_usual(struct sh_forward *f, struct sh_head *h, const __u8 *bytes, struct sh_remote *r)
{
	__u16 trace = h->at[SH_HEAD_TRACE_ID], parent = h->at[SH_HEAD_PARENT_ID], w3c = h->at[SH_HEAD_TRACEPARENT];
	__builtin_memset(f, 0, sizeof(*f));
	sh_head_remote(h, bytes, SH_READS_USUAL, r);
	/* What does not count is not there any more. */
	f->bad = r->unsure | r->differs;
	f->bad |= trace != h->at[SH_HEAD_TRACE_ID] || parent != h->at[SH_HEAD_PARENT_ID] ||
		  w3c != h->at[SH_HEAD_TRACEPARENT];
	f->bad |= (trace | w3c) && !(r->trace_lo && r->parent_id);
	f->decimal = parent;
	f->decimal_len = h->value_len[SH_HEAD_PARENT_ID];
	if (w3c)
		f->at[SH_FORWARD_TRACEPARENT] = (__u16)(w3c + 36);
}

/* One byte of tracestate: "a=b,dd=s:1;p:0123456789abcdef". */
SH_STEP sh_forward_state_byte(__u32 i, void *arg)
{
	struct sh_forward_loop *l = (struct sh_forward_loop *)arg;
	struct sh_forward *f = l->f;
	if (i >= f->len)
		return 1;
	const __u8 *p = l->bytes + sh_within(f->from + i);
	__u64 word = sh_word(p), bad = 0;
	__u8 byte = (__u8)word, after = p[18];
	if (byte == ',') {
		f->where = SH_FORWARD_BETWEEN;
		return 0;
	}
	if (f->where == SH_FORWARD_BETWEEN && byte != ' ' && byte != '\t') {
		f->where = (word & 0xffffff) == (SH_EIGHT("dd=     ") & 0xffffff) ? SH_FORWARD_OURS : SH_FORWARD_OTHERS;
		f->item = i + 3;
		f->ours += f->where == SH_FORWARD_OURS;
	}
	if (f->where != SH_FORWARD_OURS)
		return 0;
	if (byte == ';')
		f->item = i + 1;
	if (i != f->item || (word & 0xffff) != (SH_EIGHT("p:      ") & 0xffff))
		return 0;
	sh_forward_hex(p + 2, &bad);
	bad |= i + 18 > f->len;
	bad |= i + 18 < f->len && after != ',' && after != ';' && after != ' ' && after != '\t';
	f->lasts++;
	f->last = bad ? 0 : f->from + i + 2;
	return 0;
}

static inline void sh_forward_state(struct sh_forward *f, const struct sh_head *h, const __u8 *bytes)
{
	struct sh_forward_loop l = {.f = f, .bytes = bytes};
	f->from = h->at[SH_HEAD_STATE];
	f->len = h->value_len[SH_HEAD_STATE];
	if (!f->at[SH_FORWARD_TRACEPARENT] || !f->from || f->len > SH_FORWARD_STATE)
		return;
	SH_LOOP(SH_FORWARD_STATE, sh_forward_state_byte, &l);
	if (f->ours == 1 && f->lasts == 1)
		f->at[SH_FORWARD_STATE_LAST] = (__u16)f->last;
}

/* --- B3 ----------------------------------------------------------------------------------------------------------- */

/* A span that is named: the same as those before it. */
static inline void sh_forward_named(struct sh_forward *f, const __u8 *trace, __u32 trace_len, const __u8 *span,
				    struct sh_remote *r)
{
	__u64 bad = trace_len != 16 && trace_len != 32;
	__u64 hi = sh_forward_hex(trace, &bad);
	__u64 lo = sh_forward_hex(trace + (trace_len & 16 ? 0 : 16), &bad);
	__u64 id = sh_forward_hex(span, &bad);
	hi = trace_len == 32 ? hi : 0;
	bad |= !lo | !id;
	if (!bad && !f->bad && !r->trace_lo) {
		r->trace_hi = hi;
		r->trace_lo = lo;
		r->parent_id = id;
	}
	f->bad |= bad | (hi ^ r->trace_hi) | (lo ^ r->trace_lo) | (id ^ r->parent_id);
}

static inline void sh_forward_b3multi(struct sh_forward *f, const struct sh_head *h, const __u8 *bytes,
				      struct sh_remote *r)
{
	__u32 trace = h->at[SH_HEAD_B3_TRACE_ID], span = h->at[SH_HEAD_B3_SPAN_ID],
	      parent = h->at[SH_HEAD_B3_PARENT_ID];
	__u32 odd = h->odd & (1u << SH_HEAD_B3_TRACE_ID | 1u << SH_HEAD_B3_SPAN_ID | 1u << SH_HEAD_B3_PARENT_ID);
	if (!(trace | span | parent | odd))
		return;
	f->bad |= odd | !trace | !span | (h->value_len[SH_HEAD_B3_SPAN_ID] ^ 16u);
	if (parent) {
		f->bad |= h->value_len[SH_HEAD_B3_PARENT_ID] ^ 16u;
		sh_forward_hex(bytes + sh_within(parent), &f->bad);
	}
	sh_forward_named(f, bytes + sh_within(trace), h->value_len[SH_HEAD_B3_TRACE_ID], bytes + sh_within(span), r);
	f->at[SH_FORWARD_B3_SPAN_ID] = (__u16)span;
	f->at[SH_FORWARD_B3_PARENT_ID] = (__u16)parent;
}

/* TraceId-SpanId[-SamplingState[-ParentSpanId]], or the state alone. */
static inline void sh_forward_b3(struct sh_forward *f, const struct sh_head *h, const __u8 *bytes, struct sh_remote *r)
{
	__u32 at = h->at[SH_HEAD_B3], len = h->value_len[SH_HEAD_B3];
	f->bad |= h->odd & 1u << SH_HEAD_B3;
	if (!at || len == 1)
		return;
	__u32 trace_len = bytes[sh_within(at + 32)] == '-' ? 32 : 16;
	const __u8 *q = bytes + sh_within(at + trace_len); /* "-0123456789abcdef-1-" */
	__u32 rest = len - trace_len - 17, state = q[18];
	f->bad |= q[0] ^ '-';
	if (rest) {
		f->bad |= rest != 2 && rest != 19;
		f->bad |= (q[17] ^ '-') | (state != '0' && state != '1' && state != 'd');
	}
	if (rest == 19) {
		f->bad |= q[19] ^ '-';
		sh_forward_hex(q + 20, &f->bad);
		f->at[SH_FORWARD_B3_PARENT] = (__u16)(at + trace_len + 20);
	}
	sh_forward_named(f, bytes + sh_within(at), trace_len, q + 1, r);
	f->at[SH_FORWARD_B3] = (__u16)(at + trace_len + 1);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

/* After sh_head_read(). *r: the span that is named, as far as it is known; trace_lo 0: none. Headers of the usual styles that
 * do not count are not there from then on. Each step may be called on its own, in this order: the kernel half has not the stack
 * for all in one. */
static inline void sh_forward_read(struct sh_forward *f, struct sh_head *h, const __u8 *bytes, struct sh_remote *r)
{
	sh_forward_usual(f, h, bytes, r);
	sh_forward_b3multi(f, h, bytes, r);
	sh_forward_b3(f, h, bytes, r);
	sh_forward_state(f, h, bytes);
}

#endif
