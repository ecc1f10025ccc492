/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/span_rules.h"

#include <errno.h>
#include <stdio.h>

#include "trace/normalize.h"
#include "trace/tags.h"

/* --- matching ----------------------------------------------------------------------------------------------------- */

/* Of a request: the name it was made for, alone or with the port, or the address it came from. */
static bool peer_matches(const struct pattern *p, const struct chunk *c, const struct span *s)
{
	char both[NORMALIZE_MAX_TAG + 8];
	struct sv host;
	double port;
	if (span_tag(c, s, SV("network.client.ip"), &host) && pattern_match(p, host))
		return true;
	if (!span_tag(c, s, SV("out.host"), &host) || host.len > NORMALIZE_MAX_TAG)
		return false;
	if (pattern_match(p, host))
		return true;
	if (!span_metric(s, SV("network.destination.port"), &port))
		return false;
	int n = snprintf(both, sizeof(both), SV_FMT ":%u", SV_ARG(host), (unsigned)(uint16_t)port);
	return pattern_match(p, (struct sv){both, (size_t)n});
}

static bool rule_matches(const struct span_rule *r, const struct chunk *c, const struct span *s)
{
	if ((r->target && r->target != c->process->target) || (r->error >= 0 && r->error != s->error))
		return false;
	return sampling_rule_matches(&r->match, c, s) && pattern_match(&r->of_type, s->type) &&
	       (!r->peer.given || peer_matches(&r->peer, c, s));
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

struct work {
	struct span_ruler *ruler;
	struct chunk *chunk;
	struct span *span;
	bool failed;
};

static bool made(struct work *w, const struct span_text *t, struct sv *ret)
{
	struct sbuf *text = &w->ruler->text;
	if (!t->cnt || span_text_is_constant(t, ret))
		return t->cnt > 0;
	sbuf_reset(text);
	span_text_add(t, w->chunk, w->span, text);
	struct sv copy = text->failed ? SV_NULL : arena_dup(&w->chunk->arena, sbuf_sv(text));
	w->failed |= !copy.data;
	*ret = copy;
	return copy.data;
}

/* Services have one name everywhere: that of Datadog. */
static void set_service(struct work *w, struct sv service)
{
	struct sbuf *text = &w->ruler->text;
	struct sv copy = service;
	if (!normalize_is_service(service)) {
		sbuf_reset(text);
		normalize_service(text, service, w->chunk->process->language);
		copy = text->failed ? SV_NULL : arena_dup(&w->chunk->arena, sbuf_sv(text));
	}
	w->failed |= !copy.data;
	if (copy.data)
		w->span->service = copy;
}

/* All of its tags become its own, with room for more. */
static bool span_open(struct work *w, uint32_t tags, uint32_t metrics)
{
	struct span *s = w->span;
	uint32_t tag_cap = s->shared_tag_cnt + s->tag_cnt + tags, metric_cap = s->metric_cnt + metrics;
	struct tag *t = tag_cap < UINT16_MAX ? arena_alloc(&w->chunk->arena, (tag_cap + 1) * sizeof(*t)) : NULL;
	struct metric *m =
		metric_cap < UINT16_MAX ? arena_alloc(&w->chunk->arena, (metric_cap + 1) * sizeof(*m)) : NULL;
	w->failed |= !t || !m;
	if (!t || !m)
		return false;
	if (s->shared_tag_cnt)
		memcpy(t, s->shared_tags, s->shared_tag_cnt * sizeof(*t));
	if (s->tag_cnt)
		memcpy(t + s->shared_tag_cnt, s->tags, s->tag_cnt * sizeof(*t));
	if (s->metric_cnt)
		memcpy(m, s->metrics, s->metric_cnt * sizeof(*m));
	s->tag_cnt = (uint16_t)(s->shared_tag_cnt + s->tag_cnt);
	s->shared_tag_cnt = 0;
	s->tags = t;
	s->metrics = m;
	return true;
}

/* There is room: span_open() made it. */
static void put_tag(struct span *s, struct sv key, struct sv value)
{
	for (uint16_t i = s->tag_cnt; i-- > 0;) {
		if (!sv_eq(s->tags[i].key, key))
			continue;
		s->tags[i].value = value;
		return;
	}
	s->tags[s->tag_cnt++] = (struct tag){key, value};
}

static void put_metric(struct span *s, struct sv key, double value)
{
	for (uint16_t i = s->metric_cnt; i-- > 0;) {
		if (!sv_eq(s->metrics[i].key, key))
			continue;
		s->metrics[i].value = value;
		return;
	}
	s->metrics[s->metric_cnt++] = (struct metric){key, value};
}

/* The last one of a key counts; what it hid must not come to light. */
static void rename_tags(struct span *s, const struct span_rule_rename *r)
{
	struct sv value = SV_NULL;
	bool found = false;
	uint16_t kept = 0;
	for (uint16_t i = 0; i < s->tag_cnt; i++) {
		if (sv_eq(s->tags[i].key, r->from)) {
			value = s->tags[i].value;
			found = true;
		} else {
			s->tags[kept++] = s->tags[i];
		}
	}
	s->tag_cnt = kept;
	if (found && r->to.len)
		put_tag(s, r->to, value);
}

static void rename_metrics(struct span *s, const struct span_rule_rename *r)
{
	double value = 0;
	bool found = false;
	uint16_t kept = 0;
	for (uint16_t i = 0; i < s->metric_cnt; i++) {
		if (sv_eq(s->metrics[i].key, r->from)) {
			value = s->metrics[i].value;
			found = true;
		} else {
			s->metrics[kept++] = s->metrics[i];
		}
	}
	s->metric_cnt = kept;
	if (found && r->to.len)
		put_metric(s, r->to, value);
}

static void change_tags(struct work *w, const struct span_rule *r)
{
	struct span *s = w->span;
	struct sv value;
	if (!r->tag_cnt && !r->metric_cnt && !r->rename_cnt && !r->keep && !r->reject)
		return;
	if (!span_open(w, r->tag_cnt + r->rename_cnt + 1u, r->metric_cnt + r->rename_cnt))
		return;
	for (uint16_t i = 0; i < r->tag_cnt; i++)
		if (made(w, &r->tags[i].value, &value))
			put_tag(s, r->tags[i].key, value);
	for (uint16_t i = 0; i < r->metric_cnt; i++)
		put_metric(s, r->metrics[i].key, r->metrics[i].value);
	for (uint16_t i = 0; i < r->rename_cnt; i++) {
		rename_tags(s, &r->renames[i]);
		rename_metrics(s, &r->renames[i]);
	}
	/* Orders to the sampler, as those of a program are. */
	if (r->keep || r->reject)
		put_tag(s, r->keep ? SV("manual.keep") : SV("manual.drop"), SV("true"));
}

/* --- links and events --------------------------------------------------------------------------------------------- */

static void annex_added(struct work *w, int r)
{
	w->ruler->crowded += r == -ENOSPC;
	w->failed |= r == -ENOMEM;
}

static void add_link(struct work *w, const struct span_rule_link *r)
{
	struct span_link link = {0};
	struct sv trace_id, span_id;
	if (!made(w, &r->trace_id, &trace_id) || !made(w, &r->span_id, &span_id) || !trace_id.len || !span_id.len)
		return;
	if (!annex_read_trace_id(trace_id, &link.trace_hi, &link.trace_lo) ||
	    !annex_read_span_id(span_id, &link.span_id)) {
		w->ruler->unreadable++;
		return;
	}
	link.attributes = arena_alloc(&w->chunk->arena, (r->attribute_cnt + 1u) * sizeof(*link.attributes));
	w->failed |= !link.attributes;
	for (uint16_t i = 0; link.attributes && i < r->attribute_cnt; i++) {
		struct tag *t = &link.attributes[link.attribute_cnt];
		t->key = r->attributes[i].key;
		link.attribute_cnt += made(w, &r->attributes[i].value, &t->value);
	}
	annex_added(w, annex_add_link(w->chunk, w->span, &link, &w->ruler->more));
}

static void add_event(struct work *w, const struct span_rule_event *r)
{
	const struct span *s = w->span;
	struct span_event event = {.time_ns = s->start_ns};
	if (!made(w, &r->name, &event.name) || !event.name.len)
		return;
	if (s->duration_ns > 0 && s->start_ns <= INT64_MAX - s->duration_ns)
		event.time_ns += s->duration_ns;
	event.attributes = arena_alloc(&w->chunk->arena, (r->attribute_cnt + 1u) * sizeof(*event.attributes));
	w->failed |= !event.attributes;
	for (uint16_t i = 0; event.attributes && i < r->attribute_cnt; i++) {
		const struct span_rule_attribute *a = &r->attributes[i];
		struct event_attribute *v = &event.attributes[event.attribute_cnt];
		*v = a->value;
		v->key = a->key;
		event.attribute_cnt += v->type != EVENT_TEXT || made(w, &a->text, &v->text);
	}
	annex_added(w, annex_add_event(w->chunk, w->span, &event, &w->ruler->more));
}

/* Texts of all of them are about the span as it was. */
static void change(struct work *w, const struct span_rule *r)
{
	struct span *s = w->span;
	struct sv service = SV_NULL, name = SV_NULL, resource = SV_NULL, type = SV_NULL;
	bool has_service = made(w, &r->service, &service), has_name = made(w, &r->name, &name);
	bool has_resource = made(w, &r->resource, &resource), has_type = made(w, &r->type, &type);
	for (uint16_t i = 0; i < r->link_cnt; i++)
		add_link(w, &r->links[i]);
	for (uint16_t i = 0; i < r->event_cnt; i++)
		add_event(w, &r->events[i]);
	change_tags(w, r);
	if (has_service)
		set_service(w, service);
	if (has_name)
		s->name = name;
	if (has_resource)
		s->resource = resource;
	if (has_type)
		s->type = type;
	if (r->set_error >= 0)
		s->error = (uint8_t)r->set_error;
	s->normal &= !has_service && !has_name;
	s->clean = 0;
}

/* --- leaving out -------------------------------------------------------------------------------------------------- */

static uint32_t id_hash(uint64_t span_id)
{
	return hindex_hash(span_id, 0);
}

static const struct span *dropped_span(const struct span_ruler *r, const struct chunk *c, uint64_t span_id)
{
	uint32_t hash = id_hash(span_id), ref;
	for (uint32_t i = hash; (ref = hindex_at(&r->by_id, &i, hash)) != HINDEX_NONE; i++)
		if (c->spans[ref].span_id == span_id)
			return &c->spans[ref];
	return NULL;
}

static void reparent(const struct span_ruler *r, const struct chunk *c, struct span *s)
{
	const struct span *d = dropped_span(r, c, s->parent_id);
	/* A chain is as long as there are dropped spans at most, unless damaged ids form a circle. */
	for (size_t left = r->drops.cnt; d && left; left--) {
		s->parent_id = d->parent_id;
		s->local_root |= d->local_root;
		d = d->local_root ? NULL : dropped_span(r, c, s->parent_id);
	}
}

static void leave_out(struct span_ruler *r, struct chunk *c)
{
	uint32_t kept = 0, next = 0;
	hindex_clear(&r->by_id);
	vec_foreach (i, &r->drops)
		if (hindex_put(&r->by_id, id_hash(c->spans[*i].span_id), *i))
			r->no_memory++;
	for (uint32_t i = 0; i < c->span_cnt; i++)
		reparent(r, c, &c->spans[i]);
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		if (next < r->drops.cnt && r->drops.data[next] == i)
			next++;
		else
			c->spans[kept++] = c->spans[i];
	}
	r->dropped += c->span_cnt - kept;
	c->span_cnt = kept;
}

/* True: it is to be left out. */
static bool rule_span(struct span_ruler *r, struct chunk *c, struct span *s)
{
	struct work w = {.ruler = r, .chunk = c, .span = s};
	bool drop = false;
	for (size_t i = 0; i < r->rules->cnt && !drop; i++) {
		const struct span_rule *rule = &r->rules->data[i];
		if (!rule_matches(rule, c, s))
			continue;
		r->matched++;
		drop = rule->drop;
		if (!drop)
			change(&w, rule);
	}
	r->no_memory += w.failed;
	return drop;
}

bool span_ruler_chunk(struct span_ruler *r, struct chunk *c)
{
	if (!r->rules || !r->rules->cnt)
		return true;
	r->drops.cnt = 0;
	for (uint32_t i = 0; i < c->span_cnt; i++)
		if (rule_span(r, c, &c->spans[i]) && vec_push(&r->drops, i))
			r->no_memory++;
	if (r->drops.cnt)
		leave_out(r, c);
	return c->span_cnt > 0;
}

void span_ruler_release(struct span_ruler *r)
{
	sbuf_release(&r->text);
	sbuf_release(&r->more);
	vec_release(&r->drops);
	hindex_release(&r->by_id);
}
