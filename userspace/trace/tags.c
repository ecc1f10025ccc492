/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/tags.h"

#include <strings.h>

#include "trace/annex.h"

/* --- a chunk ------------------------------------------------------------------------------------------------------ */

static uint32_t id_hash(uint64_t span_id)
{
	return hindex_hash(span_id, 0);
}

static void tags_index(struct tags *t)
{
	const struct chunk *c = t->chunk;
	for (uint32_t i = 0; i < c->span_cnt; i++)
		if (hindex_put(&t->by_id, id_hash(c->spans[i].span_id), i))
			t->failed = true;
}

static bool sv_same_service(struct sv a, struct sv b)
{
	return a.len == b.len && strncasecmp(a.data, b.data, a.len) == 0;
}

/* "%016llx", at a tenth of printf's price: it is paid once per trace. */
static void tags_hex(char out[17], uint64_t v)
{
	for (int i = 15; i >= 0; i--, v >>= 4)
		out[i] = "0123456789abcdef"[v & 15];
	out[16] = '\0';
}

/* The text of _dd.p.dm. */
static void tags_mechanism(char out[6], int mechanism)
{
	char *at = out;
	if (mechanism >= 0 && mechanism <= MECHANISM_MAX) {
		*at++ = '-';
		if (mechanism >= 100)
			*at++ = (char)('0' + mechanism / 100);
		if (mechanism >= 10)
			*at++ = (char)('0' + mechanism / 10 % 10);
		*at++ = (char)('0' + mechanism % 10);
	}
	*at = '\0';
}

/* The text of _dd.p.ksr: six decimals, rounded half up, without the zeros at their end. */
static void tags_rate(char out[10], double rate)
{
	unsigned n = rate >= 1 ? 1000000 : rate > 0 ? (unsigned)(rate * 1e6 + 0.5) : 0;
	char *at = out;
	*at++ = (char)('0' + n / 1000000);
	n %= 1000000;
	if (n)
		*at++ = '.';
	for (unsigned digit = 100000; n; n %= digit, digit /= 10)
		*at++ = (char)('0' + n / digit);
	*at = '\0';
}

void tags_start(struct tags *t, const struct chunk *c)
{
	t->chunk = c;
	t->common.id = 0;
	t->failed = false;
	t->services = false;
	t->head = 0;
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		const struct span *s = &c->spans[i];
		/* The last one: the Agent takes the last parentless span for the root. */
		if (s->local_root)
			t->head = i;
		t->services |= s->service.len && !sv_eq(s->service, c->process->service);
	}
	t->tid[0] = '\0';
	if (c->trace_hi)
		tags_hex(t->tid, c->trace_hi);
	tags_mechanism(t->dm, c->decided ? c->mechanism : MECHANISM_DEFAULT);
	t->ksr[0] = '\0';
	if (c->rates & (RATE_RULE | RATE_AGENT))
		tags_rate(t->ksr, c->rates & RATE_RULE ? c->rule_rate : c->agent_rate);
	hindex_clear(&t->by_id);
	if (t->services)
		tags_index(t);
}

void tags_release(struct tags *t)
{
	hindex_release(&t->by_id);
	vec_release(&t->meta);
	vec_release(&t->metrics);
	sbuf_release(&t->links);
	sbuf_release(&t->events);
	*t = (struct tags){0};
}

/* --- a span ------------------------------------------------------------------------------------------------------- */

static inline unsigned key_hash(struct sv key)
{
	if (!key.len)
		return 0;
	unsigned first = (unsigned char)key.data[0], middle = (unsigned char)key.data[key.len / 2],
		 last = (unsigned char)key.data[key.len - 1];
	return (unsigned)key.len * 11 + first + middle * 37 + last * 5;
}

/* True when `key` was not in the set; it is then. False says nothing. */
static inline bool key_is_new(uint64_t *keys, unsigned hash)
{
	uint64_t bit = 1ULL << (hash & 63);
	bool is_new = !(*keys & bit);
	*keys |= bit;
	return is_new;
}

static __attribute__((noinline)) bool meta_replace(struct tags *t, struct sv key, struct sv value)
{
	vec_foreach (have, &t->meta) {
		if (!sv_eq(have->key, key))
			continue;
		if (have < t->meta.data + t->common.cnt)
			t->common.id = 0;
		have->value = value;
		return true;
	}
	return false;
}

