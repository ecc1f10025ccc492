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

static char *put_texts(char *at, const struct tag *texts, size_t cnt, struct sbuf *text)
{
	put_map(&at, cnt);
	for (size_t i = 0; i < cnt; i++) {
		put_sv(&at, texts[i].key, text);
		put_sv(&at, texts[i].value, text);
	}
	return at;
}

/* --- links and events --------------------------------------------------------------------------------------------- */

#define LINK_FIXED  128 /* the keys of a link's fields, heads, and its numbers; of an event's */
#define VALUE_FIXED 32	/* the keys of an attribute's value, and a number */

static __attribute__((noinline)) size_t annex_max(const struct v04_fields *f)
{
	const struct span_annex *a = f->annex;
	size_t sz = 64;
	for (uint16_t i = 0; i < a->link_cnt; i++)
		sz += LINK_FIXED + texts_max(a->links[i].attributes, a->links[i].attribute_cnt);
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
	put_map(&at, 2 + (l->attribute_cnt > 0) + (l->trace_hi > 0));
	put_key(&at, "trace_id");
	put_uint64(&at, l->trace_lo);
	put_key(&at, "span_id");
	put_uint64(&at, l->span_id);
	if (l->attribute_cnt) {
		put_key(&at, "attributes");
		at = put_texts(at, l->attributes, l->attribute_cnt, text);
	}
	if (l->trace_hi) {
		put_key(&at, "trace_id_high");
		put_uint64(&at, l->trace_hi);
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
		put_sv(&at, v->text, text);
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
		put_int64(&at, v->integer);
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
	put_sv(&at, e->name, text);
	put_key(&at, "time_unix_nano");
	put_int64(&at, e->time_ns);
	if (e->attribute_cnt) {
		put_key(&at, "attributes");
		put_map(&at, e->attribute_cnt);
	}
	for (uint16_t i = 0; i < e->attribute_cnt; i++) {
		put_sv(&at, e->attributes[i].key, text);
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
	sz += texts_max(f->meta, f->meta_cnt);
	for (size_t i = 0; i < f->metric_cnt; i++)
		sz += PACKER_STR_MAX(f->metrics[i].key) + PACKER_NUMBER_MAX;
	if (f->annex)
		sz += annex_max(f);
	return sz;
}

static char *put_maps(char *at, const struct v04_fields *f, struct sbuf *text)
{
	if (f->meta_cnt) {
		put_key(&at, "meta");
		at = put_texts(at, f->meta, f->meta_cnt, text);
	}
	if (f->metric_cnt) {
		put_key(&at, "metrics");
		put_map(&at, f->metric_cnt);
		for (size_t i = 0; i < f->metric_cnt; i++) {
			put_sv(&at, f->metrics[i].key, text);
			put_double(&at, f->metrics[i].value);
		}
	}
	return at;
}

static inline __attribute__((always_inline)) bool span_put(struct packer *p, const struct v04_fields *f)
{
	char *at = packer_reserve(p, span_max(f));
	if (!at)
		return false;
	put_map(&at, 9 + (f->meta_cnt > 0) + (f->metric_cnt > 0) + (f->type.len > 0) + annex_fields(f));
	put_key(&at, "service");
	put_sv(&at, f->service, &p->text);
	put_key(&at, "name");
	put_sv(&at, f->name, &p->text);
	put_key(&at, "resource");
	put_sv(&at, f->resource, &p->text);
	put_key(&at, "trace_id");
	put_uint64(&at, f->trace_id);
	put_key(&at, "span_id");
	put_uint64(&at, f->span_id);
	put_key(&at, "parent_id");
	put_uint64(&at, f->parent_id);
	put_key(&at, "start");
	put_int64(&at, f->start);
	put_key(&at, "duration");
	put_int64(&at, f->duration);
	put_key(&at, "error");
	put_int32(&at, f->error);
	at = put_maps(at, f, &p->text);
	if (f->type.len) {
		put_key(&at, "type");
		put_sv(&at, f->type, &p->text);
	}
	if (f->annex)
		at = put_annex(at, f, &p->text);
	p->len = (size_t)(at - p->data);
	return true;
}

int v04_span(struct packer *p, const struct v04_fields *f)
{
	return span_put(p, f) ? 0 : -ENOMEM;
}

static bool chunk_span(struct packer *p, struct tags *t, uint32_t i)
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
		.annex = s->annex,
		.native_events = !t->events_as_tag,
	};
	return !t->failed && span_put(p, &f);
}

int v04_chunk(struct packer *p, struct tags *t, const struct chunk *c)
{
	size_t before = p->len;
	tags_start(t, c);
	char *at = packer_reserve(p, PACKER_HEAD_MAX);
	if (!at)
		return -ENOMEM;
	put_array(&at, c->span_cnt);
	p->len = (size_t)(at - p->data);
	bool ok = true;
	for (uint32_t n = 0; ok && n < c->span_cnt; n++)
		ok = chunk_span(p, t, tags_nth(t, n));
	if (ok)
		return 0;
	p->len = before;
	return -ENOMEM;
}
