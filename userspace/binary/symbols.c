/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/symbols.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "binary/demangle.h"

/* One function symbol of one table, before merging. */
struct entry {
	uint64_t addr;
	uint64_t size;
	const char *name;
	uint32_t len;
	uint32_t flags; /* enum symbol_flags; the highest byte is the rank, the lowest best */
};
#define ENTRY_RANK_SHIFT 24
#define ENTRY_RANK(e)	 ((e)->flags >> ENTRY_RANK_SHIFT)
_Static_assert(SYMBOL_OVERLAPPED < 1 << ENTRY_RANK_SHIFT, "flags and rank share a word");

struct loader {
	struct symtab *tab;
	VEC(struct entry) entries;
};

static void loader_release(struct loader *l)
{
	vec_release(&l->entries);
}

/* What a person would call it comes first: a name of the source before a compiler's, global before local, without
 * leading underscores before with ("read" before "__libc_read"; the underscore of a mangled name is not counted). */
static uint32_t entry_rank(struct sv name, uint32_t flags)
{
	uint32_t suffixes, underscores = 0;
	name_base(name, &suffixes);
	if (!demangle_is_mangled(name))
		while (underscores < name.len && underscores < 7 && name.data[underscores] == '_')
			underscores++;
	return (suffixes & NAME_COLD ? 128 : 0) | (flags & SYMBOL_OLD_VERSION ? 64 : 0) |
	       (flags & SYMBOL_LOCAL ? 32 : 0) | (suffixes ? 16 : 0) | (flags & SYMBOL_NOTYPE ? 8 : 0) | underscores;
}

/* Is it a function's? `ret_flags` is what the entry alone says. */
static bool sym_is_function(const Elf64_Sym *sym, uint32_t *ret_flags)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info), bind = ELF64_ST_BIND(sym->st_info);
	if (sym->st_shndx == SHN_UNDEF || sym->st_shndx == SHN_ABS || sym->st_shndx == SHN_COMMON)
		return false;
	*ret_flags = bind == STB_LOCAL ? SYMBOL_LOCAL : 0;
	switch (type) {
	case STT_GNU_IFUNC:
		*ret_flags |= SYMBOL_IFUNC;
		return true;
	case STT_FUNC:
		return true;
	case STT_NOTYPE: /* local ones are labels inside functions, and $x $d of arm64 */
		*ret_flags |= SYMBOL_NOTYPE;
		return bind != STB_LOCAL;
	default:
		return false;
	}
}

static uint32_t entry_take_version(struct sv *name, const struct elf_symbols *symbols, size_t i)
{
	Elf64_Half version = 0;
	if (symbols->versions.data)
		memcpy(&version, symbols->versions.data + i * sizeof(version), sizeof(version));
	const char *at = name->len > 1 ? memchr(name->data + 1, '@', name->len - 1) : NULL;
	if (at) {
		bool old = at + 1 < name->data + name->len && at[1] != '@';
		name->len = (size_t)(at - name->data);
		return old ? SYMBOL_OLD_VERSION : 0;
	}
	return version & 0x8000 ? SYMBOL_OLD_VERSION : 0; /* VERSYM_HIDDEN */
}

static int loader_add(struct loader *l, struct elf *from, uint32_t type, uint32_t flags_all)
{
	struct symtab *tab = l->tab;
	__cleanup(elf_symbols_release) struct elf_symbols symbols;
	if (!elf_symbols(from, type, &symbols))
		return 0;
	const struct elf_range *range = NULL;
	for (size_t i = 1; i < symbols.cnt; i++) {
		Elf64_Sym sym = elf_symbols_at(&symbols, i);
		uint32_t flags;
		if (!sym_is_function(&sym, &flags))
			continue;
		if (!range || sym.st_value < range->start || sym.st_value >= range->end)
			range = elf_range_at(tab->elf, sym.st_value);
		if (!range || range->is_plt) {
			*(range ? &tab->skipped.plt : &tab->skipped.outside) += !(flags & SYMBOL_NOTYPE);
			continue;
		}
		struct sv name = elf_string(symbols.strings, sym.st_name, SYMTAB_NAME_MAX);
		if (!name.len) {
			tab->skipped.bad_name++;
			continue;
		}
		if (l->entries.cnt >= SYMTAB_ENTRY_MAX) {
			tab->skipped.limit++;
			continue;
		}
		flags |= flags_all | entry_take_version(&name, &symbols, i);
		flags |= entry_rank(name, flags) << ENTRY_RANK_SHIFT;
		struct entry e = {sym.st_value, sym.st_size, name.data, (uint32_t)name.len, flags};
		if (vec_push(&l->entries, e) < 0)
			return -ENOMEM;
	}
	return 1;
}

