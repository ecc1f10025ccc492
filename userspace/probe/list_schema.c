/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of keys as a JSON Schema (draft 2020-12): what a table says a key holds decides what the schema asks for. What a
 * scalar must look like (a duration, a condition) is told in words: the parser has the last word, with the place. */
#include "probe/list_read.h"

#define MAX_MAPS 64

struct schema {
	struct sbuf *out;
	const struct list_map *maps[MAX_MAPS]; /* described, or to be */
	unsigned cnt;
};

/* "a span rule" and "limits:" as names. */
static void add_name(struct sbuf *out, const struct list_map *map)
{
	const char *what = map->what;
	what += strncmp(what, "an ", 3) == 0 ? 3 : strncmp(what, "a ", 2) == 0 ? 2 : 0;
	for (; *what && *what != ':'; what++)
		sbuf_addc(out, *what == ' ' || *what == '-' ? '_' : *what);
}

static void add_ref(struct schema *s, const struct list_map *map)
{
	unsigned i = 0;
	while (i < s->cnt && s->maps[i] != map)
		i++;
	if (i == s->cnt && s->cnt < MAX_MAPS)
		s->maps[s->cnt++] = map;
	sbuf_adds(s->out, "{\"$ref\":\"#/$defs/");
	add_name(s->out, map);
	sbuf_adds(s->out, "\"}");
}

static void add_list_of(struct schema *s, void (*item)(struct schema *s, const struct list_key *key),
			const struct list_key *key)
{
	sbuf_adds(s->out, "{\"type\":\"array\",\"minItems\":1,\"items\":");
	item(s, key);
	sbuf_addc(s->out, '}');
}

/* YAML reads 5 and true as what they look like, and so do its schemas: as texts they are texts here. */
static void add_scalar(struct schema *s, const struct list_key *key)
{
	if (key->read == list_read_bool || strcmp(key->form, "true or false") == 0)
		sbuf_adds(s->out, "{\"type\":\"boolean\"}");
	else if (key->read == list_read_u32 || key->read == list_read_integers)
		sbuf_addf(s->out, "{\"type\":\"integer\",\"minimum\":%llu,\"maximum\":%llu}",
			  (unsigned long long)key->min, (unsigned long long)key->max);
	else
		sbuf_adds(s->out, "{\"type\":[\"string\",\"number\",\"boolean\"]}");
}

static void add_inner(struct schema *s, const struct list_key *key)
{
	add_ref(s, key->inner);
}

static void add_one(struct schema *s, const struct list_key *key)
{
	if (key->inner)
		add_inner(s, key);
	else
		add_scalar(s, key);
}

static bool says(const struct list_key *key, const char *words)
{
	return strstr(key->form, words) != NULL;
}

/* What may stand in place of one. */
static void add_value(struct schema *s, const struct list_key *key)
{
	struct sbuf *out = s->out;
	sbuf_adds(out, "\"anyOf\":[");
	if (key->read == list_read_rules) {
		sbuf_adds(out, "{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"object\"}}");
	} else if (strncmp(key->form, "a list of ", 10) == 0) {
		add_list_of(s, add_one, key);
	} else if (strncmp(key->form, "a map of ", 9) == 0) {
		sbuf_adds(out, "{\"type\":\"object\",\"additionalProperties\":");
		if (key->inner) {
			sbuf_adds(out, "{\"anyOf\":[{\"type\":[\"string\",\"number\"]},");
			add_inner(s, key);
			sbuf_adds(out, "]}");
		} else {
			add_scalar(s, key);
		}
		sbuf_addc(out, '}');
	} else {
		add_one(s, key);
		if (says(key, " or a list of ")) {
			sbuf_addc(out, ',');
			add_list_of(s, add_one, key);
		}
		if (key->inner && says(key, " or false"))
			sbuf_adds(out, ",{\"const\":false}");
		if (key->inner && says(key, " or a map")) /* a condition, a type */
			sbuf_adds(out, ",{\"type\":[\"string\",\"number\",\"boolean\"]}");
	}
	sbuf_addc(out, ']');
}

static void add_map(struct schema *s, const struct list_map *map)
{
	struct sbuf *out = s->out;
	sbuf_adds(out, "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
	for (unsigned i = 0; i < map->key_cnt; i++) {
		const struct list_key *key = &map->keys[i];
		struct sbuf text = {0};
		sbuf_addf(&text, "%s%s%s", key->form, key->help[0] ? "; " : "", key->help);
		sbuf_addf(out, "%s\n\"%s\":{\"description\":", i ? "," : "", key->name);
		sbuf_add_json(out, sbuf_sv(&text));
		sbuf_addc(out, ',');
		add_value(s, key);
		sbuf_addc(out, '}');
		sbuf_release(&text);
	}
	sbuf_addc(out, '}');
}

void probe_list_json_schema(struct sbuf *out)
{
	struct schema s = {.out = out};
	sbuf_adds(out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"spanhound\",");
	add_map(&s, &list_top_map);
	sbuf_adds(out, ",\n\"$defs\":{");
	/* Describing one may find others. */
	for (unsigned i = 0; i < s.cnt; i++) {
		sbuf_adds(out, i ? ",\n\"" : "\n\"");
		add_name(out, s.maps[i]);
		sbuf_adds(out, "\":{");
		add_map(&s, s.maps[i]);
		sbuf_addc(out, '}');
	}
	sbuf_adds(out, "}}\n");
}

/* --- the default file ----------------------------------------------------------------------------------------------
 */

static void describe_key(struct sbuf *out, const struct list_key *key, unsigned depth)
{
	sbuf_addf(out, "#%*s%s: <%s>%s%s\n", (int)(1 + 2 * depth), "", key->name, key->form, key->help[0] ? "  " : "",
		  key->help);
	bool again = depth > 0 && (key->inner == &list_probe_map || key->inner == &list_handoff_map);
	bool twin = strcmp(key->name, "handoff") == 0;
	for (unsigned i = 0; key->inner && !again && !twin && i < key->inner->key_cnt; i++)
		describe_key(out, &key->inner->keys[i], depth + 1);
}

void probe_list_default(struct sbuf *out)
{
	sbuf_adds(out,
		  "# Configuration of spanhound: `spanhound serve`, `attach -c FILE`, `check FILE`.\n"
		  "# Every key there is stands below as a comment: its form in <>, then what it means.\n"
		  "# Whoever can write this file decides what is traced: it belongs to root, and to nobody else.\n\n"
		  "# Without targets: whatever listens on a TCP port.\n"
		  "policy:\n  listening: true\n");
	for (unsigned i = 0; i < list_top_map.key_cnt; i++) {
		sbuf_addc(out, '\n');
		describe_key(out, &list_top_map.keys[i], 0);
	}
}
