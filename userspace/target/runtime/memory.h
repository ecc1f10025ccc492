/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_RUNTIME_MEMORY_H
#define TARGET_RUNTIME_MEMORY_H

#include "target/procfs.h"

/* Variables of a runtime, read where they are in the process's memory: nothing is written, nobody is stopped. Through
 * /proc/PID/mem, which is of the very process that was opened; process_vm_readv(2) takes a number, which may be
 * another's by now, or of another PID namespace. Asks for the same right (CAP_SYS_PTRACE).
 *
 * Who reads believes nothing: the program runs on meanwhile, may be of a version nobody has seen, and may be hostile. What
 * is read counts only when parts of it that must agree do. */

struct runtime_variable {
	uint64_t address, size; /* in the process */
};

/* The variable `symbol` of the executable, or else of a library whose name begins with `library` (NULL: of none). 0;
 * -ENOENT: there is none; other -errno from looking. Reads symbol tables: once per process. */
int runtime_find(struct proc *p, const char *library, const char *symbol, struct runtime_variable *ret);
/* How many bytes could be read, at most `len`; -errno. */
ssize_t runtime_peek(struct proc *p, uint64_t address, void *to, size_t len);

#endif
