/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/imports.h"

#include <errno.h>

#include "base/cleanup.h"

#define IMPORT_NAME_MAX 4096
#define VERNEED_MAX	4096 /* libraries times versions walked; libstdc++ needs a dozen */

/* The part before a version: "swapcontext@GLIBC_2.2.5" of .symtab is swapcontext. */
static struct sv name_without_version(struct sv name)
{
	const char *at = name.len > 1 ? memchr(name.data + 1, '@', name.len - 1) : NULL;
	if (at)
		name.len = (size_t)(at - name.data);
	return name;
}

static bool elf_imports_scan(struct elf *elf, uint32_t type, const char *const *names, size_t cnt,
			     struct elf_imports *ret)
{
	__cleanup(elf_symbols_release) struct elf_symbols symbols;
	if (!elf_symbols(elf, type, &symbols))
		return false;
	bool first[256] = {false};
	for (size_t n = 0; n < cnt; n++)
		first[(unsigned char)names[n][0]] = true;
	for (size_t i = 1; i < symbols.cnt; i++) {
		Elf64_Sym sym = elf_symbols_at(&symbols, i);
		if (sym.st_name >= symbols.strings.len || !first[(unsigned char)symbols.strings.data[sym.st_name]])
			continue;
		struct sv name = name_without_version(elf_string(symbols.strings, sym.st_name, IMPORT_NAME_MAX));
		for (size_t n = 0; n < cnt; n++)
			if (name.len && sv_eq(name, sv_of(names[n])))
				*(sym.st_shndx == SHN_UNDEF ? &ret->imported : &ret->defined) |= 1ULL << n;
	}
	return true;
}

int elf_imports(struct elf *elf, const char *const *names, size_t cnt, struct elf_imports *ret)
{
	if (cnt > ELF_IMPORTS_MAX)
		return -EINVAL;
	*ret = (struct elf_imports){0};
	bool dynamic = elf_imports_scan(elf, SHT_DYNSYM, names, cnt, ret);
	bool full = elf_imports_scan(elf, SHT_SYMTAB, names, cnt, ret);
	/* A weak reference that nothing defines stays undefined in a static file too: there it imports nothing. */
	if (elf->is_static)
		ret->imported = 0;
	ret->complete = full || (dynamic && !elf->is_static);
	return 0;
}

/* vna_other of the version a symbol has -> the library that has to define it (gABI extension, "Version Needs"). */
static struct sv elf_version_library(struct elf *elf, unsigned version, struct sv strings)
{
	uint64_t at = elf->verneed;
	for (size_t left = VERNEED_MAX, i = 0; i < elf->verneed_cnt && left > 0; i++) {
		Elf64_Verneed need;
		struct sv bytes = elf_memory(elf, at, sizeof(need));
		if (!bytes.data)
			break;
		memcpy(&need, bytes.data, sizeof(need));
		uint64_t aux_at = at + need.vn_aux;
		for (size_t k = 0; k < need.vn_cnt && left > 0; k++, left--) {
			Elf64_Vernaux aux;
			bytes = elf_memory(elf, aux_at, sizeof(aux));
			if (!bytes.data)
				break;
			memcpy(&aux, bytes.data, sizeof(aux));
			if (aux.vna_other == version)
				return elf_string(strings, need.vn_file, IMPORT_NAME_MAX);
			aux_at += aux.vna_next;
		}
		at += need.vn_next;
		left -= left > 0;
	}
	return SV_NULL;
}

bool elf_imported(struct elf *elf, struct sv name, struct sv *ret_library)
{
	__cleanup(elf_symbols_release) struct elf_symbols symbols;
	*ret_library = SV_NULL;
	if (!elf_symbols(elf, SHT_DYNSYM, &symbols))
		return false;
	for (size_t i = 1; i < symbols.cnt; i++) {
		Elf64_Sym sym = elf_symbols_at(&symbols, i);
		if (sym.st_shndx != SHN_UNDEF ||
		    !sv_eq(elf_string(symbols.strings, sym.st_name, IMPORT_NAME_MAX), name))
			continue;
		Elf64_Half version = VER_NDX_GLOBAL;
		if (symbols.versions.data)
			memcpy(&version, symbols.versions.data + i * sizeof(version), sizeof(version));
		if ((version & 0x7fff) > VER_NDX_GLOBAL)
			*ret_library = elf_version_library(elf, version & 0x7fff, symbols.strings);
		return true;
	}
	return false;
}
