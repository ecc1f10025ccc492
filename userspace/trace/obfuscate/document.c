/* SPDX-License-Identifier: Apache-2.0 */
/* JSON as pkg/obfuscate/json.go and json_scanner.go treat it: byte by byte, forgiving of what comes after a whole
 * value, which is taken for the next one. */
#include "trace/obfuscate/obfuscate.h"

#define MAX_DEPTH 256 /* the Agent has no limit; beyond, the rest becomes "..." */

enum expect {
	EXPECT_VALUE,
	EXPECT_VALUE_OR_END, /* behind [ */
	EXPECT_KEY_OR_END,   /* behind { */
	EXPECT_KEY,
	EXPECT_COLON,
	EXPECT_NEXT, /* behind a value */
};

struct document {
	const char *at, *end;
	struct sbuf *out;
	const struct agent_list *keep;
	unsigned depth;
	uint8_t object[MAX_DEPTH];
	bool wiped;	    /* a "?" stands for the scalar in hand; several beside each other are one */
	unsigned kept_from; /* the depth from which on values are kept; 0: none */
	enum expect expect;
	struct sv key;
};

/* How far the scalar that begins at `s` goes; *ret_whole: to its own end, not to what is wrong with it. */
static const char *string_end(const char *s, const char *end, bool *ret_whole)
{
	*ret_whole = false;
	for (s++; s < end && *s != '"'; s++) {
		if ((unsigned char)*s < ' ')
			return s;
		if (*s != '\\')
			continue;
		if (++s == end || !*s || !strchr("bfnrt\\/\"u", *s))
			return s;
		for (int i = *s == 'u' ? 4 : 0; i > 0; i--)
			if (++s == end || !*s || !strchr("0123456789abcdefABCDEF", *s))
				return s;
	}
	*ret_whole = s < end;
	return s + *ret_whole;
}

static const char *digits(const char *at, const char *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at;
}

static const char *number_end(const char *s, const char *end, bool *ret_whole)
{
	const char *at = s + (*s == '-'), *from = at;
	at = at < end && *at == '0' ? at + 1 : digits(at, end);
	*ret_whole = at > from;
	if (*ret_whole && at < end && *at == '.') {
		from = at + 1;
		at = digits(from, end);
		*ret_whole = at > from;
	}
	if (*ret_whole && at < end && (*at | 0x20) == 'e') {
		from = at + 1;
		from += from < end && (*from == '+' || *from == '-');
		at = digits(from, end);
		*ret_whole = at > from;
	}
	return at;
}

static const char *word_end(const char *s, const char *end, bool *ret_whole)
{
	const char *word = *s == 't' ? "true" : *s == 'f' ? "false" : "null";
	while (s < end && *word && *s == *word) {
		s++;
		word++;
	}
	*ret_whole = !*word;
	return s;
}

static const char *scalar_end(const char *s, const char *end, bool *ret_whole)
{
	if (*s == '"')
		return string_end(s, end, ret_whole);
	bool number = *s == '-' || (*s >= '0' && *s <= '9');
	return number ? number_end(s, end, ret_whole) : word_end(s, end, ret_whole);
}

static bool scalar_begins(char c)
{
	return c == '"' || c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n';
}

static void value_over(struct document *d)
{
	d->expect = d->depth ? EXPECT_NEXT : EXPECT_VALUE;
}

static bool open_container(struct document *d, char c)
{
	if (d->depth == MAX_DEPTH)
		return false;
	d->object[d->depth++] = c == '{';
	d->expect = c == '{' ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
	d->wiped = false;
	sbuf_addc(d->out, c);
	return true;
}

static bool close_container(struct document *d, char c)
{
	if (d->depth == 0 || d->object[d->depth - 1] != (c == '}'))
		return false;
	/* What is kept ends with the container the key is in. */
	if (d->kept_from > d->depth)
		d->kept_from = 0;
	d->depth--;
	d->wiped = false;
	sbuf_addc(d->out, c);
	value_over(d);
	return true;
}

/* A key or a value; what is wrong with it comes out as far as it was right. */
static bool scalar(struct document *d, bool key)
{
	bool whole;
	struct sv s = {d->at, (size_t)(scalar_end(d->at, d->end, &whole) - d->at)};
	if (key || d->kept_from)
		sbuf_addsv(d->out, s);
	else if (!d->wiped)
		sbuf_adds(d->out, "\"?\"");
	d->wiped |= !key && !d->kept_from;
	d->at += s.len;
	if (!whole)
		return false;
	if (key) {
		d->key = (struct sv){s.data + 1, s.len - 2};
		d->expect = EXPECT_COLON;
	} else {
		value_over(d);
	}
	return true;
}

static bool behind_value(struct document *d, char c)
{
	bool object = d->object[d->depth - 1];
	if (c == ',') {
		/* The value of a kept key is over when the next key of its own object comes. */
		if (d->kept_from > d->depth)
			d->kept_from = 0;
		d->expect = object ? EXPECT_KEY : EXPECT_VALUE;
		d->wiped = false;
		sbuf_addc(d->out, c);
		return true;
	}
	return c == (object ? '}' : ']') && close_container(d, c);
}

static bool document_step(struct document *d)
{
	char c = *d->at;
	enum expect e = d->expect;
	if (e == EXPECT_COLON) {
		if (c != ':')
			return false;
		if (!d->kept_from && d->keep && agent_list_has(d->keep, d->key))
			d->kept_from = d->depth + 1;
		sbuf_addc(d->out, c);
		d->expect = EXPECT_VALUE;
		d->at++;
		return true;
	}
	bool ends = (e == EXPECT_KEY_OR_END && c == '}') || (e == EXPECT_VALUE_OR_END && c == ']');
	bool value = e == EXPECT_VALUE || e == EXPECT_VALUE_OR_END;
	if (value && scalar_begins(c))
		return scalar(d, false);
	if ((e == EXPECT_KEY || e == EXPECT_KEY_OR_END) && c == '"')
		return scalar(d, true);
	bool ok = ends				    ? close_container(d, c)
		  : value && (c == '{' || c == '[') ? open_container(d, c)
						    : e == EXPECT_NEXT && behind_value(d, c);
	d->at += ok;
	return ok;
}

void obfuscate_json(struct sbuf *out, struct sv json, const struct agent_list *keep)
{
	struct document d = {.at = json.data, .end = json.data + json.len, .out = out, .keep = keep};
	bool some = false, ok = true;
	while (ok && d.at < d.end) {
		if (*d.at == ' ' || *d.at == '\t' || *d.at == '\r' || *d.at == '\n') {
			/* Between documents it stays. */
			if (some && d.depth == 0)
				sbuf_addc(out, *d.at);
			d.at++;
			continue;
		}
		some = true;
		ok = document_step(&d);
	}
	bool whole = some && d.depth == 0 && d.expect == EXPECT_VALUE;
	if (json.len && (!ok || !whole))
		sbuf_adds(out, "...");
}
