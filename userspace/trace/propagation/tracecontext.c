/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "trace/propagation/style.h"

/* traceparent and tracestate: W3C Trace Context, and ddtrace propagation/http.py _TraceContext. */

#define TRACEPARENT_LEN 55
#define DD_CHARS_MAX	256 /* of our member, "dd=" and "p:" included, before optional tags are left out */
#define DD_RESERVED	(sizeof("dd=p:0123456789abcdef;") - 1)

static struct sv slice(struct sv s, size_t from, size_t len)
{
	return (struct sv){s.data + from, len};
}

/* version "-" trace id "-" span id "-" flags, then for later versions anything after another "-". */
static bool parse_traceparent(struct sv s, struct propagation_context *ctx)
{
	uint64_t version, flags;
	if (s.len < TRACEPARENT_LEN || s.data[2] != '-' || s.data[35] != '-' || s.data[52] != '-')
		return false;
	if (!hex_parse(slice(s, 0, 2), &version) || !hex_parse(slice(s, 3, 16), &ctx->trace_hi) ||
	    !hex_parse(slice(s, 19, 16), &ctx->trace_lo) || !hex_parse(slice(s, 36, 16), &ctx->span_id) ||
	    !hex_parse(slice(s, 53, 2), &flags))
		return false;
	if (s.len > TRACEPARENT_LEN && (version == 0 || s.data[TRACEPARENT_LEN] != '-' ||
					s.len == TRACEPARENT_LEN + 1 || memchr(s.data, '\n', s.len)))
		return false;
	ctx->flags = (uint8_t)flags;
	return version != 0xff && (ctx->trace_hi | ctx->trace_lo) && ctx->span_id;
}

/* The items of a dd= member that matter. */
struct dd_member {
	struct sv priority, origin, last_parent; /* data NULL: not there */
	unsigned tags;				 /* t.* items */
};

/* "k:v;k:v", the last of equal keys counting. False when an item has no colon: then none of them counts. */
static bool read_dd(struct sv text, struct dd_member *dd)
{
	while (text.data) {
		struct sv value = sv_split(&text, ';');
		struct sv key = sv_split(&value, ':');
		if (!value.data)
			return false;
		if (sv_eq(key, SV("s")))
			dd->priority = value;
		else if (sv_eq(key, SV("o")))
			dd->origin = value;
		else if (sv_eq(key, SV("p")))
			dd->last_parent = value;
		else
			dd->tags += sv_starts(key, SV("t."));
	}
	return true;
}

/* `=` travels as `~`. */
static struct sv decode_value(struct arena *a, struct sv value)
{
	if (!memchr(value.data, '~', value.len))
		return value;
	struct sv copy = arena_dup(a, value);
	for (size_t i = 0; copy.data && i < copy.len; i++) {
		if (copy.data[i] == '~')
			((char *)copy.data)[i] = '=';
	}
	return copy;
}

static int read_tags(struct sv text, unsigned cnt, struct arena *a, struct propagation_context *ctx)
{
	unsigned max = cnt < PROPAGATION_TAGS_MAX ? cnt : PROPAGATION_TAGS_MAX;
	ctx->tags = max ? arena_alloc(a, max * sizeof(*ctx->tags)) : NULL;
	if (max && !ctx->tags)
		return -ENOMEM;
	while (text.data) {
		struct sv value = sv_split(&text, ';');
		struct sv key = sv_split(&value, ':');
		if (!sv_starts(key, SV("t.")))
			continue;
		char *name = arena_alloc(a, key.len + 5);
		value = decode_value(a, value);
		if (!name || !value.data)
			return -ENOMEM;
		memcpy(name, "_dd.p.", 6);
		memcpy(name + 6, key.data + 2, key.len - 2);
		if (!tags_put(ctx->tags, &ctx->tag_cnt, max, (struct sv){name, key.len + 4}, value))
			ctx->truncated = true;
	}
	return 0;
}

