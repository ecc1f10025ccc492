/* SPDX-License-Identifier: Apache-2.0 */
#include "export/v04.h"

#include <errno.h>

#include "trace/annex.h"

#define SPAN_FIXED 256 /* the keys of a span's fields, heads of its maps, and its numbers */

/* Literals of less than 32 bytes: a fixstr (msgpack spec, "str format family"). */
#define put_key(at, literal)                                        \
	do {                                                        \
		_Static_assert(sizeof(literal) - 1 < 32, "fixstr"); \
		*(*(at))++ = (char)(0xa0 | (sizeof(literal) - 1));  \
		put(at, literal, sizeof(literal) - 1);              \
	} while (0)

/* --- maps of texts ------------------------------------------------------------------------------------------------ */

static size_t texts_max(const struct tag *texts, size_t cnt)
{
	size_t sz = 0;
	for (size_t i = 0; i < cnt; i++)
		sz += PACKER_STR_MAX(texts[i].key) + PACKER_STR_MAX(texts[i].value);
	return sz;
}

static char *put_pairs(char *at, const struct tag *texts, size_t cnt, struct sbuf *text)
{
	for (size_t i = 0; i < cnt; i++) {
		at = pack_text(at, texts[i].key, text);
		at = pack_text(at, texts[i].value, text);
	}
	return at;
}

/* --- links and events --------------------------------------------------------------------------------------------- */

#define LINK_FLAGS  (1u << 31) /* they are known (Agent 7, span.proto, SpanLink) */
#define LINK_FIXED  128	       /* the keys of a link's fields, heads, and its numbers; of an event's */
#define VALUE_FIXED 32	       /* the keys of an attribute's value, and a number */

static __attribute__((noinline)) size_t annex_max(const struct v04_fields *f)
{
	const struct span_annex *a = f->annex;
	size_t sz = 64;
	for (uint16_t i = 0; i < a->link_cnt; i++)
		sz += LINK_FIXED + texts_max(a->links[i].attributes, a->links[i].attribute_cnt) +
		      PACKER_STR_MAX(a->links[i].tracestate);
	for (uint16_t i = 0; f->native_events && i < a->event_cnt; i++) {
		sz += LINK_FIXED + PACKER_STR_MAX(a->events[i].name);
		for (uint16_t n = 0; n < a->events[i].attribute_cnt; n++)
			sz += VALUE_FIXED + PACKER_STR_MAX(a->events[i].attributes[n].key) +
			      PACKER_STR_MAX(a->events[i].attributes[n].text);
	}
	return sz;
}

static char *put_link(char *at, const struct span_link *l, struct sbuf *text)
{
	put_map(&at, 2 + (l->attribute_cnt > 0) + (l->trace_hi > 0) + (l->tracestate.len > 0) + l->has_flags);
	put_key(&at, "trace_id");
	at = pack_u64(at, l->trace_lo);
	put_key(&at, "span_id");
	at = pack_u64(at, l->span_id);
	if (l->attribute_cnt) {
		put_key(&at, "attributes");
		put_map(&at, l->attribute_cnt);
		at = put_pairs(at, l->attributes, l->attribute_cnt, text);
	}
	if (l->trace_hi) {
		put_key(&at, "trace_id_high");
		at = pack_u64(at, l->trace_hi);
	}
	if (l->tracestate.len) {
		put_key(&at, "tracestate");
		at = pack_text(at, l->tracestate, text);
	}
	if (l->has_flags) {
		put_key(&at, "flags");
		at = pack_u64(at, LINK_FLAGS | l->flags);
	}
	return at;
}

static char *put_value(char *at, const struct event_attribute *v, struct sbuf *text)
{
	put_map(&at, 2);
	put_key(&at, "type");
	put_int32(&at, (int32_t)v->type);
	switch (v->type) {
	case EVENT_TEXT:
		put_key(&at, "string_value");
		at = pack_text(at, v->text, text);
		break;
	case EVENT_BOOL:
		put_key(&at, "bool_value");
		if (v->integer)
			put_true(&at);
		else
			put_false(&at);
		break;
	case EVENT_INT:
		put_key(&at, "int_value");
		at = pack_i64(at, v->integer);
		break;
	case EVENT_DOUBLE:
		put_key(&at, "double_value");
		put_double(&at, v->number);
	}
	return at;
}

static char *put_event(char *at, const struct span_event *e, struct sbuf *text)
{
	put_map(&at, 2 + (e->attribute_cnt > 0));
	put_key(&at, "name");
	at = pack_text(at, e->name, text);
	put_key(&at, "time_unix_nano");
	at = pack_i64(at, e->time_ns);
	if (e->attribute_cnt) {
		put_key(&at, "attributes");
		put_map(&at, e->attribute_cnt);
	}
	for (uint16_t i = 0; i < e->attribute_cnt; i++) {
		at = pack_text(at, e->attributes[i].key, text);
		at = put_value(at, &e->attributes[i], text);
	}
	return at;
}

static __attribute__((noinline)) char *put_annex(char *at, const struct v04_fields *f, struct sbuf *text)
{
	const struct span_annex *a = f->annex;
	if (a->link_cnt) {
		put_key(&at, "span_links");
		put_array(&at, a->link_cnt);
		for (uint16_t i = 0; i < a->link_cnt; i++)
			at = put_link(at, &a->links[i], text);
	}
	if (f->native_events && a->event_cnt) {
		put_key(&at, "span_events");
		put_array(&at, a->event_cnt);
		for (uint16_t i = 0; i < a->event_cnt; i++)
			at = put_event(at, &a->events[i], text);
	}
	return at;
}

