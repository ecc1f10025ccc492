/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/name.h"

#include <ctype.h>

static const struct {
	const char *word;
	uint32_t suffix;
} name_suffixes[] = {
	{"cold", NAME_COLD},	       {"part", NAME_PART},
	{"constprop", NAME_CONSTPROP}, {"isra", NAME_ISRA},
	{"lto_priv", NAME_CLONE},      {"llvm", NAME_CLONE},
	{"localalias", NAME_CLONE},    {"ipa_sra", NAME_ISRA},
	{"simdclone", NAME_CLONE},     {"resolver", NAME_CLONE},
	{"__uniq", NAME_CLONE},	       {"warm", NAME_COLD}, /* BOLT's name for a less likely third */
	{"content", NAME_CLONE},       {"specialized", NAME_CONSTPROP},
};

static bool name_is_number(struct sv s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!isdigit((unsigned char)s.data[i]))
			return false;
	return s.len > 0;
}

/* Takes the last ".word" or ".number" off; false when there is none that a compiler would write. */
static bool name_take_suffix(struct sv *name, uint32_t *suffixes)
{
	const char *dot = name->len > 1 ? memrchr(name->data + 1, '.', name->len - 1) : NULL;
	if (!dot)
		return false;
	struct sv word = {dot + 1, (size_t)(name->data + name->len - dot - 1)};
	uint32_t found = name_is_number(word) ? NAME_CLONE : 0;
	for (size_t i = 0; !found && i < sizeof(name_suffixes) / sizeof(name_suffixes[0]); i++)
		if (sv_eq(word, sv_of(name_suffixes[i].word)))
			found = name_suffixes[i].suffix;
	if (!found)
		return false;
	*suffixes |= found;
	name->len = (size_t)(dot - name->data);
	return true;
}

struct sv name_base(struct sv name, uint32_t *ret_suffixes)
{
	uint32_t suffixes = 0;
	const char *at = name.len > 1 ? memchr(name.data + 1, '@', name.len - 1) : NULL;
	if (at)
		name.len = (size_t)(at - name.data);
	while (name_take_suffix(&name, &suffixes))
		;
	/* The number of a .part.0 is not a suffix of its own. */
	if (suffixes & ~(uint32_t)NAME_CLONE)
		suffixes &= ~(uint32_t)NAME_CLONE;
	if (ret_suffixes)
		*ret_suffixes = suffixes;
	return name;
}

static bool name_is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* The offset after the bracket that closes the one at `i`. Arrows and comparison operators among template arguments
 * are told from brackets by their neighbours; what is left ambiguous ends at the end of the name. */
static size_t name_skip_bracket(struct sv s, size_t i)
{
	size_t depth = 0;
	char open = s.data[i], close = open == '<' ? '>' : open == '(' ? ')' : open == '[' ? ']' : '}';
	for (; i < s.len; i++) {
		char c = s.data[i];
		if (c == open)
			depth++;
		else if (c == close && !(c == '>' && i > 0 && s.data[i - 1] == '-') && --depth == 0)
			return i + 1;
		else if (open == '<' && c == '(')
			i = name_skip_bracket(s, i) - 1;
	}
	return s.len;
}

/* The offset after "operator..." without its template arguments and parameters. */
static size_t name_skip_operator(struct sv s, size_t i)
{
	i += strlen("operator");
	if (i + 1 < s.len && ((s.data[i] == '(' && s.data[i + 1] == ')') || (s.data[i] == '[' && s.data[i + 1] == ']')))
		return i + 2;
	if (i < s.len && s.data[i] != ' ' && s.data[i] != '"') {
		/* The longest has three: <=> <<= >>= ->* */
		for (size_t n = 0; n < 3 && i < s.len && strchr("+-*/%^&|~!=<>,", s.data[i]); n++)
			i++;
		return i;
	}
	/* new, delete[], a literal suffix, co_await, or the type of a conversion, which may have any name in it */
	while (i < s.len && s.data[i] != '(')
		i = s.data[i] == '<' ? name_skip_bracket(s, i) : i + 1;
	return i;
}

