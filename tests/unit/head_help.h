/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEAD_HELP_H
#define HEAD_HELP_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "head_case.h"
#include "protocol/http1.h"
#include "spanhound/ids.h"
#include "trace/propagation/propagation.h"

/* Heads, and what the reader that both halves share may say of them: for unit tests and the fuzzer. */

/* Bytes behind the head are whatever was there before. */
static inline void head_put(struct head_case *c, const char *text, size_t len, const char *behind)
{
	size_t n = strlen(behind);
	memset(c, 0xee, sizeof(*c));
	for (size_t i = len, j = 0; n && i < sizeof(c->bytes); i++, j = j + 1 < n ? j + 1 : 0)
		c->bytes[i] = (__u8)behind[j];
	memcpy(c->bytes, text, len);
	c->head.len = (__u32)len;
}

static inline void head_read(struct head_case *c, const char *text, size_t len, const char *behind, __u32 reads)
{
	head_put(c, text, len, behind);
	c->reads = reads;
	sh_head_read(&c->head, c->bytes);
	if (reads != SH_READS_USUAL)
		sh_head_read_b3(&c->head, c->bytes, SH_STYLE_B3MULTI | SH_STYLE_B3);
	sh_head_remote(&c->head, c->bytes, reads, &c->remote);
	sh_carry_read(&c->carry, &c->head, c->bytes, &c->remote);
}

static inline void head_forward(struct head_case *c, const char *text, size_t len, const char *behind)
{
	head_put(c, text, len, behind);
	sh_head_read(&c->head, c->bytes);
	sh_forward_read(&c->forward, &c->head, c->bytes, &c->remote);
}

/* --- heads that are made ------------------------------------------------------------------------------------------ */

static inline uint64_t head_below(__u64 *rng, uint64_t n)
{
	return sh_next_id(rng) % n;
}

static inline void head_make_state(__u64 *rng, char *text, size_t room, size_t *len)
{
	static const char *const members[] = {
		"dd=s:2;p:0123456789abcdef",
		"dd=s:-1;o:rum;t.dm:-4;t.tid:6b01f95000000000",
		"a=b",
		"c@d=e=f;g",
		"dd=o:rum",
		"dd=s:1;t.usr.id:YQ~~;t.x:1:2",
		"ot=th:8;rv:0123456789abcd",
		" x=y ",
		"",
		"dd=s:x",
		"dd=s",
		"v=0123456789012345678901234567890123456789012345678901234567890123456789"};
	unsigned cnt = 1 + (unsigned)head_below(rng, 4);
	*len += (size_t)snprintf(text + *len, room - *len, "tracestate: ");
	for (unsigned i = 0; i < cnt; i++)
		*len += (size_t)snprintf(text + *len, room - *len, "%s%s", i ? "," : "", members[head_below(rng, 12)]);
	*len += (size_t)snprintf(text + *len, room - *len, "\r\n");
}

