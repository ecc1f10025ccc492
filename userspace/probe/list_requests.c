/* SPDX-License-Identifier: Apache-2.0 */
/* `routes:`, `settings:`, `capture:`: how requests are traced. */
#include "base/nearest.h"
#include "probe/list_read.h"
#include "target/destination.h"
#include "trace/request_settings.h"
#include "trace/settings.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- routes --------------------------------------------------------------------------------------------------------
 */

static LIST_READER(read_route)
{
	struct sbuf err = {0};
	struct sv route;
	if (!list_read_text(r, key, value, &route))
		return;
	int rc = routes_add(field, route, &err);
	r->no_memory |= rc == -ENOMEM;
	if (rc < 0 && rc != -ENOMEM)
		yaml_error(&r->src, value, "%s: %s", key->name, sbuf_str(&err));
	sbuf_release(&err);
}

LIST_READER(list_read_routes)
{
	list_read_each(r, key, value, field, read_route);
}

/* --- settings ------------------------------------------------------------------------------------------------------
 */

/* What has a key of its own is said by that, and a target does not decide for all of spanhound. */
static bool setting_allowed(struct list_reader *r, const struct yaml_node *key, const struct setting *s)
{
	if (s->key[0])
		yaml_error(&r->src, key, "%s has a key of its own: %s:", s->variable, s->key);
	else if (s->scope == SETTING_OURS && r->target >= 0)
		yaml_error(&r->src, key, "%s is not a target's: it goes with the settings: of the whole file",
			   s->variable);
	else
		return true;
	return false;
}

static const char *known_variable(struct list_reader *r, const struct yaml_node *key)
{
	struct nearest near;
	nearest_init(&near, key->text);
	for (unsigned i = 0; i < settings_cnt; i++) {
		const struct setting *s = &settings_table[i];
		for (unsigned n = 0; setting_in_file(s) && setting_variable(s, n); n++) {
			if (sv_eq(key->text, sv_of(setting_variable(s, n))))
				return setting_allowed(r, key, s) ? setting_variable(s, n) : NULL;
			nearest_offer(&near, sv_of(setting_variable(s, n)));
		}
	}
	yaml_error(&r->src, key, "'" SV_FMT "' is no variable that is obeyed here%s" SV_FMT "%s", SV_ARG(key->text),
		   near.best.data ? "; did you mean '" : " (DD_TRACE_HEADER_TAGS, DD_TRACE_PROPAGATION_STYLE, ...)",
		   SV_ARG(near.best), near.best.data ? "'?" : "");
	return NULL;
}

/* Each of the lines that describe what is wrong. */
static void report_lines(struct list_reader *r, const struct yaml_node *value, struct sv lines)
{
	while (lines.len) {
		const char *end = memchr(lines.data, '\n', lines.len);
		size_t len = end ? (size_t)(end - lines.data) : lines.len;
		if (len)
			yaml_error(&r->src, value, "%.*s", (int)len, lines.data);
		len += end != NULL;
		lines = (struct sv){lines.data + len, lines.len - len};
	}
}

static void read_setting(struct list_reader *r, const struct yaml_node *value, void *arg)
{
	struct tag_vec *settings = arg;
	const char *name = known_variable(r, value->key);
	struct list_key key = {.name = name, .form = "text"};
	struct tag setting = {.key = sv_of(name)};
	struct sbuf text = {0}, err = {0};
	if (!name)
		return;
	/* Nothing is a value, too: no query string is obfuscated by no expression. */
	bool empty = value->kind == YAML_SCALAR && value->quoted && !value->text.len;
	if (empty)
		setting.value = SV("");
	else if (!list_read_text(r, &key, value, &setting.value))
		return;
	list_said(r, "", name, value);
	if (!setting_check(setting_of_variable(setting.key), setting.value, &err)) {
		report_lines(r, value, sbuf_sv(&err));
		sbuf_release(&err);
		return;
	}
	request_settings_put(&text, name, setting.value);
	struct request_settings *tried = request_settings_new(sbuf_sv(&text), NULL, &err);
	report_lines(r, value, sbuf_sv(&err));
	r->no_memory |= !tried || text.failed || err.failed || vec_push(settings, setting) < 0;
	request_settings_unref(tried);
	sbuf_release(&text);
	sbuf_release(&err);
}

