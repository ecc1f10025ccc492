/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "trace/timeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A line of a log, and the same bytes as a span. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct log_reader *reader;
	struct sbuf err = {0};
	struct timeline_filter filter = {.any_pid = size & 1};
	const struct timeline_span *s;
	struct log_line l;
	struct sv text = {(const char *)data, size};
	if (!reader && log_reader_new(&reader, 1795302000000000000LL, &err) < 0)
		abort();
	log_reader_line(reader, text, &l);
	if (l.to_ns ? l.to_ns <= l.from_ns : l.from_ns != 0)
		abort();
	if (l.json && text.data[0] != '{')
		abort();
	struct timeline *t = timeline_new();
	if (t && timeline_add(t, text) == 0 && timeline_count(t) != 1)
		abort();
	if (t && (timeline_find(t, &l, &filter, &s) == TIMELINE_FOUND) != (s != NULL))
		abort();
	timeline_free(t);
	return 0;
}
