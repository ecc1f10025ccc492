/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_REMOTE_H
#define SPANHOUND_REMOTE_H

#include "spanhound/head.h"

/* Whose trace a request continues, as its head says it: ids, priority, flags, in every style and any order of them. One reader
 * for both halves. Where it is sure it agrees with trace/propagation/ to the bit. It is not sure of
 *  - strange heads;
 *  - numbers that perhaps only Python's int() takes for some (a sign, a blank, "0x", '_', more than 20 decimal digits), and
 *    priorities of more than one digit;
 *  - B3 headers that are there twice, empty or with more blanks around them than one, and those of more than SH_HEAD_HEX bytes;
 *  - x-datadog-tags that are malformed, or longer than SH_HEAD_TAGS;
 *  - trace ids whose lower half is 0;
 *  - what tracestate says of the priority in words of its own: carry.h.
 * A style that comes later than the one that says whose trace it is need not be understood. */

#define SH_REMOTE_NO_PRIORITY 127

/* Whose span a request says to be caused by. */
struct sh_remote {
	__u64 trace_hi, trace_lo; /* both 0: nothing is said */
	__u64 parent_id;
	__s8 priority; /* or SH_REMOTE_NO_PRIORITY */
	__u8 sampled;  /* flag of traceparent; 1 if there is none */
	__u8 unsure;   /* cannot be told: nothing else counts */
	__u8 flags;    /* of traceparent */
	__u8 stated;   /* the priority is what tracestate and `sampled` say together: carry.h */
	__u8 carries;  /* more than ids came along: carry.h */
	__u8 differs;  /* another style's headers name another span of the trace than traceparent, which counts */
	__u8 pad;
};

/* --- Datadog's and W3C's headers -------------------------------------------------------------------------------------- */

/* A byte of x-datadog-tags: "k=v,k=v". Finds the value of _dd.p.tid. */
SH_STEP sh_head_tag(__u32 i, void *arg)
{
	struct sh_head_loop *l = (struct sh_head_loop *)arg;
	struct sh_head *h = l->h;
	__u32 at = h->at[SH_HEAD_DATADOG_TAGS], len = h->value_len[SH_HEAD_DATADOG_TAGS];
	if (i >= SH_HEAD_TAGS || i > len || at >= SH_MAX_HEAD - SH_HEAD_TAGS)
		return 1;
	__u8 c = i == len ? ',' : l->bytes[sh_within(at + i)];
	if (c <= ' ' || c >= 0x7f)
		h->tags_bad = 1;
	if (c == ',') {
		if (!h->equals || h->equals == i)
			h->tags_bad = 1;
		h->item = i + 1;
		h->equals = 0;
	} else if (c == '=' && !h->equals) {
		__u32 item = h->item;
		if (item >= i || item >= SH_HEAD_TAGS) {
			h->tags_bad = 1;
			return 1;
		}
		h->equals = i + 1;
		if (i - item == 9 && sh_word(l->bytes + sh_within(at + item)) == SH_EIGHT("_dd.p.ti") &&
		    l->bytes[sh_within(at + item + 8)] == 'd') {
			if (h->tid_at)
				h->tags_bad = 1;
			h->tid_at = at + i + 1;
		}
	}
	return 0;
}

