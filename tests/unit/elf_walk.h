/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_ELF_WALK_H
#define TEST_ELF_WALK_H

/* The least of an ELF reader that tests of machine code need, independent of the product's: the executable sections,
 * .rodata, and every function of the file from .eh_frame (which stripped programs keep) and the symbol tables. */
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/vec.h"
#include "binary/decode.h"

struct walk_func {
	uint64_t addr;
	uint64_t sz;
	const char *name; /* NULL when only .eh_frame knows it */
	bool lsda;	  /* has exception tables */
};

struct elf_walk {
	const uint8_t *map;
	size_t sz;
	struct code_window text;
	struct code_window data[8]; /* read-only and relocated-once data */
	size_t data_cnt;
	VEC(struct walk_func) funcs; /* sorted by address, one per address, inside .text */
};

static const char *walk_section_name(const struct elf_walk *w, const Elf64_Ehdr *eh, const Elf64_Shdr *sh)
{
	const Elf64_Shdr *all = (const void *)(w->map + eh->e_shoff);
	return (const char *)w->map + all[eh->e_shstrndx].sh_offset + sh->sh_name;
}

static void walk_add(struct elf_walk *w, uint64_t addr, uint64_t sz, const char *name, bool lsda)
{
	if (sz == 0 || addr < w->text.addr || addr + sz > w->text.addr + w->text.sz)
		return;
	struct walk_func f = {addr, sz, name, lsda};
	if (vec_push(&w->funcs, f))
		abort();
}

static uint64_t walk_uleb(const uint8_t **p)
{
	uint64_t v = 0;
	for (unsigned shift = 0;; shift += 7) {
		uint8_t b = *(*p)++;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
}

/* FDEs with pc-relative 4-byte addresses, which is what every x86-64 linker writes. */
static void walk_eh_frame(struct elf_walk *w, const Elf64_Shdr *sh)
{
	const uint8_t *base = w->map + sh->sh_offset, *end = base + sh->sh_size;
	for (const uint8_t *p = base; p + 8 <= end;) {
		uint32_t len = *(const uint32_t *)p, id = *(const uint32_t *)(p + 4);
		if (len == 0)
			break;
		if (id != 0) {
			const uint8_t *cie = p + 4 - id;
			const char *aug = (const char *)cie + 9;
			uint64_t at = sh->sh_addr + (uint64_t)(p + 8 - base);
			uint64_t start = at + (uint64_t)(int64_t) * (const int32_t *)(p + 8);
			uint32_t sz = *(const uint32_t *)(p + 12);
			bool lsda = false;
			if (aug[0] == 'z' && strchr(aug, 'L')) {
				const uint8_t *q = p + 16;
				uint64_t auglen = walk_uleb(&q);
				int32_t table = 0;
				if (auglen >= 4)
					memcpy(&table, q, 4);
				lsda = table != 0;
			}
			walk_add(w, start, sz, NULL, lsda);
		}
		p += len + 4;
	}
}

static int walk_cmp(const void *a, const void *b)
{
	const struct walk_func *x = a, *y = b;
	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	if (!x->name != !y->name)
		return x->name ? 1 : -1;
	return 0;
}

static void walk_symbols(struct elf_walk *w, const Elf64_Ehdr *eh, const Elf64_Shdr *sh)
{
	const Elf64_Shdr *all = (const void *)(w->map + eh->e_shoff);
	const Elf64_Sym *sym = (const void *)(w->map + sh->sh_offset);
	const char *names = (const char *)w->map + all[sh->sh_link].sh_offset;
	for (size_t i = 0; i < sh->sh_size / sizeof(*sym); i++)
		if (ELF64_ST_TYPE(sym[i].st_info) == STT_FUNC && sym[i].st_shndx != SHN_UNDEF)
			walk_add(w, sym[i].st_value, sym[i].st_size, names + sym[i].st_name, false);
}

static void walk_dedup(struct elf_walk *w)
{
	qsort(w->funcs.data, w->funcs.cnt, sizeof(w->funcs.data[0]), walk_cmp);
	size_t n = 0;
	for (size_t i = 0; i < w->funcs.cnt; i++) {
		struct walk_func *f = &w->funcs.data[i];
		if (n > 0 && w->funcs.data[n - 1].addr == f->addr) {
			if (!w->funcs.data[n - 1].name)
				w->funcs.data[n - 1].name = f->name;
			w->funcs.data[n - 1].lsda |= f->lsda;
		} else {
			w->funcs.data[n++] = *f;
		}
	}
	w->funcs.cnt = n;
}

/* 0, or -1 when there is no such file here. */
static int elf_walk_open(struct elf_walk *w, const char *path)
{
	*w = (struct elf_walk){0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || st.st_size < (off_t)sizeof(Elf64_Ehdr)) {
		close(fd);
		return -1;
	}
	w->sz = (size_t)st.st_size;
	w->map = mmap(NULL, w->sz, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (w->map == MAP_FAILED)
		return -1;
	const Elf64_Ehdr *eh = (const void *)w->map;
	const Elf64_Shdr *sh = (const void *)(w->map + eh->e_shoff);
	for (int i = 0; i < eh->e_shnum; i++) {
		const char *name = walk_section_name(w, eh, &sh[i]);
		struct code_window win = {w->map + sh[i].sh_offset, sh[i].sh_size, sh[i].sh_addr, DECODE_X86_64};
		if (strcmp(name, ".text") == 0)
			w->text = win;
		else if ((sh[i].sh_flags & SHF_ALLOC) && sh[i].sh_type == SHT_PROGBITS &&
			 strncmp(name, ".rodata", 7) == 0 && w->data_cnt < 8)
			w->data[w->data_cnt++] = win;
	}
	for (int i = 0; i < eh->e_shnum; i++) {
		if (strcmp(walk_section_name(w, eh, &sh[i]), ".eh_frame") == 0)
			walk_eh_frame(w, &sh[i]);
		else if (sh[i].sh_type == SHT_SYMTAB || sh[i].sh_type == SHT_DYNSYM)
			walk_symbols(w, eh, &sh[i]);
	}
	walk_dedup(w);
	return 0;
}

static void elf_walk_close(struct elf_walk *w)
{
	if (w->map && w->map != MAP_FAILED)
		munmap((void *)(uintptr_t)w->map, w->sz);
	vec_release(&w->funcs);
	*w = (struct elf_walk){0};
}

/* What the machine-code tests run over; those that are not installed are left out. */
__attribute__((unused)) static const char *const walk_files[] = {
	"/usr/bin/redis-server",
	"/usr/sbin/nginx",
	"/usr/bin/python3",
	"/usr/lib/x86_64-linux-gnu/libssl.so.3",
	"/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
	"/lib/x86_64-linux-gnu/libc.so.6",
	"/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
	"/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
};
#define WALK_FILES (sizeof(walk_files) / sizeof(walk_files[0]))

#endif
