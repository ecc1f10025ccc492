/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_HEAD_H
#define SPANHOUND_HEAD_H

#include <linux/types.h>

#include "spanhound/limits.h"

/* The head of an HTTP/1 request: where its lines are, and what matters of them to injection and to trace context (remote.h).
 * One reader for both halves, so that they agree; the kernel half needs bpf_loop() (5.17). It understands what programs
 * send and calls everything else strange (folded lines, bare line feeds, headers twice, numbers with signs): of a strange
 * head nothing is known, nor of one that has no end within SH_MAX_HEAD bytes. */

#define SH_HEAD_LINES 64  /* a power of two; a head of more lines is strange */
#define SH_HEAD_TAGS  256 /* bytes of x-datadog-tags that are looked at */
#define SH_HEAD_HEX   128 /* bytes of a B3 header that are looked at */
/* Readable bytes behind the buffer's first SH_MAX_HEAD: names are compared without looking for their end. */
#define SH_HEAD_SLACK 64

enum sh_head_name {
	SH_HEAD_TRACEPARENT,
	SH_HEAD_TRACE_ID,
	SH_HEAD_PARENT_ID,
	SH_HEAD_PRIORITY,
	SH_HEAD_DATADOG_TAGS,
	SH_HEAD_LENGTH,
	/* Those that go wrong do not make the head strange: they are not there, and sh_head.odd says so. */
	SH_HEAD_ORIGIN,
	SH_HEAD_STATE,
	SH_HEAD_BAGGAGE,
	SH_HEAD_B3,
	SH_HEAD_B3_TRACE_ID,
	SH_HEAD_B3_SPAN_ID,
	SH_HEAD_B3_SAMPLED,
	SH_HEAD_B3_FLAGS,
	SH_HEAD_B3_PARENT_ID,
	SH_HEAD_NAMES
};

/* sh_head.flags */
#define SH_HEAD_STRANGE	   (1 << 0)
#define SH_HEAD_CARRIES	   (1 << 1) /* some header of some style of trace context */
#define SH_HEAD_CHUNKED	   (1 << 2) /* some transfer encoding */
#define SH_HEAD_UPGRADE	   (1 << 3)
#define SH_HEAD_TRACESTATE (1 << 4)

/* Styles of trace context. Which a process reads, and in which order: four bits each, the first in the lowest. */
#define SH_STYLE_DATADOG      1
#define SH_STYLE_TRACECONTEXT 2
#define SH_STYLE_B3MULTI      4
#define SH_STYLE_B3	      8
#define SH_STYLES	      4
#define SH_READS_USUAL	      (SH_STYLE_DATADOG | SH_STYLE_TRACECONTEXT << 4)

enum sh_found_state { SH_FOUND_NOTHING, SH_FOUND_CONTEXT, SH_FOUND_UNSURE };

/* What the headers of one style say. */
struct sh_found {
	__u64 hi, lo, parent; /* hi and lo 0: of no trace */
	__s8 priority;	      /* or SH_REMOTE_NO_PRIORITY */
	__u8 flags;	      /* of traceparent */
	__u8 state;	      /* enum sh_found_state */
	__u8 pad[5];
};

/* A number in hex as it is read. */
struct sh_hex {
	__u64 hi, lo;
	__u32 len;
	__u32 is; /* SH_NUMBER_* */
};

#define SH_NUMBER_DOUBTFUL (1 << 0) /* Python's int() may take it for one, unless it is NONE, too */
#define SH_NUMBER_NONE	   (1 << 1)
#define SH_NUMBER_BIG	   (1 << 2) /* has no room */

struct sh_head {
	__u32 len;	 /* bytes there are */
	__u32 end;	 /* behind the blank line; 0: not whole */
	__u32 first_end; /* behind the first line */
	__u32 flags;
	__u32 odd; /* 1 << enum sh_head_name: there twice, or empty */
	__u32 line_cnt;
	__u16 lines[SH_HEAD_LINES];			   /* where each but the first begins */
	__u16 at[SH_HEAD_NAMES], value_len[SH_HEAD_NAMES]; /* the value; 0: not there */
	__u32 pad;
	__u64 length; /* of the body: Content-Length */
	/* Of x-datadog-tags. */
	__u32 item, equals; /* where the tag begins, and behind its first '=' (0: not yet) */
	__u32 tid_at, tags_bad;
	/* The number being read. */
	__u64 number, number_bad;
	__u32 number_at, number_len;
	/* The B3 header being read: its trace id and span id, and of the third part how long it is and its last byte. */
	struct sh_hex hex[2];
	__u32 part, splits, sampled_len, sampled;
	struct sh_found found[SH_STYLES];
	__u16 host_at, host_len; /* of Host; 0: there is none, an empty one, or there are several */
	__u32 host_cnt;
};

