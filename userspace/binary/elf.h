/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_ELF_H
#define BINARY_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/sbuf.h"
#include "base/sv.h"

/* A 64-bit little-endian ELF executable or shared library, read for its facts.
 *
 * The file belongs to somebody else and may be truncated or rewritten while it is looked at, so it is never
 * mapped (a truncated mapping is a SIGBUS): pieces are read with pread() when they are first asked for, and kept until
 * elf_close(). Every slice returned points into such a piece and lives as long as the elf, unless a function
 * says otherwise. What the file claims is checked against its size before anything is allocated.
 * Not for use by two threads at once. */

#define ELF_SEGMENT_MAX 512   /* program headers; ld writes about a dozen */
#define ELF_SECTION_MAX 65536 /* section headers; linked files have dozens */
#define ELF_NEEDED_MAX	1024  /* DT_NEEDED entries kept */
#define ELF_DYNAMIC_MAX 4096  /* dynamic entries looked at */
/* Bytes of one file held at once. The largest single piece known is Chromium's .strtab, about 200 MB. */
#define ELF_HELD_MAX (1ULL << 30)

enum elf_language { ELF_LANGUAGE_C, ELF_LANGUAGE_CXX, ELF_LANGUAGE_RUST, ELF_LANGUAGE_GO };

/* A PT_LOAD. Addresses are ELF virtual addresses everywhere in binary/: what the file says, before relocation. */
struct elf_segment {
	uint64_t vaddr;
	uint64_t offset;
	uint64_t file_sz; /* cut to what the file holds */
	uint64_t mem_sz;
	bool executable;
};

struct elf_section {
	struct sv name;
	uint64_t vaddr;
	uint64_t offset;
	uint64_t size;
	uint64_t flags;
	uint32_t type;
	uint32_t link;
	uint32_t info;
};

/* [start, end) of code. Sections where there are any, else executable segments. */
struct elf_range {
	uint64_t start;
	uint64_t end;
	bool is_plt;
};

struct elf_block;
struct elf {
	uint16_t machine; /* EM_X86_64, EM_AARCH64, ... */
	uint16_t type;	  /* ET_EXEC or ET_DYN */
	uint64_t entry;
	uint64_t file_sz;
	bool is_static; /* an executable that needs no loader and no library */
	bool is_pie;	/* ET_DYN and an executable; libraries are neither static nor pie */
	struct sv soname;
	struct sv interpreter;
	struct sv *needed;
	size_t needed_cnt;
	char build_id[2 * 64 + 1]; /* lower-case hex, "" when there is none */

	struct elf_segment *segments;
	size_t segment_cnt;
	struct elf_section *sections;
	size_t section_cnt;
	struct elf_range *ranges; /* by start */
	size_t range_cnt;
	uint64_t eh_frame_hdr; /* PT_GNU_EH_FRAME's address, 0 when there is none */
	uint64_t dynamic[32];  /* by tag DT_NULL .. DT_PREINIT_ARRAY; 0 when absent */
	uint64_t gnu_hash, relr, relr_sz, verneed, verneed_cnt, versym;

	/* private */
	int fd; /* -1: memory */
	const char *memory;
	void *owned; /* freed with the elf */
	struct elf_block *blocks;
	uint64_t held_sz;
	int language; /* enum elf_language, -1: not asked yet */
};

/* `fd` stays the caller's: a duplicate is kept. -ENOEXEC: not an ELF file, or a broken one; -ENOTSUP: an ELF file, but
 * of 32 bit, big endian, or neither executable nor library; other -errno from reading. `err` gets the reason as the end
 * of a sentence ("is a 32-bit program") and may be NULL. */
int elf_open(struct elf **ret, int fd, struct sbuf *err);
/* Borrows `data` until elf_close(). */
int elf_open_memory(struct elf **ret, const void *data, size_t len, struct sbuf *err);
/* NULL is fine. */
void elf_close(struct elf *elf);

/* All of [offset, offset + len) of the file, or SV_NULL. */
struct sv elf_bytes(struct elf *elf, uint64_t offset, uint64_t len);
/* The same, not kept: what is large and needed once. The caller frees `*ret_owned`, which may be NULL. */
struct sv elf_bytes_owned(struct elf *elf, uint64_t offset, uint64_t len, void **ret_owned);
/* The first section of that name, or NULL. */
const struct elf_section *elf_section(const struct elf *elf, const char *name);
/* Its content, or SV_NULL: absent (section may be NULL), without content in the file, compressed, or damaged. */
struct sv elf_section_bytes(struct elf *elf, const struct elf_section *section);
/* The same, not kept: see elf_bytes_owned(). */
struct sv elf_section_bytes_owned(struct elf *elf, const struct elf_section *section, void **ret_owned);
/* Exactly `len` bytes that the file puts at an address, or SV_NULL. */
struct sv elf_memory(struct elf *elf, uint64_t vaddr, uint64_t len);
/* The code at an address: `len` bytes, fewer where the code range ends earlier; SV_NULL when it is not code. */
struct sv elf_code(struct elf *elf, uint64_t vaddr, size_t len);
/* The range of code an address is in, or NULL. */
const struct elf_range *elf_range_at(const struct elf *elf, uint64_t vaddr);

/* False when the file holds no byte for it (bss, beyond the segments). Where two segments show the same bytes of the
 * file, the address in the executable one is given. */
bool elf_vaddr_to_offset(const struct elf *elf, uint64_t vaddr, uint64_t *ret_offset);
bool elf_offset_to_vaddr(const struct elf *elf, uint64_t offset, uint64_t *ret_vaddr);

/* A guess for choosing defaults: Go by its build notes, Rust by .comment or mangling, C++ by its runtime library or
 * mangling, else C. Looks at symbol names on the first call. */
enum elf_language elf_language(struct elf *elf);

/* One symbol table; its strings live as long as the elf, the table itself until elf_symbols_release(). */
struct elf_symbols {
	struct sv table;
	struct sv strings;
	struct sv versions; /* one Elf64_Half each, or SV_NULL */
	size_t cnt;
	void *owned;
};
/* SHT_SYMTAB, or SHT_DYNSYM (which is also found without section headers). False when there is none; then, too, it may
 * be released. */
bool elf_symbols(struct elf *elf, uint32_t type, struct elf_symbols *ret);
/* The NUL-terminated string at `offset` of a string table, at most `max` long; SV_NULL when there is none such. */
struct sv elf_string(struct sv table, uint64_t offset, size_t max);

static inline Elf64_Sym elf_symbols_at(const struct elf_symbols *symbols, size_t i)
{
	Elf64_Sym sym; /* the table of a file in memory need not be aligned */
	memcpy(&sym, symbols->table.data + i * sizeof(sym), sizeof(sym));
	return sym;
}

static inline void elf_symbols_release(struct elf_symbols *symbols)
{
	free(symbols->owned);
	*symbols = (struct elf_symbols){0};
}

static inline void elf_closep(struct elf **elf)
{
	elf_close(*elf);
	*elf = NULL;
}

#endif
