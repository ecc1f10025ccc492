/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_TEXT_H
#define TARGET_TEXT_H

#include <stdint.h>

#include "base/sv.h"

/* Cutting the kernel's text files into pieces. Each function takes from the front of *rest and never fails to
 * advance, so a loop over it ends whatever the bytes are. */

/* Up to `end`, which is consumed and not part of the result; everything when it does not occur. */
static inline struct sv text_until(struct sv *rest, char end)
{
	const char *at = rest->len ? memchr(rest->data, end, rest->len) : NULL;
	struct sv piece = {rest->data, at ? (size_t)(at - rest->data) : rest->len};
	size_t eaten = at ? piece.len + 1 : piece.len;
	*rest = eaten < rest->len ? (struct sv){rest->data + eaten, rest->len - eaten} : SV_NULL;
	return piece;
}

static inline struct sv text_line(struct sv *rest)
{
	return text_until(rest, '\n');
}

static inline bool text_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static inline struct sv text_trim(struct sv s)
{
	while (s.len && text_is_space(s.data[0]))
		s = (struct sv){s.data + 1, s.len - 1};
	while (s.len && text_is_space(s.data[s.len - 1]))
		s.len--;
	return s;
}

/* The next run of bytes that are not white space; empty at the end. */
static inline struct sv text_word(struct sv *rest)
{
	size_t from = 0, to;
	while (from < rest->len && text_is_space(rest->data[from]))
		from++;
	for (to = from; to < rest->len && !text_is_space(rest->data[to]);)
		to++;
	struct sv word = to > from ? (struct sv){rest->data + from, to - from} : SV_NULL;
	*rest = to < rest->len ? (struct sv){rest->data + to, rest->len - to} : SV_NULL;
	return word;
}

/* The number at the front, in base 10 or 16; false, and nothing taken, when there is none or it exceeds 64 bits. */
static inline bool text_u64(struct sv *rest, unsigned int base, uint64_t *ret)
{
	uint64_t value = 0;
	size_t n = 0;
	for (; n < rest->len; n++) {
		char c = rest->data[n];
		unsigned int digit = c >= '0' && c <= '9'   ? (unsigned int)(c - '0')
				     : c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a') + 10
				     : c >= 'A' && c <= 'F' ? (unsigned int)(c - 'A') + 10
							    : 99;
		if (digit >= base)
			break;
		if (value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	if (!n)
		return false;
	*rest = (struct sv){rest->data + n, rest->len - n};
	*ret = value;
	return true;
}

/* A whole string that is a decimal number of at most `max`. */
static inline bool text_int(struct sv s, uint64_t max, int *ret)
{
	uint64_t value;
	if (!text_u64(&s, 10, &value) || s.len || value > max)
		return false;
	*ret = (int)value;
	return true;
}

/* Behind the last '/'. */
static inline struct sv text_basename(struct sv path)
{
	const char *slash = path.len ? memrchr(path.data, '/', path.len) : NULL;
	if (!slash)
		return path;
	return (struct sv){slash + 1, path.len - (size_t)(slash + 1 - path.data)};
}

static inline bool text_ends(struct sv s, struct sv suffix)
{
	return s.len >= suffix.len && memcmp(s.data + s.len - suffix.len, suffix.data, suffix.len) == 0;
}

#endif
