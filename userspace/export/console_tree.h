/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_CONSOLE_TREE_H
#define EXPORT_CONSOLE_TREE_H

#include "base/sbuf.h"
#include "base/vec.h"
#include "trace/hindex.h"
#include "trace/span.h"

/* One trace as people read it: a line that says whose it is, then its spans as a tree with their times, each with a
 * bar that lies where the span lies within the trace. Whatever bytes a name or tag holds, the terminal sees text. */

#define CONSOLE_MAX_SPANS 200 /* lines per chunk; the rest is one line that counts them */

struct console_style {
	unsigned width; /* columns */
	bool utf8;
	bool color;
};

/* Working memory, kept from chunk to chunk. Valid when zeroed. */
struct console_node {
	uint32_t span;
	uint32_t first_child, next; /* nodes */
	uint32_t depth;
	bool has_parent, seen, orphan;
};
struct console_tree {
	struct hindex by_id;
	VEC(struct console_node) nodes; /* by start time */
	VEC(uint32_t) stack;
	VEC(bool) more; /* by depth: further siblings follow below */
	struct sbuf text;
};

/* Appends the chunk's text to `out`; it ends with an empty line. Out of memory shows in out->failed. */
void console_tree_print(struct console_tree *t, const struct chunk *chunk, const struct console_style *style,
			struct sbuf *out);
void console_tree_release(struct console_tree *t);
/* "950 ns", "1.24 ms", "2m 03s". */
void console_duration(struct sbuf *out, int64_t ns, bool utf8);

#endif
