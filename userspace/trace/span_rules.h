/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SPAN_RULES_H
#define TRACE_SPAN_RULES_H

#include "base/vec.h"
#include "trace/annex.h"
#include "trace/hindex.h"
#include "trace/sampling/rules.h"
#include "trace/span_text.h"

/* What users of a tracing library do in hooks, without one: spans that are finished are matched, and changed or left
 * out. Every rule that matches applies, in order, and sees what those before it have done. Rules look at spans as they
 * were made: before names are normalised and secrets obfuscated, and before sampling, which sees the result. */

#define SPAN_RULES_MAX	    256
#define SPAN_RULE_MAX_PARTS 64 /* tags, metrics, renamings, removals of one rule, attributes of a link or event, each */
#define SPAN_RULE_MAX_ANNEX 16 /* links of one rule, and events, each */

struct span_rule_tag {
	struct sv key;
	struct span_text value;
};

struct span_rule_rename {
	struct sv from, to; /* keys of tags or metrics; to: empty: it goes */
};

/* Not added where its ids come from what the span does not have. */
struct span_rule_link {
	struct span_text trace_id, span_id; /* annex.h says what is read */
	const struct span_rule_tag *attributes;
	uint16_t attribute_cnt;
};

struct span_rule_attribute {
	struct sv key;
	struct span_text text;	      /* of EVENT_TEXT */
	struct event_attribute value; /* of the others; and the type of all */
};

/* At the end of the span. */
struct span_rule_event {
	struct span_text name;
	const struct span_rule_attribute *attributes;
	uint16_t attribute_cnt;
};

struct span_rule {
	/* Which spans; what is not given matches. */
	struct sampling_rule match; /* service, name, resource and tags alone */
	struct pattern of_type;
	struct pattern peer; /* whom the process talked to: HOST or HOST:PORT, by name or address */
	int8_t error;	     /* 0: only without, 1: only with one; -1: both */
	uint32_t target;     /* chosen by that target of the probe list, from 1; 0: any */
	/* What becomes of them. */
	struct span_text service, name, resource, type;
	const struct span_rule_tag *tags;
	const struct metric *metrics;
	const struct span_rule_rename *renames;
	const struct span_rule_link *links;
	const struct span_rule_event *events;
	uint16_t tag_cnt, metric_cnt, rename_cnt, link_cnt, event_cnt;
	int8_t set_error; /* -1: stays */
	bool drop;	  /* its children become its parent's, as far as they are in the same chunk */
	bool keep;	  /* the trace, as manual.keep does */
	bool reject;	  /* the trace, as manual.drop does */
};

/* In order. Plain data; strings belong to whoever made them. Valid when zeroed. */
struct span_rules {
	struct span_rule *data;
	size_t cnt, cap;
};

/* Applies them, on one thread. Valid when zeroed but for `rules`; keeps memory for the next chunk. */
struct span_ruler {
	const struct span_rules *rules; /* NULL: none */
	uint64_t matched;		/* how often a rule applied to a span */
	uint64_t dropped;		/* spans */
	uint64_t unreadable;		/* links whose ids are none: not added */
	uint64_t crowded;		/* links and events that had no room any more (annex.h) */
	uint64_t no_memory;		/* spans that are not as the rules say */
	struct sbuf text, more;
	VEC(uint32_t) drops; /* indexes in the chunk in hand */
	struct hindex by_id;
};

/* False: nothing is left of the chunk; it is the caller's as before. */
bool span_ruler_chunk(struct span_ruler *r, struct chunk *c);
void span_ruler_release(struct span_ruler *r);

#endif
