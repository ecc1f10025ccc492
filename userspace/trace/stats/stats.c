/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/stats/stats.h"

#include <stdlib.h>
#include <uthash.h>

/* The open buckets of processes that are counted together. Those of the time now are flushed when two newer ones may be
 * open; with the one in the making that makes three, and one more while a pass is late. */
#define GROUP_BUCKETS (STATS_OPEN + 2)
#define STATS_IDLE_NS (6 * STATS_BUCKET_NS)

struct process_set {
	struct process_info *who; /* one of them; a reference is held */
	struct stats_bucket buckets[GROUP_BUCKETS];
	bool used[GROUP_BUCKETS];
	uint64_t sequence;
	uint32_t known; /* processes that lead here */
	struct process_set *next;
};

struct known {
	struct process_info *info; /* a reference is held */
	struct process_set *set;
	uint64_t last_ns; /* Unix time of its last chunk */
	UT_hash_handle hh;
};

struct stats {
	struct stats_options options;
	struct process_set *sets;
	struct known *processes, *last;
	struct stats_tags keys;
	struct stats_scratch scratch;
	struct tags tags;
	struct sbuf env;
	uint64_t oldest_ns; /* what ended before is counted here */
	uint32_t keys_open; /* groups of all open buckets */
	struct stats_stats stats;
};

struct stats *stats_new(const struct stats_options *options)
{
	struct stats *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->options = *options;
	stats_tags_init(&s->keys);
	return s;
}

static void known_free(struct stats *s, struct known *k)
{
	HASH_DEL(s->processes, k);
	k->set->known--;
	if (s->last == k)
		s->last = NULL;
	process_info_unref(k->info);
	free(k);
}

static void set_free(struct process_set *set)
{
	for (int i = 0; i < GROUP_BUCKETS; i++)
		stats_bucket_release(&set->buckets[i]);
	process_info_unref(set->who);
	free(set);
}

void stats_free(struct stats *s)
{
	struct known *k, *next;
	if (!s)
		return;
	HASH_ITER (hh, s->processes, k, next)
		known_free(s, k);
	while (s->sets) {
		struct process_set *set = s->sets;
		s->sets = set->next;
		set_free(set);
	}
	stats_tags_release(&s->keys);
	sbuf_release(&s->scratch.text);
	sbuf_release(&s->env);
	tags_release(&s->tags);
	free(s);
}

int stats_set_peer_tags(struct stats *s, const struct sv *keys, uint32_t cnt)
{
	return stats_tags_set_peer(&s->keys, keys, cnt);
}

int stats_set_additional_tags(struct stats *s, const struct sv *keys, uint32_t cnt)
{
	return stats_tags_set_additional(&s->keys, keys, cnt);
}

void stats_set_default_env(struct stats *s, struct sv env)
{
	sbuf_reset(&s->env);
	sbuf_addsv(&s->env, env);
}

/* --- sets of processes -------------------------------------------------------------------------------------------- */

static bool set_is_about(const struct process_set *set, const struct process_info *p)
{
	const struct process_info *who = set->who;
	return sv_eq(who->env, p->env) && sv_eq(who->version, p->version) && sv_eq(who->service, p->service) &&
	       sv_eq(who->hostname, p->hostname) && sv_eq(who->language, p->language) &&
	       sv_eq(who->container_id, p->container_id);
}

static struct process_set *stats_set(struct stats *s, struct process_info *info)
{
	struct process_set *set = s->sets;
	while (set && !set_is_about(set, info))
		set = set->next;
	if (set || s->stats.groups >= STATS_MAX_GROUPS)
		return set;
	set = calloc(1, sizeof(*set));
	if (!set)
		return NULL;
	set->who = process_info_ref(info);
	set->next = s->sets;
	s->sets = set;
	s->stats.groups++;
	return set;
}

/* NULL: too many, or no memory. */
static struct process_set *stats_set_of(struct stats *s, struct process_info *info, uint64_t now_ns)
{
	struct known *k = s->last;
	if (k && k->info == info) {
		k->last_ns = now_ns;
		return k->set;
	}
	HASH_FIND_PTR(s->processes, &info, k);
	if (!k) {
		struct process_set *set = stats_set(s, info);
		k = set ? calloc(1, sizeof(*k)) : NULL;
		if (!k)
			return NULL;
		k->info = process_info_ref(info);
		k->set = set;
		set->known++;
		HASH_ADD_PTR(s->processes, info, k);
	}
	k->last_ns = now_ns;
	s->last = k;
	return k->set;
}

/* --- buckets ------------------------------------------------------------------------------------------------------ */

static uint64_t align(uint64_t ns)
{
	return ns - ns % STATS_BUCKET_NS;
}

