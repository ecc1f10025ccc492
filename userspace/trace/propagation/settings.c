/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/propagation/settings.h"

#include <strings.h>

#include "spanhound/head.h"
#include "trace/propagation/style.h"

static const struct sv style_words[] = {
#define PROPAGATION_STYLE(id, symbol, word) [id] = {word, sizeof(word) - 1},
#include "trace/propagation/propagation.def"
};

/* Which headers each style reads. */
static const uint32_t style_headers[PROPAGATION_STYLE_CNT][PROPAGATION_HEADER_CNT] = {
#define PROPAGATION_HEADER(SYMBOL, style, name) [PROPAGATION_STYLE_##style][PROPAGATION_HEADER_##SYMBOL] = 1,
#include "trace/propagation/propagation.def"
};

struct sv propagation_style_name(unsigned style)
{
	return style < PROPAGATION_STYLE_CNT ? style_words[style] : SV_NULL;
}

static bool is_word(struct sv s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.data, word, s.len) == 0;
}

static void warn_value(struct sbuf *warn, const char *name, struct sv value, const char *wanted)
{
	if (warn)
		sbuf_addf(warn, "%s: '" SV_FMT "' is not %s\n", name, SV_ARG(value), wanted);
}

struct style_list {
	uint8_t style[PROPAGATION_STYLES_MAX];
	unsigned cnt;
};

static int find_style(struct sv word)
{
	for (int i = 0; i < PROPAGATION_STYLE_CNT; i++) {
		if (is_word(word, style_words[i].data))
			return i;
	}
	return -1;
}

/* False: no word of it is known, not even "none". */
static bool parse_styles(const char *name, struct sv text, struct style_list *list, struct sbuf *warn)
{
	bool known = false;
	list->cnt = 0;
	while (text.data) {
		struct sv word = sv_strip(sv_split(&text, ','));
		known |= is_word(word, "none");
		if (!word.len || is_word(word, "none"))
			continue;
		int style = find_style(word);
		known |= style >= 0;
		if (style < 0)
			warn_value(warn, name, word,
				   "a propagation style (datadog, tracecontext, b3, b3multi, baggage, none)");
		else if (list->cnt < PROPAGATION_STYLES_MAX)
			list->style[list->cnt++] = (uint8_t)style;
	}
	return known;
}

static void set_extract(struct propagation_settings *s, const struct style_list *list)
{
	s->extract_cnt = 0;
	s->headers = 0;
	for (unsigned i = 0; i < list->cnt; i++) {
		s->extract[s->extract_cnt++] = list->style[i];
		for (unsigned h = 0; h < PROPAGATION_HEADER_CNT; h++)
			s->headers |= style_headers[list->style[i]][h] << h;
	}
}

static void set_inject(struct propagation_settings *s, const struct style_list *list)
{
	s->inject = 0;
	for (unsigned i = 0; i < list->cnt; i++)
		s->inject |= 1U << list->style[i];
}

static void parse_tag_keys(struct propagation_settings *s, struct sv text)
{
	s->baggage_tag_key_cnt = 0;
	s->baggage_tag_all = false;
	while (text.data) {
		struct sv key = sv_strip(sv_split(&text, ','));
		bool known = !key.len || s->baggage_tag_key_cnt == PROPAGATION_BAGGAGE_KEYS_MAX;
		for (unsigned i = 0; i < s->baggage_tag_key_cnt; i++)
			known |= sv_eq(s->baggage_tag_keys[i], key);
		s->baggage_tag_all |= sv_eq(key, SV("*"));
		if (!known)
			s->baggage_tag_keys[s->baggage_tag_key_cnt++] = key;
	}
}

