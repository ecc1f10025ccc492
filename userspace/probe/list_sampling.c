/* SPDX-License-Identifier: Apache-2.0 */
/* `sampling:`: what DD_TRACE_SAMPLE_RATE and the like say, in YAML. Each key becomes the variable that it stands for. */
#include "probe/list_read.h"
#include "trace/sampling/settings.h"
#include "trace/settings.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- YAML as JSON --------------------------------------------------------------------------------------------------
 */

/* What a JSON reader takes for a number, or for true, false and null. */
static bool is_json_word(const struct yaml_node *n)
{
	double number;
	struct sv rest, t = n->text;
	if (n->quoted)
		return false;
	if (sv_eq(t, SV("true")) || sv_eq(t, SV("false")) || sv_eq(t, SV("null")))
		return true;
	if (t.len > 1 && t.data[0] == '-')
		t = (struct sv){t.data + 1, t.len - 1};
	bool zeros = t.len > 1 && t.data[0] == '0' && t.data[1] != '.';
	bool bare = !t.len || t.data[0] == '.' || t.data[t.len - 1] == '.';
	return !zeros && !bare && units_decimal(t, &number, &rest) && !rest.len && t.data[t.len - 1] != ' ';
}

/* As deep as YAML may be (YAML_MAX_DEPTH). */
static void add_json(struct sbuf *out, const struct yaml_node *n)
{
	bool map = n->kind == YAML_MAPPING;
	if (n->kind == YAML_SCALAR && is_json_word(n)) {
		sbuf_addsv(out, n->text);
	} else if (n->kind == YAML_SCALAR) {
		sbuf_add_json(out, n->text);
	} else if (map || n->kind == YAML_SEQUENCE) {
		sbuf_addc(out, map ? '{' : '[');
		for (const struct yaml_node *one = n->first; one; one = one->next) {
			sbuf_adds(out, one == n->first ? "" : ",");
			if (map) {
				sbuf_add_json(out, one->key->text);
				sbuf_addc(out, ':');
			}
			add_json(out, one);
		}
		sbuf_addc(out, map ? '}' : ']');
	} else {
		sbuf_adds(out, "null");
	}
}

/* --- keys ---------------------------------------------------------------------------------------------------------- */

/* Each line that says what is wrong begins with the name of the variable, which nobody wrote. */
static void report(struct list_reader *r, const struct list_key *key, const struct yaml_node *value,
		   const char *variable, const struct sbuf *mistakes)
{
	for (const char *line = sbuf_str(mistakes); *line;) {
		const char *end = strchrnul(line, '\n');
		struct sv said = {line, (size_t)(end - line)}, name = sv_of(variable);
		if (sv_starts(said, name))
			said = (struct sv){said.data + name.len, said.len - name.len};
		yaml_error(&r->src, value, "%s" SV_FMT, key->name, SV_ARG(said));
		line = *end ? end + 1 : end;
	}
}

static void add_setting(struct list_reader *r, const struct list_key *key, const struct yaml_node *value,
			struct tag_vec *settings, const char *variable, struct sv text)
{
	struct tag setting = {sv_of(variable), arena_dup(&r->list->arena, text)};
	struct sampling_vars vars = {0};
	struct sampling_settings tried;
	struct sbuf err = {0};
	*(sv_eq(setting.key, SV("DD_TRACE_SAMPLE_RATE"))      ? &vars.sample_rate
	  : sv_eq(setting.key, SV("DD_TRACE_SAMPLING_RULES")) ? &vars.rules
	  : sv_eq(setting.key, SV("DD_TRACE_RATE_LIMIT"))     ? &vars.rate_limit
							      : &vars.span_rules) = setting.value;
	r->no_memory |= !setting.value.data;
	int mistakes = setting.value.data ? sampling_settings_parse(&tried, &vars, &err) : -ENOMEM;
	if (mistakes >= 0)
		sampling_settings_release(&tried);
	report(r, key, value, variable, &err);
	struct yaml_node said = {.kind = YAML_SCALAR, .pos = value->pos, .text = setting.value};
	list_said(r, "sampling.", key->name, &said);
	if (mistakes == 0)
		r->no_memory |= vec_push(settings, setting) < 0;
	sbuf_release(&err);
}

static LIST_READER(read_number)
{
	struct sv text;
	const char *variable = sv_eq(sv_of(key->name), SV("rate")) ? "DD_TRACE_SAMPLE_RATE" : "DD_TRACE_RATE_LIMIT";
	if (list_read_text(r, key, value, &text))
		add_setting(r, key, value, field, variable, text);
}

/* JSON as text, or the same in YAML. */
LIST_READER(list_read_rules)
{
	struct sbuf text = {0};
	const char *variable =
		sv_eq(sv_of(key->name), SV("rules")) ? "DD_TRACE_SAMPLING_RULES" : "DD_SPAN_SAMPLING_RULES";
	if (value->kind == YAML_SCALAR && value->quoted) {
		sbuf_addsv(&text, value->text);
	} else if (value->kind == YAML_SEQUENCE) {
		add_json(&text, value);
	} else {
		list_expected(r, key, value);
		return;
	}
	r->no_memory |= text.failed;
	if (!text.failed)
		add_setting(r, key, value, field, variable, sbuf_sv(&text));
	sbuf_release(&text);
}

static const struct list_key sampling_keys[] = {
	LIST_KEY("rate", read_number, 0, "a rate from 0 to 1",
		 "DD_TRACE_SAMPLE_RATE: share of the traces that is kept"),
	LIST_KEY("rules", list_read_rules, 0, "a list of rules",
		 "DD_TRACE_SAMPLING_RULES: {service: shop*, sample_rate: 0.5}"),
	LIST_KEY("rate_limit", read_number, 0, "a number", "DD_TRACE_RATE_LIMIT: traces a second"),
	LIST_KEY("span_rules", list_read_rules, 0, "a list of rules",
		 "DD_SPAN_SAMPLING_RULES: {name: charge*, max_per_second: 50}"),
};
const struct list_map list_sampling_map = {"sampling:", sampling_keys, COUNT(sampling_keys)};

LIST_READER(list_read_sampling)
{
	(void)key;
	list_read_map(r, &list_sampling_map, value, field, NULL);
}
