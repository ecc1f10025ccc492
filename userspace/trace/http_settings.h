/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_HTTP_SETTINGS_H
#define TRACE_HTTP_SETTINGS_H

#include "base/arena.h"
#include "base/sbuf.h"
#include "trace/query_obfuscator.h"

/* What Datadog's variables say about HTTP spans. They are the traced process's, read from its environment (or from the
 * probe list, by the same names):
 *   DD_TRACE_HTTP_SERVER_ERROR_STATUSES, DD_TRACE_HTTP_CLIENT_ERROR_STATUSES	500-599; "404,500-599"
 *     (older: DD_HTTP_SERVER_ERROR_STATUSES, DD_HTTP_CLIENT_ERROR_STATUSES)
 *   DD_HTTP_SERVER_TAG_QUERY_STRING, DD_TRACE_HTTP_CLIENT_TAG_QUERY_STRING	true
 *   DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP   the default expression. Empty: no query in server spans, and as it is in
 *	client spans (so does ddtrace 4.16). Not an expression: no query at all
 *   DD_TRACE_CLIENT_IP_ENABLED			false
 *   DD_TRACE_CLIENT_IP_HEADER			the header that has the client's address, in place of the usual ones
 *   DD_TRACE_HEADER_TAGS			header[:tag], by commas or else by blanks
 *   DD_TRACE_PEER_SERVICE_DEFAULTS_ENABLED	on where DD_TRACE_SPAN_ATTRIBUTE_SCHEMA is v1 or unset: names are v1's
 *   DD_TRACE_PEER_SERVICE_MAPPING		from:to, by commas or else by blanks
 * A value that is empty counts as unset, except the expression's. */

#define HTTP_MAX_RANGES	     16
#define HTTP_MAX_HEADER_TAGS 32 /* with those of client_ip.h and of propagation they fit into one http1_wanted */
#define HTTP_MAX_MAPPINGS    256

struct http_status_ranges {
	struct {
		uint16_t first, last;
	} list[HTTP_MAX_RANGES];
	uint32_t cnt;
};

struct http_header_tag {
	struct sv header; /* lower case */
	struct sv tag[2]; /* of the request's header, of the response's */
};

struct http_peer_mapping {
	struct sv from, to;
};

enum http_query { HTTP_QUERY_NONE, HTTP_QUERY_PLAIN, HTTP_QUERY_OBFUSCATED };

/* Immutable, counted, shared by all spans of a process. */
struct http_settings {
	int refs; /* atomic */
	struct http_status_ranges server_errors, client_errors;
	uint8_t server_query, client_query; /* enum http_query */
	bool client_ip, peer_service;
	struct sv client_ip_header; /* lower case, or empty */
	struct query_obfuscator *obfuscator;
	struct http_header_tag *header_tags;
	struct http_peer_mapping *mappings;
	uint32_t header_tag_cnt, mapping_cnt;
	struct arena arena;
};

/* The value of a variable; data NULL when it is not set. */
typedef struct sv http_settings_lookup(void *arg, const char *name);

/* One reference, or NULL when out of memory. Wrong values count as unset and are described in `err`, one line each:
 * variable, value, what is allowed. `standard`: an obfuscator with the default expression to share, or NULL to make
 * one. */
struct http_settings *http_settings_new(http_settings_lookup *lookup, void *arg, struct query_obfuscator *standard,
					struct sbuf *err);
struct http_settings *http_settings_ref(struct http_settings *s);
void http_settings_unref(struct http_settings *s); /* NULL is fine */

bool http_status_is_in(const struct http_status_ranges *r, unsigned status);

/* The names, in lower case, of all headers that http_span() looks at under these settings, beside the ones every parser
 * gives: calls `want` for each. */
void http_settings_headers(const struct http_settings *s, void (*want)(void *arg, struct sv name), void *arg);

#endif