void propagation_settings_init(struct propagation_settings *s)
{
	static const struct style_list defaults = {
		{PROPAGATION_STYLE_datadog, PROPAGATION_STYLE_tracecontext, PROPAGATION_STYLE_baggage}, 3};
	*s = (struct propagation_settings){.trace_id_128 = true, .tags_max = 512};
	set_extract(s, &defaults);
	set_inject(s, &defaults);
	parse_tag_keys(s, SV("user.id,account.id,session.id"));
}

static bool as_bool(struct sv v)
{
	return is_word(v, "true") || is_word(v, "1");
}

/* The setting of one direction, of both, or OpenTelemetry's, which counts only if it names something known. */
static bool read_styles(const char *name, propagation_getenv get, void *arg, struct style_list *list, struct sbuf *warn)
{
	const char *const names[] = {name, "DD_TRACE_PROPAGATION_STYLE"};
	for (unsigned i = 0; i < 2; i++) {
		struct sv v = get(arg, names[i]);
		if (v.data) {
			parse_styles(names[i], v, list, warn);
			return true;
		}
	}
	struct sv v = get(arg, "OTEL_PROPAGATORS");
	return v.data && parse_styles("OTEL_PROPAGATORS", v, list, warn);
}

void propagation_settings_read(struct propagation_settings *s, propagation_getenv get, void *arg, struct sbuf *warn)
{
	propagation_settings_init(s);
	const char *extract = "DD_TRACE_PROPAGATION_STYLE_EXTRACT", *inject = "DD_TRACE_PROPAGATION_STYLE_INJECT";
	struct style_list list;
	if (read_styles(extract, get, arg, &list, warn))
		set_extract(s, &list);
	/* A mistake in what both read is said once. */
	bool shared = !get(arg, extract).data && !get(arg, inject).data;
	if (read_styles(inject, get, arg, &list, shared ? NULL : warn))
		set_inject(s, &list);
	struct sv v = get(arg, "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT");
	if (is_word(v, "restart"))
		s->behavior = PROPAGATION_RESTART;
	else if (is_word(v, "ignore"))
		s->behavior = PROPAGATION_IGNORE;
	else if (v.len && !is_word(v, "continue"))
		warn_value(warn, "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT", v, "continue, restart or ignore");
	if (s->behavior == PROPAGATION_IGNORE)
		set_extract(s, &(struct style_list){.cnt = 0});
	s->extract_first = as_bool(get(arg, "DD_TRACE_PROPAGATION_EXTRACT_FIRST"));
	v = get(arg, "DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED");
	s->trace_id_128 = !v.data || as_bool(v);
	v = get(arg, "DD_TRACE_BAGGAGE_TAG_KEYS");
	if (v.data)
		parse_tag_keys(s, v);
	v = get(arg, "DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH");
	struct lenient_int n;
	if (v.data && lenient_int(v, 10, &n))
		s->tags_max = n.negative ? 0 : (uint32_t)lenient_priority(&n);
	else if (v.data)
		warn_value(warn, "DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH", v, "a number");
}

uint16_t propagation_reads(const struct propagation_settings *s)
{
	static const uint16_t style_of[PROPAGATION_STYLE_CNT] = {[PROPAGATION_STYLE_datadog] = SH_STYLE_DATADOG,
								 [PROPAGATION_STYLE_b3multi] = SH_STYLE_B3MULTI,
								 [PROPAGATION_STYLE_b3] = SH_STYLE_B3,
								 [PROPAGATION_STYLE_tracecontext] =
									 SH_STYLE_TRACECONTEXT};
	/* "First" is the first of the list, whatever it is. */
	unsigned cnt = s->extract_first && s->extract_cnt ? 1 : s->extract_cnt, order = 0, seen = 0;
	if (s->behavior != PROPAGATION_CONTINUE)
		return 0;
	for (unsigned i = 0, shift = 0; i < cnt; i++) {
		unsigned style = style_of[s->extract[i]];
		if (seen & style || !style)
			continue;
		seen |= style;
		order |= style << shift;
		shift += 4;
	}
	return (uint16_t)order;
}
