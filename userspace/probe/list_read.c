/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/list_read.h"

#include "base/nearest.h"

#define MAX_KEYS 32 /* in one table */

void list_expected(struct list_reader *r, const struct list_key *key, const struct yaml_node *value)
{
	char found[YAML_DESCRIBE_SZ];
	if (value->kind == YAML_BAD)
		return;
	bool quoted_number = value->quoted && (units_unsigned(value->text, &(uint64_t){0}) ||
					       sv_eq(value->text, SV("true")) || sv_eq(value->text, SV("false")));
	bool braces = value->kind == YAML_MAPPING && strstr(key->form, "template");
	yaml_error(&r->src, value, "%s: expected %s, found %s%s", key->name, key->form,
		   yaml_describe(value, found, sizeof(found)),
		   quoted_number ? " in quotes"
		   : braces	 ? " (a text that starts with a brace needs quotes: \"{name}\")"
				 : "");
}

/* Returns the index of the key that was probably meant, or key_cnt. */
static unsigned unknown_key(struct list_reader *r, const struct list_map *map, const struct yaml_node *key)
{
	struct sbuf known = {0};
	struct nearest near;
	unsigned meant = map->key_cnt;
	nearest_init(&near, key->text);
	for (unsigned i = 0; i < map->key_cnt; i++) {
		unsigned before = near.distance;
		nearest_offer(&near, sv_of(map->keys[i].name));
		if (near.distance < before)
			meant = i;
		sbuf_addf(&known, "%s%s", i ? ", " : "", map->keys[i].name);
	}
	char buf[YAML_DESCRIBE_SZ];
	const char *found = yaml_describe(key, buf, sizeof(buf));
	if (near.best.data)
		yaml_error(&r->src, key, "unknown key %s in %s; did you mean '" SV_FMT "'?", found, map->what,
			   SV_ARG(near.best));
	else
		yaml_error(&r->src, key, "unknown key %s in %s; there are: %s", found, map->what, sbuf_str(&known));
	sbuf_release(&known);
	return meant;
}

static void no_map(struct list_reader *r, const struct list_map *map, const struct yaml_node *node)
{
	char buf[YAML_DESCRIBE_SZ];
	const char *found = yaml_describe(node, buf, sizeof(buf));
	bool is_key = map->what[strlen(map->what) - 1] == ':';
	if (node->kind == YAML_BAD)
		return;
	if (is_key)
		yaml_error(&r->src, node, "%s expected a map of keys, found %s", map->what, found);
	else
		yaml_error(&r->src, node, "expected %s (a map of keys), found %s", map->what, found);
}

/* Maps whose keys are settings, and what stands before those in trace/settings.def. */
static const struct {
	const struct list_map *map;
	const char *path;
} setting_maps[] = {
	{&list_top_map, ""},	       {&list_target_map, ""},		{&list_agent_map, "agent."},
	{&list_limits_map, "limits."}, {&list_capture_map, "capture."}, {&list_containers_map, "containers."},
	{&list_policy_map, "policy."}, {&list_control_map, "control."}, {&list_health_map, "health."},
};

static const char *setting_path(const struct list_map *map)
{
	for (size_t i = 0; i < sizeof(setting_maps) / sizeof(setting_maps[0]); i++)
		if (setting_maps[i].map == map)
			return setting_maps[i].path;
	return NULL;
}

/* "a, b" of a list, "a:b,c:d" of a map. */
static void flatten(const struct yaml_node *value, struct sbuf *out)
{
	if (value->kind == YAML_SCALAR)
		sbuf_addsv(out, value->text);
	for (const struct yaml_node *one = value->first; one; one = one->next) {
		if (one->kind != YAML_SCALAR)
			continue;
		sbuf_adds(out, one == value->first ? "" : one->key ? "," : ", ");
		if (one->key) {
			sbuf_addsv(out, one->key->text);
			sbuf_addc(out, ':');
		}
		sbuf_addsv(out, one->text);
	}
}

