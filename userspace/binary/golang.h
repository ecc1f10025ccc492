/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_GOLANG_H
#define BINARY_GOLANG_H

#include "binary/elf.h"

/* What an executable says about the Go that built it. */

/* The N of go1.N, by .go.buildinfo (debug/buildinfo of Go's library; Go 1.18 and later write the version there inline);
 * 0: not known. */
unsigned golang_minor(struct elf *elf);

/* Where a goroutine's struct (runtime.g) has its number, the goid, which no other one gets; 0: not known. Only for
 * programs for amd64 whose version is in a table: a wrong offset would make two goroutines one. */
unsigned golang_goid_offset(struct elf *elf);

#endif
