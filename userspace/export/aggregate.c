/* SPDX-License-Identifier: Apache-2.0 */
#include "export/aggregate.h"

#include <stdlib.h>

#include "base/clock.h"

#define NO_VALUES_FIRST 16 /* room for values of a new series */

struct series {
	struct series *next; /* in its bucket */
	uint64_t hash;
	struct process_info *who;
	struct sv name;
	enum dogstatsd_type type;
	double rate;
	double value;	/* sum of a count, last of a gauge */
	double *values; /* of the others */
	uint32_t cap, kept;
	uint64_t seen; /* since the last flush */
	unsigned idle; /* flushes without a value */
	unsigned tag_cnt;
	struct tag tags[]; /* their strings behind them */
};

struct aggregate {
	struct series **buckets;
	uint32_t bucket_cnt; /* a power of two */
	uint32_t max;
	uint64_t random, seed; /* of the choice of values; of the hash, as tags come from the traced processes */
	struct aggregate_stats stats;
};

struct aggregate *aggregate_new(uint32_t max_series)
{
	struct aggregate *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->max = max_series ? max_series : AGGREGATE_MAX_SERIES;
	a->random = 0x9e3779b97f4a7c15ULL;
	a->seed = clock_mono_ns() * a->random ^ (uintptr_t)a;
	a->bucket_cnt = 1;
	while (a->bucket_cnt < a->max)
		a->bucket_cnt *= 2;
	a->buckets = calloc(a->bucket_cnt, sizeof(*a->buckets));
	if (a->buckets)
		return a;
	free(a);
	return NULL;
}

static void series_free(struct series *s)
{
	process_info_unref(s->who);
	free(s->values);
	free(s);
}

void aggregate_free(struct aggregate *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; i < a->bucket_cnt; i++)
		while (a->buckets[i]) {
			struct series *s = a->buckets[i];
			a->buckets[i] = s->next;
			series_free(s);
		}
	free(a->buckets);
	free(a);
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t h, struct sv s)
{
	const uint64_t factor = 0x9e3779b97f4a7c15ULL;
	uint64_t word = 0;
	for (; s.len >= sizeof(word); s = (struct sv){s.data + sizeof(word), s.len - sizeof(word)}) {
		memcpy(&word, s.data, sizeof(word));
		h = (h ^ word) * factor;
		h ^= h >> 32;
	}
	/* The rest and its length, which keeps "a","bc" and "ab","c" apart. */
	word = s.len << 56;
	if (s.len)
		memcpy(&word, s.data, s.len);
	h = (h ^ word) * factor;
	return h ^ h >> 32;
}

static uint64_t metric_hash(const struct aggregate *a, const struct dogstatsd_metric *m)
{
	uint64_t h = mix(a->seed ^ (uintptr_t)m->origin, m->name) ^ m->type;
	for (unsigned i = 0; i < m->tag_cnt; i++)
		h = mix(mix(h, m->tags[i].key), m->tags[i].value);
	return h ^ h >> 29;
}

static bool is_series(const struct series *s, const struct dogstatsd_metric *m, uint64_t hash)
{
	if (s->hash != hash || s->who != m->origin || s->type != m->type || s->tag_cnt != m->tag_cnt ||
	    !sv_eq(s->name, m->name))
		return false;
	for (unsigned i = 0; i < s->tag_cnt; i++)
		if (!sv_eq(s->tags[i].key, m->tags[i].key) || !sv_eq(s->tags[i].value, m->tags[i].value))
			return false;
	return true;
}

static struct sv lay(char **at, struct sv s)
{
	char *to = *at;
	if (s.len)
		memcpy(to, s.data, s.len);
	*at += s.len;
	return (struct sv){to, s.len};
}

static struct series *series_new(const struct dogstatsd_metric *m, uint64_t hash)
{
	size_t sz = sizeof(struct series) + m->tag_cnt * sizeof(struct tag), text = m->name.len;
	for (unsigned i = 0; i < m->tag_cnt; i++)
		text += m->tags[i].key.len + m->tags[i].value.len;
	struct series *s = calloc(1, sz + text);
	if (!s)
		return NULL;
	char *at = (char *)s + sz;
	s->hash = hash;
	s->name = lay(&at, m->name);
	s->type = m->type;
	s->rate = m->rate;
	s->tag_cnt = m->tag_cnt;
	for (unsigned i = 0; i < m->tag_cnt; i++) {
		s->tags[i].key = lay(&at, m->tags[i].key);
		s->tags[i].value = lay(&at, m->tags[i].value);
	}
	s->who = process_info_ref((struct process_info *)(uintptr_t)m->origin);
	return s;
}

