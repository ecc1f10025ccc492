/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTP1_REPLAY_H
#define HTTP1_REPLAY_H

/* Feeds a parser and writes down what it says, so that two ways of feeding it can be compared. Times are left out. */
#include <stdlib.h>

#include "base/sbuf.h"
#include "protocol/http1.h"

static const char *const replay_framings[] = {"none", "length", "chunked", "close", "turn", "tunnel"};
static const char *const replay_ends[] = {"exact", "close", "guessed", "turn", "cut"};

static void replay_field(struct sbuf *out, const char *key, struct sv value)
{
	if (value.data)
		sbuf_addf(out, " %s=" SV_FMT, key, SV_ARG(value));
}

static void replay_head(struct sbuf *out, const struct http1 *p, const struct http1_head *h)
{
	if (h->status)
		sbuf_addf(out, "%u", h->status);
	else
		sbuf_addf(out, SV_FMT " " SV_FMT, SV_ARG(h->method), SV_ARG(h->target));
	if (h->minor != HTTP1_MINOR_UNKNOWN)
		sbuf_addf(out, " 1.%u", h->minor);
	sbuf_addf(out, " %s", replay_framings[h->framing]);
	if (h->has_length)
		sbuf_addf(out, "=%llu", (unsigned long long)h->content_length);
	replay_field(out, "host", h->host);
	replay_field(out, "ua", h->user_agent);
	replay_field(out, "upgrade", h->upgrade);
	for (uint32_t i = 0; i < p->shared->wanted.cnt; i++)
		if (h->present >> i & 1)
			sbuf_addf(out, " " SV_FMT "=" SV_FMT "%s", SV_ARG(p->shared->wanted.names[i]),
				  SV_ARG(h->values[i]), h->repeated >> i & 1 ? "+" : "");
	sbuf_addf(out, "%s%s%s%s%s%s\n", h->close ? " closing" : "", h->expect_continue ? " expect" : "",
		  h->interim ? " interim" : "", h->truncated ? " truncated" : "", h->faulty ? " faulty" : "",
		  h->unasked ? " unasked" : "");
}

static void replay_end(struct sbuf *out, const struct http1_message *m)
{
	sbuf_addf(out, "  %llu-%llu head %llu body %llu %s%s\n", (unsigned long long)m->start,
		  (unsigned long long)m->end, (unsigned long long)m->head_sz, (unsigned long long)m->body_sz,
		  replay_ends[m->end_kind], m->has_head ? "" : " headless");
}

/* What the parser says about what it was given. */
static void replay_events(struct http1 *p, struct sbuf *out)
{
	static struct http1_head head;
	enum http1_event event;
	while ((event = http1_next(p, &head)) != HTTP1_MORE) {
		switch (event) {
		case HTTP1_HEAD:
			replay_head(out, p, &head);
			break;
		case HTTP1_END:
			replay_end(out, &p->message);
			break;
		case HTTP1_UNSEEN:
			sbuf_adds(out, "unseen\n");
			break;
		default:
			sbuf_adds(out, "not http\n");
		}
	}
}

/* The piece is a copy of its own, so that a look beyond it or a slice kept too long is caught. */
static void replay_piece(struct http1 *p, struct sv bytes, uint64_t unseen, struct sbuf *out)
{
	char *copy = malloc(bytes.len ? bytes.len : 1);
	if (bytes.len)
		memcpy(copy, bytes.data, bytes.len);
	http1_feed(p, (struct sv){bytes.len ? copy : NULL, bytes.len}, unseen, 1);
	replay_events(p, out);
	free(copy);
}

static void replay_state(const struct http1 *p, struct sbuf *out)
{
	sbuf_addf(out, "%s, %llu bytes, %llu lost\n",
		  http1_is_idle(p)   ? "idle"
		  : http1_is_lost(p) ? "lost"
		  : http1_is_over(p) ? "over"
				     : "inside",
		  (unsigned long long)p->offset, (unsigned long long)p->lost);
}

#endif
