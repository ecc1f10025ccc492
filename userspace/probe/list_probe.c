/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/list_args.h"

#include "base/nearest.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct span_draft {
	const struct yaml_node *name, *resource, *tags, *metrics;
	struct sv service, type, kind;
};

struct error_draft {
	const struct yaml_node *when, *message;
	struct sv type;
};

/* A probe while it is read: what needs the arguments' names waits as nodes until they are known. */
struct probe_draft {
	struct probe probe;
	const struct yaml_node *node, *function, *address, *args, *ret, *span, *when, *error, *metric;
};

/* --- tables --------------------------------------------------------------------------------------------------------
 */

static LIST_READER(read_kind)
{
	static const char *const kinds[] = {"server", "client", "producer", "consumer", "internal"};
	for (size_t i = 0; i < COUNT(kinds); i++)
		if (value->kind == YAML_SCALAR && sv_eq(value->text, sv_of(kinds[i])))
			*(struct sv *)field = sv_of(kinds[i]);
	if (!((struct sv *)field)->len)
		list_expected(r, key, value);
}

#define IN_SPAN(field) offsetof(struct span_draft, field)
static const struct list_key span_keys[] = {
	LIST_KEY("name", list_read_node, IN_SPAN(name), LIST_FORM_TEMPLATE, "default: the function's unqualified name"),
	LIST_KEY("resource", list_read_node, IN_SPAN(resource), LIST_FORM_TEMPLATE,
		 "default: the function's full name"),
	LIST_KEY("service", list_read_string, IN_SPAN(service), "text", "default: that of the process"),
	LIST_KEY("type", list_read_string, IN_SPAN(type), "text", "web, worker, db, cache, ..."),
	LIST_KEY("kind", read_kind, IN_SPAN(kind), "server, client, producer, consumer or internal", ""),
	LIST_KEY("tags", list_read_node, IN_SPAN(tags), "a map of names to texts or templates", ""),
	LIST_KEY("metrics", list_read_node, IN_SPAN(metrics), "a map of names to integer arguments",
		 "{amount: amount}"),
};
const struct list_map list_span_map = {"span:", span_keys, COUNT(span_keys)};

#define IN_ERROR(field) offsetof(struct error_draft, field)
static const struct list_key error_keys[] = {
	LIST_KEY("when", list_read_node, IN_ERROR(when), "a condition", "required"),
	LIST_KEY("type", list_read_string, IN_ERROR(type), "text", "error.type; default: the condition"),
	LIST_KEY("message", list_read_node, IN_ERROR(message), LIST_FORM_TEMPLATE,
		 "error.message; default: \"{function} returned {return}\""),
};
const struct list_map list_error_map = {"error:", error_keys, COUNT(error_keys)};

#define IN_PROBE(field) offsetof(struct probe_draft, field)
static const struct list_key probe_keys[] = {
	LIST_KEY("function", list_read_node, IN_PROBE(function), "a function's name or glob, or a list of them",
		 "C++ and Rust names as demangled, with or without the parameter list"),
	LIST_KEY("exclude", list_read_globs, IN_PROBE(probe.excludes), "a name or glob, or a list of them",
		 "functions to leave out"),
	LIST_KEY("library", list_read_glob, IN_PROBE(probe.library), "a glob on the file name of a shared library",
		 "default: the executable"),
	LIST_KEY("address", list_read_node, IN_PROBE(address), "an ELF virtual address (0x401136)",
		 "instead of function:"),
	LIST_KEY("optional", list_read_bool, IN_PROBE(probe.optional), "true or false",
		 "finding nothing is a warning, not an error"),
	LIST_KEY("span", list_read_node, IN_PROBE(span), "a map, or false",
		 "what its spans look like; false: none, with metric:", .inner = &list_span_map),
	LIST_KEY("metric", list_read_node, IN_PROBE(metric), "a map, or a list of them",
		 "metrics that its calls add to, sent to DogStatsD", .inner = &list_metric_map),
	LIST_KEY("args", list_read_node, IN_PROBE(args), "a map of names to {at: 1, type: i64}",
		 "arguments to capture; each becomes a tag", .inner = &list_arg_map),
	LIST_KEY("return", list_read_node, IN_PROBE(ret), "a type, or a map", "the return value; becomes a tag",
		 .inner = &list_return_map),
	LIST_KEY("when", list_read_node, IN_PROBE(when), "a condition on arguments",
		 "calls for which it is false are not traced"),
	LIST_KEY("error", list_read_node, IN_PROBE(error), "a condition on arguments and return, or a map",
		 "makes the span an error", .inner = &list_error_map),
	LIST_KEY("min_duration", list_read_duration, IN_PROBE(probe.spec.min_duration_ns),
		 "a duration with its unit (5ms, 1.5s, 200us)", "shorter calls are not traced"),
	LIST_KEY("sample", list_read_share, IN_PROBE(probe.spec.sample_below), "a share (0.1 or 10%)",
		 "of the calls, at random"),
	LIST_KEY("rate", list_read_rate, IN_PROBE(probe.spec.rate_per_sec), "a rate (100/s, 600/m)",
		 "calls traced at most, 1/s at least"),
};
const struct list_map list_probe_map = {"a probe", probe_keys, COUNT(probe_keys)};

