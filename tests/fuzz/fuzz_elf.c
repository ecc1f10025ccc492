/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an ELF file: every reader of binary/ is run over it. */
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "binary/golang.h"
#include "binary/imports.h"
#include "binary/lsda.h"
#include "binary/noreturn.h"
#include "binary/symbols.h"
#include "binary/unwind.h"

static void use_unwind(struct elf *elf, const struct symtab *tab)
{
	struct unwind *u = NULL;
	if (unwind_open(&u, elf, tab) < 0)
		return;
	struct landing_pads pads = {0};
	uint64_t start, end;
	/* Each may have a table as long as the file. */
	for (size_t i = 0; i < u->cnt && i < 64; i++) {
		const struct unwind_function *f = &u->functions[i];
		if (!unwind_function_at(u, f->start + f->len - 1))
			if (unwind_function_range(u, f->start, &start, &end) && start > end)
				__builtin_trap();
		pads.cnt = 0;
		if (unwind_landing_pads(u, elf, f->start, f->start + 1, &pads) < 0)
			continue;
		vec_foreach (pad, &pads)
			if (!elf_range_at(elf, *pad))
				__builtin_trap();
	}
	vec_release(&pads);
	unwind_close(u);
}

static void use_noreturn(struct elf *elf, const struct symtab *tab)
{
	struct noreturn *n = NULL;
	if (noreturn_open(&n, elf, tab) < 0)
		return;
	noreturn_function(n, elf->entry);
	noreturn_slot(n, elf->entry);
	noreturn_close(n);
}

static void use_symbols(struct elf *elf)
{
	struct symtab *tab = NULL;
	struct sbuf err = {0};
	if (symtab_open(&tab, elf, NULL, &err) == 0) {
		struct symbol_vec found = {0};
		symtab_find(tab, SV("a*"), &found);
		for (size_t i = 0; i < tab->cnt; i++) {
			const struct symbol *s = &tab->symbols[i];
			if (s->offset >= elf->file_sz || s->name_cnt == 0 || !symtab_display(tab, s).data)
				__builtin_trap();
			/* Of a C++ template it is the base name that is shown, so only a whole name finds itself. */
			found.cnt = 0;
			if (i < 64 && symtab_find(tab, s->name, &found) < 1)
				__builtin_trap();
			elf_code(elf, s->addr, s->size);
		}
		struct sv like[4];
		symtab_suggest(tab, SV("ns::mian"), like, 4);
		vec_release(&found);
	}
	use_unwind(elf, tab);
	use_noreturn(elf, tab);
	symtab_close(tab);
	sbuf_release(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"swapcontext", "__gxx_personality_v0"};
	struct elf *elf = NULL;
	if (elf_open_memory(&elf, data, size, NULL) < 0)
		return 0;
	struct elf_imports imports;
	struct sv library;
	elf_imports(elf, names, 2, &imports);
	elf_imported(elf, SV("swapcontext"), &library);
	elf_language(elf);
	golang_goid_offset(elf);
	uint64_t at;
	if (elf_vaddr_to_offset(elf, elf->entry, &at) && at >= size)
		__builtin_trap();
	elf_offset_to_vaddr(elf, size / 2, &at);
	for (size_t i = 0; i < elf->section_cnt; i++)
		elf_section_bytes(elf, &elf->sections[i]);
	use_symbols(elf);
	elf_close(elf);
	return 0;
}
