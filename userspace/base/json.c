/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <stdlib.h>

#include "base/utf8.h"

struct json json_start(struct sv text)
{
	return (struct json){.text = text};
}

static bool json_fail(struct json *j)
{
	j->failed = true;
	return false;
}

char json_peek(struct json *j)
{
	while (!j->failed && j->at < j->text.len) {
		char c = j->text.data[j->at];
		if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			return c;
		j->at++;
	}
	return 0;
}

static bool json_take(struct json *j, char c)
{
	if (json_peek(j) != c || !c)
		return false;
	j->at++;
	return true;
}

/* --- containers --------------------------------------------------------------------------------------------------- */

bool json_enter(struct json *j, char bracket)
{
	if (j->depth == JSON_MAX_DEPTH || !json_take(j, bracket))
		return json_fail(j);
	j->filled &= ~(1ULL << j->depth);
	j->depth++;
	return true;
}

/* True when another element begins. */
static bool json_more(struct json *j, char closing)
{
	if (j->failed || j->depth == 0)
		return json_fail(j);
	uint64_t bit = 1ULL << (j->depth - 1);
	if (json_take(j, closing)) {
		j->depth--;
		return false;
	}
	if ((j->filled & bit) && !json_take(j, ','))
		return json_fail(j);
	j->filled |= bit;
	return json_peek(j) ? true : json_fail(j);
}

bool json_item(struct json *j)
{
	return json_more(j, ']');
}