static inline void head_make_b3(__u64 *rng, char *text, size_t room, size_t *ret_len, uint64_t hi, uint64_t lo,
				uint64_t span)
{
	static const char *const odd[] = {"0",
					  "1",
					  "d",
					  "",
					  "-",
					  "--",
					  "xyz-1-1",
					  "0x5-1-1",
					  "f_f-1-0",
					  "+1-5",
					  "-1-5",
					  "5-5-1-5-5",
					  "5-",
					  "5-x-1",
					  "0-5-1",
					  "g",
					  "1111111111111111-12345678901234567-1",
					  "000000000000000000000000000000005-5-d",
					  "100000000000000000000000000000005-5-d"};
	size_t len = *ret_len;
	bool upper = !head_below(rng, 6);
	char trace[33], parent[17];
	int n = hi && head_below(rng, 8) ? snprintf(trace, sizeof(trace), upper ? "%016" PRIX64 : "%016" PRIx64, hi)
					 : 0;
	snprintf(trace + n, sizeof(trace) - (size_t)n, upper ? "%016" PRIX64 : "%016" PRIx64, lo);
	snprintf(parent, sizeof(parent), head_below(rng, 8) ? "%016" PRIx64 : "%" PRIx64, span);
#define ADD(...) len += (size_t)snprintf(text + len, room - len, __VA_ARGS__)
	static const char *const sampled[] = {"0", "1", "1", "d", "true", "01", "2"};
	if (head_below(rng, 2)) {
		if (head_below(rng, 4))
			ADD("%s: %s-%s", head_below(rng, 4) ? "b3" : "B3", trace, parent);
		else
			ADD("b3: %s", odd[head_below(rng, sizeof(odd) / sizeof(odd[0]))]);
		if (head_below(rng, 3))
			ADD("-%s", sampled[head_below(rng, 7)]);
		if (!head_below(rng, 4))
			ADD("-%016" PRIx64, span + 1);
		ADD("\r\n");
	} else {
		if (head_below(rng, 16))
			ADD("X-B3-TraceId: %s\r\n", head_below(rng, 8) ? trace : odd[head_below(rng, 16)]);
		if (head_below(rng, 8))
			ADD("x-b3-spanid:%s\r\n", head_below(rng, 8) ? parent : odd[head_below(rng, 16)]);
		if (head_below(rng, 2))
			ADD("X-B3-Sampled: %s\r\n", sampled[head_below(rng, 7)]);
		if (!head_below(rng, 4))
			ADD("X-B3-Flags: %s\r\nX-B3-ParentSpanId: 1\r\n", sampled[head_below(rng, 7)]);
	}
#undef ADD
	*ret_len = len;
}

/* Any list of styles to be read; the usual one mostly. */
static inline __u32 head_any_reads(__u64 *rng)
{
	__u32 reads = 0, seen = 0;
	if (head_below(rng, 2))
		return SH_READS_USUAL;
	for (unsigned n = (unsigned)head_below(rng, SH_STYLES + 1), shift = 0; n; n--) {
		__u32 style = 1u << head_below(rng, SH_STYLES);
		if (seen & style)
			continue;
		seen |= style;
		reads |= style << shift;
		shift += 4;
	}
	return reads;
}

/* Mostly right headers; some are damaged. */
static inline void head_make(__u64 *rng, char *text, size_t room)
{
	static const char *const origins[] = {"rum", "synthetics", "a b",
					      "a=b", "x;y",	   "0123456789012345678901234567890123456789"};
	static const char *const priorities[] = {"-1", "0", "1", "2", "+1", "3", "", "x", "-0"};
	uint64_t hi = head_below(rng, 2) ? (head_below(rng, 1u << 31) + 1) << 32 : 0, lo = sh_next_id(rng),
		 span = sh_next_id(rng);
	size_t len = (size_t)snprintf(text, room, "GET /%" PRIu64 " HTTP/1.1\r\nHost: a\r\n", head_below(rng, 1000));
#define ADD(...) len += (size_t)snprintf(text + len, room - len, __VA_ARGS__)
	for (unsigned n = 2 + (unsigned)head_below(rng, 2); n; n--) {
		bool datadog = head_below(rng, 2);
		if (!head_below(rng, 4)) {
			head_make_b3(rng, text, room, &len, hi, lo, span);
		} else if (datadog && head_below(rng, 4)) {
			ADD("X-Datadog-Trace-Id: %" PRIu64 "\r\n", lo);
			if (head_below(rng, 8))
				ADD("x-datadog-parent-id:%" PRIu64 "\r\n", span);
			if (head_below(rng, 3))
				ADD("x-datadog-sampling-priority: %s\r\n",
				    priorities[head_below(rng, head_below(rng, 4) ? 4 : 9)]);
			if (hi && head_below(rng, 8))
				ADD("x-datadog-tags: %s_dd.p.tid=%016" PRIx64 "%s\r\n",
				    head_below(rng, 2) ? "_dd.p.dm=-4," : "", hi,
				    head_below(rng, 2) ? ",_dd.p.a=b=c" : "");
		} else if (!datadog && head_below(rng, 4)) {
			ADD("Traceparent: 00-%016" PRIx64 "%016" PRIx64 "-%016" PRIx64 "-0%u\r\n", hi, lo, span,
			    (unsigned)head_below(rng, 2));
			if (!head_below(rng, 3))
				head_make_state(rng, text, room, &len);
			if (!head_below(rng, 3))
				ADD("X-Datadog-Origin: %s\r\n", origins[head_below(rng, 6)]);
		} else if (head_below(rng, 4)) {
			ADD(head_below(rng, 2) ? "Accept: */*\r\n" : "baggage: a=b,c=%%20d;p=1\r\n");
		} else {
			ADD("Content-Length: %" PRIu64 "\r\n", head_below(rng, 1000));
		}
		if (!head_below(rng, 3))
			lo += head_below(rng, 2);
		if (!head_below(rng, 4))
			span += head_below(rng, 2);
		if (!head_below(rng, 8))
			hi = 0;
	}
	ADD("\r\n");
#undef ADD
	size_t first = (size_t)(strchr(text, '\n') + 1 - text);
	static const char letters[] = "0a,=:- f\tZ_\"\r\n\x1a";
	bool breaks = !head_below(rng, 8);
	while (!head_below(rng, 3)) {
		char *c = &text[first + head_below(rng, len - first - 2)];
		if (breaks || (*c != '\r' && *c != '\n'))
			*c = letters[head_below(rng, breaks ? sizeof(letters) - 1 : 12)];
	}
}

