/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "base/clock.h"
#include "trace/pipeline.h"

#define NOW    (1000 * NSEC_PER_SEC)
#define OFFSET ((int64_t)(1700000000 * NSEC_PER_SEC))

static struct process_info shop = {.refs = 1, .service = SV("shop"), .env = SV("prod")};
static struct chunk_pool *pool;
static struct chunk *pushed; /* the last one; kept */
static unsigned pushed_cnt;

static void push(void *arg, struct chunk *c)
{
	(void)arg;
	chunk_pool_put(pool, pushed);
	pushed = c;
	pushed_cnt++;
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
	chunk_pool_put(pool, pushed);
	chunk_pool_free(pool);
	return shop.refs == 1 ? 0 : -1;
}

static struct pipeline *make(struct agent_link *agent, const char *rules, bool stats, bool may_drop)
{
	struct pipeline_options o = {.vars = {.rules = sv_of(rules)},
				     .agent = agent,
				     .stats = stats,
				     .may_drop = may_drop,
				     .stats_tags = SV(" tier, region ,,x,y,z"),
				     .pool = pool,
				     .push = push};
	struct pipeline *p = pipeline_new(&o);
	assert_non_null(p);
	pipeline_pass(p, NOW, OFFSET);
	pushed_cnt = 0;
	return p;
}

static void offer(struct pipeline *p, uint64_t trace)
{
	struct chunk *c = chunk_pool_get(pool);
	c->process = process_info_ref(&shop);
	c->trace_lo = trace;
	for (int i = 0; i < 3; i++) {
		struct span *s = chunk_add(c);
		s->span_id = (uint64_t)i + 1;
		s->parent_id = i == 2 ? 0 : 3;
		s->local_root = i == 2;
		s->name = SV("n");
		s->start_ns = OFFSET + (int64_t)NOW - 1000;
		s->duration_ns = 1000;
	}
	pipeline_chunk(p, c);
}

static void agent_says(struct agent_link *l, const char *json)
{
	struct agent_info *info = NULL;
	struct sbuf err = {0};
	assert_int_equal(agent_info_parse(&info, sv_of(json), &err), 0);
	assert_true(agent_link_info(l, info));
	agent_info_unref(info);
}

static const char able[] = "{\"endpoints\":[\"/v0.4/traces\",\"/v0.6/stats\"],\"client_drop_p0s\":true,"
			   "\"peer_tags\":[\"out.host\"],\"config\":{\"default_env\":\"none\"}}";

static uint64_t hits_in_box(struct agent_link *l)
{
	uint64_t hits = 0;
	struct stats_payload *p;
	while ((p = agent_link_next_stats(l))) {
		hits += p->hits;
		stats_payload_free(p);
	}
	return hits;
}

/* Counting begins when the Agent says that it takes statistics, and ends when another one does not. */
static void agent_decides(void **state)
{
	(void)state;
	struct agent_link link = {0};
	struct pipeline_stats stats;
	struct pipeline *p = make(&link, "[{\"sample_rate\":0}]", true, true);
	offer(p, 1);
	assert_int_equal(pushed_cnt, 1);
	assert_false(pushed->counted);
	assert_int_equal(pushed->priority, -1);

	agent_says(&link, able);
	offer(p, 2); /* not before the next pass */
	assert_int_equal(pushed_cnt, 2);
	pipeline_pass(p, NOW + 1, OFFSET);
	offer(p, 3);
	offer(p, 4);
	assert_int_equal(pushed_cnt, 2);
	pipeline_stats(p, &stats);
	assert_true(stats.counting);
	assert_int_equal(stats.left_out, 6);
	assert_int_equal(stats.stats.counted, 2);

	assert_true(agent_link_info(&link, NULL));
	pipeline_pass(p, NOW + 2, OFFSET);
	offer(p, 5);
	assert_int_equal(pushed_cnt, 3);
	assert_false(pushed->counted);
	/* With it goes what was left out before. */
	assert_int_equal(pushed->dropped_traces, 2);
	assert_int_equal(pushed->dropped_spans, 6);
	assert_int_equal(hits_in_box(&link), 0);
	pipeline_flush(p);
	assert_int_equal(hits_in_box(&link), 2);
	pipeline_free(p);
	agent_link_release(&link);
}

