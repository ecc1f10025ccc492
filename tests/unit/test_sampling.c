/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "trace/sampling/limiter.h"
#include "trace/sampling/rates.h"
#include "trace/sampling/rules.h"
#include "trace/sampling/settings.h"
#include "trace/sampling/threshold.h"

/* --- the hash ----------------------------------------------------------------------------------------------------- */

static void hash_vectors(void **state)
{
	(void)state;
	static const struct {
		uint64_t id, hash;
		int at_10, at_50, at_90;
	} vectors[] = {
		{1, 1111111111111111111u, 1, 1, 1},
		{2, 2222222222222222222u, 0, 1, 1},
		{10, 11111111111111111110u, 0, 0, 1},
		{1234567890123456789u, 7569578035969629267u, 0, 1, 1},
		{18446744073709551615u, 17335632962598440505u, 0, 0, 0},
		{15352856648520921629u, 1513377966141112715u, 1, 1, 1},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		uint64_t id = vectors[i].id;
		assert_true(sh_sampling_hash(id) == vectors[i].hash);
		assert_int_equal(sh_sampling_keeps(id, sampling_threshold(0.1)), vectors[i].at_10);
		assert_int_equal(sh_sampling_keeps(id, sampling_threshold(0.5)), vectors[i].at_50);
		assert_int_equal(sh_sampling_keeps(id, sampling_threshold(0.9)), vectors[i].at_90);
		assert_true(sh_sampling_keeps(id, sampling_threshold(1)));
		assert_false(sh_sampling_keeps(id, sampling_threshold(0)));
	}
	assert_true(sampling_threshold(NAN) == SH_SAMPLING_NONE);
	assert_true(sampling_threshold(-1) == SH_SAMPLING_NONE);
	assert_true(sampling_threshold(7) == SH_SAMPLING_ALL);
	assert_true(sampling_threshold(nextafter(1, 0)) < SH_SAMPLING_ALL);
	/* Id 0 is no id; its hash is 0. */
	assert_false(sh_sampling_keeps(0, sampling_threshold(0)));
}

/* The formula as the tracers write it, in numbers wide enough to be exact, beside what both halves of us compute. */
static bool keeps_by_the_book(uint64_t id, double rate)
{
	uint64_t hash = (uint64_t)((unsigned __int128)id * 1111111111111111111u % ((unsigned __int128)1 << 64));
	return rate >= 1 || (long double)hash <= (long double)rate * 18446744073709551616.0L;
}

static void hash_of_ten_million(void **state)
{
	(void)state;
	static const double rates[] = {0.0001, 0.01, 0.1, 1.0 / 3, 0.5, 0.9, 0.999999};
	uint64_t x = 42, kept[7] = {0};
	uint64_t thresholds[7];
	for (int r = 0; r < 7; r++)
		thresholds[r] = sampling_threshold(rates[r]);
	for (int i = 0; i < 10000000; i++) {
		uint64_t z = x += 0x9e3779b97f4a7c15ULL;
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
		z ^= z >> 31;
		int r = i % 7;
		int keep = sh_sampling_keeps(z, thresholds[r]);
		if (keep != keeps_by_the_book(z, rates[r]))
			fail_msg("id %llu at %g", (unsigned long long)z, rates[r]);
		kept[r] += (uint64_t)keep;
	}
	for (int r = 0; r < 7; r++) {
		double n = 10000000 / 7.0, mean = n * rates[r], sigma = sqrt(mean * (1 - rates[r]));
		assert_true(fabs((double)kept[r] - mean) < 6 * sigma + 2);
	}
}

/* --- patterns ----------------------------------------------------------------------------------------------------- */

static bool matches(const char *pattern, const char *text)
{
	struct arena arena = {0};
	struct pattern p;
	assert_int_equal(pattern_init(&p, &arena, sv_of(pattern)), 0);
	bool r = pattern_match(&p, sv_of(text));
	arena_release(&arena);
	return r;
}

static bool matches_number(const char *pattern, double value)
{
	struct arena arena = {0};
	struct pattern p;
	assert_int_equal(pattern_init(&p, &arena, sv_of(pattern)), 0);
	bool r = pattern_match_number(&p, value);
	arena_release(&arena);
	return r;
}

