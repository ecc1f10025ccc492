/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_IMPORTS_H
#define BINARY_IMPORTS_H

#include "binary/elf.h"

#define ELF_IMPORTS_MAX 64 /* names per question: one bit each */

/* Bit i is about names[i]. */
struct elf_imports {
	uint64_t imported; /* used here, defined in another file */
	uint64_t defined;  /* defined here */
	/* False: a static file without .symtab (or no readable table at all) does not say what it was linked from;
	 * a zero bit means nothing then. What dlsym() finds at run time is never seen. */
	bool complete;
};

/* Which of these functions a module names. 0, or -EINVAL for more than ELF_IMPORTS_MAX names. Versions are not
 * looked at: "memcpy" is memcpy@GLIBC_2.14. */
int elf_imports(struct elf *elf, const char *const *names, size_t cnt, struct elf_imports *ret);

/* Is `name` imported, and from where? `ret_library` is the soname its version names ("libc.so.6"), SV_NULL where
 * symbols carry no version. */
bool elf_imported(struct elf *elf, struct sv name, struct sv *ret_library);

#endif
