/* SPDX-License-Identifier: Apache-2.0 */
/* The cases of tests/golden/propagation/ through the user half, and through the reader that both halves share. That the kernel
 * runs the latter as it is run here: test_head_kernel.c. */
#include "propagation_vectors.h"

#include <inttypes.h>

#include "head_help.h"

#define SPAN 0xffULL /* of the request that is written */

static unsigned wrong_cnt;

/* All that are wrong are told, not the first alone. */
#define wrong(v, ...)                                          \
	do {                                                   \
		print_error("%s: %s: ", (v)->file, (v)->name); \
		print_error(__VA_ARGS__);                      \
		print_error("\n");                             \
		wrong_cnt++;                                   \
	} while (0)

struct subject {
	struct arena arena;
	struct propagation_settings settings;
	struct propagation_context ctx;
	struct sbuf said; /* what was made of it, in the words of the cases */
	struct sbuf written;
};

static void say_text(struct sbuf *out, const char *what, struct sv text)
{
	if (text.len)
		sbuf_addf(out, "%s " SV_FMT "\n", what, SV_ARG(text));
}

static void say_links(struct sbuf *out, const struct propagation_context *ctx)
{
	for (unsigned i = 0; i < ctx->link_cnt; i++) {
		const struct propagation_link *l = &ctx->links[i];
		sbuf_addf(out,
			  "link %016" PRIx64 "%016" PRIx64 " %016" PRIx64 " %u " SV_FMT " " SV_FMT "%s" SV_FMT "\n",
			  l->trace_hi, l->trace_lo, l->span_id, l->flags, SV_ARG(l->reason), SV_ARG(l->context_headers),
			  l->tracestate.len ? " " : "", SV_ARG(l->tracestate));
	}
}

static void say(struct subject *s)
{
	const struct propagation_context *ctx = &s->ctx;
	struct sbuf *out = &s->said;
	if (!ctx->trace_hi && !ctx->trace_lo)
		sbuf_adds(out, "none\n");
	else
		sbuf_addf(out, "trace %016" PRIx64 "%016" PRIx64 " %016" PRIx64 "\n", ctx->trace_hi, ctx->trace_lo,
			  ctx->span_id);
	if ((ctx->trace_hi || ctx->trace_lo) && ctx->priority != PROPAGATION_PRIORITY_NONE)
		sbuf_addf(out, "priority %d\n", ctx->priority);
	say_text(out, "origin", ctx->origin);
	say_text(out, "last", ctx->last_parent);
	say_text(out, "state", ctx->tracestate);
	say_text(out, "error", ctx->error);
	for (unsigned i = 0; i < ctx->tag_cnt; i++)
		if (!sv_eq(ctx->tags[i].key, SV("_dd.p.tid")))
			sbuf_addf(out, "tag " SV_FMT "=" SV_FMT "\n", SV_ARG(ctx->tags[i].key),
				  SV_ARG(ctx->tags[i].value));
	for (unsigned i = 0; i < ctx->baggage_cnt; i++)
		sbuf_addf(out, "baggage " SV_FMT "=" SV_FMT "\n", SV_ARG(ctx->baggage[i].key),
			  SV_ARG(ctx->baggage[i].value));
	say_links(out, ctx);
}

static void subject_extract(struct subject *s, struct vector *v)
{
	struct propagation_headers headers = {0};
	vector_settings(v, &s->settings);
	for (const char *line = strchr(sbuf_str(&v->head), '\n') + 1; line[0] != '\r';) {
		const char *end = strstr(line, "\r\n"), *colon = memchr(line, ':', (size_t)(end - line));
		assert_non_null(colon);
		assert_true(propagation_headers_add(&headers, &s->arena, (struct sv){line, (size_t)(colon - line)},
						    (struct sv){colon + 1, (size_t)(end - colon - 1)}) >= 0);
		line = end + 2;
	}
	propagation_extract(&s->settings, &headers, &s->arena, &s->ctx);
}