/* --- what the user half makes of them ------------------------------------------------------------------------------ */

static inline struct sv head_styles(void *arg, const char *name)
{
	return strcmp(name, "DD_TRACE_PROPAGATION_STYLE_EXTRACT") ? SV_NULL : sbuf_sv(arg);
}

/* The settings of a process that reads those styles. */
static inline void head_settings(__u32 reads, struct propagation_settings *settings)
{
	struct sbuf list = {0};
	for (; reads; reads >>= 4)
		sbuf_adds(&list, (reads & 15) == SH_STYLE_DATADOG	 ? "datadog,"
				 : (reads & 15) == SH_STYLE_TRACECONTEXT ? "tracecontext,"
				 : (reads & 15) == SH_STYLE_B3MULTI	 ? "b3multi,"
				 : (reads & 15) == SH_STYLE_B3		 ? "b3,"
									 : "");
	sbuf_adds(&list, "baggage");
	propagation_settings_read(settings, head_styles, &list, NULL);
	sbuf_release(&list);
}

/* Of text that is a whole head. */
static inline void head_extract(struct arena *a, const char *text, size_t len, __u32 reads,
				struct propagation_context *ctx)
{
	struct propagation_settings settings;
	struct propagation_headers headers = {0};
	const char *last = text + len, *line = memchr(text, '\n', len);
	head_settings(reads, &settings);
	while (line && ++line + 1 < last && memcmp(line, "\r\n", 2)) {
		const char *end = memchr(line, '\n', (size_t)(last - line));
		const char *colon = end ? memchr(line, ':', (size_t)(end - line)) : NULL;
		if (colon)
			propagation_headers_add(&headers, a, (struct sv){line, (size_t)(colon - line)},
						(struct sv){colon + 1, (size_t)(end - colon - 2)});
		line = end;
	}
	propagation_extract(&settings, &headers, a, ctx);
}

/* The names of enum sh_head_name, then those that carry context, too, then what ends bodies. */
static const char *const head_names[] = {"traceparent",
					 "x-datadog-trace-id",
					 "x-datadog-parent-id",
					 "x-datadog-sampling-priority",
					 "x-datadog-tags",
					 "content-length",
					 "x-datadog-origin",
					 "tracestate",
					 "baggage",
					 "b3",
					 "x-b3-traceid",
					 "x-b3-spanid",
					 "x-b3-sampled",
					 "x-b3-flags",
					 "x-b3-parentspanid",
					 "transfer-encoding"};
