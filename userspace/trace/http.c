/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "trace/client_ip.h"

/* Tags and metrics of a span at most; each of DD_TRACE_HEADER_TAGS may be in request and response. */
enum { OWN_TAGS = 16 + 2 * HTTP_MAX_HEADER_TAGS, OWN_METRICS = 6 };

static const struct tag server_tags[] = {
	{{"component", 9}, {"http", 4}},
	{{"span.kind", 9}, {"server", 6}},
};
static const struct tag client_tags[] = {
	{{"component", 9}, {"http", 4}},
	{{"span.kind", 9}, {"client", 6}},
};

/* A span being filled. */
struct filling {
	struct span *span;
	struct arena *arena;
	const struct http_facts *f;
	const struct http_settings *settings;
	struct sbuf *scratch;
	bool failed;
};

/* --- small things ------------------------------------------------------------------------------------------------- */

static struct sv after(struct sv s, size_t n)
{
	return (struct sv){s.len ? s.data + n : s.data, s.len - n};
}

/* What ends a part of a request target, by byte. */
enum { ENDS_SCHEME = 1, ENDS_AUTHORITY = 2, ENDS_PATH = 4, ENDS_QUERY = 8, ENDS_HOST = 16, ENDS_BRACKET = 32 };

static const uint8_t ends[256] = {
	[':'] = ENDS_SCHEME | ENDS_HOST,
	['/'] = ENDS_SCHEME | ENDS_AUTHORITY,
	['?'] = ENDS_SCHEME | ENDS_AUTHORITY | ENDS_PATH,
	['#'] = ENDS_SCHEME | ENDS_AUTHORITY | ENDS_PATH | ENDS_QUERY,
	[']'] = ENDS_BRACKET,
};

/* Length of s before the first byte that ends it. */
static inline size_t until(struct sv s, uint8_t what)
{
	size_t n = 0;
	while (n < s.len && !(ends[(unsigned char)s.data[n]] & what))
		n++;
	return n;
}

static void add_static(struct filling *t, struct sv key, struct sv value)
{
	t->span->tags[t->span->tag_cnt++] = (struct tag){key, value};
}

/* A value that is not there makes no tag. */
static void add(struct filling *t, struct sv key, struct sv value)
{
	if (!value.len)
		return;
	struct sv copy = arena_dup(t->arena, value);
	t->failed |= !copy.data;
	if (copy.data)
		add_static(t, key, copy);
}

/* Of a header: line breaks, if it was folded, become blanks. */
static void add_folded(struct filling *t, struct sv key, struct sv value)
{
	uint16_t cnt = t->span->tag_cnt;
	add(t, key, value);
	if (t->span->tag_cnt == cnt)
		return;
	struct sv copy = t->span->tags[cnt].value;
	if (!memchr(copy.data, '\n', copy.len) && !memchr(copy.data, '\r', copy.len))
		return;
	for (char *at = (char *)copy.data, *end = at + copy.len; at < end; at++)
		if (*at == '\r' || *at == '\n')
			*at = ' ';
}

static void add_metric(struct filling *t, struct sv key, double value)
{
	t->span->metrics[t->span->metric_cnt++] = (struct metric){key, value};
}

/* What is in scratch, kept. */
static struct sv keep(struct filling *t)
{
	struct sv copy = arena_dup(t->arena, sbuf_sv(t->scratch));
	t->failed |= t->scratch->failed || !copy.data;
	return copy.data ? copy : SV("");
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static struct sv address_text(const struct http_address *a, char buf[INET6_ADDRSTRLEN])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	const uint8_t *bytes = a->bytes;
	int family = a->family == 4 ? AF_INET : AF_INET6;
	if (!a->family)
		return SV_NULL;
	/* How a socket for both families names a peer that speaks IPv4. */
	if (a->family == 6 && memcmp(bytes, mapped, sizeof(mapped)) == 0) {
		family = AF_INET;
		bytes += sizeof(mapped);
	}
	return sv_of(inet_ntop(family, bytes, buf, INET6_ADDRSTRLEN));
}

