/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <ctype.h>

static unsigned min_of(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Optimal string alignment over a band of 2 * limit + 1 diagonals, which is all that `limit` edits can reach. */
unsigned edit_distance(struct sv a, struct sv b, unsigned limit)
{
	unsigned rows[3][NEAREST_MAX_LEN + 2];
	size_t gap = a.len > b.len ? a.len - b.len : b.len - a.len;
	if (limit > EDIT_DISTANCE_MAX)
		limit = EDIT_DISTANCE_MAX;
	if (gap > limit || a.len > NEAREST_MAX_LEN || b.len > NEAREST_MAX_LEN)
		return limit + 1;
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b.len && j <= limit + 1; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t lo = i > limit ? i - limit : 1, hi = i + limit < b.len ? i + limit : b.len;
		unsigned best = row[lo - 1] = lo == 1 ? (unsigned)i : limit + 1;
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
			row[hi + 1] = limit + 1;
		if (best > limit)
			return limit + 1;
		unsigned *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b.len] <= limit ? last[b.len] : limit + 1;
}

void nearest_init(struct nearest *n, struct sv wanted)
{
	/* A third of the letters may be wrong: more, and the suggestion is a guess. One letter is no word. */
	unsigned limit = wanted.len < 2 ? 0 : wanted.len < 6 ? 1 + (wanted.len > 3) : (unsigned)(wanted.len / 3);
	*n = (struct nearest){.wanted = wanted, .distance = min_of(limit, 6) + 1};
}

void nearest_offer(struct nearest *n, struct sv candidate)
{
	if (n->distance == 0)
		return;
	unsigned d = edit_distance(n->wanted, candidate, n->distance - 1);
	if (d < n->distance) {
		n->distance = d;
		n->best = candidate;
	}
}
