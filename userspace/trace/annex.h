/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_ANNEX_H
#define TRACE_ANNEX_H

#include "base/sbuf.h"
#include "trace/span.h"

/* What few spans have: links to other spans, and events. Each has two forms on the wire: fields of the v0.4 format
 * (export/v04.c), and for receivers that do not take those JSON in a tag, byte for byte as ddtrace 4.16 writes it. */

#define ANNEX_LINKS_TAG	 SV("_dd.span_links")
#define ANNEX_EVENTS_TAG SV("events")
#define ANNEX_MAX	 64 /* links of a span, and events, each */
/* Bytes of either as JSON: the Agent cuts a tag's value at 25000, and JSON that is cut is none. What becomes of "link.name" may
 * be longer than it was. */
#define ANNEX_MAX_SZ 24000

/* Another span, of whatever trace. */
struct span_link {
	uint64_t trace_hi, trace_lo, span_id;
	struct tag *attributes;
	uint16_t attribute_cnt;
	bool has_flags;
	uint8_t flags;	      /* of its traceparent, if has_flags: 1: it was to be kept */
	struct sv tracestate; /* as it came; empty: none */
};

/* As they are numbered on the wire (Agent 7, span.proto, AttributeAnyValueType). */
enum event_type { EVENT_TEXT = 0, EVENT_BOOL = 1, EVENT_INT = 2, EVENT_DOUBLE = 3 };

struct event_attribute {
	struct sv key; /* first: as of a tag */
	struct sv text;
	double number;
	int64_t integer; /* of EVENT_BOOL: 0 or 1 */
	enum event_type type;
};

struct span_event {
	int64_t time_ns; /* Unix time */
	struct sv name;
	struct event_attribute *attributes;
	uint16_t attribute_cnt;
};

struct span_annex {
	struct span_link *links;
	struct span_event *events;
	uint16_t link_cnt, event_cnt, link_cap, event_cap;
	uint32_t links_sz, events_sz; /* as JSON, about */
};

/* Appends it, to the span's annex, which is made if need be; what it points to is the caller's, and lives as long as the
 * chunk. 0, -ENOSPC: there is no more room for it, -ENOMEM. `scratch` is used. */
int annex_add_link(struct chunk *c, struct span *s, const struct span_link *link, struct sbuf *scratch);
int annex_add_event(struct chunk *c, struct span *s, const struct span_event *event, struct sbuf *scratch);

/* As a JSON array. */
void annex_links_json(const struct span_annex *a, struct sbuf *out);
void annex_events_json(const struct span_annex *a, struct sbuf *out);

/* Whatever ids are written as: 32 hex digits (of a trace), 16, a decimal number, or "0x" and hex digits. False: it is none
 * of these, is 0, or may be two of them: 16 characters that are all decimal digits. */
bool annex_read_trace_id(struct sv text, uint64_t *ret_hi, uint64_t *ret_lo);
bool annex_read_span_id(struct sv text, uint64_t *ret);

#endif
