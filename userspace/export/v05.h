/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_V05_H
#define EXPORT_V05_H

#include <sys/types.h>

#include "base/vec.h"
#include "export/packer.h"
#include "trace/tags.h"

/* Datadog's v0.5 trace format: a msgpack array of a dictionary of strings and of chunks, a chunk an array of spans, a
 * span an array of 12, its strings indexes into the dictionary (Agent 7, pkg/proto/pbgo/trace/decoder_v05.go). */

struct v05_string {
	uint32_t hash, len;
	uint32_t at;	/* in `text` */
	uint32_t index; /* in the dictionary, + 1; 0: a free slot */
};

/* Where a string was found the last time that it lay at `data`: most are looked up by the place they are at, and then
 * compared. What is there now may be another one. */
struct v05_known {
	const char *data;
	uint32_t len, at, index; /* as in struct v05_string */
};

#define V05_KNOWN_BITS 8 /* a few functions, with their tags */
#define V05_KNOWN      (1u << V05_KNOWN_BITS)

/* Every string of a payload once; the first is "". Valid when zeroed. */
struct v05_strings {
	struct packer text; /* as they are sent: msgpack strings, one after the other */
	VEC(struct v05_string) list;
	struct v05_string *slots; /* the same by hash: a string is found with one look into memory */
	uint32_t slot_cnt;	  /* a power of two */
	struct v05_known *known;  /* V05_KNOWN, or NULL */
};

#define V05_MAX_STRINGS (1u << 24)
#define V05_MAX_TEXT	(1u << 30) /* bytes of them */

/* Appends the chunk and adds its strings. 0, -ENOMEM, or -ENOSPC when the dictionary is full; the chunks are then as
 * they were, the dictionary may have gained strings that nothing uses. */
int v05_chunk(struct packer *p, struct v05_strings *strings, struct tags *t, const struct chunk *c);
/* The same strings once more. 0 or -ENOMEM. */
int v05_strings_copy(struct v05_strings *to, const struct v05_strings *from);
/* Bytes they take, as text and to be found. */
size_t v05_strings_sz(const struct v05_strings *strings);
void v05_strings_trim(struct v05_strings *strings);
void v05_strings_release(struct v05_strings *strings);

/* One chunk that v05_chunk() wrote, appended to `to` as v0.4. Returns how many bytes of `chunk` it took, or -ENOMEM, or
 * -EINVAL when it is not such a chunk. */
ssize_t v05_to_v04(struct packer *to, const struct v05_strings *strings, struct sv chunk);

#endif
