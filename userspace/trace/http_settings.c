/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/http_settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "trace/client_ip.h"

/* What is being read, and where complaints go. */
struct reader {
	http_settings_lookup *lookup;
	void *arg;
	struct http_settings *s;
	struct sbuf *err;
	bool no_memory;
};

static void complain(struct reader *r, const char *name, struct sv value, const char *allowed)
{
	struct sv shown = {value.data, value.len < 200 ? value.len : 200};
	sbuf_addf(r->err, "%s='" SV_FMT "': %s\n", name, SV_ARG(shown), allowed);
}

static struct sv trim(struct sv s)
{
	while (s.len && isspace((unsigned char)s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && isspace((unsigned char)s.data[s.len - 1]))
		s.len--;
	return s;
}

/* The trimmed value; empty when it is not set. */
static struct sv variable(struct reader *r, const char *name)
{
	return trim(r->lookup(r->arg, name));
}

static struct sv keep(struct reader *r, struct sv s)
{
	struct sv copy = arena_dup(&r->s->arena, s);
	r->no_memory |= !copy.data;
	return copy;
}

static struct sv keep_lower(struct reader *r, struct sv s)
{
	struct sv copy = keep(r, s);
	for (size_t i = 0; i < copy.len; i++)
		((char *)copy.data)[i] = (char)tolower((unsigned char)copy.data[i]);
	return copy;
}

static bool equals(struct sv s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.data, word, s.len) == 0;
}

static bool read_bool(struct reader *r, const char *name, bool unset)
{
	struct sv v = variable(r, name);
	if (equals(v, "true") || equals(v, "1"))
		return true;
	if (equals(v, "false") || equals(v, "0"))
		return false;
	if (v.len)
		complain(r, name, v, "true, false, 1 or 0");
	return unset;
}

/* The next part of a list, trimmed and not empty; parts are separated by commas if there is any, else by blanks. */
static bool next_part(struct sv *list, bool commas, struct sv *ret)
{
	while (list->len) {
		size_t len = 0;
		while (len < list->len && (commas ? list->data[len] != ',' : !isspace((unsigned char)list->data[len])))
			len++;
		*ret = trim((struct sv){list->data, len});
		size_t skip = len < list->len ? len + 1 : len;
		list->data += skip;
		list->len -= skip;
		if (ret->len)
			return true;
	}
	return false;
}

static bool has_comma(struct sv s)
{
	return s.len && memchr(s.data, ',', s.len);
}

/* "key:value" or "key", both trimmed. */
static struct sv split(struct sv part, struct sv *ret_value)
{
	const char *colon = memchr(part.data, ':', part.len);
	if (!colon) {
		*ret_value = SV_NULL;
		return part;
	}
	size_t n = (size_t)(colon - part.data);
	*ret_value = trim((struct sv){colon + 1, part.len - n - 1});
	return trim((struct sv){part.data, n});
}

/* --- status ranges ------------------------------------------------------------------------------------------------ */

static bool parse_status(struct sv s, uint16_t *ret)
{
	unsigned n = 0;
	s = trim(s);
	if (!s.len || s.len > 3)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!isdigit((unsigned char)s.data[i]))
			return false;
		n = n * 10 + (unsigned)(s.data[i] - '0');
	}
	*ret = (uint16_t)n;
	return true;
}

/* 404 or 500-599; the greater one may come first, as in ddtrace. */
static bool parse_range(struct sv s, uint16_t *ret_first, uint16_t *ret_last)
{
	const char *dash = memchr(s.data, '-', s.len);
	size_t n = dash ? (size_t)(dash - s.data) : s.len;
	if (!parse_status((struct sv){s.data, n}, ret_first))
		return false;
	*ret_last = *ret_first;
	if (dash && !parse_status((struct sv){dash + 1, s.len - n - 1}, ret_last))
		return false;
	if (*ret_first > *ret_last) {
		uint16_t swap = *ret_first;
		*ret_first = *ret_last;
		*ret_last = swap;
	}
	return true;
}