static bool is_written(struct subject *s, struct sv line)
{
	struct sbuf whole = {0};
	sbuf_addsv(&whole, line);
	sbuf_adds(&whole, "\r\n");
	const char *at = strstr(sbuf_str(&s->written), sbuf_str(&whole));
	bool found = at && (at == s->written.data || at[-1] == '\n');
	sbuf_release(&whole);
	return found;
}

/* "writes LINE" and "writes no NAME" are asked for; everything else has to be said, and nothing beside it. */
static void user_half(struct subject *s, struct vector *v)
{
	struct sv rest = sbuf_sv(&v->want);
	struct sbuf others = {0};
	propagation_inject(&s->settings, &s->ctx, SPAN, &s->written);
	while (rest.len) {
		const char *end = memchr(rest.data, '\n', rest.len);
		struct sv line = {rest.data, (size_t)(end - rest.data)};
		rest = (struct sv){end + 1, rest.len - line.len - 1};
		if (sv_starts(line, SV("writes no "))) {
			char name[64];
			snprintf(name, sizeof(name), "%.*s:", (int)line.len - 10, line.data + 10);
			if (strstr(sbuf_str(&s->written), name))
				wrong(v, "writes\n%s", sbuf_str(&s->written));
		} else if (sv_starts(line, SV("writes "))) {
			line = (struct sv){line.data + 7, line.len - 7};
			if (!is_written(s, line))
				wrong(v, "no '" SV_FMT "' in\n%s", SV_ARG(line), sbuf_str(&s->written));
		} else {
			sbuf_addsv(&others, line);
			sbuf_addc(&others, '\n');
		}
	}
	say(s);
	if (!sv_eq(sbuf_sv(&others), sbuf_sv(&s->said)))
		wrong(v, "\n%swas to be\n%s", sbuf_str(&s->said), sbuf_str(&others));
	sbuf_release(&others);
}

static void kernel_half(struct subject *s, struct vector *v)
{
	static struct head_case c;
	const struct sh_remote *r = &c.remote;
	struct propagation_context *ctx = &s->ctx;
	assert_true(v->head.len <= SH_MAX_HEAD);
	head_read(&c, sbuf_str(&v->head), v->head.len, "", propagation_reads(&s->settings));
	if (r->unsure != v->unsure)
		wrong(v, "the kernel half is %ssure", r->unsure ? "un" : "");
	if (r->unsure)
		return;
	int32_t priority = r->priority == SH_REMOTE_NO_PRIORITY ? PROPAGATION_PRIORITY_NONE : r->priority;
	if (!ctx->trace_hi && !ctx->trace_lo) {
		if (r->trace_hi || r->trace_lo)
			wrong(v, "the kernel half has a trace");
	} else if (r->trace_hi != ctx->trace_hi || r->trace_lo != ctx->trace_lo || r->parent_id != ctx->span_id ||
		   priority != ctx->priority)
		wrong(v, "the kernel half says %016" PRIx64 "%016" PRIx64 " %016" PRIx64 " %d", (uint64_t)r->trace_hi,
		      (uint64_t)r->trace_lo, (uint64_t)r->parent_id, priority);
	const char *other = r->trace_lo ? head_check_carried(&c.carry.out, ctx, &s->arena) : NULL;
	if (other)
		wrong(v, "the kernel half has another %s", other);
}

static void vectors(void **state)
{
	struct vectors all;
	struct vector *v;
	unsigned cnt = 0, unsure = 0;
	(void)state;
	vectors_open(&all);
	while ((v = vectors_next(&all))) {
		struct subject s = {0};
		subject_extract(&s, v);
		user_half(&s, v);
		kernel_half(&s, v);
		cnt++;
		unsure += v->unsure;
		arena_release(&s.arena);
		sbuf_release(&s.said);
		sbuf_release(&s.written);
	}
	vectors_close(&all);
	print_message("%u cases, of which the kernel half knows %u\n", cnt, cnt - unsure);
	assert_int_equal(wrong_cnt, 0);
	assert_true(cnt > 150 && unsure < cnt / 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(vectors)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