void list_said(struct list_reader *r, const char *path, const char *name, const struct yaml_node *value)
{
	struct sbuf key = {0}, text = {0};
	sbuf_adds(&key, path);
	sbuf_adds(&key, name);
	flatten(value, &text);
	struct probe_said said = {.key = arena_dup(&r->list->arena, sbuf_sv(&key)),
				  .value = arena_dup(&r->list->arena, sbuf_sv(&text)),
				  .pos = value->pos,
				  .target = r->target};
	if (!said.pos.file)
		said.pos.file = r->src.d->reading;
	r->no_memory |=
		key.failed || text.failed || !said.key.data || !said.value.data || vec_push(&r->list->said, said) < 0;
	sbuf_release(&key);
	sbuf_release(&text);
}

bool list_read_map(struct list_reader *r, const struct list_map *map, const struct yaml_node *node, void *object,
		   uint32_t *given)
{
	const struct yaml_node *seen[MAX_KEYS] = {0};
	uint32_t unused;
	given = given ? given : &unused;
	*given = 0;
	if (node->kind != YAML_MAPPING) {
		no_map(r, map, node);
		return false;
	}
	for (const struct yaml_node *value = node->first; value; value = value->next) {
		unsigned i = 0;
		const struct yaml_node *read = value;
		if (value->key->kind == YAML_BAD)
			continue;
		while (i < map->key_cnt && !sv_eq(value->key->text, sv_of(map->keys[i].name)))
			i++;
		if (i == map->key_cnt) {
			i = unknown_key(r, map, value->key);
			struct yaml_node *misspelt = arena_alloc(&r->list->arena, sizeof(*misspelt));
			r->no_memory |= !misspelt;
			if (i == map->key_cnt || seen[i] || !misspelt)
				continue;
			*misspelt = (struct yaml_node){.kind = YAML_BAD, .pos = value->key->pos, .key = value->key};
			read = misspelt;
		} else if (seen[i]) {
			yaml_error(&r->src, value->key, "'%s' again; it was given in line %u", map->keys[i].name,
				   seen[i]->pos.line);
			continue;
		} else {
			seen[i] = value->key;
		}
		*given |= 1u << i;
		const char *path = setting_path(map);
		if (path && (read->kind == YAML_SCALAR || read->first))
			list_said(r, path, map->keys[i].name, read);
		map->keys[i].read(r, &map->keys[i], read, (char *)object + map->keys[i].offset);
	}
	return true;
}

/* Entries of one map are compared with each other, so there must not be many. */
#define MAX_ENTRIES 128

void list_read_entries(struct list_reader *r, const struct list_key *key, const struct yaml_node *map,
		       void (*entry)(struct list_reader *r, const struct yaml_node *value, void *arg), void *arg)
{
	if (map->kind != YAML_MAPPING) {
		list_expected(r, key, map);
		return;
	}
	if (map->cnt > MAX_ENTRIES) {
		yaml_error(&r->src, map, "%s: %u entries; there may be %d", key->name, map->cnt, MAX_ENTRIES);
		return;
	}
	for (const struct yaml_node *value = map->first; value; value = value->next) {
		const struct yaml_node *other = map->first;
		if (value->key->kind == YAML_BAD)
			continue;
		while (other != value &&
		       !(other->key->kind == YAML_SCALAR && sv_eq(other->key->text, value->key->text)))
			other = other->next;
		if (other != value)
			yaml_error(&r->src, value->key, "'" SV_FMT "' again; it was given in line %u",
				   SV_ARG(value->key->text), other->key->pos.line);
		else if (!value->key->text.len || memchr(value->key->text.data, '\0', value->key->text.len))
			yaml_error(&r->src, value->key, "%s: a name that is empty or has a NUL in it", key->name);
		else if (value->kind == YAML_NULL)
			yaml_error(&r->src, value, "'" SV_FMT "' has no value", SV_ARG(value->key->text));
		else
			entry(r, value, arg);
	}
}

bool list_read_text(struct list_reader *r, const struct list_key *key, const struct yaml_node *value, struct sv *ret)
{
	if (value->kind != YAML_SCALAR || !value->text.len) {
		list_expected(r, key, value);
		return false;
	}
	if (memchr(value->text.data, '\0', value->text.len)) {
		yaml_error(&r->src, value, "%s: a text with a NUL character in it", key->name);
		return false;
	}
	*ret = arena_dup(&r->list->arena, value->text);
	r->no_memory |= !ret->data;
	return ret->data;
}