static void patterns(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *text;
		bool match;
	} cases[] = {
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "any thing", true},
		{"?", "", false},
		{"?", "a", true},
		{"?", "\xc3\xbc", true},
		{"??", "\xc3\xbc", false},
		{"abc", "ABC", true},
		{"ABC", "abc", true},
		{"abc", "abcd", false},
		{"abc*", "ABCd", true},
		{"*c", "abc", true},
		{"*c", "abcd", false},
		{"a*b*c", "aXXbYYc", true},
		{"a*b*c", "aXXcYYb", false},
		{"[abc]", "a", false},
		{"[abc]", "[ABC]", true},
		{"a\\b", "a\\b", true},
		{"\\*", "\\xx", true},
		{"\\*", "*", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"?*", "", false},
		{"*?*", "x", true},
		{"a**b", "ab", true},
		{"*ab", "aab", true},
		{"*aab", "aaab", true},
		{"\xc3\x9c*",
		 "\xc3\xbc"
		 "ber",
		 true},
		{"*\xc3\xbc", "xx\xc3\x9c", true},
		{"web.request", "web.request", true},
		{"web.request", "webxrequest", false},
		{"flask.*", "FLASK.request", true},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (matches(cases[i].pattern, cases[i].text) != cases[i].match)
			fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
	assert_true(matches_number("200", 200));
	assert_true(matches_number("2*", 200));
	assert_false(matches_number("2*", 20.5));
	assert_true(matches_number("*", 20.5));
	assert_true(matches_number("-?", -4));
	assert_false(matches_number("*", NAN) != matches_number("*", 0.5));
	assert_false(matches_number("1*", 1e300));
	struct pattern anything = {0};
	assert_true(pattern_match(&anything, SV("x")) && pattern_match_number(&anything, 0.25));
}

static void pattern_bounds(void **state)
{
	(void)state;
	static char text[25000], stars[PATTERN_MAX + 2];
	struct arena arena = {0};
	struct pattern p;
	memset(text, 'a', sizeof(text));
	memset(stars, 'a', sizeof(stars));
	assert_int_equal(pattern_init(&p, &arena, (struct sv){stars, PATTERN_MAX + 1}), -E2BIG);
	/* The worst that fits: each start fails at its end. */
	stars[0] = '*';
	stars[PATTERN_MAX - 1] = 'b';
	assert_int_equal(pattern_init(&p, &arena, (struct sv){stars, PATTERN_MAX}), 0);
	assert_false(pattern_match(&p, (struct sv){text, sizeof(text)}));
	arena_release(&arena);
}

/* --- rules -------------------------------------------------------------------------------------------------------- */

static struct tag root_tags[] = {{SV("tier"), SV("gold")}, {SV("http.status_code"), SV("200")}};
static struct metric root_metrics[] = {{SV("amount"), 42}, {SV("share"), 0.5}};
static const struct tag function_tags[] = {{SV("code.function"), SV("handle")}, {SV("tier"), SV("shadowed")}};
static struct tag dd_tags[] = {{SV("team"), SV("core")}};
static struct process_info shop = {.refs = 1,
				   .pid = 1,
				   .service = SV("shop"),
				   .env = SV("prod"),
				   .version = SV("1.2"),
				   .tags = dd_tags,
				   .tag_cnt = 1};
static struct span root = {.span_id = 2,
			   .name = SV("web.request"),
			   .resource = SV("GET /cart"),
			   .local_root = 1,
			   .tags = root_tags,
			   .tag_cnt = 2,
			   .shared_tags = function_tags,
			   .shared_tag_cnt = 2,
			   .metrics = root_metrics,
			   .metric_cnt = 2};
static const struct chunk chunk = {.trace_lo = 1, .process = &shop, .spans = &root, .span_cnt = 1};

static int parse(struct sampling_rules *rules, enum rules_kind kind, const char *json, struct sbuf *said)
{
	sbuf_reset(said);
	return sampling_rules_parse(rules, kind, sv_of(json), said);
}

static bool rule_matches(const char *json, bool with_root)
{
	struct sampling_rules rules;
	struct sbuf said = {0};
	int rc = parse(&rules, RULES_OF_TRACES, json, &said);
	if (rc || rules.cnt != 1)
		fail_msg("%s: %s", json, sbuf_str(&said));
	bool r = sampling_rule_matches(&rules.items[0], &chunk, with_root ? &root : NULL);
	sampling_rules_release(&rules);
	sbuf_release(&said);
	return r;
}

