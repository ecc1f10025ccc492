/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include "base/sv.h"

/* "did you mean ...": the candidate that is fewest typing mistakes away from what was written.
 * One offer per candidate, in any order, thousands of them; the first of equals wins. */
struct nearest {
	struct sv wanted;
	struct sv best; /* SV_NULL: nothing is near enough to be meant */
	unsigned distance;
};

/* Longer texts are never suggested for. */
#define NEAREST_MAX_LEN 256

void nearest_init(struct nearest *n, struct sv wanted);
/* Borrows `candidate` until the last use of `best`. */
void nearest_offer(struct nearest *n, struct sv candidate);

/* Insertions, deletions, replacements and swaps of neighbours (optimal string alignment); case is
 * ignored. `limit` + 1 when there are more than `limit`, which is at most EDIT_DISTANCE_MAX: what it costs grows with it. */
#define EDIT_DISTANCE_MAX 8
unsigned edit_distance(struct sv a, struct sv b, unsigned limit);

#endif
