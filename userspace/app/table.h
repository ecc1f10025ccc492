/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_TABLE_H
#define APP_TABLE_H

#include "base/sbuf.h"

/* A table for people on standard output: columns as wide as what is in them, without those that nobody has anything in, cut
 * at the terminal's edge. What is no printable text in it is shown as such. */

struct table_column {
	const char *title;
	unsigned max; /* wider cells are cut */
};

/* `cell` adds the text of one cell to `out`. It is called twice for each. */
void table_print(const struct table_column *columns, unsigned column_cnt, size_t row_cnt,
		 void (*cell)(const void *arg, size_t row, unsigned column, struct sbuf *out), const void *arg);

#endif