static void due_by_itself(void **state)
{
	(void)state;
	struct agent_link link = {0};
	struct pipeline *p = make(&link, NULL, true, true);
	agent_says(&link, able);
	pipeline_pass(p, NOW, OFFSET);
	offer(p, 1);
	assert_int_equal(pushed_cnt, 1);
	assert_true(pushed->counted);
	pipeline_pass(p, NOW + 15 * NSEC_PER_SEC, OFFSET);
	assert_int_equal(hits_in_box(&link), 0);
	pipeline_pass(p, NOW + 20 * NSEC_PER_SEC, OFFSET);
	assert_int_equal(hits_in_box(&link), 1);
	pipeline_free(p);
	agent_link_release(&link);
}

/* Nothing is left out when others want it, too; nothing is counted when nobody asked. */
static void only_if(void **state)
{
	(void)state;
	struct agent_link link = {0};
	struct pipeline *p = make(&link, "[{\"sample_rate\":0}]", true, false);
	agent_says(&link, able);
	pipeline_pass(p, NOW + 1, OFFSET);
	offer(p, 1);
	assert_int_equal(pushed_cnt, 1);
	assert_true(pushed->counted);
	pipeline_free(p);

	p = make(&link, "[{\"sample_rate\":0}]", false, true);
	agent_says(&link, able);
	pipeline_pass(p, NOW + 1, OFFSET);
	offer(p, 1);
	assert_int_equal(pushed_cnt, 1);
	assert_false(pushed->counted);
	pipeline_flush(p);
	pipeline_free(p);
	agent_link_release(&link);

	p = make(NULL, NULL, true, true);
	offer(p, 1);
	assert_int_equal(pushed_cnt, 1);
	assert_int_equal(pushed->mechanism, MECHANISM_DEFAULT);
	pipeline_flush(p);
	pipeline_free(p);
}

/* --- what is in it ------------------------------------------------------------------------------------------------ */

static struct span *dirty(struct chunk *c)
{
	struct span *s = chunk_add(c);
	static const struct tag tags[] = {{SV("sql.query"), SV("SELECT * FROM t WHERE id = 'secret'")},
					  {SV("card"), SV("4111 1111 1111 1111")},
					  {SV("http.status_code"), SV("9999")},
					  {SV("peer.service"), SV("My DB")}};
	s->span_id = 1;
	s->local_root = 1;
	s->name = SV("ns::fn");
	s->resource = tags[0].value;
	s->type = SV("sql");
	s->service = SV("Other Shop");
	s->start_ns = OFFSET + (int64_t)NOW - 1000;
	s->duration_ns = 1000;
	s->tags = arena_alloc(&c->arena, sizeof(tags));
	s->tag_cnt = 4;
	memcpy(s->tags, tags, sizeof(tags));
	return s;
}

static void offer_dirty(struct pipeline *p)
{
	struct chunk *c = chunk_pool_get(pool);
	c->process = process_info_ref(&shop);
	c->trace_lo = 1;
	dirty(c);
	pipeline_chunk(p, c);
}

static struct pipeline *make_for(struct agent_link *agent, bool normalize, const char *rules)
{
	struct pipeline_options o = {.vars = {.rules = sv_of(rules)},
				     .agent = agent,
				     .stats = true,
				     .normalize = normalize,
				     .pool = pool,
				     .push = push};
	struct pipeline *p = pipeline_new(&o);
	assert_non_null(p);
	pipeline_pass(p, NOW, OFFSET);
	pushed_cnt = 0;
	return p;
}

#define assert_sv(a, b) assert_true(sv_eq(a, SV(b)))

/* Who looks at it himself sees the names that were captured, and no secrets. */
static void as_it_was(void **state)
{
	(void)state;
	struct agent_link link = {0};
	struct pipeline *p = make_for(&link, false, NULL);
	offer_dirty(p);
	const struct span *s = &pushed->spans[0];
	assert_sv(s->resource, "SELECT * FROM t WHERE id = ?");
	assert_sv(s->tags[0].value, "SELECT * FROM t WHERE id = ?");
	assert_sv(s->tags[1].value, "4111 1111 1111 1111");
	assert_sv(s->name, "ns::fn");
	assert_sv(s->service, "Other Shop");
	assert_int_equal(s->tag_cnt, 4);
	pipeline_free(p);
	agent_link_release(&link);
}

