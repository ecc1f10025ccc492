/* SPDX-License-Identifier: Apache-2.0 */
#include "export/console_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "export/console_line.h"
#include "trace/tags.h"

#define NONE HINDEX_NONE

/* --- shape -------------------------------------------------------------------------------------------------------- */

static int64_t span_end(const struct span *s)
{
	return s->duration_ns > 0 && s->start_ns < INT64_MAX - s->duration_ns ? s->start_ns + s->duration_ns
									      : s->start_ns;
}

static int by_start(const void *a, const void *b, void *arg)
{
	const struct span *spans = arg, *x = &spans[((const struct console_node *)a)->span],
			  *y = &spans[((const struct console_node *)b)->span];
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	/* The one that encloses the other, then the one that ended first, which came first. */
	if (x->duration_ns != y->duration_ns)
		return x->duration_ns > y->duration_ns ? -1 : 1;
	return x < y ? -1 : 1;
}

static uint32_t tree_find(const struct console_tree *t, const struct chunk *c, uint64_t span_id)
{
	uint32_t hash = hindex_hash(span_id, 0), ref;
	for (uint32_t i = hash; (ref = hindex_at(&t->by_id, &i, hash)) != NONE; i++)
		if (c->spans[t->nodes.data[ref].span].span_id == span_id)
			return ref;
	return NONE;
}

