/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/obfuscate/sql_tokens.h"

#include "base/utf8.h"

/* --- characters --------------------------------------------------------------------------------------------------- */

#define LETTER 1 /* may begin an identifier */
#define INSIDE 2 /* may be in one */
#define DIGIT  4
#define SPACE  8
#define ALONE  16 /* a token, whatever stands behind it */

static const uint8_t classes[256] = {
	/* by byte; no character is one beyond ASCII */
	['\t' ... '\r'] = SPACE,
	[' '] = SPACE,
	['0' ... '9'] = DIGIT | INSIDE,
	['a' ... 'z'] = LETTER | INSIDE,
	['A' ... 'Z'] = LETTER | INSIDE,
	['_'] = LETTER | INSIDE,
	['@'] = LETTER | INSIDE,
	['#'] = INSIDE,
	['.'] = INSIDE,
	['*'] = INSIDE | ALONE,
	['$'] = INSIDE,
	['?'] = ALONE,
	['='] = ALONE,
	[','] = ALONE,
	[';'] = ALONE,
	['('] = ALONE,
	[')'] = ALONE,
	['+'] = ALONE,
	['&'] = ALONE,
	['|'] = ALONE,
	['^'] = ALONE,
	['['] = ALONE,
	[']'] = ALONE,
};

static bool wide_space(uint32_t c)
{
	return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
	       c == 0x202f || c == 0x205f || c == 0x3000;
}

static inline bool is_space(uint32_t c)
{
	return c < 128 ? classes[c] & SPACE : c != SQL_EOF && wide_space(c);
}

static inline bool is_leading(uint32_t c)
{
	return c < 128 ? classes[c] & LETTER : c != SQL_EOF && unicode_is_letter(c);
}

static inline bool is_letter(uint32_t c)
{
	return c == '#' || is_leading(c);
}

static inline bool is_digit(uint32_t c)
{
	return c - '0' < 10;
}

static __attribute__((noinline)) void advance_wide(struct sql_tokens *t)
{
	size_t n;
	t->ch = utf8_decode((struct sv){t->text + t->at, t->len - t->at}, &n);
	t->at += n;
}

static inline void advance(struct sql_tokens *t)
{
	if (t->at >= t->len)
		t->ch = SQL_EOF;
	else if ((unsigned char)t->text[t->at] < 128)
		t->ch = (unsigned char)t->text[t->at++];
	else
		advance_wide(t);
}

