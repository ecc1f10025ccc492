/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/normalize.h"

#define YEAR_2000_NS 946684800000000000LL

struct work {
	struct chunk *chunk;
	struct sbuf *text;
	bool failed;
};

/* What was built in w->text, when it is something else than `was`. */
static struct sv take_text(struct work *w, struct sv was)
{
	struct sv made = w->text->len ? sbuf_sv(w->text) : SV(""), kept = was;
	if (!sv_eq(made, was)) {
		kept = arena_dup(&w->chunk->arena, made);
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

static void normalize_tags(struct work *w, struct span *s)
{
	uint16_t kept = 0;
	for (uint16_t i = 0; i < s->tag_cnt; i++) {
		struct tag t = s->tags[i];
		if (sv_eq(t.key, SV("http.status_code")) && !is_status(t.value))
			continue;
		if (sv_eq(t.key, SV("peer.service")) && t.value.len) {
			normalize_peer_service(w->text, t.value);
			t.value = take_text(w, t.value);
		} else if (sv_eq(t.key, SV("env")) && t.value.len) {
			normalize_tag_value(w->text, t.value);
			t.value = take_text(w, t.value);
		}
		if ((t.key.len > NORMALIZE_MAX_KEY || t.value.len > NORMALIZE_MAX_VALUE) && !is_structured(t.key)) {
			t.key = cut_with_dots(w, t.key, NORMALIZE_MAX_KEY);
			t.value = cut_with_dots(w, t.value, NORMALIZE_MAX_VALUE);
		}
		s->tags[kept++] = t;
	}
	s->tag_cnt = kept;
}

static void normalize_times(struct span *s, int64_t now_ns)
{
	if (s->duration_ns < 0 || s->start_ns > INT64_MAX - s->duration_ns)
		s->duration_ns = 0;
	if (s->start_ns < YEAR_2000_NS)
		s->start_ns = now_ns > s->duration_ns ? now_ns - s->duration_ns : now_ns;
}

bool normalize_span(struct chunk *c, struct span *s, size_t max_resource, int64_t now_ns, struct sbuf *scratch)
{
	struct work w = {.chunk = c, .text = scratch};
	sbuf_reset(scratch);
	if (s->service.len) {
		normalize_service(scratch, s->service, c->process->language);
		s->service = take_text(&w, s->service);
	}
	normalize_name(scratch, s->name);
	s->name = take_text(&w, s->name);
	s->resource = normalize_cut(s->resource.len ? s->resource : s->name, max_resource);
	s->type = normalize_type(s->type);
	if (s->parent_id == s->span_id && s->span_id == c->trace_lo)
		s->parent_id = 0;
	normalize_times(s, now_ns);
	normalize_tags(&w, s);
	for (uint16_t i = 0; i < s->metric_cnt; i++)
		s->metrics[i].key = cut_with_dots(&w, s->metrics[i].key, NORMALIZE_MAX_KEY);
	return !w.failed;
}
