/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "trace/propagation/style.h"

/* x-datadog-*: ddtrace propagation/http.py _DatadogMultiHeader and internal/_tagset.pyx. */

#define TAGS_MAX    512 /* characters that are decoded, whatever is allowed to be written */
#define TAGS_PREFIX SV("_dd.p.")
#define TAG_TID	    SV("_dd.p.tid")
#define TAG_DM	    SV("_dd.p.dm")

static bool is_key(struct sv s)
{
	bool good = s.len > 0;
	for (size_t i = 0; i < s.len; i++)
		good &= s.data[i] > 0x20 && s.data[i] < 0x7f && s.data[i] != ',' && s.data[i] != '=';
	return good;
}

static bool is_value(struct sv s)
{
	return s.len && is_printable(s) && !memchr(s.data, ',', s.len);
}

static struct sv strip_spaces(struct sv s)
{
	while (s.len && s.data[0] == ' ')
		s.data++, s.len--;
	while (s.len && s.data[s.len - 1] == ' ')
		s.len--;
	return s;
}

/* "k=v,k=v" with at most one comma at the end; keeps the tags that are handed on. */
static bool decode_tags(struct sv text, struct propagation_context *ctx)
{
	while (text.data && text.len) {
		struct sv value = sv_split(&text, ',');
		struct sv key = sv_split(&value, '=');
		if (!value.data || !is_key(key))
			return false;
		value = strip_spaces(value);
		if (!is_value(value))
			return false;
		if (!sv_starts(key, TAGS_PREFIX) || sv_eq(key, SV("_dd.p.upstream_services")))
			continue;
		if (!tags_put(ctx->tags, &ctx->tag_cnt, PROPAGATION_TAGS_MAX, key, value))
			ctx->truncated = true;
	}
	return true;
}

static void remove_tag(struct propagation_context *ctx, unsigned i)
{
	memmove(&ctx->tags[i], &ctx->tags[i + 1], (ctx->tag_cnt - i - 1) * sizeof(*ctx->tags));
	ctx->tag_cnt--;
}

static unsigned find_tag(const struct propagation_context *ctx, struct sv key)
{
	unsigned i = 0;
	while (i < ctx->tag_cnt && !sv_eq(ctx->tags[i].key, key))
		i++;
	return i;
}

/* The upper half of the trace id is taken from the tags, which must be 16 hex digits. */
static int take_tid(const struct propagation_settings *s, struct arena *a, struct propagation_context *ctx)
{
	unsigned i = find_tag(ctx, TAG_TID);
	if (i == ctx->tag_cnt)
		return 0;
	struct sv tid = ctx->tags[i].value;
	uint64_t hi;
	if (tid.len == 16 && hex_parse(tid, &hi) && hi) {
		ctx->trace_hi = s->trace_id_128 ? hi : 0;
		return 0;
	}
	static const char word[] = "malformed_tid ";
	char *text = arena_alloc(a, sizeof(word) + tid.len);
	if (!text)
		return -ENOMEM;
	memcpy(text, word, sizeof(word) - 1);
	memcpy(text + sizeof(word) - 1, tid.data, tid.len);
	ctx->error = (struct sv){text, sizeof(word) - 1 + tid.len};
	remove_tag(ctx, i);
	return 0;
}

/* ddtrace internal/sampling.py: the decision maker is -0 to -255. */
static void check_decision_maker(struct propagation_context *ctx)
{
	unsigned i = find_tag(ctx, TAG_DM);
	if (i == ctx->tag_cnt)
		return;
	struct sv dm = ctx->tags[i].value;
	unsigned n = 0;
	bool good = dm.len > 1 && dm.len < 5 && dm.data[0] == '-' && (dm.len == 2 || dm.data[1] != '0');
	for (size_t at = 1; good && at < dm.len; at++) {
		good = dm.data[at] >= '0' && dm.data[at] <= '9';
		n = n * 10 + (unsigned)(dm.data[at] - '0');
	}
	if (good && n <= 255)
		return;
	remove_tag(ctx, i);
	ctx->error = SV("decoding_error");
}

