/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace/tags.h"

static struct tag dd_tags[] = {{SV("team"), SV("core")}, {SV("env"), SV("from-tags")}, {SV("region"), SV("eu")}};
static struct process_info shop = {
	.refs = 1,
	.pid = 4242,
	.ns_pid = 7,
	.service = SV("shop"),
	.env = SV("prod"),
	.version = SV("1.2.3"),
	.language = SV("cpp"),
	.runtime_id = SV("6f9619ff-8b86-4011-b42d-00c04fc964ff"),
	.tags = dd_tags,
	.tag_cnt = 3,
};
static struct process_info bare = {.refs = 1, .pid = 4242, .service = SV("bare")};

/* The value of a meta tag, or NULL; fails when there are two. */
static const char *meta(struct tags *t, const char *key)
{
	const char *found = NULL;
	vec_foreach (m, &t->meta) {
		if (!sv_eq(m->key, sv_of(key)))
			continue;
		assert_null(found);
		found = m->value.data;
	}
	return found;
}

static double metric(struct tags *t, const char *key)
{
	double found = -1;
	vec_foreach (m, &t->metrics) {
		if (!sv_eq(m->key, sv_of(key)))
			continue;
		assert_true(found == -1);
		found = m->value;
	}
	return found;
}

static void placement(void **state)
{
	(void)state;
	struct span spans[] = {
		{.span_id = 3, .parent_id = 2, .name = SV("leaf")},
		{.span_id = 4, .parent_id = 2, .name = SV("other"), .service = SV("db")},
		{.span_id = 5, .parent_id = 4, .name = SV("below"), .service = SV("db")},
		{.span_id = 6, .parent_id = 4, .name = SV("back")},
		{.span_id = 2, .parent_id = 0, .name = SV("root"), .local_root = 1},
	};
	struct chunk c = {
		.trace_hi = 0x6b00c44a00000000, .trace_lo = 1, .process = &shop, .spans = spans, .span_cnt = 5};
	struct tags t = {0};
	tags_start(&t, &c);
	assert_int_equal(t.head, 4);

	tags_of(&t, 4);
	assert_string_equal(meta(&t, "_dd.p.tid"), "6b00c44a00000000");
	assert_string_equal(meta(&t, "_dd.p.dm"), "-0");
	assert_string_equal(meta(&t, "language"), "cpp");
	assert_string_equal(meta(&t, "runtime-id"), "6f9619ff-8b86-4011-b42d-00c04fc964ff");
	assert_string_equal(meta(&t, "env"), "prod");
	assert_string_equal(meta(&t, "version"), "1.2.3");
	assert_string_equal(meta(&t, "team"), "core");
	assert_string_equal(meta(&t, "region"), "eu");
	assert_true(metric(&t, "_sampling_priority_v1") == 1);
	assert_true(metric(&t, "process_id") == 7);
	assert_true(metric(&t, "_dd.top_level") == 1);
	assert_int_equal(t.meta.cnt, 8);
	assert_int_equal(t.metrics.cnt, 3);

	tags_of(&t, 0);
	assert_int_equal(t.meta.cnt, 4); /* team region env version */
	assert_int_equal(t.metrics.cnt, 0);

	tags_of(&t, 1);
	assert_string_equal(meta(&t, "_dd.base_service"), "shop");
	assert_string_equal(meta(&t, "_dd.svc_src"), "m");
	assert_null(meta(&t, "version"));
	assert_null(meta(&t, "peer.service"));
	assert_true(metric(&t, "_dd.top_level") == 1);
	tags_of(&t, 2);
	assert_true(metric(&t, "_dd.top_level") == -1);
	tags_of(&t, 3);
	assert_true(metric(&t, "_dd.top_level") == 1);
	assert_null(meta(&t, "_dd.base_service"));
	assert_false(t.failed);
	tags_release(&t);
}

