/* SPDX-License-Identifier: Apache-2.0 */
#include "app/settings.h"

#include <errno.h>
#include <stdlib.h>

#include "base/nearest.h"
#include "base/variables.h"
#include "target/identify.h"

/* --- sources ------------------------------------------------------------------------------------------------------ */

struct asked {
	const struct options *options;
	const struct settings_process *process;
};

static bool ask_flag(void *arg, const struct setting *s, struct sv *ret)
{
	const struct asked *a = arg;
	bool found = false;
	vec_foreach (flag, &a->options->flags)
		if (sv_eq(flag->key, sv_of(s->flag))) {
			*ret = flag->value;
			found = true;
		}
	return found;
}

static bool ask_environment(void *arg, const char *variable, struct sv *ret)
{
	(void)arg;
	*ret = sv_of(getenv(variable));
	return ret->data != NULL;
}

static bool said_as(const struct probe_said *said, const struct setting *s)
{
	if (s->key[0])
		return sv_eq(said->key, sv_of(s->key));
	for (unsigned n = 0; setting_variable(s, n); n++)
		if (sv_eq(said->key, sv_of(setting_variable(s, n))))
			return true;
	return false;
}

/* What is said of the target goes before what is said of all. */
static bool ask_file(void *arg, const struct setting *s, struct setting_value *ret)
{
	const struct asked *a = arg;
	const struct probe_said *found = NULL;
	int target = a->process ? a->process->target : -1;
	vec_foreach (said, &a->options->list->said)
		if ((said->target == -1 || said->target == target) && said_as(said, s) &&
		    (!found || said->target >= found->target))
			found = said;
	if (!found)
		return false;
	ret->text = found->value;
	ret->line = found->pos.line;
	ret->file = found->pos.file;
	return true;
}

static bool ask_target(void *arg, const char *variable, struct sv *ret)
{
	const struct asked *a = arg;
	return a->process && environ_get(a->process->environ, variable, ret);
}

void settings_resolve(const struct options *o, const struct settings_process *p, const struct setting *s,
		      struct setting_value *ret)
{
	struct asked asked = {o, p};
	const struct setting_sources sources = {ask_flag, ask_environment, ask_file, ask_target, &asked};
	setting_resolve(s, &sources, ret);
}

/* --- in force ----------------------------------------------------------------------------------------------------- */

/* What the command line or our environment says; empty: nothing. */
static struct sv forced(const struct options *o, const char *variable)
{
	struct setting_value v;
	settings_resolve(o, NULL, setting_of_variable(sv_of(variable)), &v);
	return v.origin >= SETTING_BY_ENVIRONMENT ? v.text : SV_NULL;
}

static int check_ours(struct sbuf *err)
{
	int rc = 0;
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		for (unsigned n = 0; s->scope != SETTING_THEIRS && setting_variable(s, n); n++) {
			struct sv value = sv_of(getenv(setting_variable(s, n)));
			if (!value.len)
				continue;
			sbuf_adds(err, err->len ? "\n" : "");
			size_t before = err->len;
			if (!setting_check(s, value, err))
				rc = -EINVAL;
			else if (err->len == before && before)
				err->len--;
		}
	}
	return err->failed ? -ENOMEM : rc;
}

