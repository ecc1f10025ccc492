/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/annex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/put.h"
#include "base/units.h"

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static void key_json(struct sbuf *out, struct sv key, uint16_t nth)
{
	sbuf_adds(out, nth ? ", " : "");
	sbuf_add_json(out, key);
	sbuf_adds(out, ": ");
}

static void link_json(struct sbuf *out, const struct span_link *l)
{
	sbuf_adds(out, "{\"trace_id\": \"");
	sbuf_addx(out, l->trace_hi, 16);
	sbuf_addx(out, l->trace_lo, 16);
	sbuf_adds(out, "\", \"span_id\": \"");
	sbuf_addx(out, l->span_id, 16);
	sbuf_addc(out, '"');
	for (uint16_t i = 0; i < l->attribute_cnt; i++) {
		if (i == 0)
			sbuf_adds(out, ", \"attributes\": {");
		key_json(out, l->attributes[i].key, i);
		sbuf_add_json(out, l->attributes[i].value);
	}
	if (l->attribute_cnt)
		sbuf_addc(out, '}');
	if (l->tracestate.len) {
		sbuf_adds(out, ", \"tracestate\": ");
		sbuf_add_json(out, l->tracestate);
	}
	if (l->has_flags)
		sbuf_addf(out, ", \"flags\": %u", l->flags);
	sbuf_addc(out, '}');
}

/* The shortest text that reads back as the same number, as far as printf can; one that nobody takes for an integer. */
static void double_json(struct sbuf *out, double v)
{
	char text[32];
	snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) != v)
		snprintf(text, sizeof(text), "%.17g", v);
	sbuf_adds(out, text);
	if (!strpbrk(text, ".en"))
		sbuf_adds(out, ".0");
}

static void value_json(struct sbuf *out, const struct event_attribute *v)
{
	switch (v->type) {
	case EVENT_TEXT:
		sbuf_add_json(out, v->text);
		return;
	case EVENT_BOOL:
		sbuf_adds(out, v->integer ? "true" : "false");
		return;
	case EVENT_INT:
		sbuf_addi(out, v->integer);
		return;
	case EVENT_DOUBLE:
		double_json(out, v->number);
	}
}

static void event_json(struct sbuf *out, const struct span_event *e)
{
	sbuf_adds(out, "{\"name\": ");
	sbuf_add_json(out, e->name);
	sbuf_adds(out, ", \"time_unix_nano\": ");
	sbuf_addi(out, e->time_ns);
	for (uint16_t i = 0; i < e->attribute_cnt; i++) {
		if (i == 0)
			sbuf_adds(out, ", \"attributes\": {");
		key_json(out, e->attributes[i].key, i);
		value_json(out, &e->attributes[i]);
	}
	sbuf_adds(out, e->attribute_cnt ? "}}" : "}");
}

void annex_links_json(const struct span_annex *a, struct sbuf *out)
{
	for (uint16_t i = 0; i < a->link_cnt; i++) {
		sbuf_adds(out, i ? ", " : "[");
		link_json(out, &a->links[i]);
	}
	sbuf_adds(out, a->link_cnt ? "]" : "[]");
}

void annex_events_json(const struct span_annex *a, struct sbuf *out)
{
	for (uint16_t i = 0; i < a->event_cnt; i++) {
		sbuf_adds(out, i ? ", " : "[");
		event_json(out, &a->events[i]);
	}
	sbuf_adds(out, a->event_cnt ? "]" : "[]");
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

/* Of a span of `c`; NULL when out of memory. */
static struct span_annex *annex_of(struct chunk *c, struct span *s)
{
	if (!s->annex)
		s->annex = arena_alloc(&c->arena, sizeof(*s->annex));
	return s->annex;
}

/* Does `text` still go in, with a comma and a blank? */
static int annex_room(const struct sbuf *text, uint16_t cnt, uint32_t *sz)
{
	if (text->failed)
		return -ENOMEM;
	if (cnt == ANNEX_MAX || *sz + text->len + 2 > ANNEX_MAX_SZ)
		return -ENOSPC;
	*sz += (uint32_t)text->len + 2;
	return 0;
}

/* Room for one more of `size` bytes each in the chunk's arena; false when out of memory. */
static bool annex_grow(struct chunk *c, void *list, uint16_t cnt, uint16_t *cap, size_t size)
{
	void **data = list;
	if (cnt < *cap)
		return true;
	uint16_t want = *cap ? (uint16_t)(*cap * 2) : 2;
	void *grown = arena_alloc(&c->arena, want * size);
	if (!grown)
		return false;
	if (cnt)
		memcpy(grown, *data, cnt * size);
	*data = grown;
	*cap = want;
	return true;
}

int annex_add_link(struct chunk *c, struct span *s, const struct span_link *link, struct sbuf *scratch)
{
	struct span_annex *a = annex_of(c, s);
	if (!a || !annex_grow(c, &a->links, a->link_cnt, &a->link_cap, sizeof(*link)))
		return -ENOMEM;
	sbuf_reset(scratch);
	link_json(scratch, link);
	int r = annex_room(scratch, a->link_cnt, &a->links_sz);
	if (r == 0)
		a->links[a->link_cnt++] = *link;
	return r;
}

int annex_add_event(struct chunk *c, struct span *s, const struct span_event *event, struct sbuf *scratch)
{
	struct span_annex *a = annex_of(c, s);
	if (!a || !annex_grow(c, &a->events, a->event_cnt, &a->event_cap, sizeof(*event)))
		return -ENOMEM;
	sbuf_reset(scratch);
	event_json(scratch, event);
	int r = annex_room(scratch, a->event_cnt, &a->events_sz);
	if (r == 0)
		a->events[a->event_cnt++] = *event;
	return r;
}

/* --- ids ---------------------------------------------------------------------------------------------------------- */

/* False: there is something else than hex digits. */
static bool read_hex(struct sv text, uint64_t *ret_hi, uint64_t *ret_lo)
{
	*ret_hi = *ret_lo = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		unsigned digit = c >= '0' && c <= '9'	? (unsigned)(c - '0')
				 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
				 : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
							: 16;
		if (digit == 16)
			return false;
		*ret_hi = *ret_hi << 4 | *ret_lo >> 60;
		*ret_lo = *ret_lo << 4 | digit;
	}
	return text.len > 0;
}

static bool read_id(struct sv text, size_t digits, uint64_t *ret_hi, uint64_t *ret_lo)
{
	uint64_t decimal;
	bool marked = text.len > 2 && text.data[0] == '0' && (text.data[1] == 'x' || text.data[1] == 'X');
	bool is_decimal = !marked && text.len && text.len <= PUT_U64_MAX && text.data[0] >= '0' &&
			  text.data[0] <= '9' && units_unsigned(text, &decimal);
	if (marked || text.len == digits || text.len == 16) {
		struct sv hex = {text.data + 2 * marked, text.len - 2 * marked};
		return hex.len <= digits && !(hex.len == 16 && is_decimal) && read_hex(hex, ret_hi, ret_lo) &&
		       (*ret_hi || *ret_lo);
	}
	*ret_hi = 0;
	*ret_lo = is_decimal ? decimal : 0;
	return *ret_lo;
}

bool annex_read_trace_id(struct sv text, uint64_t *ret_hi, uint64_t *ret_lo)
{
	return read_id(text, 32, ret_hi, ret_lo);
}

bool annex_read_span_id(struct sv text, uint64_t *ret)
{
	uint64_t hi;
	return read_id(text, 16, &hi, ret);
}
