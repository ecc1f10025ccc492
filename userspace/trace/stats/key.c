/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/stats/key.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "trace/stats/derive.h"

/* --- hashes ------------------------------------------------------------------------------------------------------- */

static inline uint64_t mix(uint64_t h, uint64_t w)
{
	h = (h ^ w) * 0x9fb21c651e98df25ULL;
	return h ^ h >> 32;
}

static inline uint64_t load(const char *at, size_t size)
{
	uint64_t w = 0;
	memcpy(&w, at, size);
	return w;
}

/* Eight bytes a step; the last step overlaps the one before it, so that there is no loop over the bytes that are left.
 */
static inline uint64_t mix_text(uint64_t h, struct sv s)
{
	h ^= s.len << 56;
	if (s.len >= 8) {
		for (size_t i = 0; i + 8 < s.len; i += 8)
			h = mix(h, load(s.data + i, 8));
		return mix(h, load(s.data + s.len - 8, 8));
	}
	if (s.len >= 4)
		return mix(h, load(s.data, 4) << 32 | load(s.data + s.len - 4, 4));
	if (s.len == 0)
		return mix(h, 0);
	return mix(h, load(s.data, 1) | load(s.data + s.len / 2, 1) << 8 | load(s.data + s.len - 1, 1) << 16);
}

/* --- tags that matter --------------------------------------------------------------------------------------------- */

enum {
	TAG_KIND,
	TAG_HTTP_METHOD,
	TAG_HTTP_ENDPOINT,
	TAG_HTTP_ROUTE,
	TAG_HTTP_STATUS,
	TAG_HTTP_STATUS_OTEL,
	TAG_GRPC_FIRST, /* in the Agent's order */
	TAG_GRPC_LAST = TAG_GRPC_FIRST + 3,
	TAG_BASE_SERVICE,
	TAG_SOURCE,
	TAG_MEASURED,
	TAG_PARTIAL,
	TAGS,
};

static const struct sv fixed_keys[TAGS] = {
	[TAG_KIND] = SV("span.kind"),
	[TAG_HTTP_METHOD] = SV("http.method"),
	[TAG_HTTP_ENDPOINT] = SV("http.endpoint"),
	[TAG_HTTP_ROUTE] = SV("http.route"),
	[TAG_HTTP_STATUS] = SV("http.status_code"),
	[TAG_HTTP_STATUS_OTEL] = SV("http.response.status_code"),
	[TAG_GRPC_FIRST] = SV("rpc.grpc.status_code"),
	[TAG_GRPC_FIRST + 1] = SV("grpc.code"),
	[TAG_GRPC_FIRST + 2] = SV("rpc.grpc.status.code"),
	[TAG_GRPC_LAST] = SV("grpc.status.code"),
	[TAG_BASE_SERVICE] = SV("_dd.base_service"),
	[TAG_SOURCE] = SV("_dd.svc_src"),
	[TAG_MEASURED] = SV("_dd.measured"),
	[TAG_PARTIAL] = SV("_dd.partial_version"),
};

/* --- configured tags ---------------------------------------------------------------------------------------------- */

/* As the Agent sorts "key:value" texts: a colon follows the shorter one. */
static int compare_keys(const void *a, const void *b)
{
	const struct sv *x = a, *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int d = memcmp(x->data, y->data, n);
	if (d || x->len == y->len)
		return d;
	unsigned char after_x = x->len > n ? (unsigned char)x->data[n] : ':';
	unsigned char after_y = y->len > n ? (unsigned char)y->data[n] : ':';
	return after_x - after_y;
}

/* Where the key is or would be. */
static inline struct stats_slot *slot_of(const struct stats_tags *t, struct sv key)
{
	unsigned i = (unsigned)(mix_text(0, key) >> 32);
	for (;; i++) {
		const struct stats_slot *slot = &t->slots[i % STATS_SLOTS];
		if (!slot->key.len || sv_eq(slot->key, key))
			return (struct stats_slot *)slot;
	}
}

static struct stats_slot *slot_make(struct stats_tags *t, struct sv key)
{
	struct stats_slot *slot = slot_of(t, key);
	if (!slot->key.len)
		*slot = (struct stats_slot){.key = key, .fixed = -1, .wanted = -1};
	return slot;
}

