/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/glob.h"
#include "base/vec.h"
#include "binary/demangle.h"
#include "binary/symbols.h"

static uint32_t name_hash(struct sv s)
{
	uint32_t h = 2166136261U; /* FNV-1a */
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.data[i]) * 16777619U;
	return h;
}

static struct sv symtab_name_text(const struct symtab *tab, size_t name)
{
	return (struct sv){tab->names[name].data, tab->names[name].len};
}

/* Keyed by base name: "f" has to find f.constprop.0 too. Open addressing at most half full; equal keys lie in
 * the order of the names, so all of one key are found before the first empty slot. */
static int symtab_make_index(struct symtab *tab)
{
	size_t cnt = 16;
	while (cnt < 2 * tab->name_cnt)
		cnt *= 2;
	tab->index = calloc(cnt, sizeof(*tab->index));
	if (!tab->index)
		return -ENOMEM;
	tab->index_cnt = cnt;
	for (size_t i = 0; i < tab->name_cnt; i++) {
		size_t slot = name_hash(name_base(symtab_name_text(tab, i), NULL)) & (cnt - 1);
		while (tab->index[slot])
			slot = (slot + 1) & (cnt - 1);
		tab->index[slot] = (uint32_t)i + 1;
	}
	return 0;
}

static int symbol_compare(const void *a, const void *b)
{
	const struct symbol *const *x = a, *const *y = b;
	return (*x)->addr < (*y)->addr ? -1 : (*x)->addr > (*y)->addr;
}

/* Sorts what was appended from `start` on and takes doubles out; the number that stays. */
static int symbol_vec_finish(struct symbol_vec *v, size_t start)
{
	size_t cnt = v->cnt - start, kept = start;
	if (cnt > 1)
		qsort(v->data + start, cnt, sizeof(*v->data), symbol_compare);
	for (size_t i = start; i < v->cnt; i++)
		if (i == start || v->data[i] != v->data[kept - 1])
			v->data[kept++] = v->data[i];
	v->cnt = kept;
	return (int)(kept - start);
}

static int symtab_find_raw(struct symtab *tab, struct sv wanted, struct symbol_vec *out)
{
	if (!tab->index && symtab_make_index(tab) < 0)
		return -ENOMEM;
	size_t start = out->cnt, mask = tab->index_cnt - 1;
	for (size_t slot = name_hash(name_base(wanted, NULL)) & mask; tab->index[slot]; slot = (slot + 1) & mask) {
		size_t n = tab->index[slot] - 1;
		struct sv name = symtab_name_text(tab, n);
		uint32_t suffixes;
		struct sv base = name_base(name, &suffixes);
		if (!sv_eq(name, wanted) && !(sv_eq(base, wanted) && !(suffixes & NAME_COLD)))
			continue;
		const struct symbol *s = &tab->symbols[tab->names[n].symbol];
		if (vec_push(out, s) < 0)
			return -ENOMEM;
	}
	return symbol_vec_finish(out, start);
}

/* Words a demangler writes without reading them in the mangled name. */
static const char demangler_words[] =
	"std allocator basic_string basic_istream basic_ostream basic_iostream string istream ostream iostream "
	"char_traits __cxx11 operator new delete co_await anonymous namespace lambda auto decltype nullptr_t "
	"unnamed type virtual non-virtual covariant return thunk to guard variable for reference temporary "
	"vtable VTT typeinfo name construction init TLS wrapper function hidden alias transaction clone "
	"unsigned signed char short int long float double bool void wchar_t char8_t char16_t char32_t __int128 "
	"__float128 half const volatile restrict noexcept throw requires typename template parameter object "
	"sizeof alignof typeid dynamic_cast static_cast const_cast reinterpret_cast this true false abi complex "
	"imaginary _Complex _Imaginary decimal32 decimal64 decimal128 accum fract sat string literal "
	"closure shim vtable impl dyn mut as extern unsafe fn usize isize str i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 "
	"f32 f64 where static java gnu initializer";

static bool demangler_writes(struct sv word)
{
	return memmem(demangler_words, sizeof(demangler_words) - 1, word.data, word.len);
}

/* The longest piece of an identifier every name the pattern matches must carry in its mangled form as well, so that
 * the others need not be demangled; empty when there is none. */
