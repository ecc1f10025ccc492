/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/request_settings.h"

#include <stdlib.h>

#include "base/vec.h"

const char *const request_variables[] = {
#define OF_OURS(name)
#define OF_PROCESS(name)
#define OF_THEIRS(name)
#define OF_REQUEST(name)						   name,
#define SETTING(scope, kind, variable, key, flag, standard, allowed, help) OF_##scope(variable)
#define OLDER(scope, name, variable)					   OF_##scope(name)
#include "trace/settings.def"
#undef SETTING
#undef OLDER
	NULL,
};

void request_settings_put(struct sbuf *text, const char *name, struct sv value)
{
	sbuf_adds(text, name);
	sbuf_addc(text, '=');
	sbuf_addsv(text, value);
	sbuf_addc(text, '\0');
}

/* Of the object's own text, which lives as long as what is read from it. */
static struct sv settings_lookup(void *arg, const char *name)
{
	const struct request_settings *s = arg;
	struct sv rest = s->text;
	size_t name_len = strlen(name);
	while (rest.len) {
		size_t len = strnlen(rest.data, rest.len);
		if (len > name_len && rest.data[name_len] == '=' && !memcmp(rest.data, name, name_len))
			return (struct sv){rest.data + name_len + 1, len - name_len - 1};
		size_t skip = len < rest.len ? len + 1 : len;
		rest = (struct sv){rest.data + skip, rest.len - skip};
	}
	return SV_NULL;
}

struct request_settings *request_settings_new(struct sv text, struct query_obfuscator *standard, struct sbuf *err)
{
	struct sbuf ignored = {0};
	struct request_settings *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->refs = 1;
	s->text = arena_dup(&s->arena, text);
	if (s->text.data)
		s->http = http_settings_new(settings_lookup, s, standard, err ? err : &ignored);
	if (s->http)
		propagation_settings_read(&s->propagation, settings_lookup, s, err);
	sbuf_release(&ignored);
	if (s->http)
		return s;
	request_settings_unref(s);
	return NULL;
}

struct request_settings *request_settings_ref(struct request_settings *s)
{
	s->refs++;
	return s;
}

void request_settings_unref(struct request_settings *s)
{
	if (!s || --s->refs > 0)
		return;
	http_settings_unref(s->http);
	arena_release(&s->arena);
	free(s);
}

/* --- those in use ------------------------------------------------------------------------------------------------- */

struct request_settings_set {
	VEC(struct request_settings *) all;
	struct query_obfuscator *standard; /* an expression of its own size takes long to compile */
};

struct request_settings_set *request_settings_set_new(void)
{
	struct request_settings_set *set = calloc(1, sizeof(*set));
	if (set && query_obfuscator_new(SV_NULL, &set->standard, NULL) == 0)
		return set;
	free(set);
	return NULL;
}

void request_settings_set_free(struct request_settings_set *set)
{
	if (!set)
		return;
	vec_foreach (s, &set->all)
		request_settings_unref(*s);
	vec_release(&set->all);
	query_obfuscator_unref(set->standard);
	free(set);
}

/* The set's own reference is the last one: no process wants it any more. */
static void set_forget_unused(struct request_settings_set *set)
{
	size_t kept = 0;
	for (size_t i = 0; i < set->all.cnt; i++) {
		if (set->all.data[i]->refs > 1)
			set->all.data[kept++] = set->all.data[i];
		else
			request_settings_unref(set->all.data[i]);
	}
	set->all.cnt = kept;
}

struct request_settings *request_settings_get(struct request_settings_set *set, struct sv text, bool *ret_new,
					      struct sbuf *err)
{
	*ret_new = false;
	vec_foreach (s, &set->all)
		if (sv_eq((*s)->text, text))
			return request_settings_ref(*s);
	struct request_settings *s = request_settings_new(text, set->standard, err);
	if (!s)
		return NULL;
	*ret_new = true;
	if (set->all.cnt == REQUEST_SETTINGS_MAX)
		set_forget_unused(set);
	if (set->all.cnt < REQUEST_SETTINGS_MAX && vec_push(&set->all, s) == 0)
		request_settings_ref(s);
	return s;
}
