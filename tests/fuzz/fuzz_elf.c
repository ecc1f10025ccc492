/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an ELF file: every reader of binary/ is run over it. */
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "binary/imports.h"
#include "binary/symbols.h"
#include "binary/unwind.h"

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
	struct unwind *unwind = NULL;
	if (unwind_open(&unwind, elf, tab) == 0) {
		uint64_t start, end;
		for (size_t i = 0; i < unwind->cnt; i++)
			if (!unwind_function_at(unwind, unwind->functions[i].start + unwind->functions[i].len - 1))
				if (unwind_function_range(unwind, unwind->functions[i].start, &start, &end) &&
				    start > end)
					__builtin_trap();
	}
	unwind_close(unwind);
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
