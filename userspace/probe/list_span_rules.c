/* SPDX-License-Identifier: Apache-2.0 */
/* `span_rules:`: what becomes of finished spans. */
#include <errno.h>

#include "probe/list_read.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- values --------------------------------------------------------------------------------------------------------
 */

#define FORM_GLOB "text with * and ?; letter case does not count"
#define FORM_TEXT "text, with {tag} for the value of a tag"

static LIST_READER(read_pattern)
{
	struct sv text;
	if (!list_read_text(r, key, value, &text))
		return;
	int rc = pattern_init(field, &r->list->arena, text);
	r->no_memory |= rc == -ENOMEM;
	if (rc == -E2BIG)
		yaml_error(&r->src, value, "%s: longer than %d bytes", key->name, PATTERN_MAX);
}

static LIST_READER(read_span_text)
{
	struct sbuf err = {0};
	struct sv text;
	size_t at = 0;
	if (!list_read_text(r, key, value, &text))
		return;
	int rc = span_text_parse(field, text, &r->list->arena, &err, &at);
	r->no_memory |= rc == -ENOMEM;
	if (rc == -EINVAL)
		yaml_error_at(&r->src, value, at, "%s: %s", key->name, sbuf_str(&err));
	sbuf_release(&err);
}

static LIST_READER(read_yes_no)
{
	bool yes = false;
	uint32_t before = r->src.d->error_cnt;
	list_read_bool(r, key, value, &yes);
	if (r->src.d->error_cnt == before)
		*(int8_t *)field = yes;
}

/* Only true means anything. */
static LIST_READER(read_yes)
{
	if (value->kind == YAML_SCALAR && !value->quoted && sv_eq(value->text, SV("true")))
		*(bool *)field = true;
	else
		list_expected(r, key, value);
}

/* --- maps of free keys ---------------------------------------------------------------------------------------------
 */

/* The entries of one map, gathered in the arena. `each` reads one into its place. */
struct parts {
	const struct list_key *key;
	char *data;
	size_t size; /* of one */
	uint16_t cnt;
	LIST_READER((*each));
};

static void read_part(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	struct parts *p = arg;
	struct list_key key = *p->key;
	struct sv name = arena_dup(&r->list->arena, value->key->text);
	if (!name.data) {
		r->no_memory = true;
		return;
	}
	key.name = name.data;
	char *at = p->data + p->cnt * p->size;
	*(struct sv *)at = name;
	uint32_t before = r->src.d->error_cnt;
	p->each(r, &key, value, at);
	p->cnt += r->src.d->error_cnt == before;
}

static bool read_parts(struct list_reader *r, const struct list_key *key, const struct yaml_node *value,
		       struct parts *p)
{
	if (value->kind == YAML_MAPPING && value->cnt > SPAN_RULE_MAX_PARTS) {
		yaml_error(&r->src, value, "%s: %u entries; there may be %d", key->name, value->cnt,
			   SPAN_RULE_MAX_PARTS);
		return false;
	}
	p->key = key;
	p->data = arena_alloc(&r->list->arena, (value->cnt + 1u) * p->size);
	r->no_memory |= !p->data;
	if (p->data)
		list_read_entries(r, key, value, read_part, p);
	return p->data;
}

static LIST_READER(read_match_tag)
{
	struct rule_tag *tag = field;
	struct list_key text = *key;
	text.form = FORM_GLOB;
	read_pattern(r, &text, value, &tag->value);
}

static LIST_READER(read_match_tags)
{
	struct sampling_rule *match = field;
	struct parts p = {.size = sizeof(struct rule_tag), .each = read_match_tag};
	if (!read_parts(r, key, value, &p))
		return;
	match->tags = (struct rule_tag *)(void *)p.data;
	match->tag_cnt = p.cnt;
}

static LIST_READER(read_set_tag)
{
	struct span_rule_tag *tag = field;
	struct list_key text = *key;
	text.form = FORM_TEXT;
	read_span_text(r, &text, value, &tag->value);
}

static LIST_READER(read_set_tags)
{
	struct span_rule *rule = field;
	struct parts p = {.size = sizeof(struct span_rule_tag), .each = read_set_tag};
	if (!read_parts(r, key, value, &p))
		return;
	rule->tags = (struct span_rule_tag *)(void *)p.data;
	rule->tag_cnt = p.cnt;
}

