/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <math.h>

#include "base/clock.h"
#include "trace/assembly.h"
#include "trace/sampling/sampler.h"
#include "trace/tags.h"
#include "trace/sampling/threshold.h"

#define ROOT   1
#define FAILED 2
/* Kept and dropped at 0.5, see the vectors of test_sampling.c. */
#define KEPT_ID	   1
#define DROPPED_ID 10

static struct process_info shop = {.refs = 1, .pid = 1, .service = SV("shop"), .env = SV("prod")};
static struct chunk_pool *pool;
static struct sbuf said;
static const struct process_info *said_of;

static void hear(void *arg, const struct process_info *process, struct sv lines)
{
	(void)arg;
	sbuf_addsv(&said, lines);
	said_of = process;
}

static int setup(void **state)
{
	(void)state;
	pool = chunk_pool_new(1000);
	return pool ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	chunk_pool_free(pool);
	sbuf_release(&said);
	return 0;
}

static struct sampler *make(const char *rules, const char *limit, const char *span_rules, struct rates_box *box)
{
	struct sampler_options o = {
		.vars = {.rules = sv_of(rules), .rate_limit = sv_of(limit), .span_rules = sv_of(span_rules)},
		.rates = box,
		.mistakes = hear};
	struct sampler *s = sampler_new(&o);
	assert_non_null(s);
	return s;
}

static struct chunk *chunk_of(struct process_info *p, uint64_t trace, unsigned spans, int flags)
{
	struct chunk *c = chunk_pool_get(pool);
	c->trace_lo = trace;
	c->trace_hi = 7;
	c->process = process_info_ref(p);
	for (unsigned i = 0; i < spans; i++) {
		struct span *s = chunk_add(c);
		bool root = i == spans - 1 && flags & ROOT;
		s->span_id = trace * 1000 + i + 1;
		s->parent_id = root ? 0 : trace * 1000 + spans;
		s->local_root = root;
		s->name = root ? SV("web.request") : SV("step");
		s->resource = root ? SV("GET /cart") : SV("step");
		s->error = root && flags & FAILED;
	}
	c->partial = !(flags & ROOT);
	return c;
}

static struct chunk *decided(struct sampler *s, struct process_info *p, uint64_t trace, int flags, uint64_t now)
{
	struct chunk *c = chunk_of(p, trace, 2, flags);
	sampler_chunk(s, c, now);
	assert_int_not_equal(c->decided, DECIDED_NOT);
	return c;
}

static void expect(struct chunk *c, int priority, int mechanism, unsigned rates)
{
	assert_int_equal(c->priority, priority);
	assert_int_equal(c->mechanism, mechanism);
	assert_int_equal(c->rates, rates);
}

