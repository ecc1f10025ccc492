/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_V04_H
#define EXPORT_V04_H

#include "export/packer.h"
#include "trace/tags.h"

/* Datadog's v0.4 trace format: a msgpack array of chunks, a chunk an array of spans, a span a map (Agent 7,
 * pkg/proto/pbgo/trace/span.proto and its decoder). */

/* Appends the chunk; links are a field, events one too unless t->events_as_tag. 0, or -ENOMEM with the buffer as it was. */
int v04_chunk(struct packer *p, struct tags *t, const struct chunk *c);

/* The parts of a span as they are known when it is translated from another format (v05.h). Both: the number of bytes
 * to reserve, and the writing itself at `at`; returns the end. */
struct v04_fields {
	struct sv service, name, resource, type;
	uint64_t trace_id, span_id, parent_id;
	int64_t start, duration;
	int32_t error;
	const struct tag *meta;
	const struct metric *metrics;
	size_t meta_cnt, metric_cnt;
	size_t meta_sz;			/* bytes of its keys and values, or more */
	const struct span_annex *annex; /* NULL: none */
	bool native_events;		/* the receiver takes span_events */
};
int v04_span(struct packer *p, const struct v04_fields *f);

#endif