/* DD_SERVICE=shop, DD_SERVICE_MAPPING=shop:cart. */
static void mapped_service(void **state)
{
	(void)state;
	struct process_info cart = {.refs = 1, .service = SV("cart"), .base_service = SV("shop")};
	struct span spans[] = {{.span_id = 1, .local_root = 1, .name = SV("a")},
			       {.span_id = 2, .parent_id = 1, .name = SV("b"), .service = SV("CART")},
			       {.span_id = 3, .parent_id = 1, .name = SV("c"), .service = SV("db")},
			       {.span_id = 4, .parent_id = 1, .name = SV("d"), .service = SV("Shop")}};
	static const char *const sources[] = {"opt.service_mapping", "opt.service_mapping", "m", NULL};
	struct chunk c = {.trace_lo = 1, .process = &cart, .spans = spans, .span_cnt = 4};
	struct tags t = {0};
	tags_start(&t, &c);
	for (uint32_t i = 0; i < 4; i++) {
		tags_of(&t, i);
		if (sources[i]) {
			assert_string_equal(meta(&t, "_dd.base_service"), "shop");
			assert_string_equal(meta(&t, "_dd.svc_src"), sources[i]);
		} else {
			assert_null(meta(&t, "_dd.base_service"));
			assert_null(meta(&t, "_dd.svc_src"));
		}
	}
	tags_release(&t);
}

static void nothing_is_known(void **state)
{
	(void)state;
	struct span spans[] = {{.span_id = 3, .parent_id = 2}, {.span_id = 4, .parent_id = 3}};
	struct chunk c = {.trace_lo = 1, .process = &bare, .spans = spans, .span_cnt = 2, .partial = 1};
	struct tags t = {0};
	tags_start(&t, &c);
	/* No local root: the first span is the head, and no place for what a root carries. */
	assert_int_equal(t.head, 0);
	tags_of(&t, 0);
	assert_int_equal(t.meta.cnt, 1);
	assert_string_equal(meta(&t, "_dd.p.dm"), "-0");
	assert_int_equal(t.metrics.cnt, 1);
	tags_of(&t, 1);
	assert_int_equal(t.meta.cnt, 0);
	tags_release(&t);
}

static void several_roots(void **state)
{
	(void)state;
	struct span spans[] = {{.span_id = 3, .parent_id = 99, .local_root = 1},
			       {.span_id = 4, .parent_id = 3},
			       {.span_id = 5, .parent_id = 99, .local_root = 1}};
	struct chunk c = {.trace_lo = 1, .process = &bare, .spans = spans, .span_cnt = 3};
	struct tags t = {0};
	tags_start(&t, &c);
	assert_int_equal(t.head, 2);
	tags_of(&t, 0);
	assert_true(metric(&t, "process_id") == 4242);
	assert_true(metric(&t, "_dd.top_level") == 1);
	assert_true(metric(&t, "_sampling_priority_v1") == -1);
	tags_of(&t, 2);
	assert_true(metric(&t, "process_id") == 4242);
	assert_true(metric(&t, "_sampling_priority_v1") == 1);
	tags_release(&t);
}

static void most_specific_wins(void **state)
{
	(void)state;
	static const struct tag shared[] = {{SV("team"), SV("function")}, {SV("code.function"), SV("f")}};
	struct tag own[] = {{SV("code.function"), SV("own")}, {SV("env"), SV("mine")}, {SV("runtime-id"), SV("fake")}};
	struct metric metrics[] = {{SV("n"), 1}, {SV("n"), 2}, {SV("process_id"), 3}};
	struct span s = {.span_id = 3,
			 .local_root = 1,
			 .service = SV("SHOP"),
			 .shared_tags = shared,
			 .shared_tag_cnt = 2,
			 .tags = own,
			 .tag_cnt = 3,
			 .metrics = metrics,
			 .metric_cnt = 3};
	struct chunk c = {.trace_lo = 1, .process = &shop, .spans = &s, .span_cnt = 1};
	struct tags t = {0};
	tags_start(&t, &c);
	tags_of(&t, 0);
	assert_string_equal(meta(&t, "team"), "function");
	assert_string_equal(meta(&t, "code.function"), "own");
	assert_string_equal(meta(&t, "env"), "mine");
	assert_string_equal(meta(&t, "runtime-id"), "6f9619ff-8b86-4011-b42d-00c04fc964ff");
	assert_true(metric(&t, "n") == 2);
	assert_true(metric(&t, "process_id") == 7);
	/* Case does not make another service. */
	assert_null(meta(&t, "_dd.base_service"));
	assert_string_equal(meta(&t, "version"), "1.2.3");
	tags_release(&t);
}