static const struct list_key *key_of(const struct list_map *map, const char *name)
{
	for (unsigned i = 0; i < map->key_cnt; i++)
		if (strcmp(map->keys[i].name, name) == 0)
			return &map->keys[i];
	return &map->keys[0];
}

/* --- where ---------------------------------------------------------------------------------------------------------
 */

static void compile_place(struct list_reader *r, struct probe_draft *draft)
{
	struct probe *probe = &draft->probe;
	if (draft->function && draft->address && draft->address->kind != YAML_BAD)
		yaml_error(&r->src, draft->address->key, "address: stands instead of function:, not beside it");
	else if (!draft->function && !draft->address)
		yaml_error(&r->src, draft->node, "a probe needs function: or address:");
	if (draft->function)
		list_read_globs(r, key_of(&list_probe_map, "function"), draft->function, &probe->functions);
	else if (probe->excludes.cnt)
		diagnostics_error(r->src.d, probe->excludes.data[0].pos, "exclude: goes with function: alone");
	if (!draft->address)
		return;
	probe->address_pos = draft->address->pos;
	if (draft->address->kind != YAML_SCALAR || draft->address->quoted ||
	    !units_unsigned(draft->address->text, &probe->address) || !probe->address)
		list_expected(r, key_of(&list_probe_map, "address"), draft->address);
}

/* --- span ----------------------------------------------------------------------------------------------------------
 */

struct span_builder {
	struct probe_span *span;
	struct list_values *values;
	VEC(struct tag) constants;
	VEC(struct probe_tag) tags;
	VEC(struct probe_metric) metrics;
};

void list_compile_template(struct list_reader *r, const struct list_key *key, const struct yaml_node *node,
			   struct value_names *names, struct template *ret)
{
	struct sv text;
	if (node && list_read_text(r, key, node, &text) &&
	    template_parse(ret, text, node, &r->src, names, &r->list->arena) == -ENOMEM)
		r->no_memory = true;
}

static void add_tag(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	struct span_builder *b = arg;
	struct list_key key = {.form = LIST_FORM_TEMPLATE};
	struct probe_tag tag = {.key = arena_dup(&r->list->arena, value->key->text)};
	struct sv constant;
	key.name = tag.key.data;
	if (!tag.key.data) {
		r->no_memory = true;
		return;
	}
	list_compile_template(r, &key, value, &b->values->names, &tag.value);
	if (template_is_constant(&tag.value, &constant))
		r->no_memory |= vec_push(&b->constants, ((struct tag){tag.key, constant})) < 0;
	else if (tag.value.cnt)
		r->no_memory |= vec_push(&b->tags, tag) < 0;
}

static void add_metric(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	struct span_builder *b = arg;
	struct value_names *names = &b->values->names;
	struct probe_metric metric = {.key = arena_dup(&r->list->arena, value->key->text)};
	char found[YAML_DESCRIBE_SZ];
	if (value->kind == YAML_BAD)
		return;
	const struct value_name *name = value->kind == YAML_SCALAR ? value_names_find(names, value->text) : NULL;
	if (!name && names->incomplete && value->kind == YAML_SCALAR)
		return;
	if (!name) {
		struct nearest near;
		nearest_init(&near, value->text);
		for (unsigned i = 0; i < names->cnt; i++)
			nearest_offer(&near, names->names[i].name);
		yaml_error(&r->src, value,
			   "metric '" SV_FMT "': expected the name of an integer argument, found %s%s" SV_FMT "%s",
			   SV_ARG(value->key->text), yaml_describe(value, found, sizeof(found)),
			   near.best.data ? "; did you mean '" : "", SV_ARG(near.best), near.best.data ? "'?" : "");
	} else if (value_type_is_memory(name->type) || name->type == SH_PTR) {
		yaml_error(&r->src, value, "metric '" SV_FMT "': '" SV_FMT "' is %s, which is no number",
			   SV_ARG(value->key->text), SV_ARG(value->text), value_type_name(name->type));
	} else {
		metric.value = name->index;
		names->used |= (uint16_t)(1u << name->index);
		r->no_memory |= !metric.key.data || vec_push(&b->metrics, metric) < 0;
	}
}

