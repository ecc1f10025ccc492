/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_PAYLOAD_H
#define EXPORT_PAYLOAD_H

#include "export/v04.h"

/* The body of one request to the Agent, in the making or waiting to be sent, and who it is about: one payload has one
 * language, container, env, version and host name, because the Agent takes each of them once per payload (Agent 7.85:
 * the last chunk's wins). */
struct payload_chunk {
	size_t end; /* in the body */
	uint32_t spans;
};

struct payload {
	struct payload *next;
	struct process_info *who; /* a reference is held: one process of the group */
	struct v04 body;	  /* begins with V04_HEAD_MAX bytes of room for the head */
	VEC(struct payload_chunk) chunks;
	uint64_t spans;
	uint64_t born_ns; /* of the first chunk */
	uint64_t due_ns;  /* not to be sent before */
	unsigned attempts;
	bool sent; /* under way: neither changed nor dropped */
};

/* NULL when out of memory. */
struct payload *payload_new(struct process_info *who);
void payload_free(struct payload *p); /* NULL is fine */
bool payload_is_about(const struct payload *p, const struct process_info *who);
/* 0 or -ENOMEM. */
int payload_add(struct payload *p, struct tags *t, const struct chunk *c, uint64_t now_ns);
/* Takes the chunks from `first` on away into a new payload; NULL when out of memory, nothing changed then. */
struct payload *payload_split(struct payload *p, size_t first);
/* Takes the last chunk back. */
void payload_pop(struct payload *p);
/* Bytes of all chunks; of the last one. */
size_t payload_sz(const struct payload *p);
size_t payload_last_sz(const struct payload *p);
/* Nothing will be added: memory beyond the content is given back. */
void payload_trim(struct payload *p);
/* What to send; valid until the payload changes. */
struct sv payload_body(struct payload *p);

#endif
