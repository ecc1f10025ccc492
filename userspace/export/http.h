/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_HTTP_H
#define EXPORT_HTTP_H

#include <stdint.h>

#include "base/sbuf.h"
#include "export/agent_url.h"

/* HTTP requests to one place, several at a time, without ever blocking: libcurl's multi_socket interface behind a
 * poll() of the caller's. Proxies of the environment are not used: an Agent is next door. */
#define HTTP_MAX_ACTIVE 4
#define HTTP_MAX_PARTS	4
#define HTTP_MAX_REPLY	(1 << 20) /* of a reply's body, what is kept; the rest is read and forgotten */
#define HTTP_MAX_FIELD	80	  /* of a header of the reply that is kept */

struct pollfd;

enum http_outcome {
	HTTP_REPLIED, /* `status` and `reply` are set */
	HTTP_ABSENT,  /* nobody answered the door: refused, no such host, no such socket */
	HTTP_BROKEN,  /* it was reached and then did not answer: timed out, closed in the middle */
};

struct http_request {
	/* Set by the caller; all must stay as they are until the request is done. */
	const char *path;
	const char *const *headers;	 /* "Name: value", NULL at the end */
	struct sv parts[HTTP_MAX_PARTS]; /* POST, one after the other */
	unsigned part_cnt;		 /* 0: GET */
	uint64_t timeout_ns;
	void *arg;
	/* The result. */
	enum http_outcome outcome;
	long status;
	struct sbuf reply; /* its body; the caller's: reused by the next request of the same object, released by him */
	char agent_state[HTTP_MAX_FIELD];   /* Datadog-Agent-State; empty: not sent */
	char rates_version[HTTP_MAX_FIELD]; /* Datadog-Rates-Payload-Version */
	char reason[128];		    /* in words, when there was no reply */
	size_t sent;			    /* of the parts, so far */
};

/* Bytes of all parts. */
size_t http_body_sz(const struct http_request *r);

struct http;
/* NULL when out of memory. `where` is copied by reference: it must outlive the object. */
struct http *http_new(const struct agent_url *where, const char *user_agent);
void http_free(struct http *h); /* NULL is fine; what is under way is given up */
/* -EAGAIN when HTTP_MAX_ACTIVE are under way, -ENOMEM. */
int http_start(struct http *h, struct http_request *r);
/* Does what can be done now. */
void http_run(struct http *h, uint64_t now_ns);
/* The next request that is done, or NULL. */
struct http_request *http_done(struct http *h);
/* As the exporter hook. */
unsigned http_pollfds(const struct http *h, struct pollfd *fds, unsigned cap, uint64_t *ret_due_ns);
/* One GET, waiting for it; the whole body (at most 1 MiB) goes to `ret_body`, NULL: not wanted. The status, or -errno
 * with the reason in err. */
int http_get(const struct agent_url *where, const char *path, uint64_t timeout_ns, struct sbuf *ret_body,
	     struct sbuf *err);

#endif
