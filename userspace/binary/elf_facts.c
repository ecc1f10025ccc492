/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/elf_facts.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define ELF_NAME_MAX  4096
#define ELF_CHAIN_MAX 4096 /* symbols in one hash chain; linkers aim at one to three */

static const struct elf_section *elf_section_of_type(const struct elf *elf, uint32_t type)
{
	for (size_t i = 0; i < elf->section_cnt; i++)
		if (elf->sections[i].type == type)
			return &elf->sections[i];
	return NULL;
}

static struct sv elf_dynamic_strings(struct elf *elf)
{
	return elf_memory(elf, elf->dynamic[DT_STRTAB], elf->dynamic[DT_STRSZ]);
}

static void elf_keep_dynamic(struct elf *elf, const Elf64_Dyn *d, uint64_t *ret_soname, uint64_t *ret_flags_1)
{
	uint64_t value = d->d_un.d_val;
	switch (d->d_tag) {
	case DT_SONAME:
		*ret_soname = value;
		break;
	case DT_FLAGS_1:
		*ret_flags_1 = value;
		break;
	case DT_GNU_HASH:
		elf->gnu_hash = value;
		break;
	case DT_RELR:
		elf->relr = value;
		break;
	case DT_RELRSZ:
		elf->relr_sz = value;
		break;
	case DT_VERNEED:
		elf->verneed = value;
		break;
	case DT_VERNEEDNUM:
		elf->verneed_cnt = value;
		break;
	case DT_VERSYM:
		elf->versym = value;
		break;
	default:
		if (d->d_tag > DT_NULL && (size_t)d->d_tag < sizeof(elf->dynamic) / sizeof(elf->dynamic[0]))
			elf->dynamic[d->d_tag] = value;
	}
}

static struct sv elf_dynamic_section(struct elf *elf)
{
	const struct elf_section *section = elf_section_of_type(elf, SHT_DYNAMIC);
	if (section)
		return elf_section_bytes(elf, section);
	struct sv head = elf_bytes(elf, 0, sizeof(Elf64_Ehdr));
	Elf64_Ehdr h;
	memcpy(&h, head.data, sizeof(h));
	for (size_t i = 0; i < h.e_phnum; i++) {
		struct sv at = elf_bytes(elf, h.e_phoff + i * sizeof(Elf64_Phdr), sizeof(Elf64_Phdr));
		Elf64_Phdr p;
		if (!at.data)
			break;
		memcpy(&p, at.data, sizeof(p));
		if (p.p_type == PT_DYNAMIC)
			return elf_bytes(elf, p.p_offset, p.p_filesz);
	}
	return SV_NULL;
}

static int elf_read_dynamic(struct elf *elf, uint64_t *ret_flags_1)
{
	struct sv table = elf_dynamic_section(elf);
	size_t cnt = table.len / sizeof(Elf64_Dyn), needed_cnt = 0;
	uint64_t soname = 0;
	if (cnt > ELF_DYNAMIC_MAX)
		cnt = ELF_DYNAMIC_MAX;
	for (size_t i = 0; i < cnt; i++) {
		Elf64_Dyn d;
		memcpy(&d, table.data + i * sizeof(d), sizeof(d));
		if (d.d_tag == DT_NULL)
			cnt = i;
		else if (d.d_tag == DT_NEEDED)
			needed_cnt++;
		else
			elf_keep_dynamic(elf, &d, &soname, ret_flags_1);
	}
	struct sv strings = elf_dynamic_strings(elf);
	if (soname)
		elf->soname = elf_string(strings, soname, ELF_NAME_MAX);
	if (needed_cnt > ELF_NEEDED_MAX)
		needed_cnt = ELF_NEEDED_MAX;
	if (needed_cnt == 0)
		return 0;
	elf->needed = calloc(needed_cnt, sizeof(*elf->needed));
	if (!elf->needed)
		return -ENOMEM;
	for (size_t i = 0; i < cnt && elf->needed_cnt < needed_cnt; i++) {
		Elf64_Dyn d;
		memcpy(&d, table.data + i * sizeof(d), sizeof(d));
		if (d.d_tag == DT_NEEDED)
			elf->needed[elf->needed_cnt++] = elf_string(strings, d.d_un.d_val, ELF_NAME_MAX);
	}
	return 0;
}