/* There is room for it. */
static inline __attribute__((always_inline)) void put_meta(struct tags *t, struct sv key, struct sv value)
{
	unsigned hash = key_hash(key);
	t->meta_sz += key.len + value.len;
	if (!key_is_new(&t->meta_keys[hash >> 6 & 3], hash) && meta_replace(t, key, value))
		return;
	t->meta.data[t->meta.cnt++] = (struct tag){key, value};
}

static void tags_meta(struct tags *t, struct sv key, struct sv value)
{
	if (vec_reserve(&t->meta, 1))
		t->failed = true;
	else
		put_meta(t, key, value);
}

static __attribute__((noinline)) bool metric_replace(struct tags *t, struct sv key, double value)
{
	vec_foreach (have, &t->metrics) {
		if (!sv_eq(have->key, key))
			continue;
		have->value = value;
		return true;
	}
	return false;
}

static inline __attribute__((always_inline)) void tags_metric(struct tags *t, struct sv key, double value)
{
	if (!key_is_new(&t->metric_keys, key_hash(key)) && metric_replace(t, key, value))
		return;
	if (vec_push(&t->metrics, ((struct metric){key, value})))
		t->failed = true;
}

static void tags_add(struct tags *t, const struct tag *tags, uint32_t cnt)
{
	if (vec_reserve(&t->meta, cnt)) {
		t->failed = true;
		return;
	}
	for (uint32_t i = 0; i < cnt; i++)
		put_meta(t, tags[i].key, tags[i].value);
}

bool tags_is_top_level(const struct tags *t, uint32_t i)
{
	const struct chunk *c = t->chunk;
	const struct span *s = &c->spans[i];
	if (s->top_level)
		return s->top_level == TOP_LEVEL_YES;
	if (s->local_root || s->parent_id == 0)
		return true;
	if (!t->services)
		return false;
	struct sv parent = c->process->service; /* the best guess for one that is in another chunk */
	uint32_t hash = id_hash(s->parent_id), ref;
	for (uint32_t at = hash; (ref = hindex_at(&t->by_id, &at, hash)) != HINDEX_NONE; at++) {
		if (c->spans[ref].span_id == s->parent_id) {
			parent = span_service(c, &c->spans[ref]);
			break;
		}
	}
	return !sv_eq(parent, span_service(c, s));
}

bool tags_is_foreign(const struct tags *t, uint32_t i)
{
	struct sv service = t->chunk->spans[i].service;
	return service.len && !sv_same_service(service, t->chunk->process->service);
}

bool tags_has_base(const struct tags *t, uint32_t i, struct sv *ret_base, struct sv *ret_source)
{
	const struct chunk *c = t->chunk;
	bool foreign = tags_is_foreign(t, i), mapped = c->process->base_service.len;
	if (!foreign && !mapped)
		return false;
	*ret_base = mapped ? c->process->base_service : c->process->service;
	*ret_source = foreign ? TAGS_SERVICE_SOURCE : TAGS_SERVICE_MAPPED;
	return !sv_same_service(span_service(c, &c->spans[i]), *ret_base);
}

static void tags_of_source(struct tags *t, const struct process_info *p)
{
	if (p->process_tags.len)
		tags_meta(t, SV("_dd.tags.process"), p->process_tags);
	if (p->commit.len)
		tags_meta(t, SV("_dd.git.commit.sha"), p->commit);
	if (p->repository.len)
		tags_meta(t, SV("_dd.git.repository_url"), p->repository);
	if (p->go_path.len)
		tags_meta(t, SV("_dd.go_path"), p->go_path);
	if (p->python_package.len)
		tags_meta(t, SV("_dd.python_main_package"), p->python_package);
}

static void tags_of_head(struct tags *t, const struct span *s)
{
	const struct chunk *c = t->chunk;
	tags_metric(t, SV("_sampling_priority_v1"), chunk_priority(c));
	if (t->tid[0])
		tags_meta(t, SV("_dd.p.tid"), sv_of(t->tid));
	if (t->dm[0])
		tags_meta(t, SV("_dd.p.dm"), sv_of(t->dm));
	if (t->ksr[0])
		tags_meta(t, SV("_dd.p.ksr"), sv_of(t->ksr));
	tags_add(t, c->propagated, c->propagated_cnt); /* an upstream _dd.p.ksr wins */
	if (c->origin.len)
		tags_meta(t, SV("_dd.origin"), c->origin);
	if (c->process->language.len)
		tags_meta(t, SV("language"), c->process->language);
	tags_of_source(t, c->process);
	if (!c->rates || !s->local_root || c->owner)
		return;
	if (c->rates & RATE_RULE)
		tags_metric(t, SV("_dd.rule_psr"), c->rule_rate);
	if (c->rates & RATE_LIMIT)
		tags_metric(t, SV("_dd.limit_psr"), c->limit_rate);
	if (c->rates & RATE_AGENT)
		tags_metric(t, SV("_dd.agent_psr"), c->agent_rate);
}

