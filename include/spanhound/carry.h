/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_CARRY_H
#define SPANHOUND_CARRY_H

#include "spanhound/remote.h"

/* What a request that was read says beyond ids, for those that are made on its behalf: propagated tags, origin, other vendors'
 * members of tracestate, baggage. One reader for both halves. Each is taken whole or not at all: what is longer than there is
 * room for here, or is not what programs send, is left out, and `left` says so. What is taken is what trace/propagation/
 * takes, and in the words it would write, but for this:
 *  - an origin with one of , ; ~ = in it is left out;
 *  - tags stay in the order they came in (there: decision maker and user id first in tracestate);
 *  - an ot= member of tracestate stays where it is, unread (there: rewritten, behind dd=);
 *  - baggage goes on byte by byte. */

#define SH_CARRY_TAGS	  256 /* bytes of x-datadog-tags, the trace id's upper half not among them */
#define SH_CARRY_ITEMS	  160 /* of the same in tracestate, so that the member stays below 256 bytes (ddtrace's limit) */
#define SH_CARRY_ORIGIN	  40
#define SH_CARRY_STATE	  256 /* of other vendors' members; those at the right are dropped, whole, until the rest fits */
#define SH_CARRY_MEMBERS  31  /* of them: 32 with ours (W3C Trace Context, 3.3.1.1) */
#define SH_CARRY_STATE_IN 512 /* of the whole tracestate that came */
#define SH_CARRY_BAGGAGE  512

/* sh_carried.left */
#define SH_LEFT_TAGS	(1 << 0)
#define SH_LEFT_ORIGIN	(1 << 1)
#define SH_LEFT_STATE	(1 << 2)
#define SH_LEFT_BAGGAGE (1 << 3)

struct sh_carried {
	__u16 tags_len, items_len, origin_len, state_len, baggage_len;
	__u8 left;   /* SH_LEFT_* */
	__u8 has_dm; /* the decision maker is among the tags */
	__u32 pad;
	/* Sizes are powers of two, for offsets that the verifier is to believe. */
	__u8 tags[256];	 /* "_dd.p.dm=-4,_dd.p.x=y" */
	__u8 items[256]; /* "t.dm:-4;t.x:y" */
	__u8 origin[64];
	__u8 state[256]; /* "a=b,c=d" */
	__u8 baggage[SH_CARRY_BAGGAGE];
};

struct sh_carry {
	struct sh_carried out;
	__u32 at, len;	    /* the text being read */
	__u32 item, equals; /* where the item begins; behind its '=' or ':', 0: not yet */
	__u32 kind;	    /* of the item */
	__u32 start, last;  /* of a member: out.state_len before it, and behind the last of it that is no blank */
	__u32 in_member, is_ours, members, full;
	__u32 dd_at, dd_end;		    /* our member's value */
	__u32 number, number_len, negative; /* s: of it */
	__u32 stated_cnt;
	__u64 bad, bad_tags, bad_origin;
};

struct sh_carry_loop {
	struct sh_carry *c;
	const __u8 *bytes;
};

#if defined(__bpf__)
#define SH_COPY(to, len, from) bpf_probe_read_kernel(to, len, from)
#else
#define SH_COPY(to, len, from) memcpy(to, from, len)
#endif

/* An offset below `size`, a power of two, to the verifier, too. */
static inline __u32 sh_index(__u32 at, __u32 size)
{
#if defined(__bpf__)
	__asm__ volatile("" : "+r"(at));
#endif
	return at & (size - 1);
}

/* Counts on when there is no room: whoever looks at the length sees that. */
#define SH_PUT(c, what, byte)                                                            \
	do {                                                                             \
		__u32 sh_len = (c)->out.what##_len;                                      \
		if (sh_len < sizeof((c)->out.what))                                      \
			(c)->out.what[sh_index(sh_len, sizeof((c)->out.what))] = (byte); \
		(c)->out.what##_len = (__u16)(sh_len + 1);                               \
	} while (0)

static inline void sh_carry_text(struct sh_carry *c, __u32 at, __u32 len)
{
	c->at = at;
	c->len = len;
	c->item = c->equals = c->kind = 0;
	c->bad = 0;
}

enum { SH_ITEM_OTHER, SH_ITEM_TAG, SH_ITEM_PRIORITY, SH_ITEM_ORIGIN };

/* Between tags, in both forms. */
static inline void sh_carry_separate(struct sh_carry *c)
{
	if (!c->out.tags_len)
		return;
	SH_PUT(c, tags, ',');
	SH_PUT(c, items, ';');
}

