/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "trace/propagation/propagation.h"

/* spanhound's propagation as a filter, for comparison with ddtrace's (reference.py). Settings come from the
 * environment. Input, one request after another: lines "name TAB hex bytes of the value" and an empty line. Output: a
 * line of JSON each: what was extracted, and what is injected by a span of that request. */

#define SPAN_ID	     0x1122334455667788ULL
#define NEW_TRACE_HI 0x6b00c4e800000000ULL
#define NEW_TRACE_LO 0xf0a98eb0e9061128ULL

static struct sv environment(void *arg, const char *name)
{
	(void)arg;
	return sv_of(getenv(name));
}

static void add_string(struct sbuf *b, const char *key, struct sv v)
{
	sbuf_addf(b, ", \"%s\": ", key);
	if (v.data)
		sbuf_add_json(b, v);
	else
		sbuf_adds(b, "null");
}

static void add_tags(struct sbuf *b, const char *key, const struct tag *tags, unsigned cnt)
{
	sbuf_addf(b, ", \"%s\": [", key);
	for (unsigned i = 0; i < cnt; i++) {
		sbuf_adds(b, i ? ", [" : "[");
		sbuf_add_json(b, tags[i].key);
		sbuf_adds(b, ", ");
		sbuf_add_json(b, tags[i].value);
		sbuf_addc(b, ']');
	}
	sbuf_addc(b, ']');
}

static void add_links(struct sbuf *b, const struct propagation_context *ctx)
{
	sbuf_adds(b, ", \"links\": [");
	for (unsigned i = 0; i < ctx->link_cnt; i++) {
		const struct propagation_link *l = &ctx->links[i];
		sbuf_addf(b, "%s{\"trace_id\": \"%016lx%016lx\", \"span_id\": \"%016lx\", \"flags\": %u", i ? ", " : "",
			  l->trace_hi, l->trace_lo, l->span_id, l->flags);
		add_string(b, "tracestate", l->tracestate);
		add_string(b, "reason", l->reason);
		add_string(b, "context_headers", l->context_headers);
		sbuf_addc(b, '}');
	}
	sbuf_addc(b, ']');
}

static void describe(struct sbuf *b, int found, const struct propagation_context *ctx)
{
	sbuf_addf(b, "{\"found\": %d, \"trace_id\": \"%016lx%016lx\", \"span_id\": \"%016lx\", \"priority\": ", found,
		  ctx->trace_hi, ctx->trace_lo, ctx->span_id);
	if (ctx->priority == PROPAGATION_PRIORITY_NONE)
		sbuf_adds(b, "null");
	else
		sbuf_addi(b, ctx->priority);
	add_string(b, "origin", ctx->origin);
	add_string(b, "error", ctx->error.len ? ctx->error : SV_NULL);
	add_string(b, "last_parent", ctx->last_parent.len ? ctx->last_parent : SV_NULL);
	add_string(b, "tracestate", ctx->tracestate.len ? ctx->tracestate : SV_NULL);
	add_tags(b, "tags", ctx->tags, ctx->tag_cnt);
	add_tags(b, "baggage", ctx->baggage, ctx->baggage_cnt);
	add_tags(b, "baggage_tags", ctx->baggage_tags, ctx->baggage_tag_cnt);
	add_links(b, ctx);
}

static void answer(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a)
{
	struct propagation_context ctx;
	struct sbuf out = {0}, headers = {0};
	int found = propagation_extract(s, h, a, &ctx);
	if (found < 0)
		exit(1);
	describe(&out, found, &ctx);
	/* As a tracer does: ids where none came, and a decision with the agent's rate of 0.5 where none came. */
	if (!(ctx.trace_hi | ctx.trace_lo)) {
		ctx.trace_hi = NEW_TRACE_HI;
		ctx.trace_lo = NEW_TRACE_LO;
	}
	if (ctx.priority == PROPAGATION_PRIORITY_NONE) {
		ctx.priority = 1;
		if (propagation_set_tag(&ctx, a, SV("_dd.p.dm"), SV("-1")) == -ENOMEM ||
		    propagation_set_rate(&ctx, a, 0.5, true))
			exit(1);
	}
	struct sv error = propagation_inject(s, &ctx, SPAN_ID, &headers);
	add_string(&out, "inject_error", error);
	add_string(&out, "headers", headers.data ? sbuf_sv(&headers) : SV(""));
	sbuf_addc(&out, '}');
	puts(out.data);
	sbuf_release(&out);
	sbuf_release(&headers);
}

static struct sv unhex(struct arena *a, const char *text, size_t len)
{
	char *bytes = arena_alloc(a, len / 2 + 1);
	for (size_t i = 0; bytes && i + 1 < len; i += 2) {
		unsigned n = 0;
		sscanf(text + i, "%2x", &n);
		bytes[i / 2] = (char)n;
	}
	return (struct sv){bytes, bytes ? len / 2 : 0};
}

int main(void)
{
	struct propagation_settings s;
	propagation_settings_read(&s, environment, NULL, NULL);
	struct arena a = {0};
	struct propagation_headers h = {0};
	char *line = NULL;
	size_t cap = 0;
	for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
		char *tab = strchr(line, '\t');
		if (tab) {
			struct sv name = {line, (size_t)(tab - line)};
			struct sv value = unhex(&a, tab + 1, (size_t)len - name.len - 2);
			struct sv copy = arena_dup(&a, name);
			if (propagation_headers_add(&h, &a, copy, value) < 0)
				exit(1);
			continue;
		}
		answer(&s, &h, &a);
		arena_reset(&a);
		h = (struct propagation_headers){0};
	}
	free(line);
	arena_release(&a);
	return 0;
}