static void rules_match(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		bool root, partial;
	} cases[] = {
		{"[{\"sample_rate\":1}]", true, true},
		{"[{\"sample_rate\":1,\"service\":null,\"tags\":null}]", true, true},
		{"[{\"sample_rate\":1,\"service\":\"SHOP\"}]", true, true},
		{"[{\"sample_rate\":1,\"service\":\"sho\"}]", false, false},
		{"[{\"sample_rate\":1,\"name\":\"web.*\"}]", true, false},
		{"[{\"sample_rate\":1,\"name\":\"*\",\"resource\":\"*\"}]", true, true},
		{"[{\"sample_rate\":1,\"resource\":\"get /c?rt\"}]", true, false},
		{"[{\"sample_rate\":1,\"resource\":\"GET /\"}]", false, false},
		{"[{\"sample_rate\":1,\"tags\":{\"tier\":\"g*\"}}]", true, false},
		{"[{\"sample_rate\":1,\"tags\":{\"tier\":\"shadowed\"}}]", false, false},
		{"[{\"sample_rate\":1,\"tags\":{\"code.function\":\"handle\"}}]", true, false},
		{"[{\"sample_rate\":1,\"tags\":{\"tier\":\"gold\",\"team\":\"core\"}}]", true, false},
		{"[{\"sample_rate\":1,\"tags\":{\"team\":\"core\",\"env\":\"prod\",\"version\":\"1.?\"}}]", true, true},
		{"[{\"sample_rate\":1,\"tags\":{\"absent\":\"*\"}}]", false, false},
		{"[{\"sample_rate\":1,\"tags\":{\"amount\":\"42\"}}]", true, false},
		{"[{\"sample_rate\":1,\"tags\":{\"amount\":\"4?\"}}]", true, false},
		{"[{\"sample_rate\":1,\"tags\":{\"share\":\"0*\"}}]", false, false},
		{"[{\"sample_rate\":1,\"tags\":{\"share\":\"*\"}}]", true, false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (rule_matches(cases[i].json, true) != cases[i].root)
			fail_msg("%s with a root", cases[i].json);
		if (rule_matches(cases[i].json, false) != cases[i].partial)
			fail_msg("%s without a root", cases[i].json);
	}
}

static void rules_mistakes(void **state)
{
	(void)state;
	static const struct {
		enum rules_kind kind;
		const char *json;
		int rc;
		uint32_t left;
		const char *said;
	} cases[] = {
		{RULES_OF_TRACES, "", 0, 0, ""},
		{RULES_OF_TRACES, " \n", 0, 0, ""},
		{RULES_OF_TRACES, "[]", 0, 0, ""},
		{RULES_OF_TRACES, "[{\"service\":\"a\"}]", 1, 0,
		 "rule 1: 'sample_rate' is missing: the rule is left out"},
		{RULES_OF_SPANS, "[{\"service\":\"a\"}]", 0, 1, ""},
		{RULES_OF_TRACES, "[{\"sample_rate\":\"0.5\"}]", 1, 0,
		 "rule 1: 'sample_rate' must be a number from 0 to 1, not text: the rule is left out"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1.5},{\"sample_rate\":-3}]", 2, 2,
		 "rule 1: 'sample_rate' is 1.5: 1 is taken, a rate is from 0 to 1\n"
		 "rule 2: 'sample_rate' is -3: 0 is taken, a rate is from 0 to 1"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1,\"service\":7,\"tags\":[]}]", 2, 0,
		 "rule 1: 'service' must be text with * and ?, not a number: the rule is left out\n"
		 "rule 1: 'tags' must be an object, not an array: the rule is left out"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1,\"tags\":{\"a\":true}}]", 1, 0,
		 "rule 1: 'a' must be text with * and ?, not true or false: the rule is left out"},
		{RULES_OF_TRACES, "[5,{\"sample_rate\":1}]", 1, 1,
		 "rule 1: must be an object, not a number: it is left out"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1,\"resorce\":\"x\"}]", 1, 1,
		 "rule 1: unknown key 'resorce'; did you mean 'resource'?"},
		{RULES_OF_SPANS, "[{\"resource\":\"x\",\"max_per_second\":-1}]", 2, 0,
		 "rule 1: unknown key 'resource'\n"
		 "rule 1: 'max_per_second' must be a number of 0 or more: the rule is left out"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1,\"provenance\":\"alien\"}]", 1, 1,
		 "rule 1: 'provenance' must be customer, dynamic or local: local is taken"},
		{RULES_OF_TRACES, "{\"sample_rate\":1}", -EINVAL, 0,
		 "a JSON array of rules is expected, [{...}], not an object: there are no rules"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1}", -EINVAL, 0,
		 "line 1, column 18: ']' expected near end of file: there are no rules"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1,\n \"sample_rate\":0}]", -EINVAL, 0,
		 "line 2, column 14: duplicate object key near '\"sample_rate\"': there are no rules"},
		{RULES_OF_TRACES, "[{\"sample_rate\":1}] x", -EINVAL, 0,
		 "line 1, column 21: end of file expected near 'x': there are no rules"},
	};
	struct sbuf said = {0};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sampling_rules rules;
		int rc = parse(&rules, cases[i].kind, cases[i].json, &said);
		assert_string_equal(sbuf_str(&said), cases[i].said);
		assert_int_equal(rc, cases[i].rc);
		assert_int_equal(rules.cnt, cases[i].left);
		sampling_rules_release(&rules);
	}
	sbuf_release(&said);
}