static void stats_tags_index(struct stats_tags *t)
{
	memset(t->slots, 0, sizeof(t->slots));
	for (int i = 0; i < TAGS; i++)
		slot_make(t, fixed_keys[i])->fixed = (int16_t)i;
	for (uint32_t i = 0; i < t->peer_cnt; i++)
		slot_make(t, t->peer[i])->wanted = (int16_t)i;
	for (uint32_t i = 0; i < t->additional_cnt; i++)
		slot_make(t, t->additional[i])->also = (int16_t)(i + 1);
}

void stats_tags_init(struct stats_tags *t)
{
	*t = (struct stats_tags){0};
	stats_tags_index(t);
}

static int copy_keys(struct stats_tags *t, struct sv *to, uint32_t *ret_cnt, const struct sv *keys, uint32_t cnt,
		     uint32_t max)
{
	*ret_cnt = 0;
	for (uint32_t i = 0; i < cnt && *ret_cnt < max; i++) {
		to[*ret_cnt] = arena_dup(&t->arena, keys[i]);
		if (!to[*ret_cnt].data) {
			*ret_cnt = 0;
			return -ENOMEM;
		}
		*ret_cnt += keys[i].len > 0;
	}
	return 0;
}

/* One arena for both: they change when an Agent does, which is seldom. */
static int stats_tags_set(struct stats_tags *t, const struct sv *peer, uint32_t peer_cnt, const struct sv *additional,
			  uint32_t additional_cnt)
{
	struct stats_tags made = {0};
	int rc = copy_keys(&made, made.peer, &made.peer_cnt, peer, peer_cnt, STATS_MAX_PEER_TAGS);
	if (rc == 0)
		rc = copy_keys(&made, made.additional, &made.additional_cnt, additional, additional_cnt,
			       STATS_MAX_ADDITIONAL_TAGS);
	qsort(made.peer, made.peer_cnt, sizeof(made.peer[0]), compare_keys);
	qsort(made.additional, made.additional_cnt, sizeof(made.additional[0]), compare_keys);
	arena_release(&t->arena);
	if (rc < 0) {
		arena_release(&made.arena);
		made = (struct stats_tags){0};
	}
	*t = made;
	stats_tags_index(t);
	return rc;
}

int stats_tags_set_peer(struct stats_tags *t, const struct sv *keys, uint32_t cnt)
{
	return stats_tags_set(t, keys, cnt, t->additional, t->additional_cnt);
}

int stats_tags_set_additional(struct stats_tags *t, const struct sv *keys, uint32_t cnt)
{
	return stats_tags_set(t, t->peer, t->peer_cnt, keys, cnt);
}

void stats_tags_release(struct stats_tags *t)
{
	arena_release(&t->arena);
	*t = (struct stats_tags){0};
}

/* --- what is known of a span -------------------------------------------------------------------------------------- */

struct found {
	struct sv text[TAGS];
	double number[TAGS];
	uint32_t texts, numbers; /* bits of those there */
	/* Of the configured tags: those of peers, then the additional ones. */
	struct sv wanted[STATS_MAX_PEER_TAGS + STATS_MAX_ADDITIONAL_TAGS];
	uint64_t there[(STATS_MAX_PEER_TAGS + STATS_MAX_ADDITIONAL_TAGS + 63) / 64];
};

static inline void found_want(struct found *f, unsigned i, struct sv value)
{
	uint64_t bit = 1ULL << (i % 64);
	f->wanted[i] = value;
	f->there[i / 64] = value.len ? f->there[i / 64] | bit : f->there[i / 64] & ~bit;
}

static inline void found_text(struct found *f, const struct stats_tags *tags, struct sv key, struct sv value)
{
	const struct stats_slot *slot = key.len ? slot_of(tags, key) : NULL;
	if (!slot || !slot->key.len)
		return;
	if (slot->fixed >= 0) {
		f->text[slot->fixed] = value;
		f->texts |= 1u << slot->fixed;
	}
	if (slot->wanted >= 0)
		found_want(f, (unsigned)slot->wanted, value);
	if (slot->also)
		found_want(f, STATS_MAX_PEER_TAGS + (unsigned)slot->also - 1, value);
}

static void find_texts(struct found *f, const struct stats_tags *tags, const struct tag *list, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		found_text(f, tags, list[i].key, list[i].value);
}

