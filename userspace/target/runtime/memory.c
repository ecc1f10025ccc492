/* SPDX-License-Identifier: Apache-2.0 */
#include "target/runtime/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "binary/elf.h"
#include "target/maps.h"

#define MODULES_MAX 8 /* that are looked into */

static bool symbol_in(struct elf *elf, uint32_t table, const char *name, struct runtime_variable *ret)
{
	struct elf_symbols symbols = {0};
	bool found = false;
	size_t len = strlen(name);
	if (elf_symbols(elf, table, &symbols)) {
		for (size_t i = 0; i < symbols.cnt && !found; i++) {
			Elf64_Sym sym = elf_symbols_at(&symbols, i);
			if (sym.st_shndx == SHN_UNDEF || !sym.st_size)
				continue;
			found = sv_eq(elf_string(symbols.strings, sym.st_name, len + 1), (struct sv){name, len});
			*ret = (struct runtime_variable){sym.st_value, sym.st_size};
		}
	}
	elf_symbols_release(&symbols);
	return found;
}

static int find_in(struct proc *p, const struct proc_map *m, const char *symbol, struct runtime_variable *ret)
{
	struct sbuf err __cleanup(sbuf_release) = {0};
	struct elf *elf __cleanup(elf_closep) = NULL;
	uint64_t vaddr;
	int fd __cleanup(closep) = -1;
	int r = maps_open(p, m, &fd);
	if (r == 0)
		r = elf_open(&elf, fd, &err);
	if (r < 0)
		return r;
	if (!symbol_in(elf, SHT_DYNSYM, symbol, ret) && !symbol_in(elf, SHT_SYMTAB, symbol, ret))
		return -ENOENT;
	if (!elf_offset_to_vaddr(elf, m->offset, &vaddr))
		return -EBADMSG;
	ret->address += m->start - vaddr;
	return 0;
}

static bool is_library(struct sv path, const char *library)
{
	const char *slash = memrchr(path.data, '/', path.len);
	struct sv name = slash ? (struct sv){slash + 1, (size_t)(path.data + path.len - slash) - 1} : path;
	return library && sv_starts(name, sv_of(library));
}

int runtime_find(struct proc *p, const char *library, const char *symbol, struct runtime_variable *ret)
{
	struct sbuf text __cleanup(sbuf_release) = {0};
	struct proc_map m;
	struct sv exe = SV_NULL;
	ino_t last = 0;
	unsigned modules = 0;
	int r = maps_read(p, &text), best = -ENOENT;
	if (r < 0)
		return r;
	proc_exe(p, &exe);
	for (struct maps_iter it = MAPS_ITER(&text); best < 0 && modules < MODULES_MAX && maps_next(&it, &m);) {
		if (m.ino == last || !(sv_eq(m.path, exe) || is_library(m.path, library)))
			continue;
		last = m.ino;
		modules++;
		r = find_in(p, &m, symbol, ret);
		if (r == 0 || r != -ENOENT)
			best = r;
	}
	return best;
}

ssize_t runtime_peek(struct proc *p, uint64_t address, void *to, size_t len)
{
	int fd __cleanup(closep) = openat(p->dir, "mem", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = pread(fd, to, len, (off_t)address);
	return n < 0 ? -errno : n;
}