/* Nodes by start time, children linked in that order. False when out of memory. */
static bool tree_build(struct console_tree *t, const struct chunk *c)
{
	t->nodes.cnt = 0;
	hindex_clear(&t->by_id);
	for (uint32_t i = 0; i < c->span_cnt; i++)
		if (vec_push(&t->nodes, ((struct console_node){.span = i, .first_child = NONE, .next = NONE})))
			return false;
	qsort_r(t->nodes.data, t->nodes.cnt, sizeof(t->nodes.data[0]), by_start, c->spans);
	for (uint32_t i = 0; i < t->nodes.cnt; i++)
		if (hindex_put(&t->by_id, hindex_hash(c->spans[t->nodes.data[i].span].span_id, 0), i))
			return false;
	for (uint32_t i = (uint32_t)t->nodes.cnt; i-- > 0;) {
		struct console_node *n = &t->nodes.data[i];
		const struct span *s = &c->spans[n->span];
		uint32_t parent = s->parent_id ? tree_find(t, c, s->parent_id) : NONE;
		n->has_parent = parent != NONE && parent != i;
		n->orphan = !n->has_parent && s->parent_id != 0 && !s->local_root;
		if (!n->has_parent)
			continue;
		n->next = t->nodes.data[parent].first_child;
		t->nodes.data[parent].first_child = i;
	}
	return true;
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

void console_duration(struct sbuf *out, int64_t ns, bool utf8)
{
	static const char *const units[] = {"ns", "µs", "ms", "s"};
	double v = ns > 0 ? (double)ns : 0;
	if (v >= 59.95e9) {
		unsigned long long s = (unsigned long long)(v / 1e9 + 0.5);
		if (s < 3600)
			sbuf_addf(out, "%llum %02llus", s / 60, s % 60);
		else
			sbuf_addf(out, "%lluh %02llum", s / 3600, s % 3600 / 60);
		return;
	}
	unsigned unit = 0;
	for (; unit < 3 && v >= 999.5; unit++)
		v /= 1000;
	/* Three digits, as many as a person compares. */
	int decimals = unit == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
	sbuf_addf(out, "%.*f %s", decimals, v, unit == 1 && !utf8 ? "us" : units[unit]);
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

/* Of times that come from damaged records too. */
static int64_t time_between(int64_t from, int64_t to)
{
	int64_t d;
	return __builtin_sub_overflow(to, from, &d) ? INT64_MAX : d;
}

struct view {
	struct console_tree *t;
	const struct chunk *c;
	struct console_line line;
	struct sv service; /* of the whole, said once */
	int64_t start_ns, end_ns;
	unsigned left, bar; /* columns of names and of bars; the duration's are between them */
	uint32_t printed;
};

#define DURATION_COLS 9

static void view_head(struct view *v)
{
	const struct chunk *c = v->c;
	struct sbuf *text = &v->t->text;
	struct console_line *l = &v->line;
	l->max = l->style->width;
	console_line_glyph(l, CONSOLE_BOLD, "▶ ", "> ");
	console_line_text(l, CONSOLE_BOLD, v->service);
	sbuf_reset(text);
	sbuf_adds(text, "  ");
	console_duration(text, time_between(v->start_ns, v->end_ns), l->style->utf8);
	sbuf_addf(text, "  %u span%s%s  ", c->span_cnt, c->span_cnt == 1 ? "" : "s", c->partial ? " so far" : "");
	console_line_text(l, CONSOLE_PLAIN, sbuf_sv(text));
	sbuf_reset(text);
	time_t sec = (time_t)(v->start_ns / (int64_t)NSEC_PER_SEC);
	struct tm tm = {0};
	localtime_r(&sec, &tm);
	sbuf_adds(text, "trace ");
	if (c->trace_hi)
		sbuf_addf(text, "%016llx", (unsigned long long)c->trace_hi);
	sbuf_addf(text, "%016llx  pid %u", (unsigned long long)c->trace_lo, c->process->pid);
	if (c->process->ns_pid && c->process->ns_pid != c->process->pid)
		sbuf_addf(text, " (%u inside)", c->process->ns_pid);
	sbuf_addf(text, "  %02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min, tm.tm_sec,
		  (int)(v->start_ns % (int64_t)NSEC_PER_SEC / (int64_t)NSEC_PER_MSEC));
	console_line_text(l, CONSOLE_DIM, sbuf_sv(text));
	console_line_end(l);
}

/* The lines of the tree before a node's text; `own` is drawn at the node's own level. */
static void view_guides(struct view *v, uint32_t depth, bool own)
{
	struct console_line *l = &v->line;
	/* Deep trees keep two thirds of the column for names: the outermost guides give way to a number. */
	uint32_t most = v->left / 9, first = 0;
	if (depth > most) {
		char text[16];
		first = depth - most + 2;
		snprintf(text, sizeof(text), "%-6.4u", first);
		console_line_text(l, CONSOLE_DIM, sv_of(text));
	}
	for (uint32_t d = first; d + 1 < depth; d++)
		console_line_glyph(l, CONSOLE_DIM, v->t->more.data[d + 1] ? "│  " : "   ",
				   v->t->more.data[d + 1] ? "|  " : "   ");
	if (depth == 0)
		return;
	bool more = v->t->more.data[depth];
	if (own)
		console_line_glyph(l, CONSOLE_DIM, more ? "├─ " : "└─ ", more ? "|- " : "`- ");
	else
		console_line_glyph(l, CONSOLE_DIM, more ? "│  " : "   ", more ? "|  " : "   ");
}

/* Tags that tell one call from another; what says where code and threads are is the same on every line. */
static bool tag_is_shown(struct sv key)
{
	static const char *const hidden[] = {"_dd.",	  "code.",     "thread.", "error.",
					     "span.kind", "component", "build_id"};
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		if (sv_starts(key, sv_of(hidden[i])))
			return false;
	return true;
}

static void view_tag(struct sbuf *text, struct sv key, struct sv value)
{
	if (!tag_is_shown(key))
		return;
	sbuf_addc(text, ' ');
	sbuf_addsv(text, key);
	sbuf_addc(text, '=');
	sbuf_addsv(text, value);
}

static void view_tags(struct view *v, const struct span *s)
{
	struct sbuf *text = &v->t->text;
	sbuf_reset(text);
	for (uint32_t i = 0; i < s->tag_cnt; i++)
		view_tag(text, s->tags[i].key, s->tags[i].value);
	for (uint32_t i = 0; i < s->metric_cnt; i++) {
		char number[32];
		snprintf(number, sizeof(number), "%.15g", s->metrics[i].value);
		view_tag(text, s->metrics[i].key, sv_of(number));
	}
	for (uint32_t i = 0; i < s->shared_tag_cnt; i++)
		view_tag(text, s->shared_tags[i].key, s->shared_tags[i].value);
	/* As one text, so that it is cut as one. */
	console_line_text(&v->line, CONSOLE_PLAIN, text->len ? SV(" ") : SV_NULL);
	console_line_text(&v->line, CONSOLE_DIM, sbuf_sv(text));
}

static struct sv span_tag(const struct span *s, struct sv key)
{
	for (uint32_t i = 0; i < s->tag_cnt; i++)
		if (sv_eq(s->tags[i].key, key))
			return s->tags[i].value;
	return SV_NULL;
}

/* Why it failed, on a line of its own: it must not be cut for want of room. */
static void view_error(struct view *v, const struct span *s, const struct console_node *n)
{
	struct sv type = span_tag(s, SV("error.type")), message = span_tag(s, SV("error.message"));
	struct console_line *l = &v->line;
	if (!s->error || (!type.len && !message.len))
		return;
	l->max = l->style->width;
	view_guides(v, n->depth, false);
	bool children = n->first_child != NONE;
	console_line_glyph(l, CONSOLE_DIM, children ? "│  " : "   ", children ? "|  " : "   ");
	console_line_text(l, CONSOLE_RED, type);
	if (type.len && message.len)
		console_line_text(l, CONSOLE_RED, SV(": "));
	console_line_text(l, CONSOLE_RED, message);
	console_line_end(l);
}

/* A colour per service; that of the process is the same everywhere. */
static const char *service_color(const struct view *v, struct sv service)
{
	static const char *const colors[] = {"33", "35", "32", "34", "95", "93"};
	if (sv_eq(service, v->c->process->service))
		return "36";
	uint32_t h = 0;
	for (size_t i = 0; i < service.len; i++)
		h = h * 31 + (unsigned char)service.data[i];
	return colors[h % (sizeof(colors) / sizeof(colors[0]))];
}

static void view_duration(struct view *v, const struct span *s)
{
	struct console_line *l = &v->line;
	struct sbuf *text = &v->t->text;
	sbuf_reset(text);
	console_duration(text, s->duration_ns, l->style->utf8);
	/* "µ" takes two bytes and one column. */
	unsigned cols = (unsigned)text->len - (memchr(sbuf_str(text), 0xc2, text->len) != NULL);
	l->max = l->style->width;
	l->cut = false;
	console_line_pad(l, v->left + DURATION_COLS - (cols < DURATION_COLS ? cols : DURATION_COLS));
	console_line_text(l, s->error ? CONSOLE_RED : CONSOLE_PLAIN, sbuf_sv(text));
	console_line_pad(l, v->left + DURATION_COLS + 1);
}

static void view_bar(struct view *v, const struct span *s, const char *color)
{
	/* A duration of years took the room. */
	if (v->line.col > v->left + DURATION_COLS + 1)
		return;
	double total = (double)time_between(v->start_ns, v->end_ns);
	double from = total > 0 ? (double)time_between(v->start_ns, s->start_ns) / total : 0;
	double to = total > 0 ? (double)time_between(v->start_ns, span_end(s)) / total : 1;
	console_line_bar(&v->line, color, v->bar, from, to);
}

static void view_span(struct view *v, const struct console_node *n)
{
	const struct span *s = &v->c->spans[n->span];
	struct console_line *l = &v->line;
	struct sv service = span_service(v->c, s);
	const char *color = s->error ? CONSOLE_RED : service_color(v, service);
	l->max = v->left;
	view_guides(v, n->depth, true);
	if (!sv_eq(service, v->service)) {
		console_line_text(l, color, service);
		console_line_glyph(l, CONSOLE_DIM, " › ", " > ");
	}
	if (s->error)
		console_line_glyph(l, CONSOLE_ALARM, "✗ ", "! ");
	console_line_text(l, s->error ? CONSOLE_ALARM : CONSOLE_BOLD, s->name);
	if (s->resource.len && !sv_eq(s->resource, s->name)) {
		console_line_text(l, CONSOLE_PLAIN, SV(" "));
		console_line_text(l, CONSOLE_PLAIN, s->resource);
	}
	view_tags(v, s);

	view_duration(v, s);
	view_bar(v, s, color);
	console_line_end(l);
	view_error(v, s, n);
}

/* --- the walk ----------------------------------------------------------------------------------------------------- */

static bool tree_push(struct console_tree *t, uint32_t node, uint32_t depth)
{
	while (t->more.cnt <= depth)
		if (vec_push(&t->more, false))
			return false;
	t->nodes.data[node].depth = depth;
	return vec_push(&t->stack, node) == 0;
}

/* Prints the subtree of `root`, parents before children; `more`: a sibling of it follows. No recursion: ids that
 * come from a damaged stream may make it as deep as they like. */
static void view_walk(struct view *v, uint32_t root, uint32_t depth, bool more)
{
	struct console_tree *t = v->t;
	t->stack.cnt = 0;
	if (!tree_push(t, root, depth))
		return;
	while (t->stack.cnt) {
		uint32_t i = t->stack.data[--t->stack.cnt];
		struct console_node *n = &t->nodes.data[i];
		if (n->seen)
			continue;
		n->seen = true;
		t->more.data[n->depth] = i == root ? more : n->next != NONE;
		if (v->printed++ < CONSOLE_MAX_SPANS)
			view_span(v, n);
		/* The sibling is due after everything below this one. */
		uint32_t below = n->first_child, child_depth = n->depth + 1;
		if (i != root && n->next != NONE && !tree_push(t, n->next, n->depth))
			return;
		if (below != NONE && !tree_push(t, below, child_depth))
			return;
	}
}

static void view_note(struct view *v, const char *glyph, const char *ascii, const char *text)
{
	v->line.max = v->line.style->width;
	console_line_glyph(&v->line, CONSOLE_DIM, glyph, ascii);
	console_line_text(&v->line, CONSOLE_DIM, sv_of(text));
	console_line_end(&v->line);
}

/* Spans whose parent is not here, and those that only have each other (damaged ids). */
static void view_orphans(struct view *v)
{
	struct console_tree *t = v->t;
	uint32_t last = NONE;
	for (uint32_t i = 0; i < t->nodes.cnt; i++)
		if (!t->nodes.data[i].seen && !t->nodes.data[i].has_parent)
			last = i;
	bool said = false;
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < t->nodes.cnt; i++) {
			if (t->nodes.data[i].seen || (pass == 0 && t->nodes.data[i].has_parent))
				continue;
			if (!said && v->printed < CONSOLE_MAX_SPANS)
				view_note(v, "┄ ", "- ",
					  v->c->partial ? "under calls that have not ended yet"
							: "under calls that were not seen");
			said = true;
			view_walk(v, i, 1, pass == 0 && i != last);
		}
	}
}