static struct series *series_of(struct aggregate *a, const struct dogstatsd_metric *m)
{
	uint64_t hash = metric_hash(a, m);
	struct series **bucket = &a->buckets[hash & (a->bucket_cnt - 1)];
	for (struct series *s = *bucket; s; s = s->next)
		if (is_series(s, m, hash))
			return s;
	if (a->stats.series >= a->max || m->tag_cnt > AGGREGATE_MAX_TAGS)
		return NULL;
	struct series *s = series_new(m, hash);
	if (!s)
		return NULL;
	s->next = *bucket;
	*bucket = s;
	a->stats.series++;
	return s;
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

/* xorshift64*: which values stay is nobody's secret. */
static uint64_t random_next(struct aggregate *a)
{
	a->random ^= a->random >> 12;
	a->random ^= a->random << 25;
	a->random ^= a->random >> 27;
	return a->random * 0x2545f4914f6cdd1dULL;
}

static bool values_grow(struct series *s)
{
	uint32_t cap = s->cap ? s->cap * 2 : NO_VALUES_FIRST;
	double *grown = reallocarray(s->values, cap, sizeof(*grown));
	if (!grown)
		return false;
	s->values = grown;
	s->cap = cap;
	return true;
}

/* Every value of the interval is kept with the same probability (Vitter's algorithm R). */
static void values_add(struct aggregate *a, struct series *s, double v)
{
	if (s->kept < AGGREGATE_MAX_VALUES && (s->kept < s->cap || values_grow(s))) {
		s->values[s->kept++] = v;
		return;
	}
	uint64_t at = random_next(a) % s->seen;
	a->stats.thinned++;
	if (at < s->kept)
		s->values[at] = v;
}

void aggregate_add(struct aggregate *a, const struct dogstatsd_metric *m)
{
	struct series *s = series_of(a, m);
	double v = m->values[0];
	if (!s) {
		a->stats.refused++;
		return;
	}
	a->stats.added++;
	s->seen++;
	if (m->type == DOGSTATSD_COUNT)
		s->value += v;
	else if (m->type == DOGSTATSD_GAUGE)
		s->value = v;
	else
		values_add(a, s, v);
}

/* --- flushing ----------------------------------------------------------------------------------------------------- */

static bool has_key(const struct tag *tags, unsigned cnt, struct sv key)
{
	for (unsigned i = 0; i < cnt; i++)
		if (sv_eq(tags[i].key, key))
			return true;
	return false;
}

unsigned metric_tags(const struct process_info *who, struct tag *ret, unsigned max)
{
	const struct tag first[] = {
		{SV("service"), who->service}, {SV("env"), who->env}, {SV("version"), who->version}};
	unsigned cnt = 0;
	for (unsigned i = 0; i < sizeof(first) / sizeof(first[0]) && cnt < max; i++)
		if (first[i].value.len)
			ret[cnt++] = first[i];
	for (uint32_t i = 0; i < who->tag_cnt && cnt < max; i++)
		if (!has_key(ret, cnt, who->tags[i].key))
			ret[cnt++] = who->tags[i];
	return cnt;
}

static void series_send(struct series *s, struct dogstatsd *d)
{
	struct tag tags[2 * AGGREGATE_MAX_TAGS], theirs[AGGREGATE_MAX_TAGS];
	unsigned cnt = 0, their_cnt = metric_tags(s->who, theirs, AGGREGATE_MAX_TAGS);
	for (unsigned i = 0; i < their_cnt; i++)
		if (!has_key(s->tags, s->tag_cnt, theirs[i].key))
			tags[cnt++] = theirs[i];
	for (unsigned i = 0; i < s->tag_cnt; i++)
		tags[cnt++] = s->tags[i];
	bool many = s->type != DOGSTATSD_COUNT && s->type != DOGSTATSD_GAUGE;
	double share = many && s->kept ? (double)s->kept / (double)s->seen : 1;
	dogstatsd_add(d, &(struct dogstatsd_metric){
				 .name = s->name,
				 .type = s->type,
				 .values = many ? s->values : &s->value,
				 .value_cnt = many ? s->kept : 1,
				 .rate = (s->rate > 0 ? s->rate : 1) * share,
				 .tags = tags,
				 .tag_cnt = cnt,
				 .origin = s->who,
			 });
	s->kept = 0;
	s->seen = 0;
	s->idle = 0;
	if (s->type == DOGSTATSD_COUNT)
		s->value = 0;
}

void aggregate_flush(struct aggregate *a, struct dogstatsd *d)
{
	for (uint32_t i = 0; i < a->bucket_cnt; i++) {
		struct series **at = &a->buckets[i];
		while (*at) {
			struct series *s = *at;
			if (s->seen) {
				series_send(s, d);
			} else if (++s->idle >= AGGREGATE_IDLE_FLUSHES) {
				*at = s->next;
				series_free(s);
				a->stats.series--;
				continue;
			}
			at = &s->next;
		}
	}
}

void aggregate_stats(const struct aggregate *a, struct aggregate_stats *ret)
{
	*ret = a->stats;
}