static void append_address(struct sbuf *out, const struct http_address *a, bool https)
{
	char buf[INET6_ADDRSTRLEN];
	struct sv text = address_text(a, buf);
	bool v6 = memchr(text.data, ':', text.len) != NULL;
	sbuf_addf(out, v6 ? "[" SV_FMT "]" : SV_FMT, SV_ARG(text));
	if (a->port != (https ? 443 : 80))
		sbuf_addf(out, ":%u", a->port);
}

/* --- URL ---------------------------------------------------------------------------------------------------------- */

/* A request target taken apart. */
struct target {
	struct sv scheme, authority; /* of the absolute form, else empty */
	struct sv path, query, fragment;
	bool has_query, has_fragment;
};

static struct target target_split(struct sv s)
{
	struct target t = {0};
	size_t n = until(s, ENDS_SCHEME);
	if (n && n + 3 <= s.len && memcmp(s.data + n, "://", 3) == 0) {
		t.scheme = (struct sv){s.data, n};
		s = after(s, n + 3);
		n = until(s, ENDS_AUTHORITY);
		t.authority = (struct sv){s.data, n};
		s = after(s, n);
	}
	n = until(s, ENDS_PATH);
	t.path = (struct sv){s.data, n};
	s = after(s, n);
	if (s.len && s.data[0] == '?') {
		n = until(s, ENDS_QUERY);
		t.has_query = true;
		t.query = (struct sv){s.data + 1, n - 1};
		s = after(s, n);
	}
	t.has_fragment = s.len > 0;
	if (s.len)
		t.fragment = after(s, 1);
	return t;
}

struct sv http_target_path(struct sv target)
{
	struct sv path = target_split(target).path;
	return path.len ? path : SV("/");
}

/* Without user:password@, which never goes into a span. */
static struct sv authority_public(struct sv a)
{
	const char *at = a.len ? memrchr(a.data, '@', a.len) : NULL;
	return at ? after(a, (size_t)(at - a.data) + 1) : a;
}

/* Without the port, and without the brackets of IPv6. */
static struct sv authority_host(struct sv a)
{
	if (a.len && a.data[0] == '[') {
		size_t n = until(a, ENDS_BRACKET);
		return (struct sv){a.data + 1, n - 1};
	}
	return (struct sv){a.data, until(a, ENDS_HOST)};
}

/* Whom the request is for, as its sender wrote it; empty when it did not. */
static struct sv authority_of(const struct http_facts *f, const struct target *t)
{
	if (sv_eq(f->method, SV("CONNECT")))
		return authority_public(f->target);
	return authority_public(t->authority.len ? t->authority : f->host);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-encoded bytes that need not be (RFC 3986, 2.3) are decoded, as in the URLs that ddtrace shows. */
static void append_path(struct sbuf *out, struct sv path)
{
	size_t done = 0;
	const char *percent = path.len ? memchr(path.data, '%', path.len) : NULL;
	for (size_t i = percent ? (size_t)(percent - path.data) : path.len; i + 2 < path.len; i++) {
		if (path.data[i] != '%')
			continue;
		int hi = hex(path.data[i + 1]), lo = hex(path.data[i + 2]), c = hi < 0 || lo < 0 ? 0 : hi * 16 + lo;
		bool unreserved = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 128) ||
				  (c && strchr("-._~", c));
		if (!unreserved)
			continue;
		sbuf_add(out, path.data + done, i - done);
		sbuf_addc(out, (char)c);
		i += 2;
		done = i + 1;
	}
	sbuf_add(out, path.data + done, path.len - done);
}

static void append_query(struct filling *t, struct sv query)
{
	switch (t->f->server ? t->settings->server_query : t->settings->client_query) {
	case HTTP_QUERY_PLAIN:
		sbuf_addc(t->scratch, '?');
		sbuf_addsv(t->scratch, query);
		break;
	case HTTP_QUERY_OBFUSCATED:
		sbuf_addc(t->scratch, '?');
		query_obfuscate(t->settings->obfuscator, query, t->scratch);
		break;
	}
}

