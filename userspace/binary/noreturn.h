/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_NORETURN_H
#define BINARY_NORETURN_H

#include "base/vec.h"
#include "binary/elf.h"
#include "binary/symbols.h"

/* Which functions of a module never return, by their names: abort(), _Unwind_Resume(), std::terminate(), Rust's panics;
 * where they are linked in, where they are called through the PLT, and the words of the GOT they are called through.
 * What follows such a call is not reached from it. A wrong name here could not hide an end (code that nothing reaches
 * is looked through too), it could only make a function unprovable. */
#define NORETURN_MAX 65536 /* addresses kept of one module */

struct noreturn;

/* `tab` may be NULL. Nothing is kept of either. 0 or -ENOMEM. */
int noreturn_open(struct noreturn **ret, struct elf *elf, const struct symtab *tab);
void noreturn_close(struct noreturn *n); /* NULL is fine */

/* The address of a function or of its PLT entry. For graph_input: `noreturn` is a struct noreturn. */
bool noreturn_function(void *noreturn, uint64_t target);
/* The address of a word of the GOT. */
bool noreturn_slot(void *noreturn, uint64_t slot);
/* Of a mangled or plain name, without symbol version. */
bool noreturn_name(struct sv name);

#endif
