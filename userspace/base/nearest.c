/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <ctype.h>

static unsigned min_of(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static bool same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

unsigned edit_distance(struct sv a, struct sv b, unsigned limit)
{
	unsigned row[3][NEAREST_MAX_LEN + 1];
	size_t apart = a.len > b.len ? a.len - b.len : b.len - a.len;
	if (a.len > NEAREST_MAX_LEN || b.len > NEAREST_MAX_LEN || apart > limit)
		return limit + 1;
	unsigned *two_up = row[0], *up = row[1], *now = row[2];
	for (size_t j = 0; j <= b.len; j++)
		up[j] = (unsigned)j;
	for (size_t i = 1; i <= a.len; i++) {
		unsigned least = now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.len; j++) {
			unsigned d = up[j - 1] + !same(a.data[i - 1], b.data[j - 1]);
			d = min_of(d, min_of(up[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && same(a.data[i - 1], b.data[j - 2]) && same(a.data[i - 2], b.data[j - 1]))
				d = min_of(d, two_up[j - 2] + 1);
			now[j] = d;
			least = min_of(least, d);
		}
		if (least > limit)
			return limit + 1;
		unsigned *spare = two_up;
		two_up = up;
		up = now;
		now = spare;
	}
	return min_of(up[b.len], limit + 1);
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
