/* SPDX-License-Identifier: Apache-2.0 */
#include "base/glob.h"

#include <stdint.h>

/* The set at p, which starts with '[': its length in the pattern, or 0 when it is not closed. */
static size_t match_set(struct sv p, unsigned char c, bool *ret_in)
{
	size_t at = 1;
	bool negate = at < p.len && (p.data[at] == '!' || p.data[at] == '^'), in = false;
	at += negate;
	for (size_t first = at; at < p.len && (p.data[at] != ']' || at == first); at++) {
		if (p.data[at] == '\\' && at + 1 < p.len)
			at++;
		unsigned char low = (unsigned char)p.data[at], high = low;
		if (at + 2 < p.len && p.data[at + 1] == '-' && p.data[at + 2] != ']') {
			at += 2;
			at += p.data[at] == '\\' && at + 1 < p.len;
			high = (unsigned char)p.data[at];
		}
		in |= c >= low && c <= high;
	}
	if (at >= p.len)
		return 0;
	*ret_in = in != negate;
	return at + 1;
}

/* How much of the pattern this one byte of text uses up; 0: it does not match. */
static size_t match_one(struct sv p, char c)
{
	bool in;
	size_t len;
	if (p.data[0] == '?')
		return 1;
	if (p.data[0] == '[' && (len = match_set(p, (unsigned char)c, &in)) > 0)
		return in ? len : 0;
	if (p.data[0] == '\\' && p.len > 1)
		return p.data[1] == c ? 2 : 0;
	return p.data[0] == c ? 1 : 0;
}

bool glob_match(struct sv pattern, struct sv text)
{
	size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;
	while (t < text.len) {
		size_t used = 0;
		if (p < pattern.len && pattern.data[p] == '*') {
			star = ++p;
			resume = t;
			continue;
		}
		if (p < pattern.len)
			used = match_one((struct sv){pattern.data + p, pattern.len - p}, text.data[t]);
		if (used) {
			p += used;
			t++;
			continue;
		}
		/* Only the last star need be tried again: an earlier one could but match less. */
		if (star == SIZE_MAX)
			return false;
		p = star;
		t = ++resume;
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}

bool glob_is_pattern(struct sv s)
{
	for (size_t i = 0; i < s.len; i++)
		if (strchr("*?[\\", s.data[i]) && s.data[i])
			return true;
	return false;
}
