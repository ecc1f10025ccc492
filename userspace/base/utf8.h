/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdint.h>

#include "base/sv.h"

struct sbuf;

#define UTF8_REPLACEMENT 0xfffd

/* Length of the well-formed sequence that `s` (not empty) starts with; 0 when there is none (Unicode 15, table 3-7). */
size_t utf8_len(struct sv s);
/* The code point that `s` (not empty) starts with and its length in *ret_len. A byte that starts none is
 * UTF8_REPLACEMENT of length 1, as in Go. */
uint32_t utf8_decode(struct sv s, size_t *ret_len);
/* The bytes of a code point (1 to 4) in `out`; returns how many. */
size_t utf8_encode(uint32_t cp, char out[4]);
bool utf8_valid(struct sv s);
/* Appends s with each byte that is not part of well-formed UTF-8 as U+FFFD. */
void utf8_add_valid(struct sbuf *b, struct sv s);
/* The longest prefix of at most `max` bytes that cuts no sequence in two. */
struct sv utf8_cut(struct sv s, size_t max);
/* Columns of a terminal: 0 combining, 2 wide, 1 otherwise. */
int utf8_width(uint32_t cp);

/* What Go's unicode package says. */
bool unicode_is_letter(uint32_t cp);
bool unicode_is_digit(uint32_t cp);
/* The lower case of an upper-case letter if it is as long in UTF-8; else cp. */
uint32_t unicode_lower(uint32_t cp);

/* How many leading bytes of s are plain ASCII, found eight at a time; short by up to 7. */
static inline size_t utf8_ascii_prefix(struct sv s)
{
	size_t i = 0;
	for (; i + 8 <= s.len; i += 8) {
		uint64_t word;
		memcpy(&word, s.data + i, 8);
		if (word & 0x8080808080808080ULL)
			break;
	}
	return i;
}

/* Offset of the first byte that is not part of well-formed UTF-8; s.len when all is well. */
static inline size_t utf8_valid_prefix(struct sv s)
{
	size_t i = utf8_ascii_prefix(s);
	while (i < s.len) {
		size_t n = utf8_len((struct sv){s.data + i, s.len - i});
		if (!n)
			return i;
		i += n;
	}
	return i;
}

#endif