enum { HEAD_CARRIERS = 15, HEAD_CODING = 15, HEAD_NAMES = 16 };

static inline const char *head_check_values(const struct sh_head *h, const char *text, const struct http1_head *u)
{
	bool carries = false;
	_Static_assert((int)HEAD_CODING == (int)SH_HEAD_NAMES, "the names, and no others");
	for (int i = 0; i < SH_HEAD_NAMES; i++) {
		bool present = u->present >> i & 1;
		if (h->odd >> i & 1 && present && !h->at[i])
			continue;
		if (present != (h->at[i] != 0))
			return head_names[i];
		if (present && (u->values[i].len != h->value_len[i] || u->values[i].data != text + h->at[i]))
			return "another value";
	}
	for (int i = 0; i < HEAD_CARRIERS; i++)
		carries |= i != SH_HEAD_LENGTH && i != SH_HEAD_BAGGAGE && u->present >> i & 1;
	if (carries && !(h->flags & SH_HEAD_CARRIES))
		return "carries context";
	if (u->present >> 7 & 1 && !(h->flags & SH_HEAD_TRACESTATE))
		return "tracestate";
	return NULL;
}

static inline const char *head_check_body(const struct sh_head *h, const struct http1_head *u)
{
	bool there = h->at[SH_HEAD_LENGTH];
	if (u->present >> HEAD_CODING & 1 && !(h->flags & SH_HEAD_CHUNKED))
		return "transfer encoding";
	if (u->upgrade.data && !(h->flags & SH_HEAD_UPGRADE))
		return "upgrade";
	if (there != u->has_length || (there && h->length != u->content_length))
		return "content length";
	/* What is injected into is what has a known end: it must be the one there is. */
	if (!(h->flags & SH_HEAD_CHUNKED) && u->framing != (h->length ? HTTP1_LENGTH : HTTP1_NO_BODY))
		return "framing";
	return NULL;
}

static inline struct sv head_sv(const __u8 *text, size_t len)
{
	return (struct sv){(const char *)text, len};
}

/* Of a tracestate what is neither ours nor OpenTelemetry's, which keep no order. */
static inline void head_others(struct sv state, struct sbuf *out)
{
	while (state.len) {
		const char *comma = memchr(state.data, ',', state.len);
		size_t len = comma ? (size_t)(comma - state.data) : state.len;
		struct sv member = {state.data, len};
		if (!sv_starts(member, SV("dd=")) && !sv_starts(member, SV("ot="))) {
			sbuf_addsv(out, member);
			sbuf_addc(out, ',');
		}
		len += comma != NULL;
		state = (struct sv){state.data + len, state.len - len};
	}
}

static inline bool head_same_state(struct sv a, struct sv b)
{
	struct sbuf x = {0}, y = {0};
	head_others(a, &x);
	head_others(b, &y);
	bool same = sv_eq(sbuf_sv(&x), sbuf_sv(&y));
	sbuf_release(&x);
	sbuf_release(&y);
	return same;
}

static inline bool head_same_tags(const struct propagation_context *a, const struct propagation_context *b)
{
	unsigned cnt = 0, others = 0;
	for (unsigned i = 0; i < b->tag_cnt; i++)
		others += !sv_eq(b->tags[i].key, SV("_dd.p.tid"));
	for (unsigned i = 0; i < a->tag_cnt; i++) {
		if (sv_eq(a->tags[i].key, SV("_dd.p.tid")))
			continue;
		struct sv other = propagation_tag(b, a->tags[i].key);
		cnt++;
		if (!other.data || !sv_eq(other, a->tags[i].value))
			return false;
	}
	return cnt == others;
}

