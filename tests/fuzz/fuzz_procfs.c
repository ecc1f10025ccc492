/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of what /proc says about processes that may not wish us well. Every parser sees every input; what they
 * return must lie within it. */
#include <stdint.h>
#include <stdlib.h>

#include "base/glob.h"
#include "target/container.h"
#include "target/entry.h"
#include "target/identify.h"
#include "target/maps.h"
#include "target/procparse.h"
#include "target/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct sv part, struct sv whole)
{
	if (part.len && (part.data < whole.data || part.data + part.len > whole.data + whole.len))
		abort();
}

static void walk_maps(struct sv text)
{
	struct sbuf copy = {0};
	struct proc_map m;
	sbuf_addsv(&copy, text);
	struct maps_iter it = MAPS_ITER(&copy);
	while (maps_next(&it, &m)) {
		inside(m.path, sbuf_sv(&copy));
		if (m.end <= m.start || !m.ino || m.path.data[m.path.len])
			abort();
	}
	sbuf_release(&copy);
}

static void walk_entry(struct sv text)
{
	struct sv cmdline = text, exe = text_until(&cmdline, '\0'), arg;
	struct entry e;
	entry_find(exe, cmdline, &e);
	inside(e.what, cmdline);
	inside(e.args, cmdline);
	inside(entry_name(&e), cmdline);
	entry_find(SV_NULL, text, &e);
	entry_find(SV("python3"), text, &e);
	entry_find(SV("java"), text, &e);
	for (struct sv rest = text; cmdline_next(&rest, &arg);)
		inside(arg, text);
}

static void walk_lines(struct sv text)
{
	struct sv rest = text;
	uint64_t inode;
	uint16_t port;
	struct tcp_line t;
	while (rest.len) {
		struct sv line = text_line(&rest);
		bool listens = listen_parse(line, &inode, &port), parsed = tcp_parse(line, &t);
		if (listens && (!inode || !parsed || t.state != TCP_LINE_LISTENS || t.port != port))
			abort();
	}
	struct container c;
	if (container_parse(text, &c) != (c.id.len > 0) || (c.id.len && c.id.len < 28) || !c.runtime)
		abort();
	inside(c.id, text);
	inside(c.pod, text);
	inside(c.unit, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of its own: reading one byte behind it is seen. */
	char *bytes = malloc(size ? size : 1);
	if (size)
		memcpy(bytes, data, size);
	struct sv text = {bytes, size}, value, pattern = text;
	struct proc_stat stat;
	struct proc_status status;
	struct tag_vec tags = {0};
	if (proc_stat_parse(text, &stat) == 0)
		inside(stat.comm, text);
	proc_status_parse(text, &status);
	if (environ_get(text, "DD_SERVICE", &value))
		inside(value, text);
	if (tags_parse(text, &tags) || tags.cnt > IDENTIFY_MAX_TAGS)
		abort();
	vec_foreach (t, &tags) {
		inside(t->key, text);
		inside(t->value, text);
	}
	vec_release(&tags);
	struct sv before = text_until(&pattern, '\n');
	glob_match(before, pattern);
	walk_maps(text);
	walk_entry(text);
	walk_lines(text);
	free(bytes);
	return 0;
}