/* Rules are about the names the spans were given; what is counted and sent has those of the Agent. */
static void as_the_agent_would(void **state)
{
	(void)state;
	struct agent_link link = {0};
	struct pipeline *p = make_for(&link, true, "[{\"name\":\"ns::f*\",\"sample_rate\":0}]");
	agent_says(&link, "{\"endpoints\":[\"/v0.4/traces\",\"/v0.6/stats\"],\"client_drop_p0s\":true,"
			  "\"obfuscation_version\":1,\"feature_flags\":[\"big_resource\"],"
			  "\"config\":{\"obfuscation\":{\"credit_cards\":{\"enabled\":false}}}}");
	pipeline_pass(p, NOW, OFFSET);
	assert_true(link.obfuscated);
	offer_dirty(p);
	const struct span *s = &pushed->spans[0];
	assert_int_equal(pushed->priority, PRIORITY_USER_DROP);
	assert_sv(s->resource, "SELECT * FROM t WHERE id = ?");
	assert_sv(s->tags[0].value, "SELECT * FROM t WHERE id = ?");
	assert_sv(s->name, "ns_fn");
	assert_sv(s->service, "other_shop");
	assert_int_equal(s->tag_cnt, 3);
	assert_sv(s->tags[1].value, "4111 1111 1111 1111"); /* that Agent lets them pass */
	assert_sv(s->tags[2].value, "my_db");
	pipeline_flush(p);
	struct stats_payload *stats = agent_link_next_stats(&link);
	assert_non_null(stats);
	assert_non_null(memmem(stats->body.data, stats->body.len, "ns_fn", 5));
	assert_non_null(memmem(stats->body.data, stats->body.len, "other_shop", 10));
	assert_null(memmem(stats->body.data, stats->body.len, "secret", 6));
	stats_payload_free(stats);
	agent_says(&link, "{\"endpoints\":[\"/v0.6/stats\"],\"client_drop_p0s\":true,\"obfuscation_version\":2}");
	pipeline_pass(p, NOW, OFFSET);
	assert_false(link.obfuscated);
	pipeline_free(p);
	agent_link_release(&link);
}

/* Two threads at once, as they are: one answers, takes statistics and changes its mind, the other one works. */
static void *talk(void *arg)
{
	struct agent_link *link = arg;
	struct sbuf err = {0};
	uint64_t hits = 0;
	for (int i = 0; i < 3000; i++) {
		rates_box_answer(&link->rates,
				 i % 2 ? SV("{\"rate_by_service\":{\"service:shop,env:prod\":0.5}}")
				       : SV("{\"rate_by_service\":{\"service:,env:\":1}}"),
				 &err);
		if (i % 50 == 0)
			agent_says(link, able);
		hits += hits_in_box(link);
	}
	sbuf_release(&err);
	return (void *)(uintptr_t)hits;
}

static void two_threads(void **state)
{
	(void)state;
	struct agent_link link = {0};
	struct pipeline *p = make(&link, NULL, true, true);
	struct pipeline_stats stats;
	pthread_t thread;
	void *hits;
	assert_int_equal(pthread_create(&thread, NULL, talk, &link), 0);
	for (uint64_t i = 1; i <= 60000; i++) {
		if (i % 10 == 0)
			pipeline_pass(p, NOW + i * NSEC_PER_MSEC, OFFSET);
		offer(p, i);
	}
	pipeline_flush(p);
	pthread_join(thread, &hits);
	pipeline_stats(p, &stats);
	uint64_t all = (uint64_t)(uintptr_t)hits + hits_in_box(&link);
	assert_true(stats.stats.counted > 0);
	assert_int_equal(all, stats.stats.counted - stats.stats.lost);
	pipeline_free(p);
	agent_link_release(&link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agent_decides), cmocka_unit_test(due_by_itself),      cmocka_unit_test(only_if),
		cmocka_unit_test(as_it_was),	 cmocka_unit_test(as_the_agent_would), cmocka_unit_test(two_threads)};
	return cmocka_run_group_tests(tests, setup, teardown);
}
