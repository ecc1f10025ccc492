/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTOCOL_HTTP1_HEAD_H
#define PROTOCOL_HTTP1_HEAD_H

#include <stdint.h>

#include "base/sv.h"
#include "protocol/protocol.h"

/* The head of an HTTP/1.x message (RFC 9112, sections 2 to 6): start line and header fields, up to and including the
 * empty line. Pure: bytes in, slices of them out; nothing is copied or allocated. */

enum http1_role { HTTP1_REQUESTS, HTTP1_RESPONSES };

/* Header fields that a caller asks for by name, beyond those every head is searched for. Valid when zeroed. Names may
 * be added at any time and keep their index; heads parsed before do not have them. */
#define HTTP1_MAX_WANTED    64 /* as many as there are bits in http1_head.present */
#define HTTP1_MAX_NAME_SIZE 256

struct http1_wanted {
	struct sv names[HTTP1_MAX_WANTED]; /* lower case, owned */
	uint32_t cnt;
	uint8_t first[64]; /* by hash: index + 1 of the newest name with that hash */
	uint8_t next[HTTP1_MAX_WANTED];
};

/* The index of `name`, in any letter case: http1_head.values[index]. The same name twice has one index.
 * -EINVAL: no header name; -ENOSPC: too many; -ENOMEM. */
int http1_want(struct http1_wanted *w, struct sv name);
void http1_wanted_release(struct http1_wanted *w);

/* Where the body ends (RFC 9112, 6.3). */
enum http1_framing {
	HTTP1_NO_BODY,
	HTTP1_LENGTH,	   /* content_length says it */
	HTTP1_CHUNKED,	   /* the last chunk says it */
	HTTP1_UNTIL_CLOSE, /* the end of the connection says it */
	HTTP1_UNTIL_TURN,  /* not known: head cut, or faulty. Over when the other side's turn comes */
	HTTP1_TUNNEL,	   /* 101, or 2xx to CONNECT: what follows is not HTTP */
};

#define HTTP1_MINOR_UNKNOWN 255

/* Slices are of the bytes that were parsed. A field that is absent or was cut off is empty. */
struct http1_head {
	struct sv method,
		target;	 /* of a request; a target may be cut if `truncated` and minor is HTTP1_MINOR_UNKNOWN */
	uint16_t status; /* of a response, 100 to 999; 0: of a request */
	struct sv reason;
	uint8_t minor; /* HTTP/1.minor, or HTTP1_MINOR_UNKNOWN */
	uint8_t framing;
	bool truncated; /* the head goes on, unseen: any field may be missing, none is wrong */
	bool interim;	/* 1xx but 101: the response proper is still to come */
	bool close;	/* the connection does not outlive the response */
	bool expect_continue;
	bool faulty;  /* not to be sent by RFC 9112, and framed by its rules for that: both lengths, two lengths ... */
	bool unasked; /* a response for which no request is known: framed as an answer to GET */
	uint64_t content_length; /* valid when has_length, whatever the framing is (HEAD, 304) */
	bool has_length;
	uint32_t size; /* bytes of the head, or of what was seen of it */
	uint32_t fields;
	struct sv host, user_agent, upgrade;
	uint64_t present;  /* bit i: values[i] is set */
	uint64_t repeated; /* bit i: the field came more than once; values[i] is the first */
	struct sv values[HTTP1_MAX_WANTED];
};

/* What a response answers. */
enum http1_asked { HTTP1_ASKED_UNKNOWN, HTTP1_ASKED_OTHER, HTTP1_ASKED_HEAD, HTTP1_ASKED_CONNECT };

/* Parses a head; `bytes` ends with its empty line, or anywhere if `cut`. 0, or -EBADMSG: this is not HTTP/1.x.
 * A field whose line is cut is left out. Values may hold the line breaks of folded lines (obs-fold). */
int http1_head_parse(struct sv bytes, enum http1_role role, bool cut, enum http1_asked asked,
		     const struct http1_wanted *wanted, struct http1_head *ret);

/* Whether these bytes begin a request, a response; leading line breaks are none. */
enum protocol_match http1_is_request(struct sv bytes);
enum protocol_match http1_is_response(struct sv bytes);

/* "get" does not equal "GET": methods are case-sensitive. */
enum http1_asked http1_asked_of(struct sv method);

#endif
