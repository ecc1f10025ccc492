/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_DEBUGFILE_H
#define BINARY_DEBUGFILE_H

#include "binary/elf.h"

/* Where a stripped file's .symtab may be instead. */

/* Unpacked .gnu_debugdata accepted; Fedora's largest are some 20 MB. */
#define DEBUGFILE_UNPACKED_MAX (128ULL << 20)
#define DEBUGFILE_LZMA_MAX     (128ULL << 20) /* working memory of the decoder; xz -9 asks for 65 MB */
#define DEBUGFILE_CRC_MAX      (1ULL << 30)   /* a longer file is not read through for its checksum */

/* The ELF file packed into .gnu_debugdata ("minidebuginfo"). 0; -ENOENT when there is none; -EBADMSG when it cannot be
 * unpacked; -E2BIG; or what elf_open() says. */
int debugfile_open_mini(struct elf **ret, struct elf *elf, struct sbuf *err);

/* The separate debug file, looked for where gdb looks: /usr/lib/debug/.build-id/xx/yyyy.debug, then the name in
 * .gnu_debuglink beside the file, in .debug/ beside it, and below /usr/lib/debug. A file that carries neither the same
 * build id nor the checksum of the link is not taken. `root_fd` is the root directory of the target (a symbolic link is
 * followed inside it), `path` the file's absolute path there or SV_NULL. 0 or -ENOENT. */
int debugfile_open_separate(struct elf **ret, struct elf *elf, int root_fd, struct sv path);

#endif
