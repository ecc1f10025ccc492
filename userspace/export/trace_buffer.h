/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_TRACE_BUFFER_H
#define EXPORT_TRACE_BUFFER_H

#include "export/payload.h"

/* What waits for the Agent: payloads in the making, one per group of processes, and sealed ones, which wait to be sent
 * or are under way. Bounded in bytes: beyond, whole traces go, of the lowest priority first, of those the oldest. */

#define TRACE_BUFFER_MAX_GROUPS 64 /* payloads in the making; beyond, the oldest is sealed early */

struct trace_buffer {
	size_t max_sz;		    /* of everything */
	size_t payload_max;	    /* what a request may be */
	size_t payload_sz;	    /* sealed when it has grown to this */
	enum payload_format format; /* of payloads begun from now on */
	bool native_events;	    /* the Agent takes span_events */

	struct payload *groups[TRACE_BUFFER_MAX_GROUPS];
	unsigned group_cnt;
	struct payload *first, *last; /* sealed, oldest first */
	uint64_t bytes;		      /* of all */
	uint64_t spans;		      /* of all */
	struct tags tags;
};

/* Copies (encodes) the chunk. 0, -E2BIG: alone it is larger than a request may be, or -ENOMEM. */
int trace_buffer_add(struct trace_buffer *b, const struct chunk *c, uint64_t now_ns);
/* Payloads begun before `born_before_ns` get ready to be sent. */
void trace_buffer_seal(struct trace_buffer *b, uint64_t born_before_ns);
/* When the oldest payload in the making was begun; UINT64_MAX: there is none. */
uint64_t trace_buffer_oldest(const struct trace_buffer *b);
/* Brings it back within its bound, with some air, and returns the spans that were dropped for it. */
uint64_t trace_buffer_shrink(struct trace_buffer *b);

/* Of a sealed payload. Taken off the list and freed. */
void trace_buffer_remove(struct trace_buffer *b, struct payload *p);
/* In two halves, the second one next in the list. False: it has one chunk, or memory is out. */
bool trace_buffer_halve(struct trace_buffer *b, struct payload *p);
/* To v0.4, halved as often as it takes to remain within what a request may be. False: memory is out. */
bool trace_buffer_downgrade(struct trace_buffer *b, struct payload *p);

void trace_buffer_release(struct trace_buffer *b);

#endif