/* What spans of one function share is put together once; whatever comes between, each span has its own. */
static void shared_by_many(void **state)
{
	(void)state;
	static const struct tag one[] = {{SV("component"), SV("one")}}, two[] = {{SV("component"), SV("two")}};
	struct tag over[] = {{SV("team"), SV("mine")}}, order[] = {{SV("manual.keep"), SV("1")}};
	struct span spans[] = {
		{.span_id = 1, .shared_tags = one, .shared_tag_cnt = 1},
		{.span_id = 2, .shared_tags = one, .shared_tag_cnt = 1},
		{.span_id = 3, .shared_tags = one, .shared_tag_cnt = 1, .tags = over, .tag_cnt = 1},
		{.span_id = 4, .shared_tags = one, .shared_tag_cnt = 1},
		{.span_id = 5, .shared_tags = one, .shared_tag_cnt = 1, .service = SV("db")},
		{.span_id = 6, .shared_tags = one, .shared_tag_cnt = 1},
		{.span_id = 7, .shared_tags = two, .shared_tag_cnt = 1},
		{.span_id = 8, .shared_tags = two, .tags = order, .tag_cnt = 1},
		{.span_id = 9, .shared_tags = two, .shared_tag_cnt = 1},
	};
	struct chunk c = {.trace_lo = 1, .process = &shop, .spans = spans, .span_cnt = 9, .manual = 1};
	struct tags t = {0};
	tags_start(&t, &c);
	uint32_t ids[9];
	for (uint32_t i = 0; i < 9; i++) {
		tags_of(&t, i);
		ids[i] = t.common.id;
		const char *component = meta(&t, "component");
		if (spans[i].shared_tag_cnt)
			assert_ptr_equal(component, spans[i].shared_tags[0].value.data);
		else
			assert_null(component);
		assert_string_equal(meta(&t, "team"), i == 2 ? "mine" : "core");
		assert_string_equal(meta(&t, "env"), "prod");
		assert_int_equal(meta(&t, "version") == NULL, i == 4);
		assert_null(meta(&t, "manual.keep"));
		size_t sz = 0;
		vec_foreach (m, &t.meta)
			sz += m->key.len + m->value.len;
		assert_true(sz <= t.meta_sz);
	}
	/* One id is one set of tags. */
	assert_true(ids[0] && ids[0] == ids[1]);
	assert_int_equal(ids[2], 0);
	assert_true(ids[3] && ids[3] != ids[0]);
	assert_true(ids[4] && ids[4] != ids[3]);
	assert_true(ids[5] && ids[5] != ids[4] && ids[5] != ids[0]);
	assert_true(ids[6] != ids[5] && ids[6]);
	assert_true(ids[8] && ids[8] != ids[6]);
	tags_start(&t, &c);
	tags_of(&t, 0);
	for (int i = 0; i < 9; i++)
		assert_int_not_equal(t.common.id, ids[i]);
	tags_release(&t);
}

static void presented_as(void **state)
{
	(void)state;
	struct span s = {.name = SV("n")};
	struct chunk c = {.process = &shop};
	assert_true(sv_eq(span_service(&c, &s), SV("shop")));
	assert_true(sv_eq(span_resource(&s), SV("n")));
	s.service = SV("x");
	s.resource = SV("r");
	assert_true(sv_eq(span_service(&c, &s), SV("x")));
	assert_true(sv_eq(span_resource(&s), SV("r")));
}

static bool has_metric(struct tags *t, const char *key)
{
	vec_foreach (m, &t->metrics)
		if (sv_eq(m->key, sv_of(key)))
			return true;
	return false;
}

static void start_of(struct tags *t, const struct chunk *c, uint32_t i)
{
	tags_start(t, c);
	tags_of(t, i);
}

