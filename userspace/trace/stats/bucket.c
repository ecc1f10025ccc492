/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/stats/bucket.h"

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static uint64_t text_hash(struct sv s)
{
	uint64_t h = 0xcbf29ce484222325ULL;
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.data[i]) * 0x100000001b3ULL;
	return h;
}

/* False: it is new, and there is no room for it. */
static bool set_takes(struct stats_set *set, struct sv value, uint32_t max)
{
	uint64_t wide = text_hash(value);
	uint32_t hash = hindex_hash(wide, 0), ref;
	for (uint32_t i = hash; (ref = hindex_at(&set->index, &i, hash)) != HINDEX_NONE; i++)
		if (set->hashes.data[ref] == wide)
			return true;
	if (set->hashes.cnt >= max || vec_push(&set->hashes, wide))
		return false;
	if (hindex_put(&set->index, hash, (uint32_t)set->hashes.cnt - 1)) {
		set->hashes.cnt--;
		return false;
	}
	return true;
}

static void set_reset(struct stats_set *set)
{
	hindex_clear(&set->index);
	set->hashes.cnt = 0;
}

static void set_release(struct stats_set *set)
{
	hindex_release(&set->index);
	vec_release(&set->hashes);
}

/* Each "key:value" becomes "key:tracer_blocked_value". */
static struct sv block_values(struct arena *arena, struct sv pairs)
{
	struct sbuf text = {0};
	for (struct sv rest = pairs; rest.len;) {
		struct sv pair = sv_of(rest.data);
		const char *colon = memchr(pair.data, ':', pair.len);
		sbuf_add(&text, pair.data, colon ? (size_t)(colon - pair.data) : pair.len);
		sbuf_addc(&text, ':');
		sbuf_addsv(&text, STATS_BLOCKED);
		sbuf_addc(&text, '\0');
		rest = (struct sv){rest.data + pair.len + 1, rest.len - pair.len - 1};
	}
	struct sv copy = arena_dup(arena, sbuf_sv(&text));
	sbuf_release(&text);
	return copy;
}

#define BLOCKED_PAIR ((struct sv){"tracer_blocked_value", sizeof("tracer_blocked_value")}) /* with its NUL */

static void block_all(struct stats_key *k)
{
	static const bool blocked[STATS_STRINGS] = {
		[STATS_SERVICE] = true, [STATS_NAME] = true,   [STATS_RESOURCE] = true,	   [STATS_TYPE] = true,
		[STATS_KIND] = true,	[STATS_SOURCE] = true, [STATS_HTTP_METHOD] = true, [STATS_HTTP_ENDPOINT] = true,
	};
	for (int i = 0; i < STATS_STRINGS; i++)
		k->strings[i] = blocked[i] ? STATS_BLOCKED : SV_NULL;
	k->strings[STATS_PEER] = k->strings[STATS_ADDITIONAL] = BLOCKED_PAIR;
	k->peer_cnt = k->additional_cnt = 1;
	k->http_status = 0;
	k->trace_root = k->synthetics = 0;
}

static bool block_field(struct stats_set *set, struct stats_key *k, enum stats_string field, uint32_t max)
{
	if (!k->strings[field].len || set_takes(set, k->strings[field], max))
		return false;
	if (field == STATS_PEER)
		k->peer_cnt = 1;
	k->strings[field] = field == STATS_PEER ? BLOCKED_PAIR : STATS_BLOCKED;
	return true;
}

/* Of a key that is not there yet. */
static bool stats_bucket_bound(struct stats_bucket *b, struct stats_key *k, uint32_t max_keys)
{
	if (b->groups.cnt >= max_keys) {
		block_all(k);
		return true;
	}
	bool blocked = block_field(&b->resources, k, STATS_RESOURCE, STATS_MAX_RESOURCES);
	blocked |= block_field(&b->endpoints, k, STATS_HTTP_ENDPOINT, STATS_MAX_ENDPOINTS);
	blocked |= block_field(&b->peers, k, STATS_PEER, STATS_MAX_PEER_SETS);
	if (k->additional_cnt && !set_takes(&b->additional, k->strings[STATS_ADDITIONAL], STATS_MAX_ADDITIONAL_SETS)) {
		k->strings[STATS_ADDITIONAL] = block_values(&b->arena, k->strings[STATS_ADDITIONAL]);
		blocked = true;
	}
	return blocked;
}

/* --- counting ----------------------------------------------------------------------------------------------------- */

static struct stats_group *stats_bucket_find(struct stats_bucket *b, const struct stats_key *k)
{
	uint32_t hash = (uint32_t)k->hash, ref;
	for (uint32_t i = hash; (ref = hindex_at(&b->by_key, &i, hash)) != HINDEX_NONE; i++)
		if (stats_key_eq(&b->groups.data[ref].key, k))
			return &b->groups.data[ref];
	return NULL;
}

static struct stats_group *stats_bucket_make(struct stats_bucket *b, const struct stats_key *k)
{
	struct stats_group g = {.key = *k};
	for (int i = 0; i < STATS_STRINGS; i++) {
		if (!k->strings[i].len)
			continue;
		g.key.strings[i] = arena_dup(&b->arena, k->strings[i]);
		if (!g.key.strings[i].data)
			return NULL;
	}
	if (vec_push(&b->groups, g))
		return NULL;
	if (hindex_put(&b->by_key, (uint32_t)k->hash, (uint32_t)b->groups.cnt - 1)) {
		b->groups.cnt--;
		return NULL;
	}
	return &b->groups.data[b->groups.cnt - 1];
}

int stats_bucket_add(struct stats_bucket *b, struct stats_key *key, const struct span *s, bool top_level,
		     uint32_t max_keys)
{
	struct stats_group *g = stats_bucket_find(b, key);
	if (!g) {
		if (stats_bucket_bound(b, key, max_keys)) {
			b->collapsed++;
			stats_key_hash(key);
			g = stats_bucket_find(b, key);
		}
		if (!g)
			g = stats_bucket_make(b, key);
		if (!g)
			return -ENOMEM;
	}
	int64_t duration = s->duration_ns > 0 ? s->duration_ns : 0;
	int rc = sketch_add(s->error ? &g->failed : &g->ok, &b->arena, duration);
	if (rc < 0)
		return rc;
	g->hits++;
	g->errors += s->error != 0;
	g->top_level_hits += top_level;
	g->duration_ns += (uint64_t)duration;
	return 0;
}

void stats_bucket_reset(struct stats_bucket *b)
{
	b->groups.cnt = 0;
	b->collapsed = 0;
	hindex_clear(&b->by_key);
	set_reset(&b->resources);
	set_reset(&b->endpoints);
	set_reset(&b->peers);
	set_reset(&b->additional);
	arena_reset(&b->arena);
}

void stats_bucket_release(struct stats_bucket *b)
{
	vec_release(&b->groups);
	hindex_release(&b->by_key);
	set_release(&b->resources);
	set_release(&b->endpoints);
	set_release(&b->peers);
	set_release(&b->additional);
	arena_release(&b->arena);
}