#if defined(__bpf__)
#define SH_LOOP(cnt, step, ctx) bpf_loop(cnt, step, ctx, 0)
#define SH_STEP			static long
#else
#define SH_LOOP(cnt, step, ctx)                            \
	do {                                               \
		for (__u32 sh_i = 0; sh_i < (cnt); sh_i++) \
			if (step(sh_i, ctx))               \
				break;                     \
	} while (0)
#define SH_STEP static inline long
#endif

struct sh_head_loop {
	struct sh_head *h;
	const __u8 *bytes;
};

/* An offset into the head, to the verifier, too: the compiler would leave the bound out, knowing it from before. */
static inline __u32 sh_within(__u32 at)
{
#if defined(__bpf__)
	__asm__ volatile("" : "+r"(at));
#endif
	return at & (SH_MAX_HEAD - 1);
}

static inline __u64 sh_word(const __u8 *p)
{
	__u64 w;
	__builtin_memcpy(&w, p, 8);
	return w;
}

#define SH_EIGHT(s)                                                                                               \
	((__u64)(__u8)(s)[0] | (__u64)(__u8)(s)[1] << 8 | (__u64)(__u8)(s)[2] << 16 | (__u64)(__u8)(s)[3] << 24 | \
	 (__u64)(__u8)(s)[4] << 32 | (__u64)(__u8)(s)[5] << 40 | (__u64)(__u8)(s)[6] << 48 |                      \
	 (__u64)(__u8)(s)[7] << 56)
#define SH_EACH(byte) (0x0101010101010101ULL * (byte))
/* Letters in lower case; control characters, which are no '-' and no ':', stay what they are. */
static inline __u64 sh_lower(__u64 w)
{
	return w | (w >> 1 & SH_EACH(0x20));
}

/* What is wrong is gathered in *bad without a branch: the verifier follows each branch with all that come behind it. */

/* --- numbers ------------------------------------------------------------------------------------------------------ */

/* Eight lower-case hex digits, in `w` as they lie in memory. Sets *bad when they are none. */
static inline __u32 sh_hex_parse8(__u64 w, __u64 *bad)
{
	__u64 seven = w & SH_EACH(0x7f);
	__u64 digit = (seven + SH_EACH(0x80 - '0')) & ~(seven + SH_EACH(0x80 - '9' - 1));
	__u64 alpha = (seven + SH_EACH(0x80 - 'a')) & ~(seven + SH_EACH(0x80 - 'f' - 1));
	digit &= SH_EACH(0x80);
	alpha &= SH_EACH(0x80);
	*bad |= ((digit | alpha) ^ SH_EACH(0x80)) | (w & SH_EACH(0x80));
	__u64 n = __builtin_bswap64((w & SH_EACH(0x0f)) + (alpha >> 7) * 9);
	n = (n | n >> 4) & 0x00ff00ff00ff00ffULL;
	n = (n | n >> 8) & 0x0000ffff0000ffffULL;
	return (__u32)(n | n >> 16);
}

static inline __u64 sh_hex_parse16(const __u8 *p, __u64 *bad)
{
	__u64 hi = sh_hex_parse8(sh_word(p), bad);
	return hi << 32 | sh_hex_parse8(sh_word(p + 8), bad);
}

/* The eight digits, as they are to lie in memory. */
static inline __u64 sh_hex_print8(__u32 value)
{
	__u64 n = value;
	n = (n | n << 16) & 0x0000ffff0000ffffULL;
	n = (n | n << 8) & 0x00ff00ff00ff00ffULL;
	n = (n | n << 4) & SH_EACH(0x0f);
	__u64 alpha = (n + SH_EACH(6)) >> 4 & SH_EACH(1);
	return __builtin_bswap64(n + SH_EACH('0') + alpha * ('a' - '0' - 10));
}