/* A captured value is shown as a tag, unless it is a metric or the name is taken. */
static void add_value_tags(struct list_reader *r, struct span_builder *b)
{
	for (unsigned i = 0; i < b->values->tag_cnt; i++) {
		struct sv key = b->values->tags[i].key;
		uint8_t value = b->values->tags[i].value;
		bool taken = false;
		vec_foreach (tag, &b->constants)
			taken |= sv_eq(tag->key, key);
		vec_foreach (tag, &b->tags)
			taken |= sv_eq(tag->key, key);
		vec_foreach (metric, &b->metrics)
			taken |= sv_eq(metric->key, key) || metric->value == value;
		struct template_segment *segment = taken ? NULL : arena_alloc(&r->list->arena, sizeof(*segment));
		if (taken)
			continue;
		if (!segment) {
			r->no_memory = true;
			return;
		}
		segment->value = value;
		r->no_memory |= vec_push(&b->tags, ((struct probe_tag){key, {segment, 1}})) < 0;
		b->values->names.used |= (uint16_t)(1u << value);
	}
}

static void *to_arena(struct list_reader *r, const void *data, size_t sz)
{
	void *copy = arena_alloc(&r->list->arena, sz ? sz : 1);
	if (copy && sz)
		memcpy(copy, data, sz);
	r->no_memory |= !copy;
	return copy;
}

static void compile_span(struct list_reader *r, struct probe_draft *draft, struct list_values *values)
{
	struct probe_span *span = &draft->probe.span;
	struct span_draft written = {0};
	struct span_builder b = {.span = span, .values = values};
	if (draft->span && list_read_map(r, &list_span_map, draft->span, &written, NULL)) {
		list_compile_template(r, key_of(&list_span_map, "name"), written.name, &values->names, &span->name);
		list_compile_template(r, key_of(&list_span_map, "resource"), written.resource, &values->names,
				      &span->resource);
		span->service = written.service;
		span->type = written.type;
		span->kind = written.kind;
		if (written.tags)
			list_read_entries(r, key_of(&list_span_map, "tags"), written.tags, add_tag, &b);
		if (written.metrics)
			list_read_entries(r, key_of(&list_span_map, "metrics"), written.metrics, add_metric, &b);
	}
	add_value_tags(r, &b);
	span->constant_tags = to_arena(r, b.constants.data, b.constants.cnt * sizeof(*b.constants.data));
	span->tags = to_arena(r, b.tags.data, b.tags.cnt * sizeof(*b.tags.data));
	span->metrics = to_arena(r, b.metrics.data, b.metrics.cnt * sizeof(*b.metrics.data));
	span->constant_tag_cnt = (uint16_t)b.constants.cnt;
	span->tag_cnt = (uint16_t)b.tags.cnt;
	span->metric_cnt = (uint16_t)b.metrics.cnt;
	vec_release(&b.constants);
	vec_release(&b.tags);
	vec_release(&b.metrics);
}

/* --- conditions ----------------------------------------------------------------------------------------------------
 */

static void compile_condition(struct list_reader *r, const struct list_key *key, const struct yaml_node *node,
			      enum condition_use use, struct value_names *names, struct condition *ret)
{
	struct sv text;
	if (list_read_text(r, key, node, &text) &&
	    condition_parse(ret, use, text, node, &r->src, names, &r->list->arena) == -ENOMEM)
		r->no_memory = true;
}

/* An undeclared return value is shown as what the condition took it for. */
static bool adopt_return_type(struct probe *probe, struct value_names *names)
{
	const struct condition *when = &probe->error.when;
	for (uint32_t i = 0; i < names->cnt; i++) {
		struct value_name *name = &names->names[i];
		if (!sv_eq(name->name, SV("return")))
			continue;
		for (uint32_t t = 0; t < when->cnt; t++) {
			if (when->terms[t].value != name->index && when->terms[t].value != VALUE_RETURN)
				continue;
			if (!name->declared)
				probe->return_type = name->type = when->terms[t].type;
			return true;
		}
	}
	return false;
}