/* By address, then the preferred name first; the same name of two tables side by side. */
static int entry_compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	if (ENTRY_RANK(x) != ENTRY_RANK(y))
		return ENTRY_RANK(x) < ENTRY_RANK(y) ? -1 : 1;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->name, y->name, x->len);
}

/* All entries of one address, [e, end), become one symbol. */
static void symtab_merge(struct symtab *tab, const struct entry *e, const struct entry *end)
{
	struct symbol *s = &tab->symbols[tab->cnt];
	uint32_t suffixes, flags = SYMBOL_LOCAL | SYMBOL_NOTYPE;
	*s = (struct symbol){.addr = e->addr, .name = {e->name, e->len}, .first_name = (uint32_t)tab->name_cnt};
	if (!elf_vaddr_to_offset(tab->elf, s->addr, &s->offset)) {
		tab->skipped.outside++;
		return;
	}
	s->base_len = (uint32_t)name_base(s->name, &suffixes).len;
	flags |= suffixes;
	bool old = false, current = false;
	for (const struct entry *it = e; it < end; it++) {
		struct sv name = {it->name, it->len};
		flags |= it->flags & (SYMBOL_IFUNC | SYMBOL_EXPORTED);
		flags &= it->flags | ~(uint32_t)(SYMBOL_LOCAL | SYMBOL_NOTYPE);
		old |= it->flags & SYMBOL_OLD_VERSION;
		current |= !(it->flags & (SYMBOL_OLD_VERSION | SYMBOL_LOCAL));
		if (it->size > s->size)
			s->size = it->size;
		tab->has_mangled |= demangle_is_mangled(name);
		if (it > e && it[-1].len == it->len && memcmp(it[-1].name, it->name, it->len) == 0)
			continue;
		tab->names[tab->name_cnt++] = (struct symtab_name){it->name, it->len, (uint32_t)tab->cnt};
		s->name_cnt++;
	}
	s->flags = flags | (old && !current ? SYMBOL_OLD_VERSION : 0);
	tab->cnt++;
}

static void symtab_fix_sizes(struct symtab *tab)
{
	for (size_t i = 0; i < tab->cnt; i++) {
		struct symbol *s = &tab->symbols[i];
		const struct elf_range *range = elf_range_at(tab->elf, s->addr);
		uint64_t end = range ? range->end : s->addr;
		if (s->size > end - s->addr)
			s->size = end - s->addr;
		if (i + 1 < tab->cnt && tab->symbols[i + 1].addr < end)
			end = tab->symbols[i + 1].addr;
		if (s->size > end - s->addr)
			s->flags |= SYMBOL_OVERLAPPED;
		if (s->size == 0) {
			s->size = end - s->addr;
			s->flags |= SYMBOL_SIZE_GUESSED;
		}
	}
}

static void *shrink(void *p, size_t cnt, size_t sz)
{
	void *shrunk = realloc(p, cnt ? cnt * sz : 1);
	return shrunk ? shrunk : p;
}