static inline void sh_found_datadog(struct sh_head *h, const __u8 *bytes, struct sh_found *f)
{
	struct sh_head_loop l = {.h = h, .bytes = bytes};
	__u64 bad = 0, malformed = 0;
	__u32 id = h->at[SH_HEAD_TRACE_ID], parent = h->at[SH_HEAD_PARENT_ID], priority = h->at[SH_HEAD_PRIORITY];
	f->hi = f->parent = 0;
	f->priority = SH_REMOTE_NO_PRIORITY;
	f->flags = 0;
	if (id < SH_MAX_HEAD)
		f->lo = sh_head_decimal(h, bytes, id, h->value_len[SH_HEAD_TRACE_ID], &bad);
	if (bad & SH_NUMBER_BIG) /* which is no id */
		f->lo = 0;
	if (parent && parent < SH_MAX_HEAD) {
		__u64 parent_bad = 0;
		f->parent = sh_head_decimal(h, bytes, parent, h->value_len[SH_HEAD_PARENT_ID], &parent_bad);
		if (parent_bad & SH_NUMBER_BIG)
			f->parent = 0;
		bad |= parent_bad;
	}
	if (priority && priority < SH_MAX_HEAD) {
		__u32 negative = bytes[sh_within(priority)] == '-';
		__u8 digit = bytes[sh_within(priority + negative)] - '0';
		malformed |= (h->value_len[SH_HEAD_PRIORITY] ^ (1 + negative)) | (__u64)(9 - (__u64)digit) >> 63;
		f->priority = (__s8)(negative ? -digit : digit);
	}
	h->item = h->equals = h->tid_at = h->tags_bad = 0;
	if (h->at[SH_HEAD_DATADOG_TAGS]) {
		if (h->value_len[SH_HEAD_DATADOG_TAGS] >= SH_HEAD_TAGS ||
		    h->at[SH_HEAD_DATADOG_TAGS] >= SH_MAX_HEAD - SH_HEAD_TAGS)
			malformed = 1;
		SH_LOOP(SH_HEAD_TAGS, sh_head_tag, &l);
	}
	__u32 tid = h->tid_at;
	if (tid && tid < SH_MAX_HEAD) {
		__u8 after = bytes[sh_within(tid + 16)];
		f->hi = sh_hex_parse16(bytes + sh_within(tid), &malformed);
		malformed |= (__u64)(after ^ ',') * (after ^ '\r');
		if (!f->hi)
			malformed = 1;
	}
	f->state = SH_FOUND_CONTEXT;
	if ((bad & SH_NUMBER_DOUBTFUL) | malformed | h->tags_bad)
		f->state = SH_FOUND_UNSURE;
	if (bad & SH_NUMBER_NONE || (!f->lo && !(bad & SH_NUMBER_DOUBTFUL)))
		f->state = SH_FOUND_NOTHING;
}

/* version "-" trace id "-" span id "-" flags, then for later versions anything after another "-". */
static inline void sh_found_traceparent(const struct sh_head *h, const __u8 *bytes, struct sh_found *f)
{
	__u32 at = h->at[SH_HEAD_TRACEPARENT], len = h->value_len[SH_HEAD_TRACEPARENT];
	__u64 bad = len < 55;
	if (at >= SH_MAX_HEAD)
		return;
	const __u8 *p = bytes + sh_within(at);
	__u64 zeros = SH_EIGHT("0000    ") & 0xffffffff;
	f->hi = sh_hex_parse16(p + 3, &bad);
	f->lo = sh_hex_parse16(p + 19, &bad);
	f->parent = sh_hex_parse16(p + 36, &bad);
	__u32 both = sh_hex_parse8((sh_word(p) & 0xffff) << 32 | sh_word(p + 53) << 48 | zeros, &bad);
	__u32 version = both >> 8;
	bad |= (p[2] ^ '-') | (p[35] ^ '-') | (p[52] ^ '-');
	if (len != 55)
		bad |= (version == 0) | (p[55] ^ '-') | (len < 57);
	bad |= (version == 0xff) | (f->parent == 0) | ((f->hi | f->lo) == 0);
	f->flags = (__u8)both;
	f->priority = (__s8)(both & 1);
	f->state = bad ? SH_FOUND_NOTHING : f->lo ? SH_FOUND_CONTEXT : SH_FOUND_UNSURE;
}

/* --- B3 ----------------------------------------------------------------------------------------------------------- */

/* One byte of a B3 header: of an id, or of several parts with hyphens between them. */
SH_STEP sh_head_hex(__u32 i, void *arg)
{
	struct sh_head_loop *l = (struct sh_head_loop *)arg;
	struct sh_head *h = l->h;
	if (i >= h->number_len)
		return 1;
	__u8 c = l->bytes[sh_within(h->number_at + i)];
	__u32 part = h->part, digit = (__u32)c - '0', letter = ((__u32)c | 0x20) - 'a';
	if (c == '-' && h->splits) {
		h->part = part + 1;
		return part >= 2;
	}
	if (part >= 2) {
		h->sampled = c;
		h->sampled_len++;
		return 0;
	}
	struct sh_hex *n = &h->hex[part & 1];
	if (digit > 9)
		digit = letter + 10;
	if (digit > 9 && letter > 5)
		n->is |= sh_number_is(c);
	if (n->hi >> 60)
		n->is |= SH_NUMBER_BIG;
	n->hi = n->hi << 4 | n->lo >> 60;
	n->lo = n->lo << 4 | (digit & 15);
	n->len++;
	return 0;
}

