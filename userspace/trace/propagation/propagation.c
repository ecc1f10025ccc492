/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/propagation/propagation.h"

#include <errno.h>

#include "trace/propagation/style.h"

static const struct propagation_style *const styles[] = {
#define PROPAGATION_STYLE(id, symbol, word) [id] = &propagation_##symbol,
#include "trace/propagation/propagation.def"
};

static const struct sv header_names[] = {
#define PROPAGATION_HEADER(SYMBOL, style, name) {name, sizeof(name) - 1},
#include "trace/propagation/propagation.def"
};

/* Bit n: a name of n bytes exists, a name begins with the n-th letter; most lines of a head are told by these alone. */
static const uint32_t header_lengths = 0
#define PROPAGATION_HEADER(SYMBOL, style, name) | 1U << (sizeof(name) - 1)
#include "trace/propagation/propagation.def"
	;
static const uint32_t header_letters = 0
#define PROPAGATION_HEADER(SYMBOL, style, name) | 1U << ((name)[0] & 31)
#include "trace/propagation/propagation.def"
	;

static bool equals_lower(struct sv lower, struct sv any)
{
	for (size_t i = 0; i < lower.len; i++) {
		char c = any.data[i];
		if ((c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c) != lower.data[i])
			return false;
	}
	return true;
}

int propagation_header_find(struct sv name)
{
	if (!name.len || name.len > 31 || !(header_lengths & 1U << name.len) ||
	    !(header_letters & 1U << (name.data[0] & 31)))
		return -1;
	for (int i = 0; i < PROPAGATION_HEADER_CNT; i++) {
		if (header_names[i].len == name.len && equals_lower(header_names[i], name))
			return i;
	}
	return -1;
}

int propagation_headers_add(struct propagation_headers *h, struct arena *a, struct sv name, struct sv value)
{
	int i = propagation_header_find(name);
	if (i < 0)
		return 0;
	while (value.len && (value.data[0] == ' ' || value.data[0] == '\t'))
		value.data++, value.len--;
	while (value.len && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
		value.len--;
	struct sv before = h->value[i];
	if (!before.data) {
		h->value[i] = value.data ? value : SV("");
		return 1;
	}
	char *both = arena_alloc(a, before.len + value.len + 1);
	if (!both)
		return -ENOMEM;
	memcpy(both, before.data, before.len);
	both[before.len] = ',';
	if (value.len)
		memcpy(both + before.len + 1, value.data, value.len);
	h->value[i] = (struct sv){both, before.len + 1 + value.len};
	return 1;
}

struct sv propagation_header_name(unsigned header)
{
	return header < PROPAGATION_HEADER_CNT ? header_names[header] : SV_NULL;
}

unsigned propagation_header_names(const struct propagation_settings *s, struct sv names[PROPAGATION_HEADER_CNT])
{
	unsigned cnt = 0;
	for (unsigned i = 0; i < PROPAGATION_HEADER_CNT; i++) {
		if (s->headers & 1U << i)
			names[cnt++] = header_names[i];
	}
	return cnt;
}

/* --- several styles at once --------------------------------------------------------------------------------------- */

/* The contexts that were found, in the order of the styles; the first one is the request's. */
struct found {
	struct propagation_context ctx[PROPAGATION_STYLES_MAX];
	uint8_t style[PROPAGATION_STYLES_MAX];
	unsigned cnt;
};

static const struct propagation_context nothing = {.priority = PROPAGATION_PRIORITY_NONE};

static bool has_trace(const struct propagation_context *ctx)
{
	return ctx->trace_hi | ctx->trace_lo;
}

static int find_contexts(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
			 struct found *found)
{
	found->cnt = 0;
	/* "First" is the first of the list, not the first that is there. */
	unsigned cnt = s->extract_first && s->extract_cnt ? 1 : s->extract_cnt;
	for (unsigned i = 0; i < cnt; i++) {
		if (s->extract[i] == PROPAGATION_STYLE_baggage)
			continue;
		struct propagation_context *ctx = &found->ctx[found->cnt];
		*ctx = nothing;
		int err = styles[s->extract[i]]->extract(s, h, a, ctx);
		if (err < 0)
			return err;
		if (err)
			found->style[found->cnt++] = s->extract[i];
	}
	return 0;
}

static void add_link(struct propagation_context *to, const struct propagation_context *ctx, unsigned style,
		     struct sv reason)
{
	if (!has_trace(ctx) || !ctx->span_id)
		return;
	struct sv none = style == PROPAGATION_STYLE_tracecontext ? SV("") : SV_NULL;
	to->links[to->link_cnt++] = (struct propagation_link){
		.trace_hi = ctx->trace_hi,
		.trace_lo = ctx->trace_lo,
		.span_id = ctx->span_id,
		.flags = ctx->priority > 0,
		.tracestate = style == PROPAGATION_STYLE_tracecontext && ctx->tracestate.data ? ctx->tracestate : none,
		.reason = reason,
		.context_headers = propagation_style_name(style),
	};
}

/* The same trace in another style's words and in W3C's: what only W3C can say is added, and its parent is the nearer
 * one, since every hop writes traceparent. The span Datadog's headers name is then the last of ours. */
static int merge_tracecontext(struct arena *a, struct found *found, const struct propagation_context *w3c)
{
	struct propagation_context *first = &found->ctx[0];
	first->flags = w3c->flags;
	if (w3c->tracestate.len)
		first->tracestate = w3c->tracestate;
	if (first->span_id == w3c->span_id)
		return 0;
	if (w3c->last_parent.len) {
		first->last_parent = w3c->last_parent;
	} else {
		for (unsigned i = 0; i < found->cnt; i++) {
			if (found->style[i] != PROPAGATION_STYLE_datadog)
				continue;
			char *hex = found->ctx[i].span_id ? arena_alloc(a, 17) : NULL;
			if (found->ctx[i].span_id && !hex)
				return -ENOMEM;
			if (hex)
				first->last_parent = hex_print(found->ctx[i].span_id, hex);
			break;
		}
	}
	first->span_id = w3c->span_id;
	return 0;
}

static int resolve(struct arena *a, struct found *found)
{
	struct propagation_context *first = &found->ctx[0];
	if (found->cnt < 2)
		return 0;
	first->links = arena_alloc(a, (found->cnt - 1) * sizeof(*first->links));
	if (!first->links)
		return -ENOMEM;
	for (unsigned i = 1; i < found->cnt; i++) {
		const struct propagation_context *ctx = &found->ctx[i];
		int err = 0;
		if (has_trace(ctx) && (ctx->trace_hi != first->trace_hi || ctx->trace_lo != first->trace_lo))
			add_link(first, ctx, found->style[i], SV("terminated_context"));
		else if (found->style[i] == PROPAGATION_STYLE_tracecontext)
			err = merge_tracecontext(a, found, ctx);
		if (err)
			return err;
	}
	return 0;
}

static bool extracts(const struct propagation_settings *s, unsigned style)
{
	for (unsigned i = 0; i < s->extract_cnt; i++) {
		if (s->extract[i] == style)
			return true;
	}
	return false;
}

static int restart(struct arena *a, unsigned style, struct propagation_context *ctx)
{
	struct propagation_context fresh = nothing;
	fresh.baggage = ctx->baggage;
	fresh.baggage_cnt = ctx->baggage_cnt;
	fresh.links = arena_alloc(a, sizeof(*fresh.links));
	if (!fresh.links)
		return -ENOMEM;
	add_link(&fresh, ctx, style, SV("propagation_behavior_extract"));
	*ctx = fresh;
	return 0;
}

int propagation_extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
			struct propagation_context *ctx)
{
	*ctx = nothing;
	bool any = false;
	for (unsigned i = 0; i < PROPAGATION_HEADER_CNT; i++)
		any |= h->value[i].data && (s->headers & 1U << i);
	if (!any)
		return 0;
	struct found found;
	int err = find_contexts(s, h, a, &found);
	if (!err)
		err = resolve(a, &found);
	if (err)
		return err;
	if (found.cnt)
		*ctx = found.ctx[0];
	if (extracts(s, PROPAGATION_STYLE_baggage)) {
		err = propagation_baggage.extract(s, h, a, ctx);
		if (err < 0)
			return err;
	}
	if (s->behavior == PROPAGATION_RESTART) {
		err = restart(a, found.cnt ? found.style[0] : 0, ctx);
		if (err)
			return err;
	}
	if (has_trace(ctx) || ctx->baggage_cnt || ctx->link_cnt)
		return 1;
	*ctx = nothing;
	return 0;
}

