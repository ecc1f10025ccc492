/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/rules.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>

#include "base/nearest.h"
#include "trace/sampling/threshold.h"
#include "trace/span_text.h"
#include "trace/tags.h"

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct reader {
	struct sampling_rules *rules;
	enum rules_kind kind;
	struct sbuf *mistakes;
	int mistake_cnt;
	unsigned number; /* of the rule at hand, from 1 */
	bool failed;	 /* out of memory */
};

static void mistake(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void mistake(struct reader *r, const char *fmt, ...)
{
	va_list ap;
	if (r->mistake_cnt++)
		sbuf_addc(r->mistakes, '\n');
	if (r->number)
		sbuf_addf(r->mistakes, "rule %u: ", r->number);
	va_start(ap, fmt);
	sbuf_vaddf(r->mistakes, fmt, ap);
	va_end(ap);
}

static const char *json_kind(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "text";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_NULL:
		return "null";
	default:
		return "true or false";
	}
}

/* False: the rule is left out. Absent and null match anything. */
static bool read_pattern(struct reader *r, const char *key, const json_t *v, struct pattern *ret)
{
	if (!v || json_is_null(v))
		return true;
	if (!json_is_string(v)) {
		mistake(r, "'%.64s' must be text with * and ?, not %s: the rule is left out", key, json_kind(v));
		return false;
	}
	struct sv text = {json_string_value(v), json_string_length(v)};
	int rc = pattern_init(ret, &r->rules->arena, text);
	if (rc == -E2BIG)
		mistake(r, "'%.64s' is longer than %d bytes: the rule is left out", key, PATTERN_MAX);
	r->failed |= rc == -ENOMEM;
	return rc == 0;
}

static bool read_tags(struct reader *r, json_t *v, struct sampling_rule *rule)
{
	const char *key;
	json_t *value;
	if (!v || json_is_null(v))
		return true;
	if (!json_is_object(v) || json_object_size(v) > RULES_MAX_TAGS) {
		if (json_is_object(v))
			mistake(r, "more than %d tags: the rule is left out", RULES_MAX_TAGS);
		else
			mistake(r, "'tags' must be an object, not %s: the rule is left out", json_kind(v));
		return false;
	}
	rule->tags = arena_alloc(&r->rules->arena, json_object_size(v) * sizeof(*rule->tags));
	r->failed |= !rule->tags;
	json_object_foreach(v, key, value)
	{
		if (!rule->tags || !read_pattern(r, key, value, &rule->tags[rule->tag_cnt].value))
			return false;
		rule->tags[rule->tag_cnt].key = arena_dup(&r->rules->arena, sv_of(key));
		r->failed |= !rule->tags[rule->tag_cnt++].key.data;
	}
	return true;
}

static bool read_rate(struct reader *r, const json_t *v, struct sampling_rule *rule)
{
	rule->rate = 1;
	if (!v && r->kind == RULES_OF_TRACES) {
		mistake(r, "'sample_rate' is missing: the rule is left out");
		return false;
	}
	if (v && !json_is_number(v)) {
		mistake(r, "'sample_rate' must be a number from 0 to 1, not %s: the rule is left out", json_kind(v));
		return false;
	}
	if (v)
		rule->rate = json_number_value(v);
	if (rule->rate < 0 || rule->rate > 1) {
		mistake(r, "'sample_rate' is %g: %d is taken, a rate is from 0 to 1", rule->rate, rule->rate > 1);
		rule->rate = rule->rate > 1;
	}
	rule->threshold = sampling_threshold(rule->rate);
	return true;
}

static bool read_limit(struct reader *r, const json_t *v, struct sampling_rule *rule)
{
	rule->max_per_second = -1;
	if (!v || json_is_null(v))
		return true;
	if (!json_is_number(v) || json_number_value(v) < 0) {
		mistake(r, "'max_per_second' must be a number of 0 or more: the rule is left out");
		return false;
	}
	rule->max_per_second = json_number_value(v);
	return true;
}

