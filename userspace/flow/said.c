/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/said.h"

#include <stdlib.h>
#include <string.h>

#include "spanhound/ids.h"

#define SETS (SAID_SPANS / SAID_WAYS)

/* Ids are known by a hash of 64 bits: two that are taken for one are as rare as two equal span ids. Newest first. */
struct said {
	uint64_t ways[SETS][SAID_WAYS];
};

struct said *said_new(void)
{
	return calloc(1, sizeof(struct said));
}

void said_free(struct said *s)
{
	free(s);
}

static uint64_t said_hash(uint32_t tgid, uint64_t trace_lo, uint64_t span_id)
{
	uint64_t hash = sh_mix64(sh_mix64(sh_mix64(trace_lo) + span_id) + tgid);
	return hash ? hash : 1;
}

bool said_has(const struct said *s, uint32_t tgid, uint64_t trace_lo, uint64_t span_id)
{
	uint64_t hash = said_hash(tgid, trace_lo, span_id);
	const uint64_t *ways = s->ways[hash % SETS];
	for (int i = 0; i < SAID_WAYS; i++)
		if (ways[i] == hash)
			return true;
	return false;
}

bool said_add(struct said *s, uint32_t tgid, uint64_t trace_lo, uint64_t span_id)
{
	uint64_t hash = said_hash(tgid, trace_lo, span_id), *ways = s->ways[hash % SETS];
	int at = 0;
	while (at < SAID_WAYS - 1 && ways[at] != hash)
		at++;
	bool there = ways[at] == hash;
	memmove(ways + 1, ways, (size_t)at * sizeof(*ways));
	ways[0] = hash;
	return there;
}