static void compile_error(struct list_reader *r, struct probe_draft *draft, struct list_values *values)
{
	struct probe_error *error = &draft->probe.error;
	struct error_draft written = {.when = draft->error};
	const struct list_key *when_key = key_of(&list_probe_map, "error");
	if (draft->error->kind == YAML_MAPPING) {
		written.when = NULL;
		list_read_map(r, &list_error_map, draft->error, &written, NULL);
		when_key = key_of(&list_error_map, "when");
		if (!written.when) {
			yaml_error(&r->src, draft->error, "error: needs when: (a condition such as return < 0)");
			return;
		}
	}
	compile_condition(r, when_key, written.when, CONDITION_ERROR, &values->names, &error->when);
	bool about_return = adopt_return_type(&draft->probe, &values->names);
	error->type = written.type.len ? written.type : arena_dup(&r->list->arena, written.when->text);
	r->no_memory |= !error->type.data;
	if (written.message) {
		list_compile_template(r, key_of(&list_error_map, "message"), written.message, &values->names,
				      &error->message);
		return;
	}
	if (!error->when.cnt)
		return;
	static const struct template_segment subject = {.value = TEMPLATE_FUNCTION},
					     verb = {TEMPLATE_LITERAL, sizeof(" returned ") - 1, " returned "};
	const struct value_name *name = value_names_find(&values->names, SV("return"));
	struct template_segment segments[] = {subject, verb, {.value = name->index}};
	struct template_segment condition = {TEMPLATE_LITERAL, (uint16_t)written.when->text.len, NULL};
	condition.literal = arena_dup(&r->list->arena, written.when->text).data;
	r->no_memory |= !condition.literal;
	error->message.cnt = about_return ? COUNT(segments) : 1;
	error->message.segments =
		about_return ? to_arena(r, segments, sizeof(segments)) : to_arena(r, &condition, sizeof(condition));
	if (about_return)
		values->names.used |= (uint16_t)(1u << name->index);
}

static bool is_false(const struct yaml_node *node)
{
	return node && node->kind == YAML_SCALAR && !node->quoted && sv_eq(node->text, SV("false"));
}

static void compile_no_span(struct list_reader *r, struct probe_draft *draft)
{
	draft->probe.no_span = true;
	if (!draft->metric)
		yaml_error(&r->src, draft->span, "span: false leaves nothing of this probe: it goes with metric:");
}

static void compile_probe(struct list_reader *r, struct probe_draft *draft)
{
	struct list_values values = {0};
	struct probe *probe = &draft->probe;
	struct condition when = {0};
	compile_place(r, draft);
	list_compile_values(r, probe, draft->args, draft->ret, &values);
	if (draft->when) {
		compile_condition(r, key_of(&list_probe_map, "when"), draft->when, CONDITION_WHEN, &values.names,
				  &when);
		condition_to_spec(&when, &probe->spec);
	}
	if (draft->error)
		compile_error(r, draft, &values);
	if (draft->metric)
		list_compile_measures(r, probe, draft->metric, &values);
	if (is_false(draft->span))
		compile_no_span(r, draft);
	else
		compile_span(r, draft, &values);
	list_hide_unused(&values, probe);
}

LIST_READER(list_read_probes)
{
	(void)field;
	if (value->kind != YAML_SEQUENCE || !value->first) {
		list_expected(r, key, value);
		return;
	}
	for (const struct yaml_node *one = value->first; one; one = one->next) {
		struct probe_draft draft = {.node = one};
		uint32_t before = r->src.d->error_cnt;
		if (r->list->probes.cnt == PROBE_LIST_MAX_PROBES) {
			yaml_error(&r->src, one, "more than %d probes", PROBE_LIST_MAX_PROBES);
			return;
		}
		draft.probe.target = r->target;
		draft.probe.pos = one->pos;
		draft.probe.canonical = list_canonical(r, one, NULL);
		if (!list_read_map(r, &list_probe_map, one, &draft, NULL))
			continue;
		compile_probe(r, &draft);
		draft.probe.broken = r->src.d->error_cnt > before || !yaml_is_good(one);
		if (vec_push(&r->list->probes, draft.probe) < 0) {
			vec_release(&draft.probe.functions);
			vec_release(&draft.probe.excludes);
			r->no_memory = true;
		}
	}
}