static struct sv pattern_literal(struct sv pattern, bool glob)
{
	struct sv best = {"", 0};
	for (size_t i = 0; i < pattern.len;) {
		size_t start = i;
		while (i < pattern.len && (isalnum((unsigned char)pattern.data[i]) || pattern.data[i] == '_'))
			i++;
		struct sv word = {pattern.data + start, i - start};
		bool number = word.len && isdigit((unsigned char)word.data[0]);
		if (word.len > best.len && word.len >= 3 && !number && !demangler_writes(word))
			best = word;
		if (i < pattern.len && glob && pattern.data[i] == '[')
			return best; /* what is in a set, and behind it, is not told apart from text here */
		i += i < pattern.len;
	}
	return best;
}

/* "f(int,int)" as the demangler writes it. */
static void add_spaced(struct sbuf *b, struct sv pattern)
{
	for (size_t i = 0; i < pattern.len; i++) {
		sbuf_addc(b, pattern.data[i]);
		if (pattern.data[i] == ',' && i + 1 < pattern.len && pattern.data[i + 1] != ' ' &&
		    !(i >= 8 && memcmp(pattern.data + i - 8, "operator", 8) == 0))
			sbuf_addc(b, ' ');
	}
}

struct finder {
	struct symtab *tab;
	struct sv pattern;
	struct sv literal;
	bool glob;
	struct sbuf text; /* scratch */
};

static bool finder_compare(const struct finder *f, struct sv text)
{
	return f->glob ? glob_match(f->pattern, text) : sv_eq(f->pattern, text);
}

/* `whole` in each of the ways it may be written; they are all prefixes of it. A glob that speaks of no parameters, or
 * of no template arguments, is not held against them: "*alloc*" does not mean whatever takes a std::allocator. */
static bool finder_compare_forms(const struct finder *f, struct sv whole)
{
	struct name_parts p = name_parse(whole);
	bool params = !f->glob || memchr(f->pattern.data, '(', f->pattern.len);
	bool args = params || memchr(f->pattern.data, '<', f->pattern.len);
	size_t ends[] = {params ? whole.len : 0, params ? p.params_end : 0, args ? p.args_end : 0, p.name_end};
	for (size_t i = 0, last = 0; i < 4; i++) {
		if (ends[i] == last || ends[i] == 0)
			continue;
		last = ends[i];
		if (finder_compare(f, (struct sv){whole.data, last}))
			return true;
	}
	return false;
}

static bool finder_matches(struct finder *f, struct sv name)
{
	uint32_t suffixes;
	struct sv base = name_base(name, &suffixes);
	if (suffixes & NAME_COLD)
		return f->glob && !memchr(f->pattern.data, '*', f->pattern.len) && glob_match(f->pattern, name);
	if (f->glob && (glob_match(f->pattern, name) || (base.len < name.len && glob_match(f->pattern, base))))
		return true;
	if (!demangle_is_mangled(base))
		return false;
	if (f->literal.len && !memmem(base.data, base.len, f->literal.data, f->literal.len))
		return false;
	sbuf_reset(&f->text);
	return demangle(base, &f->text) && finder_compare_forms(f, sbuf_sv(&f->text));
}

static int finder_run(struct finder *f, struct symbol_vec *out)
{
	size_t start = out->cnt;
	struct symtab *tab = f->tab;
	for (size_t i = 0; i < tab->cnt; i++) {
		const struct symbol *s = &tab->symbols[i];
		for (size_t n = 0; n < s->name_cnt; n++) {
			if (!finder_matches(f, symtab_name(tab, s, n)))
				continue;
			if (vec_push(out, s) < 0)
				return -ENOMEM;
			break;
		}
	}
	return f->text.failed ? -ENOMEM : (int)(out->cnt - start);
}

static void finder_release(struct finder *f)
{
	sbuf_release(&f->text);
}

int symtab_find(struct symtab *tab, struct sv pattern, struct symbol_vec *out)
{
	int r = symtab_find_raw(tab, pattern, out);
	if (r != 0)
		return r;
	__cleanup(sbuf_release) struct sbuf spaced = {0};
	add_spaced(&spaced, pattern);
	if (spaced.failed)
		return -ENOMEM;
	__cleanup(finder_release) struct finder f = {.tab = tab, .pattern = sbuf_sv(&spaced)};
	if (tab->has_mangled) {
		f.literal = pattern_literal(f.pattern, false);
		r = finder_run(&f, out);
	}
	if (r != 0 || !glob_is_pattern(f.pattern))
		return r;
	f.glob = true;
	f.literal = pattern_literal(f.pattern, true);
	return finder_run(&f, out);
}
