/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/template.h"

#include <errno.h>

#include "base/nearest.h"

struct template_parser {
	struct sv text;
	const struct yaml_node *node;
	const struct yaml_source *src;
	struct value_names *names;
	struct arena *arena;
	struct template_segment segments[TEMPLATE_MAX_SEGMENTS];
	unsigned cnt;
	char literal[TEMPLATE_MAX_TEXT];
	size_t literal_len;
	int err;
};

static void add_segment(struct template_parser *p, size_t at, struct template_segment segment)
{
	if (p->err)
		return;
	if (p->cnt == TEMPLATE_MAX_SEGMENTS) {
		yaml_error_at(p->src, p->node, at, "more than %d parts in one template", TEMPLATE_MAX_SEGMENTS);
		p->err = -EINVAL;
		return;
	}
	p->segments[p->cnt++] = segment;
}

static void end_literal(struct template_parser *p, size_t at)
{
	if (!p->literal_len)
		return;
	struct sv text = arena_dup(p->arena, (struct sv){p->literal, p->literal_len});
	if (!text.data)
		p->err = -ENOMEM;
	add_segment(p, at, (struct template_segment){TEMPLATE_LITERAL, (uint16_t)text.len, text.data});
	p->literal_len = 0;
}

static void unknown_name(struct template_parser *p, size_t at, struct sv name)
{
	struct nearest near;
	p->err = p->err ? p->err : -EINVAL;
	if (p->names->incomplete)
		return;
	nearest_init(&near, name);
	for (unsigned i = 0; i < p->names->cnt; i++)
		nearest_offer(&near, p->names->names[i].name);
	nearest_offer(&near, SV("function"));
	if (near.best.data)
		yaml_error_at(p->src, p->node, at, "no argument '" SV_FMT "' to put here; did you mean '" SV_FMT "'?",
			      SV_ARG(name), SV_ARG(near.best));
	else
		yaml_error_at(p->src, p->node, at,
			      "no argument '" SV_FMT
			      "' to put here; args: declares them, {function} and {return} are always there",
			      SV_ARG(name));
}

static void add_name(struct template_parser *p, size_t at, struct sv name)
{
	const struct value_name *value = value_names_find(p->names, name);
	if (sv_eq(name, SV("function"))) {
		add_segment(p, at, (struct template_segment){.value = TEMPLATE_FUNCTION});
	} else if (!name.len) {
		yaml_error_at(p->src, p->node, at, "'{}' names no value; a brace as such is written '{{'");
		p->err = p->err ? p->err : -EINVAL;
	} else if (!value) {
		unknown_name(p, at, name);
	} else {
		p->names->used |= (uint16_t)(1u << value->index);
		add_segment(p, at, (struct template_segment){.value = value->index});
	}
}

/* Consumes the part that starts at `at`; returns where the next one does. */
static size_t parse_part(struct template_parser *p, size_t at)
{
	struct sv text = p->text;
	char c = text.data[at];
	bool doubled = at + 1 < text.len && text.data[at + 1] == c;
	if ((c != '{' && c != '}') || doubled) {
		p->literal[p->literal_len++] = c;
		return at + 1 + (doubled && (c == '{' || c == '}'));
	}
	const char *close = c == '{' ? memchr(text.data + at, '}', text.len - at) : NULL;
	if (!close) {
		yaml_error_at(p->src, p->node, at, "'%c' without its '%c'; a brace as such is written '%c%c'", c,
			      c == '{' ? '}' : '{', c, c);
		p->err = p->err ? p->err : -EINVAL;
		return c == '{' ? text.len : at + 1;
	}
	size_t from = at + 1, to = (size_t)(close - text.data);
	while (from < to && text.data[from] == ' ')
		from++;
	size_t stop = to;
	while (stop > from && text.data[stop - 1] == ' ')
		stop--;
	end_literal(p, at);
	add_name(p, from == stop ? at : from, (struct sv){text.data + from, stop - from});
	return to + 1;
}

int template_parse(struct template *ret, struct sv text, const struct yaml_node *node, const struct yaml_source *src,
		   struct value_names *names, struct arena *arena)
{
	struct template_parser p = {.text = text, .node = node, .src = src, .names = names, .arena = arena};
	*ret = (struct template){0};
	if (text.len > TEMPLATE_MAX_TEXT) {
		yaml_error_at(src, node, 0, "a template of %zu bytes; the longest is %d", text.len, TEMPLATE_MAX_TEXT);
		return -EINVAL;
	}
	for (size_t at = 0; at < text.len;)
		at = parse_part(&p, at);
	end_literal(&p, text.len);
	if (p.err)
		return p.err;
	struct template_segment *segments = arena_alloc(arena, sizeof(*segments) * (p.cnt ? p.cnt : 1));
	if (!segments)
		return -ENOMEM;
	memcpy(segments, p.segments, sizeof(*segments) * p.cnt);
	*ret = (struct template){segments, p.cnt};
	return 0;
}

bool template_is_constant(const struct template *t, struct sv *ret)
{
	if (t->cnt != 1 || t->segments[0].value != TEMPLATE_LITERAL)
		return false;
	*ret = (struct sv){t->segments[0].literal, t->segments[0].len};
	return true;
}

static size_t put_text(char *dst, size_t cap, struct sv text)
{
	struct call_value v = {.type = SH_STRING, .bytes = text};
	if (text.len > cap)
		return call_value_write(&v, dst, cap);
	if (text.len)
		memcpy(dst, text.data, text.len);
	return text.len;
}

size_t template_render(const struct template *t, const struct call_values *values, char *dst)
{
	size_t len = 0;
	for (uint32_t i = 0; i < t->cnt; i++) {
		const struct template_segment *s = &t->segments[i];
		size_t room = TEMPLATE_MAX_SZ - len;
		if (s->value == TEMPLATE_LITERAL)
			len += put_text(dst + len, room, (struct sv){s->literal, s->len});
		else if (s->value == TEMPLATE_FUNCTION)
			len += put_text(dst + len, room, values->function);
		else
			len += call_value_write(&values->v[s->value], dst + len, room);
	}
	return len;
}

struct sv template_render_arena(const struct template *t, const struct call_values *values, struct arena *arena)
{
	struct sv constant;
	if (template_is_constant(t, &constant))
		return constant;
	char text[TEMPLATE_MAX_SZ];
	return arena_dup(arena, (struct sv){text, template_render(t, values, text)});
}