/* The descriptor of the first note of that owner and type, or SV_NULL. */
static struct sv elf_note(struct sv notes, struct sv owner, uint32_t type)
{
	while (notes.len >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		memcpy(&n, notes.data, sizeof(n));
		uint64_t name = sizeof(n), desc = name + (((uint64_t)n.n_namesz + 3) & ~3ULL),
			 next = desc + (((uint64_t)n.n_descsz + 3) & ~3ULL);
		if (desc + n.n_descsz > notes.len)
			break;
		struct sv found = {notes.data + name, n.n_namesz};
		if (n.n_type == type && sv_eq(found, owner))
			return (struct sv){notes.data + desc, n.n_descsz};
		if (next > notes.len)
			break;
		notes.data += next;
		notes.len -= next;
	}
	return SV_NULL;
}

static void elf_read_build_id(struct elf *elf)
{
	static const char digits[] = "0123456789abcdef";
	struct sv owner = {"GNU", 4}, id = SV_NULL;
	for (size_t i = 0; i < elf->section_cnt && !id.data; i++)
		if (elf->sections[i].type == SHT_NOTE)
			id = elf_note(elf_section_bytes(elf, &elf->sections[i]), owner, NT_GNU_BUILD_ID);
	struct sv head = elf_bytes(elf, 0, sizeof(Elf64_Ehdr));
	Elf64_Ehdr h;
	memcpy(&h, head.data, sizeof(h));
	for (size_t i = 0; elf->section_cnt == 0 && i < h.e_phnum && !id.data; i++) {
		struct sv at = elf_bytes(elf, h.e_phoff + i * sizeof(Elf64_Phdr), sizeof(Elf64_Phdr));
		Elf64_Phdr p = {0};
		if (at.data)
			memcpy(&p, at.data, sizeof(p));
		if (p.p_type == PT_NOTE)
			id = elf_note(elf_bytes(elf, p.p_offset, p.p_filesz), owner, NT_GNU_BUILD_ID);
	}
	if (id.len > (sizeof(elf->build_id) - 1) / 2)
		return;
	for (size_t i = 0; i < id.len; i++) {
		elf->build_id[2 * i] = digits[(unsigned char)id.data[i] >> 4];
		elf->build_id[2 * i + 1] = digits[(unsigned char)id.data[i] & 15];
	}
}

int elf_facts_read(struct elf *elf)
{
	uint64_t flags_1 = 0;
	int r = elf_read_dynamic(elf, &flags_1);
	if (r < 0)
		return r;
	elf_read_build_id(elf);
	/* Linkers before DF_1_PIE (binutils 2.26) leave only the interpreter to tell a PIE from a library; a
	 * library that can also be run (libc.so.6) has both an interpreter and a soname. */
	elf->is_pie = elf->type == ET_DYN && ((flags_1 & DF_1_PIE) || (elf->interpreter.len && !elf->soname.len));
	elf->is_static = !elf->interpreter.len && elf->needed_cnt == 0 && (elf->type == ET_EXEC || elf->is_pie);
	return 0;
}

/* The number of dynamic symbols is nowhere but in the hash tables, when there are no section headers. */
static uint64_t elf_count_gnu_hash(struct elf *elf)
{
	uint32_t head[4]; /* buckets, first symbol, bloom words, bloom shift */
	struct sv at = elf_memory(elf, elf->gnu_hash, sizeof(head));
	if (!at.data)
		return 0;
	memcpy(head, at.data, sizeof(head));
	uint64_t buckets = elf->gnu_hash + sizeof(head) + 8ULL * head[2], last = 0;
	struct sv table = elf_memory(elf, buckets, 4ULL * head[0]);
	for (size_t i = 0; i + 4 <= table.len; i += 4) {
		uint32_t first;
		memcpy(&first, table.data + i, sizeof(first));
		if (first > last)
			last = first;
	}
	if (last < head[1])
		return head[1];
	/* The last bucket's chain ends at a set low bit. */
	uint64_t chain = buckets + 4ULL * head[0] + 4 * (last - head[1]);
	for (size_t i = 0; i < ELF_CHAIN_MAX; i++, chain += 4, last++) {
		uint32_t hash;
		at = elf_memory(elf, chain, sizeof(hash));
		if (!at.data)
			break;
		memcpy(&hash, at.data, sizeof(hash));
		if (hash & 1)
			return last + 1;
	}
	return 0;
}