static void read_ranges(struct reader *r, const char *name, const char *old_name, struct http_status_ranges *ret)
{
	struct sv list = variable(r, name), part;
	if (!list.len) {
		name = old_name;
		list = variable(r, name);
	}
	while (next_part(&list, true, &part)) {
		uint16_t first, last;
		if (!parse_range(part, &first, &last)) {
			complain(r, name, part, "a status or a range of them, as in 404,500-599");
		} else if (ret->cnt == HTTP_MAX_RANGES) {
			complain(r, name, part, "at most 16 ranges");
			return;
		} else {
			ret->list[ret->cnt].first = first;
			ret->list[ret->cnt++].last = last;
		}
	}
	if (!ret->cnt) {
		ret->list[0].first = 500;
		ret->list[0].last = 599;
		ret->cnt = 1;
	}
}

bool http_status_is_in(const struct http_status_ranges *r, unsigned status)
{
	for (uint32_t i = 0; i < r->cnt; i++)
		if (status >= r->list[i].first && status <= r->list[i].last)
			return true;
	return false;
}

/* --- header tags -------------------------------------------------------------------------------------------------- */

/* http.request.headers.<name>: what a tag's key may not have, and the dot, becomes _ (ddtrace's normalize_tag_name). */
static struct sv header_tag_name(struct reader *r, const char *prefix, struct sv header)
{
	struct sbuf b = {0};
	sbuf_adds(&b, prefix);
	for (size_t i = 0; i < header.len; i++) {
		char c = header.data[i];
		bool good = islower((unsigned char)c) || isdigit((unsigned char)c) || strchr("_-:/", c);
		sbuf_addc(&b, good ? c : '_');
	}
	struct sv name = keep(r, sbuf_sv(&b));
	r->no_memory |= b.failed;
	sbuf_release(&b);
	return name;
}

static struct http_header_tag *header_tag_find(const struct http_settings *s, struct sv header)
{
	for (uint32_t i = 0; i < s->header_tag_cnt; i++)
		if (sv_eq(s->header_tags[i].header, header))
			return &s->header_tags[i];
	return NULL;
}

static void header_tag_add(struct reader *r, struct sv part)
{
	struct http_settings *s = r->s;
	struct sv tag, header = keep_lower(r, split(part, &tag));
	/* ddtrace gives a listed cookie header no tag: it is all secrets. */
	if (!header.len || sv_eq(header, SV("cookie")))
		return;
	for (size_t i = 0; i < header.len; i++) {
		if (header.data[i] > ' ' && header.data[i] < 127)
			continue;
		complain(r, "DD_TRACE_HEADER_TAGS", part, "header or header:tag, separated by commas or blanks");
		return;
	}
	struct http_header_tag *t = header_tag_find(s, header);
	if (!t && s->header_tag_cnt == HTTP_MAX_HEADER_TAGS) {
		complain(r, "DD_TRACE_HEADER_TAGS", part, "at most 32 headers");
		return;
	}
	if (!t)
		t = &s->header_tags[s->header_tag_cnt++];
	t->header = header;
	t->tag[0] = tag.len ? keep(r, tag) : header_tag_name(r, "http.request.headers.", header);
	t->tag[1] = tag.len ? t->tag[0] : header_tag_name(r, "http.response.headers.", header);
}

static void read_header_tags(struct reader *r)
{
	struct sv list = variable(r, "DD_TRACE_HEADER_TAGS"), part;
	if (!list.len)
		return;
	r->s->header_tags = arena_alloc(&r->s->arena, HTTP_MAX_HEADER_TAGS * sizeof(*r->s->header_tags));
	r->no_memory |= !r->s->header_tags;
	bool commas = has_comma(list);
	while (!r->no_memory && next_part(&list, commas, &part))
		header_tag_add(r, part);
}

/* --- peer.service ------------------------------------------------------------------------------------------------- */

static void read_mappings(struct reader *r)
{
	static const char name[] = "DD_TRACE_PEER_SERVICE_MAPPING";
	struct http_settings *s = r->s;
	struct sv list = variable(r, name), part, to;
	if (!list.len)
		return;
	s->mappings = arena_alloc(&s->arena, HTTP_MAX_MAPPINGS * sizeof(*s->mappings));
	r->no_memory |= !s->mappings;
	bool commas = has_comma(list);
	while (!r->no_memory && next_part(&list, commas, &part)) {
		struct sv from = split(part, &to);
		if (!from.len || !to.len)
			complain(r, name, part, "from:to, separated by commas or blanks");
		else if (s->mapping_cnt == HTTP_MAX_MAPPINGS)
			complain(r, name, part, "at most 256 of them");
		else
			s->mappings[s->mapping_cnt++] = (struct http_peer_mapping){keep(r, from), keep(r, to)};
	}
}