/* A key that has its prefix twice: the user half rewrites both. */
static inline __u32 sh_carry_is_prefix(const __u8 *p)
{
	return p[0] == '_' && (sh_word(p) & 0xffffffffffff) == (SH_EIGHT("_dd.p.  ") & 0xffffffffffff);
}

/* --- x-datadog-tags ----------------------------------------------------------------------------------------------- */

/* "-N" at `p`, a decision maker as there are any: below 100. Behind it there is the item's end, a comma or `end`. */
static inline __u32 sh_carry_is_maker(const __u8 *p, __u8 end)
{
	__u32 first = (__u32)p[1] - '0', second = (__u32)p[2] - '0';
	__u32 one = p[2] == ',' || p[2] == '\r' || p[2] == end;
	__u32 two = first && second <= 9 && (p[3] == ',' || p[3] == '\r' || p[3] == end);
	return p[0] == '-' && first <= 9 && (one || two);
}

/* Where "_dd.p.x=y" begins. */
static inline void sh_carry_tag(struct sh_carry *c, const __u8 *p)
{
	__u64 word = sh_word(p);
	c->kind = SH_ITEM_OTHER;
	if ((word & 0xffffffffffff) != (SH_EIGHT("_dd.p.  ") & 0xffffffffffff) || word == SH_EIGHT("_dd.p.up"))
		c->bad = 1; /* not handed on: too rare to be read */
	if (word == SH_EIGHT("_dd.p.ti") && p[8] == 'd' && p[9] == '=')
		return;
	c->kind = SH_ITEM_TAG;
	if (word == SH_EIGHT("_dd.p.dm") && p[8] == '=') {
		c->out.has_dm = 1;
		c->bad |= !sh_carry_is_maker(p + 9, ',');
	}
	sh_carry_separate(c);
	SH_PUT(c, items, 't');
	SH_PUT(c, items, '.');
}

SH_STEP sh_carry_tags_byte(__u32 i, void *arg)
{
	struct sh_carry_loop *l = (struct sh_carry_loop *)arg;
	struct sh_carry *c = l->c;
	if (i >= c->len)
		return 1;
	const __u8 *p = l->bytes + sh_within(c->at + i);
	__u8 byte = *p;
	if (byte == ',') {
		c->item = i + 1;
		c->equals = 0;
		return 0;
	}
	if (i == c->item)
		sh_carry_tag(c, p);
	if (c->kind != SH_ITEM_TAG)
		return 0;
	SH_PUT(c, tags, byte);
	if (i - c->item < 6) /* _dd.p. */
		return 0;
	if (c->equals)
		byte = byte == '=' ? '~' : byte == ';' || byte == '~' ? '_' : byte;
	else if (sh_carry_is_prefix(p))
		c->bad = 1;
	if (byte == '=' && !c->equals) {
		c->equals = i + 1;
		byte = ':';
	}
	SH_PUT(c, items, byte);
	return 0;
}

static inline void sh_carry_no_tags(struct sh_carry *c)
{
	c->out.left |= SH_LEFT_TAGS;
	c->out.tags_len = c->out.items_len = 0;
	c->out.has_dm = 0;
}

static inline void sh_carry_end_tags(struct sh_carry *c, __u64 bad)
{
	if (bad || c->out.tags_len > SH_CARRY_TAGS) {
		sh_carry_no_tags(c);
	} else if (c->out.items_len > SH_CARRY_ITEMS) {
		c->out.left |= SH_LEFT_TAGS;
		c->out.items_len = 0;
	}
}

/* --- x-datadog-origin --------------------------------------------------------------------------------------------- */

SH_STEP sh_carry_origin_byte(__u32 i, void *arg)
{
	struct sh_carry_loop *l = (struct sh_carry_loop *)arg;
	struct sh_carry *c = l->c;
	if (i >= c->len)
		return 1;
	__u8 byte = l->bytes[sh_within(c->at + i)];
	if (byte < 0x20 || byte >= 0x7f || byte == ',' || byte == ';' || byte == '~' || byte == '=')
		c->bad = 1;
	SH_PUT(c, origin, byte);
	return 0;
}

static inline void sh_carry_end_origin(struct sh_carry *c, __u64 bad)
{
	if (!bad && c->out.origin_len <= SH_CARRY_ORIGIN)
		return;
	c->out.left |= SH_LEFT_ORIGIN;
	c->out.origin_len = 0;
}

/* --- tracestate --------------------------------------------------------------------------------------------------- */

