/* SPDX-License-Identifier: Apache-2.0 */
#include "app/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "export/console_line.h"

#define MAX_COLUMNS 16
#define NOT_CUT	    1000 /* where it is no terminal */

static unsigned screen_width(void)
{
	struct winsize size;
	const char *text = getenv("COLUMNS");
	long width = text ? strtol(text, NULL, 10) : 0;
	if (width <= 0 && isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		width = size.ws_col;
	return width > 0 && width < 10000 ? (unsigned)width : NOT_CUT;
}

static void print_cell(struct console_line *l, unsigned *at, unsigned width, unsigned screen, struct sv text)
{
	console_line_pad(l, *at);
	l->max = *at + width < screen ? *at + width : screen;
	l->cut = false;
	if (l->col < screen)
		console_line_text(l, CONSOLE_PLAIN, text);
	*at += width + 2;
}

void table_print(const struct table_column *columns, unsigned column_cnt, size_t row_cnt,
		 void (*cell)(const void *arg, size_t row, unsigned column, struct sbuf *out), const void *arg)
{
	static const struct console_style style = {.utf8 = false, .color = false};
	unsigned screen = screen_width(), width[MAX_COLUMNS] = {0};
	struct sbuf text = {0}, out = {0};
	column_cnt = column_cnt < MAX_COLUMNS ? column_cnt : MAX_COLUMNS;
	for (size_t i = 0; i < row_cnt; i++)
		for (unsigned c = 0; c < column_cnt; c++) {
			sbuf_reset(&text);
			cell(arg, i, c, &text);
			if (text.len > width[c])
				width[c] = text.len < columns[c].max ? (unsigned)text.len : columns[c].max;
		}
	for (size_t i = 0; i <= row_cnt; i++) {
		struct console_line line = {.out = &out, .style = &style, .max = screen};
		unsigned at = 0;
		for (unsigned c = 0; c < column_cnt; c++) {
			unsigned title = (unsigned)strlen(columns[c].title);
			if (!width[c]) /* nobody has any */
				continue;
			sbuf_reset(&text);
			if (i)
				cell(arg, i - 1, c, &text);
			else
				sbuf_adds(&text, columns[c].title);
			print_cell(&line, &at, width[c] > title ? width[c] : title, screen, sbuf_sv(&text));
		}
		console_line_end(&line);
	}
	fputs(sbuf_str(&out), stdout);
	sbuf_release(&text);
	sbuf_release(&out);
}
