/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_AGES_H
#define FLOW_AGES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* The numbers of a table's slots: those given back last are taken first, so that a quiet table stays small in memory;
 * those in use may be queued, to be found oldest first when there is no room. */
#define AGES_NONE UINT32_MAX

struct age {
	uint32_t older, newer; /* of a free one: `older` is the next free */
	bool queued;
};

struct ages {
	struct age *slots;
	uint32_t max, cnt;
	uint32_t fresh; /* never taken from here on */
	uint32_t free, oldest, newest;
};

/* False when out of memory. Memory is touched as it is used. */
static inline bool ages_init(struct ages *a, uint32_t max)
{
	*a = (struct ages){.max = max, .free = AGES_NONE, .oldest = AGES_NONE, .newest = AGES_NONE};
	a->slots = calloc(max ? max : 1, sizeof(*a->slots));
	return a->slots != NULL;
}

static inline void ages_release(struct ages *a)
{
	free(a->slots);
	*a = (struct ages){0};
}

static inline void ages_unqueue(struct ages *a, uint32_t i)
{
	struct age *s = &a->slots[i];
	if (!s->queued)
		return;
	s->queued = false;
	*(s->older == AGES_NONE ? &a->oldest : &a->slots[s->older].newer) = s->newer;
	*(s->newer == AGES_NONE ? &a->newest : &a->slots[s->newer].older) = s->older;
}

/* It is the newest of the queue now. */
static inline void ages_queue(struct ages *a, uint32_t i)
{
	ages_unqueue(a, i);
	a->slots[i] = (struct age){.older = a->newest, .newer = AGES_NONE, .queued = true};
	*(a->newest == AGES_NONE ? &a->oldest : &a->slots[a->newest].newer) = i;
	a->newest = i;
}

/* AGES_NONE: all are in use. */
static inline uint32_t ages_take(struct ages *a)
{
	uint32_t i = a->free;
	if (i != AGES_NONE)
		a->free = a->slots[i].older;
	else if (a->fresh < a->max)
		i = a->fresh++;
	else
		return AGES_NONE;
	a->cnt++;
	a->slots[i] = (struct age){0};
	return i;
}

static inline void ages_give(struct ages *a, uint32_t i)
{
	ages_unqueue(a, i);
	a->slots[i].older = a->free;
	a->free = i;
	a->cnt--;
}

#endif
