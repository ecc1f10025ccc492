/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/decisions.h"

_Static_assert(sizeof(struct decision) <= 64, "a decision fits into a cache line");

void decisions_init(struct decisions *d, uint32_t max)
{
	*d = (struct decisions){.max = max};
}

void decisions_release(struct decisions *d)
{
	vec_foreach (x, &d->items) {
		if (x->carried)
			sbuf_release(x->carried);
		free(x->carried);
	}
	vec_release(&d->items);
	hindex_release(&d->by_trace);
}

static uint32_t chunk_hash(const struct chunk *c)
{
	return hindex_hash(c->trace_lo, c->trace_hi);
}

static struct decision *decisions_find(const struct decisions *d, const struct chunk *c)
{
	if (!d->by_trace.cnt)
		return NULL;
	uint32_t hash = chunk_hash(c), ref;
	for (uint32_t i = hash; (ref = hindex_at(&d->by_trace, &i, hash)) != HINDEX_NONE; i++) {
		struct decision *x = &d->items.data[ref];
		if (x->trace_lo == c->trace_lo && x->trace_hi == c->trace_hi)
			return x;
	}
	return NULL;
}

/* The text at *at, copied; *at goes behind its NUL. */
static struct sv carried_next(const char **at, struct arena *arena)
{
	struct sv text = sv_of(*at);
	*at += text.len + 1;
	return arena_dup(arena, text);
}

static void carried_give(const struct decision *x, struct chunk *c)
{
	if (!x->carried || !x->carried->len)
		return;
	const char *at = sbuf_str(x->carried);
	c->origin = carried_next(&at, &c->arena);
	struct tag *tags = x->propagated_cnt ? arena_alloc(&c->arena, x->propagated_cnt * sizeof(*tags)) : NULL;
	for (uint16_t i = 0; tags && i < x->propagated_cnt; i++) {
		tags[i].key = carried_next(&at, &c->arena);
		tags[i].value = carried_next(&at, &c->arena);
	}
	c->propagated = tags;
	c->propagated_cnt = tags ? x->propagated_cnt : 0;
}

bool decisions_recall(const struct decisions *d, struct chunk *c)
{
	const struct decision *x = decisions_find(d, c);
	if (!x)
		return false;
	c->decided = x->decided;
	c->priority = x->priority;
	c->mechanism = x->mechanism;
	c->rates = x->rates;
	c->rule_rate = c->agent_rate = x->rate;
	c->limit_rate = x->limit_rate;
	carried_give(x, c);
	return true;
}

bool decisions_limit(const struct decisions *d, const struct chunk *c, double *ret_rate)
{
	const struct decision *x = decisions_find(d, c);
	if (!x || !(x->rates & RATE_LIMIT))
		return false;
	*ret_rate = x->limit_rate;
	return true;
}

/* Room for a new one, not yet in the index; NULL when out of memory. */
static struct decision *decisions_room(struct decisions *d, uint32_t *ret_index)
{
	if (d->items.cnt < d->max) {
		*ret_index = (uint32_t)d->items.cnt;
		return vec_push(&d->items, (struct decision){0}) ? NULL : &d->items.data[*ret_index];
	}
	*ret_index = d->oldest;
	d->oldest = (d->oldest + 1) % d->max;
	struct decision *x = &d->items.data[*ret_index];
	if (x->used) {
		hindex_del(&d->by_trace, x->hash, *ret_index);
		d->forgotten++;
	}
	x->used = false;
	/* Where the next one to go is in the index: far from here, so it is asked for now. */
	if (d->by_trace.cap)
		__builtin_prefetch(&d->by_trace.slots[d->items.data[d->oldest].hash & (d->by_trace.cap - 1)], 1);
	return x;
}

static struct decision *decisions_make(struct decisions *d, const struct chunk *c)
{
	uint32_t index, hash = chunk_hash(c);
	struct decision *x = decisions_room(d, &index);
	if (!x || hindex_put(&d->by_trace, hash, index))
		return NULL;
	x->trace_hi = c->trace_hi;
	x->trace_lo = c->trace_lo;
	x->used = true;
	x->hash = hash;
	return x;
}

static void carried_add(struct sbuf *b, struct sv text)
{
	/* A NUL inside would shift all that follows. */
	const char *nul = text.len ? memchr(text.data, '\0', text.len) : NULL;
	sbuf_add(b, text.data, nul ? (size_t)(nul - text.data) : text.len);
	sbuf_addc(b, '\0');
}

static void carried_keep(struct decision *x, const struct chunk *c)
{
	bool some = c->origin.len || c->propagated_cnt;
	if (x->carried)
		sbuf_reset(x->carried);
	x->propagated_cnt = 0;
	if (some && !x->carried)
		x->carried = calloc(1, sizeof(*x->carried));
	if (!some || !x->carried)
		return;
	carried_add(x->carried, c->origin);
	for (uint16_t i = 0; i < c->propagated_cnt; i++) {
		carried_add(x->carried, c->propagated[i].key);
		carried_add(x->carried, c->propagated[i].value);
	}
	if (x->carried->failed)
		sbuf_release(x->carried);
	else
		x->propagated_cnt = c->propagated_cnt;
}

void decisions_remember(struct decisions *d, const struct chunk *c)
{
	struct decision *x = decisions_find(d, c);
	if (!x)
		x = decisions_make(d, c);
	if (!x)
		return;
	x->decided = c->decided;
	x->priority = c->priority;
	x->mechanism = c->mechanism;
	x->rates = c->rates;
	x->rate = c->rates & RATE_RULE ? c->rule_rate : c->agent_rate;
	x->limit_rate = c->limit_rate;
	carried_keep(x, c);
}
