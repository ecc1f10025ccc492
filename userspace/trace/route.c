/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/route.h"

#include <errno.h>

#include "base/glob.h"

enum segment_kind { SEGMENT_TEXT, SEGMENT_ANY, SEGMENT_GLOB, SEGMENT_REST };

struct segment {
	struct sv text;
	uint8_t kind;
};

struct route {
	struct sv text;
	struct segment *segments;
	uint32_t cnt;
};

static inline bool is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* The next segment that is not empty; false at the end. */
static bool next_segment(struct sv *path, struct sv *ret)
{
	while (path->len && path->data[0] == '/') {
		path->data++;
		path->len--;
	}
	if (!path->len)
		return false;
	const char *slash = memchr(path->data, '/', path->len);
	size_t len = slash ? (size_t)(slash - path->data) : path->len;
	*ret = (struct sv){path->data, len};
	path->data += len;
	path->len -= len;
	return true;
}

/* --- configured routes -------------------------------------------------------------------------------------------- */

static bool is_placeholder(struct sv s)
{
	if (s.len < 2)
		return false;
	const char *last = s.data + s.len - 1;
	return s.data[0] == ':' || (s.data[0] == '<' && *last == '>') ||
	       (s.data[0] == '{' && memchr(s.data, '}', s.len) == last);
}

/* "v{n}.js" as a pattern for glob_match(); false: a brace has no partner. */
static bool segment_glob(struct sv s, struct sbuf *out)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.data[i];
		if (c == '{') {
			const char *end = memchr(s.data + i, '}', s.len - i);
			if (!end)
				return false;
			i = (size_t)(end - s.data);
			sbuf_addc(out, '*');
			continue;
		}
		if (c == '}')
			return false;
		if (strchr("?[]\\", c))
			sbuf_addc(out, '\\');
		sbuf_addc(out, c);
	}
	return true;
}

static int segment_parse(struct segment *seg, struct sv text, struct arena *arena)
{
	seg->text = text;
	if (sv_eq(text, SV("*")) || is_placeholder(text)) {
		seg->kind = SEGMENT_ANY;
		return 0;
	}
	if (!memchr(text.data, '*', text.len) && !memchr(text.data, '{', text.len) &&
	    !memchr(text.data, '}', text.len)) {
		seg->kind = SEGMENT_TEXT;
		return 0;
	}
	struct sbuf glob = {0};
	int err = segment_glob(text, &glob) ? 0 : -EINVAL;
	seg->kind = SEGMENT_GLOB;
	seg->text = arena_dup(arena, sbuf_sv(&glob));
	if (!err && (glob.failed || !seg->text.data))
		err = -ENOMEM;
	sbuf_release(&glob);
	return err;
}

static int route_check(const struct routes *r, struct sv text, struct sbuf *err)
{
	const char *what = NULL;
	if (!text.len || text.data[0] != '/')
		what = "a route begins with /";
	else if (memchr(text.data, '?', text.len) || memchr(text.data, '#', text.len))
		what = "a route is a path: it has no ? and no #";
	else if (text.len > ROUTE_MAX_LEN)
		what = "longer than 1024 bytes";
	else if (r->list.cnt == ROUTES_MAX)
		what = "more than 1000 routes";
	if (!what)
		return 0;
	sbuf_addf(err, "route '" SV_FMT "': %s", (int)(text.len < 100 ? text.len : 100), text.data, what);
	return -EINVAL;
}

