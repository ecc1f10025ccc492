/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_PATTERN_H
#define TRACE_SAMPLING_PATTERN_H

#include "base/arena.h"

/* A glob of a sampling rule (dd-trace-py, internal/glob_matching.py): '*' is any run of characters, '?' one character,
 * everything else itself, brackets and backslashes too; letter case does not count; the whole text must match.
 * Zeroed: anything matches. */
struct pattern {
	struct sv text; /* in lower case */
	bool given;
	bool literal; /* no wildcard in it */
	bool wild;    /* nothing but wildcards in it */
};

#define PATTERN_MAX 512 /* bytes: matching takes pattern x text steps at worst */

/* The pattern's text goes into the arena. 0, -E2BIG or -ENOMEM. */
int pattern_init(struct pattern *p, struct arena *arena, struct sv text);
bool pattern_match(const struct pattern *p, struct sv text);
/* A whole number is matched as its decimal text, any other only by a pattern of nothing but wildcards. */
bool pattern_match_number(const struct pattern *p, double value);

#endif