/* A number that is not quoted, of either sign. */
static bool parse_decimal(const struct yaml_node *value, double *ret)
{
	struct sv unit;
	bool minus = value->kind == YAML_SCALAR && value->text.len > 1 && value->text.data[0] == '-';
	if (value->kind != YAML_SCALAR || value->quoted)
		return false;
	struct sv digits = {value->text.data + minus, value->text.len - minus};
	if (!units_decimal(digits, ret, &unit) || unit.len)
		return false;
	if (minus)
		*ret = -*ret;
	return true;
}

static LIST_READER(read_set_metric)
{
	struct metric *metric = field;
	struct list_key number = *key;
	number.form = "a number";
	if (!parse_decimal(value, &metric->value))
		list_expected(r, &number, value);
}

static LIST_READER(read_set_metrics)
{
	struct span_rule *rule = field;
	struct parts p = {.size = sizeof(struct metric), .each = read_set_metric};
	if (!read_parts(r, key, value, &p))
		return;
	rule->metrics = (struct metric *)(void *)p.data;
	rule->metric_cnt = p.cnt;
}

/* --- links and events ----------------------------------------------------------------------------------------------
 */

#define IN_LINK(field)	offsetof(struct span_rule_link, field)
#define IN_EVENT(field) offsetof(struct span_rule_event, field)

static LIST_READER(read_link_attributes)
{
	struct span_rule_link *link = field;
	struct parts p = {.size = sizeof(struct span_rule_tag), .each = read_set_tag};
	if (!read_parts(r, key, value, &p))
		return;
	link->attributes = (struct span_rule_tag *)(void *)p.data;
	link->attribute_cnt = p.cnt;
}

/* Numbers, true and false are what they look like; in quotes they are texts. */
static LIST_READER(read_event_attribute)
{
	struct span_rule_attribute *a = field;
	struct list_key text = *key;
	bool plain = value->kind == YAML_SCALAR && !value->quoted;
	text.form = FORM_TEXT;
	if (list_parse_integer(value, &a->value.integer)) {
		a->value.type = EVENT_INT;
	} else if (plain && (sv_eq(value->text, SV("true")) || sv_eq(value->text, SV("false")))) {
		a->value.type = EVENT_BOOL;
		a->value.integer = value->text.len == 4;
	} else if (parse_decimal(value, &a->value.number)) {
		a->value.type = EVENT_DOUBLE;
	} else {
		a->value.type = EVENT_TEXT;
		read_span_text(r, &text, value, &a->text);
	}
}

static LIST_READER(read_event_attributes)
{
	struct span_rule_event *event = field;
	struct parts p = {.size = sizeof(struct span_rule_attribute), .each = read_event_attribute};
	if (!read_parts(r, key, value, &p))
		return;
	event->attributes = (struct span_rule_attribute *)(void *)p.data;
	event->attribute_cnt = p.cnt;
}

static const struct list_key link_keys[] = {
	LIST_KEY("trace_id", read_span_text, IN_LINK(trace_id), FORM_TEXT,
		 "\"{batch.trace_id}\": 32 hex digits, or decimal; without a value there is no link"),
	LIST_KEY("span_id", read_span_text, IN_LINK(span_id), FORM_TEXT, "16 hex digits, or decimal; \"0x{id}\": hex"),
	LIST_KEY("attributes", read_link_attributes, 0, "a map of attributes to texts", ""),
};
static const struct list_map link_map = {"add_link:", link_keys, COUNT(link_keys)};

static const struct list_key event_keys[] = {
	LIST_KEY("name", read_span_text, IN_EVENT(name), FORM_TEXT, ""),
	LIST_KEY("attributes", read_event_attributes, 0, "a map of attributes to texts, numbers, true or false", ""),
};
static const struct list_map event_map = {"add_event:", event_keys, COUNT(event_keys)};