static inline void sh_carry_member_ends(struct sh_carry *c)
{
	__u32 is_kept = c->in_member && !c->is_ours && !c->full;
	c->in_member = 0;
	if (!is_kept)
		return;
	c->out.state_len = (__u16)c->last;
	if (c->last <= SH_CARRY_STATE)
		return;
	c->out.state_len = (__u16)c->start;
	c->full = 1;
}

static inline void sh_carry_member(struct sh_carry *c, const __u8 *p, __u32 i)
{
	c->in_member = 1;
	c->start = c->out.state_len;
	c->is_ours = (sh_word(p) & 0xffffff) == (SH_EIGHT("dd=     ") & 0xffffff);
	if (c->is_ours) {
		c->bad |= c->dd_at;
		c->dd_at = c->dd_end = c->at + i + 3;
		return;
	}
	if (++c->members > SH_CARRY_MEMBERS)
		c->full = 1;
	if (c->start && !c->full)
		SH_PUT(c, state, ',');
}

/* Others' members go on as they are, without blanks around them; it is remembered where ours is. */
SH_STEP sh_carry_state_byte(__u32 i, void *arg)
{
	struct sh_carry_loop *l = (struct sh_carry_loop *)arg;
	struct sh_carry *c = l->c;
	if (i > c->len)
		return 1;
	const __u8 *p = l->bytes + sh_within(c->at + i);
	__u8 byte = i == c->len ? ',' : *p;
	if (byte < 0x20 || byte >= 0x7f)
		c->bad = 1;
	if (byte == ',') {
		sh_carry_member_ends(c);
		return 0;
	}
	if (!c->in_member && byte == ' ')
		return 0;
	if (!c->in_member)
		sh_carry_member(c, p, i);
	if (c->is_ours) {
		if (byte != ' ' && c->at + i >= c->dd_at)
			c->dd_end = c->at + i + 1;
	} else if (!c->full) {
		SH_PUT(c, state, byte);
		if (byte != ' ')
			c->last = c->out.state_len;
	}
	return 0;
}

/* Where "s:2", "o:rum" or "t.dm:-4" begins. */
static inline void sh_carry_dd_item(struct sh_carry *c, const __u8 *p)
{
	__u64 word = sh_word(p);
	__u32 two = (__u32)(word & 0xffff);
	c->kind = SH_ITEM_OTHER;
	if (two == (SH_EIGHT("s:      ") & 0xffff)) {
		c->kind = SH_ITEM_PRIORITY;
		c->stated_cnt = 1;
		c->number = c->number_len = c->negative = 0;
	} else if (two == (SH_EIGHT("o:      ") & 0xffff)) {
		c->kind = SH_ITEM_ORIGIN;
		c->out.origin_len = 0;
		c->bad_origin = 0;
	} else if (two == (SH_EIGHT("t.      ") & 0xffff) &&
		   (word & 0xffffffffffff) != (SH_EIGHT("t.tid:  ") & 0xffffffffffff)) {
		c->kind = SH_ITEM_TAG;
		if ((word & 0xffffffffff) == (SH_EIGHT("t.dm:   ") & 0xffffffffff)) {
			c->out.has_dm = 1;
			c->bad_tags |= !sh_carry_is_maker(p + 5, ';');
		}
		sh_carry_separate(c);
		SH_PUT(c, tags, '_');
		SH_PUT(c, tags, 'd');
		SH_PUT(c, tags, 'd');
		SH_PUT(c, tags, '.');
		SH_PUT(c, tags, 'p');
		SH_PUT(c, tags, '.');
	}
}

static inline void sh_carry_dd_key(struct sh_carry *c, const __u8 *p, __u8 byte, __u32 i)
{
	if (byte == ':')
		c->equals = i + 1;
	if (c->kind != SH_ITEM_TAG)
		return;
	SH_PUT(c, items, byte);
	if (i - c->item < 2) /* t. */
		return;
	c->bad_tags |= byte == '=' || byte == ' ' || sh_carry_is_prefix(p);
	SH_PUT(c, tags, byte == ':' ? '=' : byte);
}

static inline void sh_carry_dd_value(struct sh_carry *c, __u8 byte)
{
	if (c->kind == SH_ITEM_TAG) {
		SH_PUT(c, items, byte);
		SH_PUT(c, tags, byte == '~' ? '=' : byte);
	} else if (c->kind == SH_ITEM_ORIGIN) {
		c->bad_origin |= byte == '~' || byte == '=';
		SH_PUT(c, origin, byte);
	} else if (c->kind == SH_ITEM_PRIORITY) {
		__u32 digit = (__u32)byte - '0';
		if (byte == '-' && !c->number_len && !c->negative) {
			c->negative = 1;
			return;
		}
		c->number = digit;
		c->number_len += digit > 9 ? 2 : 1;
	}
}