/* The flag of traceparent is what everybody understands: a priority that says otherwise does not count. */
static int32_t reconcile(bool sampled, int32_t priority, struct sv origin)
{
	bool said = priority != PROPAGATION_PRIORITY_NONE && priority != 0;
	if (!said && sv_eq(origin, SV("rum")))
		return priority;
	if (!sampled && (!said || priority > 0))
		return 0;
	if (sampled && (!said || priority < 0))
		return 1;
	return priority;
}

static int take_dd(struct sv text, struct arena *a, struct propagation_context *ctx)
{
	struct dd_member dd = {0};
	struct lenient_int n;
	if (!read_dd(text, &dd) || (dd.priority.data && !lenient_int(dd.priority, 10, &n)))
		return 0;
	ctx->last_parent = dd.last_parent;
	if (dd.origin.data) {
		ctx->origin = decode_value(a, dd.origin);
		if (!ctx->origin.data)
			return -ENOMEM;
	}
	int32_t priority = dd.priority.data ? lenient_priority(&n) : PROPAGATION_PRIORITY_NONE;
	ctx->priority = reconcile(ctx->flags & 1, priority, ctx->origin);
	return read_tags(text, dd.tags, a, ctx);
}

/* OpenTelemetry's member is handed on in canonical order of its fields, without invalid ones. */
static int take_ot(struct sv made, struct arena *a, struct propagation_context *ctx)
{
	struct sv ot = tracestate_member(made, SV("ot="));
	ctx->tracestate = made;
	if (!ot.data)
		return 0;
	char normal[OT_ROOM];
	struct ot_fields f = ot_parse(ot);
	struct sv value = {normal, ot_build(&f, normal)};
	if (value.len && sv_eq(value, ot))
		return 0;
	char *again = arena_alloc(a, TRACESTATE_ROOM(made, 0, value.len));
	if (!again)
		return -ENOMEM;
	ctx->tracestate = (struct sv){again, tracestate_build(made, NULL, &value, again)};
	return 0;
}

/* The whole list is kept for the next hop, even when our member in it is not understood. */
static int take_tracestate(struct sv header, struct arena *a, struct propagation_context *ctx)
{
	char *list = arena_alloc(a, TRACESTATE_ROOM(header, 0, 0));
	if (!list)
		return -ENOMEM;
	struct sv made = {list, tracestate_build(header, NULL, NULL, list)};
	if (!is_printable(made))
		return 0;
	struct sv dd = tracestate_member(made, SV("dd="));
	int err = take_ot(made, a, ctx);
	return err || !dd.data ? err : take_dd(dd, a, ctx);
}

static int extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
		   struct propagation_context *ctx)
{
	(void)s;
	struct sv parent = h->value[PROPAGATION_HEADER_TRACEPARENT];
	if (!parent.data || !parse_traceparent(sv_strip(parent), ctx))
		return 0;
	ctx->priority = ctx->flags & 1;
	struct sv state = h->value[PROPAGATION_HEADER_TRACESTATE];
	int err = state.len ? take_tracestate(state, a, ctx) : 0;
	return err ? err : 1;
}

/* One "_" for each character that has a meaning of its own, and for each run of bytes that are not printable. */
static void add_encoded(struct sbuf *out, struct sv s, const char *reserved)
{
	bool in_run = false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.data[i];
		bool printable = c >= 0x20 && c < 0x7f;
		if (!printable) {
			if (!in_run)
				sbuf_addc(out, '_');
		} else if (strchr(reserved, c)) {
			sbuf_addc(out, '_');
		} else {
			sbuf_addc(out, c == '=' ? '~' : c);
		}
		in_run = !printable;
	}
}

static void add_value(struct sbuf *out, struct sv s)
{
	add_encoded(out, s, ",;~");
}

/* Every "_dd.p." in a key becomes "t.", as ddtrace's replace() does. */
static void add_key(struct sbuf *out, struct sv key)
{
	size_t prefix = sizeof("_dd.p.") - 1;
	while (key.len) {
		const char *at = memmem(key.data, key.len, "_dd.p.", prefix);
		size_t len = at ? (size_t)(at - key.data) : key.len;
		add_encoded(out, (struct sv){key.data, len}, ", =");
		if (!at)
			return;
		sbuf_adds(out, "t.");
		key = (struct sv){at + prefix, key.len - len - prefix};
	}
}

