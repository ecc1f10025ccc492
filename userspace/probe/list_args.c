/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/list_args.h"

#include <ctype.h>

#include "base/nearest.h"
#include "trace/redact.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One value as written; nodes are NULL where nothing was. */
struct value_draft {
	struct sv name;
	const struct yaml_node *name_node, *at, *type, *offset, *deref, *max, *len, *tag;
	bool show;
	struct sv len_name; /* of the argument that holds the length */
	size_t len_at;	    /* where in len_node's text */
	const struct yaml_node *len_node;
	struct sh_capture_spec capture;
};

#define IN_DRAFT(field) offsetof(struct value_draft, field)
#define FORM_TYPE	"i8 i16 i32 i64 u8 u16 u32 u64 bool char ptr string or bytes"
#define VALUE_KEYS                                                                                           \
	LIST_KEY("type", list_read_node, IN_DRAFT(type), FORM_TYPE, "also string(MAX), bytes(LEN)"),         \
		LIST_KEY("deref", list_read_node, IN_DRAFT(deref), "an offset or a list of up to 4 offsets", \
			 "the value is a pointer: follow the one at value + offset, then the next"),         \
		LIST_KEY("offset", list_read_node, IN_DRAFT(offset), "a number of bytes",                    \
			 "the value lies in memory, so far behind the pointer"),                             \
		LIST_KEY("max", list_read_node, IN_DRAFT(max), "a number of bytes from 1 to 256",            \
			 "of strings (default 64) and bytes"),                                               \
		LIST_KEY("len", list_read_node, IN_DRAFT(len),                                               \
			 "a number of bytes from 1 to 256 or an integer argument", "of bytes"),              \
		LIST_KEY("tag", list_read_node, IN_DRAFT(tag), "the name of a tag, or false",                \
			 "default: its own name"),                                                           \
		LIST_KEY("show", list_read_bool, IN_DRAFT(show), "true or false",                            \
			 "show the value although its name (password, token ...) says that it is secret")

static const struct list_key arg_keys[] = {
	LIST_KEY("at", list_read_node, IN_DRAFT(at), "the argument's position from 1 to 6",
		 "required; in C++ methods 1 is this"),
	VALUE_KEYS,
};
const struct list_map list_arg_map = {"an argument", arg_keys, COUNT(arg_keys)};

static const struct list_key return_keys[] = {VALUE_KEYS};
const struct list_map list_return_map = {"return:", return_keys, COUNT(return_keys)};

static const struct list_key *key_named(const char *name)
{
	for (size_t i = 0; i < COUNT(arg_keys); i++)
		if (strcmp(arg_keys[i].name, name) == 0)
			return &arg_keys[i];
	return &arg_keys[0];
}

/* --- types ---------------------------------------------------------------------------------------------------------
 */

static const struct {
	struct sv written;
	const char *meant;
} foreign_types[] = {
	{{"int", 3}, "i32"},
	{{"long", 4}, "i64"},
	{{"short", 5}, "i16"},
	{{"unsigned", 8}, "u32"},
	{{"unsigned int", 12}, "u32"},
	{{"unsigned long", 13}, "u64"},
	{{"size_t", 6}, "u64"},
	{{"ssize_t", 7}, "i64"},
	{{"int8_t", 6}, "i8"},
	{{"int16_t", 7}, "i16"},
	{{"int32_t", 7}, "i32"},
	{{"int64_t", 7}, "i64"},
	{{"uint8_t", 7}, "u8"},
	{{"uint16_t", 8}, "u16"},
	{{"uint32_t", 8}, "u32"},
	{{"uint64_t", 8}, "u64"},
	{{"uint", 4}, "u32"},
	{{"usize", 5}, "u64"},
	{{"isize", 5}, "i64"},
	{{"byte", 4}, "u8"},
	{{"char*", 5}, "string"},
	{{"char *", 6}, "string"},
	{{"const char*", 11}, "string"},
	{{"const char *", 12}, "string"},
	{{"str", 3}, "string"},
	{{"cstr", 4}, "string"},
	{{"text", 4}, "string"},
	{{"void*", 5}, "ptr"},
	{{"void *", 6}, "ptr"},
	{{"pointer", 7}, "ptr"},
	{{"boolean", 7}, "bool"},
	{{"_Bool", 5}, "bool"},
	{{"buffer", 6}, "bytes"},
};

static const struct sv float_types[] = {
	{"float", 5}, {"double", 6}, {"long double", 11}, {"f32", 3}, {"f64", 3}, {"float32", 7}, {"float64", 7},
};