static bool read_provenance(struct reader *r, const json_t *v, struct sampling_rule *rule)
{
	const char *text = json_string_value(v);
	rule->mechanism = MECHANISM_RULE;
	if (!v || json_is_null(v) || (text && (!strcmp(text, "local") || !strcmp(text, "default"))))
		return true;
	if (text && !strcmp(text, "customer"))
		rule->mechanism = MECHANISM_REMOTE_RULE;
	else if (text && !strcmp(text, "dynamic"))
		rule->mechanism = MECHANISM_DYNAMIC_RULE;
	else
		mistake(r, "'provenance' must be customer, dynamic or local: local is taken");
	return true;
}

static const char *const trace_keys[] = {"service",	   "name",	 "resource", "tags",
					 "sample_rate",	   "provenance", "discard",  "target_span",
					 "max_per_second", "type",	 NULL};
static const char *const span_keys[] = {"service", "name", "sample_rate", "max_per_second", "type", NULL};

static void check_keys(struct reader *r, json_t *object)
{
	const char *const *known = r->kind == RULES_OF_TRACES ? trace_keys : span_keys;
	const char *key;
	json_t *value;
	json_object_foreach(object, key, value)
	{
		struct nearest n;
		size_t i = 0;
		while (known[i] && strcmp(known[i], key))
			i++;
		if (known[i])
			continue;
		nearest_init(&n, sv_of(key));
		for (i = 0; known[i]; i++)
			nearest_offer(&n, sv_of(known[i]));
		if (n.best.len)
			mistake(r, "unknown key '%.64s'; did you mean '" SV_FMT "'?", key, SV_ARG(n.best));
		else
			mistake(r, "unknown key '%.64s'", key);
	}
}

static bool read_rule(struct reader *r, json_t *object, struct sampling_rule *rule)
{
	if (!json_is_object(object)) {
		mistake(r, "must be an object, not %s: it is left out", json_kind(object));
		return false;
	}
	check_keys(r, object);
	bool traces = r->kind == RULES_OF_TRACES;
	/* Each is read whatever became of the others, so that all mistakes are said at once. */
	bool ok = read_pattern(r, "service", json_object_get(object, "service"), &rule->service);
	ok &= read_pattern(r, "name", json_object_get(object, "name"), &rule->name);
	ok &= !traces || read_pattern(r, "resource", json_object_get(object, "resource"), &rule->resource);
	ok &= !traces || read_tags(r, json_object_get(object, "tags"), rule);
	ok &= read_rate(r, json_object_get(object, "sample_rate"), rule);
	ok &= read_limit(r, traces ? NULL : json_object_get(object, "max_per_second"), rule);
	ok &= read_provenance(r, traces ? json_object_get(object, "provenance") : NULL, rule);
	return ok;
}

/* A few hundred at most, and nearly always in order. */
static void sort_by_provenance(struct sampling_rules *rules)
{
	for (uint32_t i = 1; i < rules->cnt; i++) {
		struct sampling_rule r = rules->items[i];
		uint32_t at = i;
		unsigned rank = r.mechanism == MECHANISM_REMOTE_RULE	? 0
				: r.mechanism == MECHANISM_DYNAMIC_RULE ? 1
									: 2;
		for (; at > 0; at--) {
			int16_t other = rules->items[at - 1].mechanism;
			if ((other == MECHANISM_REMOTE_RULE ? 0u : other == MECHANISM_DYNAMIC_RULE ? 1u : 2u) <= rank)
				break;
			rules->items[at] = rules->items[at - 1];
		}
		rules->items[at] = r;
	}
}

static void read_rules(struct reader *r, json_t *array)
{
	size_t cnt = json_array_size(array);
	if (cnt > RULES_MAX) {
		mistake(r, "%zu rules: those beyond %d are left out", cnt, RULES_MAX);
		cnt = RULES_MAX;
	}
	/* One more for sampling_rules_add_rate(). */
	r->rules->items = arena_alloc(&r->rules->arena, (cnt + 1) * sizeof(*r->rules->items));
	r->failed |= !r->rules->items;
	for (size_t i = 0; i < cnt && !r->failed; i++) {
		struct sampling_rule rule = {.max_per_second = -1};
		r->number = (unsigned)i + 1;
		if (read_rule(r, json_array_get(array, i), &rule))
			r->rules->items[r->rules->cnt++] = rule;
	}
	sort_by_provenance(r->rules);
}