static void stats_emit(struct stats *s, struct process_set *set, struct stats_bucket *b)
{
	size_t first = 0;
	while (first < b->groups.cnt) {
		struct stats_payload_options o = {.who = set->who,
						  .env = sbuf_sv(&s->env),
						  .sequence = set->sequence,
						  .duration_ns = STATS_BUCKET_NS};
		struct stats_payload *p = stats_payload_new(b, &first, &o);
		uint64_t hits = p ? p->hits : 0;
		if (p && stats_box_put(s->options.box, p)) {
			set->sequence++;
			s->stats.payloads++;
			continue;
		}
		if (!p)
			for (; first < b->groups.cnt; first++)
				hits += b->groups.data[first].hits;
		s->stats.lost += hits;
	}
	s->stats.collapsed += b->collapsed;
	s->keys_open -= (uint32_t)b->groups.cnt;
	stats_bucket_reset(b);
}

/* The bucket that begins at `start_ns`; the oldest one goes early when there is no room. */
static struct stats_bucket *stats_bucket_at(struct stats *s, struct process_set *set, uint64_t start_ns)
{
	int room = -1, oldest = 0;
	for (int i = 0; i < GROUP_BUCKETS; i++) {
		if (set->used[i] && set->buckets[i].start_ns == start_ns)
			return &set->buckets[i];
		if (!set->used[i])
			room = i;
		if (set->buckets[i].start_ns < set->buckets[oldest].start_ns)
			oldest = i;
	}
	if (room < 0) {
		stats_emit(s, set, &set->buckets[oldest]);
		room = oldest;
	}
	set->used[room] = true;
	set->buckets[room].start_ns = start_ns;
	return &set->buckets[room];
}

static uint64_t bucket_start(const struct stats *s, const struct span *span, uint64_t now_ns)
{
	int64_t end = span->start_ns + (span->duration_ns > 0 ? span->duration_ns : 0);
	uint64_t start = end > 0 ? align((uint64_t)end) : 0, newest = align(now_ns);
	start = start > newest ? newest : start;
	return start < s->oldest_ns ? s->oldest_ns : start;
}

static void stats_move(struct stats *s, uint64_t now_ns)
{
	uint64_t oldest = align(now_ns) - (STATS_OPEN - 1) * STATS_BUCKET_NS;
	/* The clock was set back: what waits for a time that is far off now goes at once. */
	if (s->oldest_ns > align(now_ns)) {
		struct known *k, *next;
		stats_flush(s);
		s->oldest_ns = oldest;
		HASH_ITER (hh, s->processes, k, next)
			k->last_ns = now_ns;
	}
	if (oldest > s->oldest_ns)
		s->oldest_ns = oldest;
}

/* --- counting ----------------------------------------------------------------------------------------------------- */

void stats_chunk(struct stats *s, struct chunk *c, uint64_t now_ns)
{
	struct process_set *set = stats_set_of(s, c->process, now_ns);
	struct stats_bucket *b = NULL;
	struct stats_key key;
	bool top_level;
	s->stats.spans += c->span_cnt;
	if (!set || !c->span_cnt) {
		s->stats.left_to_agent += c->span_cnt;
		return;
	}
	stats_move(s, now_ns);
	tags_start(&s->tags, c);
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		if (!stats_key_of(&key, &s->tags, i, &s->keys, &s->scratch, &top_level))
			continue;
		uint64_t start = bucket_start(s, &c->spans[i], now_ns);
		if (!b || b->start_ns != start)
			b = stats_bucket_at(s, set, start);
		size_t before = b->groups.cnt;
		uint32_t max = s->keys_open < STATS_MAX_OPEN_KEYS ? STATS_MAX_KEYS : 0;
		if (stats_bucket_add(b, &key, &c->spans[i], top_level, max) == 0)
			s->stats.counted++;
		else
			s->stats.lost++;
		s->keys_open += (uint32_t)(b->groups.cnt - before);
	}
	c->counted = 1;
}

static void set_flush(struct stats *s, struct process_set *set, uint64_t before_ns)
{
	for (int i = 0; i < GROUP_BUCKETS; i++) {
		if (!set->used[i] || set->buckets[i].start_ns >= before_ns)
			continue;
		stats_emit(s, set, &set->buckets[i]);
		set->used[i] = false;
	}
}

/* Who was silent for a while is forgotten, and made anew when it speaks again. */
static void stats_sweep(struct stats *s, uint64_t now_ns)
{
	struct known *k, *next;
	HASH_ITER (hh, s->processes, k, next)
		if (now_ns > k->last_ns + STATS_IDLE_NS)
			known_free(s, k);
	for (struct process_set **at = &s->sets; *at;) {
		struct process_set *set = *at;
		bool busy = set->known > 0;
		for (int i = 0; i < GROUP_BUCKETS; i++)
			busy |= set->used[i];
		if (busy) {
			at = &set->next;
			continue;
		}
		*at = set->next;
		set_free(set);
		s->stats.groups--;
	}
}

void stats_pass(struct stats *s, uint64_t now_ns)
{
	stats_move(s, now_ns);
	for (struct process_set *set = s->sets; set; set = set->next)
		set_flush(s, set, s->oldest_ns);
	stats_sweep(s, now_ns);
}

void stats_flush(struct stats *s)
{
	for (struct process_set *set = s->sets; set; set = set->next)
		set_flush(s, set, UINT64_MAX);
}

void stats_stats(const struct stats *s, struct stats_stats *ret)
{
	*ret = s->stats;
}
