/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "trace/redact.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct setting settings_table[] = {
#define SETTING(scope, kind, variable, key, flag, standard, allowed, help) \
	{SETTING_##scope, SETTING_##kind, variable, key, flag, standard, allowed, help},
#define OLDER(scope, name, variable)
#include "trace/settings.def"
#undef SETTING
#undef OLDER
};
const unsigned settings_cnt = COUNT(settings_table);

static const struct {
	const char *name, *variable;
} older_names[] = {
#define SETTING(scope, kind, variable, key, flag, standard, allowed, help)
#define OLDER(scope, name, variable) {name, variable},
#include "trace/settings.def"
#undef SETTING
#undef OLDER
};

const char *setting_variable(const struct setting *s, unsigned n)
{
	if (!s->variable[0])
		return NULL;
	if (n == 0)
		return s->variable;
	for (unsigned i = 0; i < COUNT(older_names); i++)
		if (strcmp(older_names[i].variable, s->variable) == 0 && --n == 0)
			return older_names[i].name;
	return NULL;
}

const struct setting *setting_of_variable(struct sv name)
{
	for (unsigned i = 0; i < COUNT(older_names); i++)
		if (sv_eq(name, sv_of(older_names[i].name)))
			name = sv_of(older_names[i].variable);
	for (unsigned i = 0; i < settings_cnt && name.len; i++)
		if (sv_eq(name, sv_of(settings_table[i].variable)))
			return &settings_table[i];
	return NULL;
}