static int extract_tags(const struct propagation_settings *s, struct sv header, struct arena *a,
			struct propagation_context *ctx)
{
	if (!header.len)
		return 0;
	if (characters(header) > TAGS_MAX) {
		ctx->error = SV("extract_max_size");
		return 0;
	}
	struct sv text = arena_dup(a, header);
	size_t commas = 0;
	for (size_t i = 0; i < text.len; i++)
		commas += text.data[i] == ',';
	size_t room = commas + 1 < PROPAGATION_TAGS_MAX ? commas + 1 : PROPAGATION_TAGS_MAX;
	ctx->tags = arena_alloc(a, room * sizeof(*ctx->tags));
	if (!text.data || !ctx->tags)
		return -ENOMEM;
	if (!decode_tags(text, ctx)) {
		ctx->tag_cnt = 0;
		ctx->error = SV("decoding_error");
		return 0;
	}
	int err = take_tid(s, a, ctx);
	check_decision_maker(ctx);
	return err;
}

static int extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
		   struct propagation_context *ctx)
{
	const struct sv *value = h->value;
	struct lenient_int n;
	if (!value[PROPAGATION_HEADER_DATADOG_TRACE_ID].data ||
	    !lenient_int(value[PROPAGATION_HEADER_DATADOG_TRACE_ID], 10, &n))
		return 0;
	ctx->trace_lo = lenient_id(&n);
	if (!ctx->trace_lo)
		return 0;
	struct sv parent = value[PROPAGATION_HEADER_DATADOG_PARENT_ID];
	if (parent.data) {
		if (!lenient_int(parent, 10, &n))
			return 0;
		ctx->span_id = lenient_id(&n);
	}
	struct sv priority = value[PROPAGATION_HEADER_DATADOG_PRIORITY];
	if (priority.data) {
		if (!lenient_int(priority, 10, &n))
			return 0;
		ctx->priority = lenient_priority(&n);
	}
	struct sv origin = value[PROPAGATION_HEADER_DATADOG_ORIGIN];
	if (origin.data && is_printable(origin)) {
		ctx->origin = arena_dup(a, origin);
		if (!ctx->origin.data)
			return -ENOMEM;
	}
	int err = extract_tags(s, value[PROPAGATION_HEADER_DATADOG_TAGS], a, ctx);
	return err ? err : 1;
}

/* Appends the header with all propagated tags; the reason when that is not possible, and nothing is appended. */
static struct sv inject_tags(const struct propagation_settings *s, const struct propagation_context *ctx,
			     struct sbuf *out)
{
	size_t start = out->len;
	sbuf_adds(out, "x-datadog-tags: ");
	size_t first = out->len;
	struct tag tag;
	char tid[17];
	for (unsigned i = 0; next_tag(ctx, ctx->trace_hi != 0, &i, tid, &tag);) {
		if (!sv_starts(tag.key, TAGS_PREFIX))
			continue;
		struct sv key = strip_spaces(tag.key), value = strip_spaces(tag.value);
		struct sv error = SV_NULL;
		if (!is_key(key) || !is_value(value))
			error = SV("encoding_error");
		else if (out->len - first + key.len + value.len + 1 + (out->len > first) > s->tags_max)
			error = SV("inject_max_size");
		if (error.len) {
			sbuf_cut(out, start);
			return error;
		}
		if (out->len > first)
			sbuf_addc(out, ',');
		sbuf_addsv(out, key);
		sbuf_addc(out, '=');
		sbuf_addsv(out, value);
	}
	if (out->len == first)
		sbuf_cut(out, start);
	else
		sbuf_adds(out, "\r\n");
	return SV_NULL;
}

static struct sv inject(const struct propagation_settings *s, const struct propagation_context *ctx, uint64_t span_id,
			struct sbuf *out)
{
	sbuf_adds(out, "x-datadog-trace-id: ");
	sbuf_addu(out, ctx->trace_lo);
	sbuf_adds(out, "\r\nx-datadog-parent-id: ");
	sbuf_addu(out, span_id);
	if (ctx->priority != PROPAGATION_PRIORITY_NONE) {
		sbuf_adds(out, "\r\nx-datadog-sampling-priority: ");
		sbuf_addi(out, ctx->priority);
	}
	if (ctx->origin.data && is_printable(ctx->origin)) {
		sbuf_adds(out, "\r\nx-datadog-origin: ");
		sbuf_addsv(out, ctx->origin);
	}
	sbuf_adds(out, "\r\n");
	if (!s->tags_max)
		return SV("disabled");
	/* What could not be read is not handed on in parts. */
	return ctx->error.len ? SV_NULL : inject_tags(s, ctx, out);
}

const struct propagation_style propagation_datadog = {.extract = extract, .inject = inject};