static void unknown_type(struct list_reader *r, const struct yaml_node *node, struct sv name)
{
	struct nearest near;
	for (size_t i = 0; i < COUNT(float_types); i++) {
		if (!sv_eq(name, float_types[i]))
			continue;
		yaml_error(&r->src, node,
			   "type '" SV_FMT "': floating-point arguments live in registers a probe cannot read; "
			   "use an integer or pointer argument",
			   SV_ARG(name));
		return;
	}
	nearest_init(&near, name);
	for (size_t i = 0; i < COUNT(foreign_types); i++)
		if (sv_eq(name, foreign_types[i].written))
			near.best = sv_of(foreign_types[i].meant);
	for (uint8_t type = SH_I8; type <= SH_BYTES && !near.best.data; type++)
		nearest_offer(&near, sv_of(value_type_name(type)));
	if (near.best.data)
		yaml_error(&r->src, node, "unknown type '" SV_FMT "'; did you mean '" SV_FMT "'?", SV_ARG(name),
			   SV_ARG(near.best));
	else
		yaml_error(&r->src, node, "unknown type '" SV_FMT "'; there are " FORM_TYPE, SV_ARG(name));
}

static bool set_len(struct list_reader *r, struct value_draft *draft, const struct yaml_node *node, size_t at,
		    struct sv text, const char *key)
{
	uint64_t n;
	if (units_unsigned(text, &n)) {
		if (n < 1 || n > SH_MAX_STRING) {
			yaml_error_at(&r->src, node, at, "%s: expected 1 to %d bytes, found " SV_FMT, key,
				      SH_MAX_STRING, SV_ARG(text));
			return false;
		}
		draft->capture.max_len = (uint16_t)n;
		return true;
	}
	draft->len_name = text;
	draft->len_at = at;
	draft->len_node = node;
	return true;
}

/* "i64", "string(32)", "bytes(16)", "bytes(size)"; `text` is a part of node->text from its start. */
static bool parse_type(struct list_reader *r, struct value_draft *draft, const struct yaml_node *node, struct sv text)
{
	const char *open = memchr(text.data, '(', text.len);
	struct sv name = text, inside = {0};
	if (open && text.data[text.len - 1] == ')') {
		name.len = (size_t)(open - text.data);
		inside = (struct sv){open + 1, text.len - name.len - 2};
	}
	for (uint8_t type = SH_I8; type <= SH_BYTES; type++)
		if (sv_eq(name, sv_of(value_type_name(type))))
			draft->capture.type = type;
	uint8_t type = draft->capture.type;
	if (!type) {
		unknown_type(r, node, name);
		return false;
	}
	if (inside.data && (!value_type_is_memory(type) || !inside.len)) {
		yaml_error_at(&r->src, node, name.len, "'" SV_FMT "' takes no '" SV_FMT "' behind it", SV_ARG(name),
			      (int)(text.len - name.len), text.data + name.len);
		return false;
	}
	if (!inside.data)
		return true;
	if (type == SH_STRING && !isdigit((unsigned char)inside.data[0])) {
		yaml_error_at(&r->src, node, name.len + 1,
			      "string(MAX): expected a number of bytes, found '" SV_FMT "'", SV_ARG(inside));
		return false;
	}
	return set_len(r, draft, node, name.len + 1, inside, type == SH_STRING ? "string(MAX)" : "bytes(LEN)");
}

/* --- one value -----------------------------------------------------------------------------------------------------
 */

static void read_offset(struct list_reader *r, const char *key, const struct yaml_node *node, int32_t *ret)
{
	int64_t n;
	if (!list_parse_integer(node, &n))
		list_expected(r, key_named(key), node);
	else if (n < INT32_MIN || n > INT32_MAX)
		yaml_error(&r->src, node, "%s: expected %d to %d, found " SV_FMT, key, INT32_MIN, INT32_MAX,
			   SV_ARG(node->text));
	else
		*ret = (int32_t)n;
}

static void read_deref(struct list_reader *r, struct value_draft *draft)
{
	struct sh_capture_spec *capture = &draft->capture;
	const struct yaml_node *node = draft->deref;
	if (node->kind != YAML_SEQUENCE) {
		capture->deref_cnt = 1;
		read_offset(r, "deref", node, &capture->deref[0]);
		return;
	}
	if (node->cnt < 1 || node->cnt > SH_MAX_DEREFS) {
		yaml_error(&r->src, node, "deref: expected 1 to %d offsets, found %u", SH_MAX_DEREFS, node->cnt);
		return;
	}
	for (const struct yaml_node *one = node->first; one; one = one->next)
		read_offset(r, "deref", one, &capture->deref[capture->deref_cnt++]);
}