static void nothing_is_known(void **state)
{
	(void)state;
	struct sampler *s = make(NULL, NULL, NULL, NULL);
	struct chunk *c = decided(s, &shop, DROPPED_ID, ROOT, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	assert_int_equal(c->decided, DECIDED_HERE);
	chunk_pool_put(pool, c);
	sampler_free(s);
	assert_int_equal(shop.refs, 1);
}

/* By the kernel half, when the context left: it stands, and counts against the limit here, once. */
static void decided_early(void **state)
{
	(void)state;
	struct sampler *s = make("[{\"sample_rate\": 1}]", "2", NULL, NULL);
	for (int part = 0; part < 2; part++) {
		struct chunk *c = chunk_of(&shop, DROPPED_ID, 2, part ? ROOT : 0);
		c->decided = DECIDED_HERE;
		c->priority = 2;
		c->mechanism = MECHANISM_RULE;
		c->rates = RATE_RULE | RATE_LIMIT;
		c->rule_rate = 1;
		sampler_chunk(s, c, 1);
		expect(c, 2, MECHANISM_RULE, RATE_RULE | RATE_LIMIT);
		assert_true(c->limit_rate == 1);
		chunk_pool_put(pool, c);
	}
	for (uint64_t i = 0; i < 3; i++) { /* one is left of the two of this second */
		struct chunk *c = decided(s, &shop, KEPT_ID + 100 + i, ROOT, 1);
		assert_int_equal(c->priority, i ? -1 : 2);
		chunk_pool_put(pool, c);
	}
	sampler_free(s);
}

static void agent_rates(void **state)
{
	(void)state;
	struct rates_box box = {0};
	struct sbuf err = {0};
	struct process_info other = {.refs = 1, .service = SV("other"), .env = SV("prod")};
	struct sampler *s = make(NULL, NULL, NULL, &box);
	struct chunk *c = decided(s, &shop, DROPPED_ID, ROOT, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	chunk_pool_put(pool, c);
	rates_box_answer(&box,
			 SV("{\"rate_by_service\":{\"service:shop,env:prod\":0.5,\"service:db,env:prod\":0,\"service:,"
			    "env:\":1}}"),
			 &err);
	c = decided(s, &shop, DROPPED_ID + 100, ROOT, 1);
	expect(c, sh_sampling_keeps(DROPPED_ID + 100, sampling_threshold(0.5)), MECHANISM_AGENT_RATE, RATE_AGENT);
	assert_true(c->agent_rate == 0.5);
	chunk_pool_put(pool, c);
	/* The first decision stands. */
	c = decided(s, &shop, DROPPED_ID, ROOT, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	chunk_pool_put(pool, c);
	/* Unlisted: the default. Of the root's own service, not of the process's. */
	c = decided(s, &other, DROPPED_ID + 200, ROOT, 1);
	expect(c, 1, MECHANISM_AGENT_RATE, RATE_AGENT);
	assert_true(c->agent_rate == 1);
	chunk_pool_put(pool, c);
	c = chunk_of(&shop, 77, 2, ROOT);
	c->spans[1].service = SV("db");
	sampler_chunk(s, c, 1);
	expect(c, 0, MECHANISM_AGENT_RATE, RATE_AGENT);
	chunk_pool_put(pool, c);
	/* New rates replace the old ones as a whole. */
	rates_box_answer(&box, SV("{\"rate_by_service\":{\"service:shop,env:prod\":0}}"), &err);
	c = decided(s, &shop, KEPT_ID, ROOT, 1);
	expect(c, 0, MECHANISM_AGENT_RATE, RATE_AGENT);
	chunk_pool_put(pool, c);
	c = decided(s, &other, KEPT_ID + 100, ROOT, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	chunk_pool_put(pool, c);
	sampler_free(s);
	rates_box_release(&box);
	sbuf_release(&err);
	assert_int_equal(other.refs, 1);
}

static void rules_and_limit(void **state)
{
	(void)state;
	uint64_t now = 5 * NSEC_PER_SEC;
	struct rates_box box = {0};
	struct sbuf err = {0};
	rates_box_answer(&box, SV("{\"rate_by_service\":{\"service:,env:\":0}}"), &err);
	struct sampler *s = make("[{\"name\":\"web.*\",\"sample_rate\":0.5},{\"name\":\"step\",\"sample_rate\":0}]",
				 "2", NULL, &box);
	struct chunk *c = decided(s, &shop, DROPPED_ID, ROOT, now);
	expect(c, -1, MECHANISM_RULE, RATE_RULE);
	assert_true(c->rule_rate == 0.5);
	chunk_pool_put(pool, c);
	static const uint64_t kept[] = {1, 2, 15352856648520921629u};
	for (int i = 0; i < 3; i++) {
		c = decided(s, &shop, kept[i], ROOT, now);
		expect(c, i < 2 ? 2 : -1, MECHANISM_RULE, RATE_RULE | RATE_LIMIT);
		assert_true(fabs(c->limit_rate - (i < 2 ? 1 : 2.0 / 3)) < 1e-9);
		chunk_pool_put(pool, c);
	}
	/* Each process has its own limit. */
	struct process_info second = {.refs = 1, .service = SV("shop")};
	c = decided(s, &second, 2, ROOT, now);
	expect(c, 2, MECHANISM_RULE, RATE_RULE | RATE_LIMIT);
	chunk_pool_put(pool, c);
	/* No rule for it: the Agent's rate. */
	c = chunk_of(&shop, 2222, 1, ROOT);
	c->spans[0].name = SV("job");
	sampler_chunk(s, c, now);
	expect(c, 0, MECHANISM_AGENT_RATE, RATE_AGENT);
	chunk_pool_put(pool, c);
	struct sampler_stats stats;
	sampler_stats(s, &stats);
	assert_int_equal(stats.limited, 1);
	assert_int_equal(stats.processes, 2);
	sampler_sweep(s, now + SAMPLER_IDLE_NS);
	sampler_stats(s, &stats);
	assert_int_equal(stats.processes, 2);
	sampler_sweep(s, now + SAMPLER_IDLE_NS + 1);
	sampler_stats(s, &stats);
	assert_int_equal(stats.processes, 0);
	assert_int_equal(second.refs, 1);
	sampler_free(s);

	s = make("[{\"sample_rate\":1}]", "0", NULL, NULL);
	c = decided(s, &shop, 3, ROOT, now);
	expect(c, -1, MECHANISM_RULE, RATE_RULE | RATE_LIMIT);
	assert_true(c->limit_rate == 0);
	chunk_pool_put(pool, c);
	sampler_free(s);
	rates_box_release(&box);
	sbuf_release(&err);
}

static void rules_of_a_process(void **state)
{
	(void)state;
	struct process_info own = {.refs = 1,
				   .service = SV("own"),
				   .sampling = {.rules = SV("[{\"sample_rate\":0}]"), .sample_rate = SV("x")}};
	struct sampler *s = make(NULL, NULL, NULL, NULL);
	sbuf_reset(&said);
	struct chunk *c = decided(s, &own, 5, ROOT, 1);
	expect(c, -1, MECHANISM_RULE, RATE_RULE);
	assert_string_equal(said.data, "DD_TRACE_SAMPLE_RATE: 'x' is not a rate from 0 to 1: ignored");
	assert_ptr_equal(said_of, &own);
	chunk_pool_put(pool, c);
	c = decided(s, &own, 6, ROOT, 1);
	assert_int_equal(said.len, strlen("DD_TRACE_SAMPLE_RATE: 'x' is not a rate from 0 to 1: ignored"));
	chunk_pool_put(pool, c);
	c = decided(s, &shop, 7, ROOT, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	chunk_pool_put(pool, c);
	sampler_free(s);
	/* Ours goes before theirs. */
	s = make("[{\"sample_rate\":1}]", NULL, NULL, NULL);
	c = decided(s, &own, 5, ROOT, 1);
	expect(c, 2, MECHANISM_RULE, RATE_RULE | RATE_LIMIT);
	chunk_pool_put(pool, c);
	sampler_free(s);
	/* What is wrong with ours is said at once. */
	sbuf_reset(&said);
	s = make("[", NULL, NULL, NULL);
	assert_true(said.len > 0);
	assert_null(said_of);
	sampler_free(s);
	assert_int_equal(own.refs, 1);
}

static void orders(void **state)
{
	(void)state;
	static struct tag keep[] = {{SV("a"), SV("b")}, {SV("manual.keep"), SV("true")}};
	static struct tag drop[] = {{SV("manual.drop"), SV("")}};
	static struct tag neither[] = {{SV("manual.keep"), SV("False")}, {SV("manual.drop"), SV("0")}};
	struct sampler *s = make("[{\"sample_rate\":0}]", NULL, NULL, NULL);
	struct chunk *c = chunk_of(&shop, 1, 2, ROOT);
	c->spans[0].tags = keep;
	c->spans[0].tag_cnt = 2;
	sampler_chunk(s, c, 1);
	expect(c, 2, MECHANISM_MANUAL, 0);
	assert_true(c->manual);
	chunk_pool_put(pool, c);

	/* Of a function's tags, against what came over the wire; and it stands. */
	c = chunk_of(&shop, 2, 2, 0);
	c->decided = DECIDED_UPSTREAM;
	c->priority = 2;
	c->mechanism = MECHANISM_UNSAID;
	c->spans[1].shared_tags = drop;
	c->spans[1].shared_tag_cnt = 1;
	sampler_chunk(s, c, 1);
	expect(c, -1, MECHANISM_MANUAL, 0);
	chunk_pool_put(pool, c);
	c = decided(s, &shop, 2, ROOT, 1);
	expect(c, -1, MECHANISM_MANUAL, 0);
	assert_false(c->manual);
	chunk_pool_put(pool, c);

	c = chunk_of(&shop, 3, 2, ROOT);
	c->spans[0].tags = neither;
	c->spans[0].tag_cnt = 2;
	c->spans[1].tags = drop;
	c->spans[1].tag_cnt = 1;
	c->spans[1].shared_tags = keep;
	c->spans[1].shared_tag_cnt = 2;
	sampler_chunk(s, c, 1);
	expect(c, 2, MECHANISM_MANUAL, 0);
	chunk_pool_put(pool, c);
	c = chunk_of(&shop, 4, 2, ROOT);
	c->spans[0].tags = neither;
	c->spans[0].tag_cnt = 2;
	sampler_chunk(s, c, 1);
	expect(c, -1, MECHANISM_RULE, RATE_RULE);
	assert_true(c->manual);
	chunk_pool_put(pool, c);
	sampler_free(s);
}

/* Who is called is done first; who called decides, by what is known of it then. */
static void the_owner_decides(void **state)
{
	(void)state;
	struct process_info front = {.refs = 1,
				     .service = SV("front"),
				     .sampling = {.rules = SV("[{\"service\":\"front\",\"sample_rate\":0},"
							      "{\"sample_rate\":1}]")}};
	struct process_info back = {
		.refs = 1, .service = SV("back"), .sampling = {.rules = SV("[{\"sample_rate\":1}]")}};
	struct sampler *s = make(NULL, NULL, NULL, NULL);
	struct tags t = {0};
	struct chunk *c = chunk_of(&back, 1, 2, ROOT);
	c->owner = process_info_ref(&front);
	sampler_chunk(s, c, 1);
	expect(c, -1, MECHANISM_RULE, RATE_RULE);
	/* As if it had come in a header: the decision and its rate, but nothing of how it was taken. */
	tags_start(&t, c);
	tags_of(&t, t.head);
	bool ksr = false;
	vec_foreach (m, &t.meta)
		ksr |= sv_eq(m->key, SV("_dd.p.ksr"));
	vec_foreach (m, &t.metrics)
		assert_false(sv_eq(m->key, SV("_dd.rule_psr")));
	assert_true(ksr);
	tags_release(&t);
	chunk_pool_put(pool, c);
	c = decided(s, &front, 1, ROOT, 1);
	expect(c, -1, MECHANISM_RULE, RATE_RULE);
	chunk_pool_put(pool, c);
	c = decided(s, &back, 2, ROOT, 1);
	expect(c, 2, MECHANISM_RULE, RATE_RULE | RATE_LIMIT);
	chunk_pool_put(pool, c);
	sampler_free(s);
	assert_int_equal(front.refs, 1);
	assert_int_equal(back.refs, 1);
}

static void decisions_stand(void **state)
{
	(void)state;
	static const struct tag upstream[] = {{SV("_dd.p.usr.id"), SV("dTE=")}, {SV("_dd.p.ts"), SV("02")}};
	struct sampler *s = make("[{\"name\":\"web.request\",\"sample_rate\":0}]", NULL, NULL, NULL);
	/* The first piece has no root: the rule cannot match, and what was decided then stands for the root. */
	struct chunk *c = decided(s, &shop, 1, 0, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	chunk_pool_put(pool, c);
	c = decided(s, &shop, 1, ROOT, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	chunk_pool_put(pool, c);
	/* And for every other process of the trace. */
	struct process_info second = {.refs = 1, .service = SV("shop")};
	c = decided(s, &second, 1, ROOT, 1);
	expect(c, 1, MECHANISM_DEFAULT, 0);
	chunk_pool_put(pool, c);
	c = decided(s, &second, 2, ROOT, 1);
	expect(c, -1, MECHANISM_RULE, RATE_RULE);
	chunk_pool_put(pool, c);
	/* Rates come with the root, though a piece before it took the decision. */
	struct sampler *all = make("[{\"sample_rate\":1}]", NULL, NULL, NULL);
	c = decided(all, &shop, 1, 0, 1);
	chunk_pool_put(pool, c);
	c = decided(all, &shop, 1, ROOT, 1);
	expect(c, 2, MECHANISM_RULE, RATE_RULE | RATE_LIMIT);
	assert_true(c->rule_rate == 1 && c->limit_rate == 1);
	chunk_pool_put(pool, c);
	sampler_free(all);

	/* What came over the wire stands, with all it carried. */
	c = chunk_of(&shop, 9, 2, 0);
	c->decided = DECIDED_UPSTREAM;
	c->priority = 2;
	c->mechanism = 4;
	c->origin = SV("synthetics");
	c->propagated = upstream;
	c->propagated_cnt = 2;
	sampler_chunk(s, c, 1);
	expect(c, 2, 4, 0);
	chunk_pool_put(pool, c);
	for (int again = 0; again < 2; again++) {
		c = decided(s, &shop, 9, ROOT, 1);
		expect(c, 2, 4, 0);
		assert_int_equal(c->decided, DECIDED_UPSTREAM);
		assert_true(sv_eq(c->origin, SV("synthetics")));
		assert_int_equal(c->propagated_cnt, 2);
		assert_true(sv_eq(c->propagated[0].key, SV("_dd.p.usr.id")) &&
			    sv_eq(c->propagated[0].value, SV("dTE=")));
		assert_true(sv_eq(c->propagated[1].key, SV("_dd.p.ts")) && sv_eq(c->propagated[1].value, SV("02")));
		chunk_pool_put(pool, c);
	}
	sampler_free(s);
}

/* Far more traces than are remembered: the last ones are, and no memory is taken once it was full. */
static void memory_is_bounded(void **state)
{
	(void)state;
	struct sampler *s = make("[{\"name\":\"web.request\",\"sample_rate\":0}]", NULL, NULL, NULL);
	size_t used = 0;
	for (uint64_t i = 1; i <= 200000; i++) {
		struct chunk *c = decided(s, &shop, i, i % 4 ? ROOT : 0, i);
		chunk_pool_put(pool, c);
		if (i == 100000)
			used = mallinfo2().uordblks;
	}
	assert_true(mallinfo2().uordblks <= used + 4096);
	for (uint64_t i = 200000; i > 200000 - 4 * SAMPLER_MAX_OPEN; i -= 4) {
		struct chunk *c = decided(s, &shop, i, ROOT, i);
		expect(c, 1, MECHANISM_DEFAULT, 0);
		chunk_pool_put(pool, c);
	}
	struct chunk *c = decided(s, &shop, 4, ROOT, 1);
	expect(c, -1, MECHANISM_RULE, RATE_RULE);
	chunk_pool_put(pool, c);
	sampler_free(s);
}

/* --- single spans ------------------------------------------------------------------------------------------------- */

static double metric(const struct span *s, const char *key)
{
	for (uint16_t i = 0; i < s->metric_cnt; i++)
		if (sv_eq(s->metrics[i].key, sv_of(key)))
			return s->metrics[i].value;
	return -1;
}

static void span_rules(void **state)
{
	(void)state;
	static struct metric own[] = {{SV("thread.id"), 5}};
	struct sampler *s = make(
		"[{\"sample_rate\":0}]", NULL,
		"[{\"service\":\"db\",\"sample_rate\":0},{\"name\":\"step\",\"max_per_second\":2},{\"name\":\"web*\"}]",
		NULL);
	struct chunk *c = chunk_of(&shop, 1, 5, ROOT);
	c->spans[0].metrics = own;
	c->spans[0].metric_cnt = 1;
	c->spans[1].service = SV("db"); /* the first rule that matches decides */
	sampler_chunk(s, c, NSEC_PER_SEC);
	static const int kept[] = {1, 0, 1, 0, 1};
	for (int i = 0; i < 5; i++) {
		assert_int_equal(c->spans[i].kept, kept[i]);
		assert_true(metric(&c->spans[i], "_dd.span_sampling.mechanism") == (kept[i] ? 8 : -1));
		assert_true(metric(&c->spans[i], "_dd.span_sampling.rule_rate") == (kept[i] ? 1 : -1));
		assert_true(metric(&c->spans[i], "_dd.span_sampling.max_per_second") == (kept[i] && i < 4 ? 2 : -1));
	}
	assert_true(metric(&c->spans[0], "thread.id") == 5);
	/* Only those are left, and each still knows whether it is its service's entry. */
	assert_true(sampler_reduce(s, c));
	assert_int_equal(c->span_cnt, 3);
	assert_int_equal(c->dropped_spans, 2);
	assert_int_equal(c->dropped_traces, 0);
	assert_int_equal(c->spans[0].top_level, TOP_LEVEL_NO);
	assert_int_equal(c->spans[2].top_level, TOP_LEVEL_YES);
	chunk_pool_put(pool, c);
	sampler_free(s);

	/* A trace that is kept has none. */
	s = make("[{\"sample_rate\":1}]", NULL, "[{}]", NULL);
	c = decided(s, &shop, 1, ROOT, 1);
	assert_int_equal(c->spans[0].kept, 0);
	assert_true(sampler_reduce(s, c));
	assert_int_equal(c->span_cnt, 2);
	chunk_pool_put(pool, c);
	sampler_free(s);

	/* The hash is that of the span's id. */
	s = make("[{\"sample_rate\":0}]", NULL, "[{\"sample_rate\":0.5}]", NULL);
	c = chunk_of(&shop, 1, 2, ROOT);
	c->spans[0].span_id = KEPT_ID;
	c->spans[1].span_id = DROPPED_ID;
	sampler_chunk(s, c, 1);
	assert_true(c->spans[0].kept && !c->spans[1].kept);
	assert_true(metric(&c->spans[0], "_dd.span_sampling.rule_rate") == 0.5);
	chunk_pool_put(pool, c);
	sampler_free(s);
}

static void left_out(void **state)
{
	(void)state;
	struct sampler *s = make("[{\"sample_rate\":0.5}]", "-1", NULL, NULL);
	struct process_info second = {.refs = 1, .service = SV("second")};
	struct sampler_stats stats;
	for (int i = 0; i < 3; i++) {
		struct chunk *c = decided(s, &shop, DROPPED_ID, ROOT, 1);
		assert_false(sampler_reduce(s, c));
		chunk_pool_put(pool, c);
	}
	/* An error keeps the whole of it, and takes the numbers along. */
	struct chunk *c = decided(s, &shop, DROPPED_ID, ROOT | FAILED, 1);
	assert_int_equal(c->priority, -1);
	assert_true(sampler_reduce(s, c));
	assert_int_equal(c->span_cnt, 2);
	assert_int_equal(c->dropped_traces, 3);
	assert_int_equal(c->dropped_spans, 6);
	chunk_pool_put(pool, c);
	c = decided(s, &second, KEPT_ID, ROOT, 1);
	assert_int_equal(c->dropped_traces, 0);
	assert_true(sampler_reduce(s, c));
	chunk_pool_put(pool, c);
	c = decided(s, &shop, KEPT_ID, ROOT, 1);
	assert_int_equal(c->dropped_traces, 0);
	chunk_pool_put(pool, c);
	sampler_stats(s, &stats);
	assert_int_equal(stats.reduced_traces, 3);
	assert_int_equal(stats.reduced_spans, 6);
	assert_int_equal(stats.kept, 2);
	assert_int_equal(stats.dropped, 4);
	sampler_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_known),   cmocka_unit_test(decided_early),
		cmocka_unit_test(agent_rates),	      cmocka_unit_test(rules_and_limit),
		cmocka_unit_test(rules_of_a_process), cmocka_unit_test(orders),
		cmocka_unit_test(decisions_stand),    cmocka_unit_test(the_owner_decides),
		cmocka_unit_test(memory_is_bounded),  cmocka_unit_test(span_rules),
		cmocka_unit_test(left_out),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