/* What the tags would say to the next one, written in the one way and the other. */
static inline bool head_tags_say(struct arena *a, const struct propagation_context *ctx, const char *format,
				 struct sv text, bool in_state)
{
	struct sbuf head = {0};
	struct propagation_context told;
	sbuf_addf(&head, "GET / HTTP/1.1\r\n");
	sbuf_addf(&head, format, (int)text.len, text.len ? text.data : "");
	sbuf_adds(&head, "\r\n\r\n");
	head_extract(a, sbuf_str(&head), head.len, SH_READS_USUAL, &told);
	sbuf_release(&head);
	if (!in_state)
		return head_same_tags(&told, ctx);
	/* Some characters have no place there: what they become is the user half's word. */
	struct propagation_settings settings;
	struct propagation_context again;
	propagation_settings_init(&settings);
	settings.inject = 1u << PROPAGATION_STYLE_tracecontext;
	sbuf_adds(&head, "GET / HTTP/1.1\r\n");
	propagation_inject(&settings, ctx, 5, &head);
	sbuf_adds(&head, "\r\n");
	head_extract(a, sbuf_str(&head), head.len, SH_READS_USUAL, &again);
	sbuf_release(&head);
	return head_same_tags(&told, &again);
}

static inline const char *head_check_carried(const struct sh_carried *o, const struct propagation_context *ctx,
					     struct arena *a)
{
	struct sv tags = head_sv(o->tags, o->tags_len), items = head_sv(o->items, o->items_len);
	if (o->tags_len > SH_CARRY_TAGS || o->items_len > SH_CARRY_ITEMS || o->origin_len > SH_CARRY_ORIGIN ||
	    o->state_len > SH_CARRY_STATE || o->baggage_len > SH_CARRY_BAGGAGE)
		return "more than fits";
	if (!(o->left & SH_LEFT_ORIGIN) && !sv_eq(head_sv(o->origin, o->origin_len), ctx->origin))
		return "origin";
	if (!(o->left & SH_LEFT_STATE) && !head_same_state(head_sv(o->state, o->state_len), ctx->tracestate))
		return "tracestate";
	/* Tags beyond its limit the user half leaves out of tracestate one by one. */
	if (o->left & SH_LEFT_TAGS || ctx->truncated)
		return NULL;
	if (!head_tags_say(a, ctx, "x-datadog-trace-id: 5\r\nx-datadog-tags: %.*s", tags, false))
		return "tags";
	if (!head_tags_say(
		    a, ctx,
		    "traceparent: 00-00000000000000000000000000000005-0000000000000005-01\r\ntracestate: dd=s:1;%.*s",
		    items.len ? items : SV("x:"), true))
		return "tags in tracestate";
	return NULL;
}

static inline const char *head_check_remote(const struct head_case *c, const char *text, size_t len)
{
	struct arena a = {0};
	struct propagation_context ctx;
	const struct sh_remote *r = &c->remote;
	const char *wrong = NULL;
	if (r->unsure)
		return NULL;
	head_extract(&a, text, len, c->reads, &ctx);
	if (!ctx.trace_hi && !ctx.trace_lo) { /* what else is said is of no trace */
		ctx.span_id = 0;
		ctx.priority = PROPAGATION_PRIORITY_NONE;
		ctx.flags = 0;
	}
	if (r->trace_lo != ctx.trace_lo || r->trace_hi != ctx.trace_hi || r->parent_id != ctx.span_id ||
	    (r->priority == SH_REMOTE_NO_PRIORITY ? PROPAGATION_PRIORITY_NONE : r->priority) != ctx.priority ||
	    (r->flags & 2) != (ctx.flags & 2))
		wrong = "trace context";
	else if (r->trace_lo)
		wrong = head_check_carried(&c->carry.out, &ctx, &a);
	arena_release(&a);
	return wrong;
}

static inline bool head_carries_same(const struct sh_carried *x, const struct sh_carried *y)
{
	return x->left == y->left && x->has_dm == y->has_dm &&
	       sv_eq(head_sv(x->tags, x->tags_len), head_sv(y->tags, y->tags_len)) &&
	       sv_eq(head_sv(x->items, x->items_len), head_sv(y->items, y->items_len)) &&
	       sv_eq(head_sv(x->origin, x->origin_len), head_sv(y->origin, y->origin_len)) &&
	       sv_eq(head_sv(x->state, x->state_len), head_sv(y->state, y->state_len)) &&
	       sv_eq(head_sv(x->baggage, x->baggage_len), head_sv(y->baggage, y->baggage_len));
}