const char *setting_name(const struct setting *s)
{
	bool has_key = s->key[0] && s->key[0] != '-';
	return s->variable[0] ? s->variable : has_key ? s->key : s->flag;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool is_word(struct sv s, struct sv word)
{
	return s.len == word.len && strncasecmp(s.data, word.data, s.len) == 0;
}

bool setting_is_true(struct sv value)
{
	return is_word(value, SV("true")) || is_word(value, SV("1"));
}

static bool is_bool(struct sv v)
{
	return setting_is_true(v) || is_word(v, SV("false")) || is_word(v, SV("0"));
}

/* One of "a, b, c". */
static bool is_choice(const char *allowed, struct sv value)
{
	while (*allowed) {
		size_t len = strcspn(allowed, ",");
		if (is_word(value, (struct sv){allowed, len}))
			return true;
		allowed += len;
		allowed += strspn(allowed, ", ");
	}
	return false;
}

/* "1 to 65535", or words, which allow every number. */
static bool is_number(const char *allowed, struct sv value, bool whole)
{
	char text[40], *end;
	double min, max;
	if (!value.len || value.len >= sizeof(text) || memchr(value.data, '\0', value.len))
		return false;
	snprintf(text, sizeof(text), SV_FMT, SV_ARG(value));
	if (text[strspn(text, whole ? "+-0123456789" : "+-.eE0123456789")])
		return false;
	double v = strtod(text, &end);
	if (*end)
		return false;
	return sscanf(allowed, "%lf to %lf", &min, &max) != 2 || (v >= min && v <= max);
}

static const char *const number_words[] = {"a number from ", "a whole number from "};

/* What it had to be, for a sentence. */
static void add_wanted(const struct setting *s, struct sbuf *err)
{
	switch (s->kind) {
	case SETTING_BOOL:
		sbuf_adds(err, "true or false (1 or 0)");
		break;
	case SETTING_CHOICE:
		sbuf_addf(err, "one of %s", s->allowed);
		break;
	default:
		if (strstr(s->allowed, " to "))
			sbuf_adds(err, number_words[s->kind == SETTING_INTEGER]);
		sbuf_adds(err, s->allowed);
	}
}

bool setting_check(const struct setting *s, struct sv value, struct sbuf *err)
{
	bool good = true;
	switch (s->kind) {
	case SETTING_BOOL:
		good = is_bool(value);
		break;
	case SETTING_CHOICE:
		good = is_choice(s->allowed, value);
		break;
	case SETTING_INTEGER:
	case SETTING_NUMBER:
		good = is_number(s->allowed, value, s->kind == SETTING_INTEGER);
		break;
	default:
		break;
	}
	if (good || !err)
		return good;
	sbuf_addf(err, "%s: '%.*s' is not ", setting_name(s), (int)(value.len < 64 ? value.len : 64), value.data);
	add_wanted(s, err);
	return false;
}

/* --- showing ------------------------------------------------------------------------------------------------------ */

#define MASK "****"

static const char *find(struct sv s, const char *what)
{
	return s.len ? memmem(s.data, s.len, what, strlen(what)) : NULL;
}

/* Every scheme://user:password@ in it. */
void setting_show_urls(struct sv s, struct sbuf *out)
{
	for (const char *at; (at = find(s, "://"));) {
		size_t head = (size_t)(at - s.data) + 3, host = head, end = head;
		while (end < s.len && !strchr("/?# ,", s.data[end])) {
			if (s.data[end] == '@')
				host = end;
			end++;
		}
		sbuf_add(out, s.data, head);
		if (host > head)
			sbuf_adds(out, MASK);
		s = (struct sv){s.data + host, s.len - host};
	}
	sbuf_addsv(out, s);
}

static void show_tags(struct sv s, struct sbuf *out)
{
	while (s.len) {
		size_t len = 0, key = 0;
		while (len < s.len && s.data[len] != ',' && s.data[len] != ' ')
			len++;
		while (key < len && s.data[key] != ':' && s.data[key] != '=')
			key++;
		if (key < len && redact_name((struct sv){s.data, key})) {
			sbuf_add(out, s.data, key + 1);
			sbuf_adds(out, MASK);
		} else {
			setting_show_urls((struct sv){s.data, len}, out);
		}
		if (len < s.len)
			sbuf_addc(out, s.data[len++]);
		s = (struct sv){s.data + len, s.len - len};
	}
}

/* A name that says so: of variables that others add as of those that are here. */
static bool is_secret(const char *name)
{
	static const char *const ends[] = {"_KEY", "_TOKEN", "_PASSWORD", "_SECRET"};
	size_t len = strlen(name);
	for (unsigned i = 0; i < COUNT(ends); i++)
		if (len > strlen(ends[i]) && strcmp(name + len - strlen(ends[i]), ends[i]) == 0)
			return true;
	return false;
}

void setting_show(const struct setting *s, struct sv value, struct sbuf *out)
{
	if (s->kind == SETTING_SECRET || is_secret(s->variable))
		sbuf_adds(out, value.len ? MASK : "");
	else if (s->kind == SETTING_TAGS)
		show_tags(value, out);
	else
		setting_show_urls(value, out);
}

/* --- who decides -------------------------------------------------------------------------------------------------- */

/* Variables that together say one thing. */
static const char *const groups[][4] = {
	{"DD_TRACE_AGENT_URL", "DD_AGENT_HOST", "DD_TRACE_AGENT_PORT", "DD_APM_RECEIVER_SOCKET"},
	{"DD_DOGSTATSD_URL", "DD_DOGSTATSD_HOST", "DD_DOGSTATSD_PORT", ""},
};

typedef bool ask_variable(void *arg, const char *variable, struct sv *ret);

static bool ask(const struct setting *s, ask_variable *source, void *arg, struct setting_value *ret)
{
	for (unsigned n = 0; source && (ret->variable = setting_variable(s, n)); n++)
		if (source(arg, ret->variable, &ret->text) && (ret->text.len || s->kind == SETTING_PATTERN))
			return true;
	ret->variable = NULL;
	return false;
}

/* Our environment says something else of the same group. */
static bool outranked(const struct setting *s, const struct setting_sources *from)
{
	struct setting_value other;
	for (unsigned g = 0; g < COUNT(groups) && s->variable[0]; g++) {
		bool member = false, said = false;
		for (unsigned i = 0; i < COUNT(groups[g]); i++) {
			const struct setting *one = setting_of_variable(sv_of(groups[g][i]));
			member |= one == s;
			said |= one && ask(one, from->environment, from->arg, &other);
		}
		if (member)
			return said;
	}
	return false;
}

void setting_resolve(const struct setting *s, const struct setting_sources *from, struct setting_value *ret)
{
	*ret = (struct setting_value){.origin = SETTING_BY_FLAG};
	if (s->flag[0] && from->flag && from->flag(from->arg, s, &ret->text))
		return;
	ret->origin = SETTING_BY_ENVIRONMENT;
	if (s->scope != SETTING_THEIRS && ask(s, from->environment, from->arg, ret))
		return;
	ret->origin = SETTING_BY_FILE;
	if (s->key[0] != '-' && from->file && !outranked(s, from) && from->file(from->arg, s, ret))
		return;
	ret->line = ret->file = 0;
	ret->origin = SETTING_BY_TARGET;
	if (s->scope != SETTING_OURS && ask(s, from->target, from->arg, ret))
		return;
	*ret = (struct setting_value){.origin = SETTING_BY_DEFAULT, .text = sv_of(s->standard)};
}

/* --- the manual --------------------------------------------------------------------------------------------------- */

static void add_cell(struct sbuf *out, const char *text, bool code)
{
	sbuf_adds(out, " ");
	if (!*text) {
		sbuf_adds(out, "|");
		return;
	}
	sbuf_adds(out, code ? "`" : "");
	for (; *text; text++) {
		if (*text == '|')
			sbuf_addc(out, '\\');
		sbuf_addc(out, *text);
	}
	sbuf_adds(out, code ? "` |" : " |");
}

void settings_describe(struct sbuf *out)
{
	sbuf_adds(out, "| variable | flag | key of the file | of each process | default | allowed | what |\n"
		       "| --- | --- | --- | --- | --- | --- | --- |\n");
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		char text[160] = "";
		sbuf_adds(out, "|");
		for (unsigned n = 0; setting_variable(s, n); n++)
			sbuf_addf(out, "%s`%s`", n ? " (older: " : " ", setting_variable(s, n));
		sbuf_adds(out, setting_variable(s, 1) ? ") |" : s->variable[0] ? " |" : "  |");
		if (s->flag[0])
			snprintf(text, sizeof(text), "--%s", s->flag);
		add_cell(out, text, true);
		add_cell(out, s->key[0] != '-' ? s->key[0] ? s->key : "settings" : "", true);
		add_cell(out, s->scope == SETTING_THEIRS ? "only there" : setting_is_of_process(s) ? "yes" : "", false);
		add_cell(out, s->standard, false);
		add_cell(out, s->kind == SETTING_BOOL ? "true, false" : s->allowed, false);
		add_cell(out, s->help, false);
		sbuf_addc(out, '\n');
	}
}