int sampling_rules_parse(struct sampling_rules *ret, enum rules_kind kind, struct sv json, struct sbuf *mistakes)
{
	struct reader r = {.rules = ret, .kind = kind, .mistakes = mistakes};
	json_error_t e;
	*ret = (struct sampling_rules){0};
	while (json.len && strchr(" \t\r\n", json.data[0]))
		json = (struct sv){json.data + 1, json.len - 1};
	if (!json.len)
		return 0;
	if (json.len > RULES_MAX_JSON) {
		mistake(&r, "%zu bytes are more than %d: there are no rules", json.len, RULES_MAX_JSON);
		return -EINVAL;
	}
	json_t *root = json_loadb(json.data, json.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
	if (!root)
		mistake(&r, "line %d, column %d: %s: there are no rules", e.line, e.column, e.text);
	else if (!json_is_array(root))
		mistake(&r, "a JSON array of rules is expected, [{...}], not %s: there are no rules", json_kind(root));
	else
		read_rules(&r, root);
	int rc = r.failed ? -ENOMEM : json_is_array(root) ? r.mistake_cnt : -EINVAL;
	json_decref(root);
	if (rc < 0)
		sampling_rules_release(ret);
	return rc;
}

int sampling_rules_add_rate(struct sampling_rules *rules, double rate)
{
	if (!rules->items)
		rules->items = arena_alloc(&rules->arena, sizeof(*rules->items));
	if (!rules->items)
		return -ENOMEM;
	rules->items[rules->cnt++] = (struct sampling_rule){
		.mechanism = MECHANISM_RULE, .rate = rate, .threshold = sampling_threshold(rate), .max_per_second = -1};
	return 0;
}

void sampling_rules_release(struct sampling_rules *rules)
{
	arena_release(&rules->arena);
	*rules = (struct sampling_rules){0};
}

/* --- matching ----------------------------------------------------------------------------------------------------- */

static bool rule_tag_of_process_matches(const struct rule_tag *t, const struct process_info *p)
{
	struct sv value;
	return process_tag(p, t->key, &value) && pattern_match(&t->value, value);
}

static bool rule_tag_matches(const struct rule_tag *t, const struct chunk *c, const struct span *s)
{
	struct sv value;
	double number;
	if (span_metric(s, t->key, &number))
		return pattern_match_number(&t->value, number);
	return span_tag(c, s, t->key, &value) && pattern_match(&t->value, value);
}

/* Text that is not known. */
static bool pattern_takes_anything(const struct pattern *p)
{
	return !p->given || sv_eq(p->text, SV("*"));
}

bool sampling_rule_matches_early(const struct sampling_rule *r, const struct process_info *p, struct sv name)
{
	if (!pattern_match(&r->service, p->service) || !pattern_takes_anything(&r->resource) ||
	    !(name.len ? pattern_match(&r->name, name) : pattern_takes_anything(&r->name)))
		return false;
	for (uint32_t i = 0; i < r->tag_cnt; i++)
		if (!rule_tag_of_process_matches(&r->tags[i], p))
			return false;
	return true;
}

bool sampling_rule_matches(const struct sampling_rule *r, const struct chunk *c, const struct span *s)
{
	if (!s)
		return sampling_rule_matches_early(r, chunk_owner(c), SV_NULL);
	if (!pattern_match(&r->service, span_service(c, s)) || !pattern_match(&r->name, s->name) ||
	    !pattern_match(&r->resource, span_resource(s)))
		return false;
	for (uint32_t i = 0; i < r->tag_cnt; i++)
		if (!rule_tag_matches(&r->tags[i], c, s))
			return false;
	return true;
}