static void read_at(struct list_reader *r, const struct yaml_node *node, struct sv text, size_t at, uint8_t *ret)
{
	uint64_t n;
	bool number = node->kind == YAML_SCALAR && (!node->quoted || at > 0) && units_unsigned(text, &n);
	if (node->kind != YAML_SCALAR)
		list_expected(r, key_named("at"), node);
	else if (!number)
		yaml_error_at(&r->src, node, at, "at: expected %s, found '" SV_FMT "'", key_named("at")->form,
			      SV_ARG(text));
	else if (n > SH_MAX_ARGS)
		yaml_error_at(&r->src, node, at,
			      "at: " SV_FMT
			      " is beyond the six register arguments; the others are on the stack, where a probe "
			      "does not read",
			      SV_ARG(text));
	else if (n < 1)
		yaml_error_at(&r->src, node, at,
			      "at: arguments count from 1 (the return value has its own key, return:)");
	else
		*ret = (uint8_t)n;
}

/* len: and max: beside what the type's parentheses said. False: reported. */
static bool check_size_keys(struct list_reader *r, const struct value_draft *draft)
{
	uint8_t type = draft->capture.type;
	bool sized = draft->capture.max_len || draft->len_name.data;
	uint32_t before = r->src.d->error_cnt;
	if (draft->len && type != SH_BYTES)
		yaml_error(&r->src, draft->len, "len: goes with bytes, not with %s%s", value_type_name(type),
			   type == SH_STRING ? " (max: limits a string)" : "");
	else if (draft->len && sized)
		yaml_error(&r->src, draft->len, "len: was given with the type already");
	else if (draft->len && draft->len->kind != YAML_SCALAR)
		list_expected(r, key_named("len"), draft->len);
	if (draft->max && !value_type_is_memory(type))
		yaml_error(&r->src, draft->max, "max: goes with string and bytes, not with %s", value_type_name(type));
	else if (draft->max && draft->capture.max_len)
		yaml_error(&r->src, draft->max, "max: the size was given already");
	return r->src.d->error_cnt == before && !(draft->len && draft->len->kind == YAML_BAD);
}

static void read_size(struct list_reader *r, struct value_draft *draft)
{
	struct sh_capture_spec *capture = &draft->capture;
	int64_t n = PROBE_DEFAULT_STRING_SZ;
	if (!check_size_keys(r, draft) || (draft->len && !set_len(r, draft, draft->len, 0, draft->len->text, "len")))
		return;
	if (draft->max && capture->max_len)
		yaml_error(&r->src, draft->max, "max: len: says it all when it is a number");
	else if (draft->max && !list_parse_integer(draft->max, &n))
		list_expected(r, key_named("max"), draft->max);
	else if (n < 1 || n > SH_MAX_STRING)
		yaml_error(&r->src, draft->max, "max: expected 1 to %d bytes, found " SV_FMT, SH_MAX_STRING,
			   SV_ARG(draft->max->text));
	else if (capture->type == SH_BYTES && !draft->len_name.data && !capture->max_len && !draft->max)
		yaml_error(&r->src, draft->type,
			   "bytes need a length: bytes(16), or bytes(ARGUMENT) for one that holds it");
	else if (value_type_is_memory(capture->type) && !capture->max_len)
		capture->max_len = (uint16_t)n;
}

/* The register holds v. An integer behind a pointer is loaded with its own width: eight bytes, as a deref reads,
 * could reach into the next page. */
static void finish_access(struct value_draft *draft)
{
	struct sh_capture_spec *capture = &draft->capture;
	if (value_type_is_memory(capture->type))
		return;
	if (draft->offset) {
		capture->flags |= SH_CAP_LOAD;
	} else if (capture->deref_cnt) {
		capture->flags |= SH_CAP_LOAD;
		capture->offset = capture->deref[--capture->deref_cnt];
		capture->deref[capture->deref_cnt] = 0;
	}
}

static void read_value(struct list_reader *r, struct value_draft *draft, bool is_return)
{
	if (!is_return && draft->at)
		read_at(r, draft->at, draft->at->text, 0, &draft->capture.arg);
	if (draft->offset)
		read_offset(r, "offset", draft->offset, &draft->capture.offset);
	if (draft->deref)
		read_deref(r, draft);
	if (draft->type && draft->type->kind != YAML_SCALAR)
		list_expected(r, key_named("type"), draft->type);
	else if (draft->type && parse_type(r, draft, draft->type, draft->type->text))
		read_size(r, draft);
	finish_access(draft);
}