static int symtab_build(struct symtab *tab, struct loader *l)
{
	size_t cnt = l->entries.cnt, addresses = 0;
	struct entry *e = l->entries.data;
	bool sorted = true;
	for (size_t i = 1; i < cnt && sorted; i++)
		sorted = entry_compare(&e[i - 1], &e[i]) <= 0;
	if (!sorted)
		qsort(e, cnt, sizeof(*e), entry_compare);
	for (size_t i = 0; i < cnt; i++)
		addresses += i == 0 || e[i].addr != e[i - 1].addr;
	tab->symbols = calloc(addresses + 1, sizeof(*tab->symbols));
	tab->names = calloc(cnt + 1, sizeof(*tab->names));
	if (!tab->symbols || !tab->names)
		return -ENOMEM;
	for (size_t i = 0, next; i < cnt; i = next) {
		for (next = i + 1; next < cnt && e[next].addr == e[i].addr;)
			next++;
		symtab_merge(tab, &e[i], &e[next]);
	}
	tab->names = shrink(tab->names, tab->name_cnt, sizeof(*tab->names));
	symtab_fix_sizes(tab);
	return 0;
}

static int symtab_add_stripped(struct symtab *tab, struct loader *l, const struct symtab_options *opts,
			       struct sbuf *err)
{
	int r = 0;
	if (opts && opts->root_fd >= 0 &&
	    debugfile_open_separate(&tab->debug, tab->elf, opts->root_fd, opts->path) == 0)
		r = loader_add(l, tab->debug, SHT_SYMTAB, 0);
	if (r > 0)
		tab->sources |= SYMTAB_FROM_DEBUG_FILE;
	if (r != 0)
		return r;
	r = debugfile_open_mini(&tab->mini, tab->elf, err);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	r = loader_add(l, tab->mini, SHT_SYMTAB, 0);
	if (r > 0)
		tab->sources |= SYMTAB_FROM_MINIDEBUG;
	return r;
}

int symtab_open(struct symtab **ret, struct elf *elf, const struct symtab_options *opts, struct sbuf *err)
{
	__cleanup(symtab_closep) struct symtab *tab = calloc(1, sizeof(*tab));
	if (!tab)
		return -ENOMEM;
	tab->elf = elf;
	__cleanup(loader_release) struct loader l = {.tab = tab};
	int r = loader_add(&l, elf, SHT_SYMTAB, 0);
	if (r > 0)
		tab->sources |= SYMTAB_FROM_SYMTAB;
	else if (r == 0)
		r = symtab_add_stripped(tab, &l, opts, err);
	if (r < 0)
		return r;
	r = loader_add(&l, elf, SHT_DYNSYM, SYMBOL_EXPORTED);
	if (r > 0)
		tab->sources |= SYMTAB_FROM_DYNSYM;
	if (r >= 0)
		r = symtab_build(tab, &l);
	if (r == 0)
		*ret = move_ptr(tab);
	return r;
}

void symtab_close(struct symtab *tab)
{
	if (!tab)
		return;
	elf_close(tab->debug);
	elf_close(tab->mini);
	arena_release(&tab->texts);
	free(tab->symbols);
	free(tab->names);
	free(tab->index);
	free(tab);
}

struct sv symtab_display(struct symtab *tab, const struct symbol *s)
{
	struct sv base = symbol_base(s);
	struct symbol *own = &tab->symbols[s - tab->symbols];
	if (!own->demangled && demangle_is_mangled(base)) {
		__cleanup(sbuf_release) struct sbuf text = {0};
		if (demangle(base, &text))
			own->demangled = arena_dup(&tab->texts, sbuf_sv(&text)).data;
	}
	return own->demangled ? sv_of(own->demangled) : base;
}

const char *symbol_why_not(const struct symbol *s)
{
	if (s->flags & NAME_COLD)
		return "is the cold piece of a function, reached by a jump, not a function";
	if (s->flags & SYMBOL_IFUNC)
		return "is an indirect function (IFUNC): the code there only chooses an implementation at load time";
	return NULL;
}

const struct symbol *symtab_at(const struct symtab *tab, uint64_t vaddr)
{
	size_t lo = 0, hi = tab->cnt;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (tab->symbols[mid].addr <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	const struct symbol *s = lo ? &tab->symbols[lo - 1] : NULL;
	return s && vaddr - s->addr < s->size ? s : NULL;
}