static void add_url(struct filling *t, const struct target *target)
{
	const struct http_facts *f = t->f;
	const struct http_address *address = f->server ? &f->local : &f->peer;
	struct sv authority = authority_of(f, target);
	bool https = target->scheme.len ? sv_eq(target->scheme, SV("https")) : f->tls;
	if (!f->target.len || sv_eq(f->method, SV("CONNECT")))
		return;
	sbuf_reset(t->scratch);
	if (authority.len || address->family)
		sbuf_adds(t->scratch, https ? "https://" : "http://");
	if (authority.len)
		sbuf_addsv(t->scratch, authority);
	else if (address->family)
		append_address(t->scratch, address, https);
	if (!sv_eq(target->path, SV("*"))) /* OPTIONS of the server itself */
		append_path(t->scratch, target->path.len ? target->path : SV("/"));
	if (target->has_query)
		append_query(t, target->query);
	if (target->has_fragment) {
		sbuf_addc(t->scratch, '#');
		sbuf_addsv(t->scratch, target->fragment);
	}
	add(t, SV("http.url"), sbuf_sv(t->scratch));
	t->failed |= t->scratch->failed;
}

/* --- resource ----------------------------------------------------------------------------------------------------- */

static bool is_registered(struct sv method)
{
	switch (method.len) {
	case 3:
		return sv_eq(method, SV("GET")) || sv_eq(method, SV("PUT"));
	case 4:
		return sv_eq(method, SV("POST")) || sv_eq(method, SV("HEAD"));
	case 5:
		return sv_eq(method, SV("PATCH")) || sv_eq(method, SV("TRACE"));
	case 6:
		return sv_eq(method, SV("DELETE"));
	case 7:
		return sv_eq(method, SV("CONNECT")) || sv_eq(method, SV("OPTIONS"));
	}
	return false;
}

static void append_route(struct filling *t, struct sv path)
{
	unsigned status = t->f->status;
	/* Nothing is there, so its name says nothing: scanners try thousands of them. */
	if (t->f->server && (status == 404 || status == 405))
		sbuf_addf(t->scratch, " %u", status);
	else if (sv_eq(path, SV("*")))
		sbuf_adds(t->scratch, " *");
	else {
		sbuf_addc(t->scratch, ' ');
		route_guess(t->scratch, path);
	}
}

static void set_resource(struct filling *t, const struct http_naming *naming, struct sv path)
{
	struct sv method = t->f->method.len ? t->f->method : SV("HTTP");
	bool registered = is_registered(method);
	struct sv route = SV_NULL;
	for (int i = 0; i < 2 && !route.len; i++)
		route = naming->routes[i] ? routes_match(naming->routes[i], path) : SV_NULL;
	sbuf_reset(t->scratch);
	sbuf_addsv(t->scratch, method);
	if (route.len) {
		add(t, SV("http.route"), route);
		sbuf_addc(t->scratch, ' ');
		sbuf_addsv(t->scratch, route);
	} else if (t->f->target.len && !sv_eq(method, SV("CONNECT"))) {
		append_route(t, path);
	}
	/* Configured routes are as many as were configured. */
	if (!(route.len && registered) && !resources_admit(naming->resources, sbuf_sv(t->scratch))) {
		sbuf_reset(t->scratch);
		sbuf_addsv(t->scratch, registered ? method : SV("OTHER"));
		sbuf_adds(t->scratch, " *");
	}
	t->span->resource = keep(t);
}

/* --- headers ------------------------------------------------------------------------------------------------------ */

static struct sv header_find(const struct http_header *list, uint32_t cnt, struct sv name)
{
	for (uint32_t i = 0; i < cnt; i++)
		if (sv_eq(list[i].name, name))
			return list[i].value;
	return SV_NULL;
}

/* The settings may be gone before the span is. */
static void add_header(struct filling *t, struct sv key, struct sv value)
{
	if (!value.len)
		return;
	struct sv copy = arena_dup(t->arena, key);
	t->failed |= !copy.data;
	if (copy.data)
		add_folded(t, copy, value);
}