static void require_keys(struct list_reader *r, const struct yaml_node *node, const struct value_draft *draft,
			 bool is_return)
{
	if (!is_return && !draft->at)
		yaml_error(&r->src, node, "argument '" SV_FMT "' needs at: (%s)", SV_ARG(draft->name),
			   key_named("at")->form);
	if (!draft->type)
		yaml_error(&r->src, node, "%s" SV_FMT "%s needs type: (" FORM_TYPE ")", is_return ? "" : "argument '",
			   SV_ARG(draft->name), is_return ? ":" : "'");
}

/* "i64@1" */
static void read_short_form(struct list_reader *r, struct value_draft *draft, const struct yaml_node *node)
{
	const char *sign = memchr(node->text.data, '@', node->text.len);
	if (!sign) {
		yaml_error(&r->src, node,
			   "argument '" SV_FMT "': expected a map {at: 1, type: i64} or TYPE@POSITION, found '" SV_FMT
			   "'",
			   SV_ARG(draft->name), SV_ARG(node->text));
		return;
	}
	struct sv type = {node->text.data, (size_t)(sign - node->text.data)};
	struct sv position = {sign + 1, node->text.len - type.len - 1};
	draft->type = node;
	read_at(r, node, position, type.len + 1, &draft->capture.arg);
	if (parse_type(r, draft, node, type))
		read_size(r, draft);
}

static void read_draft(struct list_reader *r, struct value_draft *draft, const struct yaml_node *node, bool is_return)
{
	if (is_return && node->kind == YAML_SCALAR) {
		draft->type = node;
		if (parse_type(r, draft, node, node->text))
			read_size(r, draft);
	} else if (node->kind == YAML_SCALAR) {
		read_short_form(r, draft, node);
	} else if (list_read_map(r, is_return ? &list_return_map : &list_arg_map, node, draft, NULL)) {
		require_keys(r, node, draft, is_return);
		read_value(r, draft, is_return);
	}
}

/* --- all of a probe ------------------------------------------------------------------------------------------------
 */

struct drafts {
	struct value_draft data[SH_MAX_CAPTURES];
	unsigned cnt;
	unsigned most; /* one less when the return value needs a capture */
};

static bool name_is_good(struct list_reader *r, const struct yaml_node *key)
{
	struct sv name = key->text;
	bool good = isalpha((unsigned char)name.data[0]) || name.data[0] == '_';
	for (size_t i = 1; i < name.len; i++)
		good &= isalnum((unsigned char)name.data[i]) || name.data[i] == '_' || name.data[i] == '.';
	if (!good)
		yaml_error(&r->src, key,
			   "'" SV_FMT "' cannot name an argument: letters, digits, '_' and '.', a letter first",
			   SV_ARG(name));
	else if (condition_word_is_reserved(name))
		yaml_error(&r->src, key, "'" SV_FMT "' cannot name an argument: it has a meaning of its own%s",
			   SV_ARG(name), sv_eq(name, SV("return")) ? " (return: is a key of the probe)" : "");
	return good;
}

static void add_argument(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	struct drafts *drafts = arg;
	if (drafts->cnt == drafts->most) {
		yaml_error(&r->src, value->key, "more than %d captured values in one probe%s", SH_MAX_CAPTURES,
			   drafts->most < SH_MAX_CAPTURES ? " (return: is one)" : "");
		drafts->most = SH_MAX_CAPTURES + 1; /* said once */
	}
	if (drafts->cnt >= drafts->most || drafts->cnt == SH_MAX_CAPTURES || !name_is_good(r, value->key))
		return;
	struct value_draft *draft = &drafts->data[drafts->cnt];
	*draft = (struct value_draft){.name_node = value->key, .name = arena_dup(&r->list->arena, value->key->text)};
	r->no_memory |= !draft->name.data;
	read_draft(r, draft, value, false);
	drafts->cnt += draft->name.data != NULL;
}

static void add_capture(struct list_reader *r, struct probe *probe, struct value_draft *draft,
			struct list_values *values)
{
	uint8_t index = probe->spec.capture_cnt++;
	probe->spec.captures[index] = draft->capture;
	probe->capture_names[index] = draft->name;
	if (!draft->show && redact_name(draft->name))
		probe->redacted |= (uint16_t)(1u << index);
	values->names.names[values->names.cnt++] = (struct value_name){
		.name = draft->name,
		.index = index,
		.type = draft->capture.type,
		.declared = true,
		.max_len = draft->capture.max_len,
	};
	(void)r;
}