static inline void sh_head_parts(struct sh_head *h, const __u8 *bytes, __u32 name, __u32 part, __u32 splits)
{
	struct sh_head_loop l = {.h = h, .bytes = bytes};
	if (name >= SH_HEAD_NAMES)
		return;
	h->part = part;
	h->splits = splits;
	h->sampled = h->sampled_len = 0;
	h->number_at = h->at[name];
	h->number_len = h->value_len[name];
	h->hex[part & 1].hi = h->hex[part & 1].lo = 0;
	h->hex[part & 1].len = h->hex[part & 1].is = 0;
	SH_LOOP(SH_HEAD_HEX, sh_head_hex, &l);
}

/* Of the ids that were read. */
static inline void sh_found_ids(struct sh_head *h, struct sh_found *f, __u32 doubtful)
{
	__u32 trace = h->hex[0].is, span = h->hex[1].is;
	f->hi = trace & SH_NUMBER_BIG ? 0 : h->hex[0].hi;
	f->lo = trace & SH_NUMBER_BIG ? 0 : h->hex[0].lo;
	f->parent = span & SH_NUMBER_BIG || h->hex[1].hi ? 0 : h->hex[1].lo;
	f->flags = 0;
	f->state = SH_FOUND_CONTEXT;
	if (doubtful || (trace | span) & SH_NUMBER_DOUBTFUL || (f->hi && !f->lo))
		f->state = SH_FOUND_UNSURE;
	if (!doubtful && (trace | span) & SH_NUMBER_NONE)
		f->state = SH_FOUND_NOTHING;
}

static inline void sh_found_b3multi(struct sh_head *h, const __u8 *bytes, struct sh_found *f)
{
	__u32 sampled = h->at[SH_HEAD_B3_SAMPLED], flags = h->at[SH_HEAD_B3_FLAGS];
	__u32 long_id = h->value_len[SH_HEAD_B3_TRACE_ID] > SH_HEAD_HEX ||
			(h->at[SH_HEAD_B3_SPAN_ID] && h->value_len[SH_HEAD_B3_SPAN_ID] > SH_HEAD_HEX);
	__u32 odd = h->odd & (1u << SH_HEAD_B3_SPAN_ID | 1u << SH_HEAD_B3_SAMPLED | 1u << SH_HEAD_B3_FLAGS);
	h->hex[1].hi = h->hex[1].lo = 0;
	h->hex[1].is = 0;
	sh_head_parts(h, bytes, SH_HEAD_B3_TRACE_ID, 0, 0);
	if (h->at[SH_HEAD_B3_SPAN_ID])
		sh_head_parts(h, bytes, SH_HEAD_B3_SPAN_ID, 1, 0);
	f->priority = SH_REMOTE_NO_PRIORITY;
	if (sampled && h->value_len[SH_HEAD_B3_SAMPLED] == 1 && (bytes[sh_within(sampled)] & 0xfe) == '0')
		f->priority = bytes[sh_within(sampled)] & 1;
	if (flags && h->value_len[SH_HEAD_B3_FLAGS] == 1 && bytes[sh_within(flags)] == '1')
		f->priority = 2;
	sh_found_ids(h, f, long_id || odd);
}

/* TraceId-SpanId[-SamplingState[-ParentSpanId]], or the sampling state alone, which belongs to no trace. */
static inline void sh_found_b3(struct sh_head *h, const __u8 *bytes, struct sh_found *f)
{
	h->hex[1].hi = h->hex[1].lo = 0;
	h->hex[1].len = h->hex[1].is = 0;
	sh_head_parts(h, bytes, SH_HEAD_B3, 0, 1);
	__u32 alone = !h->part;
	f->priority = SH_REMOTE_NO_PRIORITY;
	if (h->sampled_len == 1 && (h->sampled & 0xfe) == '0')
		f->priority = h->sampled & 1;
	else if (h->sampled_len == 1 && h->sampled == 'd')
		f->priority = 2;
	if (alone) {
		h->hex[0].hi = h->hex[0].lo = 0;
		h->hex[0].is = 0;
	} else if (!h->hex[0].len || !h->hex[1].len) {
		h->hex[0].is = SH_NUMBER_NONE;
	}
	sh_found_ids(h, f, h->value_len[SH_HEAD_B3] > SH_HEAD_HEX);
}