bool json_key(struct json *j, struct sbuf *key)
{
	if (!json_more(j, '}') || !json_string(j, key))
		return false;
	return json_take(j, ':') ? true : json_fail(j);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at `at`; -1 when they are not. */
static int32_t json_unit(const struct json *j, size_t at)
{
	int32_t v = 0;
	if (at + 4 > j->text.len)
		return -1;
	for (size_t i = at; i < at + 4; i++) {
		int d = hex_digit(j->text.data[i]);
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* Behind "\u"; 0 or false. */
static bool json_unicode(struct json *j, struct sbuf *out)
{
	int32_t unit = json_unit(j, j->at), low;
	if (unit < 0)
		return json_fail(j);
	j->at += 4;
	uint32_t cp = (uint32_t)unit;
	if (cp >= 0xd800 && cp < 0xe000) {
		bool pair = cp < 0xdc00 && j->at + 6 <= j->text.len && j->text.data[j->at] == '\\' &&
			    j->text.data[j->at + 1] == 'u';
		low = pair ? json_unit(j, j->at + 2) : -1;
		if (low >= 0xdc00 && low < 0xe000) {
			cp = 0x10000 + ((cp - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
			j->at += 6;
		} else {
			cp = UTF8_REPLACEMENT;
		}
	}
	char bytes[4];
	sbuf_add(out, bytes, utf8_encode(cp, bytes));
	return true;
}

static bool json_escape(struct json *j, struct sbuf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (j->at == j->text.len)
		return json_fail(j);
	char c = j->text.data[j->at++];
	if (c == 'u')
		return json_unicode(j, out);
	const char *known = c ? strchr(from, c) : NULL;
	if (!known)
		return json_fail(j);
	sbuf_addc(out, to[known - from]);
	return true;
}

bool json_string(struct json *j, struct sbuf *out)
{
	sbuf_reset(out);
	if (!json_take(j, '"'))
		return json_fail(j);
	for (;;) {
		size_t from = j->at;
		while (j->at < j->text.len && (unsigned char)j->text.data[j->at] >= ' ' && j->text.data[j->at] != '"' &&
		       j->text.data[j->at] != '\\')
			j->at++;
		sbuf_add(out, j->text.data + from, j->at - from);
		if (j->at == j->text.len || (unsigned char)j->text.data[j->at] < ' ' || out->failed)
			return json_fail(j);
		if (j->text.data[j->at++] == '"')
			return true;
		if (!json_escape(j, out))
			return false;
	}
}

static size_t json_digits(const struct json *j, size_t at)
{
	size_t from = at;
	while (at < j->text.len && j->text.data[at] >= '0' && j->text.data[at] <= '9')
		at++;
	return at - from;
}

/* Length of the number that begins here; 0 when there is none. */
static size_t json_number_len(const struct json *j)
{
	const char *s = j->text.data;
	size_t end = j->text.len, at = j->at, n;
	at += at < end && s[at] == '-';
	n = json_digits(j, at);
	if (n == 0 || (n > 1 && s[at] == '0'))
		return 0;
	at += n;
	if (at < end && s[at] == '.') {
		n = json_digits(j, at + 1);
		if (n == 0)
			return 0;
		at += 1 + n;
	}
	if (at < end && (s[at] == 'e' || s[at] == 'E')) {
		size_t sign = at + 1 < end && (s[at + 1] == '+' || s[at + 1] == '-');
		n = json_digits(j, at + 1 + sign);
		if (n == 0)
			return 0;
		at += 1 + sign + n;
	}
	return at - j->at;
}

bool json_number(struct json *j, double *ret)
{
	char text[64];
	json_peek(j);
	size_t len = j->failed ? 0 : json_number_len(j);
	/* The digits beyond change nothing that a double can hold, but the exponent behind them would. */
	if (len == 0 || len >= sizeof(text))
		return json_fail(j);
	memcpy(text, j->text.data + j->at, len);
	text[len] = '\0';
	*ret = strtod(text, NULL);
	j->at += len;
	return true;
}

static bool json_word(struct json *j, const char *word)
{
	size_t len = strlen(word);
	json_peek(j);
	if (j->failed || j->text.len - j->at < len || memcmp(j->text.data + j->at, word, len) != 0)
		return false;
	j->at += len;
	return true;
}

bool json_bool(struct json *j, bool *ret)
{
	if (json_word(j, "true"))
		*ret = true;
	else if (json_word(j, "false"))
		*ret = false;
	else
		return json_fail(j);
	return true;
}

/* --- skipping ----------------------------------------------------------------------------------------------------- */

static bool json_skip_string(struct json *j)
{
	for (j->at++; j->at < j->text.len; j->at++) {
		unsigned char c = (unsigned char)j->text.data[j->at];
		if (c == '"') {
			j->at++;
			return true;
		}
		if (c < ' ')
			break;
		j->at += c == '\\';
	}
	j->at = j->text.len < j->at ? j->text.len : j->at;
	return json_fail(j);
}

static bool json_skip_scalar(struct json *j)
{
	double number;
	switch (json_peek(j)) {
	case '"':
		return json_skip_string(j);
	case 't':
		return json_word(j, "true") || json_fail(j);
	case 'f':
		return json_word(j, "false") || json_fail(j);
	case 'n':
		return json_word(j, "null") || json_fail(j);
	default:
		return json_number(j, &number);
	}
}

/* Behind a key: nothing of it is kept. */
static bool json_skip_key(struct json *j)
{
	if (!json_more(j, '}'))
		return false;
	if (json_peek(j) != '"' || !json_skip_string(j) || !json_take(j, ':'))
		return json_fail(j);
	return true;
}

bool json_skip(struct json *j)
{
	unsigned base = j->depth;
	uint64_t objects = 0; /* bit d: the container at depth d is an object */
	do {
		char c = json_peek(j);
		if (c == '{' || c == '[') {
			objects = c == '{' ? objects | 1ULL << j->depth % 64 : objects & ~(1ULL << j->depth % 64);
			if (!json_enter(j, c))
				return false;
		} else if (!json_skip_scalar(j)) {
			return false;
		}
		while (j->depth > base) {
			bool more = objects & 1ULL << (j->depth - 1) ? json_skip_key(j) : json_item(j);
			if (more || j->failed)
				break;
		}
	} while (!j->failed && j->depth > base);
	return !j->failed;
}

bool json_end(struct json *j)
{
	return !json_peek(j) && !j->failed && j->depth == 0 && j->at == j->text.len;
}

/* --- forgiving ---------------------------------------------------------------------------------------------------- */

void json_maybe_number(struct json *j, double *ret)
{
	char c = json_peek(j);
	if (c == '-' || (c >= '0' && c <= '9'))
		json_number(j, ret);
	else
		json_skip(j);
}

void json_maybe_bool(struct json *j, bool *ret)
{
	char c = json_peek(j);
	if (c == 't' || c == 'f')
		json_bool(j, ret);
	else
		json_skip(j);
}

void json_maybe_string(struct json *j, struct sbuf *out)
{
	if (json_peek(j) == '"')
		json_string(j, out);
	else
		json_skip(j);
}
