/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_HTTP_H
#define TRACE_HTTP_H

#include "trace/http_settings.h"
#include "trace/route.h"
#include "trace/span.h"

/* From what was seen of an HTTP exchange to the fields of its span. */

struct http_header {
	struct sv name; /* lower case */
	struct sv value;
};

struct http_address {
	uint8_t family;	   /* 4, 6, or 0: none (Unix socket, unknown) */
	uint8_t bytes[16]; /* network order, the first 4 of them for IPv4 */
	uint16_t port;
};

/* How an exchange failed below HTTP. */
enum http_failure {
	HTTP_FINE,
	HTTP_ERRNO,	  /* `error_number`: refused, reset, timed out ... */
	HTTP_CLOSED,	  /* the connection ended, properly, before the response did */
	HTTP_CLIENT_LEFT, /* server: the client closed before it had its response (nginx calls it 499) */
};

#define HTTP_UNKNOWN (-1)

/* What is not known is zero or empty unless said otherwise: it makes no tag. Strings need to live only during the call.
 */
struct http_facts {
	bool server; /* of the request's server or of its client? */
	bool tls;
	bool truncated;	 /* a head was cut, so that a tag may be missing */
	uint8_t minor;	 /* HTTP/1.minor, 255: unknown */
	uint8_t failure; /* enum http_failure */
	int error_number;
	uint16_t status;
	struct sv method, target, host, user_agent; /* as sent */
	const struct http_header *request_headers, *response_headers;
	uint32_t request_header_cnt, response_header_cnt;
	struct http_address peer, local; /* of this process's socket */
	int64_t request_sz, response_sz; /* bytes of content, HTTP_UNKNOWN */
	int64_t first_byte_ns;		 /* request's first byte to response's first byte, HTTP_UNKNOWN */
	int64_t connect_ns;		 /* HTTP_UNKNOWN */
};

/* An initialiser: nothing is known. */
#define HTTP_FACTS_INIT                                                                                               \
	{                                                                                                             \
		.minor = 255, .request_sz = HTTP_UNKNOWN, .response_sz = HTTP_UNKNOWN, .first_byte_ns = HTTP_UNKNOWN, \
		.connect_ns = HTTP_UNKNOWN                                                                            \
	}

/* How requests of one service are named; routes are tried in their order, either may be NULL. `scratch` is the caller's,
 * kept for its memory. */
struct http_naming {
	const struct routes *routes[2];
	struct resources *resources;
	struct sbuf *scratch;
};

/* Sets name, resource, type, error, tags and metrics of a zeroed span (ids, times, service, local_root are the
 *caller's). Strings go into `arena`. The span's tags and metrics have room for so many more of the caller's.
 *
 * name	     http.server.request, http.client.request (v1 of the naming schema); type web, http
 * resource  METHOD route: a configured route, else "METHOD 404" or "METHOD 405" for a server's such answer, else
 *	     the guess of trace/route.h; "METHOD *" once the service has too many. CONNECT alone.
 * meta	     component=http, span.kind, http.method, http.url, http.status_code, http.version, http.route (configured
 *ones), http.useragent, http.request.headers.*, http.response.headers.*; server: network.client.ip, http.client_ip;
 *client: out.host, peer.service, _dd.peer.service.source, _dd.peer.service.remapped_from; error.type, error.message (of
 *failures below HTTP); spanhound.aborted=client, spanhound.truncated=true metrics   _dd.measured,
 *http.request.content_length, http.response.content_length, spanhound.first_byte_ns; client: network.destination.port,
 *spanhound.connect_ns error     status in the settings' ranges (no error.* then, as ddtrace has it), or a failure but
 *HTTP_CLIENT_LEFT.
 *
 * False: out of memory, some of it is missing. */
bool http_span(struct span *span, struct arena *arena, const struct http_facts *facts,
	       const struct http_settings *settings, const struct http_naming *naming, unsigned more_tags,
	       unsigned more_metrics);

/* The path of a request target: without scheme, authority, query and fragment; "/" when it has none. */
struct sv http_target_path(struct sv target);

#endif
