/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "trace/propagation/propagation.h"

/* Input: a byte of settings, then header lines "name: value". Checked: every bound; a list in one header or in several
 * is the same; what is injected is well-formed, and read and written again stays as it is. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SPAN_ID	    0xfedcba9876543210ULL

#define check(good) check_at(good, __LINE__)
static void check_at(bool good, int line)
{
	if (good)
		return;
	fprintf(stderr, "line %d\n", line);
	abort();
}

static struct sv environment(void *arg, const char *name)
{
	static const char *const styles[] = {"datadog,tracecontext,baggage",
					     "tracecontext,b3,datadog",
					     "b3,b3multi,tracecontext,datadog",
					     "b3multi",
					     "b3",
					     "baggage,datadog",
					     "tracecontext,baggage",
					     "datadog,tracecontext,b3multi,b3,baggage"};
	unsigned choice = *(uint8_t *)arg;
	if (!strcmp(name, "DD_TRACE_PROPAGATION_STYLE_EXTRACT"))
		return sv_of(styles[choice & 7]);
	if (!strcmp(name, "DD_TRACE_PROPAGATION_STYLE_INJECT"))
		return SV("datadog,tracecontext,b3multi,b3,baggage");
	if (!strcmp(name, "DD_TRACE_PROPAGATION_EXTRACT_FIRST"))
		return choice & 8 ? SV("true") : SV_NULL;
	if (!strcmp(name, "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT"))
		return choice & 16 ? SV("restart") : SV_NULL;
	if (!strcmp(name, "DD_TRACE_BAGGAGE_TAG_KEYS"))
		return choice & 32 ? SV("*") : SV("k,user.id");
	return SV_NULL;
}

/* A copy that ends where its memory ends. */
static struct sv exact(struct sv s)
{
	char *copy = malloc(s.len ? s.len : 1);
	check(copy != NULL);
	if (s.len)
		memcpy(copy, s.data, s.len);
	return (struct sv){copy, s.len};
}

static struct sv line_of(struct sv *rest)
{
	const char *end = memchr(rest->data, '\n', rest->len);
	struct sv line = {rest->data, end ? (size_t)(end - rest->data) : rest->len};
	size_t used = line.len + (end != NULL);
	*rest = (struct sv){rest->data + used, rest->len - used};
	return line;
}

static bool is_list(struct sv name)
{
	int i = propagation_header_find(name);
	return i == PROPAGATION_HEADER_TRACESTATE || i == PROPAGATION_HEADER_BAGGAGE;
}

static void add(struct propagation_headers *h, struct arena *a, struct sv line, bool split)
{
	const char *colon = memchr(line.data, ':', line.len);
	if (!colon)
		return;
	struct sv name = {line.data, (size_t)(colon - line.data)};
	struct sv value = {colon + 1, line.len - name.len - 1};
	while (split && is_list(name)) {
		const char *comma = memchr(value.data, ',', value.len);
		if (!comma)
			break;
		size_t len = (size_t)(comma - value.data);
		check(propagation_headers_add(h, a, name, (struct sv){value.data, len}) == 1);
		value = (struct sv){comma + 1, value.len - len - 1};
	}
	check(propagation_headers_add(h, a, name, value) == (propagation_header_find(name) >= 0));
}

static void read_headers(struct propagation_headers *h, struct arena *a, struct sv text, bool split)
{
	*h = (struct propagation_headers){0};
	while (text.len)
		add(h, a, line_of(&text), split);
}

/* The values moved into memory of their own, so that reading beyond one is seen. */
static int extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
		   struct propagation_context *ctx)
{
	struct propagation_headers copy = {0};
	for (unsigned i = 0; i < PROPAGATION_HEADER_CNT; i++) {
		if (h->value[i].data)
			copy.value[i] = exact(h->value[i]);
	}
	int found = propagation_extract(s, &copy, a, ctx);
	/* Nothing of the context may borrow from the request. */
	for (unsigned i = 0; i < PROPAGATION_HEADER_CNT; i++)
		free((char *)copy.value[i].data);
	return found;
}

static void check_strings(const struct tag *tags, unsigned cnt, unsigned max)
{
	check(cnt <= max);
	for (unsigned i = 0; i < cnt; i++) {
		check(tags[i].key.data && tags[i].value.data);
		for (unsigned j = 0; j < i; j++)
			check(!sv_eq(tags[i].key, tags[j].key));
	}
}

static void check_context(int found, const struct propagation_context *ctx)
{
	check(found == 0 || found == 1);
	check(found == (int)((ctx->trace_hi | ctx->trace_lo) || ctx->baggage_cnt || ctx->link_cnt));
	check_strings(ctx->tags, ctx->tag_cnt, PROPAGATION_TAGS_MAX);
	check_strings(ctx->baggage, ctx->baggage_cnt, PROPAGATION_BAGGAGE_MAX);
	check_strings(ctx->baggage_tags, ctx->baggage_tag_cnt, PROPAGATION_BAGGAGE_MAX);
	check(ctx->link_cnt < PROPAGATION_STYLES_MAX);
	for (unsigned i = 0; i < ctx->link_cnt; i++)
		check((ctx->links[i].trace_hi | ctx->links[i].trace_lo) && ctx->links[i].span_id);
}