/* "k:v;k:v" */
SH_STEP sh_carry_dd_byte(__u32 i, void *arg)
{
	struct sh_carry_loop *l = (struct sh_carry_loop *)arg;
	struct sh_carry *c = l->c;
	if (i > c->len)
		return 1;
	const __u8 *p = l->bytes + sh_within(c->at + i);
	__u8 byte = i == c->len ? ';' : *p;
	if (byte == ';') {
		c->bad |= !c->equals;
		c->bad_tags |= c->kind == SH_ITEM_TAG && c->equals == i;
		c->item = i + 1;
		c->equals = c->kind = 0;
		return 0;
	}
	if (i == c->item)
		sh_carry_dd_item(c, p);
	if (c->equals)
		sh_carry_dd_value(c, byte);
	else
		sh_carry_dd_key(c, p, byte, i);
	return 0;
}

/* The flag of traceparent is what everybody understands: a priority that says otherwise does not count. */
static inline __s8 sh_carry_reconcile(const struct sh_carry *c, const struct sh_remote *r, __s8 priority)
{
	__u32 said = c->stated_cnt && priority;
	__u32 is_rum =
		c->out.origin_len == 3 && c->out.origin[0] == 'r' && c->out.origin[1] == 'u' && c->out.origin[2] == 'm';
	if (!said && is_rum)
		return c->stated_cnt ? priority : SH_REMOTE_NO_PRIORITY;
	if (!r->sampled && (!said || priority > 0))
		return 0;
	if (r->sampled && (!said || priority < 0))
		return 1;
	return priority;
}

/* What our member says, when no header of Datadog's says it. */
static inline void sh_carry_dd(struct sh_carry *c, struct sh_remote *r)
{
	__s8 priority = (__s8)(c->negative ? 0 - c->number : c->number);
	if (c->bad) { /* then none of it counts */
		c->out.tags_len = c->out.items_len = c->out.origin_len = 0;
		c->out.has_dm = 0;
		return;
	}
	if (c->stated_cnt && c->number_len != 1)
		r->unsure = 1; /* some number, perhaps */
	sh_carry_end_origin(c, c->bad_origin);
	if (c->out.left & SH_LEFT_ORIGIN)
		r->unsure = 1; /* by which the priority may be decided */
	sh_carry_end_tags(c, c->bad_tags);
	r->priority = sh_carry_reconcile(c, r, priority);
}

/* --- baggage ------------------------------------------------------------------------------------------------------ */

