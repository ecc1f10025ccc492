/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/normalize.h"

#include "trace/annex.h"

#define YEAR_2000_NS 946684800000000000LL

struct work {
	struct arena *arena;
	struct sbuf *text;
	bool failed;
};

/* What was built in w->text, when it is something else than `was`. */
static struct sv take_text(struct work *w, struct sv was)
{
	struct sv made = w->text->len ? sbuf_sv(w->text) : SV(""), kept = was;
	if (!sv_eq(made, was)) {
		kept = arena_dup(w->arena, made);
		if (!kept.data || w->text->failed) {
			w->failed = true;
			kept = was;
		}
	}
	sbuf_reset(w->text);
	return kept;
}

static struct sv cut_with_dots(struct work *w, struct sv s, size_t max)
{
	if (s.len <= max)
		return s;
	sbuf_addsv(w->text, normalize_cut(s, max));
	sbuf_adds(w->text, "...");
	return take_text(w, s);
}

/* _dd.*.json, .msgpack, .protobuf: cut, they could not be read. */
static bool is_structured(struct sv key)
{
	static const struct sv ends[] = {SV(".json"), SV(".msgpack"), SV(".protobuf")};
	if (!sv_starts(key, SV("_dd.")))
		return false;
	for (size_t i = 0; i < 3; i++)
		if (key.len >= ends[i].len && memcmp(key.data + key.len - ends[i].len, ends[i].data, ends[i].len) == 0)
			return true;
	return false;
}

/* 100 to 599, in digits. */
static bool is_status(struct sv s)
{
	unsigned v = 0;
	size_t i = s.len && s.data[0] == '+';
	for (; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9' || v > 1000)
			return false;
		v = v * 10 + (unsigned)(s.data[i] - '0');
	}
	return v >= 100 && v < 600;
}

static void normalize_peer(struct work *w, struct sv *value)
{
	if (normalize_is_service(*value))
		return;
	normalize_peer_service(w->text, *value);
	*value = take_text(w, *value);
}

static void normalize_env(struct work *w, struct sv *value)
{
	normalize_tag_value(w->text, *value);
	*value = take_text(w, *value);
}

/* False: the tag goes. Nearly none is changed: told by the length of its key. */
static bool normalize_one(struct work *w, struct tag *t)
{
	if (t->key.len == 16 && sv_eq(t->key, SV("http.status_code")) && !is_status(t->value))
		return false;
	if (t->key.len == 12 && t->value.len && sv_eq(t->key, SV("peer.service")))
		normalize_peer(w, &t->value);
	else if (t->key.len == 3 && t->value.len && sv_eq(t->key, SV("env")))
		normalize_env(w, &t->value);
	if ((t->key.len > NORMALIZE_MAX_KEY || t->value.len > NORMALIZE_MAX_VALUE) && !is_structured(t->key)) {
		t->key = cut_with_dots(w, t->key, NORMALIZE_MAX_KEY);
		t->value = cut_with_dots(w, t->value, NORMALIZE_MAX_VALUE);
	}
	return true;
}

static uint32_t normalize_each(struct work *w, struct tag *tags, uint32_t cnt)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < cnt; i++) {
		if (!normalize_one(w, &tags[i]))
			continue;
		if (kept != i)
			tags[kept] = tags[i];
		kept++;
	}
	return kept;
}

bool normalize_tags(struct tag *tags, uint32_t *cnt, struct arena *arena)
{
	struct sbuf text = {0};
	struct work w = {.arena = arena, .text = &text};
	*cnt = normalize_each(&w, tags, *cnt);
	sbuf_release(&text);
	return !w.failed;
}

static void normalize_names(struct work *w, struct span *s, struct sv language)
{
	if (s->service.len && !normalize_is_service(s->service)) {
		normalize_service(w->text, s->service, language);
		s->service = take_text(w, s->service);
	}
	if (!normalize_is_name(s->name)) {
		normalize_name(w->text, s->name);
		s->name = take_text(w, s->name);
	}
	s->normal = !w->failed;
}

static void normalize_times(struct span *s, int64_t now_ns)
{
	if (s->duration_ns < 0 || s->start_ns > INT64_MAX - s->duration_ns)
		s->duration_ns = 0;
	if (s->start_ns < YEAR_2000_NS)
		s->start_ns = now_ns > s->duration_ns ? now_ns - s->duration_ns : now_ns;
}

/* The one attribute of a link that an Agent looks at. */
static void normalize_links(struct work *w, struct span_annex *a)
{
	for (uint16_t i = 0; i < a->link_cnt; i++) {
		for (uint16_t n = 0; n < a->links[i].attribute_cnt; n++) {
			struct tag *t = &a->links[i].attributes[n];
			if (!sv_eq(t->key, SV("link.name")) || normalize_is_name(t->value))
				continue;
			normalize_name(w->text, t->value);
			t->value = take_text(w, t->value);
		}
	}
}

bool normalize_span(struct chunk *c, struct span *s, size_t max_resource, int64_t now_ns, struct sbuf *scratch)
{
	struct work w = {.arena = &c->arena, .text = scratch};
	sbuf_reset(scratch);
	if (!s->normal)
		normalize_names(&w, s, c->process->language);
	s->resource = normalize_cut(s->resource.len ? s->resource : s->name, max_resource);
	s->type = normalize_type(s->type);
	if (s->parent_id == s->span_id && s->span_id == c->trace_lo)
		s->parent_id = 0;
	normalize_times(s, now_ns);
	if (s->annex)
		normalize_links(&w, s->annex);
	s->tag_cnt = (uint16_t)normalize_each(&w, s->tags, s->tag_cnt);
	for (uint16_t i = 0; i < s->metric_cnt; i++)
		if (s->metrics[i].key.len > NORMALIZE_MAX_KEY)
			s->metrics[i].key = cut_with_dots(&w, s->metrics[i].key, NORMALIZE_MAX_KEY);
	return !w.failed;
}