/* One map of `map` or a list of them, `size` bytes each, all keys of `need` in each; their number. */
static uint16_t read_annex(struct list_reader *r, const struct list_key *key, const struct yaml_node *value,
			   const struct list_map *map, uint32_t need, char **data, size_t size)
{
	uint16_t cnt = 0;
	*data = arena_alloc(&r->list->arena, SPAN_RULE_MAX_ANNEX * size);
	r->no_memory |= !*data;
	for (const struct yaml_node *one = *data ? list_first_map(r, key, value) : NULL; one;
	     one = list_next_map(value, one)) {
		uint32_t given, before = r->src.d->error_cnt;
		if (cnt == SPAN_RULE_MAX_ANNEX) {
			yaml_error(&r->src, one, "%s: more than %d", key->name, SPAN_RULE_MAX_ANNEX);
			break;
		}
		if (list_read_map(r, map, one, *data + cnt * size, &given) && r->src.d->error_cnt == before &&
		    (given & need) != need)
			yaml_error(&r->src, one, need == 1 ? "%s: needs a name" : "%s: needs trace_id and span_id",
				   key->name);
		cnt++;
	}
	return cnt;
}

static LIST_READER(read_links)
{
	struct span_rule *rule = field;
	char *data;
	rule->link_cnt = read_annex(r, key, value, &link_map, 3, &data, sizeof(*rule->links));
	rule->links = (struct span_rule_link *)(void *)data;
}

static LIST_READER(read_events)
{
	struct span_rule *rule = field;
	char *data;
	rule->event_cnt = read_annex(r, key, value, &event_map, 1, &data, sizeof(*rule->events));
	rule->events = (struct span_rule_event *)(void *)data;
}

/* --- what is taken away --------------------------------------------------------------------------------------------
 */

/* While a rule is read. */
struct rule_draft {
	struct span_rule rule; /* first: the tables' offsets are into either */
	VEC(struct span_rule_rename) renames;
};

static void add_rename(struct list_reader *r, const struct yaml_node *node, struct rule_draft *d, struct sv from,
		       struct sv to)
{
	if (d->renames.cnt == SPAN_RULE_MAX_PARTS)
		yaml_error(&r->src, node, "more than %d tags renamed and removed", SPAN_RULE_MAX_PARTS);
	else if (vec_push(&d->renames, ((struct span_rule_rename){from, to})))
		r->no_memory = true;
}

static void read_rename(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	struct sv from = arena_dup(&r->list->arena, value->key->text), to;
	struct list_key key = {.name = from.data, .form = "the tag's new name"};
	r->no_memory |= !from.data;
	if (from.data && list_read_text(r, &key, value, &to))
		add_rename(r, value, arg, from, to);
}

static LIST_READER(read_renames)
{
	list_read_entries(r, key, value, read_rename, field);
}

static LIST_READER(read_removal)
{
	struct sv name;
	if (list_read_text(r, key, value, &name))
		add_rename(r, value, field, name, SV_NULL);
}

static LIST_READER(read_removals)
{
	list_read_each(r, key, value, field, read_removal);
}

/* --- a rule --------------------------------------------------------------------------------------------------------
 */

#define IN_RULE(field) offsetof(struct span_rule, field)
static const struct list_key match_keys[] = {
	LIST_KEY("service", read_pattern, IN_RULE(match.service), FORM_GLOB, ""),
	LIST_KEY("name", read_pattern, IN_RULE(match.name), FORM_GLOB, "http.client.request, a function's name"),
	LIST_KEY("resource", read_pattern, IN_RULE(match.resource), FORM_GLOB, "GET /users/*"),
	LIST_KEY("type", read_pattern, IN_RULE(of_type), FORM_GLOB, "web, http, custom"),
	LIST_KEY(
		"peer", read_pattern, IN_RULE(peer), FORM_GLOB,
		"whom the process talked to: the host or host:port it asked, or (DD_TRACE_CLIENT_IP_ENABLED) who asked"),
	LIST_KEY("tags", read_match_tags, IN_RULE(match), "a map of tags to texts with * and ?",
		 "all of them; whole numbers of metrics, too"),
	LIST_KEY("error", read_yes_no, IN_RULE(error), "true or false", "only failed ones, or only good ones"),
};
static const struct list_map match_map = {"match:", match_keys, COUNT(match_keys)};

