/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTOCOL_PROTOCOL_H
#define PROTOCOL_PROTOCOL_H

#include <stdint.h>

#include "base/sv.h"

/* The protocols whose messages are understood: one file each, and one line in protocols.def. */

enum protocol_id {
	PROTOCOL_UNKNOWN,
#define PROTOCOL(id, name) PROTOCOL_##name = id,
#include "protocol/protocols.def"
#undef PROTOCOL
};

enum protocol_match {
	PROTOCOL_NO,	/* these bytes begin no message of it, whatever follows */
	PROTOCOL_MAYBE, /* too few bytes to tell */
	PROTOCOL_SURE,
};

struct protocol {
	uint8_t id;
	const char *name;
	/* Do these bytes begin a request, a response? */
	enum protocol_match (*is_request)(struct sv bytes);
	enum protocol_match (*is_response)(struct sv bytes);
};

extern const struct protocol *const protocol_registry[];
extern const unsigned protocol_registry_cnt;

/* The protocol that these bytes surely begin a message of, NULL when there is none (yet). */
const struct protocol *protocol_detect(struct sv bytes, bool *ret_is_response);

#endif