struct sv propagation_inject(const struct propagation_settings *s, const struct propagation_context *ctx,
			     uint64_t span_id, struct sbuf *out)
{
	struct sv error = SV_NULL;
	for (unsigned i = 0; i < PROPAGATION_STYLE_CNT; i++) {
		bool has_ids = has_trace(ctx) && span_id;
		if (!(s->inject & 1U << i) || (!has_ids && i != PROPAGATION_STYLE_baggage))
			continue;
		struct sv e = styles[i]->inject(s, ctx, span_id, out);
		if (e.len)
			error = e;
	}
	return error;
}

/* --- tags and sampling -------------------------------------------------------------------------------------------- */

struct sv propagation_tag(const struct propagation_context *ctx, struct sv key)
{
	for (unsigned i = 0; i < ctx->tag_cnt; i++) {
		if (sv_eq(ctx->tags[i].key, key))
			return ctx->tags[i].value;
	}
	return SV_NULL;
}

int propagation_set_tag(struct propagation_context *ctx, struct arena *a, struct sv key, struct sv value)
{
	if (tags_put(ctx->tags, &ctx->tag_cnt, ctx->tag_cnt, key, value))
		return 0;
	if (ctx->tag_cnt >= PROPAGATION_TAGS_MAX)
		return -E2BIG;
	struct tag *tags = arena_alloc(a, (ctx->tag_cnt + 1U) * sizeof(*tags));
	if (!tags)
		return -ENOMEM;
	if (ctx->tag_cnt)
		memcpy(tags, ctx->tags, ctx->tag_cnt * sizeof(*tags));
	tags[ctx->tag_cnt++] = (struct tag){key, value};
	ctx->tags = tags;
	return 0;
}