static void add_headers(struct filling *t)
{
	const struct http_facts *f = t->f;
	for (uint32_t i = 0; i < t->settings->header_tag_cnt; i++) {
		const struct http_header_tag *tag = &t->settings->header_tags[i];
		struct sv request = header_find(f->request_headers, f->request_header_cnt, tag->header);
		struct sv response = header_find(f->response_headers, f->response_header_cnt, tag->header);
		/* One tag for both, by configuration: the response came last. */
		if (request.len && !(response.len && sv_eq(tag->tag[0], tag->tag[1])))
			add_header(t, tag->tag[0], request);
		add_header(t, tag->tag[1], response);
	}
}

/* --- server and client -------------------------------------------------------------------------------------------- */

static struct sv client_ip(const struct filling *t, struct sv peer)
{
	const struct http_facts *f = t->f;
	struct sv configured = t->settings->client_ip_header;
	if (configured.len) {
		struct sv value = header_find(f->request_headers, f->request_header_cnt, configured);
		return ip_is_valid(value) ? client_ip_find(value, peer) : peer;
	}
	for (unsigned i = 0; i < client_ip_header_cnt; i++) {
		struct sv value = header_find(f->request_headers, f->request_header_cnt, client_ip_headers[i]);
		if (value.len)
			return client_ip_find(value, peer);
	}
	return peer;
}

static void add_server(struct filling *t)
{
	char buf[INET6_ADDRSTRLEN];
	if (t->settings->client_ip) {
		struct sv peer = address_text(&t->f->peer, buf);
		add(t, SV("network.client.ip"), peer);
		add(t, SV("http.client_ip"), client_ip(t, peer));
	}
	if (t->f->failure == HTTP_CLIENT_LEFT)
		add_static(t, SV("spanhound.aborted"), SV("client"));
}

static void add_peer_service(struct filling *t, struct sv host)
{
	if (!t->settings->peer_service || !host.len)
		return;
	struct sv peer = host;
	for (uint32_t i = 0; i < t->settings->mapping_cnt; i++)
		if (sv_eq(t->settings->mappings[i].from, host))
			peer = t->settings->mappings[i].to;
	add(t, SV("peer.service"), peer);
	add_static(t, SV("_dd.peer.service.source"), SV("out.host"));
	if (peer.data != host.data)
		add_static(t, SV("_dd.peer.service.remapped_from"), host);
}

static void add_client(struct filling *t, const struct target *target)
{
	char buf[INET6_ADDRSTRLEN];
	struct sv host = authority_host(authority_of(t->f, target));
	if (!host.len)
		host = address_text(&t->f->peer, buf);
	host = arena_dup(t->arena, host);
	t->failed |= !host.data;
	for (size_t i = 0; i < host.len; i++)
		if (host.data[i] >= 'A' && host.data[i] <= 'Z')
			((char *)host.data)[i] |= 0x20;
	if (host.len)
		add_static(t, SV("out.host"), host);
	add_peer_service(t, host);
	if (t->f->peer.port)
		add_metric(t, SV("network.destination.port"), t->f->peer.port);
	if (t->f->connect_ns >= 0)
		add_metric(t, SV("spanhound.connect_ns"), (double)t->f->connect_ns);
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

struct failure {
	int number;
	struct sv type, message;
};

static const struct failure failures[] = {
	{ECONNREFUSED, {"ECONNREFUSED", 12}, {"Connection refused", 18}},
	{ECONNRESET, {"ECONNRESET", 10}, {"Connection reset by peer", 24}},
	{ECONNABORTED, {"ECONNABORTED", 12}, {"Software caused connection abort", 32}},
	{ETIMEDOUT, {"ETIMEDOUT", 9}, {"Connection timed out", 20}},
	{EPIPE, {"EPIPE", 5}, {"Broken pipe", 11}},
	{EHOSTUNREACH, {"EHOSTUNREACH", 12}, {"No route to host", 16}},
	{ENETUNREACH, {"ENETUNREACH", 11}, {"Network is unreachable", 22}},
	{EADDRNOTAVAIL, {"EADDRNOTAVAIL", 13}, {"Cannot assign requested address", 31}},
	{EACCES, {"EACCES", 6}, {"Permission denied", 17}},
	{ENOENT, {"ENOENT", 6}, {"No such file or directory", 25}},
};

static void add_errno(struct filling *t, int number)
{
	char text[32];
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		if (failures[i].number != number)
			continue;
		add_static(t, SV("error.type"), failures[i].type);
		add_static(t, SV("error.message"), failures[i].message);
		return;
	}
	int n = snprintf(text, sizeof(text), "errno %d", number);
	add(t, SV("error.type"), (struct sv){text, (size_t)n});
}

