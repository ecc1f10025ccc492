/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/personality.h"

#include "base/cleanup.h"
#include "binary/imports.h"

#define PERSONALITY_NAME_MAX 256

static uint32_t personality_by_name(struct sv name)
{
	/* sj0, seh0 and the arm variants carry the same prefix as v0. */
	if (sv_starts(name, SV("__gxx_personality_")) || sv_starts(name, SV("__gxx_wasm_personality_")))
		return UNWIND_CXX;
	if (sv_starts(name, SV("__gcc_personality_")))
		return UNWIND_C_CLEANUP;
	/* Mangled since it is a lang item like any other in a statically linked std. */
	if (name.len && memmem(name.data, name.len, "rust_eh_personality", 19))
		return UNWIND_RUST;
	return name.len ? UNWIND_OTHER : UNWIND_NONE;
}

static struct sv dynamic_symbol_name(struct elf *elf, uint64_t index)
{
	__cleanup(elf_symbols_release) struct elf_symbols symbols;
	if (!elf_symbols(elf, SHT_DYNSYM, &symbols) || index == 0 || index >= symbols.cnt)
		return SV_NULL;
	return elf_string(symbols.strings, elf_symbols_at(&symbols, index).st_name, PERSONALITY_NAME_MAX);
}

/* An imported function whose address is taken without the GOT (non-PIE): its PLT entry is its address, and is written
 * into the undefined symbol. */
static struct sv imported_name_at(struct elf *elf, uint64_t vaddr)
{
	__cleanup(elf_symbols_release) struct elf_symbols symbols;
	if (!elf_symbols(elf, SHT_DYNSYM, &symbols))
		return SV_NULL;
	for (size_t i = 1; i < symbols.cnt; i++) {
		Elf64_Sym sym = elf_symbols_at(&symbols, i);
		if (sym.st_value == vaddr)
			return elf_string(symbols.strings, sym.st_name, PERSONALITY_NAME_MAX);
	}
	return SV_NULL;
}

static uint32_t personality_at(struct personality_cache *c, uint64_t vaddr)
{
	uint32_t found = personality_by_name(imported_name_at(c->elf, vaddr));
	const struct symbol *s = c->tab ? symtab_at(c->tab, vaddr) : NULL;
	for (size_t i = 0; !(found & ~(uint32_t)UNWIND_OTHER) && s && s->addr == vaddr && i < s->name_cnt; i++)
		found = personality_by_name(symtab_name(c->tab, s, i));
	return found;
}

/* The relocation of the word at `slot`. True when there is one that says what the word will hold: an address of
 * this module in `ret_vaddr`, or else a symbol's number in `ret_symbol`. */
static bool find_relocation(struct elf *elf, uint64_t slot, uint64_t *ret_vaddr, uint64_t *ret_symbol)
{
	__cleanup(freep) void *owned = NULL;
	uint64_t offset, len = elf->dynamic[DT_RELASZ];
	if (!elf->dynamic[DT_RELA] || !elf_vaddr_to_offset(elf, elf->dynamic[DT_RELA], &offset))
		return false;
	struct sv table = elf_bytes_owned(elf, offset, len, &owned);
	for (size_t i = 0; i + sizeof(Elf64_Rela) <= table.len; i += sizeof(Elf64_Rela)) {
		Elf64_Rela rela;
		memcpy(&rela, table.data + i, sizeof(rela));
		if (rela.r_offset != slot)
			continue;
		*ret_symbol = ELF64_R_SYM(rela.r_info);
		*ret_vaddr = (uint64_t)rela.r_addend; /* R_*_RELATIVE has no symbol */
		return true;
	}
	return false;
}

static uint32_t personality_in_slot(struct personality_cache *c, uint64_t slot)
{
	uint64_t vaddr = 0, symbol = 0;
	if (!find_relocation(c->elf, slot, &vaddr, &symbol)) {
		/* Not relocated (static), or by .relr.dyn, which leaves the address in the word. */
		struct sv word = elf_memory(c->elf, slot, sizeof(vaddr));
		if (word.data)
			memcpy(&vaddr, word.data, sizeof(vaddr));
	}
	if (symbol)
		return personality_by_name(dynamic_symbol_name(c->elf, symbol));
	return vaddr ? personality_at(c, vaddr) : UNWIND_NONE;
}

/* glibc links its own __gcc_personality_v0, a local symbol that hands on to libgcc_s (glibc's unwind-resume.c), into
 * these: without .symtab its name is gone. */
static bool module_is_glibc(const struct elf *elf)
{
	return sv_starts(elf->soname, SV("libc.so.6")) || sv_starts(elf->soname, SV("libpthread.so.0"));
}

static uint32_t personality_by_imports(struct elf *elf)
{
	static const char *const names[] = {"__gxx_personality_v0", "rust_eh_personality", "__gcc_personality_v0"};
	static const uint32_t bits[] = {UNWIND_CXX, UNWIND_RUST, UNWIND_C_CLEANUP};
	struct elf_imports imports;
	uint32_t found = UNWIND_NONE;
	if (elf_imports(elf, names, 3, &imports) == 0)
		for (size_t i = 0; i < 3; i++)
			if ((imports.imported | imports.defined) & 1ULL << i)
				found |= bits[i];
	if (!found && module_is_glibc(elf))
		found = UNWIND_C_CLEANUP;
	return found ? found : UNWIND_OTHER;
}

uint32_t personality_of(struct personality_cache *cache, uint64_t pointer, bool indirect)
{
	for (size_t i = 0; i < cache->cnt; i++)
		if (cache->known[i].pointer == pointer && cache->known[i].indirect == indirect)
			return cache->known[i].personality;
	if (cache->cnt >= PERSONALITY_MAX)
		return UNWIND_OTHER;
	uint32_t found = indirect ? personality_in_slot(cache, pointer) : personality_at(cache, pointer);
	if (found == UNWIND_NONE)
		found = personality_by_imports(cache->elf);
	cache->known[cache->cnt].pointer = pointer;
	cache->known[cache->cnt].indirect = indirect;
	cache->known[cache->cnt++].personality = found;
	return found;
}