/* The file's word, for whoever asks variable_get(). */
static int set_variables(const struct options *o)
{
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		struct setting_value v;
		if (!s->variable[0] || s->scope == SETTING_THEIRS)
			continue;
		settings_resolve(o, NULL, s, &v);
		if (v.origin != SETTING_BY_FILE || setting_is_of_process(s))
			continue;
		char *text = strndup(v.text.data, v.text.len);
		int rc = text ? variable_set_default(s->variable, text) : -ENOMEM;
		free(text);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int prepend(struct tag_vec *to, const struct tag_vec *first)
{
	struct tag_vec both = {0};
	int rc = 0;
	for (size_t i = 0; i < first->cnt + to->cnt && rc == 0; i++)
		rc = vec_push(&both, i < first->cnt ? first->data[i] : to->data[i - first->cnt]);
	if (rc < 0) {
		vec_release(&both);
		return rc;
	}
	vec_release(to);
	*to = both;
	return 0;
}

static void put(struct sv *slot, struct sv value)
{
	if (value.len)
		*slot = value;
}

/* Who a process is: ours goes before what the file says of any target. */
static int force_identity(struct options *o)
{
	struct probe_list *list = o->list;
	struct tag_vec tags = {0};
	struct sv service = forced(o, "DD_SERVICE"), env = forced(o, "DD_ENV"), version = forced(o, "DD_VERSION");
	int rc = tags_parse(forced(o, "DD_TAGS"), &tags);
	if (!service.len)
		tags_get(&tags, "service", &service);
	if (!env.len)
		tags_get(&tags, "env", &env);
	if (!version.len)
		tags_get(&tags, "version", &version);
	put(&list->service, service);
	put(&list->env, env);
	put(&list->version, version);
	if (rc == 0 && tags.cnt)
		rc = prepend(&list->tags, &tags);
	for (size_t i = 0; i < list->targets.cnt && rc == 0; i++) {
		struct target_spec *t = &list->targets.data[i];
		put(&t->service, service);
		put(&t->env, env);
		put(&t->version, version);
		if (tags.cnt)
			rc = prepend(&t->tags, &tags);
	}
	vec_release(&tags);
	return rc;
}

int settings_apply(struct options *o, struct sbuf *err)
{
	int rc = check_ours(err);
	if (rc == 0)
		rc = set_variables(o);
	return rc < 0 ? rc : force_identity(o);
}

/* --- what is said about an environment ---------------------------------------------------------------------------- */

static const char *const known_variables[] = {
#define KNOWN(name) name,
#include "trace/known_variables.def"
#undef KNOWN
};
#define KNOWN_CNT (sizeof(known_variables) / sizeof(known_variables[0]))

static int compare_known(const void *key, const void *entry)
{
	const struct sv *name = key;
	const char *const *other = entry;
	size_t len = strlen(*other), common = name->len < len ? name->len : len;
	int d = memcmp(name->data, *other, common);
	return d ? d : (name->len > len) - (name->len < len);
}

static struct sv nearest_variable(struct sv name)
{
	struct nearest near;
	nearest_init(&near, name);
	for (unsigned i = 0; i < settings_cnt; i++)
		if (settings_table[i].variable[0])
			nearest_offer(&near, sv_of(settings_table[i].variable));
	return near.best;
}

enum look { LOOK_FINE, LOOK_UNSUPPORTED, LOOK_MISTAKE };

/* Of a mistake, a sentence. */
static enum look look_at(struct sv name, struct sv value, bool of_process, struct sbuf *mistake)
{
	const struct setting *s = setting_of_variable(name);
	if (s) {
		/* Numbers and rules are sampling's, which says what is wrong with them. */
		bool is_word = s->kind == SETTING_BOOL || s->kind == SETTING_CHOICE;
		if (!of_process || s->scope != SETTING_PROCESS || !is_word || !value.len ||
		    setting_check(s, value, mistake))
			return LOOK_FINE;
		sbuf_adds(mistake, ": ignored");
		return LOOK_MISTAKE;
	}
	if (bsearch(&name, known_variables, KNOWN_CNT, sizeof(known_variables[0]), compare_known))
		return LOOK_UNSUPPORTED;
	struct sv meant = sv_starts(name, SV("DD_")) ? nearest_variable(name) : SV_NULL;
	if (!meant.len)
		return LOOK_FINE;
	sbuf_addf(mistake, SV_FMT " is no variable that is known; did you mean " SV_FMT "?", SV_ARG(name),
		  SV_ARG(meant));
	return LOOK_MISTAKE;
}

/* One that may be Datadog's, and harmless on a terminal. */
static bool is_datadog_name(struct sv name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!(name.data[i] >= 'A' && name.data[i] <= 'Z') && !(name.data[i] >= '0' && name.data[i] <= '9') &&
		    name.data[i] != '_')
			return false;
	return sv_starts(name, SV("DD_")) || sv_starts(name, SV("DATADOG_"));
}