static const struct list_key set_keys[] = {
	LIST_KEY("service", read_span_text, IN_RULE(service), FORM_TEXT, ""),
	LIST_KEY("name", read_span_text, IN_RULE(name), FORM_TEXT, ""),
	LIST_KEY("resource", read_span_text, IN_RULE(resource), FORM_TEXT, "\"{http.method} {http.route}\""),
	LIST_KEY("type", read_span_text, IN_RULE(type), FORM_TEXT, ""),
	LIST_KEY("error", read_yes_no, IN_RULE(set_error), "true or false", ""),
	LIST_KEY("tags", read_set_tags, 0, "a map of tags to texts", "values may have {tag} in them"),
	LIST_KEY("metrics", read_set_metrics, 0, "a map of metrics to numbers", ""),
};
static const struct list_map set_map = {"set:", set_keys, COUNT(set_keys)};

static LIST_READER(read_match)
{
	(void)key;
	list_read_map(r, &match_map, value, field, NULL);
}

static LIST_READER(read_set)
{
	(void)key;
	list_read_map(r, &set_map, value, field, NULL);
}

static const struct list_key rule_keys[] = {
	LIST_KEY("match", read_match, 0, "a map", "which spans; without it: all", .inner = &match_map),
	LIST_KEY("set", read_set, 0, "a map", "what they get", .inner = &set_map),
	LIST_KEY("rename", read_renames, 0, "a map of tags to their new names", "metrics, too"),
	LIST_KEY("remove", read_removals, 0, "a tag or a list of them", "metrics, too"),
	LIST_KEY("add_link", read_links, 0, "a map, or a list of them", "to other spans", .inner = &link_map),
	LIST_KEY("add_event", read_events, 0, "a map, or a list of them", "at their end", .inner = &event_map),
	LIST_KEY("drop", read_yes, IN_RULE(drop), "true", "they are left out; their children become their parents'"),
	LIST_KEY("keep", read_yes, IN_RULE(keep), "true", "sampling keeps their trace"),
	LIST_KEY("reject", read_yes, IN_RULE(reject), "true", "sampling does not keep their trace"),
};
const struct list_map list_span_rule_map = {"a span rule", rule_keys, COUNT(rule_keys)};

static void check_rule(struct list_reader *r, const struct yaml_node *node, const struct rule_draft *d, uint32_t given)
{
	const struct span_rule *rule = &d->rule;
	bool match = given & 1, changes = given & 0x3e, orders = given & 0x180;
	if (!(given & ~1u))
		yaml_error(&r->src, node,
			   "a span rule needs one of set, rename, remove, add_link, add_event, drop, keep, reject");
	else if (rule->drop && (changes || orders))
		yaml_error(&r->src, node, "drop: leaves the span out; nothing else can become of it");
	else if (rule->keep && rule->reject)
		yaml_error(&r->src, node, "keep: and reject: contradict each other");
	else if (rule->drop && !match && !rule->target)
		yaml_error(&r->src, node, "drop: without match: would leave out every span");
}

static void read_rule(struct list_reader *r, const struct yaml_node *one)
{
	struct rule_draft d = {.rule = {.error = -1, .set_error = -1, .target = (uint32_t)(r->target + 1)}};
	uint32_t before = r->src.d->error_cnt, given;
	if (list_read_map(r, &list_span_rule_map, one, &d, &given) && r->src.d->error_cnt == before)
		check_rule(r, one, &d, given);
	size_t size = d.renames.cnt * sizeof(*d.renames.data);
	struct span_rule_rename *renames = size ? arena_alloc(&r->list->arena, size) : NULL;
	r->no_memory |= size && !renames;
	if (renames) {
		memcpy(renames, d.renames.data, size);
		d.rule.renames = renames;
		d.rule.rename_cnt = (uint16_t)d.renames.cnt;
	}
	vec_release(&d.renames);
	if (r->src.d->error_cnt == before)
		r->no_memory |= vec_push(&r->list->span_rules, d.rule) < 0;
}

LIST_READER(list_read_span_rules)
{
	(void)field;
	for (const struct yaml_node *one = list_first_map(r, key, value); one; one = list_next_map(value, one)) {
		if (r->list->span_rules.cnt == SPAN_RULES_MAX) {
			yaml_error(&r->src, one, "more than %d span rules", SPAN_RULES_MAX);
			return;
		}
		read_rule(r, one);
	}
}
