/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/normalize.h"

#include "base/utf8.h"

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(char c)
{
	return is_alpha(c) || (c >= '0' && c <= '9');
}

/* --- cutting ------------------------------------------------------------------------------------------------------ */

struct sv normalize_cut(struct sv s, size_t max)
{
	if (s.len <= max)
		return s;
	for (s.len = max; s.len > 0; s.len--)
		for (size_t n = s.len < 4 ? s.len : 4; n > 0; n--)
			if (utf8_valid((struct sv){s.data + s.len - n, n}))
				return s;
	return s;
}

/* --- tags --------------------------------------------------------------------------------------------------------- */

static bool tag_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ':' || c == '.' || c == '/' || c == '-';
}

/* Nothing to do: ASCII, and each _ stands between other characters, or first. */
static bool tag_is_normal(struct sv v, bool whole)
{
	if (v.len > NORMALIZE_MAX_TAG)
		return false;
	if (whole && v.len && v.data[0] != ':' && !(v.data[0] >= 'a' && v.data[0] <= 'z'))
		return false;
	for (size_t i = 0; i < v.len; i++) {
		if (tag_char(v.data[i]))
			continue;
		if (v.data[i] != '_' || ++i == v.len || !tag_char(v.data[i]))
			return false;
	}
	return true;
}

static void tag_add(struct sbuf *out, struct sv v, bool whole)
{
	if (tag_is_normal(v, whole)) {
		sbuf_addsv(out, v);
		return;
	}
	/* The Agent counts characters as they come, those it replaces included, and gives up at twice the length in
	 * bytes. */
	unsigned seen = 0;
	bool gap = false;
	for (size_t i = 0, n; i < v.len && i < 2 * NORMALIZE_MAX_TAG && seen < NORMALIZE_MAX_TAG; i += n) {
		uint32_t cp = unicode_lower(utf8_decode((struct sv){v.data + i, v.len - i}, &n));
		bool start = unicode_is_letter(cp) || cp == ':';
		if (whole && seen == 0 && !start)
			continue;
		seen++;
		if (!start && !unicode_is_digit(cp) && cp != '.' && cp != '/' && cp != '-') {
			gap = true;
			continue;
		}
		if (gap)
			sbuf_addc(out, '_');
		gap = false;
		char bytes[4];
		sbuf_add(out, bytes, utf8_encode(cp, bytes));
	}
}

void normalize_tag_value(struct sbuf *out, struct sv value)
{
	tag_add(out, value, false);
}

void normalize_tag(struct sbuf *out, struct sv tag)
{
	tag_add(out, tag, true);
}

/* --- service ------------------------------------------------------------------------------------------------------ */

void normalize_peer_service(struct sbuf *out, struct sv service)
{
	tag_add(out, normalize_cut(service, NORMALIZE_MAX_NAME), false);
}

bool normalize_is_service(struct sv service)
{
	return service.len && service.len <= NORMALIZE_MAX_NAME && tag_is_normal(service, false);
}

void normalize_service(struct sbuf *out, struct sv service, struct sv lang)
{
	size_t before = out->len;
	normalize_peer_service(out, service);
	if (out->len > before)
		return;
	sbuf_adds(out, "unnamed-");
	sbuf_addsv(out, lang);
	sbuf_adds(out, lang.len ? "-service" : "service");
}

/* --- name --------------------------------------------------------------------------------------------------------- */

/* The Agent's own shortcut, looser than the rewriting: it lets "._" pass. */
static bool name_is_normal(struct sv s)
{
	for (size_t i = 1; i < s.len; i++) {
		char c = s.data[i];
		if (!is_alnum(c) && ((c != '.' && c != '_') || s.data[i - 1] == '_'))
			return false;
	}
	return true;
}

bool normalize_is_name(struct sv name)
{
	return name.len && name.len <= NORMALIZE_MAX_NAME && is_alpha(name.data[0]) && name_is_normal(name) &&
	       name.data[name.len - 1] != '_';
}

void normalize_name(struct sbuf *out, struct sv name)
{
	name = normalize_cut(name, NORMALIZE_MAX_NAME);
	while (name.len && !is_alpha(name.data[0]))
		name = (struct sv){name.data + 1, name.len - 1};
	if (name.len == 0) {
		sbuf_adds(out, "unnamed_operation");
		return;
	}
	if (name_is_normal(name)) {
		sbuf_add(out, name.data, name.len - (name.data[name.len - 1] == '_'));
		return;
	}
	char *at = sbuf_reserve(out, name.len);
	size_t n = 0;
	for (size_t i = 0; at && i < name.len; i++) {
		char c = name.data[i];
		if (is_alnum(c))
			at[n++] = c;
		else if (c == '.' && at[n - 1] == '_')
			at[n - 1] = '.';
		else if (c == '.')
			at[n++] = '.';
		else if (at[n - 1] != '.' && at[n - 1] != '_')
			at[n++] = '_';
	}
	if (!at)
		return;
	out->len += n - (at[n - 1] == '_');
	out->data[out->len] = '\0';
}

/* --- resource, type ----------------------------------------------------------------------------------------------- */

struct sv normalize_resource(struct sv resource, struct sv name)
{
	return normalize_cut(resource.len ? resource : name, NORMALIZE_MAX_RESOURCE);
}

struct sv normalize_type(struct sv type)
{
	return normalize_cut(type, NORMALIZE_MAX_NAME);
}
