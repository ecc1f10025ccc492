/* SPDX-License-Identifier: Apache-2.0 */
#include "export/console_line.h"

#include <stdio.h>

#include "base/utf8.h"

/* One character as it is shown. */
struct shown {
	char text[12];
	size_t len;
	unsigned width;
};

/* Characters that move the cursor, hide text or turn the direction of what follows. */
static bool is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x200b && cp <= 0x200f) ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff;
}

/* The first character of `s` (not empty); returns its length in `s`. */
static size_t shown_of(struct shown *sh, struct sv s, bool utf8)
{
	size_t n;
	uint32_t cp = utf8_decode(s, &n);
	int len = 0;
	if (cp == '\n' || cp == '\t' || cp == '\r')
		len = snprintf(sh->text, sizeof(sh->text), "\\%c", cp == '\n' ? 'n' : cp == '\t' ? 't' : 'r');
	else if (utf8_len(s) == 0)
		len = snprintf(sh->text, sizeof(sh->text), "\\x%02x", (unsigned char)s.data[0]);
	else if (is_control(cp))
		len = snprintf(sh->text, sizeof(sh->text), cp < 0x100 ? "\\x%02x" : "\\u%04x", cp);
	else if (cp >= 0x80 && !utf8)
		len = snprintf(sh->text, sizeof(sh->text), "?");
	if (len > 0) {
		sh->len = sh->width = (unsigned)len;
		return n;
	}
	memcpy(sh->text, s.data, n);
	sh->len = n;
	sh->width = cp < 0x80 ? 1 : (unsigned)utf8_width(cp);
	return n;
}

static void line_sgr(struct console_line *l, const char *sgr)
{
	if (sgr && l->style->color)
		sbuf_addf(l->out, "\033[%sm", sgr);
}

static bool fits(const struct console_line *l, struct sv text)
{
	unsigned width = 0;
	struct shown sh;
	for (size_t i = 0; i < text.len; width += sh.width) {
		if (l->col + width > l->max)
			return false;
		i += shown_of(&sh, (struct sv){text.data + i, text.len - i}, l->style->utf8);
	}
	return l->col + width <= l->max;
}

void console_line_text(struct console_line *l, const char *sgr, struct sv text)
{
	if (l->cut || text.len == 0)
		return;
	bool whole = fits(l, text);
	unsigned max = whole ? l->max : l->max ? l->max - 1 : 0;
	line_sgr(l, sgr);
	struct shown sh;
	for (size_t i = 0; i < text.len;) {
		i += shown_of(&sh, (struct sv){text.data + i, text.len - i}, l->style->utf8);
		if (l->col + sh.width > max)
			break;
		sbuf_add(l->out, sh.text, sh.len);
		l->col += sh.width;
	}
	if (!whole && l->col < l->max) {
		sbuf_adds(l->out, l->style->utf8 ? "…" : "~");
		l->col++;
	}
	l->cut = !whole;
	line_sgr(l, sgr ? "0" : NULL);
}

void console_line_glyph(struct console_line *l, const char *sgr, const char *utf8, const char *ascii)
{
	size_t width = strlen(ascii);
	if (l->cut || l->col + width > l->max) {
		l->cut = true;
		return;
	}
	line_sgr(l, sgr);
	sbuf_adds(l->out, l->style->utf8 ? utf8 : ascii);
	line_sgr(l, sgr ? "0" : NULL);
	l->col += (unsigned)width;
}

void console_line_pad(struct console_line *l, unsigned col)
{
	for (; l->col < col; l->col++)
		sbuf_addc(l->out, ' ');
}

/* Block elements that fill a cell from the left by 1/8 ... 8/8. */
static const char *const eighths[] = {"▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};

void console_line_bar(struct console_line *l, const char *sgr, unsigned width, double from, double to)
{
	if (width == 0)
		return;
	/* Without finer glyphs a cell is the unit. */
	unsigned unit = l->style->utf8 ? 8 : 1, end = width * unit;
	unsigned a = (unsigned)(from * end + 0.5), b = (unsigned)(to * end + 0.5);
	if (a >= end)
		a = end - 1;
	if (b <= a)
		b = a + 1;
	unsigned first = a / unit, last = (b - 1) / unit;
	console_line_pad(l, l->col + first);
	line_sgr(l, sgr);
	for (unsigned cell = first; cell <= last; cell++, l->col++) {
		if (!l->style->utf8)
			sbuf_addc(l->out, '=');
		else if (cell == last)
			sbuf_adds(l->out, eighths[first == last ? b - a - 1 : b - cell * unit - 1]);
		else if (cell == first && a % unit >= unit / 2)
			sbuf_adds(l->out, "▐");
		else
			sbuf_adds(l->out, "█");
	}
	line_sgr(l, sgr ? "0" : NULL);
}

void console_line_end(struct console_line *l)
{
	while (l->out->len && l->out->data[l->out->len - 1] == ' ')
		l->out->len--;
	sbuf_addc(l->out, '\n');
	l->col = 0;
	l->cut = false;
}