/* Later ones win, as in tags.c. */
static void find_tags(struct found *f, const struct stats_tags *tags, const struct process_info *p,
		      const struct span *s)
{
	f->texts = f->numbers = 0;
	memset(f->there, 0, sizeof(f->there));
	find_texts(f, tags, p->tags, p->tag_cnt);
	find_texts(f, tags, s->shared_tags, s->shared_tag_cnt);
	find_texts(f, tags, s->tags, s->tag_cnt);
	for (uint32_t i = 0; i < s->metric_cnt; i++) {
		const struct stats_slot *slot = s->metrics[i].key.len ? slot_of(tags, s->metrics[i].key) : NULL;
		if (!slot || !slot->key.len || slot->fixed < 0)
			continue;
		f->number[slot->fixed] = s->metrics[i].value;
		f->numbers |= 1u << slot->fixed;
	}
}

static struct sv text_of(const struct found *f, int tag)
{
	return f->texts & 1u << tag ? f->text[tag] : SV_NULL;
}

static bool number_is(const struct found *f, int tag, double *ret)
{
	if (!(f->numbers & 1u << tag))
		return false;
	*ret = f->number[tag];
	return true;
}

enum kind { KIND_NONE, KIND_OTHER, KIND_INTERNAL, KIND_SERVER, KIND_PEER };

static bool is_word(struct sv s, const char *word)
{
	for (size_t i = 0; i < s.len; i++)
		if ((s.data[i] | 0x20) != word[i])
			return false;
	return true;
}

/* KIND_PEER: one that talks to a peer. Letter case does not count. */
static enum kind kind_of(struct sv s)
{
	switch (s.len) {
	case 0:
		return KIND_NONE;
	case 6:
		return is_word(s, "client") ? KIND_PEER : is_word(s, "server") ? KIND_SERVER : KIND_OTHER;
	case 8:
		return is_word(s, "internal")				  ? KIND_INTERNAL
		       : is_word(s, "producer") || is_word(s, "consumer") ? KIND_PEER
									  : KIND_OTHER;
	}
	return KIND_OTHER;
}

static bool span_counts(const struct found *f, enum kind kind, bool top_level)
{
	double v;
	/* A long-running span that is sent again and again: only the last one counts. */
	if (number_is(f, TAG_PARTIAL, &v) && v >= 0)
		return false;
	return top_level || kind >= KIND_SERVER || (number_is(f, TAG_MEASURED, &v) && v == 1);
}

static bool whole_number(struct sv s, uint32_t *ret)
{
	uint64_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(s.data[i] - '0');
		if (n > UINT32_MAX)
			return false;
	}
	*ret = (uint32_t)n;
	return s.len > 0;
}

static uint32_t http_status(const struct found *f)
{
	uint32_t n;
	double v;
	for (int tag = TAG_HTTP_STATUS; tag <= TAG_HTTP_STATUS_OTEL; tag++) {
		if (number_is(f, tag, &v))
			return v >= 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
		if (whole_number(text_of(f, tag), &n))
			return n;
	}
	return 0;
}

static struct sv grpc_code(const struct found *f, struct stats_scratch *scratch)
{
	double v;
	if (!((f->texts | f->numbers) >> TAG_GRPC_FIRST & 15))
		return SV_NULL;
	for (int tag = TAG_GRPC_FIRST; tag <= TAG_GRPC_LAST; tag++) {
		struct sv text = text_of(f, tag);
		if (text.len)
			return derive_grpc_code(text, scratch->grpc);
		if (!number_is(f, tag, &v))
			continue;
		char number[24];
		int n = snprintf(number, sizeof(number), "%lld", v >= 0 && v <= UINT32_MAX ? (long long)v : -1);
		return derive_grpc_code((struct sv){number, (size_t)n}, scratch->grpc);
	}
	return SV_NULL;
}

/* --- configured tags of a span ------------------------------------------------------------------------------------ */

static void add_pair(struct sbuf *out, struct sv key, struct sv value, bool peer)
{
	sbuf_addsv(out, key);
	sbuf_addc(out, ':');
	if (peer)
		derive_peer_value(out, value);
	else
		sbuf_addsv(out, value.len > STATS_MAX_ADDITIONAL_LEN ? STATS_BLOCKED : value);
	sbuf_addc(out, '\0');
}

static uint16_t add_wanted(struct sbuf *out, const struct found *f, const struct sv *keys, uint32_t first, uint32_t cnt)
{
	uint16_t added = 0;
	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t ref = first + i;
		if (!(f->there[ref / 64] >> (ref % 64) & 1))
			continue;
		add_pair(out, keys[i], f->wanted[ref], first == 0);
		added++;
	}
	return added;
}