static inline size_t width(uint32_t c)
{
	return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* What was passed over since the last call, without the character in hand. */
static inline struct sv taken(struct sql_tokens *t)
{
	size_t end = t->ch == SQL_EOF ? t->at : t->at - width(t->ch);
	struct sv s = {t->text + t->start, end - t->start};
	t->start = end;
	return s;
}

static inline enum sql_kind token(struct sql_tokens *t, enum sql_kind kind, struct sv *ret)
{
	*ret = taken(t);
	return kind;
}

/* --- words -------------------------------------------------------------------------------------------------------- */

/* Up to eight letters in one word, the first one lowest. */
#define WORD(a, b, c, d, e, f, g, h)                                                                            \
	((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 | \
	 (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)

static enum sql_kind keyword_of(uint64_t word)
{
	switch (word) {
	case WORD('A', 'S', 0, 0, 0, 0, 0, 0):
		return SQL_AS;
	case WORD('N', 'U', 'L', 'L', 0, 0, 0, 0):
	case WORD('T', 'R', 'U', 'E', 0, 0, 0, 0):
	case WORD('F', 'A', 'L', 'S', 'E', 0, 0, 0):
		return SQL_NUMBER;
	case WORD('S', 'E', 'L', 'E', 'C', 'T', 0, 0):
		return SQL_SELECT;
	case WORD('U', 'P', 'D', 'A', 'T', 'E', 0, 0):
		return SQL_UPDATE;
	case WORD('D', 'E', 'L', 'E', 'T', 'E', 0, 0):
		return SQL_DELETE;
	case WORD('F', 'R', 'O', 'M', 0, 0, 0, 0):
	case WORD('I', 'N', 'T', 'O', 0, 0, 0, 0):
	case WORD('J', 'O', 'I', 'N', 0, 0, 0, 0):
	case WORD('D', 'R', 'O', 'P', 0, 0, 0, 0):
	case WORD('L', 'I', 'M', 'I', 'T', 0, 0, 0):
	case WORD('A', 'L', 'T', 'E', 'R', 0, 0, 0):
	case WORD('G', 'R', 'A', 'N', 'T', 0, 0, 0):
	case WORD('B', 'E', 'G', 'I', 'N', 0, 0, 0):
	case WORD('I', 'N', 'S', 'E', 'R', 'T', 0, 0):
	case WORD('C', 'R', 'E', 'A', 'T', 'E', 0, 0):
	case WORD('R', 'E', 'V', 'O', 'K', 'E', 0, 0):
	case WORD('C', 'O', 'M', 'M', 'I', 'T', 0, 0):
	case WORD('T', 'R', 'U', 'N', 'C', 'A', 'T', 'E'):
		return SQL_KEYWORD;
	default:
		return SQL_ID;
	}
}

/* Letter by letter, for what is long or not ASCII: two letters beyond it have an upper case within it, the dotless i
 * and the long s. */
static enum sql_kind keyword_slow(struct sv s)
{
	char upper[9];
	size_t n = 0;
	for (size_t i = 0; i < s.len; n++) {
		unsigned char c = (unsigned char)s.data[i++], next = i < s.len ? (unsigned char)s.data[i] : 0;
		bool dotless = c == 0xc4 && next == 0xb1, long_s = c == 0xc5 && next == 0xbf;
		if (n == sizeof(upper) || (c >= 128 && !dotless && !long_s))
			return SQL_ID;
		upper[n] = dotless ? 'I' : long_s ? 'S' : (char)(c & 0xdf);
		i += dotless || long_s;
	}
	if (n == 9)
		return memcmp(upper, "SAVEPOINT", 9) == 0 ? SQL_SAVEPOINT : SQL_ID;
	uint64_t word = 0;
	memcpy(&word, upper, n);
	return keyword_of(word);
}

#define FIRST(letter) (1u << ((letter)&31))

/* Which letters the keywords of so many letters begin with: most identifiers are told by that. One that begins with a
 * byte beyond ASCII is a case of its own. */
static const uint32_t first_letters[9] = {
	[2] = FIRST('A'),
	[4] = FIRST('N') | FIRST('T') | FIRST('F') | FIRST('I') | FIRST('J') | FIRST('D'),
	[5] = FIRST('F') | FIRST('L') | FIRST('A') | FIRST('G') | FIRST('B'),
	[6] = FIRST('S') | FIRST('U') | FIRST('D') | FIRST('I') | FIRST('C') | FIRST('R'),
	[8] = FIRST('T'),
};

static enum sql_kind keyword_short(const struct sql_tokens *t, struct sv s)
{
	uint64_t word;
	if ((size_t)(t->text + t->len - s.data) < 8)
		return keyword_slow(s);
	memcpy(&word, s.data, 8);
	word &= UINT64_MAX >> (64 - 8 * s.len);
	if (word & 0x8080808080808080ULL)
		return keyword_slow(s);
	/* No other character of an identifier becomes a letter by that. */
	return keyword_of(word & 0xdfdfdfdfdfdfdfdfULL);
}

/* `ascii`: all of it is. */
static inline enum sql_kind keyword(const struct sql_tokens *t, struct sv s, bool ascii)
{
	if (!ascii)
		return s.len > 18 ? SQL_ID : keyword_slow(s);
	if (s.len <= 8)
		return first_letters[s.len] & FIRST(s.data[0]) ? keyword_short(t, s) : SQL_ID;
	return s.len == 9 && (s.data[0] | 0x20) == 's' ? keyword_slow(s) : SQL_ID;
}

static enum sql_kind identifier(struct sql_tokens *t, struct sv *ret)
{
	for (;;) {
		while (t->at < t->len && classes[(unsigned char)t->text[t->at]] & INSIDE)
			t->at++;
		advance(t);
		if (t->ch == SQL_EOF || !(t->ch < 128 ? classes[t->ch] & INSIDE : unicode_is_letter(t->ch)))
			break;
	}
	*ret = taken(t);
	return keyword(t, *ret, false);
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static unsigned digit_value(uint32_t c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

static void mantissa(struct sql_tokens *t, unsigned base)
{
	if (base == 10 && is_digit(t->ch)) {
		while (t->at < t->len && is_digit((unsigned char)t->text[t->at]))
			t->at++;
		advance(t);
		return;
	}
	while (t->ch != SQL_EOF && digit_value(t->ch) < base)
		advance(t);
}

static void exponent(struct sql_tokens *t)
{
	if ((t->ch | 0x20) != 'e' || t->ch == SQL_EOF)
		return;
	advance(t);
	if (t->ch == '+' || t->ch == '-')
		advance(t);
	mantissa(t, 10);
}

static enum sql_kind number(struct sql_tokens *t, bool behind_point, struct sv *ret)
{
	if (behind_point) {
		mantissa(t, 10);
		exponent(t);
		return token(t, SQL_NUMBER, ret);
	}
	if (t->ch == '0') {
		advance(t);
		if (t->ch == 'x' || t->ch == 'X') {
			advance(t);
			mantissa(t, 16);
			return token(t, SQL_NUMBER, ret);
		}
		mantissa(t, 8);
		if (t->ch == '8' || t->ch == '9')
			mantissa(t, 10);
		if (t->ch != '.' && t->ch != 'e' && t->ch != 'E')
			return token(t, SQL_NUMBER, ret);
	} else {
		mantissa(t, 10);
	}
	if (t->ch == '.') {
		advance(t);
		mantissa(t, 10);
	}
	exponent(t);
	return token(t, SQL_NUMBER, ret);
}

/* --- quotes ------------------------------------------------------------------------------------------------------- */

static bool all_space(struct sv s)
{
	for (size_t i = 0, n; i < s.len; i += n)
		if (!is_space(utf8_decode((struct sv){s.data + i, s.len - i}, &n)))
			return false;
	return true;
}

static inline uint64_t zero_bytes(uint64_t w)
{
	return (w - 0x0101010101010101ULL) & ~w & 0x8080808080808080ULL;
}

/* The first byte from `at` on that says something in a string, or is not ASCII; eight at a time. */
static size_t behind_plain(const struct sql_tokens *t, size_t at)
{
	for (uint64_t w, odd; at + sizeof(w) <= t->len; at += sizeof(w)) {
		memcpy(&w, t->text + at, sizeof(w));
		odd = zero_bytes(w ^ 0x2727272727272727ULL) | zero_bytes(w ^ 0x5c5c5c5c5c5c5c5cULL) |
		      (w & 0x8080808080808080ULL);
		if (odd)
			return at + (size_t)__builtin_ctzll(odd) / 8;
	}
	while (at < t->len && t->text[at] != '\'' && t->text[at] != '\\' && (unsigned char)t->text[at] < 128)
		at++;
	return at;
}

/* Behind the first quote. Its text is what stands between the quotes, escapes resolved. */
static enum sql_kind quoted(struct sql_tokens *t, char quote, enum sql_kind kind, struct sv *ret)
{
	char *out = t->strings;
	bool shown = quote != '\''; /* a string becomes "?", whatever it says */
	for (;;) {
		if (!shown && t->ch < 128 && t->ch != '\'' && t->ch != '\\') {
			t->at = behind_plain(t, t->at);
			t->ch = (unsigned char)t->text[t->at - 1];
		}
		uint32_t c = t->ch;
		advance(t);
		if (c == (uint32_t)quote) {
			if (t->ch != (uint32_t)quote)
				break;
			advance(t);
		} else if (c == '\\') {
			t->seen_escape = true;
			if (!t->literal_escapes) {
				c = t->ch;
				advance(t);
			}
		}
		if (c == SQL_EOF)
			return SQL_ERROR;
		if (!shown)
			continue;
		if (c < 128)
			*out++ = (char)c;
		else
			out += utf8_encode(c, out);
	}
	*ret = (struct sv){t->strings, (size_t)(out - t->strings)};
	/* An identifier of nothing keeps its quotes: without them the query would be another. */
	if (shown && all_space(*ret)) {
		t->strings[0] = t->strings[1] = quote;
		ret->len = 2;
	}
	return kind;
}

/* $tag$ ... $tag$. Its end is found as the Agent finds it: byte by byte, without going back. */
static enum sql_kind dollar_quoted(struct sql_tokens *t, struct sv *ret)
{
	struct sv tag;
	if (quoted(t, '$', SQL_STRING, &tag) == SQL_ERROR)
		return SQL_ERROR;
	bool bare = sv_eq(tag, SV("$$"));
	size_t len = bare ? 2 : tag.len + 2, got = 0;
	while (got < len) {
		uint32_t c = t->ch;
		advance(t);
		if (c == SQL_EOF)
			return SQL_ERROR;
		char want = bare || got == 0 || got == len - 1 ? '$' : tag.data[got - 1];
		got = (char)c == want ? got + 1 : 0;
	}
	*ret = SV("$");
	return SQL_NUMBER;
}

/* --- comments, variables ------------------------------------------------------------------------------------------ */

static enum sql_kind comment_line(struct sql_tokens *t, struct sv *ret)
{
	while (t->ch != SQL_EOF && t->ch != '\n')
		advance(t);
	if (t->ch == '\n')
		advance(t);
	return token(t, SQL_COMMENT, ret);
}

static enum sql_kind comment_block(struct sql_tokens *t, struct sv *ret)
{
	for (;;) {
		if (t->ch == '*') {
			advance(t);
			if (t->ch == '/')
				break;
			continue;
		}
		if (t->ch == SQL_EOF)
			return SQL_ERROR;
		advance(t);
	}
	advance(t);
	return token(t, SQL_COMMENT, ret);
}

static enum sql_kind bind_variable(struct sql_tokens *t, struct sv *ret)
{
	if (!is_letter(t->ch) && !is_digit(t->ch))
		return SQL_ERROR;
	while (is_letter(t->ch) || is_digit(t->ch) || t->ch == '.')
		advance(t);
	return token(t, SQL_BIND, ret);
}

static enum sql_kind format_variable(struct sql_tokens *t, struct sv *ret)
{
	if (t->ch == '(') {
		do
			advance(t);
		while (t->ch != ')' && t->ch != SQL_EOF);
		advance(t);
		if (!is_letter(t->ch))
			return SQL_ERROR;
	} else if (!is_letter(t->ch)) {
		return token(t, '%', ret);
	}
	advance(t);
	return token(t, SQL_NUMBER, ret);
}

static enum sql_kind escape_sequence(struct sql_tokens *t, struct sv *ret)
{
	while (t->ch != '}' && t->ch != SQL_EOF)
		advance(t);
	if (t->ch == SQL_EOF)
		return SQL_ERROR;
	advance(t);
	return token(t, SQL_NUMBER, ret);
}

/* --- operators ---------------------------------------------------------------------------------------------------- */

/* One more character belongs to it. */
static enum sql_kind longer(struct sql_tokens *t, enum sql_kind kind, struct sv *ret)
{
	advance(t);
	return token(t, kind, ret);
}

static enum sql_kind colon(struct sql_tokens *t, struct sv *ret)
{
	if (t->ch == ':')
		return longer(t, SQL_OPERATOR, ret);
	if (is_space(t->ch) || t->ch == ']' || t->ch == '$' || t->ch == '=')
		return token(t, ':', ret);
	return bind_variable(t, ret);
}

static enum sql_kind minus(struct sql_tokens *t, struct sv *ret)
{
	if (t->ch == '-') {
		advance(t);
		return comment_line(t, ret);
	}
	if (t->ch == '>' || is_digit(t->ch))
		return number(t, false, ret);
	if (t->ch != '.')
		return token(t, '-', ret);
	advance(t);
	if (is_digit(t->ch))
		return number(t, true, ret);
	/* The Agent goes back by one byte here and calls it a point, whatever it is. */
	t->ch = '.';
	t->unusual = true;
	return token(t, '-', ret);
}

static enum sql_kind less(struct sql_tokens *t, struct sv *ret)
{
	if (t->ch == '>')
		return longer(t, SQL_OPERATOR, ret);
	if (t->ch != '=')
		return token(t, '<', ret);
	advance(t);
	return t->ch == '>' ? longer(t, SQL_OPERATOR, ret) : token(t, SQL_OPERATOR, ret);
}

static enum sql_kind bang(struct sql_tokens *t, struct sv *ret)
{
	if (t->ch == '=')
		return longer(t, SQL_OPERATOR, ret);
	if (t->ch == '~') {
		advance(t);
		return t->ch == '*' ? longer(t, SQL_OPERATOR, ret) : token(t, SQL_OPERATOR, ret);
	}
	bool good = is_space(t->ch) || is_letter(t->ch) || is_digit(t->ch) ||
		    (t->ch < 128 && t->ch && strchr("(`'\"+-", (int)t->ch));
	return good ? token(t, SQL_NOT, ret) : SQL_ERROR;
}

static enum sql_kind curly(struct sql_tokens *t, struct sv *ret)
{
	/* {call f(?)} is shown, except for its arguments; the Agent knows it by where it begins. */
	bool first = t->start == 0 && (t->ch == SQL_EOF || t->ch < 128);
	if (!first && !t->curlys)
		return escape_sequence(t, ret);
	t->curlys++;
	t->unusual = true;
	return token(t, '{', ret);
}

static enum sql_kind dollar(struct sql_tokens *t, struct sv *ret)
{
	if (t->ch == '?')
		return longer(t, SQL_NUMBER, ret);
	return is_digit(t->ch) ? number(t, false, ret) : dollar_quoted(t, ret);
}

static enum sql_kind symbol(struct sql_tokens *t, uint32_t c, struct sv *ret)
{
	if (c < 128 && classes[c] & ALONE)
		return token(t, (enum sql_kind)c, ret);
	switch (c) {
	case SQL_EOF:
		return SQL_END;
	case ':':
		return colon(t, ret);
	case '~':
		return t->ch == '*' ? longer(t, '~', ret) : token(t, '~', ret);
	case '.':
		return is_digit(t->ch) ? number(t, true, ret) : token(t, '.', ret);
	case '/':
		if (t->ch != '/' && t->ch != '*')
			return token(t, '/', ret);
		c = t->ch;
		advance(t);
		return c == '/' ? comment_line(t, ret) : comment_block(t, ret);
	case '-':
		return minus(t, ret);
	case '#':
		advance(t);
		return comment_line(t, ret);
	case '<':
		return less(t, ret);
	case '>':
		return t->ch == '=' ? longer(t, SQL_OPERATOR, ret) : token(t, '>', ret);
	case '!':
		return bang(t, ret);
	case '\'':
		return quoted(t, '\'', SQL_STRING, ret);
	case '"':
		t->unusual = true;
		return quoted(t, '"', SQL_DOUBLE_QUOTED, ret);
	case '`':
		t->unusual = true;
		return quoted(t, '`', SQL_ID, ret);
	case '%':
		return format_variable(t, ret);
	case '$':
		return dollar(t, ret);
	case '{':
		return curly(t, ret);
	case '}':
		if (!t->curlys)
			return SQL_ERROR;
		t->curlys--;
		return token(t, '}', ret);
	default:
		return SQL_ERROR;
	}
}

static __attribute__((noinline)) enum sql_kind next_slow(struct sql_tokens *t, struct sv *ret)
{
	while (is_space(t->ch))
		advance(t);
	t->start = t->ch == SQL_EOF ? t->at : t->at - width(t->ch);
	uint32_t c = t->ch;
	if (is_leading(c))
		return identifier(t, ret);
	if (is_digit(c))
		return number(t, false, ret);
	advance(t);
	return symbol(t, c, ret);
}

static inline size_t behind_digits(const unsigned char *text, size_t at, size_t len)
{
	while (at < len && is_digit(text[at]))
		at++;
	return at;
}

/* Most tokens are names, numbers, strings and single characters in ASCII, with more of it behind them: those are read
 * here. `at` is behind the token's first character, `c`. Returns where it ends; SIZE_MAX: not such a one. */
static inline size_t simple_end(const struct sql_tokens *t, uint32_t c, size_t at, enum sql_kind *ret_kind)
{
	const unsigned char *text = (const unsigned char *)t->text;
	size_t len = t->len;
	*ret_kind = (enum sql_kind)c;
	if (classes[c] & ALONE)
		return at;
	if (classes[c] & LETTER) {
		while (at < len && classes[text[at]] & INSIDE)
			at++;
		*ret_kind = SQL_ID;
		return at;
	}
	if (c == '\'') {
		at = behind_plain(t, at);
		*ret_kind = SQL_STRING;
		/* A quote behind it would be one in it. */
		return at + 1 < len && text[at] == '\'' && text[at + 1] != '\'' ? at + 1 : SIZE_MAX;
	}
	if (!(classes[c] & DIGIT) || c == '0')
		return SIZE_MAX;
	at = behind_digits(text, at, len);
	if (at < len && text[at] == '.')
		at = behind_digits(text, at + 1, len);
	*ret_kind = SQL_NUMBER;
	return at < len && (text[at] | 0x20) != 'e' ? at : SIZE_MAX;
}

enum sql_kind sql_next(struct sql_tokens *t, struct sv *ret)
{
	/* A NUL in hand between two tokens is passed over; the Agent takes it for not having begun. */
	if (!t->started || t->ch == 0) {
		t->unusual |= t->started;
		t->started = true;
		advance(t);
	}
	const unsigned char *text = (const unsigned char *)t->text;
	size_t at = t->at, len = t->len;
	uint32_t c = t->ch;
	if (c >= 128)
		return next_slow(t, ret);
	while (classes[c] & SPACE && at < len)
		c = text[at++];
	enum sql_kind kind;
	size_t start = at - 1, end = simple_end(t, c, at, &kind);
	if (end >= len || text[end] >= 128)
		return next_slow(t, ret);
	t->ch = text[end];
	t->at = end + 1;
	t->start = end;
	*ret = (struct sv){t->text + start, end - start};
	return kind == SQL_ID ? keyword(t, *ret, true) : kind;
}