static void add_outcome(struct filling *t)
{
	const struct http_facts *f = t->f;
	if (f->status) {
		char digits[3] = {(char)('0' + f->status / 100 % 10), (char)('0' + f->status / 10 % 10),
				  (char)('0' + f->status % 10)};
		const struct http_status_ranges *errors =
			f->server ? &t->settings->server_errors : &t->settings->client_errors;
		add(t, SV("http.status_code"), (struct sv){digits, sizeof(digits)});
		t->span->error = http_status_is_in(errors, f->status);
	}
	if (f->failure == HTTP_FINE || f->failure == HTTP_CLIENT_LEFT)
		return;
	t->span->error = 1;
	if (f->failure == HTTP_ERRNO) {
		add_errno(t, f->error_number);
		return;
	}
	add_static(t, SV("error.type"), SV("ConnectionClosed"));
	add_static(t, SV("error.message"),
		   f->status ? SV("connection closed before the end of the response")
			     : SV("connection closed before the response"));
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static void add_sizes(struct filling *t)
{
	add_metric(t, SV("_dd.measured"), 1);
	if (t->f->request_sz >= 0)
		add_metric(t, SV("http.request.content_length"), (double)t->f->request_sz);
	if (t->f->response_sz >= 0)
		add_metric(t, SV("http.response.content_length"), (double)t->f->response_sz);
	if (t->f->first_byte_ns >= 0)
		add_metric(t, SV("spanhound.first_byte_ns"), (double)t->f->first_byte_ns);
}

static void add_version(struct filling *t)
{
	static const struct sv versions[] = {{"1.0", 3}, {"1.1", 3}};
	if (t->f->minor < 2)
		add_static(t, SV("http.version"), versions[t->f->minor]);
}

static void describe(struct filling *t, const struct http_naming *naming)
{
	const struct http_facts *f = t->f;
	struct target target = target_split(f->target);
	add(t, SV("http.method"), f->method);
	set_resource(t, naming, target.path.len ? target.path : SV("/"));
	add_url(t, &target);
	add_outcome(t);
	add_version(t);
	add_folded(t, SV("http.useragent"), f->user_agent);
	if (f->server)
		add_server(t);
	else
		add_client(t, &target);
	add_headers(t);
	add_sizes(t);
	if (f->truncated)
		add_static(t, SV("spanhound.truncated"), SV("true"));
}

bool http_span(struct span *span, struct arena *arena, const struct http_facts *f, const struct http_settings *settings,
	       const struct http_naming *naming, unsigned more_tags, unsigned more_metrics)
{
	/* Most spans have a few of those they could have: thousands of spans may be on their way. */
	struct tag tags[OWN_TAGS];
	struct metric metrics[OWN_METRICS];
	struct filling t = {.span = span, .arena = arena, .f = f, .settings = settings, .scratch = naming->scratch};
	span->name = f->server ? SV("http.server.request") : SV("http.client.request");
	span->type = f->server ? SV("web") : SV("http");
	span->normal = 1;
	span->shared_tags = f->server ? server_tags : client_tags;
	span->shared_tag_cnt = 2;
	span->tags = tags;
	span->metrics = metrics;
	describe(&t, naming);
	span->tags = arena_take(arena, (span->tag_cnt + more_tags) * sizeof(*tags));
	span->metrics = arena_take(arena, (span->metric_cnt + more_metrics) * sizeof(*metrics));
	if (!span->tags || !span->metrics) {
		span->tag_cnt = span->metric_cnt = 0;
		return false;
	}
	memcpy(span->tags, tags, span->tag_cnt * sizeof(*tags));
	memcpy(span->metrics, metrics, span->metric_cnt * sizeof(*metrics));
	return !t.failed;
}
