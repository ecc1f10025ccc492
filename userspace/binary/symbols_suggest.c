/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/nearest.h"
#include "binary/demangle.h"
#include "binary/symbols.h"

#define SUGGEST_MAX 16 /* names asked for at once */

struct suggestion {
	unsigned distance;
	struct sv name;
};

struct suggester {
	struct symtab *tab;
	struct sv wrong; /* without parameters */
	struct sv last;	 /* its last component */
	bool qualified;	 /* it has a "::" */
	unsigned max;	 /* edits a suggestion may be away */
	struct suggestion best[SUGGEST_MAX];
	size_t cnt;
	size_t wanted;
	struct sbuf text; /* scratch */
};

/* One edit in three letters; at least one, so that "rd" may mean "read". */
static unsigned distance_allowed(struct sv name)
{
	size_t max = name.len / 3 + 1;
	return max > 4 ? 4 : (unsigned)max;
}

/* Likeness of a name to what was typed. Typed as a whole word in a longer name ("charge" for "charge_card") is worth
 * the most edits that are still accepted. */
static unsigned suggester_distance(const struct suggester *s, struct sv wrong, struct sv name)
{
	unsigned d = edit_distance(wrong, name, s->max);
	if (d <= s->max || wrong.len < 4 || name.len > NEAREST_MAX_LEN)
		return d;
	return memmem(name.data, name.len, wrong.data, wrong.len) ? s->max : d;
}

/* `keep`: the text is the table's, else it is copied when it is taken. */
static void suggester_take(struct suggester *s, struct sv name, unsigned distance, bool keep)
{
	size_t at = 0;
	for (; at < s->cnt; at++) {
		if (sv_eq(s->best[at].name, name))
			return;
		if (distance < s->best[at].distance ||
		    (distance == s->best[at].distance && name.len < s->best[at].name.len))
			break;
	}
	for (size_t i = at; i < s->cnt; i++)
		if (sv_eq(s->best[i].name, name))
			return;
	if (at >= s->wanted)
		return;
	if (!keep)
		name = arena_dup(&s->tab->texts, name);
	if (!name.data)
		return;
	if (s->cnt < s->wanted)
		s->cnt++;
	memmove(&s->best[at + 1], &s->best[at], (s->cnt - 1 - at) * sizeof(s->best[0]));
	s->best[at] = (struct suggestion){distance, name};
}

/* Is one of the identifiers written in a mangled name (<length><identifier>, in C++ and both of Rust's manglings)
 * alike? Only then is it worth demangling. */
static bool suggester_mangled_is_alike(const struct suggester *s, struct sv name)
{
	for (size_t i = 2; i < name.len;) {
		size_t len = 0;
		if (!isdigit((unsigned char)name.data[i])) {
			i++;
			continue;
		}
		while (i < name.len && isdigit((unsigned char)name.data[i]) && len < name.len)
			len = len * 10 + (size_t)(name.data[i++] - '0');
		if (i < name.len && name.data[i] == '_' && name.data[1] == 'R')
			i++;
		if (len == 0 || len > name.len - i)
			continue;
		if (suggester_distance(s, s->last, (struct sv){name.data + i, len}) <= s->max)
			return true;
		i += len;
	}
	return false;
}

static void suggester_look_at_mangled(struct suggester *s, struct sv base)
{
	if (!suggester_mangled_is_alike(s, base))
		return;
	sbuf_reset(&s->text);
	if (!demangle(base, &s->text))
		return;
	struct sv whole = sbuf_sv(&s->text);
	struct name_parts p = name_parse(whole);
	struct sv qualified = {whole.data, p.name_end}, last = name_unqualified(whole);
	unsigned d = suggester_distance(s, s->wrong, qualified);
	if (!s->qualified && d > s->max)
		d = suggester_distance(s, s->last, last);
	/* Right function, wrong scope: "Cart::total" for "shop::Cart::total" or "shop::Basket::total". */
	if (s->qualified && d > s->max && sv_eq(last, s->last))
		d = s->max;
	if (d <= s->max)
		suggester_take(s, qualified, d, false);
}

static void suggester_look_at(struct suggester *s, struct sv name)
{
	uint32_t suffixes;
	struct sv base = name_base(name, &suffixes);
	if (suffixes & NAME_COLD)
		return;
	if (demangle_is_mangled(base)) {
		suggester_look_at_mangled(s, base);
		return;
	}
	unsigned d = suggester_distance(s, s->wrong, base);
	if (d <= s->max)
		suggester_take(s, base, d, true);
}

size_t symtab_suggest(struct symtab *tab, struct sv wrong, struct sv *out, size_t n)
{
	struct name_parts p = name_parse(wrong);
	struct suggester s = {.tab = tab, .wanted = n > SUGGEST_MAX ? SUGGEST_MAX : n};
	s.wrong = p.name_end ? (struct sv){wrong.data, p.name_end} : wrong;
	s.last = name_unqualified(s.wrong);
	s.qualified = s.last.data > s.wrong.data;
	s.max = distance_allowed(s.last);
	if (s.wrong.len == 0 || s.wrong.len > NEAREST_MAX_LEN || s.wanted == 0)
		return 0;
	for (size_t i = 0; i < tab->name_cnt; i++) {
		struct sv name = {tab->names[i].data, tab->names[i].len};
		suggester_look_at(&s, name);
	}
	sbuf_release(&s.text);
	for (size_t i = 0; i < s.cnt; i++)
		out[i] = s.best[i].name;
	return s.cnt;
}