int routes_add(struct routes *r, struct sv text, struct sbuf *err)
{
	struct segment segments[ROUTE_MAX_SEGMENTS];
	struct route route = {0};
	struct sv path = text, one;
	int rc = route_check(r, text, err);
	if (rc)
		return rc;
	while (next_segment(&path, &one)) {
		if (route.cnt == ROUTE_MAX_SEGMENTS) {
			sbuf_addf(err, "route '%.100s...': more than %d segments", text.data, ROUTE_MAX_SEGMENTS);
			return -EINVAL;
		}
		rc = segment_parse(&segments[route.cnt++], one, &r->arena);
		if (rc == -EINVAL)
			sbuf_addf(err, "route '" SV_FMT "': a brace without its partner in '" SV_FMT "'", SV_ARG(text),
				  SV_ARG(one));
		if (rc)
			return rc;
	}
	if (route.cnt && sv_eq(segments[route.cnt - 1].text, SV("*")))
		segments[route.cnt - 1].kind = SEGMENT_REST;
	route.text = arena_dup(&r->arena, text);
	route.segments = arena_alloc(&r->arena, route.cnt * sizeof(*segments) + 1);
	if (!route.text.data || !route.segments)
		return -ENOMEM;
	for (uint32_t i = 0; i < route.cnt; i++) {
		route.segments[i] = segments[i];
		if (segments[i].kind != SEGMENT_GLOB)
			route.segments[i].text.data = route.text.data + (segments[i].text.data - text.data);
	}
	return vec_push(&r->list, route);
}

static bool segment_matches(const struct segment *seg, struct sv text)
{
	switch (seg->kind) {
	case SEGMENT_TEXT:
		return sv_eq(seg->text, text);
	case SEGMENT_GLOB:
		return glob_match(seg->text, text);
	default:
		return true;
	}
}

static bool route_matches(const struct route *route, struct sv path)
{
	struct sv text;
	for (uint32_t i = 0; i < route->cnt; i++) {
		if (!next_segment(&path, &text) || !segment_matches(&route->segments[i], text))
			return false;
		if (route->segments[i].kind == SEGMENT_REST)
			return true;
	}
	return !next_segment(&path, &text);
}

struct sv routes_match(const struct routes *r, struct sv path)
{
	vec_foreach (route, &r->list)
		if (route_matches(route, path))
			return route->text;
	return SV_NULL;
}

void routes_release(struct routes *r)
{
	vec_release(&r->list);
	arena_release(&r->arena);
}

/* Nothing else of them changes, so all others have them const. */
static uint32_t *holders_of(const struct routes *r)
{
	return (uint32_t *)(uintptr_t)&r->holders;
}

void routes_hold(const struct routes *r)
{
	if (r)
		__atomic_fetch_add(holders_of(r), 1, __ATOMIC_RELAXED);
}

void routes_let_go(const struct routes *r)
{
	if (r)
		__atomic_fetch_sub(holders_of(r), 1, __ATOMIC_RELEASE);
}

bool routes_are_held(const struct routes *r)
{
	return __atomic_load_n(&r->holders, __ATOMIC_ACQUIRE) > 0;
}

/* --- the guess ---------------------------------------------------------------------------------------------------- */

/* What a segment is made of. */
struct census {
	uint32_t digits, digit_runs, separators, hex_letters, lower_letters, longest_word;
	bool odd;	  /* has a byte of the first rule */
	bool number_last; /* ends in a separator and digits */
};

enum { DIGIT = 1, SEPARATOR = 2, HEX_LETTER = 4, LETTER = 8, LOWER = 16 };

static const uint8_t kinds[256] = {
	['0' ... '9'] = DIGIT,
	['.'] = SEPARATOR,
	['_'] = SEPARATOR,
	['-'] = SEPARATOR,
	['a' ... 'f'] = LETTER | LOWER | HEX_LETTER,
	['g' ... 'z'] = LETTER | LOWER,
	['A' ... 'F'] = LETTER | HEX_LETTER,
	['G' ... 'Z'] = LETTER,
};

