/* SPDX-License-Identifier: Apache-2.0 */
/* What is written about sampling by people and Agents: rules, rates, numbers, and the values of statistics that are
 * derived from tags. The first byte chooses the reader, the rest is what it reads. */
#include <stdint.h>
#include <stdlib.h>

#include "trace/sampling/rates.h"
#include "trace/sampling/settings.h"
#include "trace/stats/derive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static struct tag tags[] = {{SV("tier"), SV("gold")}, {SV("http.status_code"), SV("200")}};
static struct metric metrics[] = {{SV("amount"), 42}, {SV("share"), 0.5}};
static struct process_info shop = {.refs = 1, .service = SV("shop"), .env = SV("prod")};
static struct span root = {.name = SV("web.request"),
			   .resource = SV("GET /\xc3\x9c\xff*"),
			   .tags = tags,
			   .tag_cnt = 2,
			   .metrics = metrics,
			   .metric_cnt = 2};
static const struct chunk chunk = {.process = &shop, .spans = &root, .span_cnt = 1};

static void read_rules(struct sv text)
{
	struct sampling_settings s;
	struct sbuf said = {0};
	/* As each of the variables, so that one input tries them all. */
	struct sampling_vars vars = {.rules = text, .span_rules = text, .sample_rate = text, .rate_limit = text};
	int rc = sampling_settings_parse(&s, &vars, &said);
	check(rc >= 0 && (rc > 0) == (said.len > 0));
	check(s.rules.cnt <= RULES_MAX + 1 && s.span_rules.cnt <= RULES_MAX);
	for (uint32_t i = 0; i < s.rules.cnt; i++) {
		const struct sampling_rule *r = &s.rules.items[i];
		check(r->rate >= 0 && r->rate <= 1);
		sampling_rule_matches(r, &chunk, &root);
		sampling_rule_matches(r, &chunk, NULL);
	}
	sampling_settings_release(&s);
	sbuf_release(&said);
}

static void read_rates(struct sv text)
{
	struct rates *r = NULL;
	struct sbuf err = {0}, key = {0};
	int rc = rates_parse(&r, text, &err);
	check((rc < 0) == (err.len > 0) && (rc > 0) == (r != NULL));
	if (r) {
		check(r->items.cnt <= RATES_MAX);
		vec_foreach (x, &r->items)
			check(x->rate >= 0 && x->rate <= 1);
		rates_find(r, text, text, &key);
	}
	rates_free(r);
	sbuf_release(&err);
	sbuf_release(&key);
}

/* The pattern before the first newline on the text behind it. */
static void match(struct sv text)
{
	const char *end = text.len ? memchr(text.data, '\n', text.len) : NULL;
	struct sv head = {text.data, end ? (size_t)(end - text.data) : text.len};
	struct sv rest = {head.data + head.len + (end != NULL), text.len - head.len - (end != NULL)};
	struct arena arena = {0};
	struct pattern p;
	if (pattern_init(&p, &arena, head) == 0) {
		pattern_match(&p, rest);
		/* Without wildcards a text matches itself. */
		check(!p.literal || pattern_match(&p, head));
	}
	arena_release(&arena);
}

static void derive(struct sv text)
{
	char room[11];
	struct sbuf once = {0}, twice = {0};
	struct sv code = derive_grpc_code(text, room);
	check(code.len <= 10);
	derive_peer_value(&once, text);
	derive_peer_value(&twice, sbuf_sv(&once));
	check(once.len <= text.len + 19 * (text.len / 2 + 1));
	sbuf_release(&once);
	sbuf_release(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(struct sv) = {read_rules, read_rates, match, derive};
	if (!size)
		return 0;
	/* A copy of its own: reading one byte behind it is seen. */
	char *bytes = malloc(size);
	memcpy(bytes, data + 1, size - 1);
	readers[data[0] % 4]((struct sv){bytes, size - 1});
	free(bytes);
	return 0;
}