/* How many fields they are. */
static inline uint32_t annex_fields(const struct v04_fields *f)
{
	if (!f->annex)
		return 0;
	return (f->annex->link_cnt > 0) + (f->native_events && f->annex->event_cnt > 0);
}

/* --- spans -------------------------------------------------------------------------------------------------------- */

static size_t span_max(const struct v04_fields *f)
{
	size_t sz = SPAN_FIXED + PACKER_STR_MAX(f->service) + PACKER_STR_MAX(f->name) + PACKER_STR_MAX(f->resource) +
		    PACKER_STR_MAX(f->type);
	sz += 2 * PACKER_HEAD_MAX * f->meta_cnt + PACKER_TEXT_MAX(f->meta_sz);
	for (size_t i = 0; i < f->metric_cnt; i++)
		sz += PACKER_STR_MAX(f->metrics[i].key) + PACKER_NUMBER_MAX;
	if (f->annex)
		sz += annex_max(f);
	return sz;
}

/* Tags that many spans of a chunk have in common, as the first of them has them in the buffer. */
struct written {
	uint32_t id; /* tags.common.id; 0: nothing yet */
	size_t at, len;
};

static char *put_common(struct packer *p, char *at, const struct tags *t, struct written *w)
{
	if (w->id == t->common.id) {
		memcpy(at, p->data + w->at, w->len);
		return at + w->len;
	}
	char *end = put_pairs(at, t->meta.data, t->common.cnt, &p->text);
	*w = (struct written){t->common.id, (size_t)(at - p->data), (size_t)(end - at)};
	return end;
}

static inline char *put_meta(struct packer *p, char *at, const struct v04_fields *f, const struct tags *t,
			     struct written *w)
{
	size_t common = t && t->common.id ? t->common.cnt : 0;
	put_key(&at, "meta");
	put_map(&at, f->meta_cnt);
	if (common)
		at = put_common(p, at, t, w);
	return put_pairs(at, f->meta + common, f->meta_cnt - common, &p->text);
}

static char *put_metrics(char *at, const struct v04_fields *f, struct sbuf *text)
{
	if (f->metric_cnt) {
		put_key(&at, "metrics");
		put_map(&at, f->metric_cnt);
		for (size_t i = 0; i < f->metric_cnt; i++) {
			at = pack_text(at, f->metrics[i].key, text);
			put_double(&at, f->metrics[i].value);
		}
	}
	return at;
}

/* `t`, `w`: of a span that has its tags from there; else NULL. */
static inline __attribute__((always_inline)) bool span_put(struct packer *p, const struct v04_fields *f,
							   const struct tags *t, struct written *w)
{
	char *at = packer_reserve(p, span_max(f));
	if (!at)
		return false;
	put_map(&at, 9 + (f->meta_cnt > 0) + (f->metric_cnt > 0) + (f->type.len > 0) + annex_fields(f));
	put_key(&at, "service");
	at = pack_text(at, f->service, &p->text);
	put_key(&at, "name");
	at = pack_text(at, f->name, &p->text);
	put_key(&at, "resource");
	at = pack_text(at, f->resource, &p->text);
	put_key(&at, "trace_id");
	at = pack_u64(at, f->trace_id);
	put_key(&at, "span_id");
	at = pack_u64(at, f->span_id);
	put_key(&at, "parent_id");
	at = pack_u64(at, f->parent_id);
	put_key(&at, "start");
	at = pack_i64(at, f->start);
	put_key(&at, "duration");
	at = pack_i64(at, f->duration);
	put_key(&at, "error");
	put_int32(&at, f->error);
	if (f->meta_cnt)
		at = put_meta(p, at, f, t, w);
	at = put_metrics(at, f, &p->text);
	if (f->type.len) {
		put_key(&at, "type");
		at = pack_text(at, f->type, &p->text);
	}
	if (f->annex)
		at = put_annex(at, f, &p->text);
	p->len = (size_t)(at - p->data);
	return true;
}

int v04_span(struct packer *p, const struct v04_fields *f)
{
	return span_put(p, f, NULL, NULL) ? 0 : -ENOMEM;
}

static bool chunk_span(struct packer *p, struct tags *t, struct written *w, uint32_t i)
{
	const struct chunk *c = t->chunk;
	const struct span *s = &c->spans[i];
	tags_of(t, i);
	struct v04_fields f = {
		.service = span_service(c, s),
		.name = s->name,
		.resource = span_resource(s),
		.type = s->type,
		.trace_id = c->trace_lo,
		.span_id = s->span_id,
		.parent_id = s->parent_id,
		.start = s->start_ns,
		.duration = s->duration_ns,
		.error = s->error,
		.meta = t->meta.data,
		.metrics = t->metrics.data,
		.meta_cnt = t->meta.cnt,
		.metric_cnt = t->metrics.cnt,
		.meta_sz = t->meta_sz,
		.annex = s->annex,
		.native_events = !t->events_as_tag,
	};
	return !t->failed && span_put(p, &f, t, w);
}

int v04_chunk(struct packer *p, struct tags *t, const struct chunk *c)
{
	size_t before = p->len;
	struct written w = {0};
	tags_start(t, c);
	char *at = packer_reserve(p, PACKER_HEAD_MAX);
	if (!at)
		return -ENOMEM;
	put_array(&at, c->span_cnt);
	p->len = (size_t)(at - p->data);
	bool ok = true;
	for (uint32_t n = 0; ok && n < c->span_cnt; n++)
		ok = chunk_span(p, t, &w, tags_nth(t, n));
	if (ok)
		return 0;
	p->len = before;
	return -ENOMEM;
}
