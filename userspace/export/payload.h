/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_PAYLOAD_H
#define EXPORT_PAYLOAD_H

#include "export/v04.h"
#include "export/v05.h"

/* The body of one request to the Agent, in the making or waiting to be sent, and who it is about: one payload has one
 * language, container, env, version and host name, because the Agent takes each of them once per payload (Agent 7.85:
 * the last chunk's wins). */

enum payload_format {
	PAYLOAD_V04 = 4,
	PAYLOAD_V05 = 5,
};

struct payload_chunk {
	size_t end; /* in the body */
	uint32_t spans;
	int32_t priority; /* chunk_priority() */
};

#define PAYLOAD_HEADS_MAX 16
#define PAYLOAD_MAX_PARTS 4

struct payload {
	struct payload *next;
	struct process_info *who; /* a reference is held: one process of the group */
	bool counted;		  /* its spans are in statistics of ours: chunk.counted */
	enum payload_format format;
	struct packer body;	    /* chunks, one after the other */
	struct v05_strings strings; /* of v0.5 */
	VEC(struct payload_chunk) chunks;
	char heads[PAYLOAD_HEADS_MAX]; /* what payload_body() puts around them */
	uint64_t spans;
	uint64_t dropped_traces, dropped_spans; /* left out on our side by sampling: chunk.dropped_traces, _spans */
	uint64_t born_ns;			/* of the first chunk */
	uint64_t due_ns;			/* not to be sent before */
	unsigned attempts;
	bool sent; /* under way: neither changed nor dropped */
};

/* NULL when out of memory. */
struct payload *payload_new(struct process_info *who, bool counted, enum payload_format format);
void payload_free(struct payload *p); /* NULL is fine */
bool payload_is_about(const struct payload *p, const struct process_info *who, bool counted);
/* 0 or -ENOMEM (-ENOSPC: the strings of v0.5 are too many); unchanged then. */
int payload_add(struct payload *p, struct tags *t, const struct chunk *c, uint64_t now_ns);
/* Takes the chunks from `first` on away into a new payload; NULL when out of memory, nothing changed then. */
struct payload *payload_split(struct payload *p, size_t first);
/* Takes the last chunk back. */
void payload_pop(struct payload *p);
/* Drops chunks of this priority, oldest first, until at least `want` bytes are free or none is left. Returns the spans
 * they had. */
uint64_t payload_drop(struct payload *p, int priority, size_t want);
/* The lowest priority of its chunks; INT_MAX when there is none. */
int payload_lowest(const struct payload *p);
/* v0.5 becomes v0.4. 0 or -ENOMEM, unchanged then. */
int payload_downgrade(struct payload *p);
/* Bytes: in memory, as sent, of the last chunk alone (without its strings). */
size_t payload_sz(const struct payload *p);
size_t payload_wire_sz(const struct payload *p);
size_t payload_last_sz(const struct payload *p);
/* Nothing will be added: memory beyond the content is given back. */
void payload_trim(struct payload *p);
/* What to send, in parts; returns how many. Valid until the payload changes. */
unsigned payload_body(struct payload *p, struct sv parts[PAYLOAD_MAX_PARTS]);

#endif
