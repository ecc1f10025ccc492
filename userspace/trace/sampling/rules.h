/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_RULES_H
#define TRACE_SAMPLING_RULES_H

#include "base/arena.h"
#include "base/sbuf.h"
#include "trace/sampling/pattern.h"
#include "trace/span.h"

/* DD_TRACE_SAMPLING_RULES and DD_SPAN_SAMPLING_RULES: a JSON array of objects, the first one that matches decides.
 *
 *   [{"service": "shop*", "name": "http.request", "resource": "GET /cart*", "tags": {"tier": "gold"}, "sample_rate":
 * 0.5, "provenance": "customer"}]
 *   [{"service": "shop", "name": "db.*", "sample_rate": 1, "max_per_second": 50}]
 *
 * Globs as in pattern.h; what a rule does not name matches anything. Rules of provenance "customer" go before those of
 * "dynamic", and these before all others ("local"). "discard", "target_span" and "type" are taken and mean nothing. */

#define RULES_MAX_JSON (256 << 10) /* bytes */
#define RULES_MAX      256
#define RULES_MAX_TAGS 32 /* of one rule */

struct rule_tag {
	struct sv key;
	struct pattern value;
};

struct sampling_rule {
	struct pattern service, name, resource;
	struct rule_tag *tags;
	uint32_t tag_cnt;
	int16_t mechanism; /* MECHANISM_RULE, or what its provenance makes of it */
	double rate;
	uint64_t threshold;
	double max_per_second; /* of span rules; below 0: no limit */
};

/* Valid when zeroed. */
struct sampling_rules {
	struct sampling_rule *items;
	uint32_t cnt;
	struct arena arena;
};

enum rules_kind { RULES_OF_TRACES, RULES_OF_SPANS };

/* Mistakes are appended to `mistakes`, a line for each: "rule 2: 'sample_rate' is missing: the rule is left out". A
 * rule with one is left out, except that a rate beyond 0..1 is taken for the nearer end, and that unknown keys do not
 * count. The number of mistakes; -EINVAL when it is no JSON array, and then there is no rule; -ENOMEM. */
int sampling_rules_parse(struct sampling_rules *ret, enum rules_kind kind, struct sv json, struct sbuf *mistakes);
/* A last rule that matches everything: DD_TRACE_SAMPLE_RATE. 0 or -ENOMEM. */
int sampling_rules_add_rate(struct sampling_rules *rules, double rate);
void sampling_rules_release(struct sampling_rules *rules);

/* Before there is a span: what is known of every one of the process, its service and tags; and the name, if it is to be
 * that (empty: not known). What is not known only matches a pattern that takes anything. */
bool sampling_rule_matches_early(const struct sampling_rule *r, const struct process_info *p, struct sv name);
/* What a rule is held against. Without a span as sampling_rule_matches_early() for the chunk's owner, without a name. */
bool sampling_rule_matches(const struct sampling_rule *r, const struct chunk *c, const struct span *s);

#endif