/* Orders to the sampler are not sent. */
static void tags_drop_manual(struct tags *t)
{
	size_t kept = 0;
	vec_foreach (m, &t->meta)
		if (!sv_eq(m->key, SV("manual.keep")) && !sv_eq(m->key, SV("manual.drop")))
			t->meta.data[kept++] = *m;
	if (kept != t->meta.cnt)
		t->common.id = 0;
	t->meta.cnt = kept;
}

static __attribute__((noinline)) void tags_of_annex(struct tags *t, const struct span_annex *a)
{
	if (t->links_as_tag && a->link_cnt) {
		sbuf_reset(&t->links);
		annex_links_json(a, &t->links);
		tags_meta(t, ANNEX_LINKS_TAG, sbuf_sv(&t->links));
	}
	if (t->events_as_tag && a->event_cnt) {
		sbuf_reset(&t->events);
		annex_events_json(a, &t->events);
		tags_meta(t, ANNEX_EVENTS_TAG, sbuf_sv(&t->events));
	}
	t->failed |= t->links.failed || t->events.failed;
}

/* What the last span left of them stays where it is. */
static inline bool common_stays(const struct tags *t, const struct span *s, bool foreign)
{
	const struct tags_common *c = &t->common;
	return c->id && c->shared == s->shared_tags && c->shared_cnt == s->shared_tag_cnt && c->foreign == foreign;
}

static void tags_of_common(struct tags *t, const struct span *s, bool foreign)
{
	const struct process_info *p = t->chunk->process;
	struct tags_common *c = &t->common;
	if (common_stays(t, s, foreign)) {
		t->meta.cnt = c->cnt;
		t->meta_sz = c->sz;
		memcpy(t->meta_keys, c->keys, sizeof(c->keys));
		return;
	}
	t->meta.cnt = t->meta_sz = c->cnt = 0;
	memset(t->meta_keys, 0, sizeof(t->meta_keys));
	tags_add(t, p->tags, p->tag_cnt);
	if (p->env.len)
		tags_meta(t, SV("env"), p->env);
	if (p->version.len && !foreign)
		tags_meta(t, SV("version"), p->version);
	tags_add(t, s->shared_tags, s->shared_tag_cnt);
	c->id = ++c->last_id;
	c->cnt = (uint32_t)t->meta.cnt;
	c->sz = t->meta_sz;
	c->shared = s->shared_tags;
	c->shared_cnt = s->shared_tag_cnt;
	c->foreign = foreign;
	memcpy(c->keys, t->meta_keys, sizeof(c->keys));
}

void tags_of(struct tags *t, uint32_t i)
{
	const struct process_info *p = t->chunk->process;
	const struct span *s = &t->chunk->spans[i];
	struct sv base, source;
	t->metrics.cnt = 0;
	t->metric_keys = 0;
	tags_of_common(t, s, tags_is_foreign(t, i));
	tags_add(t, s->tags, s->tag_cnt);
	for (uint32_t m = 0; m < s->metric_cnt; m++)
		tags_metric(t, s->metrics[m].key, s->metrics[m].value);
	if (t->chunk->manual)
		tags_drop_manual(t);
	if (s->annex)
		tags_of_annex(t, s->annex);

	if (tags_has_base(t, i, &base, &source)) {
		tags_meta(t, SV("_dd.base_service"), base);
		tags_meta(t, SV("_dd.svc_src"), source);
	}
	if (s->local_root) {
		if (p->runtime_id.len)
			tags_meta(t, SV("runtime-id"), p->runtime_id);
		if (p->report_hostname && p->hostname.len)
			tags_meta(t, SV("_dd.hostname"), p->hostname);
		tags_metric(t, SV("process_id"), p->ns_pid ? p->ns_pid : p->pid);
	}
	if (tags_is_top_level(t, i))
		tags_metric(t, SV("_dd.top_level"), 1);
	if (i == t->head)
		tags_of_head(t, s);
}
