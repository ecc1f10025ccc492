/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_CONSOLE_LINE_H
#define EXPORT_CONSOLE_LINE_H

#include "export/console_tree.h"

/* A line of the terminal in the making: counts columns, cuts what is too long, colours, and lets no control character
 * of a traced program through. */
struct console_line {
	struct sbuf *out;
	const struct console_style *style;
	unsigned col;
	unsigned max; /* text beyond ends in an ellipsis */
	bool cut;     /* that happened: further text is left out */
};

/* SGR parameters (ECMA-48 8.3.117). */
#define CONSOLE_PLAIN NULL
#define CONSOLE_BOLD  "1"
#define CONSOLE_DIM   "2"
#define CONSOLE_RED   "31"
#define CONSOLE_ALARM "1;31"

void console_line_text(struct console_line *l, const char *sgr, struct sv text);
/* Our own glyph or its ASCII stand-in; both as wide as the stand-in is long. */
void console_line_glyph(struct console_line *l, const char *sgr, const char *utf8, const char *ascii);
void console_line_pad(struct console_line *l, unsigned col);
/* A bar `width` columns wide, filled from `from` to `to` (0 <= from <= to <= 1), at least a sliver. */
void console_line_bar(struct console_line *l, const char *sgr, unsigned width, double from, double to);
/* Ends it; spaces at its end go. */
void console_line_end(struct console_line *l);

#endif