/* `foreign`: the process's service, when the span's is another one. */
static void key_tags(struct stats_key *k, struct found *f, const struct stats_tags *tags, struct stats_scratch *scratch,
		     enum kind kind, struct sv foreign)
{
	struct sbuf *text = &scratch->text;
	struct sv base_service = foreign.len ? foreign : text_of(f, TAG_BASE_SERVICE);
	sbuf_reset(text);
	k->peer_cnt = k->additional_cnt = 0;
	if (foreign.len)
		found_text(f, tags, SV("_dd.base_service"), foreign);
	if (tags->peer_cnt && kind == KIND_PEER) {
		k->peer_cnt = add_wanted(text, f, tags->peer, 0, tags->peer_cnt);
	} else if (tags->peer_cnt && base_service.len && (kind == KIND_NONE || kind == KIND_INTERNAL)) {
		add_pair(text, SV("_dd.base_service"), base_service, true);
		k->peer_cnt = 1;
	}
	size_t peer_len = text->len;
	if (tags->additional_cnt)
		k->additional_cnt = add_wanted(text, f, tags->additional, STATS_MAX_PEER_TAGS, tags->additional_cnt);
	k->strings[STATS_PEER] = (struct sv){text->data, peer_len};
	k->strings[STATS_ADDITIONAL] =
		(struct sv){peer_len < text->len ? text->data + peer_len : NULL, text->len - peer_len};
}

/* --- the key ------------------------------------------------------------------------------------------------------ */

bool stats_key_of(struct stats_key *k, const struct tags *t, uint32_t i, const struct stats_tags *tags,
		  struct stats_scratch *scratch, bool *ret_top_level)
{
	const struct chunk *c = t->chunk;
	const struct span *s = &c->spans[i];
	struct found f;
	*ret_top_level = tags_is_top_level(t, i);
	find_tags(&f, tags, c->process, s);
	enum kind kind = kind_of(text_of(&f, TAG_KIND));
	if (!span_counts(&f, kind, *ret_top_level))
		return false;
	struct sv base = SV_NULL, source;
	bool has_base = tags_has_base(t, i, &base, &source);
	struct sv endpoint = text_of(&f, TAG_HTTP_ENDPOINT);
	k->strings[STATS_SERVICE] = span_service(c, s);
	k->strings[STATS_NAME] = s->name;
	k->strings[STATS_RESOURCE] = span_resource(s);
	k->strings[STATS_TYPE] = s->type;
	k->strings[STATS_KIND] = text_of(&f, TAG_KIND);
	k->strings[STATS_GRPC_CODE] = grpc_code(&f, scratch);
	k->strings[STATS_HTTP_METHOD] = text_of(&f, TAG_HTTP_METHOD);
	k->strings[STATS_HTTP_ENDPOINT] = endpoint.len ? endpoint : text_of(&f, TAG_HTTP_ROUTE);
	k->strings[STATS_SOURCE] = has_base ? source : text_of(&f, TAG_SOURCE);
	k->http_status = http_status(&f);
	k->trace_root = s->parent_id == 0 ? 1 : 2;
	k->synthetics = sv_starts(c->origin, SV("synthetics"));
	key_tags(k, &f, tags, scratch, kind, has_base ? base : SV_NULL);
	if (scratch->text.failed)
		return false;
	stats_key_hash(k);
	return true;
}

void stats_key_hash(struct stats_key *k)
{
	uint64_t h = mix(0x2545f4914f6cdd1dULL, (uint64_t)k->http_status << 32 | (uint64_t)k->peer_cnt << 16 |
							(uint64_t)k->additional_cnt << 8 |
							(uint64_t)k->trace_root << 1 | k->synthetics);
	/* Those that are empty show in the numbers of the others. */
	for (uint64_t i = 0; i < STATS_STRINGS; i++)
		if (k->strings[i].len)
			h = mix_text(h + i, k->strings[i]);
	k->hash = h;
}

bool stats_key_eq(const struct stats_key *a, const struct stats_key *b)
{
	if (a->hash != b->hash || a->http_status != b->http_status || a->peer_cnt != b->peer_cnt ||
	    a->additional_cnt != b->additional_cnt || a->trace_root != b->trace_root || a->synthetics != b->synthetics)
		return false;
	for (int i = 0; i < STATS_STRINGS; i++)
		if (!sv_eq(a->strings[i], b->strings[i]))
			return false;
	return true;
}
