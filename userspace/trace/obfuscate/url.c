/* SPDX-License-Identifier: Apache-2.0 */
/* pkg/obfuscate/http.go, which parses an URL and writes it anew (Go's net/url): what that changes is changed here. */
#include "trace/obfuscate/obfuscate.h"

struct parts {
	struct sv scheme, user, host, path, query, fragment;
	bool has_authority, has_user, has_query, has_fragment;
};

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Up to the first `c`, which goes; all of it when there is none. */
static bool cut_at(struct sv *s, char c, struct sv *ret_rest)
{
	const char *at = s->len ? memchr(s->data, c, s->len) : NULL;
	*ret_rest = SV_NULL;
	if (!at)
		return false;
	*ret_rest = (struct sv){at + 1, s->len - (size_t)(at - s->data) - 1};
	s->len = (size_t)(at - s->data);
	return true;
}

/* Every % is followed by two hex digits. */
static bool escapes_are_good(struct sv s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] == '%' && (i + 2 >= s.len || hex(s.data[i + 1]) < 0 || hex(s.data[i + 2]) < 0))
			return false;
	return true;
}

/* False: the Agent could not parse it. Opaque ones (mailto:x) and those without an authority are not taken apart. */
static bool parts_of(struct sv url, struct parts *p)
{
	*p = (struct parts){0};
	for (size_t i = 0; i < url.len; i++)
		if ((unsigned char)url.data[i] < ' ' || url.data[i] == 0x7f)
			return false;
	p->has_fragment = cut_at(&url, '#', &p->fragment);
	p->has_query = cut_at(&url, '?', &p->query);
	size_t n = 0;
	while (n < url.len && (is_alnum(url.data[n]) || url.data[n] == '+' || url.data[n] == '-' || url.data[n] == '.'))
		n++;
	if (n < url.len && url.data[n] == ':') {
		bool letter = n > 0 && !(url.data[0] >= '0' && url.data[0] <= '9') && is_alnum(url.data[0]);
		if (!letter)
			return false;
		p->scheme = (struct sv){url.data, n};
		url = (struct sv){url.data + n + 1, url.len - n - 1};
	}
	if (sv_starts(url, SV("//")) && (p->scheme.len || !sv_starts(url, SV("///")))) {
		p->has_authority = true;
		p->host = (struct sv){url.data + 2, url.len - 2};
		struct sv rest;
		bool slash = cut_at(&p->host, '/', &rest);
		p->path = slash ? (struct sv){rest.data - 1, rest.len + 1} : SV_NULL;
		const char *at = p->host.len ? memrchr(p->host.data, '@', p->host.len) : NULL;
		if (at) {
			p->has_user = true;
			p->user = (struct sv){p->host.data, (size_t)(at - p->host.data)};
			p->host = (struct sv){at + 1, p->host.len - p->user.len - 1};
		}
	} else {
		p->path = url;
	}
	return escapes_are_good(p->path) && escapes_are_good(p->fragment);
}

/* May stay as it is in a path (`fragment`: in a fragment). */
static bool keeps(char c, bool fragment)
{
	if (is_alnum(c) || (c && strchr("-_.~$&+,/:;=@!'()*[]", c)))
		return true;
	return fragment && c == '?';
}

/* Escapes resolved. */
static void add_unescaped(struct sbuf *out, struct sv s)
{
	for (size_t i = 0; i < s.len; i++) {
		bool escape = s.data[i] == '%';
		sbuf_addc(out, escape ? (char)(hex(s.data[i + 1]) << 4 | hex(s.data[i + 2])) : s.data[i]);
		i += escape ? 2 : 0;
	}
}

/* Escaping anew, Go spares fewer than it lets pass. */
static void add_anew(struct sbuf *out, struct sv s, bool fragment)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];
		if (is_alnum((char)c) || (c && strchr("-_.~$&+,/:;=@", c)) || (fragment && c && strchr("!()*?", c))) {
			sbuf_addc(out, (char)c);
			continue;
		}
		sbuf_addc(out, '%');
		sbuf_addc(out, "0123456789ABCDEF"[c >> 4]);
		sbuf_addc(out, "0123456789ABCDEF"[c & 15]);
	}
}

