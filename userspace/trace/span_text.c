/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/span_text.h"

#include <errno.h>

#include "base/utf8.h"
#include "trace/tags.h"

/* --- values of a span --------------------------------------------------------------------------------------------- */

static bool tag_in(const struct tag *tags, uint32_t cnt, struct sv key, struct sv *ret)
{
	for (uint32_t i = cnt; i-- > 0;) {
		if (!sv_eq(tags[i].key, key))
			continue;
		*ret = tags[i].value;
		return true;
	}
	return false;
}

bool span_tag(const struct chunk *c, const struct span *s, struct sv key, struct sv *ret)
{
	return tag_in(s->tags, s->tag_cnt, key, ret) || tag_in(s->shared_tags, s->shared_tag_cnt, key, ret) ||
	       process_tag(c->process, key, ret);
}

bool process_tag(const struct process_info *p, struct sv key, struct sv *ret)
{
	if (p->env.len && sv_eq(key, SV("env")))
		*ret = p->env;
	else if (p->version.len && sv_eq(key, SV("version")))
		*ret = p->version;
	else
		return tag_in(p->tags, p->tag_cnt, key, ret);
	return true;
}

bool span_metric(const struct span *s, struct sv key, double *ret)
{
	for (uint32_t i = s->metric_cnt; i-- > 0;) {
		if (!sv_eq(s->metrics[i].key, key))
			continue;
		*ret = s->metrics[i].value;
		return true;
	}
	return false;
}

/* --- parsing ------------------------------------------------------------------------------------------------------ */

struct parser {
	struct span_text *text;
	struct arena *arena;
	struct sbuf literal, *err;
	bool no_memory;
};

static int mistake(struct parser *p, size_t at, size_t *ret_at, const char *what)
{
	sbuf_adds(p->err, what);
	*ret_at = at;
	return -EINVAL;
}

static void add_part(struct parser *p, struct sv text, bool is_key)
{
	struct sv copy = arena_dup(p->arena, text);
	p->no_memory |= !copy.data;
	p->text->parts[p->text->cnt++] = (struct span_text_part){copy, is_key};
}

static void end_literal(struct parser *p)
{
	if (p->literal.len)
		add_part(p, sbuf_sv(&p->literal), false);
	p->no_memory |= p->literal.failed;
	sbuf_reset(&p->literal);
}

static int parse(struct parser *p, struct sv text, size_t *ret_at)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		bool twice = (c == '{' || c == '}') && i + 1 < text.len && text.data[i + 1] == c;
		if (c == '}' && !twice)
			return mistake(p, i, ret_at, "'}' without '{'; a brace itself is written '}}'");
		if (c != '{' || twice) {
			sbuf_addc(&p->literal, c);
			i += twice;
			continue;
		}
		const char *end = memchr(text.data + i, '}', text.len - i);
		if (!end)
			return mistake(p, i, ret_at, "'{' is never closed; a brace itself is written '{{'");
		struct sv key = {text.data + i + 1, (size_t)(end - text.data) - i - 1};
		if (!key.len)
			return mistake(p, i, ret_at, "nothing between the braces: a tag's name stands there");
		end_literal(p);
		if (p->text->cnt + 2 > SPAN_TEXT_MAX_PARTS)
			return mistake(p, i, ret_at, "more values than a text may have");
		add_part(p, key, true);
		i += key.len + 1;
	}
	end_literal(p);
	return p->no_memory ? -ENOMEM : 0;
}

int span_text_parse(struct span_text *ret, struct sv text, struct arena *arena, struct sbuf *err, size_t *ret_at)
{
	struct parser p = {.text = ret, .arena = arena, .err = err};
	*ret = (struct span_text){0};
	if (text.len > SPAN_TEXT_MAX) {
		sbuf_addf(err, "%zu bytes; a text may have %d", text.len, SPAN_TEXT_MAX);
		*ret_at = 0;
		return -EINVAL;
	}
	ret->parts = arena_alloc(arena, (SPAN_TEXT_MAX_PARTS + 1) * sizeof(*ret->parts));
	if (!ret->parts)
		return -ENOMEM;
	int rc = parse(&p, text, ret_at);
	sbuf_release(&p.literal);
	return rc;
}

bool span_text_is_constant(const struct span_text *t, struct sv *ret)
{
	if (t->cnt != 1 || t->parts[0].is_key)
		return false;
	*ret = t->parts[0].text;
	return true;
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static void add_value(struct sv key, const struct chunk *c, const struct span *s, struct sbuf *out)
{
	struct sv text;
	double number;
	if (sv_eq(key, SV("service")))
		sbuf_addsv(out, span_service(c, s));
	else if (sv_eq(key, SV("name")))
		sbuf_addsv(out, s->name);
	else if (sv_eq(key, SV("resource")))
		sbuf_addsv(out, span_resource(s));
	else if (sv_eq(key, SV("type")))
		sbuf_addsv(out, s->type);
	else if (span_tag(c, s, key, &text))
		sbuf_addsv(out, text);
	else if (span_metric(s, key, &number))
		sbuf_addf(out, "%.15g", number);
}

void span_text_add(const struct span_text *t, const struct chunk *c, const struct span *s, struct sbuf *out)
{
	size_t before = out->len;
	for (uint32_t i = 0; i < t->cnt && out->len - before <= SPAN_TEXT_MAX_SZ; i++) {
		if (t->parts[i].is_key)
			add_value(t->parts[i].text, c, s, out);
		else
			sbuf_addsv(out, t->parts[i].text);
	}
	if (out->len - before <= SPAN_TEXT_MAX_SZ)
		return;
	out->len = before + utf8_cut((struct sv){out->data + before, out->len - before}, SPAN_TEXT_MAX_SZ).len;
	out->data[out->len] = '\0';
}
