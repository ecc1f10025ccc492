/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_MODULE_H
#define PROBE_MODULE_H

#include <sys/types.h>

#include "base/arena.h"
#include "base/vec.h"
#include "binary/noreturn.h"
#include "binary/symbols.h"
#include "binary/targets.h"
#include "binary/unwind.h"
#include "target/maps.h"

/* One file that chosen processes run code from: an executable or a library. Known by device and inode; opened through
 * the process, so it is the right file in any mount namespace, deleted or not. */

/* What about a module makes return probes dangerous for a whole process that has it loaded. */
enum module_trait {
	TRAIT_UNWINDS = 1 << 0,	 /* throws, catches or panics: an unwinder walks the stack by return addresses */
	TRAIT_SWITCHES = 1 << 1, /* swapcontext and its like: the kernel loses return probes of the stack left behind */
	TRAIT_ALTSTACK = 1 << 2, /* sigaltstack: the same, when a handler runs above the interrupted stack */
	TRAIT_LONGJMP = 1 << 4,	 /* leaves functions by longjmp: no danger, but to be watched */
	TRAIT_GO = 1 << 3,	 /* stacks are moved, and walked by return addresses */
};

struct proof;
struct module {
	dev_t dev;
	ino_t ino;
	int fd;		/* kept open: /proc/self/fd/N names the file to the kernel */
	struct sv path; /* in the process's mount namespace */
	struct sv name; /* soname, else basename */
	bool is_exe;
	uint32_t traits;
	struct elf *elf;
	/* Opened when a probe or a hook asks for them: module_symbols() and the like. */
	struct symtab *symtab;
	struct unwind *unwind;
	struct noreturn *noreturn;
	struct proof *proof;	      /* of probe/proof.h */
	struct code_targets *targets; /* one for each code range of the file */
	size_t target_cnt;
	int root_fd; /* the process's root directory, for separate debug files */
	struct arena arena;
};

/* `fd` is taken over on success. `err` gets the end of a sentence ("is not an ELF file"). */
int module_open(struct module **ret, int fd, int root_fd, struct sv path, bool is_exe, struct sbuf *err);
void module_close(struct module *m); /* NULL is fine */

/* NULL when out of memory; a file without symbols has an empty table. */
struct symtab *module_symbols(struct module *m);
/* What jumps where in the range of code around an address, or NULL when that is too much code to look at. */
const struct code_targets *module_targets(struct module *m, uint64_t vaddr);
/* Local functions, and pieces of functions, have no names. */
bool module_is_stripped(struct module *m);
/* NULL when out of memory; a file without .eh_frame has an empty table. */
struct unwind *module_unwind(struct module *m);
/* NULL when out of memory. */
struct noreturn *module_noreturn(struct module *m);
enum decode_arch module_arch(const struct module *m);
/* Where jump tables lie. Returns how many windows there are. */
#define MODULE_DATA_MAX 8
size_t module_data(struct module *m, struct code_window ret[MODULE_DATA_MAX]);
/* The code of [vaddr, vaddr + len) as the decoder wants it; false when the file does not hold it. */
bool module_code(struct module *m, uint64_t vaddr, uint64_t len, struct code_window *ret);
/* Closes what only resolving needs; names and facts copied by then stay. */
void module_rest(struct module *m);

#endif