static inline bool head_same(const struct head_case *a, const struct head_case *b)
{
	const struct sh_head *x = &a->head, *y = &b->head;
	if (!head_carries_same(&a->carry.out, &b->carry.out))
		return false;
	if (a->remote.unsure != b->remote.unsure ||
	    (!a->remote.unsure && memcmp(&a->remote, &b->remote, sizeof(a->remote)) != 0))
		return false;
	return x->end == y->end && x->first_end == y->first_end && x->flags == y->flags && x->odd == y->odd &&
	       x->length == y->length && !memcmp(x->at, y->at, sizeof(x->at)) &&
	       !memcmp(x->value_len, y->value_len, sizeof(x->value_len));
}

/* --- heads that are handed on ------------------------------------------------------------------------------------- */

static inline bool head_same_forward(const struct head_case *a, const struct head_case *b)
{
	const struct sh_forward *x = &a->forward, *y = &b->forward;
	if (x->bad || y->bad)
		return x->bad && y->bad;
	return !memcmp(x, y, sizeof(*x)) && !memcmp(&a->remote, &b->remote, sizeof(a->remote));
}

/* What one style alone says of them. */
static inline const char *head_check_style(const struct head_case *c, __u32 style, const char *text, uint64_t span,
					   bool is_there, struct sv last)
{
	struct arena a = {0};
	struct propagation_context ctx;
	const char *wrong = NULL;
	head_extract(&a, text, c->head.end, style, &ctx);
	bool names = ctx.trace_hi | ctx.trace_lo;
	if (is_there && !names)
		wrong = "handed on: no span";
	else if (names &&
		 (ctx.trace_hi != c->remote.trace_hi || ctx.trace_lo != c->remote.trace_lo || ctx.span_id != span))
		wrong = "handed on: another span";
	else if (last.len && ctx.last_parent.len && !sv_eq(ctx.last_parent, last))
		wrong = "handed on: another last parent";
	arena_release(&a);
	return wrong;
}

/* Every style says the span that is named, and once another is in its place, that one. */
static inline const char *head_check_forward(struct head_case *c, const char *text)
{
	static const __u32 styles[] = {SH_STYLE_TRACECONTEXT, SH_STYLE_B3, SH_STYLE_B3MULTI};
	static const enum sh_forward_spot spots[] = {SH_FORWARD_TRACEPARENT, SH_FORWARD_B3, SH_FORWARD_B3_SPAN_ID};
	static const char digits[] = "feedbeef12345678", decimal[] = "13579246801357924680";
	const struct sh_forward *f = &c->forward;
	char changed[SH_MAX_HEAD];
	const char *wrong = NULL;
	if (f->bad || !c->remote.trace_lo)
		return NULL;
	memcpy(changed, text, c->head.end);
	for (int i = 0; i < SH_FORWARD_SPOTS; i++)
		if (f->at[i] && f->at[i] + 16u > c->head.end)
			return "handed on: beyond the head";
		else if (f->at[i])
			memcpy(changed + f->at[i], digits, 16);
	for (int i = 0; i < 3 && !wrong; i++) {
		bool is_there = f->at[spots[i]];
		struct sv last = i == 0 && f->at[SH_FORWARD_STATE_LAST] ? sv_of(digits) : SV_NULL;
		wrong = head_check_style(c, styles[i], text, c->remote.parent_id, is_there, SV_NULL);
		wrong = wrong ? wrong : head_check_style(c, styles[i], changed, 0xfeedbeef12345678, is_there, last);
	}
	wrong = wrong ? wrong : head_check_style(c, SH_STYLE_DATADOG, text, c->remote.parent_id, f->decimal, SV_NULL);
	if (wrong || !f->decimal || f->decimal_len > 19)
		return wrong;
	memcpy(changed + f->decimal, decimal, f->decimal_len);
	uint64_t id = 0;
	for (int i = 0; i < f->decimal_len; i++)
		id = id * 10 + (uint64_t)(decimal[i] - '0');
	return head_check_style(c, SH_STYLE_DATADOG, changed, id, true, SV_NULL);
}