static void decision(void **state)
{
	(void)state;
	static const struct tag upstream[] = {{SV("_dd.p.usr.id"), SV("dTE=")}, {SV("_dd.p.ksr"), SV("0.25")}};
	struct span spans[] = {{.span_id = 3, .parent_id = 2}, {.span_id = 2, .local_root = 1}};
	struct chunk c = {.trace_lo = 1,
			  .process = &bare,
			  .spans = spans,
			  .span_cnt = 2,
			  .decided = DECIDED_HERE,
			  .priority = PRIORITY_USER_DROP,
			  .mechanism = MECHANISM_RULE,
			  .rates = RATE_RULE | RATE_LIMIT,
			  .rule_rate = 0.3333335,
			  .limit_rate = 0.5,
			  .origin = SV("synthetics")};
	struct tags t = {0};
	start_of(&t, &c, 1);
	assert_true(has_metric(&t, "_sampling_priority_v1") && metric(&t, "_sampling_priority_v1") == -1);
	assert_string_equal(meta(&t, "_dd.p.dm"), "-3");
	assert_string_equal(meta(&t, "_dd.p.ksr"), "0.333334");
	assert_string_equal(meta(&t, "_dd.origin"), "synthetics");
	assert_true(metric(&t, "_dd.rule_psr") == 0.3333335);
	assert_true(metric(&t, "_dd.limit_psr") == 0.5);
	assert_false(has_metric(&t, "_dd.agent_psr"));
	tags_of(&t, 0);
	assert_null(meta(&t, "_dd.origin"));
	assert_null(meta(&t, "_dd.p.dm"));
	assert_false(has_metric(&t, "_dd.rule_psr"));

	/* Extracted: nothing but what came, each at the head, and no rate of ours. */
	c.decided = DECIDED_UPSTREAM;
	c.priority = PRIORITY_USER_KEEP;
	c.mechanism = MECHANISM_UNSAID;
	c.rates = 0;
	c.propagated = upstream;
	c.propagated_cnt = 2;
	start_of(&t, &c, 1);
	assert_true(metric(&t, "_sampling_priority_v1") == 2);
	assert_null(meta(&t, "_dd.p.dm"));
	assert_string_equal(meta(&t, "_dd.p.usr.id"), "dTE=");
	assert_string_equal(meta(&t, "_dd.p.ksr"), "0.25");
	/* One that came wins over ours. */
	c.rates = RATE_AGENT;
	c.agent_rate = 0.5;
	start_of(&t, &c, 1);
	assert_string_equal(meta(&t, "_dd.p.ksr"), "0.25");
	assert_true(metric(&t, "_dd.agent_psr") == 0.5);
	/* A piece without its root: the head says the decision, the rates wait for the root. */
	spans[1].local_root = 0;
	start_of(&t, &c, 0);
	assert_true(has_metric(&t, "_sampling_priority_v1"));
	assert_false(has_metric(&t, "_dd.agent_psr"));
	tags_release(&t);
}

static void decision_texts(void **state)
{
	(void)state;
	static const struct {
		double rate;
		const char *text;
	} rates[] = {{1, "1"},	       {0.5, "0.5"},
		     {0, "0"},	       {0.000001, "0.000001"},
		     {1e-7, "0"},      {0.0000005, "0.000001"},
		     {0.1, "0.1"},     {0.123456789, "0.123457"},
		     {0.9999999, "1"}, {2, "1"},
		     {-1, "0"},	       {0.100001, "0.100001"},
		     {0.6, "0.6"}};
	static const struct {
		int mechanism;
		const char *text;
	} mechanisms[] = {{0, "-0"}, {1, "-1"}, {3, "-3"}, {12, "-12"}, {100, "-100"}, {255, "-255"}, {-1, NULL}};
	struct span s = {.span_id = 2, .local_root = 1};
	struct chunk c = {.trace_lo = 1, .process = &bare, .spans = &s, .span_cnt = 1, .decided = DECIDED_HERE};
	struct tags t = {0};
	c.rates = RATE_AGENT;
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		c.agent_rate = rates[i].rate;
		start_of(&t, &c, 0);
		assert_string_equal(meta(&t, "_dd.p.ksr"), rates[i].text);
	}
	for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
		c.mechanism = (int16_t)mechanisms[i].mechanism;
		start_of(&t, &c, 0);
		if (mechanisms[i].text)
			assert_string_equal(meta(&t, "_dd.p.dm"), mechanisms[i].text);
		else
			assert_null(meta(&t, "_dd.p.dm"));
	}
	tags_release(&t);
}

static void orders_are_not_sent(void **state)
{
	(void)state;
	struct tag own[] = {{SV("manual.keep"), SV("true")}, {SV("a"), SV("b")}, {SV("manual.drop"), SV("true")}};
	struct span s = {.span_id = 2, .local_root = 1, .tags = own, .tag_cnt = 3};
	struct chunk c = {.trace_lo = 1, .process = &bare, .spans = &s, .span_cnt = 1, .manual = 1};
	struct tags t = {0};
	start_of(&t, &c, 0);
	assert_null(meta(&t, "manual.keep"));
	assert_null(meta(&t, "manual.drop"));
	assert_string_equal(meta(&t, "a"), "b");
	tags_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(placement),	      cmocka_unit_test(mapped_service),
		cmocka_unit_test(nothing_is_known),   cmocka_unit_test(several_roots),
		cmocka_unit_test(most_specific_wins), cmocka_unit_test(shared_by_many),
		cmocka_unit_test(presented_as),	      cmocka_unit_test(decision),
		cmocka_unit_test(decision_texts),     cmocka_unit_test(orders_are_not_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