void console_tree_print(struct console_tree *t, const struct chunk *c, const struct console_style *style,
			struct sbuf *out)
{
	if (!tree_build(t, c)) {
		out->failed = true;
		return;
	}
	unsigned width = style->width < 40 ? 40 : style->width;
	struct console_style clamped = *style;
	clamped.width = width;
	struct view v = {.t = t, .c = c, .line = {.out = out, .style = &clamped}, .service = c->process->service};
	v.bar = width >= 120 ? 32 : width >= 90 ? 24 : width >= 60 ? 16 : 8;
	v.left = width - DURATION_COLS - 1 - v.bar;
	v.start_ns = INT64_MAX;
	v.end_ns = INT64_MIN;
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		const struct span *s = &c->spans[i];
		v.start_ns = s->start_ns < v.start_ns ? s->start_ns : v.start_ns;
		v.end_ns = span_end(s) > v.end_ns ? span_end(s) : v.end_ns;
	}
	view_head(&v);
	for (uint32_t i = 0; i < t->nodes.cnt; i++)
		if (!t->nodes.data[i].has_parent && !t->nodes.data[i].orphan)
			view_walk(&v, i, 0, false);
	view_orphans(&v);
	if (v.printed > CONSOLE_MAX_SPANS) {
		char text[64];
		snprintf(text, sizeof(text), "%u more spans of this trace", v.printed - CONSOLE_MAX_SPANS);
		view_note(&v, "… ", "~ ", text);
	}
	sbuf_addc(out, '\n');
}

void console_tree_release(struct console_tree *t)
{
	hindex_release(&t->by_id);
	vec_release(&t->nodes);
	vec_release(&t->stack);
	vec_release(&t->more);
	sbuf_release(&t->text);
}
