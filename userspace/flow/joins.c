/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/joins.h"

#include <stdlib.h>
#include <string.h>

#include "flow/ages.h"
#include "trace/hindex.h"

#define MAX_STEPS 64 /* processes a request goes through on this host; more form a circle */

/* One end of a message that waits for the other. */
struct half {
	struct join_key key;
	struct join_writer writer; /* of the writer's end */
	uint64_t token;		   /* of the reader's end; JOINS_NONE: this is the writer's */
	uint32_t hash;
};

/* A trace begun for a request that was read. */
struct begun {
	uint64_t lo;
	uint64_t real_hi, real_lo; /* when `same` */
	uint64_t deadline_ns;	   /* 0: settled */
	struct joins_decision decision;
	uint32_t hash;
	uint32_t tgid; /* whose the real one is */
	bool same;
};

struct joins {
	struct half *halves;
	struct begun *traces;
	struct ages half_ages, trace_ages;
	struct hindex by_key, by_trace;
	struct joins_stats stats;
};

struct joins *joins_new(uint32_t max)
{
	struct joins *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->halves = calloc(max, sizeof(*j->halves));
	j->traces = calloc(max, sizeof(*j->traces));
	if (ages_init(&j->half_ages, max) && ages_init(&j->trace_ages, max) && j->halves && j->traces)
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
	ages_release(&j->half_ages);
	ages_release(&j->trace_ages);
	hindex_release(&j->by_key);
	hindex_release(&j->by_trace);
	free(j);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

uint32_t join_key_hash(const struct join_key *k)
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
	uint32_t i = (uint32_t)(h - j->halves);
	hindex_del(&j->by_key, h->hash, i);
	ages_give(&j->half_ages, i);
}

static struct half *half_add(struct joins *j, const struct join_key *key, uint32_t hash)
{
	uint32_t i = ages_take(&j->half_ages);
	if (i == AGES_NONE && j->half_ages.oldest != AGES_NONE) {
		half_remove(j, &j->halves[j->half_ages.oldest]);
		i = ages_take(&j->half_ages);
	}
	if (i == AGES_NONE)
		return NULL;
	if (hindex_put(&j->by_key, hash, i)) {
		ages_give(&j->half_ages, i);
		return NULL;
	}
	ages_queue(&j->half_ages, i);
	j->halves[i] = (struct half){.key = *key, .hash = hash, .token = JOINS_NONE};
	return &j->halves[i];
}

uint64_t joins_written(struct joins *j, const struct join_key *key, const struct join_writer *writer)
{
	uint32_t hash = join_key_hash(key);
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
		h->writer = *writer;
	return JOINS_NONE;
}

bool joins_read(struct joins *j, const struct join_key *key, uint64_t token, struct join_writer *ret_writer)
{
	uint32_t hash = join_key_hash(key);
	struct half *h = joins_find(j, key, hash);
	if (h && h->token == JOINS_NONE) {
		*ret_writer = h->writer;
		half_remove(j, h);
		j->stats.joined++;
		return true;
	}
	if (token == JOINS_NONE)
		return false;
	if (!h)
		h = half_add(j, key, hash);
	if (h)
		h->token = token;
	return false;
}

void joins_give_up(struct joins *j, const struct join_key *key, uint64_t token)
{
	struct half *h = joins_find(j, key, join_key_hash(key));
	if (h && h->token == token)
		half_remove(j, h);
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

static void trace_remove(struct joins *j, struct begun *t)
{
	uint32_t i = (uint32_t)(t - j->traces);
	hindex_del(&j->by_trace, t->hash, i);
	ages_give(&j->trace_ages, i);
}

void joins_begin(struct joins *j, uint64_t lo, uint64_t deadline_ns)
{
	uint32_t hash = hindex_hash(lo, 0), i;
	struct begun *t = joins_trace(j, lo);
	if (t) /* ids do not repeat, but in damaged records */
		trace_remove(j, t);
	i = ages_take(&j->trace_ages);
	if (i == AGES_NONE && j->trace_ages.oldest != AGES_NONE) {
		trace_remove(j, &j->traces[j->trace_ages.oldest]);
		i = ages_take(&j->trace_ages);
	}
	if (i == AGES_NONE || hindex_put(&j->by_trace, hash, i)) {
		if (i != AGES_NONE)
			ages_give(&j->trace_ages, i);
		j->stats.forgotten++;
		return;
	}
	j->traces[i] = (struct begun){.lo = lo, .deadline_ns = deadline_ns, .hash = hash};
}

void joins_same(struct joins *j, uint64_t lo, uint64_t real_hi, uint64_t real_lo, uint32_t tgid)
{
	struct begun *t = joins_trace(j, lo);
	if (!t)
		return;
	t->same = lo != real_lo;
	t->real_hi = real_hi;
	t->real_lo = real_lo;
	t->tgid = tgid;
	t->deadline_ns = 0;
}

void joins_settle(struct joins *j, uint64_t lo)
{
	struct begun *t = joins_trace(j, lo);
	if (!t)
		return;
	t->deadline_ns = 0;
	if (!t->decision.decided) /* nothing to remember: itself */
		trace_remove(j, t);
}

void joins_end(struct joins *j, uint64_t lo)
{
	struct begun *t = joins_trace(j, lo);
	if (t)
		ages_queue(&j->trace_ages, (uint32_t)(t - j->traces));
}

void joins_decide(struct joins *j, uint64_t lo, const struct joins_decision *decision)
{
	struct begun *t = joins_trace(j, lo);
	if (!t) {
		joins_begin(j, lo, 0);
		joins_end(j, lo);
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

bool joins_resolve(struct joins *j, uint64_t *hi, uint64_t *lo, uint64_t now_ns, uint32_t *ret_tgid)
{
	uint64_t at_hi = *hi, at_lo = *lo;
	uint32_t tgid = 0;
	for (int step = 0; step < MAX_STEPS; step++) {
		const struct begun *t = joins_trace(j, at_lo);
		if (t && now_ns < t->deadline_ns)
			return false;
		if (!t || !t->same)
			break;
		at_hi = t->real_hi;
		at_lo = t->real_lo;
		tgid = t->tgid ? t->tgid : tgid;
	}
	*ret_tgid = tgid;
	*hi = at_hi;
	*lo = at_lo;
	return true;
}

void joins_stats(const struct joins *j, struct joins_stats *ret)
{
	*ret = j->stats;
	ret->waiting = j->half_ages.cnt;
	ret->traces = j->trace_ages.cnt;
}