/* Eight bytes: is any of them none that may be printed? */
SH_STEP sh_carry_baggage_word(__u32 i, void *arg)
{
	struct sh_carry_loop *l = (struct sh_carry_loop *)arg;
	struct sh_carry *c = l->c;
	if (i * 8 >= c->len)
		return 1;
	__u64 w = sh_word(l->bytes + sh_within(c->at + i * 8)), seven;
	__u32 rest = c->len - i * 8;
	if (rest < 8) {
		__u64 beyond = ~0ULL << (rest * 8 & 63);
		w = (w & ~beyond) | (SH_EACH(' ') & beyond);
	}
	seven = w & SH_EACH(0x7f);
	c->bad |= (w | ~(seven + SH_EACH(0x60)) | (seven + SH_EACH(1))) & SH_EACH(0x80);
	return 0;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

/* Each step may be called on its own, in this order, after sh_head_remote(): the kernel half has not the stack for all in one. */

static inline void sh_carry_begin(struct sh_carry *c)
{
	c->out.tags_len = c->out.items_len = c->out.origin_len = c->out.state_len = c->out.baggage_len = 0;
	c->out.left = c->out.has_dm = 0;
	c->out.pad = 0;
	c->start = c->last = c->in_member = c->is_ours = c->members = c->full = 0;
	c->dd_at = c->dd_end = 0;
	c->number = c->number_len = c->negative = c->stated_cnt = 0;
	c->bad_tags = c->bad_origin = 0;
}

/* Of Datadog's headers. */
static inline void sh_carry_datadog(struct sh_carry *c, const struct sh_head *h, const __u8 *bytes)
{
	struct sh_carry_loop l = {.c = c, .bytes = bytes};
	if (!h->at[SH_HEAD_TRACE_ID])
		return;
	if (h->at[SH_HEAD_DATADOG_TAGS]) {
		sh_carry_text(c, h->at[SH_HEAD_DATADOG_TAGS], h->value_len[SH_HEAD_DATADOG_TAGS]);
		SH_LOOP(SH_HEAD_TAGS, sh_carry_tags_byte, &l);
		sh_carry_end_tags(c, c->bad);
	}
	if (h->odd & 1 << SH_HEAD_ORIGIN || h->value_len[SH_HEAD_ORIGIN] > SH_CARRY_ORIGIN) {
		c->out.left |= SH_LEFT_ORIGIN;
	} else if (h->at[SH_HEAD_ORIGIN]) {
		sh_carry_text(c, h->at[SH_HEAD_ORIGIN], h->value_len[SH_HEAD_ORIGIN]);
		SH_LOOP(SH_CARRY_ORIGIN, sh_carry_origin_byte, &l);
		sh_carry_end_origin(c, c->bad);
	}
}

/* Of the W3C's, if they name the same trace. */
static inline void sh_carry_tracestate(struct sh_carry *c, const struct sh_head *h, const __u8 *bytes,
				       struct sh_remote *r)
{
	struct sh_carry_loop l = {.c = c, .bytes = bytes};
	if (!h->at[SH_HEAD_TRACEPARENT])
		return;
	if (h->odd & 1 << SH_HEAD_STATE || h->value_len[SH_HEAD_STATE] > SH_CARRY_STATE_IN) {
		c->out.left |= SH_LEFT_STATE;
		r->unsure |= r->stated;
		return;
	}
	if (!h->at[SH_HEAD_STATE])
		return;
	sh_carry_text(c, h->at[SH_HEAD_STATE], h->value_len[SH_HEAD_STATE]);
	SH_LOOP(SH_CARRY_STATE_IN + 1, sh_carry_state_byte, &l);
	if (c->bad || c->full)
		c->out.left |= SH_LEFT_STATE;
	if (c->bad) {
		c->out.state_len = 0;
		r->unsure |= c->dd_at && r->stated;
	}
}

static inline void sh_carry_own_member(struct sh_carry *c, const __u8 *bytes, struct sh_remote *r)
{
	struct sh_carry_loop l = {.c = c, .bytes = bytes};
	__u32 len = c->dd_end - c->dd_at;
	if (!r->stated || r->unsure || !c->dd_at)
		return;
	sh_carry_text(c, c->dd_at, len);
	SH_LOOP(SH_CARRY_STATE_IN + 1, sh_carry_dd_byte, &l);
	sh_carry_dd(c, r);
}

static inline void sh_carry_baggage(struct sh_carry *c, const struct sh_head *h, const __u8 *bytes)
{
	struct sh_carry_loop l = {.c = c, .bytes = bytes};
	__u32 at = h->at[SH_HEAD_BAGGAGE], len = h->value_len[SH_HEAD_BAGGAGE];
	if (h->odd & 1 << SH_HEAD_BAGGAGE)
		c->out.left |= SH_LEFT_BAGGAGE;
	if (!at)
		return;
	sh_carry_text(c, at, len);
	SH_LOOP(SH_CARRY_BAGGAGE / 8, sh_carry_baggage_word, &l);
	if (len > SH_CARRY_BAGGAGE || c->bad) {
		c->out.left |= SH_LEFT_BAGGAGE;
		return;
	}
#if defined(__bpf__)
	/* To the verifier, too. */
	__asm__ volatile("" : "+r"(len));
	if (len > SH_CARRY_BAGGAGE)
		return;
#endif
	SH_COPY(c->out.baggage, len, bytes + sh_within(at));
	c->out.baggage_len = (__u16)len;
}

/* Is there anything to be kept? */
static inline int sh_carry_any(const struct sh_carry *c)
{
	const struct sh_carried *o = &c->out;
	return o->tags_len | o->origin_len | o->state_len | o->baggage_len | o->left;
}

static inline void sh_carry_read(struct sh_carry *c, const struct sh_head *h, const __u8 *bytes, struct sh_remote *r)
{
	sh_carry_begin(c);
	if (!r->unsure) {
		sh_carry_datadog(c, h, bytes);
		sh_carry_tracestate(c, h, bytes, r);
		sh_carry_own_member(c, bytes, r);
	}
	if (h->end && !(h->flags & SH_HEAD_STRANGE))
		sh_carry_baggage(c, h, bytes);
}

#endif
