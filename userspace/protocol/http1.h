/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTOCOL_HTTP1_H
#define PROTOCOL_HTTP1_H

#include "protocol/http1_head.h"

/* An incremental parser of one direction of an HTTP/1.x connection: two make a connection, one for the requests, one
 *for the responses. Fed with pieces that may begin and end anywhere, and of which only the beginning may have been
 *copied:
 *
 *	http1_feed(p, bytes, unseen, now_ns);
 *	while ((event = http1_next(p, &head)) != HTTP1_MORE)
 *		switch (event) ...
 *
 * The caller links the two: for each HTTP1_HEAD of a request it calls http1_expect() on the response parser; when a
 *response is HTTP1_TUNNEL it calls http1_leave() on the request parser. The bytes of a request must be fed before those
 *of its response. Pure, single-threaded. No allocation per message after warm-up; malloc only for heads that arrive in
 *parts. */

enum http1_event {
	HTTP1_MORE, /* the piece is used up */
	HTTP1_HEAD, /* a message's head is complete, or as complete as it will get: `head` is filled; its slices are
		     * valid until the next call of this parser. p->message tells when it began, and where */
	HTTP1_END,  /* a message is over: p->message. Follows its HTTP1_HEAD; without one the message ended in its head
		     */
	HTTP1_UNSEEN, /* bytes where a message should begin were not copied: everything is skipped until http1_resync()
		       */
	HTTP1_NOT_HTTP, /* bytes where a message should begin are none: likewise. May come after good messages, when an
			 * end was a guess, or in the middle of a connection's life */
};

/* How sure the end of a message is. */
enum http1_end {
	HTTP1_END_EXACT,   /* seen, or counted */
	HTTP1_END_CLOSE,   /* by the end of the connection, as it should */
	HTTP1_END_GUESSED, /* the last chunk was recognised after chunks whose sizes were not seen */
	HTTP1_END_TURN,	   /* at the latest: the other side's turn came. last_ns is the time of the last byte */
	HTTP1_END_CUT,	   /* the connection ended before the message did */
};

struct http1_message {
	uint64_t start;	  /* offset of the first byte in this direction */
	uint64_t end;	  /* offset behind the last byte seen */
	uint64_t head_sz; /* bytes */
	uint64_t body_sz; /* bytes of content seen so far: of chunks without their framing; if the end is not exact or
			   * the head is truncated, framing and the rest of the head may be in it */
	uint64_t start_ns, last_ns; /* of the pieces with the first and the last byte so far */
	uint8_t end_kind;
	bool has_head; /* HTTP1_HEAD was given */
	bool interim;
	bool truncated;
};

/* What parsers of one thread share: settings, wanted fields, room for heads that arrive in parts. */
struct http1_shared {
	struct http1_wanted wanted;
	uint32_t head_max;	 /* bytes of a head that are looked at; more of it is truncated. 64 KiB at most */
	uint32_t max_split;	 /* heads that may wait for their rest at one time */
	uint32_t split_cnt;	 /* such heads now */
	uint64_t split_overflow; /* heads truncated because there were too many of them, or no memory */
	struct http1_buffer *spare;
};

#define HTTP1_HEAD_DEFAULT  2048
#define HTTP1_HEAD_LIMIT    65536
#define HTTP1_SPLIT_DEFAULT 4096

/* Bytes of a head to look at where so many of it are captured: all of those, and no fewer than otherwise. */
static inline uint32_t http1_head_max(uint32_t captured)
{
	return captured > HTTP1_HEAD_DEFAULT ? captured : HTTP1_HEAD_DEFAULT;
}

/* head_max 0, max_split 0: the defaults. */
void http1_shared_init(struct http1_shared *s, uint32_t head_max, uint32_t max_split);
/* After the last parser's http1_release(). */
void http1_shared_release(struct http1_shared *s);

struct http1 {
	struct http1_shared *shared;
	struct http1_message message; /* of the message in progress, or of the HTTP1_END just given */
	uint64_t offset;	      /* bytes of this direction so far; set it after http1_init() to begin elsewhere */
	uint64_t lost;		      /* bytes of it that belong to no message */
	uint32_t messages;	      /* whose HTTP1_END was given */
	uint32_t expected_cnt;	      /* requests not answered yet */
	uint64_t expected;	      /* two bits for each of the first 32 of them, enum http1_asked */
	/* The rest is private. */
	struct http1_buffer *buffer;
	const char *at;
	size_t left;
	uint64_t unseen;
	uint64_t now_ns;
	uint64_t body_left;
	uint32_t scanned;
	uint8_t role, state, ending, digits;
	bool drop_buffer, line_good, unsure, tunnel;
};

void http1_init(struct http1 *p, struct http1_shared *shared, enum http1_role role);
void http1_release(struct http1 *p); /* zeroed is fine */

/* The next piece: `bytes`, then `unseen` more that passed without being copied; either may be none. `bytes` must stay
 * until http1_next() returned HTTP1_MORE, and only then the next piece may come. */
void http1_feed(struct http1 *p, struct sv bytes, uint64_t unseen, uint64_t now_ns);
enum http1_event http1_next(struct http1 *p, struct http1_head *head);

/* A response parser learns of the requests in their order: how a response ends depends on it. */
void http1_expect(struct http1 *p, enum http1_asked asked);

/* A message of this direction begins with the next byte, as the kernel saw it: there was a turn. Ends a message whose
 * end is not known (call http1_next() for its HTTP1_END), and ends the skipping after HTTP1_UNSEEN and HTTP1_NOT_HTTP.
 * Does nothing to a message whose end is known: so a request body sent after "100 Continue" is not taken for a new
 * request. True when it did something. */
bool http1_resync(struct http1 *p);
/* The next byte may be anything: the connection is in the middle of its life, or bytes went by uncounted. Forgets a
 * message in progress (p->message is as it was, no HTTP1_END comes) and skips until http1_resync(). */
void http1_midstream(struct http1 *p);
/* The direction is closed: a message in progress ends (call http1_next()). A request half-closed by its client is not
 * cut by it. */
void http1_eof(struct http1 *p);
/* No HTTP from here on: tunnel. Bytes are counted as lost. */
void http1_leave(struct http1 *p);
bool http1_is_over(const struct http1 *p); /* tunnel */
bool http1_is_idle(const struct http1 *p); /* between two messages */
bool http1_is_lost(const struct http1 *p); /* waits for http1_resync() */

#endif