struct head_checker {
	struct http1_shared shared; /* wants head_names, in their order */
	struct head_case one, other;
	struct head_case plain;	     /* whatever counts */
	uint64_t sure, told, unsure; /* heads that were understood; that name a trace; whose trace cannot be told */
	uint64_t forwarded, b3;	     /* that name one span; some of B3's headers among them */
};

static inline void head_checker_init(struct head_checker *k)
{
	http1_shared_init(&k->shared, 2 * SH_MAX_HEAD, 0);
	for (int i = 0; i < HEAD_NAMES; i++)
		if (http1_want(&k->shared.wanted, sv_of(head_names[i])) != i)
			abort();
}

static inline const char *head_check_request(struct head_checker *k, const char *text)
{
	const struct head_case *c = &k->plain;
	struct http1 p;
	struct http1_head u;
	const char *wrong = NULL;
	http1_init(&p, &k->shared, HTTP1_REQUESTS);
	http1_feed(&p, (struct sv){text, c->head.end}, 0, 0);
	/* Who says that it is no request, or faulty, passes no judgement on what is in it. */
	if (http1_next(&p, &u) == HTTP1_HEAD) {
		if (u.size != c->head.end)
			wrong = "its end";
		else if (!u.faulty && !u.truncated) {
			k->sure++;
			wrong = head_check_values(&c->head, text, &u);
			wrong = wrong ? wrong : head_check_body(&c->head, &u);
		}
	}
	http1_release(&p);
	return wrong;
}

/* NULL, or on what they do not agree. `text` has `len` bytes, at most SH_MAX_HEAD; read by a process of those styles. */
static inline const char *head_check(struct head_checker *k, const char *text, size_t len, __u32 reads)
{
	static const char *const behind[] = {"", "\r\n\r\n", "\r\nx-datadog-trace-id: 1\r\n", "0", ":", "-", "\xff"};
	struct head_case *c = &k->one;
	head_read(&k->one, text, len, behind[0], reads);
	head_read(&k->other, text, len, behind[1 + len % (sizeof(behind) / sizeof(behind[0]) - 1)], reads);
	head_put(&k->plain, text, len, behind[0]);
	sh_head_read(&k->plain.head, k->plain.bytes);
	if (!head_same(&k->one, &k->other))
		return "what is behind it matters";
	if (c->head.end > len || c->head.first_end > len)
		return "beyond the head";
	if (!c->head.end || c->head.flags & SH_HEAD_STRANGE)
		return c->remote.unsure || !reads ? NULL : "sure of a strange head";
	k->unsure += c->remote.unsure;
	k->told += !c->remote.unsure && (c->remote.trace_lo | c->remote.trace_hi);
	/* Line breaks before a request are none of it: no such bytes are taken for one by the kernel half. */
	if (text[0] == '\r' || text[0] == '\n')
		return NULL;
	const char *wrong = head_check_request(k, text);
	wrong = wrong ? wrong : head_check_remote(c, text, c->head.end);
	if (wrong)
		return wrong;
	head_forward(&k->one, text, len, behind[0]);
	head_forward(&k->other, text, len, behind[1 + len % (sizeof(behind) / sizeof(behind[0]) - 1)]);
	if (!head_same_forward(&k->one, &k->other))
		return "what is behind it matters to who hands it on";
	bool is_one = !c->forward.bad && c->remote.trace_lo;
	k->forwarded += is_one;
	k->b3 += is_one && (c->forward.at[SH_FORWARD_B3] | c->forward.at[SH_FORWARD_B3_SPAN_ID]);
	return head_check_forward(c, text);
}

#endif