static void rules_order(void **state)
{
	(void)state;
	struct sampling_rules rules;
	struct sbuf said = {0}, many = {0};
	assert_int_equal(parse(&rules, RULES_OF_TRACES,
			       "[{\"sample_rate\":0.1},{\"sample_rate\":0.2,\"provenance\":\"dynamic\"},"
			       "{\"sample_rate\":0.3,\"provenance\":\"customer\"},{\"sample_rate\":0.4},"
			       "{\"sample_rate\":0.5,\"provenance\":\"customer\"},{\"sample_rate\":0.6,\"provenance\":"
			       "\"local\"}]",
			       &said),
			 0);
	static const double want[] = {0.3, 0.5, 0.2, 0.1, 0.4, 0.6, 0.7};
	static const int mechanisms[] = {11, 11, 12, 3, 3, 3, 3};
	assert_int_equal(sampling_rules_add_rate(&rules, 0.7), 0);
	assert_int_equal(rules.cnt, 7);
	for (uint32_t i = 0; i < 7; i++) {
		assert_true(rules.items[i].rate == want[i]);
		assert_int_equal(rules.items[i].mechanism, mechanisms[i]);
	}
	sampling_rules_release(&rules);

	sbuf_addc(&many, '[');
	for (int i = 0; i < RULES_MAX + 44; i++)
		sbuf_adds(&many, i ? ",{\"sample_rate\":1}" : "{\"sample_rate\":1}");
	sbuf_addc(&many, ']');
	assert_int_equal(parse(&rules, RULES_OF_TRACES, many.data, &said), 1);
	assert_string_equal(said.data, "300 rules: those beyond 256 are left out");
	assert_int_equal(rules.cnt, RULES_MAX);
	assert_int_equal(sampling_rules_add_rate(&rules, 0.7), 0);
	sampling_rules_release(&rules);
	sbuf_reset(&many);
	for (int i = 0; i < 100000; i++)
		sbuf_addc(&many, '[');
	assert_int_equal(parse(&rules, RULES_OF_TRACES, many.data, &said), -EINVAL);
	sbuf_release(&many);
	sbuf_release(&said);
}

