/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_LIST_READ_H
#define PROBE_LIST_READ_H

#include "base/units.h"
#include "probe/list.h"
#include "probe/list_yaml.h"

/* Private to list*.c: maps of YAML read by table. A key is one line of its map's table: what is accepted, what the
 * manual says and what messages expect come from that line. */

struct list_reader {
	struct yaml_source src;
	struct probe_list *list;
	bool no_memory;
	int target; /* whose `probes:` are read, -1: the file's */
};

struct list_map;

struct list_key {
	const char *name;
	void (*read)(struct list_reader *r, const struct list_key *key, const struct yaml_node *value, void *field);
	size_t offset;	  /* of `field` in the object the map fills */
	const char *form; /* "expected ..." */
	const char *help;
	uint64_t min, max;	      /* of numbers */
	const struct list_map *inner; /* for the manual: the keys of the map this key holds */
};

#define LIST_KEY(name_, read_, offset_, form_, help_, ...)                                                 \
	{                                                                                                  \
		.name = name_, .read = read_, .offset = offset_, .form = form_, .help = help_, __VA_ARGS__ \
	}

struct list_map {
	const char *what; /* "a probe", or the key that holds it: "span:" */
	const struct list_key *keys;
	unsigned key_cnt;
};

/* Compiles r->src into r->list, by the keys of `map`. 0, -EINVAL (it is not even YAML, or empty), -ENOMEM; mistakes are
 * in r->src.d. */
int list_read_source(struct list_reader *r, const struct list_map *map);
/* The keys of an included file. */
extern const struct list_map list_include_map;

/* Fills `object` from a map; false when `node` is no map (reported). Unknown and duplicate keys are reported.
 * Bit i of *given (NULL is fine): keys[i] was there, perhaps misspelt. */
bool list_read_map(struct list_reader *r, const struct list_map *map, const struct yaml_node *node, void *object,
		   uint32_t *given);

/* Notes in list->said what was written, for a setting of this name. Maps and lists of texts become one text. */
void list_said(struct list_reader *r, const char *path, const char *name, const struct yaml_node *value);

/* Reports "NAME: expected FORM, found ..." at the value, unless it was reported before. */
void list_expected(struct list_reader *r, const struct list_key *key, const struct yaml_node *value);

/* Readers for list_key.read; the comment says what `field` is. */
#define LIST_READER(name) \
	void name(struct list_reader *r, const struct list_key *key, const struct yaml_node *value, void *field)
LIST_READER(list_read_node);	 /* const struct yaml_node *: read later */
LIST_READER(list_read_string);	 /* struct sv; not empty */
LIST_READER(list_read_strings);	 /* struct sv_vec; one or a list */
LIST_READER(list_read_glob);	 /* struct probe_glob */
LIST_READER(list_read_globs);	 /* struct probe_glob_vec; one or a list */
LIST_READER(list_read_integers); /* struct int_vec; one or a list, key->min to key->max */
LIST_READER(list_read_u32);	 /* uint32_t, key->min to key->max */
LIST_READER(list_read_size);	 /* uint32_t, with k, m or g for powers of 1024; a power of two, key->min to key->max */
LIST_READER(list_read_bool);	 /* bool */
LIST_READER(list_read_tags);	 /* struct tag_vec; constants */
LIST_READER(list_read_duration); /* uint64_t ns */
LIST_READER(list_read_share);	 /* uint32_t as sh_spec.sample_below */
LIST_READER(list_read_rate);	 /* uint32_t per second */
LIST_READER(list_read_routes);	 /* struct routes; one or a list */
LIST_READER(list_read_settings); /* struct tag_vec; variables that trace/ knows, with values it takes */
LIST_READER(list_read_sampling); /* struct tag_vec; as list_read_settings() */
LIST_READER(list_read_rules);	 /* likewise: JSON as text, or a list of maps */
LIST_READER(list_read_propagation); /* struct target_propagation */
LIST_READER(list_read_capture);	    /* struct probe_capture */

/* Calls `item` for the value itself, or for each of a list. */
void list_read_each(struct list_reader *r, const struct list_key *key, const struct yaml_node *value, void *field,
		    LIST_READER((*item)));

/* For a value that is a map or a list of maps: the first one, or NULL when it is neither (reported); and the one after. */
const struct yaml_node *list_first_map(struct list_reader *r, const struct list_key *key,
				       const struct yaml_node *value);
static inline const struct yaml_node *list_next_map(const struct yaml_node *value, const struct yaml_node *one)
{
	return one == value ? NULL : one->next;
}

/* One visit per entry of a map whose keys are free (tags, args): key checked (scalar, not empty, no duplicate),
 * value not NULL. */
void list_read_entries(struct list_reader *r, const struct list_key *key, const struct yaml_node *map,
		       void (*entry)(struct list_reader *r, const struct yaml_node *value, void *arg), void *arg);
/* The text of a scalar, in the list's arena; false when it is none (reported). */
bool list_read_text(struct list_reader *r, const struct list_key *key, const struct yaml_node *value, struct sv *ret);

extern const struct list_map list_top_map, list_target_map, list_probe_map, list_limits_map, list_agent_map,
	list_span_map, list_metric_map, list_arg_map, list_return_map, list_error_map, list_handoff_map,
	list_capture_map, list_containers_map, list_propagation_map, list_policy_map, list_control_map, list_health_map,
	list_span_rule_map, list_sampling_map;

LIST_READER(list_read_policy);	/* struct probe_service */
LIST_READER(list_read_control); /* struct probe_service */
LIST_READER(list_read_health);	/* struct probe_service */

LIST_READER(list_read_probes);	   /* ignored; appends to r->list->probes */
LIST_READER(list_read_handoffs);   /* ignored; appends to r->list->handoffs */
LIST_READER(list_read_span_rules); /* ignored; appends to r->list->span_rules */

/* yaml_canonical() in the list's arena. */
struct sv list_canonical(struct list_reader *r, const struct yaml_node *node, const char *const *skip);

/* An integer that is not quoted. */
static inline bool list_parse_integer(const struct yaml_node *value, int64_t *ret)
{
	return value->kind == YAML_SCALAR && !value->quoted && units_integer(value->text, ret);
}

#endif