/* Written as it came when all of it may stay; else unescaped and escaped anew. */
static void add_escaped(struct sbuf *out, struct sv s, bool fragment)
{
	bool fine = true;
	for (size_t i = 0; i < s.len; i++)
		fine &= s.data[i] == '%' || keeps(s.data[i], fragment);
	if (fine) {
		sbuf_addsv(out, s);
		return;
	}
	struct sbuf bare = {0};
	add_unescaped(&bare, s);
	add_anew(out, bare.failed ? SV("?") : sbuf_sv(&bare), fragment);
	sbuf_release(&bare);
}

static bool has_digit(struct sv s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] >= '0' && s.data[i] <= '9')
			return true;
	}
	return false;
}

/* As Go does it: on the path without escapes, which are then made anew. */
static void add_stripped(struct sbuf *out, struct sv path)
{
	struct sbuf bare = {0};
	add_unescaped(&bare, path);
	struct sv rest = bare.failed ? SV("0") : sbuf_sv(&bare);
	if (!has_digit(rest)) {
		add_escaped(out, path, false);
		rest.len = 0;
	}
	for (bool more = rest.len > 0; more;) {
		struct sv segment = rest;
		more = cut_at(&segment, '/', &rest);
		if (has_digit(segment))
			sbuf_addc(out, '?');
		else
			add_anew(out, segment, false);
		if (more)
			sbuf_addc(out, '/');
	}
	sbuf_release(&bare);
}

enum { URL_PLAIN = 1, URL_PLAIN_QUERY = 2 };
/* What needs no second look: anywhere behind the scheme, and in a query. */
static const uint8_t url_bytes[256] = {
	['a' ... 'z'] = 3, ['A' ... 'Z'] = 3, ['0' ... '9'] = 3, ['-'] = 3, ['_'] = 3, ['.'] = 3, ['~'] = 3,
	['$'] = 3,	   ['&'] = 3,	      ['+'] = 3,	 [','] = 3, ['/'] = 3, [':'] = 3, [';'] = 3,
	['='] = 3,	   ['!'] = 3,	      ['\''] = 3,	 ['('] = 3, [')'] = 3, ['*'] = 3, ['['] = 3,
	[']'] = 3,	   ['@'] = 2,	      ['%'] = 2,	 ['?'] = 2, ['<'] = 2, ['>'] = 2,
};

bool obfuscate_url_is_plain(struct sv url)
{
	size_t i = sv_starts(url, SV("http://")) ? 7 : sv_starts(url, SV("https://")) ? 8 : url.len;
	if (i >= url.len || url.data[i] == '?')
		return false;
	while (i < url.len && url_bytes[(unsigned char)url.data[i]] & URL_PLAIN)
		i++;
	if (i == url.len)
		return true;
	if (url.data[i] != '?')
		return false;
	while (i < url.len && url_bytes[(unsigned char)url.data[i]] & URL_PLAIN_QUERY)
		i++;
	return i == url.len;
}

void obfuscate_url(struct sbuf *out, struct sv url, bool remove_query, bool remove_digits)
{
	struct parts p;
	if (!parts_of(url, &p)) {
		/* What cannot be parsed cannot be trusted to be without a password; the Agent would let it pass. */
		if (remove_query || remove_digits || (url.len && memchr(url.data, '@', url.len)))
			sbuf_addc(out, '?');
		else
			sbuf_addsv(out, url);
		return;
	}
	for (size_t i = 0; i < p.scheme.len; i++)
		sbuf_addc(out, (char)(p.scheme.data[i] >= 'A' && p.scheme.data[i] <= 'Z' ? p.scheme.data[i] | 0x20
											 : p.scheme.data[i]));
	if (p.scheme.len)
		sbuf_addc(out, ':');
	if (p.has_authority && (p.host.len || p.path.len))
		sbuf_adds(out, "//");
	sbuf_addsv(out, p.host);
	if (remove_digits)
		add_stripped(out, p.path);
	else
		add_escaped(out, p.path, false);
	if (p.has_query) {
		sbuf_addc(out, '?');
		if (!remove_query)
			sbuf_addsv(out, p.query);
	}
	if (p.has_fragment && p.fragment.len) {
		sbuf_addc(out, '#');
		add_escaped(out, p.fragment, true);
	}
}