static void settings(void **state)
{
	(void)state;
	struct sampling_settings s;
	struct sbuf said = {0};
	struct sampling_vars none = {0};
	assert_true(sampling_vars_empty(&none));
	assert_int_equal(sampling_settings_parse(&s, &none, &said), 0);
	assert_int_equal(s.rules.cnt, 0);
	assert_true(s.rate_limit == 100);
	sampling_settings_release(&s);

	struct sampling_vars ours = {.rules = SV("[{\"service\":\"x\",\"sample_rate\":0.25}]"), .rate_limit = SV("-1")};
	struct sampling_vars theirs = {.rules = SV("[]"), .sample_rate = SV("0.5"), .span_rules = SV("[{}]")};
	struct sampling_vars both = sampling_vars_merge(&ours, &theirs);
	assert_int_equal(sampling_settings_parse(&s, &both, &said), 0);
	assert_int_equal(s.rules.cnt, 2);
	assert_true(s.rules.items[0].rate == 0.25 && s.rules.items[1].rate == 0.5);
	assert_true(s.rate_limit == -1);
	assert_int_equal(s.span_rules.cnt, 1);
	sampling_settings_release(&s);

	struct sampling_vars wrong = {
		.rules = SV("[{},{}]"), .sample_rate = SV("50%"), .rate_limit = SV("many"), .span_rules = SV("{}")};
	assert_int_equal(sampling_settings_parse(&s, &wrong, &said), 5);
	assert_string_equal(said.data,
			    "DD_TRACE_SAMPLING_RULES: rule 1: 'sample_rate' is missing: the rule is left out\n"
			    "DD_TRACE_SAMPLING_RULES: rule 2: 'sample_rate' is missing: the rule is left out\n"
			    "DD_SPAN_SAMPLING_RULES: a JSON array of rules is expected, [{...}], not an object: there "
			    "are no rules\n"
			    "DD_TRACE_SAMPLE_RATE: '50%' is not a rate from 0 to 1: ignored\n"
			    "DD_TRACE_RATE_LIMIT: 'many' is not a number of traces a second: ignored");
	assert_true(s.rate_limit == 100);
	sampling_settings_release(&s);
	sbuf_release(&said);
}

/* --- the limiter, as dd-trace-py's behaves -------------------------------------------------------------------------
 */

static void limiter(void **state)
{
	(void)state;
	struct limiter l;
	uint64_t now = 5 * NSEC_PER_SEC;
	static const double shares[] = {1, 1, 2.0 / 3, 0.5, 0.4, 1.0 / 3};
	limiter_init(&l, 2, now);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(limiter_allow(&l, now), i < 2);
		assert_true(fabs(limiter_effective_rate(&l) - shares[i]) < 1e-12);
	}
	/* Half a second later one token is there again. */
	now += NSEC_PER_SEC / 2;
	assert_true(limiter_allow(&l, now));
	assert_false(limiter_allow(&l, now));
	assert_true(fabs(limiter_effective_rate(&l) - 3.0 / 8) < 1e-12);
	/* A new second: averaged with the one before. */
	now += NSEC_PER_SEC / 2;
	assert_true(limiter_allow(&l, now));
	assert_true(fabs(limiter_effective_rate(&l) - (1 + 3.0 / 8) / 2) < 1e-12);
	/* No more than one second's worth is saved up. */
	now += 100 * NSEC_PER_SEC;
	assert_true(limiter_allow(&l, now) && limiter_allow(&l, now));
	assert_false(limiter_allow(&l, now));
	/* A clock that goes back gives nothing and breaks nothing. */
	assert_false(limiter_allow(&l, now - 50 * NSEC_PER_SEC));
	assert_false(limiter_allow(&l, now));

	limiter_init(&l, 0, now);
	assert_false(limiter_allow(&l, now));
	assert_true(limiter_effective_rate(&l) == 0);
	limiter_init(&l, -1, now);
	for (int i = 0; i < 1000; i++)
		assert_true(limiter_allow(&l, now));
	assert_true(limiter_effective_rate(&l) == 1);
}

/* --- the Agent's rates -------------------------------------------------------------------------------------------- */

