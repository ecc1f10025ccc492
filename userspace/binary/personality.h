/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_PERSONALITY_H
#define BINARY_PERSONALITY_H

#include "binary/unwind.h"

#define PERSONALITY_MAX 16 /* different pointers told apart in one module; linkers leave one for each language */

/* Answers already given: the CIEs of a module share few pointers. Set elf and tab, zero the rest. */
struct personality_cache {
	struct elf *elf;
	const struct symtab *tab; /* may be NULL */
	struct {
		uint64_t pointer;
		uint32_t personality;
		bool indirect;
	} known[PERSONALITY_MAX];
	size_t cnt;
};

/* Whose personality routine a CIE names. `pointer`: the address of the routine (or of its PLT entry) or, when
 * `indirect`, of the word that will hold it: DW.ref.__gxx_personality_v0, a GOT entry. That word is filled by the
 * dynamic linker, so its relocation is read rather than itself. What stays unknown is taken from the module's imports,
 * and is UNWIND_OTHER when that does not say either. */
uint32_t personality_of(struct personality_cache *cache, uint64_t pointer, bool indirect);

#endif