static void set_len_from(struct list_reader *r, struct probe *probe, const struct value_draft *draft,
			 const struct list_values *values, uint8_t index)
{
	const struct value_name *len = value_names_find(&values->names, draft->len_name);
	if (!draft->len_name.data)
		return;
	if (!len && values->names.incomplete)
		return;
	if (!len) {
		struct nearest near;
		nearest_init(&near, draft->len_name);
		for (unsigned i = 0; i < values->names.cnt; i++)
			if (!value_type_is_memory(values->names.names[i].type))
				nearest_offer(&near, values->names.names[i].name);
		yaml_error_at(&r->src, draft->len_node, draft->len_at,
			      "expected a number of bytes or an argument that holds it, found '" SV_FMT "'%s" SV_FMT
			      "%s",
			      SV_ARG(draft->len_name), near.best.data ? "; did you mean '" : "", SV_ARG(near.best),
			      near.best.data ? "'?" : "");
	} else if (value_type_is_memory(len->type) || len->type == SH_PTR || len->type == SH_BOOL) {
		yaml_error_at(&r->src, draft->len_node, draft->len_at, "'" SV_FMT "' is %s, which is no length",
			      SV_ARG(draft->len_name), value_type_name(len->type));
	} else {
		probe->spec.captures[index].len_from = (uint8_t)(len->index + 1);
	}
}

static void add_tag(struct list_reader *r, const struct value_draft *draft, uint8_t value, struct list_values *values)
{
	struct sv key = draft->name;
	const struct yaml_node *tag = draft->tag;
	if (tag && tag->kind == YAML_SCALAR && !tag->quoted && sv_eq(tag->text, SV("false")))
		return;
	if (tag && !list_read_text(r, key_named("tag"), tag, &key))
		return;
	values->tags[values->tag_cnt].key = key;
	values->tags[values->tag_cnt++].value = value;
}

static void add_return(struct list_reader *r, struct probe *probe, struct value_draft *draft, bool declared,
		       struct list_values *values)
{
	struct sh_capture_spec *capture = &draft->capture;
	bool captured = value_type_is_memory(capture->type) || (capture->flags & SH_CAP_LOAD);
	if (draft->len_name.data)
		yaml_error_at(&r->src, draft->len_node, draft->len_at,
			      "the length of returned bytes is a number: arguments are gone at the return");
	if (captured && probe->spec.capture_cnt < SH_MAX_CAPTURES) {
		add_capture(r, probe, draft, values);
	} else {
		values->names.names[values->names.cnt++] = (struct value_name){
			.name = SV("return"),
			.index = VALUE_RETURN,
			.type = declared ? capture->type : SH_I32,
			.declared = declared,
		};
	}
	const struct value_name *name = &values->names.names[values->names.cnt - 1];
	probe->return_type = captured ? SH_PTR : name->type;
	if (declared)
		add_tag(r, draft, name->index, values);
}

void list_compile_values(struct list_reader *r, struct probe *probe, const struct yaml_node *args,
			 const struct yaml_node *ret, struct list_values *values)
{
	struct drafts drafts = {.most = SH_MAX_CAPTURES};
	struct value_draft result = {.name = SV("return")};
	static const struct list_key args_key = {.name = "args", .form = "a map of names to {at: 1, type: i64}"};
	if (ret && ret->kind != YAML_BAD) {
		read_draft(r, &result, ret, true);
		if (value_type_is_memory(result.capture.type) || (result.capture.flags & SH_CAP_LOAD))
			drafts.most--;
	}
	if (args)
		list_read_entries(r, &args_key, args, add_argument, &drafts);
	values->names.incomplete = args && (args->kind != YAML_MAPPING || args->cnt != drafts.cnt);
	/* A length is captured before the bytes it measures. */
	for (int bytes = 0; bytes < 2; bytes++)
		for (unsigned i = 0; i < drafts.cnt; i++)
			if ((drafts.data[i].capture.type == SH_BYTES) == bytes) {
				add_capture(r, probe, &drafts.data[i], values);
				add_tag(r, &drafts.data[i], (uint8_t)(probe->spec.capture_cnt - 1), values);
				set_len_from(r, probe, &drafts.data[i], values, (uint8_t)(probe->spec.capture_cnt - 1));
			}
	probe->spec.ret_from = probe->spec.capture_cnt;
	add_return(r, probe, &result, ret != NULL, values);
}

void list_hide_unused(const struct list_values *values, struct probe *probe)
{
	for (uint8_t i = 0; i < probe->spec.capture_cnt; i++)
		if (!(values->names.used & (1u << i)))
			probe->spec.captures[i].flags |= SH_CAP_HIDDEN;
}
