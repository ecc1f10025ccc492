/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_LSDA_H
#define BINARY_LSDA_H

#include "base/vec.h"
#include "binary/unwind.h"

/* Where exceptions arrive: the landing pads of a function. The unwinder jumps there and nothing else does, so to who
 * follows the code they are further entries.
 *
 * They are in the language-specific data of the function's FDE: the call-site table of .gcc_except_table, which
 * GCC and LLVM write alike for C++, Rust, C with cleanups, Ada, D and Objective-C (Itanium C++ ABI, "Exception
 * Handling Tables"; GCC's except.c, output_one_function_exception_table; LLVM's EHStreamer::emitExceptionTable). */
#define LSDA_CALL_SITE_MAX 65536 /* of one function; the largest seen, in rustc, has 3,800 landing pads */

struct landing_pads {
	uint64_t *data; /* ELF addresses */
	size_t cnt;
	size_t cap;
};

/* Appends the landing pads of all the code in [start, end): ascending and each once among those of one FDE. A function
 * that was split has an FDE for each part, so ask for each; a pad may lie in another part than the call it belongs to
 * (and in one not known yet). Code without FDE or without tables has none: nothing can land in it.
 * -EBADMSG: the tables are damaged, or not written this way, and nothing may be concluded; -E2BIG:
 * LSDA_CALL_SITE_MAX; -ENOMEM. `u` must be of `elf`; what it reads of the file is freed by unwind_close(). */
int unwind_landing_pads(struct unwind *u, struct elf *elf, uint64_t start, uint64_t end, struct landing_pads *out);

#endif