/* Of B3's styles what is read, before sh_head_remote(): the kernel half has not the stack for all in one. */
static inline void sh_head_read_b3(struct sh_head *h, const __u8 *bytes, __u32 styles)
{
	h->found[2].state = h->odd & 1u << SH_HEAD_B3_TRACE_ID ? SH_FOUND_UNSURE : SH_FOUND_NOTHING;
	h->found[3].state = h->odd & 1u << SH_HEAD_B3 ? SH_FOUND_UNSURE : SH_FOUND_NOTHING;
	if (styles & SH_STYLE_B3MULTI && h->at[SH_HEAD_B3_TRACE_ID])
		sh_found_b3multi(h, bytes, &h->found[2]);
	if (styles & SH_STYLE_B3 && h->at[SH_HEAD_B3])
		sh_found_b3(h, bytes, &h->found[3]);
}

/* --- all styles together ------------------------------------------------------------------------------------------ */

/* Headers that do not count might as well not be there. */
static inline void sh_head_ignore_datadog(struct sh_head *h)
{
	h->at[SH_HEAD_TRACE_ID] = h->at[SH_HEAD_PARENT_ID] = h->at[SH_HEAD_PRIORITY] = 0;
	h->at[SH_HEAD_DATADOG_TAGS] = h->at[SH_HEAD_ORIGIN] = 0;
	h->odd &= ~(1u << SH_HEAD_ORIGIN);
}

static inline void sh_head_ignore_tracecontext(struct sh_head *h)
{
	h->at[SH_HEAD_TRACEPARENT] = h->at[SH_HEAD_STATE] = 0;
	h->odd &= ~(1u << SH_HEAD_STATE);
	h->flags &= ~(__u32)SH_HEAD_TRACESTATE;
}

static inline void sh_head_ignore_baggage(struct sh_head *h)
{
	h->at[SH_HEAD_BAGGAGE] = 0;
	h->odd &= ~(1u << SH_HEAD_BAGGAGE);
}

static inline __u32 sh_style_index(__u32 style)
{
	return ((style >> 1) - (style >> 3)) & (SH_STYLES - 1);
}

/* The first style that says anything says whose trace it is; W3C's add to it what only they can say, and name the nearer parent,
 * if they are of the same trace. Returns the styles that count. */
static inline __u32 sh_remote_choose(const struct sh_head *h, __u32 reads, struct sh_remote *r)
{
	__u32 counts = 0;
	for (__u32 i = 0; i < SH_STYLES && reads; i++, reads >>= 4) {
		__u32 style = reads & 15;
		const struct sh_found *f = &h->found[sh_style_index(style)];
		if (!style || !f->state)
			continue;
		if (!counts) {
			counts = style;
			r->unsure = f->state == SH_FOUND_UNSURE;
			r->trace_hi = f->hi;
			r->trace_lo = f->lo;
			if (!(f->hi | f->lo))
				continue;
			r->parent_id = f->parent;
			r->priority = f->priority;
		} else if (style != SH_STYLE_TRACECONTEXT || f->hi != r->trace_hi || f->lo != r->trace_lo) {
			continue;
		} else {
			counts |= style;
			r->differs = r->parent_id != f->parent;
			r->parent_id = f->parent;
		}
		if (style == SH_STYLE_TRACECONTEXT) {
			r->sampled = f->flags & 1;
			r->flags = f->flags;
		}
	}
	r->stated = counts == SH_STYLE_TRACECONTEXT && h->flags & SH_HEAD_TRACESTATE;
	return counts;
}

/* What the head says to who reads those styles, after sh_head_read(), and sh_head_read_b3() if B3's are among them. Headers
 * that do not count are not there from then on. */
static inline void sh_head_remote(struct sh_head *h, const __u8 *bytes, __u32 reads, struct sh_remote *r)
{
	__u32 counts = 0;
	__builtin_memset(r, 0, sizeof(*r));
	r->priority = SH_REMOTE_NO_PRIORITY;
	r->sampled = 1;
	if (reads && (!h->end || h->flags & SH_HEAD_STRANGE)) {
		r->unsure = 1;
		return;
	}
	if (reads) {
		h->found[0].state = h->found[1].state = SH_FOUND_NOTHING;
		if (h->at[SH_HEAD_TRACE_ID])
			sh_found_datadog(h, bytes, &h->found[0]);
		if (h->at[SH_HEAD_TRACEPARENT])
			sh_found_traceparent(h, bytes, &h->found[1]);
		counts = sh_remote_choose(h, reads, r);
	}
	if (!(counts & SH_STYLE_DATADOG))
		sh_head_ignore_datadog(h);
	if (!(counts & SH_STYLE_TRACECONTEXT))
		sh_head_ignore_tracecontext(h);
}

#endif