static void read_peer_service(struct reader *r)
{
	static const char name[] = "DD_TRACE_SPAN_ATTRIBUTE_SCHEMA";
	struct sv schema = variable(r, name);
	bool v0 = equals(schema, "v0");
	if (schema.len && !v0 && !equals(schema, "v1"))
		complain(r, name, schema, "v0 or v1");
	/* Spans are named as in v1 whatever the variable says, so v1's rule holds unless v0 was asked for. */
	bool enabled = read_bool(r, "DD_TRACE_PEER_SERVICE_DEFAULTS_ENABLED", !v0);
	r->s->peer_service = enabled || equals(schema, "v1");
	read_mappings(r);
}

/* --- query strings ------------------------------------------------------------------------------------------------ */

static void read_query(struct reader *r, struct query_obfuscator *standard)
{
	static const char name[] = "DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP";
	struct http_settings *s = r->s;
	struct sv pattern = r->lookup(r->arg, name);
	struct sbuf why = {0};
	int rc = 0;
	s->server_query = s->client_query = HTTP_QUERY_OBFUSCATED;
	if (pattern.data && !pattern.len) {
		s->server_query = HTTP_QUERY_NONE;
		s->client_query = HTTP_QUERY_PLAIN;
	} else if (!pattern.data && standard) {
		s->obfuscator = query_obfuscator_ref(standard);
	} else {
		rc = query_obfuscator_new(pattern, &s->obfuscator, &why);
	}
	if (rc == -EINVAL) {
		s->server_query = s->client_query = HTTP_QUERY_NONE;
		sbuf_adds(&why, "; query strings are left out");
		complain(r, name, pattern, sbuf_str(&why));
	} else if (rc) {
		r->no_memory = true;
	}
	sbuf_release(&why);
	if (!read_bool(r, "DD_HTTP_SERVER_TAG_QUERY_STRING", true))
		s->server_query = HTTP_QUERY_NONE;
	if (!read_bool(r, "DD_TRACE_HTTP_CLIENT_TAG_QUERY_STRING", true))
		s->client_query = HTTP_QUERY_NONE;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static void read_client_ip(struct reader *r)
{
	struct sv header = variable(r, "DD_TRACE_CLIENT_IP_HEADER");
	r->s->client_ip = read_bool(r, "DD_TRACE_CLIENT_IP_ENABLED", false);
	if (!header.len)
		return;
	header = keep_lower(r, header);
	for (size_t i = 0; i < header.len; i++)
		if (header.data[i] == '_')
			((char *)header.data)[i] = '-';
	r->s->client_ip_header = header;
}

struct http_settings *http_settings_new(http_settings_lookup *lookup, void *arg, struct query_obfuscator *standard,
					struct sbuf *err)
{
	struct http_settings *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	struct reader r = {.lookup = lookup, .arg = arg, .s = s, .err = err};
	s->refs = 1;
	read_ranges(&r, "DD_TRACE_HTTP_SERVER_ERROR_STATUSES", "DD_HTTP_SERVER_ERROR_STATUSES", &s->server_errors);
	read_ranges(&r, "DD_TRACE_HTTP_CLIENT_ERROR_STATUSES", "DD_HTTP_CLIENT_ERROR_STATUSES", &s->client_errors);
	read_query(&r, standard);
	read_client_ip(&r);
	read_header_tags(&r);
	read_peer_service(&r);
	if (r.no_memory) {
		http_settings_unref(s);
		return NULL;
	}
	return s;
}

struct http_settings *http_settings_ref(struct http_settings *s)
{
	__atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void http_settings_unref(struct http_settings *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	query_obfuscator_unref(s->obfuscator);
	arena_release(&s->arena);
	free(s);
}

void http_settings_headers(const struct http_settings *s, void (*want)(void *arg, struct sv name), void *arg)
{
	for (uint32_t i = 0; i < s->header_tag_cnt; i++)
		want(arg, s->header_tags[i].header);
	if (!s->client_ip)
		return;
	if (s->client_ip_header.len) {
		want(arg, s->client_ip_header);
		return;
	}
	for (unsigned i = 0; i < client_ip_header_cnt; i++)
		want(arg, client_ip_headers[i]);
}
