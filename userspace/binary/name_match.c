/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>

#include "binary/name.h"

bool name_is_glob(struct sv pattern)
{
	for (size_t i = 0; i < pattern.len; i++)
		if (strchr("*?[\\", pattern.data[i]) && pattern.data[i])
			return true;
	return false;
}

/* One [set] at pattern.data[*at]; moves *at behind it. A set without end is an ordinary '[', as in fnmatch(). */
static bool glob_set(struct sv pattern, size_t *at, unsigned char c)
{
	size_t i = *at + 1;
	bool negated = i < pattern.len && (pattern.data[i] == '!' || pattern.data[i] == '^'), matched = false;
	size_t first = i += negated;
	for (; i < pattern.len && (pattern.data[i] != ']' || i == first); i++) {
		if (pattern.data[i] == '\\' && i + 1 < pattern.len)
			i++;
		unsigned char lo = (unsigned char)pattern.data[i], hi = lo;
		if (i + 2 < pattern.len && pattern.data[i + 1] == '-' && pattern.data[i + 2] != ']') {
			i += 2;
			if (pattern.data[i] == '\\' && i + 1 < pattern.len)
				i++;
			hi = (unsigned char)pattern.data[i];
		}
		matched |= c >= lo && c <= hi;
	}
	if (i >= pattern.len) {
		*at += 1;
		return c == '[';
	}
	*at = i + 1;
	return matched != negated;
}

static bool glob_one(struct sv pattern, size_t *at, char c)
{
	char p = pattern.data[*at];
	if (p == '[')
		return glob_set(pattern, at, (unsigned char)c);
	if (p == '\\' && *at + 1 < pattern.len)
		p = pattern.data[++*at];
	else if (p == '?')
		p = c;
	++*at;
	return p == c;
}

/* A star that fails is retried one byte later, and only the last one: an earlier star cannot do better. */
bool name_glob(struct sv pattern, struct sv text)
{
	size_t p = 0, t = 0, star = SIZE_MAX, star_t = 0;
	while (t < text.len) {
		size_t next = p;
		if (p < pattern.len && pattern.data[p] == '*') {
			star = ++p;
			star_t = t;
		} else if (p < pattern.len && glob_one(pattern, &next, text.data[t])) {
			p = next;
			t++;
		} else if (star != SIZE_MAX) {
			p = star;
			t = ++star_t;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Optimal string alignment over a band of 2 * max + 1 diagonals, which is all that `max` edits can reach. */
unsigned name_distance(struct sv a, struct sv b, unsigned max)
{
	unsigned rows[3][NAME_DISTANCE_LEN_MAX + 2];
	size_t gap = a.len > b.len ? a.len - b.len : b.len - a.len;
	if (max > NAME_DISTANCE_MAX)
		max = NAME_DISTANCE_MAX;
	if (gap > max || a.len > NAME_DISTANCE_LEN_MAX || b.len > NAME_DISTANCE_LEN_MAX)
		return max + 1;
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b.len && j <= max + 1; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t lo = i > max ? i - max : 1, hi = i + max < b.len ? i + max : b.len;
		unsigned best = row[lo - 1] = lo == 1 ? (unsigned)i : max + 1;
		for (size_t j = lo; j <= hi; j++) {
			int x = tolower((unsigned char)a.data[i - 1]), y = tolower((unsigned char)b.data[j - 1]);
			row[j] = min3(last[j - 1] + (x != y), row[j - 1] + 1, last[j] + 1);
			if (i > 1 && j > 1 && x == tolower((unsigned char)b.data[j - 2]) &&
			    y == tolower((unsigned char)a.data[i - 2]) && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
			if (row[j] < best)
				best = row[j];
		}
		if (hi < b.len)
			row[hi + 1] = max + 1;
		if (best > max)
			return max + 1;
		unsigned *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b.len] <= max ? last[b.len] : max + 1;
}
