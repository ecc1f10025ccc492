/* SPDX-License-Identifier: Apache-2.0 */
/* `metric:` of a probe. */
#include "base/nearest.h"
#include "probe/list_args.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define NAME_MAX_LEN 200 /* the Agent's limit */

struct measure_draft {
	const struct yaml_node *name, *value, *tags;
	uint8_t type;
	bool has_type;
};

static LIST_READER(read_type)
{
	static const char *const types[] = {[MEASURE_COUNT] = "count",
					    [MEASURE_GAUGE] = "gauge",
					    [MEASURE_HISTOGRAM] = "histogram",
					    [MEASURE_DISTRIBUTION] = "distribution"};
	struct measure_draft *draft = field;
	for (uint8_t i = 0; i < COUNT(types); i++)
		if (value->kind == YAML_SCALAR && sv_eq(value->text, sv_of(types[i]))) {
			draft->type = i;
			draft->has_type = true;
			return;
		}
	draft->has_type = true;
	list_expected(r, key, value);
}

#define IN_DRAFT(field) offsetof(struct measure_draft, field)
static const struct list_key metric_keys[] = {
	LIST_KEY("name", list_read_node, IN_DRAFT(name), LIST_FORM_TEMPLATE, "required; letters, digits, _ and ."),
	LIST_KEY("type", read_type, 0, "count, gauge, histogram or distribution",
		 "default: count, or distribution where there is a value:"),
	LIST_KEY("value", list_read_node, IN_DRAFT(value), "an argument, return or duration",
		 "duration is in milliseconds; default, of a count alone: 1 for each call"),
	LIST_KEY("tags", list_read_node, IN_DRAFT(tags), "a map of names to texts or templates",
		 "beside service, env and version of the process, and its DD_TAGS"),
};
const struct list_map list_metric_map = {"metric:", metric_keys, COUNT(metric_keys)};
#define KEY_NAME  (&metric_keys[0])
#define KEY_VALUE (&metric_keys[2])
#define KEY_TAGS  (&metric_keys[3])

/* --- name --------------------------------------------------------------------------------------------------------- */

static void check_name(struct list_reader *r, const struct template *name, const struct yaml_node *node)
{
	struct sv text;
	if (!name->cnt || !template_is_constant(name, &text))
		return;
	bool good =
		text.len && text.len <= NAME_MAX_LEN && ((text.data[0] | 0x20) >= 'a' && (text.data[0] | 0x20) <= 'z');
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		good &= (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
			c == '.';
	}
	if (!good)
		yaml_error(&r->src, node,
			   "'" SV_FMT
			   "' is not the name of a metric: a letter, then letters, digits, _ and ., %d at most",
			   SV_ARG(text), NAME_MAX_LEN);
}

/* --- value -------------------------------------------------------------------------------------------------------- */

static void unknown_value(struct list_reader *r, const struct yaml_node *node, const struct value_names *names)
{
	char found[YAML_DESCRIBE_SZ];
	struct nearest near;
	nearest_init(&near, node->text);
	for (unsigned i = 0; i < names->cnt; i++)
		nearest_offer(&near, names->names[i].name);
	nearest_offer(&near, SV("duration"));
	yaml_error(&r->src, node, "value: expected %s, found %s%s" SV_FMT "%s", KEY_VALUE->form,
		   yaml_describe(node, found, sizeof(found)), near.best.data ? "; did you mean '" : "",
		   SV_ARG(near.best), near.best.data ? "'?" : "");
}

static void compile_value(struct list_reader *r, const struct yaml_node *node, struct value_names *names,
			  struct probe_measure *m)
{
	const struct value_name *name = node->kind == YAML_SCALAR ? value_names_find(names, node->text) : NULL;
	if (node->kind == YAML_BAD || (!name && names->incomplete && node->kind == YAML_SCALAR))
		return;
	if (!name && node->kind == YAML_SCALAR && sv_eq(node->text, SV("duration"))) {
		m->value = MEASURE_DURATION;
	} else if (!name) {
		unknown_value(r, node, names);
	} else if (value_type_is_memory(name->type) || name->type == SH_PTR) {
		yaml_error(&r->src, node, "value: '" SV_FMT "' is %s, which is no number", SV_ARG(node->text),
			   value_type_name(name->type));
	} else {
		m->value = name->index;
		names->used |= (uint16_t)(1u << name->index);
	}
}

/* --- tags --------------------------------------------------------------------------------------------------------- */

struct tag_builder {
	struct list_values *values;
	struct probe_tag tags[MEASURE_MAX_TAGS];
	uint16_t cnt;
};

static void add_tag(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	struct tag_builder *b = arg;
	struct probe_tag tag = {.key = arena_dup(&r->list->arena, value->key->text)};
	struct list_key key = {.name = tag.key.data, .form = LIST_FORM_TEMPLATE};
	if (!tag.key.data) {
		r->no_memory = true;
		return;
	}
	if (b->cnt == MEASURE_MAX_TAGS) {
		yaml_error(&r->src, value, "more than %d tags of a metric", MEASURE_MAX_TAGS);
		return;
	}
	list_compile_template(r, &key, value, &b->values->names, &tag.value);
	if (tag.value.cnt)
		b->tags[b->cnt++] = tag;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void compile_one(struct list_reader *r, const struct yaml_node *node, struct list_values *values,
			struct probe_measure *m)
{
	struct measure_draft written = {0};
	struct tag_builder b = {.values = values};
	*m = (struct probe_measure){.value = MEASURE_ONE};
	if (!list_read_map(r, &list_metric_map, node, &written, NULL))
		return;
	if (!written.name) {
		yaml_error(&r->src, node, "metric: needs name:");
	} else {
		list_compile_template(r, KEY_NAME, written.name, &values->names, &m->name);
		check_name(r, &m->name, written.name);
	}
	m->type = written.has_type ? written.type : written.value ? MEASURE_DISTRIBUTION : MEASURE_COUNT;
	if (written.value)
		compile_value(r, written.value, &values->names, m);
	else if (m->type != MEASURE_COUNT)
		yaml_error(&r->src, node, "a metric that is no count needs value: (an argument, return or duration)");
	if (written.tags)
		list_read_entries(r, KEY_TAGS, written.tags, add_tag, &b);
	struct probe_tag *tags = arena_alloc(&r->list->arena, b.cnt * sizeof(*tags) + 1);
	r->no_memory |= !tags;
	if (tags)
		memcpy(tags, b.tags, b.cnt * sizeof(*tags));
	m->tags = tags;
	m->tag_cnt = tags ? b.cnt : 0;
}

void list_compile_measures(struct list_reader *r, struct probe *probe, const struct yaml_node *node,
			   struct list_values *values)
{
	struct probe_measure all[MEASURES_MAX];
	uint16_t cnt = 0;
	if (node->kind == YAML_SEQUENCE && !node->first)
		list_read_map(r, &list_metric_map, node, all, NULL); /* says what was expected */
	for (const struct yaml_node *one = node->kind == YAML_SEQUENCE ? node->first : node; one;
	     one = node->kind == YAML_SEQUENCE ? one->next : NULL) {
		if (cnt == MEASURES_MAX) {
			yaml_error(&r->src, one, "more than %d metrics of a probe", MEASURES_MAX);
			break;
		}
		compile_one(r, one, values, &all[cnt++]);
	}
	struct probe_measure *copy = arena_alloc(&r->list->arena, cnt * sizeof(*copy) + 1);
	r->no_memory |= !copy;
	if (copy)
		memcpy(copy, all, cnt * sizeof(*copy));
	probe->measures = copy;
	probe->measure_cnt = copy ? cnt : 0;
}
