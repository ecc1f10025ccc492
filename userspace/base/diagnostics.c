/* SPDX-License-Identifier: Apache-2.0 */
#include "base/diagnostics.h"

/* What is shown of a long source line: this many bytes before and after the column. */
#define SHOWN_BEFORE 70
#define SHOWN_AFTER  40

void diagnostics_set_source(struct diagnostics *d, struct sv name, struct sv text)
{
	d->name = arena_dup(&d->arena, name);
	d->text = arena_dup(&d->arena, text);
	if (!d->name.data || !d->text.data)
		d->failed = true;
}

uint32_t diagnostics_open_source(struct diagnostics *d, struct sv name, struct sv text)
{
	struct diagnostics_source source = {arena_dup(&d->arena, name), arena_dup(&d->arena, text)};
	if (!source.name.data || !source.text.data || vec_push(&d->included, source) < 0)
		d->failed = true;
	d->reading = (uint32_t)d->included.cnt;
	return d->reading;
}

void diagnostics_close_source(struct diagnostics *d)
{
	d->reading = 0;
}

/* Out of memory, a file may be missing: then it is nobody's. */
static struct diagnostics_source source_of(const struct diagnostics *d, uint32_t file)
{
	if (file && file <= d->included.cnt)
		return d->included.data[file - 1];
	return file ? (struct diagnostics_source){0} : (struct diagnostics_source){d->name, d->text};
}

void diagnostics_vadd(struct diagnostics *d, enum severity severity, struct source_pos pos, const char *fmt, va_list ap)
{
	struct sbuf message = {0};
	if (severity == SEVERITY_ERROR)
		d->error_cnt++;
	else
		d->warning_cnt++;
	if (d->items.cnt >= DIAGNOSTICS_MAX) {
		d->left_out++;
		return;
	}
	sbuf_vaddf(&message, fmt, ap);
	if (!pos.file)
		pos.file = d->reading;
	struct diagnostic item = {pos, severity, arena_dup(&d->arena, sbuf_sv(&message))};
	if (message.failed || !item.message.data || vec_push(&d->items, item) < 0)
		d->failed = true;
	sbuf_release(&message);
}

void diagnostics_add(struct diagnostics *d, enum severity severity, struct source_pos pos, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	diagnostics_vadd(d, severity, pos, fmt, ap);
	va_end(ap);
}

static bool pos_before(struct source_pos a, struct source_pos b)
{
	if (a.file != b.file)
		return a.file < b.file;
	return a.line != b.line ? a.line < b.line : a.column < b.column;
}

/* Insertion, because it is stable and there are few. */
static void diagnostics_sort(struct diagnostics *d)
{
	for (size_t i = 1; i < d->items.cnt; i++) {
		struct diagnostic item = d->items.data[i];
		size_t at = i;
		for (; at > 0 && pos_before(item.pos, d->items.data[at - 1].pos); at--)
			d->items.data[at] = d->items.data[at - 1];
		d->items.data[at] = item;
	}
}

static struct sv line_of(struct sv text, uint32_t line)
{
	const char *at = text.data, *end = text.data + text.len;
	for (uint32_t i = 1; i < line && at; i++) {
		at = memchr(at, '\n', (size_t)(end - at));
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return SV_NULL;
	const char *stop = memchr(at, '\n', (size_t)(end - at));
	struct sv found = {at, (size_t)((stop ? stop : end) - at)};
	if (found.len && found.data[found.len - 1] == '\r')
		found.len--;
	return found;
}

static bool utf8_continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* What a terminal shows: control characters would move its cursor. */
static void add_shown(struct sbuf *out, struct sv s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];
		sbuf_addc(out, (c < 0x20 && c != '\t') || c == 0x7f ? '?' : (char)c);
	}
}

static void print_source(struct sbuf *out, struct sv line, uint32_t column)
{
	size_t at = 0, chars = 1;
	while (at < line.len && chars < column) {
		at++;
		while (at < line.len && utf8_continues(line.data[at]))
			at++;
		chars++;
	}
	size_t start = at > SHOWN_BEFORE + 3 ? at - SHOWN_BEFORE : 0;
	while (start < at && utf8_continues(line.data[start]))
		start++;
	size_t stop = line.len - at > SHOWN_AFTER + 3 ? at + SHOWN_AFTER : line.len;
	while (stop < line.len && utf8_continues(line.data[stop]))
		stop++;
	sbuf_adds(out, start ? "    ..." : "    ");
	add_shown(out, (struct sv){line.data + start, stop - start});
	sbuf_adds(out, stop < line.len ? "...\n" : "\n");
	sbuf_adds(out, start ? "       " : "    ");
	for (size_t i = start; i < at; i++)
		if (!utf8_continues(line.data[i]))
			sbuf_addc(out, line.data[i] == '\t' ? '\t' : ' ');
	sbuf_adds(out, "^\n");
}

void diagnostics_print(struct diagnostics *d, struct sbuf *out)
{
	diagnostics_sort(d);
	vec_foreach (item, &d->items) {
		struct diagnostics_source source = source_of(d, item->pos.file);
		if (source.name.len)
			sbuf_addf(out, SV_FMT ":", SV_ARG(source.name));
		if (item->pos.line)
			sbuf_addf(out, "%u:%u:", item->pos.line, item->pos.column);
		if (source.name.len || item->pos.line)
			sbuf_addc(out, ' ');
		sbuf_adds(out, item->severity == SEVERITY_ERROR ? "error: " : "warning: ");
		sbuf_addsv(out, item->message);
		sbuf_addc(out, '\n');
		struct sv line = item->pos.line ? line_of(source.text, item->pos.line) : SV_NULL;
		if (line.data)
			print_source(out, line, item->pos.column);
	}
	if (d->left_out)
		sbuf_addf(out, "... and %u more\n", d->left_out);
}

void diagnostics_release(struct diagnostics *d)
{
	vec_release(&d->items);
	vec_release(&d->included);
	arena_release(&d->arena);
	*d = (struct diagnostics){0};
}
