/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/joins.h"

#include <stdlib.h>
#include <string.h>

#include "trace/hindex.h"

#define MAX_STEPS 64 /* processes a request goes through on this host; more form a circle */

/* One end of a message that waits for the other. */
struct half {
	struct join_key key;
	struct sh_span_context writer; /* of the writer's end */
	uint64_t token;		       /* of the reader's end; JOINS_NONE: this is the writer's */
	uint32_t hash;
	bool used;
};

/* A trace begun for a request that was read. */
struct begun {
	uint64_t lo;
	uint64_t real_hi, real_lo; /* real_lo 0: itself */
	uint64_t deadline_ns;	   /* 0: settled */
	struct joins_decision decision;
	uint32_t hash;
	bool used;
};

/* Both are rings: the oldest entry makes room for the newest. */
struct joins {
	uint32_t max;
	struct half *halves;
	struct begun *traces;
	uint32_t next_half, next_trace;
	struct hindex by_key, by_trace;
	struct joins_stats stats;
};

struct joins *joins_new(uint32_t max)
{
	struct joins *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->max = max;
	/* Touched as they are used, so a quiet session does not pay for them. */
	j->halves = calloc(max, sizeof(*j->halves));
	j->traces = calloc(max, sizeof(*j->traces));
	if (j->halves && j->traces)
		return j;
	joins_free(j);
	return NULL;
}

void joins_free(struct joins *j)
{
	if (!j)
		return;
	free(j->halves);
	free(j->traces);
	hindex_release(&j->by_key);
	hindex_release(&j->by_trace);
	free(j);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static uint32_t key_hash(const struct join_key *k)
{
	uint64_t w[5];
	_Static_assert(sizeof(*k) == sizeof(w), "no padding");
	memcpy(w, k, sizeof(w));
	return hindex_hash(w[0] ^ w[2] ^ w[4], w[1] ^ w[3]);
}

static struct half *joins_find(struct joins *j, const struct join_key *key, uint32_t hash)
{
	uint32_t ref;
	for (uint32_t i = hash; (ref = hindex_at(&j->by_key, &i, hash)) != HINDEX_NONE; i++)
		if (!memcmp(&j->halves[ref].key, key, sizeof(*key)))
			return &j->halves[ref];
	return NULL;
}

static void half_remove(struct joins *j, struct half *h)
{
	hindex_del(&j->by_key, h->hash, (uint32_t)(h - j->halves));
	h->used = false;
}

static struct half *half_add(struct joins *j, const struct join_key *key, uint32_t hash)
{
	struct half *h = &j->halves[j->next_half];
	if (h->used)
		half_remove(j, h);
	if (hindex_put(&j->by_key, hash, j->next_half))
		return NULL;
	j->next_half = (j->next_half + 1) % j->max;
	*h = (struct half){.key = *key, .hash = hash, .token = JOINS_NONE, .used = true};
	return h;
}

uint64_t joins_written(struct joins *j, const struct join_key *key, const struct sh_span_context *self)
{
	uint32_t hash = key_hash(key);
	struct half *h = joins_find(j, key, hash);
	if (h && h->token != JOINS_NONE) {
		uint64_t token = h->token;
		half_remove(j, h);
		j->stats.joined++;
		return token;
	}
	if (!h)
		h = half_add(j, key, hash);
	if (h)
		h->writer = *self;
	return JOINS_NONE;
}

bool joins_read(struct joins *j, const struct join_key *key, uint64_t token, struct sh_span_context *ret_writer)
{
	uint32_t hash = key_hash(key);
	struct half *h = joins_find(j, key, hash);
	if (h && h->token == JOINS_NONE) {
		*ret_writer = h->writer;
		half_remove(j, h);
		j->stats.joined++;
		return true;
	}
	if (!h)
		h = half_add(j, key, hash);
	if (h)
		h->token = token;
	return false;
}

/* --- traces ------------------------------------------------------------------------------------------------------- */

static struct begun *joins_trace(struct joins *j, uint64_t lo)
{
	uint32_t hash = hindex_hash(lo, 0), ref;
	for (uint32_t i = hash; (ref = hindex_at(&j->by_trace, &i, hash)) != HINDEX_NONE; i++)
		if (j->traces[ref].lo == lo)
			return &j->traces[ref];
	return NULL;
}

void joins_begin(struct joins *j, uint64_t lo, uint64_t deadline_ns)
{
	uint32_t hash = hindex_hash(lo, 0);
	struct begun *t = &j->traces[j->next_trace];
	if (t->used) {
		hindex_del(&j->by_trace, t->hash, j->next_trace);
		j->stats.forgotten += t->real_lo != 0;
		t->used = false;
	}
	if (hindex_put(&j->by_trace, hash, j->next_trace))
		return;
	j->next_trace = (j->next_trace + 1) % j->max;
	*t = (struct begun){.lo = lo, .deadline_ns = deadline_ns, .hash = hash, .used = true};
}

void joins_same(struct joins *j, uint64_t lo, uint64_t real_hi, uint64_t real_lo)
{
	struct begun *t = joins_trace(j, lo);
	if (lo == real_lo)
		return;
	if (!t) {
		joins_begin(j, lo, 0);
		t = joins_trace(j, lo);
	}
	if (!t)
		return;
	t->real_hi = real_hi;
	t->real_lo = real_lo;
	t->deadline_ns = 0;
}

void joins_decide(struct joins *j, uint64_t lo, const struct joins_decision *decision)
{
	struct begun *t = joins_trace(j, lo);
	if (!t) {
		joins_begin(j, lo, 0);
		t = joins_trace(j, lo);
	}
	if (t && !t->decision.decided)
		t->decision = *decision;
}

const struct joins_decision *joins_decision(struct joins *j, uint64_t lo)
{
	const struct begun *t = joins_trace(j, lo);
	return t && t->decision.decided ? &t->decision : NULL;
}

void joins_settle(struct joins *j, uint64_t lo)
{
	struct begun *t = joins_trace(j, lo);
	if (!t)
		return;
	t->deadline_ns = 0;
	if (t->real_lo || t->decision.decided)
		return;
	hindex_del(&j->by_trace, t->hash, (uint32_t)(t - j->traces)); /* nothing to remember: itself */
	t->used = false;
}

bool joins_resolve(struct joins *j, uint64_t *hi, uint64_t *lo, uint64_t now_ns)
{
	for (int step = 0; step < MAX_STEPS; step++) {
		const struct begun *t = joins_trace(j, *lo);
		if (!t)
			return true;
		if (now_ns < t->deadline_ns)
			return false;
		if (!t->real_lo)
			return true;
		*hi = t->real_hi;
		*lo = t->real_lo;
	}
	return true;
}

void joins_stats(const struct joins *j, struct joins_stats *ret)
{
	*ret = j->stats;
}
