/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/condition_lexer.h"

#include <ctype.h>

#include "base/utf8.h"
#include "probe/condition.h"
#include "spanhound/spec.h"

static const struct {
	struct sv word;
	enum condition_token_kind kind;
} words[] = {
	{{"and", 3}, TOKEN_AND},      {{"or", 2}, TOKEN_OR},
	{{"not", 3}, TOKEN_NOT},      {{"starts_with", 11}, TOKEN_STARTS_WITH},
	{{"NULL", 4}, TOKEN_NULL},    {{"null", 4}, TOKEN_NULL},
	{{"nullptr", 7}, TOKEN_NULL}, {{"true", 4}, TOKEN_TRUE},
	{{"false", 5}, TOKEN_FALSE},
};

/* Longer before its own beginning. */
static const struct {
	struct sv sign;
	enum condition_token_kind kind;
	uint8_t op;
} signs[] = {
	{{"&&", 2}, TOKEN_AND, 0},
	{{"||", 2}, TOKEN_OR, 0},
	{{"==", 2}, TOKEN_COMPARE, SH_OP_EQ},
	{{"!=", 2}, TOKEN_COMPARE, SH_OP_NE},
	{{"<=", 2}, TOKEN_COMPARE, SH_OP_LE},
	{{">=", 2}, TOKEN_COMPARE, SH_OP_GE},
	{{"<", 1}, TOKEN_COMPARE, SH_OP_LT},
	{{">", 1}, TOKEN_COMPARE, SH_OP_GT},
	{{"&", 1}, TOKEN_MASK, 0},
	{{"!", 1}, TOKEN_NOT, 0},
	{{"(", 1}, TOKEN_OPEN, 0},
	{{")", 1}, TOKEN_CLOSE, 0},
};

bool condition_word_is_reserved(struct sv word)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (sv_eq(word, words[i].word))
			return true;
	return sv_eq(word, SV("return")) || sv_eq(word, SV("function"));
}

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static void lex_word(struct condition_token *t)
{
	t->kind = TOKEN_NAME;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (sv_eq(t->raw, words[i].word))
			t->kind = words[i].kind;
}

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

static void lex_number(struct condition_lexer *l, struct condition_token *t)
{
	struct sv digits = t->raw;
	t->kind = TOKEN_INTEGER;
	t->negative = digits.data[0] == '-';
	digits.data += t->negative;
	digits.len -= t->negative;
	unsigned base = digits.len > 2 && digits.data[0] == '0' && (digits.data[1] | 0x20) == 'x' ? 16 : 10;
	for (size_t i = base == 16 ? 2 : 0; i < digits.len; i++) {
		unsigned char c = (unsigned char)digits.data[i];
		int digit = hex_digit((char)c);
		if (digit < 0 || (unsigned)digit >= base) {
			yaml_error_at(l->src, l->node, t->at,
				      "expected an integer (decimal or 0x...), found '" SV_FMT "'", SV_ARG(t->raw));
			t->kind = TOKEN_BAD;
			return;
		}
		if (__builtin_mul_overflow(t->number, base, &t->number) ||
		    __builtin_add_overflow(t->number, (unsigned)digit, &t->number)) {
			yaml_error_at(l->src, l->node, t->at, "'" SV_FMT "' does not fit 64 bits", SV_ARG(t->raw));
			t->kind = TOKEN_BAD;
			return;
		}
	}
}

/* One character of a quoted text; advances *at. -1: an escape that is none. */
static int lex_character(struct sv s, size_t *at)
{
	char c = s.data[(*at)++];
	if (c != '\\')
		return (unsigned char)c;
	if (*at >= s.len)
		return -1;
	c = s.data[(*at)++];
	static const char from[] = "ntr0\\\"'", to[] = "\n\t\r\0\\\"'";
	const char *known = c ? strchr(from, c) : NULL;
	if (known)
		return to[known - from];
	if (c == 'x' && *at + 2 <= s.len) {
		int high = hex_digit(s.data[*at]), low = hex_digit(s.data[*at + 1]);
		*at += 2;
		return high < 0 || low < 0 ? -1 : high * 16 + low;
	}
	return -1;
}

/* From the opening quote at l->at to the closing one. */
static void lex_text(struct condition_lexer *l, struct condition_token *t)
{
	struct sbuf decoded = {0};
	char quote = l->text.data[l->at];
	size_t at = l->at + 1;
	t->kind = TOKEN_TEXT;
	while (at < l->text.len && l->text.data[at] != quote) {
		size_t from = at;
		int c = lex_character(l->text, &at);
		if (c < 0) {
			yaml_error_at(l->src, l->node, from,
				      "an unknown escape: there are \\n \\t \\r \\0 \\\\ \\\" \\' and \\xNN");
			t->kind = TOKEN_BAD;
			c = '?';
		}
		sbuf_addc(&decoded, (char)c);
	}
	if (at >= l->text.len) {
		yaml_error_at(l->src, l->node, l->at, "a text without its closing %c", quote);
		t->kind = TOKEN_BAD;
	}
	t->text = arena_dup(l->arena, sbuf_sv(&decoded));
	if (!t->text.data || decoded.failed)
		l->failed = true;
	sbuf_release(&decoded);
	l->at = at < l->text.len ? at + 1 : l->text.len;
	t->raw.len = l->at - t->at;
}

static void lex_sign(struct condition_lexer *l, struct condition_token *t)
{
	struct sv rest = {l->text.data + l->at, l->text.len - l->at};
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		if (!sv_starts(rest, signs[i].sign))
			continue;
		t->kind = signs[i].kind;
		t->op = signs[i].op;
		t->raw.len = signs[i].sign.len;
		l->at += t->raw.len;
		return;
	}
	size_t len = utf8_len(rest);
	t->kind = TOKEN_BAD;
	t->raw.len = len ? len : 1;
	const char *hint = rest.data[0] == '='	 ? "; did you mean '=='?"
			   : rest.data[0] == '|' ? "; did you mean '||'?"
						 : "";
	yaml_error_at(l->src, l->node, t->at, "'" SV_FMT "' does not belong in a condition%s", SV_ARG(t->raw), hint);
	l->at += t->raw.len;
}

void condition_lexer_next(struct condition_lexer *l, struct condition_token *ret)
{
	while (l->at < l->text.len && isspace((unsigned char)l->text.data[l->at]))
		l->at++;
	*ret = (struct condition_token){.at = l->at, .raw = {l->text.data + l->at, 0}};
	if (l->at >= l->text.len)
		return;
	char c = l->text.data[l->at], next = l->at + 1 < l->text.len ? l->text.data[l->at + 1] : '\0';
	bool number = isdigit((unsigned char)c) || (c == '-' && isdigit((unsigned char)next));
	if (c == '"' || c == '\'') {
		lex_text(l, ret);
	} else if (number || in_word(c)) {
		size_t end = l->at + 1;
		while (end < l->text.len && in_word(l->text.data[end]))
			end++;
		ret->raw.len = end - l->at;
		l->at = end;
		if (number)
			lex_number(l, ret);
		else
			lex_word(ret);
	} else {
		lex_sign(l, ret);
	}
}