/* What a number with this byte in it is, which is no digit. */
static inline __u32 sh_number_is(__u8 c)
{
	__u8 lower = c | 0x20;
	return c <= ' ' || c == '+' || c == '-' || c == '_' || lower == 'x' ? SH_NUMBER_DOUBTFUL : SH_NUMBER_NONE;
}

/* One digit of the number at h->number_at. */
SH_STEP sh_head_digit(__u32 i, void *arg)
{
	struct sh_head_loop *l = (struct sh_head_loop *)arg;
	struct sh_head *h = l->h;
	if (i >= h->number_len)
		return 1;
	__u64 digit = (__u64)l->bytes[sh_within(h->number_at + i)] - '0';
	__u64 before = h->number;
	h->number = before * 10 + digit;
	if (digit > 9)
		h->number_bad |= sh_number_is(l->bytes[sh_within(h->number_at + i)]);
	else if (before > 1844674407370955161ULL || h->number < digit)
		h->number_bad |= SH_NUMBER_BIG;
	return 0;
}

/* Decimal digits alone. Sets SH_NUMBER_* in *bad where they are none, or do not fit. */
static inline __u64 sh_head_decimal(struct sh_head *h, const __u8 *bytes, __u32 at, __u32 len, __u64 *bad)
{
	struct sh_head_loop l = {.h = h, .bytes = bytes};
	h->number = h->number_bad = 0;
	h->number_at = at;
	h->number_len = len;
	SH_LOOP(20, sh_head_digit, &l);
	*bad |= h->number_bad;
	if (!len || len > 20)
		*bad |= SH_NUMBER_DOUBTFUL;
	return h->number;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

/* Eight bytes: which are line feeds? */
SH_STEP sh_head_feeds(__u32 i, void *arg)
{
	struct sh_head_loop *l = (struct sh_head_loop *)arg;
	struct sh_head *h = l->h;
	if (i >= SH_MAX_HEAD / 8 || i * 8 >= h->len)
		return 1;
	__u64 x = sh_word(l->bytes + sh_within(i * 8)) ^ SH_EACH('\n');
	/* Exact: no carry leaves a byte. */
	__u64 found = ~(((x & SH_EACH(0x7f)) + SH_EACH(0x7f)) | x) & SH_EACH(0x80);
	if (!found)
		return 0;
	for (__u32 b = 0; b < 8; b++) {
		__u32 begins = i * 8 + b + 1;
		if (!(found >> (b * 8 + 7) & 1) || begins > h->len)
			continue;
		if (h->line_cnt < SH_HEAD_LINES)
			h->lines[h->line_cnt & (SH_HEAD_LINES - 1)] = (__u16)begins;
		h->line_cnt++;
	}
	/* A blank line ends it: no need to look at the body. */
	return h->line_cnt > SH_HEAD_LINES;
}

static inline void sh_head_value(struct sh_head *h, const __u8 *bytes, __u32 name, __u32 at, __u32 end)
{
	if (name >= SH_HEAD_NAMES || at >= SH_MAX_HEAD - 1 || end >= SH_MAX_HEAD)
		return;
	if (at < end && bytes[sh_within(at)] == ' ')
		at++;
	__u8 first = bytes[sh_within(at)], last = bytes[sh_within(end - 1)];
	if (h->at[name] || at >= end || first <= ' ' || last <= ' ') {
		h->flags |= SH_HEAD_STRANGE;
		return;
	}
	h->at[name] = (__u16)at;
	h->value_len[name] = (__u16)(end - at);
}

static inline void sh_head_host(struct sh_head *h, const __u8 *bytes, __u32 at, __u32 end)
{
	if (at >= SH_MAX_HEAD - 1 || end >= SH_MAX_HEAD)
		return;
	if (at < end && (bytes[sh_within(at)] == ' ' || bytes[sh_within(at)] == '\t'))
		at++;
	if (end > at && bytes[sh_within(end - 1)] == ' ')
		end--;
	h->host_at = (__u16)at;
	h->host_len = (__u16)(h->host_cnt || end <= at ? 0 : end - at);
	h->host_cnt++;
}

/* Of a header that may be left out. */
static inline void sh_head_soft(struct sh_head *h, const __u8 *bytes, __u32 name, __u32 at, __u32 end)
{
	if (name >= SH_HEAD_NAMES || at >= SH_MAX_HEAD - 1 || end >= SH_MAX_HEAD)
		return;
	if (at < end && bytes[sh_within(at)] == ' ')
		at++;
	__u8 first = bytes[sh_within(at)], last = bytes[sh_within(end - 1)];
	if (h->at[name] || h->odd >> name & 1 || at >= end || first <= ' ' || last <= ' ') {
		h->odd |= 1u << name;
		h->at[name] = 0;
		return;
	}
	h->at[name] = (__u16)at;
	h->value_len[name] = (__u16)(end - at);
}

/* x-datadog-...: `p` behind the first eight bytes. */
static inline void sh_head_datadog(struct sh_head *h, const __u8 *bytes, __u32 at, __u32 end)
{
	const __u8 *p = bytes + sh_within(at);
	__u64 second = sh_lower(sh_word(p + 8)), third = sh_lower(sh_word(p + 16));
	h->flags |= SH_HEAD_CARRIES;
	if (second == SH_EIGHT("g-trace-") && (third & 0xffffff) == (SH_EIGHT("id:     ") & 0xffffff))
		sh_head_value(h, bytes, SH_HEAD_TRACE_ID, at + 19, end);
	else if (second == SH_EIGHT("g-parent") && (__u32)third == (__u32)SH_EIGHT("-id:    "))
		sh_head_value(h, bytes, SH_HEAD_PARENT_ID, at + 20, end);
	else if (second == SH_EIGHT("g-sampli") && third == SH_EIGHT("ng-prior") &&
		 (__u32)(sh_lower(sh_word(p + 24))) == (__u32)SH_EIGHT("ity:    "))
		sh_head_value(h, bytes, SH_HEAD_PRIORITY, at + 28, end);
	else if ((second & 0xffffffffffffff) == (SH_EIGHT("g-tags: ") & 0xffffffffffffff))
		sh_head_value(h, bytes, SH_HEAD_DATADOG_TAGS, at + 15, end);
	else if (second == SH_EIGHT("g-origin") && (third & 0xff) == ':')
		sh_head_soft(h, bytes, SH_HEAD_ORIGIN, at + 17, end);
	else
		h->flags |= SH_HEAD_STRANGE;
}

/* x-b3-... */
static inline void sh_head_b3(struct sh_head *h, const __u8 *bytes, __u32 at, __u32 end)
{
	__u64 word = sh_lower(sh_word(bytes + sh_within(at) + 5));
	__u32 name = SH_HEAD_NAMES, skip = 13;
	h->flags |= SH_HEAD_CARRIES;
	if (word == SH_EIGHT("traceid:")) {
		name = SH_HEAD_B3_TRACE_ID;
	} else if ((word & 0xffffffffffffff) == (SH_EIGHT("spanid: ") & 0xffffffffffffff)) {
		name = SH_HEAD_B3_SPAN_ID;
		skip = 12;
	} else if (word == SH_EIGHT("sampled:")) {
		name = SH_HEAD_B3_SAMPLED;
	} else if ((word & 0xffffffffffff) == (SH_EIGHT("flags:  ") & 0xffffffffffff)) {
		name = SH_HEAD_B3_FLAGS;
		skip = 11;
	} else if (word == SH_EIGHT("parentsp") && (sh_lower(sh_word(bytes + sh_within(at) + 13)) & 0xffffffffff) ==
							   (SH_EIGHT("anid:   ") & 0xffffffffff)) {
		name = SH_HEAD_B3_PARENT_ID;
		skip = 18;
	}
	sh_head_soft(h, bytes, name, at + skip, end);
}

SH_STEP sh_head_line(__u32 i, void *arg)
{
	struct sh_head_loop *l = (struct sh_head_loop *)arg;
	struct sh_head *h = l->h;
	const __u8 *bytes = l->bytes;
	if (i >= SH_HEAD_LINES || i >= h->line_cnt)
		return 1;
	__u32 at = h->lines[i & (SH_HEAD_LINES - 1)] & (2 * SH_MAX_HEAD - 1);
	if (at >= SH_MAX_HEAD)
		return 1;
	const __u8 *p = bytes + sh_within(at);
	if (p[0] == '\r' && p[1] == '\n' && at + 2 <= h->len) {
		h->end = at + 2;
		return 1;
	}
	if (i + 1 >= SH_HEAD_LINES || i + 1 >= h->line_cnt)
		return 1; /* its end is not there */
	__u32 end = h->lines[(i + 1) & (SH_HEAD_LINES - 1)] & (2 * SH_MAX_HEAD - 1);
	if (end < at + 2 || end > SH_MAX_HEAD) {
		h->flags |= SH_HEAD_STRANGE;
		return 1;
	}
	end -= 2;
	if (bytes[sh_within(end)] != '\r' || p[0] == ' ' || p[0] == '\t')
		h->flags |= SH_HEAD_STRANGE;
	__u64 first = sh_lower(sh_word(p)), second = sh_lower(sh_word(p + 8));
	if (first == SH_EIGHT("x-datado")) {
		sh_head_datadog(h, bytes, at, end);
	} else if (first == SH_EIGHT("tracepar")) {
		h->flags |= SH_HEAD_CARRIES;
		if ((__u32)second == (__u32)SH_EIGHT("ent:    "))
			sh_head_value(h, bytes, SH_HEAD_TRACEPARENT, at + 12, end);
		else
			h->flags |= SH_HEAD_STRANGE;
	} else if (first == SH_EIGHT("tracesta")) {
		h->flags |= SH_HEAD_CARRIES | SH_HEAD_TRACESTATE;
		if ((second & 0xffffff) == (SH_EIGHT("te:     ") & 0xffffff))
			sh_head_soft(h, bytes, SH_HEAD_STATE, at + 11, end);
		else
			h->odd |= 1u << SH_HEAD_STATE;
	} else if (first == SH_EIGHT("baggage:")) {
		sh_head_soft(h, bytes, SH_HEAD_BAGGAGE, at + 8, end);
	} else if ((first & 0xffffffffff) == (SH_EIGHT("x-b3-   ") & 0xffffffffff)) {
		sh_head_b3(h, bytes, at, end);
	} else if ((first & 0xffffff) == (SH_EIGHT("b3:     ") & 0xffffff)) {
		h->flags |= SH_HEAD_CARRIES;
		sh_head_soft(h, bytes, SH_HEAD_B3, at + 3, end);
	} else if (first == SH_EIGHT("content-")) {
		if ((second & 0xffffffffffffff) == (SH_EIGHT("length: ") & 0xffffffffffffff))
			sh_head_value(h, bytes, SH_HEAD_LENGTH, at + 15, end);
		else if ((second & 0xffffffffffff) == (SH_EIGHT("length  ") & 0xffffffffffff))
			h->flags |= SH_HEAD_STRANGE;
	} else if (first == SH_EIGHT("transfer")) {
		h->flags |= SH_HEAD_CHUNKED;
	} else if ((first & 0xffffffffffffff) == (SH_EIGHT("upgrade ") & 0xffffffffffffff) ||
		   first == SH_EIGHT("http2-se")) {
		h->flags |= SH_HEAD_UPGRADE;
	} else if ((first & 0xffffffffff) == (SH_EIGHT("host:   ") & 0xffffffffff)) {
		sh_head_host(h, bytes, at + 5, end);
	}
	return 0;
}

/* Reads h->len bytes, all of h else is overwritten. `bytes` has SH_MAX_HEAD and SH_HEAD_SLACK more that may be read. */
static inline void sh_head_read(struct sh_head *h, const __u8 *bytes)
{
	struct sh_head_loop l = {.h = h, .bytes = bytes};
	__u64 bad = 0;
	h->end = h->first_end = h->flags = h->odd = h->line_cnt = 0;
	h->length = 0;
	__builtin_memset(h->at, 0, sizeof(h->at));
	__builtin_memset(h->value_len, 0, sizeof(h->value_len));
	h->host_at = h->host_len = 0;
	h->host_cnt = 0;
	SH_LOOP(SH_MAX_HEAD / 8, sh_head_feeds, &l);
	if (!h->line_cnt)
		return;
	h->first_end = h->lines[0];
	SH_LOOP(SH_HEAD_LINES, sh_head_line, &l);
	__u32 at = h->at[SH_HEAD_LENGTH];
	if (at && at < SH_MAX_HEAD) {
		__u32 len = h->value_len[SH_HEAD_LENGTH];
		h->length = sh_head_decimal(h, bytes, at, len, &bad);
		if (bad)
			h->flags |= SH_HEAD_STRANGE;
	}
}

#endif
