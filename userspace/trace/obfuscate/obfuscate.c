/* SPDX-License-Identifier: Apache-2.0 */
/* Which values of a span are obfuscated, by its type: pkg/trace/agent/obfuscate.go. */
#include "trace/obfuscate/obfuscate.h"

#include <errno.h>
#include <stdio.h>

#include "trace/annex.h"

struct work {
	struct chunk *chunk;
	struct span *span;
	const struct agent_info *info; /* NULL: defaults */
	struct sbuf *text;
	bool failed;
};

/* An option of the Agent's; what an Agent does that said nothing about it. */
#define OPTION(w, name, fallback) ((w)->info && (w)->info->obfuscation.said ? (w)->info->obfuscation.name : (fallback))

static struct tag *tag_find(struct work *w, struct sv key)
{
	for (uint32_t i = 0; i < w->span->tag_cnt; i++)
		if (sv_eq(w->span->tags[i].key, key))
			return &w->span->tags[i];
	return NULL;
}

/* What was built in w->text takes the place of *value. */
static void take_text(struct work *w, struct sv *value)
{
	struct sv made = w->text->failed ? SV("?") : w->text->len ? sbuf_sv(w->text) : SV("");
	w->failed |= w->text->failed;
	if (!sv_eq(made, *value)) {
		*value = arena_dup(&w->chunk->arena, made);
		if (!value->data) {
			*value = SV("?");
			w->failed = true;
		}
	}
	sbuf_reset(w->text);
}

/* --- SQL ---------------------------------------------------------------------------------------------------------- */

static void sql_value(struct work *w, struct sv *value)
{
	int r = obfuscate_sql(w->text, *value);
	if (r == 0) {
		take_text(w, value);
		return;
	}
	w->failed |= r == -ENOMEM;
	sbuf_reset(w->text);
	*value = OBFUSCATE_SQL_FAILED;
}

static void obfuscate_sql_span(struct work *w)
{
	static const struct sv keys[] = {SV("sql.query"), SV("db.statement"), SV("db.query.text")};
	struct sv raw = w->span->resource;
	if (raw.len)
		sql_value(w, &w->span->resource);
	for (size_t i = 0; i < 3; i++) {
		struct tag *t = tag_find(w, keys[i]);
		if (!t || t->value.len == 0)
			continue;
		if (sv_eq(t->value, raw))
			t->value = w->span->resource;
		else
			sql_value(w, &t->value);
	}
}

/* --- others ------------------------------------------------------------------------------------------------------- */

static void obfuscate_redis_span(struct work *w)
{
	bool valkey = sv_eq(w->span->type, SV("valkey"));
	if (w->span->resource.len) {
		obfuscate_redis_resource(w->text, w->span->resource);
		take_text(w, &w->span->resource);
	}
	if (!(valkey ? OPTION(w, valkey, true) : OPTION(w, redis, true)))
		return;
	struct tag *t = tag_find(w, valkey ? SV("valkey.raw_command") : SV("redis.raw_command"));
	if (!t || t->value.len == 0)
		return;
	bool remove = valkey ? OPTION(w, valkey_remove_all_args, false) : OPTION(w, redis_remove_all_args, false);
	if (remove)
		obfuscate_redis_remove_args(w->text, t->value);
	else
		obfuscate_redis_command(w->text, t->value);
	take_text(w, &t->value);
}

static void obfuscate_memcached_span(struct work *w)
{
	struct tag *t = tag_find(w, SV("memcached.command"));
	if (!t || !OPTION(w, memcached, true))
		return;
	obfuscate_memcached(w->text, t->value, OPTION(w, memcached_keep_command, false));
	take_text(w, &t->value);
}

static void obfuscate_http_span(struct work *w)
{
	struct tag *t = tag_find(w, SV("http.url"));
	if (!t || t->value.len == 0)
		return;
	bool query = OPTION(w, http_remove_query, false), digits = OPTION(w, http_remove_path_digits, false);
	if (!query && !digits && obfuscate_url_is_plain(t->value))
		return;
	obfuscate_url(w->text, t->value, query, digits);
	take_text(w, &t->value);
}

