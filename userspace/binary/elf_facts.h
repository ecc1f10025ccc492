/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_ELF_FACTS_H
#define BINARY_ELF_FACTS_H

#include "binary/elf.h"

/* For elf_open() alone: fills in what the dynamic section and the notes say, once segments and sections are known.
 * 0 or -ENOMEM; nonsense in the file leaves a fact unset. */
int elf_facts_read(struct elf *elf);

#endif