void settings_look(struct sv environ, bool of_process, void (*say)(void *arg, struct sv variable, const char *mistake),
		   void *arg)
{
	struct sbuf mistake = {0};
	while (environ.len) {
		size_t len = strnlen(environ.data, environ.len);
		const char *equals = memchr(environ.data, '=', len);
		struct sv name = {environ.data, equals ? (size_t)(equals - environ.data) : len};
		struct sv value = {environ.data + name.len + (equals != NULL), len - name.len - (equals != NULL)};
		size_t skip = len < environ.len ? len + 1 : len;
		environ = (struct sv){environ.data + skip, environ.len - skip};
		sbuf_reset(&mistake);
		enum look look =
			equals && is_datadog_name(name) ? look_at(name, value, of_process, &mistake) : LOOK_FINE;
		if (look != LOOK_FINE)
			say(arg, name, look == LOOK_MISTAKE ? sbuf_str(&mistake) : NULL);
	}
	sbuf_release(&mistake);
}

/* --- for `info` --------------------------------------------------------------------------------------------------- */

static struct sv file_name(const struct diagnostics *d, uint32_t file)
{
	return file && file <= d->included.cnt ? d->included.data[file - 1].name : d->name;
}

void settings_origin(const struct options *o, const struct setting *s, const struct setting_value *v, struct sbuf *out)
{
	switch (v->origin) {
	case SETTING_BY_FLAG:
		sbuf_addf(out, "--%s", s->flag);
		break;
	case SETTING_BY_ENVIRONMENT:
		sbuf_addf(out, "%s of our environment", v->variable);
		break;
	case SETTING_BY_FILE:
		sbuf_addf(out, SV_FMT ":%u", SV_ARG(file_name(&o->diagnostics, v->file)), v->line);
		break;
	case SETTING_BY_TARGET:
		sbuf_addf(out, "%s of the process", v->variable);
		break;
	case SETTING_BY_DEFAULT:
		sbuf_adds(out, "default");
		break;
	}
}

void settings_print(const struct options *o, const struct settings_process *p, struct sbuf *out)
{
	struct sbuf value = {0}, origin = {0};
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		struct setting_value v;
		settings_resolve(o, p, s, &v);
		/* Who the process is, and what only it says, means nothing without one. */
		if (v.origin == SETTING_BY_DEFAULT && !v.text.len)
			continue;
		sbuf_reset(&value);
		sbuf_reset(&origin);
		setting_show(s, v.text, &value);
		settings_origin(o, s, &v, &origin);
		sbuf_addf(out, "  %-45s %s  (%s)\n", setting_name(s), sbuf_str(&value), sbuf_str(&origin));
	}
	sbuf_release(&value);
	sbuf_release(&origin);
}

void settings_json(const struct options *o, const struct settings_process *p, struct sbuf *out)
{
	static const char *const origins[] = {"default", "target", "file", "environment", "flag"};
	struct sbuf value = {0}, where = {0};
	sbuf_addc(out, '{');
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		struct setting_value v;
		settings_resolve(o, p, s, &v);
		sbuf_reset(&value);
		sbuf_reset(&where);
		setting_show(s, v.text, &value);
		settings_origin(o, s, &v, &where);
		sbuf_addf(out, "%s\"%s\":{\"value\":", i ? "," : "", setting_name(s));
		sbuf_add_json(out, sbuf_sv(&value));
		sbuf_addf(out, ",\"origin\":\"%s\",\"where\":", origins[v.origin]);
		sbuf_add_json(out, sbuf_sv(&where));
		sbuf_addc(out, '}');
	}
	sbuf_addc(out, '}');
	sbuf_release(&value);
	sbuf_release(&where);
}