static void json_value(struct work *w, struct sv key, const struct agent_list *keep)
{
	struct tag *t = tag_find(w, key);
	if (!t || t->value.len == 0)
		return;
	obfuscate_json(w->text, t->value, keep);
	take_text(w, &t->value);
}

static void obfuscate_mongodb_span(struct work *w)
{
	if (OPTION(w, mongodb, true))
		json_value(w, SV("mongodb.query"), w->info ? &w->info->obfuscation.mongodb_keep : NULL);
}

static void obfuscate_elasticsearch_span(struct work *w)
{
	if (OPTION(w, elasticsearch, true))
		json_value(w, SV("elasticsearch.body"), w->info ? &w->info->obfuscation.elasticsearch_keep : NULL);
	if (OPTION(w, opensearch, true))
		json_value(w, SV("opensearch.body"), w->info ? &w->info->obfuscation.opensearch_keep : NULL);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static const struct {
	struct sv type;
	void (*span)(struct work *w);
} obfuscators[] = {
#define OBFUSCATOR(id, type, function) {SV(type), obfuscate_##function##_span},
#include "trace/obfuscate/obfuscate.def"
#undef OBFUSCATOR
};

/* NULL: none. */
static void (*obfuscator_of(struct sv type))(struct work *w)
{
	for (size_t i = 0; type.len && i < sizeof(obfuscators) / sizeof(obfuscators[0]); i++)
		if (sv_eq(type, obfuscators[i].type))
			return obfuscators[i].span;
	return NULL;
}

bool obfuscate_touches(struct sv type)
{
	return obfuscator_of(type) != NULL;
}

static void cards(struct work *w)
{
	bool luhn = OPTION(w, credit_cards_luhn, false);
	for (uint32_t i = 0; i < w->span->tag_cnt; i++) {
		struct tag *t = &w->span->tags[i];
		if (t->value.len < OBFUSCATE_CARD_MIN || t->value.data[0] > '9')
			continue;
		if (!obfuscate_is_card(t->value, luhn) || !obfuscate_card_key(t->key))
			continue;
		if (!w->info || !agent_list_has(&w->info->obfuscation.credit_cards_keep, t->key))
			t->value = SV("?");
	}
}

static bool is_event_card(const struct event_attribute *v, bool luhn)
{
	char digits[32];
	struct sv text = v->text;
	if (v->type == EVENT_BOOL)
		return false;
	if (v->type == EVENT_INT)
		text = (struct sv){digits, (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)v->integer)};
	if (v->type == EVENT_DOUBLE)
		text = (struct sv){digits, (size_t)snprintf(digits, sizeof(digits), "%.17g", v->number)};
	return obfuscate_is_card(text, luhn) && obfuscate_card_key(v->key);
}

/* Of events, numbers too; links are not looked at. */
static void cards_of_events(struct work *w, struct span_annex *a)
{
	bool luhn = OPTION(w, credit_cards_luhn, false);
	for (uint16_t i = 0; i < a->event_cnt; i++) {
		for (uint16_t n = 0; n < a->events[i].attribute_cnt; n++) {
			struct event_attribute *v = &a->events[i].attributes[n];
			if (!is_event_card(v, luhn))
				continue;
			if (!w->info || !agent_list_has(&w->info->obfuscation.credit_cards_keep, v->key))
				*v = (struct event_attribute){.key = v->key, .text = SV("?"), .type = EVENT_TEXT};
		}
	}
}

bool obfuscate_span(struct chunk *c, struct span *s, const struct agent_info *info, bool any_card, struct sbuf *scratch)
{
	struct work w = {.chunk = c, .span = s, .info = info, .text = scratch};
	sbuf_reset(scratch);
	if (any_card && OPTION(&w, credit_cards, true)) {
		cards(&w);
		if (s->annex)
			cards_of_events(&w, s->annex);
	}
	void (*obfuscator)(struct work * w) = obfuscator_of(s->type);
	if (obfuscator)
		obfuscator(&w);
	return !w.failed;
}
