/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_EH_CURSOR_H
#define BINARY_EH_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reading the tables of exception handling: .eh_frame, .eh_frame_hdr, .gcc_except_table. */

/* Pointer encodings (LSB, "DWARF Exception Header Encoding"). */
enum eh_encoding {
	PE_ABSPTR = 0x00,
	PE_ULEB128 = 0x01,
	PE_UDATA2 = 0x02,
	PE_UDATA4 = 0x03,
	PE_UDATA8 = 0x04,
	PE_SLEB128 = 0x09,
	PE_SDATA2 = 0x0a,
	PE_SDATA4 = 0x0b,
	PE_SDATA8 = 0x0c,
	PE_FORMAT = 0x0f,
	PE_PCREL = 0x10,
	PE_ALIGNED = 0x50,
	PE_APPLICATION = 0x70,
	PE_INDIRECT = 0x80,
	PE_OMIT = 0xff,
};

/* Bytes still to read; `vaddr` is where data[0] is when loaded. Reading past the end gives zeroes and sets `failed`. */
struct eh_cursor {
	const char *data;
	size_t len;
	uint64_t vaddr;
	bool failed;
};

/* `to` may be NULL: skips. False past the end. */
bool eh_take(struct eh_cursor *c, void *to, size_t len);
uint8_t eh_byte(struct eh_cursor *c);
/* Of `len` bytes, at most 8, little endian like every file elf_open() takes. */
uint64_t eh_int(struct eh_cursor *c, size_t len, bool is_signed);
uint64_t eh_leb128(struct eh_cursor *c, bool is_signed);
/* A value in one of the formats, without base; sets `failed` for one there is not. */
uint64_t eh_value(struct eh_cursor *c, uint8_t encoding);
/* A pointer; what is written as 0 is no pointer, whatever the base, and gives 0. PE_INDIRECT is not followed. Bases
 * other than the place itself (text, data, function) are not written by any compiler known: `failed`. */
uint64_t eh_pointer(struct eh_cursor *c, uint8_t encoding);

#endif
