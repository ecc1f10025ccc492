/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/agent_info.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/vec.h"

/* --- fields, by their names --------------------------------------------------------------------------------------- */

enum kind {
	KIND_BOOL,
	KIND_STRING,
	KIND_LIST,
	KIND_PATHS, /* a list without leading slashes */
	KIND_U16,
	KIND_U32,
	KIND_U64,
	KIND_FLAGS, /* feature_flags */
	KIND_OBJECT,
};

struct field {
	const char *name;
	enum kind kind;
	size_t offset;
	const struct field *fields; /* of an object; NULL name at the end */
};

#define AT(member) offsetof(struct agent_info, member)

static const struct field http_fields[] = {
	{"remove_query_string", KIND_BOOL, AT(obfuscation.http_remove_query), NULL},
	{"remove_path_digits", KIND_BOOL, AT(obfuscation.http_remove_path_digits), NULL},
	{0},
};
/* Agents before 7.79 write the keys of redis and memcached as Go does: names are compared without case and _. */
static const struct field redis_fields[] = {
	{"enabled", KIND_BOOL, AT(obfuscation.redis), NULL},
	{"remove_all_args", KIND_BOOL, AT(obfuscation.redis_remove_all_args), NULL},
	{0},
};
static const struct field valkey_fields[] = {
	{"enabled", KIND_BOOL, AT(obfuscation.valkey), NULL},
	{"remove_all_args", KIND_BOOL, AT(obfuscation.valkey_remove_all_args), NULL},
	{0},
};
static const struct field memcached_fields[] = {
	{"enabled", KIND_BOOL, AT(obfuscation.memcached), NULL},
	{"keep_command", KIND_BOOL, AT(obfuscation.memcached_keep_command), NULL},
	{0},
};
static const struct field card_fields[] = {
	{"enabled", KIND_BOOL, AT(obfuscation.credit_cards), NULL},
	{"luhn", KIND_BOOL, AT(obfuscation.credit_cards_luhn), NULL},
	{"keep_values", KIND_LIST, AT(obfuscation.credit_cards_keep), NULL},
	{0},
};
static const struct field sql_fields[] = {
	{"replace_digits", KIND_BOOL, AT(obfuscation.sql_replace_digits), NULL},
	{"keep_sql_alias", KIND_BOOL, AT(obfuscation.sql_keep_alias), NULL},
	{"dollar_quoted_func", KIND_BOOL, AT(obfuscation.sql_dollar_quoted_func), NULL},
	{0},
};
#define JSON_FIELDS(name)                                                    \
	static const struct field name##_fields[] = {                        \
		{"enabled", KIND_BOOL, AT(obfuscation.name), NULL},          \
		{"keep_keys", KIND_LIST, AT(obfuscation.name##_keep), NULL}, \
		{0},                                                         \
	}
JSON_FIELDS(mongodb);
JSON_FIELDS(elasticsearch);
JSON_FIELDS(opensearch);

static const struct field obfuscation_fields[] = {
	{"sql_obfuscation_mode", KIND_STRING, AT(obfuscation.sql_mode), NULL},
	{"mongo", KIND_BOOL, AT(obfuscation.mongodb), NULL},
	{"elastic_search", KIND_BOOL, AT(obfuscation.elasticsearch), NULL},
	{"http", KIND_OBJECT, 0, http_fields},
	{"redis", KIND_OBJECT, 0, redis_fields},
	{"valkey", KIND_OBJECT, 0, valkey_fields},
	{"memcached", KIND_OBJECT, 0, memcached_fields},
	{"credit_cards", KIND_OBJECT, 0, card_fields},
	{"sql", KIND_OBJECT, 0, sql_fields},
	{"mongodb", KIND_OBJECT, 0, mongodb_fields},
	{"elasticsearch", KIND_OBJECT, 0, elasticsearch_fields},
	{"opensearch", KIND_OBJECT, 0, opensearch_fields},
	{0},
};
static const struct field config_fields[] = {
	{"default_env", KIND_STRING, AT(default_env), NULL},
	{"statsd_port", KIND_U16, AT(statsd_port), NULL},
	{"max_request_bytes", KIND_U64, AT(max_request_bytes), NULL},
	{"obfuscation", KIND_OBJECT, AT(obfuscation.said), obfuscation_fields},
	{0},
};
static const struct field filter_fields[] = {
	{"require", KIND_LIST, AT(filter_tags.require), NULL},
	{"reject", KIND_LIST, AT(filter_tags.reject), NULL},
	{0},
};
static const struct field filter_regex_fields[] = {
	{"require", KIND_LIST, AT(filter_tags_regex.require), NULL},
	{"reject", KIND_LIST, AT(filter_tags_regex.reject), NULL},
	{0},
};
static const struct field info_fields[] = {
	{"version", KIND_STRING, AT(version), NULL},
	{"endpoints", KIND_PATHS, AT(endpoints), NULL},
	{"feature_flags", KIND_FLAGS, 0, NULL},
	{"client_drop_p0s", KIND_BOOL, AT(client_drop_p0s), NULL},
	{"span_meta_structs", KIND_BOOL, AT(span_meta_structs), NULL},
	{"span_events", KIND_BOOL, AT(span_events), NULL},
	{"long_running_spans", KIND_BOOL, AT(long_running_spans), NULL},
	{"peer_tags", KIND_LIST, AT(peer_tags), NULL},
	{"span_kinds_stats_computed", KIND_LIST, AT(span_kinds_stats_computed), NULL},
	{"obfuscation_version", KIND_U32, AT(obfuscation_version), NULL},
	{"filter_tags", KIND_OBJECT, 0, filter_fields},
	{"filter_tags_regex", KIND_OBJECT, 0, filter_regex_fields},
	{"ignore_resources", KIND_LIST, AT(ignore_resources), NULL},
	{"config", KIND_OBJECT, 0, config_fields},
	{0},
};

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct reader {
	struct agent_info *info;
	bool no_memory;
};

static struct sv reader_dup(struct reader *r, struct sv s)
{
	struct sv copy = arena_dup(&r->info->arena, s);
	r->no_memory |= !copy.data;
	return copy;
}

/* Empty when it is no text. */
static struct sv text_of(const json_t *v)
{
	return json_is_string(v) ? (struct sv){json_string_value(v), json_string_length(v)} : SV("");
}

static struct agent_list read_list(struct reader *r, const json_t *array, bool paths)
{
	struct agent_list l = {0};
	size_t cnt = json_array_size(array), max = cnt < AGENT_INFO_MAX_LIST ? cnt : AGENT_INFO_MAX_LIST;
	l.data = arena_alloc(&r->info->arena, (max + 1) * sizeof(*l.data));
	r->no_memory |= !l.data;
	for (size_t i = 0; l.data && i < cnt && l.cnt < max; i++) {
		const json_t *item = json_array_get(array, i);
		struct sv s = text_of(item);
		if (!json_is_string(item))
			continue;
		if (paths && s.len && s.data[0] == '/')
			s = (struct sv){s.data + 1, s.len - 1};
		l.data[l.cnt++] = reader_dup(r, s);
	}
	return l;
}

static uint64_t read_number(const json_t *v, uint64_t max)
{
	double n = json_number_value(v);
	return n >= 0 && n <= (double)max ? (uint64_t)n : 0;
}

static void read_object(struct reader *r, json_t *object, const struct field *fields);

static void read_field(struct reader *r, json_t *v, const struct field *f)
{
	char *to = (char *)r->info + f->offset;
	switch (f->kind) {
	case KIND_BOOL:
		if (json_is_boolean(v))
			*(bool *)to = json_is_true(v);
		break;
	case KIND_STRING:
		*(struct sv *)to = reader_dup(r, text_of(v));
		break;
	case KIND_LIST:
	case KIND_PATHS:
		*(struct agent_list *)to = read_list(r, v, f->kind == KIND_PATHS);
		break;
	case KIND_U16:
		*(uint16_t *)to = (uint16_t)read_number(v, UINT16_MAX);
		break;
	case KIND_U32:
		*(uint32_t *)to = (uint32_t)read_number(v, UINT32_MAX);
		break;
	case KIND_U64:
		*(uint64_t *)to = read_number(v, 1ULL << 53);
		break;
	case KIND_FLAGS: {
		struct agent_list flags = read_list(r, v, false);
		r->info->big_resource = agent_list_has(&flags, SV("big_resource"));
		break;
	}
	case KIND_OBJECT:
		if (f->offset)
			*(bool *)to = true;
		read_object(r, v, f->fields);
		break;
	}
}

static bool same_name(struct sv key, const char *name)
{
	size_t i = 0;
	for (; *name; name++) {
		if (i < key.len && key.data[i] == *name)
			i++;
		else if (i < key.len && (key.data[i] | 0x20) == *name)
			i++;
		else if (*name != '_')
			return false;
	}
	return i == key.len;
}

/* Anything but an object is skipped. The tables are three deep, and so is this. */
static void read_object(struct reader *r, json_t *object, const struct field *fields)
{
	const char *key;
	json_t *value;
	json_object_foreach(object, key, value)
	{
		const struct field *f = fields;
		while (f->name && !same_name(sv_of(key), f->name))
			f++;
		if (f->name)
			read_field(r, value, f);
	}
}

static int agent_info_read(struct agent_info *i, struct sbuf *err)
{
	struct reader r = {.info = i};
	json_error_t e;
	i->version = i->default_env = i->obfuscation.sql_mode = SV("");
	json_t *root = json_loadb(i->json.data, i->json.len, JSON_DECODE_INT_AS_REAL, &e);
	int rc = json_is_object(root) ? 0 : -EINVAL;
	if (!root)
		sbuf_addf(err, "/info is no JSON: line %d, column %d: %s", e.line, e.column, e.text);
	else if (rc < 0)
		sbuf_adds(err, "/info is no JSON object");
	else
		read_object(&r, root, info_fields);
	json_decref(root);
	return r.no_memory ? -ENOMEM : rc;
}

int agent_info_parse(struct agent_info **ret, struct sv json, struct sbuf *err)
{
	if (json.len > AGENT_INFO_MAX) {
		sbuf_addf(err, "/info is larger than %d bytes", AGENT_INFO_MAX);
		return -EINVAL;
	}
	struct agent_info *i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->refs = 1;
	i->json = arena_dup(&i->arena, json.len ? json : SV(""));
	int r = i->json.data ? agent_info_read(i, err) : -ENOMEM;
	if (r < 0) {
		agent_info_unref(i);
		return r;
	}
	*ret = i;
	return 0;
}

struct agent_info *agent_info_ref(struct agent_info *i)
{
	__atomic_fetch_add(&i->refs, 1, __ATOMIC_RELAXED);
	return i;
}

void agent_info_unref(struct agent_info *i)
{
	if (!i || __atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	arena_release(&i->arena);
	free(i);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

bool agent_list_has(const struct agent_list *l, struct sv text)
{
	for (uint32_t i = 0; i < l->cnt; i++)
		if (sv_eq(l->data[i], text))
			return true;
	return false;
}

bool agent_info_serves(const struct agent_info *i, struct sv path)
{
	if (path.len && path.data[0] == '/')
		path = (struct sv){path.data + 1, path.len - 1};
	for (uint32_t n = 0; n < i->endpoints.cnt; n++) {
		struct sv e = i->endpoints.data[n];
		bool below = e.len && e.data[e.len - 1] == '/' && sv_starts(path, e);
		if (below || sv_eq(e, path))
			return true;
	}
	return false;
}

bool agent_info_takes_stats(const struct agent_info *i)
{
	return i->client_drop_p0s && agent_info_serves(i, SV("/v0.6/stats"));
}