LIST_READER(list_read_settings)
{
	list_read_entries(r, key, value, read_setting, field);
}

/* --- capture -------------------------------------------------------------------------------------------------------
 */

static LIST_READER(read_http)
{
	bool http = true;
	list_read_bool(r, key, value, &http);
	*(bool *)field = !http;
}

static LIST_READER(read_head)
{
	uint64_t n;
	if (value->kind != YAML_SCALAR || value->quoted || !units_size(value->text, &n) || n < key->min || n > key->max)
		list_expected(r, key, value);
	else
		*(uint32_t *)field = (uint32_t)n;
}

#define IN_CAPTURE(field) offsetof(struct probe_capture, field)
static const struct list_key capture_keys[] = {
	LIST_KEY("http", read_http, IN_CAPTURE(no_http), "true or false",
		 "false: no requests, and nothing of the host's system calls is watched"),
	LIST_KEY("head", read_head, IN_CAPTURE(head), "a size from 128 to 4k",
		 "bytes copied of each message; default: 1k", .min = 128, .max = SH_MAX_HEAD),
};
const struct list_map list_capture_map = {"capture:", capture_keys, COUNT(capture_keys)};

/* --- propagation ---------------------------------------------------------------------------------------------------
 */

static LIST_READER(read_inject)
{
	static const struct {
		struct sv word;
		enum target_inject inject;
	} words[] = {
		{SV("true"), TARGET_INJECT_AUTO},   {SV("auto"), TARGET_INJECT_AUTO},
		{SV("false"), TARGET_INJECT_OFF},   {SV("off"), TARGET_INJECT_OFF},
		{SV("plain"), TARGET_INJECT_PLAIN}, {SV("verdict"), TARGET_INJECT_VERDICT},
	};
	for (size_t i = 0; i < COUNT(words); i++)
		if (value->kind == YAML_SCALAR && !value->quoted && sv_eq(value->text, words[i].word)) {
			*(enum target_inject *)field = words[i].inject;
			return;
		}
	list_expected(r, key, value);
}

static LIST_READER(read_option)
{
	bool on = false;
	list_read_bool(r, key, value, &on);
	*(enum target_option *)field = on ? TARGET_OPTION_ON : TARGET_OPTION_OFF;
}

static LIST_READER(add_exclude)
{
	struct exclude_vec *all = field;
	struct sh_exclude x;
	if (value->kind != YAML_SCALAR || destination_parse(value->text, &x) < 0)
		list_expected(r, key, value);
	else if (all->cnt == SH_MAX_EXCLUDES)
		yaml_error(&r->src, value, "%s: one too many; there may be %d", key->name, SH_MAX_EXCLUDES);
	else
		r->no_memory |= vec_push(all, x) < 0;
}

static LIST_READER(read_propagation_excludes)
{
	list_read_each(r, key, value, field, add_exclude);
}

#define IN_PROPAGATION(field) offsetof(struct target_propagation, field)
static const struct list_key propagation_keys[] = {
	LIST_KEY(
		"inject", read_inject, IN_PROPAGATION(inject), "auto, off, plain or verdict",
		"auto (the default of attach and run; of serve: off): trace context is put into HTTP/1 requests of programs of which it is known to be safe; "
		"plain, verdict: in this way into those of all, safe or not (verdict loses bytes on their way when spanhound is killed); "
		"a target's own comes first, and --no-inject before it"),
	LIST_KEY(
		"tcp_option", read_option, IN_PROPAGATION(option), "true or false",
		"as --tcp-option: the trace of HTTP/1 requests in TCP options, which middleboxes may drop, between hosts that both run "
		"spanhound; a target's own comes first, and --no-inject before it"),
	LIST_KEY(
		"exclude", read_propagation_excludes, IN_PROPAGATION(excludes),
		"a destination or a list of them (api.example.com, *.example.com, 10.0.0.0/8, each with :PORT if wanted)",
		"requests that go there get no headers and no TCP options, nor do those that name no host; "
		"a target's own are added to those of all"),
};
const struct list_map list_propagation_map = {"propagation:", propagation_keys, COUNT(propagation_keys)};

LIST_READER(list_read_propagation)
{
	(void)key;
	list_read_map(r, &list_propagation_map, value, field, NULL);
}

LIST_READER(list_read_capture)
{
	(void)key;
	list_read_map(r, &list_capture_map, value, field, NULL);
}