static bool elf_dynamic_symbols(struct elf *elf, struct elf_symbols *ret)
{
	uint64_t cnt = 0;
	uint32_t head[2]; /* of DT_HASH: buckets, chains; a chain entry for every symbol */
	struct sv at = elf->dynamic[DT_HASH] ? elf_memory(elf, elf->dynamic[DT_HASH], sizeof(head)) : SV_NULL;
	if (at.data) {
		memcpy(head, at.data, sizeof(head));
		cnt = head[1];
	} else if (elf->gnu_hash) {
		cnt = elf_count_gnu_hash(elf);
	}
	ret->table = elf_memory(elf, elf->dynamic[DT_SYMTAB], cnt * sizeof(Elf64_Sym));
	ret->strings = elf_dynamic_strings(elf);
	ret->versions = elf->versym ? elf_memory(elf, elf->versym, cnt * sizeof(Elf64_Half)) : SV_NULL;
	ret->cnt = ret->table.len / sizeof(Elf64_Sym);
	return ret->cnt > 0;
}

bool elf_symbols(struct elf *elf, uint32_t type, struct elf_symbols *ret)
{
	*ret = (struct elf_symbols){0};
	const struct elf_section *s = elf_section_of_type(elf, type);
	if (!s)
		return type == SHT_DYNSYM && elf->dynamic[DT_SYMTAB] && elf_dynamic_symbols(elf, ret);
	if (s->link >= elf->section_cnt || elf->sections[s->link].type != SHT_STRTAB)
		return false;
	ret->table = elf_bytes_owned(elf, s->offset, s->size, &ret->owned);
	ret->strings = elf_section_bytes(elf, &elf->sections[s->link]);
	ret->cnt = ret->table.len / sizeof(Elf64_Sym);
	const struct elf_section *versions = elf_section_of_type(elf, SHT_GNU_versym);
	if (type == SHT_DYNSYM && versions && versions->size >= ret->cnt * sizeof(Elf64_Half))
		ret->versions = elf_section_bytes(elf, versions);
	return ret->cnt > 0 && ret->strings.data;
}

/* _ZN...17h<16 hex digits>E and _R...: Rust's two manglings. */
static bool name_is_rust(struct sv name)
{
	if (sv_starts(name, SV("_RNv")) || sv_starts(name, SV("_RIN")) || sv_eq(name, SV("rust_eh_personality")))
		return true;
	if (name.len < 24 || !sv_starts(name, SV("_ZN")))
		return false;
	const char *hash = name.data + name.len - 20;
	if (memcmp(hash, "17h", 3) != 0 || name.data[name.len - 1] != 'E')
		return false;
	for (size_t i = 3; i < 19; i++)
		if (!strchr("0123456789abcdef", hash[i]))
			return false;
	return true;
}

static bool elf_names_any(struct elf *elf, bool (*is)(struct sv name))
{
	static const uint32_t types[] = {SHT_DYNSYM, SHT_SYMTAB};
	for (size_t t = 0; t < 2; t++) {
		__cleanup(elf_symbols_release) struct elf_symbols symbols;
		if (!elf_symbols(elf, types[t], &symbols))
			continue;
		for (size_t i = 0; i < symbols.cnt; i++)
			if (is(elf_string(symbols.strings, elf_symbols_at(&symbols, i).st_name, ELF_NAME_MAX)))
				return true;
	}
	return false;
}

static bool name_is_cxx(struct sv name)
{
	return sv_starts(name, SV("_Z")) || sv_starts(name, SV("__gxx_personality"));
}

enum elf_language elf_language(struct elf *elf)
{
	if (elf->language >= 0)
		return (enum elf_language)elf->language;
	struct sv comment = elf_section_bytes(elf, elf_section(elf, ".comment"));
	if (elf_section(elf, ".note.go.buildid") || elf_section(elf, ".go.buildinfo") || elf_section(elf, ".gopclntab"))
		return (enum elf_language)(elf->language = ELF_LANGUAGE_GO);
	if ((comment.data && memmem(comment.data, comment.len, "rustc version", 13)) ||
	    elf_names_any(elf, name_is_rust))
		return (enum elf_language)(elf->language = ELF_LANGUAGE_RUST);
	for (size_t i = 0; i < elf->needed_cnt; i++)
		if (sv_starts(elf->needed[i], SV("libstdc++.so")) || sv_starts(elf->needed[i], SV("libc++.so")))
			return (enum elf_language)(elf->language = ELF_LANGUAGE_CXX);
	elf->language = elf_names_any(elf, name_is_cxx) ? ELF_LANGUAGE_CXX : ELF_LANGUAGE_C;
	return (enum elf_language)elf->language;
}