LIST_READER(list_read_node)
{
	(void)r;
	(void)key;
	*(const struct yaml_node **)field = value;
}

LIST_READER(list_read_string)
{
	list_read_text(r, key, value, field);
}

LIST_READER(list_read_glob)
{
	struct probe_glob *glob = field;
	if (list_read_text(r, key, value, &glob->text))
		glob->pos = value->pos;
}

LIST_READER(list_read_bool)
{
	bool yes = value->kind == YAML_SCALAR && !value->quoted && sv_eq(value->text, SV("true"));
	bool no = value->kind == YAML_SCALAR && !value->quoted && sv_eq(value->text, SV("false"));
	if (yes || no)
		*(bool *)field = yes;
	else
		list_expected(r, key, value);
}

void list_read_each(struct list_reader *r, const struct list_key *key, const struct yaml_node *value, void *field,
		    LIST_READER((*item)))
{
	if (value->kind != YAML_SEQUENCE) {
		item(r, key, value, field);
		return;
	}
	if (!value->first)
		list_expected(r, key, value);
	if (value->cnt > PROBE_LIST_MAX_ITEMS) {
		yaml_error(&r->src, value, "%s: a list of %u values; there may be %d", key->name, value->cnt,
			   PROBE_LIST_MAX_ITEMS);
		return;
	}
	for (const struct yaml_node *one = value->first; one; one = one->next)
		item(r, key, one, field);
}

const struct yaml_node *list_first_map(struct list_reader *r, const struct list_key *key, const struct yaml_node *value)
{
	bool list = value->kind == YAML_SEQUENCE && value->first;
	if (!list && value->kind != YAML_MAPPING) {
		list_expected(r, key, value);
		return NULL;
	}
	return list ? value->first : value;
}

static LIST_READER(add_string)
{
	struct sv text;
	if (list_read_text(r, key, value, &text))
		r->no_memory |= vec_push((struct sv_vec *)field, text) < 0;
}

LIST_READER(list_read_strings)
{
	list_read_each(r, key, value, field, add_string);
}

static LIST_READER(add_glob)
{
	struct probe_glob glob = {.pos = value->pos};
	if (list_read_text(r, key, value, &glob.text))
		r->no_memory |= vec_push((struct probe_glob_vec *)field, glob) < 0;
}

LIST_READER(list_read_globs)
{
	list_read_each(r, key, value, field, add_glob);
}

static bool read_number(struct list_reader *r, const struct list_key *key, const struct yaml_node *value, int64_t *ret)
{
	if (!list_parse_integer(value, ret)) {
		list_expected(r, key, value);
		return false;
	}
	if (*ret >= 0 && (uint64_t)*ret >= key->min && (uint64_t)*ret <= key->max)
		return true;
	yaml_error(&r->src, value, "%s: expected %llu to %llu, found " SV_FMT, key->name, (unsigned long long)key->min,
		   (unsigned long long)key->max, SV_ARG(value->text));
	return false;
}

static LIST_READER(add_integer)
{
	int64_t n;
	if (read_number(r, key, value, &n))
		r->no_memory |= vec_push((struct int_vec *)field, (int)n) < 0;
}

LIST_READER(list_read_integers)
{
	list_read_each(r, key, value, field, add_integer);
}

LIST_READER(list_read_u32)
{
	int64_t n;
	if (read_number(r, key, value, &n))
		*(uint32_t *)field = (uint32_t)n;
}

struct tags_reader {
	const struct list_key *key;
	struct tag_vec *tags;
};

static void add_tag(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	const struct tags_reader *reader = arg;
	struct tag tag = {.key = arena_dup(&r->list->arena, value->key->text)};
	struct list_key key = *reader->key;
	key.name = tag.key.data;
	key.form = "text";
	if (!tag.key.data)
		r->no_memory = true;
	else if (list_read_text(r, &key, value, &tag.value))
		r->no_memory |= vec_push(reader->tags, tag) < 0;
}

LIST_READER(list_read_tags)
{
	struct tags_reader reader = {key, field};
	list_read_entries(r, key, value, add_tag, &reader);
}