static struct census census_of(struct sv s)
{
	struct census c = {0};
	uint32_t word = 0;	/* letters up to here */
	uint8_t before = 0;	/* kind of the character before */
	bool separated = false; /* a separator precedes the run of digits that we are in */
	for (size_t i = 0; i < s.len; i++) {
		uint8_t kind = kinds[(unsigned char)s.data[i]];
		bool digit = kind & DIGIT, run_begins = digit && !(before & DIGIT);
		c.digits += digit;
		c.digit_runs += run_begins;
		separated = run_begins ? before & SEPARATOR : digit && separated;
		c.hex_letters += (kind & HEX_LETTER) != 0;
		c.lower_letters += (kind & LOWER) != 0;
		c.separators += (kind & SEPARATOR) != 0;
		c.odd |= !kind;
		word = kind & LETTER ? word + 1 : 0;
		c.longest_word = word > c.longest_word ? word : c.longest_word;
		before = kind;
	}
	c.number_last = separated;
	return c;
}

/* v1, v2, v1.2 */
static bool is_version(struct sv s)
{
	size_t i = 1, digits = 0;
	if (s.len < 2 || s.data[0] != 'v')
		return false;
	for (; i < s.len; i++) {
		digits = is_digit((unsigned char)s.data[i]) ? digits + 1 : 0;
		if (digits > 3 || (!digits && s.data[i] != '.'))
			return false;
	}
	return digits > 0 && s.data[1] != '.';
}

static bool is_value(struct sv s)
{
	struct census c = census_of(s);
	if (c.odd || sv_eq(s, SV(".")) || sv_eq(s, SV("..")))
		return true;
	if (is_version(s))
		return false;
	if (s.len >= 20) {
		bool words = !c.digits && c.lower_letters + c.separators == s.len && c.longest_word <= 16;
		if (!words || s.len > 64)
			return true;
	}
	if (!c.digits)
		return false;
	return c.digits + c.separators == s.len || (s.len >= 6 && c.digits + c.separators + c.hex_letters == s.len) ||
	       c.digits >= 4 || c.digit_runs >= 2 || c.number_last;
}

void route_guess(struct sbuf *out, struct sv path)
{
	unsigned cnt = 0;
	/* A segment becomes one of its own length at most, or "?". */
	char *at = sbuf_reserve(out, path.len + 3), *start = at;
	for (size_t i = 0; at && i < path.len;) {
		uint8_t only = LETTER | DIGIT;
		size_t from = i;
		for (; i < path.len && path.data[i] != '/'; i++)
			only &= kinds[(unsigned char)path.data[i]];
		struct sv segment = {path.data + from, i - from};
		i++;
		if (!segment.len)
			continue;
		*at++ = '/';
		if (cnt++ == ROUTE_GUESS_SEGMENTS) {
			*at++ = '*';
			break;
		}
		/* Letters alone, or digits alone: most segments. */
		if (only && segment.len < 20 ? only == DIGIT : is_value(segment)) {
			*at++ = '?';
		} else {
			memcpy(at, segment.data, segment.len);
			at += segment.len;
		}
	}
	if (!at)
		return;
	if (!cnt)
		*at++ = '/';
	*at = '\0';
	out->len += (size_t)(at - start);
}

/* --- how many ----------------------------------------------------------------------------------------------------- */

bool resources_admit(struct resources *r, struct sv resource)
{
	uint64_t hash = hindex_text(0, resource);
	uint32_t slot = hindex_hash(hash, 0), key = slot, ref;
	for (; (ref = hindex_at(&r->index, &slot, key)) != HINDEX_NONE; slot++)
		if (r->seen.data[ref] == hash)
			return true;
	if (r->seen.cnt >= (r->max ? r->max : RESOURCES_DEFAULT_MAX) || vec_push(&r->seen, hash)) {
		r->overflow++;
		return false;
	}
	if (hindex_put(&r->index, key, (uint32_t)r->seen.cnt - 1)) {
		r->seen.cnt--;
		r->overflow++;
		return false;
	}
	return true;
}

void resources_release(struct resources *r)
{
	vec_release(&r->seen);
	hindex_release(&r->index);
}
