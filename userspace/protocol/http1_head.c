/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/http1_head.h"

#include <errno.h>
#include <stdlib.h>

#define METHOD_MAX 32 /* bytes; the longest registered one has 17 */

static const struct sv http_name = {"HTTP/1.", 7};

static inline unsigned char lower(unsigned char c)
{
	return (unsigned char)(c | ((unsigned char)(c - 'A') < 26) << 5);
}

#define EACH_BYTE(c) ((c)*0x0101010101010101ULL)

/* Of eight characters at once: bit 7 of each byte is set where it is from 'A' to 'Z', and becomes 0x20. */
static inline uint64_t lower8(uint64_t w)
{
	uint64_t low = w & EACH_BYTE(0x7f);
	uint64_t from_a = low + EACH_BYTE(0x80 - 'A'), beyond_z = low + EACH_BYTE(0x7f - 'Z');
	return w | ((from_a ^ beyond_z) & ~w & EACH_BYTE(0x80)) >> 2;
}

static inline bool is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* tchar of RFC 9110, 5.6.2 */
static const bool tokens[256] = {
	['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
	['%'] = true,	      ['&'] = true,	    ['\''] = true,	  ['*'] = true, ['+'] = true, ['-'] = true,
	['.'] = true,	      ['^'] = true,	    ['_'] = true,	  ['`'] = true, ['|'] = true, ['~'] = true,
};

static inline bool is_token(unsigned char c)
{
	return tokens[c];
}

/* White space, and the line breaks of a folded value. */
static inline bool is_blank(unsigned char c)
{
	return c <= ' ' && (1ULL << ' ' | 1U << '\t' | 1U << '\r' | 1U << '\n') >> c & 1;
}

static inline struct sv trim(struct sv s)
{
	while (s.len && is_blank((unsigned char)s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && is_blank((unsigned char)s.data[s.len - 1]))
		s.len--;
	return s;
}

static inline uint32_t load4(const char *at)
{
	uint32_t w;
	memcpy(&w, at, sizeof(w));
	return w;
}

/* `b` is in lower case. What it is compared with is mostly a literal, and then a number or two. */
static inline __attribute__((always_inline)) bool equal_any_case(struct sv a, struct sv b)
{
	if (a.len != b.len)
		return false;
	if (b.len >= 4 && b.len < sizeof(uint64_t)) {
		uint64_t x = load4(a.data) | (uint64_t)load4(a.data + b.len - 4) << 32;
		return lower8(x) == (load4(b.data) | (uint64_t)load4(b.data + b.len - 4) << 32);
	}
	if (b.len < 4) {
		for (size_t i = 0; i < b.len; i++)
			if (lower((unsigned char)a.data[i]) != (unsigned char)b.data[i])
				return false;
		return true;
	}
	/* The last eight overlap those before them. */
	for (size_t i = 0;; i += sizeof(uint64_t)) {
		uint64_t x, y;
		i = i + sizeof(x) > b.len ? b.len - sizeof(x) : i;
		memcpy(&x, a.data + i, sizeof(x));
		memcpy(&y, b.data + i, sizeof(y));
		if (lower8(x) != y)
			return false;
		if (i + sizeof(x) == b.len)
			return true;
	}
}

/* --- wanted fields ------------------------------------------------------------------------------------------------ */

static inline unsigned name_hash(struct sv name)
{
	/* A letter is one in either case. */
	return (unsigned)(name.len * 7 + ((unsigned char)name.data[0] | 0x20) * 3U +
			  ((unsigned char)name.data[name.len - 1] | 0x20)) &
	       63;
}

static inline __attribute__((always_inline)) int wanted_index(const struct http1_wanted *w, struct sv name)
{
	for (unsigned i = w->first[name_hash(name)]; i; i = w->next[i - 1])
		if (equal_any_case(name, w->names[i - 1]))
			return (int)i - 1;
	return -1;
}

int http1_want(struct http1_wanted *w, struct sv name)
{
	if (!name.len || name.len > HTTP1_MAX_NAME_SIZE)
		return -EINVAL;
	for (size_t i = 0; i < name.len; i++)
		if (!is_token((unsigned char)name.data[i]))
			return -EINVAL;
	int have = wanted_index(w, name);
	if (have >= 0)
		return have;
	if (w->cnt == HTTP1_MAX_WANTED)
		return -ENOSPC;
	char *copy = malloc(name.len);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < name.len; i++)
		copy[i] = (char)lower((unsigned char)name.data[i]);
	unsigned hash = name_hash(name);
	w->names[w->cnt] = (struct sv){copy, name.len};
	w->next[w->cnt] = w->first[hash];
	w->first[hash] = (uint8_t)(w->cnt + 1);
	return (int)w->cnt++;
}

void http1_wanted_release(struct http1_wanted *w)
{
	for (uint32_t i = 0; i < w->cnt; i++)
		free((char *)w->names[i].data);
	*w = (struct http1_wanted){0};
}

/* --- start lines -------------------------------------------------------------------------------------------------- */

static bool parse_version(struct sv s, uint8_t *ret_minor)
{
	if (s.len != http_name.len + 1 || !sv_starts(s, http_name) || !is_digit((unsigned char)s.data[7]))
		return false;
	*ret_minor = (uint8_t)(s.data[7] - '0');
	return true;
}

static size_t token_len(struct sv s)
{
	size_t n = 0;
	while (n < s.len && n <= METHOD_MAX && is_token((unsigned char)s.data[n]))
		n++;
	return n;
}

static struct sv after(struct sv s, size_t n)
{
	return (struct sv){s.data + n, s.len - n};
}

/* The last word: what follows the last blank. */
static struct sv last_word(struct sv s)
{
	size_t i = s.len, version = http_name.len + 1;
	if (i > version && is_blank((unsigned char)s.data[i - version - 1]) &&
	    memcmp(s.data + i - version, http_name.data, http_name.len) == 0 && !is_blank((unsigned char)s.data[i - 1]))
		return after(s, i - version);
	while (i && !is_blank((unsigned char)s.data[i - 1]))
		i--;
	return after(s, i);
}

static bool has_blank(struct sv s)
{
	size_t i = 0;
	/* Eight bytes, as long as none is below the first printable one. */
	for (uint64_t w; i + sizeof(w) <= s.len; i += sizeof(w)) {
		memcpy(&w, s.data + i, sizeof(w));
		if ((w - EACH_BYTE(' ' + 1)) & ~w & EACH_BYTE(0x80))
			break;
	}
	for (; i < s.len; i++)
		if (is_blank((unsigned char)s.data[i]))
			return true;
	return false;
}

static int parse_request_line(struct sv line, struct http1_head *ret)
{
	size_t n = token_len(line);
	if (!n || n > METHOD_MAX || n == line.len || line.data[n] != ' ')
		return -EBADMSG;
	struct sv rest = trim(after(line, n)), version = last_word(rest);
	if (!parse_version(version, &ret->minor))
		return -EBADMSG;
	ret->method = (struct sv){line.data, n};
	ret->target = trim((struct sv){rest.data, rest.len - version.len});
	if (!ret->target.len)
		return -EBADMSG;
	ret->faulty = has_blank(ret->target);
	return 0;
}

/* A line that goes on unseen is only believed with a method that exists and a target that looks like one. */
static int parse_cut_request_line(struct sv line, struct http1_head *ret)
{
	static const char *const methods[] = {"GET",	 "HEAD",  "POST",	"PUT",	    "DELETE",	"CONNECT",
					      "OPTIONS", "TRACE", "PATCH",	"QUERY",    "SEARCH",	"REPORT",
					      "COPY",	 "MOVE",  "MKCOL",	"LOCK",	    "MERGE",	"UNLOCK",
					      "PURGE",	 "ACL",	  "MKCALENDAR", "PROPFIND", "PROPPATCH"};
	if (parse_request_line(line, ret) == 0)
		return 0;
	size_t n = token_len(line);
	struct sv method = {line.data, n}, target = n < line.len ? trim(after(line, n)) : SV_NULL, word;
	bool known = false;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		known |= sv_eq(method, sv_of(methods[i]));
	if (!known || !target.len || line.data[n] != ' ')
		return -EBADMSG;
	word = last_word(target);
	if (word.len < target.len && sv_starts(http_name, word))
		target = trim((struct sv){target.data, target.len - word.len});
	if (target.data[0] != '/' && target.data[0] != '*' && !sv_starts(target, SV("http://")) &&
	    !sv_starts(target, SV("https://")))
		return -EBADMSG;
	ret->method = method;
	ret->target = target;
	ret->minor = HTTP1_MINOR_UNKNOWN;
	return 0;
}

/* How much of "HTTP/1.x 200" is there: its length when all of it is, 0 when something else is. */
static enum protocol_match match_status(struct sv s, size_t *ret_code)
{
	size_t i = http_name.len;
	if (s.len < i)
		return sv_starts(http_name, s) ? PROTOCOL_MAYBE : PROTOCOL_NO;
	if (!sv_starts(s, http_name) || (s.len > i && !is_digit((unsigned char)s.data[i])))
		return PROTOCOL_NO;
	if (s.len > ++i && s.data[i] != ' ')
		return PROTOCOL_NO;
	while (i < s.len && s.data[i] == ' ')
		i++;
	*ret_code = i;
	for (size_t d = 0; d < 3; d++, i++) {
		if (i >= s.len)
			return PROTOCOL_MAYBE;
		if (!is_digit((unsigned char)s.data[i]) || (d == 0 && s.data[i] == '0'))
			return PROTOCOL_NO;
	}
	if (i == s.len)
		return PROTOCOL_MAYBE;
	return is_blank((unsigned char)s.data[i]) ? PROTOCOL_SURE : PROTOCOL_NO;
}

static int parse_status_line(struct sv line, bool whole, struct http1_head *ret)
{
	size_t code = 0;
	enum protocol_match m = match_status(line, &code);
	/* All three digits at the end of a line are a status without a reason. */
	if (m == PROTOCOL_NO || (m == PROTOCOL_MAYBE && (!whole || !code || line.len < code + 3)))
		return -EBADMSG;
	const char *d = line.data + code;
	ret->minor = (uint8_t)(line.data[http_name.len] - '0');
	ret->status = (uint16_t)((d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0'));
	ret->reason = trim(after(line, code + 3));
	return 0;
}

static struct sv skip_breaks(struct sv s)
{
	while (s.len && (s.data[0] == '\r' || s.data[0] == '\n'))
		s = after(s, 1);
	return s;
}

/* The first line without its break; *ret_whole: the break is there. */
static struct sv first_line(struct sv bytes, bool *ret_whole)
{
	const char *nl = bytes.len ? memchr(bytes.data, '\n', bytes.len) : NULL;
	*ret_whole = nl != NULL;
	size_t len = nl ? (size_t)(nl - bytes.data) : bytes.len;
	if (nl && len && bytes.data[len - 1] == '\r')
		len--;
	return (struct sv){bytes.data, len};
}

enum protocol_match http1_is_request(struct sv bytes)
{
	struct http1_head head = {0};
	bool whole;
	struct sv line = first_line(skip_breaks(bytes), &whole);
	if (whole)
		return parse_request_line(line, &head) ? PROTOCOL_NO : PROTOCOL_SURE;
	if (!line.len)
		return PROTOCOL_MAYBE;
	size_t n = token_len(line);
	if (!n || n > METHOD_MAX || (n < line.len && line.data[n] != ' '))
		return PROTOCOL_NO;
	return parse_cut_request_line(line, &head) ? PROTOCOL_MAYBE : PROTOCOL_SURE;
}

enum protocol_match http1_is_response(struct sv bytes)
{
	size_t code;
	struct sv s = skip_breaks(bytes);
	return s.len ? match_status(s, &code) : PROTOCOL_MAYBE;
}

const struct protocol http1_protocol = {
	.id = PROTOCOL_http1,
	.name = "http1",
	.is_request = http1_is_request,
	.is_response = http1_is_response,
};

enum http1_asked http1_asked_of(struct sv method)
{
	if (sv_eq(method, SV("HEAD")))
		return HTTP1_ASKED_HEAD;
	return sv_eq(method, SV("CONNECT")) ? HTTP1_ASKED_CONNECT : HTTP1_ASKED_OTHER;
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

/* What the fields say about the body, before the rules of 6.3 decide. */
struct body {
	bool coded, chunked_last; /* Transfer-Encoding is there; its last coding is chunked */
	bool bad_length, bad_name;
	bool close, keep_alive;
};

/* The next element of a comma-separated list, trimmed, maybe empty; false at the end. */
static bool next_element(struct sv *list, struct sv *ret)
{
	if (!list->data)
		return false;
	const char *comma = list->len ? memchr(list->data, ',', list->len) : NULL;
	size_t len = comma ? (size_t)(comma - list->data) : list->len;
	*ret = trim((struct sv){list->data, len});
	*list = comma ? after(*list, len + 1) : SV_NULL;
	return true;
}

static bool parse_length(struct sv s, uint64_t *ret)
{
	uint64_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_digit((unsigned char)s.data[i]) || n > (uint64_t)INT64_MAX / 10 - 1)
			return false;
		n = n * 10 + (uint64_t)(s.data[i] - '0');
	}
	*ret = n;
	return s.len > 0;
}

/* "5, 5" and a second field of the same value are one length; anything else is a fault. */
static void field_length(struct sv value, struct http1_head *h, struct body *b)
{
	struct sv one;
	while (next_element(&value, &one)) {
		uint64_t n;
		if (!parse_length(one, &n) || (h->has_length && n != h->content_length)) {
			b->bad_length = true;
			return;
		}
		h->has_length = true;
		h->content_length = n;
	}
}

static void field_coding(struct sv value, struct body *b)
{
	struct sv one;
	while (next_element(&value, &one)) {
		/* "identity" was dropped from the protocol: it never meant anything. */
		if (!one.len || equal_any_case(one, SV("identity")))
			continue;
		b->coded = true;
		b->chunked_last = equal_any_case(one, SV("chunked"));
	}
}

static void field_connection(struct sv value, struct body *b)
{
	struct sv one;
	while (next_element(&value, &one)) {
		b->close |= equal_any_case(one, SV("close"));
		b->keep_alive |= equal_any_case(one, SV("keep-alive"));
	}
}

static void field_known(struct sv name, struct sv value, struct http1_head *h, struct body *b)
{
	switch (name.len) {
	case 4:
		if (!equal_any_case(name, SV("host")))
			break;
		if (h->host.data)
			h->faulty = true;
		else
			h->host = value;
		break;
	case 6:
		if (equal_any_case(name, SV("expect")) && equal_any_case(value, SV("100-continue")))
			h->expect_continue = true;
		break;
	case 7:
		if (equal_any_case(name, SV("upgrade")))
			h->upgrade = value;
		break;
	case 10:
		if (equal_any_case(name, SV("user-agent")))
			h->user_agent = value;
		else if (equal_any_case(name, SV("connection")))
			field_connection(value, b);
		break;
	case 14:
		if (equal_any_case(name, SV("content-length")))
			field_length(value, h, b);
		break;
	case 17:
		if (equal_any_case(name, SV("transfer-encoding")))
			field_coding(value, b);
		break;
	}
}

static void field_add(struct sv line, struct http1_head *h, struct body *b, const struct http1_wanted *w)
{
	const char *colon = memchr(line.data, ':', line.len);
	struct sv name = {line.data, colon ? (size_t)(colon - line.data) : 0};
	if (!name.len) {
		h->faulty = true;
		return;
	}
	if (is_blank((unsigned char)name.data[name.len - 1])) {
		b->bad_name = true;
		name = trim(name);
		if (!name.len)
			return;
	}
	struct sv value = trim(after(line, (size_t)(colon - line.data) + 1));
	h->fields++;
	field_known(name, value, h, b);
	int i = w && w->cnt ? wanted_index(w, name) : -1;
	if (i < 0)
		return;
	uint64_t bit = 1ULL << i;
	if (h->present & bit)
		h->repeated |= bit;
	else
		h->values[i] = value;
	h->present |= bit;
}

/* The line at *at with the lines folded into it, without its last break; false at the end or at an incomplete line. */
static bool next_line(const char **at, const char *end, struct sv *ret)
{
	const char *nl = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;
	while (nl && nl + 1 < end && (nl[1] == ' ' || nl[1] == '\t') && nl > *at) {
		if (nl == *at + 1 && **at == '\r')
			break; /* the empty line: what follows is no fold */
		nl = memchr(nl + 1, '\n', (size_t)(end - nl - 1));
	}
	if (!nl)
		return false;
	*ret = (struct sv){*at, (size_t)(nl - *at)};
	if (ret->len && ret->data[ret->len - 1] == '\r')
		ret->len--;
	*at = nl + 1;
	return true;
}

/* --- where the body ends ------------------------------------------------------------------------------------------ */

static enum http1_framing request_framing(const struct http1_head *h, const struct body *b)
{
	if (b->bad_name)
		return HTTP1_UNTIL_TURN; /* to be refused */
	if (b->coded)
		return b->chunked_last ? HTTP1_CHUNKED : HTTP1_UNTIL_TURN;
	if (b->bad_length)
		return HTTP1_UNTIL_TURN;
	return h->has_length && h->content_length ? HTTP1_LENGTH : HTTP1_NO_BODY;
}

static enum http1_framing response_framing(const struct http1_head *h, const struct body *b, enum http1_asked asked)
{
	if (asked == HTTP1_ASKED_HEAD || h->status < 200 || h->status == 204 || h->status == 304)
		return HTTP1_NO_BODY;
	if (b->coded)
		return b->chunked_last ? HTTP1_CHUNKED : HTTP1_UNTIL_CLOSE;
	if (b->bad_length)
		return HTTP1_UNTIL_TURN;
	if (h->has_length)
		return h->content_length ? HTTP1_LENGTH : HTTP1_NO_BODY;
	return HTTP1_UNTIL_CLOSE;
}

static void decide(struct http1_head *h, const struct body *b, enum http1_role role, enum http1_asked asked)
{
	if (role == HTTP1_RESPONSES) {
		h->interim = h->status < 200 && h->status != 101;
		h->unasked = !h->interim && asked == HTTP1_ASKED_UNKNOWN;
		h->framing = (uint8_t)response_framing(h, b, asked);
		if (h->status == 101 || (asked == HTTP1_ASKED_CONNECT && h->status >= 200 && h->status < 300))
			h->framing = HTTP1_TUNNEL;
	} else {
		h->framing = (uint8_t)request_framing(h, b);
	}
	if (h->truncated && h->framing != HTTP1_TUNNEL)
		h->framing = HTTP1_UNTIL_TURN;
	h->faulty |= b->bad_length || b->bad_name || (b->coded && (h->has_length || h->minor == 0)) ||
		     (b->coded && !b->chunked_last && role == HTTP1_REQUESTS);
	h->close = b->close || (h->minor == 0 && !b->keep_alive) || h->framing == HTTP1_UNTIL_CLOSE;
	if (b->bad_length)
		h->has_length = false;
}

/* Values that a caller wants are only set where they are present: clearing all of them costs more than the parse. */
static void head_clear(struct http1_head *h)
{
	memset(h, 0, offsetof(struct http1_head, values));
}

int http1_head_parse(struct sv bytes, enum http1_role role, bool cut, enum http1_asked asked,
		     const struct http1_wanted *wanted, struct http1_head *ret)
{
	const char *end = bytes.data + bytes.len;
	struct body body = {0};
	bool whole;
	head_clear(ret);
	ret->size = (uint32_t)bytes.len;
	struct sv start = skip_breaks(bytes), line = first_line(start, &whole);
	ret->truncated = cut;
	if (!whole && !cut)
		return -EBADMSG;
	int err = role == HTTP1_RESPONSES ? parse_status_line(line, whole, ret)
		  : whole		  ? parse_request_line(line, ret)
					  : parse_cut_request_line(line, ret);
	if (err)
		return err;
	const char *at = whole ? line.data + line.len : end;
	if (whole) /* behind its break, of one character or two */
		at += *at == '\r' ? 2 : 1;
	while (next_line(&at, end, &line) && line.len) {
		if (is_blank((unsigned char)line.data[0]))
			ret->faulty = true; /* nothing before it to be folded into: to be ignored (RFC 9112, 2.2) */
		else
			field_add(line, ret, &body, wanted);
	}
	decide(ret, &body, role, asked);
	return 0;
}