/* Lines of printable text that end in CRLF. */
static void check_lines(struct sv out)
{
	check(!out.len || (out.len > 2 && out.data[out.len - 1] == '\n'));
	for (size_t i = 0; i < out.len; i++) {
		char c = out.data[i];
		if (c == '\r')
			check(i + 1 < out.len && out.data[i + 1] == '\n');
		else if (c == '\n')
			check(i > 0 && out.data[i - 1] == '\r');
		else
			check(c >= 0x20 && c < 0x7f);
	}
}

static bool has_outer_blank(struct sv s)
{
	return s.len && (s.data[0] == ' ' || s.data[s.len - 1] == ' ');
}

/* What cannot come back as it was: blanks at the ends of values, an upper half of an id that the id has not, a tag
 * that only one style can say. */
static bool comes_back(const struct propagation_context *ctx, const struct propagation_headers *written)
{
	bool good = !ctx->truncated && !has_outer_blank(ctx->origin) &&
		    written->value[PROPAGATION_HEADER_TRACESTATE].len <= 512;
	for (unsigned i = 0; i < ctx->tag_cnt; i++) {
		struct sv key = ctx->tags[i].key;
		good &= !has_outer_blank(ctx->tags[i].value) && !sv_eq(key, SV("_dd.p.upstream_services"));
		good &= ctx->trace_hi || !sv_eq(key, SV("_dd.p.tid"));
	}
	return good;
}

static void check_round(const struct propagation_context *ctx, struct sv error, struct sv written)
{
	struct arena a = {0};
	struct propagation_settings s;
	struct propagation_headers h;
	struct propagation_context again;
	struct sbuf out = {0};
	propagation_settings_init(&s);
	s.inject = (1U << PROPAGATION_STYLE_CNT) - 1;
	read_headers(&h, &a, written, false);
	for (unsigned i = 0; i < PROPAGATION_HEADER_CNT; i++) {
		struct sv *v = &h.value[i];
		if (v->len && v->data[v->len - 1] == '\r')
			v->len--;
	}
	check(extract(&s, &h, &a, &again) == 1);
	check(again.trace_lo == ctx->trace_lo && again.span_id == SPAN_ID && again.priority == ctx->priority);
	bool good = comes_back(ctx, &h) && !error.len && !ctx->error.len && !again.error.len;
	if (good) {
		check(again.trace_hi == ctx->trace_hi && again.last_parent.len == 0 && again.link_cnt == 0);
		check(again.origin.len == ctx->origin.len);
		check(propagation_inject(&s, &again, SPAN_ID, &out).len == 0);
		check(sv_eq(written, sbuf_sv(&out)));
		unsigned cnt = ctx->baggage_cnt;
		if (written.len < 8000) {
			check(again.baggage_cnt == cnt);
			for (unsigned i = 0; i < cnt; i++)
				check(sv_eq(ctx->baggage[i].value, again.baggage[i].value));
		}
	}
	sbuf_release(&out);
	arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	struct propagation_settings s;
	propagation_settings_read(&s, environment, (void *)data, NULL);
	struct sv text = {(const char *)data + 1, size - 1};
	struct arena a = {0};
	struct propagation_headers whole, split;
	struct propagation_context ctx, other;
	struct sbuf out = {0}, out2 = {0};
	read_headers(&whole, &a, text, false);
	read_headers(&split, &a, text, true);
	int found = extract(&s, &whole, &a, &ctx);
	check_context(found, &ctx);
	check(extract(&s, &split, &a, &other) == found || size > 8000);
	if (!(ctx.trace_hi | ctx.trace_lo))
		ctx.trace_lo = other.trace_lo = 77;
	if (ctx.priority == PROPAGATION_PRIORITY_NONE)
		ctx.priority = other.priority = 1;
	struct sv error = propagation_inject(&s, &ctx, SPAN_ID, &out);
	propagation_inject(&s, &other, SPAN_ID, &out2);
	check(!out.failed && (sv_eq(sbuf_sv(&out), sbuf_sv(&out2)) || size > 8000));
	check_lines(sbuf_sv(&out));
	check_round(&ctx, error, sbuf_sv(&out));
	check(propagation_set_rate(&ctx, &a, data[0] / 255.0, data[0] & 1) == 0);
	sbuf_reset(&out);
	propagation_inject(&s, &ctx, SPAN_ID, &out);
	check_lines(sbuf_sv(&out));
	sbuf_release(&out);
	sbuf_release(&out2);
	arena_release(&a);
	return 0;
}
