/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_V04_H
#define EXPORT_V04_H

#include "base/sbuf.h"
#include "trace/tags.h"

/* Datadog's v0.4 trace format: a msgpack array of chunks, a chunk an array of spans, a span a map (Agent 7,
 * pkg/proto/pbgo/trace/span.proto and its decoder). Strings leave as valid UTF-8 whatever they were. */

#define V04_HEAD_MAX 5

struct v04 {
	char *data;
	size_t len, cap;
	bool failed;	  /* out of memory, sticky; v04_chunk() clears it */
	struct sbuf text; /* a string that had to be mended */
};

/* An empty buffer gets V04_HEAD_MAX bytes of room in front, for v04_head() once the number of chunks is known.
 * 0 or -ENOMEM. */
int v04_begin(struct v04 *v);
/* Bytes that were chunks of another buffer. 0 or -ENOMEM. */
int v04_append(struct v04 *v, const void *data, size_t len);
/* Appends the chunk. 0, or -ENOMEM with the buffer as it was. */
int v04_chunk(struct v04 *v, struct tags *t, const struct chunk *c);
/* The head of the outer array, for `chunks` chunks; returns its length. */
size_t v04_head(char out[V04_HEAD_MAX], uint32_t chunks);
/* Gives memory beyond the content back. */
void v04_trim(struct v04 *v);
void v04_release(struct v04 *v);

#endif