static void rates(void **state)
{
	(void)state;
	struct rates *r = NULL;
	struct sbuf err = {0}, key = {0};
	/* What Agent 7.85 answered. */
	const char *json = "{\"rate_by_service\":{\"service:,env:\":0.07993197278911565,\"service:cart,env:prod\":0."
			   "23979591836734693,"
			   "\"service:svc,env:prod\":1,\"service:web,env:prod\":0.07993197278911565}}\n";
	assert_int_equal(rates_parse(&r, sv_of(json), &err), 1);
	assert_int_equal(r->items.cnt, 4);
	assert_true(rates_find(r, SV("cart"), SV("prod"), &key)->rate == 0.23979591836734693);
	/* As the Agent writes them. */
	assert_true(rates_find(r, SV("Cart"), SV("PROD"), &key)->rate == 0.23979591836734693);
	assert_true(rates_find(r, SV("svc"), SV("prod"), &key)->rate == 1);
	/* Unlisted: the default. */
	assert_true(rates_find(r, SV("svc"), SV("dev"), &key)->rate == 0.07993197278911565);
	assert_true(rates_find(r, SV("other"), SV(""), &key) == r->standard);
	rates_free(r);

	assert_int_equal(rates_parse(&r, SV("{\"rate_by_service\":{\"service:a,env:\":0}}"), &err), 1);
	assert_true(rates_find(r, SV("a"), SV(""), &key)->rate == 0);
	assert_null(rates_find(r, SV("b"), SV(""), &key));
	rates_free(r);
	assert_int_equal(rates_parse(&r, SV("{\"rate_by_service\":{}}"), &err), 1);
	assert_int_equal(r->items.cnt, 0);
	rates_free(r);
	r = NULL;
	assert_int_equal(rates_parse(&r, SV("{}"), &err), 0);
	assert_null(r);
	/* What is no rate is left out, what is no answer is refused. */
	assert_int_equal(rates_parse(&r,
				     SV("{\"rate_by_service\":{\"service:a,env:\":2,\"service:b,env:\":-0.1,\"x\":1,"
					"\"service:c,env:\":\"1\",\"service:d,env:\":null,\"service:e,env:\":0.5}}"),
				     &err),
			 1);
	assert_int_equal(r->items.cnt, 1);
	assert_int_equal(r->left_out, 5);
	rates_free(r);
	r = NULL;
	static const char *const wrong[] = {
		"", "OK\n", "[]", "5", "{\"rate_by_service\":[]}", "{\"rate_by_service\":{}"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		sbuf_reset(&err);
		assert_int_equal(rates_parse(&r, sv_of(wrong[i]), &err), -EINVAL);
		assert_true(err.len > 0);
		assert_null(r);
	}
	sbuf_release(&err);
	sbuf_release(&key);
}

static void rates_by_the_thousand(void **state)
{
	(void)state;
	struct rates *r = NULL;
	struct sbuf json = {0}, err = {0}, key = {0};
	char name[32];
	sbuf_adds(&json, "{\"rate_by_service\":{");
	for (int i = 0; i < RATES_MAX + 5; i++)
		sbuf_addf(&json, "%s\"service:s%d,env:prod\":%g", i ? "," : "", i, (i % 1000) / 1000.0);
	sbuf_adds(&json, "}}");
	assert_int_equal(rates_parse(&r, sbuf_sv(&json), &err), 1);
	assert_int_equal(r->items.cnt, RATES_MAX);
	assert_int_equal(r->left_out, 5);
	for (int i = 0; i < RATES_MAX; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		assert_true(rates_find(r, sv_of(name), SV("prod"), &key)->rate == (i % 1000) / 1000.0);
	}
	rates_free(r);
	sbuf_release(&json);
	sbuf_release(&err);
	sbuf_release(&key);
}

static void rates_box(void **state)
{
	(void)state;
	struct rates_box box = {0};
	struct sbuf err = {0};
	assert_null(rates_box_take(&box));
	assert_int_equal(rates_box_answer(&box, SV("{\"rate_by_service\":{\"service:a,env:\":0.5}}"), &err), 1);
	/* As before: nothing new is left. One not taken is replaced. */
	assert_int_equal(rates_box_answer(&box, SV("{}"), &err), 0);
	assert_int_equal(rates_box_answer(&box, SV("{\"rate_by_service\":{\"service:a,env:\":0.25}}"), &err), 1);
	/* A refused answer changes nothing. */
	assert_int_equal(rates_box_answer(&box, SV("nonsense"), &err), -EINVAL);
	struct rates *r = rates_box_take(&box);
	assert_true(r->items.data[0].rate == 0.25);
	assert_null(rates_box_take(&box));
	rates_free(r);
	assert_int_equal(rates_box_answer(&box, SV("{\"rate_by_service\":{}}"), &err), 1);
	rates_box_release(&box);
	sbuf_release(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_vectors),
		cmocka_unit_test(hash_of_ten_million),
		cmocka_unit_test(patterns),
		cmocka_unit_test(pattern_bounds),
		cmocka_unit_test(rules_match),
		cmocka_unit_test(rules_mistakes),
		cmocka_unit_test(rules_order),
		cmocka_unit_test(settings),
		cmocka_unit_test(limiter),
		cmocka_unit_test(rates),
		cmocka_unit_test(rates_by_the_thousand),
		cmocka_unit_test(rates_box),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
