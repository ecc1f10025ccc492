/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PROPAGATION_PROPAGATION_H
#define TRACE_PROPAGATION_PROPAGATION_H

#include <limits.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/sbuf.h"
#include "base/sv.h"
#include "trace/propagation/settings.h"
#include "trace/span.h"

/* Trace context in the headers of a request: read (extract) and written (inject), in every style that ddtrace knows.
 * What is accepted, ignored and linked is what ddtrace 4.16 accepts, ignores and links (its propagation/http.py;
 * tests/e2e/test_propagation.py runs both over the same headers). It differs, on purpose, only here:
 *  - Where ddtrace loses a whole request's context to an exception of its own, the rest of the headers counts:
 *    a Datadog trace id without parent id beside a traceparent of the same trace; a _dd.p.tid that Python's int()
 *    takes although it is not 16 hex digits (it is malformed here).
 *  - Ids of more than 64 bits (trace ids: 128) are no ids. ddtrace makes roots of such parents, too, but writes them
 *    into links. Priorities are held to 32 bits.
 *  - Digits and blanks beyond ASCII are no digits and blanks; bytes that are not UTF-8 are not escaped first (in
 *    baggage they become U+FFFD).
 *  - Baggage goes on as it came: a literal '%' is encoded, outer blanks are kept. ddtrace changes both.
 *  - OTEL_PROPAGATORS may name baggage.
 *  - "dd=" inside another vendor's tracestate member is left alone; ddtrace writes its `p:` there, too. */

#define PROPAGATION_PRIORITY_NONE INT32_MIN
/* Tags beyond that are cut off and `truncated` is set; x-datadog-tags cannot hold half as many. */
#define PROPAGATION_TAGS_MAX 128
/* ddtrace: DD_TRACE_BAGGAGE_MAX_ITEMS */
#define PROPAGATION_BAGGAGE_MAX 64

/* Another trace that the request claimed to belong to. */
struct propagation_link {
	uint64_t trace_hi, trace_lo;
	uint64_t span_id;
	uint32_t flags;		   /* 1: that trace was to be kept */
	struct sv tracestate;	   /* data NULL: the style has none */
	struct sv reason;	   /* attribute: terminated_context, propagation_behavior_extract */
	struct sv context_headers; /* attribute: the style */
};

/* Who a request comes from. Strings are in the arena that was given to propagation_extract(), or static. */
struct propagation_context {
	uint64_t trace_hi, trace_lo; /* both 0: the request starts a trace of its own */
	uint64_t span_id;	     /* the parent; 0: none, the span is the trace's root */
	int32_t priority;	     /* or PROPAGATION_PRIORITY_NONE: the decision is ours */
	uint8_t flags;		     /* of traceparent; bit 1 (random trace id) is handed on */
	bool truncated;		     /* a bound of ours was hit */
	struct sv origin;	     /* data NULL: none; may be empty */
	struct sv error;	     /* tag _dd.propagation_error of the local root; empty: none */
	struct sv last_parent;	     /* tag _dd.parent_id of the local root, as it came; empty: none */
	struct sv tracestate;	     /* as it came, in canonical order and within its limits; the stale dd= included */
	struct tag *tags;	     /* _dd.p.*, one per key, in order */
	struct tag *baggage;	     /* decoded, one per key, in order */
	struct tag *baggage_tags;    /* baggage.* tags of the local root, as the settings ask for */
	struct propagation_link *links;
	uint16_t tag_cnt, baggage_cnt, baggage_tag_cnt, link_cnt;
};

/* The headers of a request that matter. Valid when zeroed. */
struct propagation_headers {
	struct sv value[PROPAGATION_HEADER_CNT]; /* data NULL: not there */
};

/* Which header `name` (any case) is; -1 when it is none of them. Cheap enough for every line of a head. */
int propagation_header_find(struct sv name);
/* Keeps the value (borrowed, blanks around it removed) when the name is one of them: 1, else 0; -ENOMEM. A repeated
 * header becomes one value with a comma in between (RFC 9110, 5.3), which the arena holds. */
int propagation_headers_add(struct propagation_headers *h, struct arena *a, struct sv name, struct sv value);
/* The names (lower case, static) that extraction looks at under these settings; returns how many. */
unsigned propagation_header_names(const struct propagation_settings *s, struct sv names[PROPAGATION_HEADER_CNT]);
struct sv propagation_header_name(unsigned header);

/* Fills *ctx anew. 1: the request belongs to a trace, has baggage or links; 0: nothing of that, *ctx is empty;
 * -ENOMEM. */
int propagation_extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
			struct propagation_context *ctx);

/* Appends "name: value\r\n" lines for a request that the live span `span_id` sends: trace id, priority, origin, tags,
 * tracestate and baggage are ctx's. Without a trace id or span id only baggage is written. Returns an empty slice, or
 * why x-datadog-tags had to be left out (static; the tag _dd.propagation_error of the local root). Bytes that have no
 * place in a header are never written, whatever ctx holds. */
struct sv propagation_inject(const struct propagation_settings *s, const struct propagation_context *ctx,
			     uint64_t span_id, struct sbuf *out);

/* The value of a propagated tag; data NULL: not there. */
struct sv propagation_tag(const struct propagation_context *ctx, struct sv key);
/* Sets or replaces a propagated tag (a decision of ours: _dd.p.dm). Both slices must live as long as ctx. 0 or -ENOMEM;
 * -E2BIG beyond PROPAGATION_TAGS_MAX. */
int propagation_set_tag(struct propagation_context *ctx, struct arena *a, struct sv key, struct sv value);
/* After a sampling decision of ours, not extracted: states its threshold in tracestate (OpenTelemetry's ot= member), as
 * far as the incoming one has not. `rate`: the probability used, 0..1; negative: the decision was no matter of
 * probability (a rule of somebody's hand, a limiter). 0 or -ENOMEM. */
int propagation_set_rate(struct propagation_context *ctx, struct arena *a, double rate, bool sampled);

#endif