static void add_separator(struct sbuf *out)
{
	if (out->len)
		sbuf_addc(out, ';');
}

/* Whatever is left of the tags, as long as the member stays within its limit. */
static void add_other_tags(const struct propagation_context *ctx, bool with_tid, struct sbuf *out)
{
	struct tag tag;
	char tid[17];
	for (unsigned i = 0; next_tag(ctx, with_tid, &i, tid, &tag);) {
		if (!sv_starts(tag.key, SV("_dd.p.")) || sv_eq(tag.key, SV("_dd.p.dm")) ||
		    sv_eq(tag.key, SV("_dd.p.usr.id")))
			continue;
		size_t start = out->len;
		add_separator(out);
		add_key(out, tag.key);
		sbuf_addc(out, ':');
		add_value(out, tag.value);
		if (out->len + DD_RESERVED > DD_CHARS_MAX)
			sbuf_cut(out, start);
	}
}

/* Our member without "dd=" and p. */
static void build_dd(const struct propagation_settings *s, const struct propagation_context *ctx, struct sbuf *out)
{
	if (ctx->priority != PROPAGATION_PRIORITY_NONE) {
		sbuf_adds(out, "s:");
		sbuf_addi(out, ctx->priority);
	}
	if (ctx->origin.len) {
		add_separator(out);
		sbuf_adds(out, "o:");
		add_value(out, ctx->origin);
	}
	static const struct {
		const char *key, *item;
	} always[] = {{"_dd.p.dm", "t.dm:"}, {"_dd.p.usr.id", "t.usr.id:"}};
	for (unsigned i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		struct sv value = propagation_tag(ctx, sv_of(always[i].key));
		if (!value.len)
			continue;
		add_separator(out);
		sbuf_adds(out, always[i].item);
		add_value(out, value);
	}
	/* The Datadog style needs the id's upper half as a tag, and only then is it one. */
	bool with_tid = ctx->trace_hi && (s->inject & 1U << PROPAGATION_STYLE_datadog);
	add_other_tags(ctx, with_tid, out);
}

static struct sv inject(const struct propagation_settings *s, const struct propagation_context *ctx, uint64_t span_id,
			struct sbuf *out)
{
	sbuf_adds(out, "traceparent: 00-");
	sbuf_addx(out, ctx->trace_hi, 16);
	sbuf_addx(out, ctx->trace_lo, 16);
	sbuf_addc(out, '-');
	sbuf_addx(out, span_id, 16);
	sbuf_addc(out, '-');
	sbuf_addx(out, (ctx->flags & 2) | (ctx->priority > 0), 2);
	sbuf_adds(out, "\r\ntracestate: dd=p:");
	sbuf_addx(out, span_id, 16);
	struct sbuf dd = {0};
	build_dd(s, ctx, &dd);
	struct sv incoming = is_printable(ctx->tracestate) ? ctx->tracestate : SV_NULL;
	/* A blank before a comma is nothing. */
	struct sv member = dd.len ? sv_strip(sbuf_sv(&dd)) : SV("");
	char *list = sbuf_reserve(out, TRACESTATE_ROOM(incoming, dd.len, 0));
	if (list) {
		/* The limits are counted without p. */
		size_t len = tracestate_build(incoming, &member, NULL, list);
		size_t skip = sizeof("dd=") - 1;
		memmove(list + (member.len > 0), list + skip, len - skip);
		if (member.len)
			list[0] = ';';
		out->len += len - skip + (member.len > 0);
	}
	out->failed |= dd.failed;
	sbuf_release(&dd);
	sbuf_adds(out, "\r\n");
	return SV_NULL;
}

const struct propagation_style propagation_tracecontext = {.extract = extract, .inject = inject};