static bool name_at_operator(struct sv s, size_t i)
{
	struct sv rest = {s.data + i, s.len - i};
	return sv_starts(rest, SV("operator")) && (rest.len == 8 || !name_is_word(rest.data[8]));
}

static bool name_at(struct sv s, size_t i, struct sv text)
{
	return sv_starts((struct sv){s.data + i, s.len - i}, text);
}

/* A walk from component to component. `anchor` is where the last component that has a name of its own starts. */
struct name_walk {
	struct sv s;
	size_t i;
	size_t anchor;
	bool in_closure;
	struct name_parts parts;
};

static void name_begin_component(struct name_walk *w)
{
	struct sv s = w->s;
	size_t start = w->i, end = start;
	if (start < s.len && s.data[start] == '{') {
		w->in_closure = true;
		end = name_skip_bracket(s, start);
	} else if (start < s.len && name_at_operator(s, start)) {
		end = name_skip_operator(s, start);
	} else if (start < s.len && (s.data[start] == '<' || s.data[start] == '(')) {
		end = name_skip_bracket(s, start); /* <T as Trait>, (anonymous namespace) */
	}
	if (!w->in_closure)
		w->anchor = start;
	else if (start < s.len && s.data[start] != '{' && !name_at_operator(s, start)) {
		w->anchor = start;
		w->in_closure = false;
	}
	while (end < s.len && name_is_word(s.data[end]))
		end++;
	if (end == start && end < s.len && s.data[end] == '~')
		for (end++; end < s.len && name_is_word(s.data[end]);)
			end++;
	w->i = end;
	w->parts = (struct name_parts){w->anchor, end, end, end};
}

/* After a parameter list: is what follows (qualifiers, then "::") one more scope, as in f(int) const::{lambda()#1}? */
static bool name_next_scope(struct sv s, size_t i, size_t *ret_next)
{
	while (i < s.len && !name_at(s, i, SV("::"))) {
		if (s.data[i] == '[')
			i = name_skip_bracket(s, i);
		else if (s.data[i] == ' ' || s.data[i] == '&' || islower((unsigned char)s.data[i]))
			i++;
		else
			return false;
	}
	*ret_next = i + 2;
	return i < s.len;
}

/* One step within a component; false at the end of the name. */
static bool name_step(struct name_walk *w)
{
	struct sv s = w->s;
	char c = s.data[w->i];
	if (name_at(s, w->i, SV("::<"))) { /* Rust v0 writes generic arguments f::<T>, and <impl T> for scopes */
		w->i = w->parts.args_end = w->parts.params_end = name_skip_bracket(s, w->i + 2);
	} else if (name_at(s, w->i, SV("::"))) {
		w->i += 2;
		name_begin_component(w);
	} else if (c == '<' || name_at(s, w->i, SV(" <")) || c == '[') {
		w->i = w->parts.args_end = w->parts.params_end = name_skip_bracket(s, w->i + (c == ' '));
	} else if (c == '(') {
		size_t next;
		w->i = name_skip_bracket(s, w->i);
		if (!name_next_scope(s, w->i, &next)) {
			w->parts.params_end = w->i;
			return false;
		}
		w->i = next;
		name_begin_component(w);
	} else if (name_at(s, w->i, SV(" ["))) { /* [clone .cold] */
		return false;
	} else {
		w->i++; /* a space: "non-virtual thunk to f()", a return type */
		name_begin_component(w);
	}
	return w->i < s.len;
}

struct name_parts name_parse(struct sv demangled)
{
	struct name_walk w = {.s = demangled};
	name_begin_component(&w);
	while (w.i < demangled.len && name_step(&w))
		;
	return w.parts;
}

struct sv name_unqualified(struct sv demangled)
{
	struct name_parts p = name_parse(demangled);
	if (p.name_end <= p.unqualified)
		return demangled;
	return (struct sv){demangled.data + p.unqualified, p.name_end - p.unqualified};
}
