/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "trace/assembly.h"
#include "trace/sampling/early.h"
#include "trace/sampling/sampler.h"
#include "trace/sampling/threshold.h"

#define ROOM 4

static struct process_info shop = {.refs = 1, .pid = 1, .service = SV("shop"), .env = SV("prod")};

struct world {
	struct early e;
	struct sh_rates table[ROOM];
};

static void world_begin(struct world *w, const char *rules, const char *rate, const char *limit)
{
	*w = (struct world){0};
	early_init(&w->e, &(struct sampling_vars){
				  .rules = sv_of(rules), .sample_rate = sv_of(rate), .rate_limit = sv_of(limit)});
	assert_int_equal(early_start(&w->e, w->table, ROOM), 0);
}

static const struct sh_choice *choice(const struct world *w, uint32_t index, enum sh_root root)
{
	const struct sh_rates *r = &w->table[index];
	assert_true(r->set == 1 || r->set == 2);
	return &r->choices[r->set - 1][root];
}

static void expect(const struct sh_choice *c, uint8_t by, int mechanism, double rate, const char *dm, const char *th)
{
	double told;
	memcpy(&told, &c->rate, sizeof(told));
	assert_int_equal(c->by, by);
	assert_int_equal(c->mechanism, mechanism);
	assert_true(told == rate);
	assert_true(c->threshold == sampling_threshold(rate));
	assert_int_equal(c->dm_len, strlen(dm));
	assert_memory_equal(c->dm, dm, c->dm_len);
	assert_int_equal(c->th_len, strlen(th));
	assert_memory_equal(c->th, th, c->th_len);
}

static void nobody_decides_without_a_table(void **state)
{
	(void)state;
	struct early e;
	early_init(&e, &(struct sampling_vars){0});
	assert_int_equal(early_index(&e, &shop), 0);
	early_answer(&e, SV("{\"rate_by_service\": {\"service:,env:\": 0.5}}"));
	early_release(&e);
}

static void rates_of_the_agent(void **state)
{
	(void)state;
	struct world w;
	struct process_info other = {.refs = 1, .service = SV("Other Thing")};
	world_begin(&w, NULL, NULL, NULL);
	uint32_t a = early_index(&w.e, &shop), b = early_index(&w.e, &other);
	assert_true(a && b && a != b);
	assert_int_equal(early_index(&w.e, &shop), a);
	for (int root = 0; root < SH_ROOTS; root++)
		expect(choice(&w, a, root), 0, MECHANISM_DEFAULT, 1, "-0", "0");
	early_answer(&w.e, SV("{\"rate_by_service\": {\"service:shop,env:prod\": 0.6, \"service:,env:\": 0.25,"
			      "\"service:other_thing,env:\": 0}}"));
	expect(choice(&w, a, SH_ROOT_SERVER), SH_BY_AGENT, MECHANISM_AGENT_RATE, 0.6, "-1", "66666666666668");
	expect(choice(&w, b, SH_ROOT_OTHER), SH_BY_AGENT, MECHANISM_AGENT_RATE, 0, "-1", "");
	expect(choice(&w, 0, SH_ROOT_SERVER), SH_BY_AGENT, MECHANISM_AGENT_RATE, 0.25, "-1", "c");
	/* Nothing new, and nonsense. */
	uint32_t set = w.table[a].set;
	early_answer(&w.e, SV("{}"));
	early_answer(&w.e, SV("{\"rate_by_service\": 5}"));
	early_answer(&w.e, SV("[["));
	assert_int_equal(w.table[a].set, set);
	early_answer(&w.e, SV("{\"rate_by_service\": {\"service:shop,env:prod\": 1}}"));
	assert_int_not_equal(w.table[a].set, set);
	expect(choice(&w, a, SH_ROOT_SERVER), SH_BY_AGENT, MECHANISM_AGENT_RATE, 1, "-1", "0");
	expect(choice(&w, b, SH_ROOT_SERVER), 0, MECHANISM_DEFAULT, 1, "-0", "0");
	early_release(&w.e);
}

static void rules_that_can_be_known(void **state)
{
	(void)state;
	struct world w;
	struct tag tags[] = {{SV("tier"), SV("gold")}};
	struct process_info gold = {.refs = 1, .service = SV("shop"), .tags = tags, .tag_cnt = 1};
	world_begin(
		&w,
		"[{\"resource\": \"GET /h*\", \"sample_rate\": 0}, {\"tags\": {\"http.method\": \"GET\"}, \"sample_rate\": 0},"
		" {\"tags\": {\"tier\": \"g*\"}, \"sample_rate\": 0.5, \"provenance\": \"customer\"},"
		" {\"name\": \"HTTP.server.*\", \"resource\": \"*\", \"sample_rate\": 0.25}, {\"name\": \"charge\", \"sample_rate\": 0}]",
		"0.125", "20.9");
	uint32_t a = early_index(&w.e, &shop), b = early_index(&w.e, &gold);
	expect(choice(&w, a, SH_ROOT_SERVER), SH_BY_RULE, MECHANISM_RULE, 0.25, "-3", "c");
	expect(choice(&w, a, SH_ROOT_CLIENT), SH_BY_RULE, MECHANISM_RULE, 0.125, "-3", "e");
	expect(choice(&w, a, SH_ROOT_OTHER), SH_BY_RULE, MECHANISM_RULE, 0.125, "-3", "e");
	expect(choice(&w, b, SH_ROOT_CLIENT), SH_BY_RULE, MECHANISM_REMOTE_RULE, 0.5, "-11", "8");
	assert_int_equal(w.table[a].limit, 20);
	/* Rules go before rates. */
	early_answer(&w.e, SV("{\"rate_by_service\": {\"service:,env:\": 0}}"));
	expect(choice(&w, a, SH_ROOT_SERVER), SH_BY_RULE, MECHANISM_RULE, 0.25, "-3", "c");
	early_release(&w.e);
}

/* A process's own environment says what ours does not. */
static void limits(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint32_t limit;
	} said[] = {{"", SAMPLING_RATE_LIMIT}, {"0", 0}, {"0.5", 0}, {"-1", SH_NO_LIMIT}, {"1000000000", 1000000000},
		    {"x", SAMPLING_RATE_LIMIT}};
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		struct world w;
		struct process_info p = {
			.refs = 1, .service = SV("a"), .sampling = {.rate_limit = sv_of(said[i].text)}};
		world_begin(&w, NULL, NULL, NULL);
		assert_int_equal(w.table[early_index(&w.e, &p)].limit, said[i].limit);
		early_release(&w.e);
	}
}

static void table_is_full(void **state)
{
	(void)state;
	struct world w;
	world_begin(&w, NULL, NULL, NULL);
	for (uint32_t i = 1; i < ROOM + 3; i++) {
		char name[8];
		snprintf(name, sizeof(name), "s%u", i);
		struct process_info p = {.refs = 1, .service = sv_of(name)};
		assert_int_equal(early_index(&w.e, &p), i < ROOM ? i : 0);
	}
	assert_int_equal(w.e.full, 3);
	early_answer(&w.e, SV("{\"rate_by_service\": {\"service:,env:\": 0.5}}"));
	expect(choice(&w, 0, SH_ROOT_SERVER), SH_BY_AGENT, MECHANISM_AGENT_RATE, 0.5, "-1", "8");
	early_release(&w.e);
}

/* What is decided early and what is decided at the end, by the same rates: the same, id by id. */
static void both_halves_agree(void **state)
{
	(void)state;
	struct world w;
	struct rates_box box = {0};
	struct sbuf err = {0};
	struct sv answer = SV("{\"rate_by_service\": {\"service:shop,env:prod\": 0.3}}");
	struct chunk_pool *pool = chunk_pool_new(1);
	struct sampler *s = sampler_new(&(struct sampler_options){.rates = &box});
	world_begin(&w, NULL, NULL, NULL);
	early_answer(&w.e, answer);
	assert_int_equal(rates_box_answer(&box, answer, &err), 1);
	const struct sh_choice *early = choice(&w, early_index(&w.e, &shop), SH_ROOT_SERVER);
	uint64_t id = 88172645463325252ULL;
	for (int i = 0; i < 100000; i++) {
		id ^= id << 13, id ^= id >> 7, id ^= id << 17;
		struct chunk *c = chunk_pool_get(pool);
		c->trace_lo = id;
		c->process = process_info_ref(&shop);
		chunk_add(c)->local_root = 1;
		sampler_chunk(s, c, 1);
		assert_int_equal(c->priority, sh_sampling_keeps(id, early->threshold));
		assert_int_equal(c->mechanism, early->mechanism);
		chunk_pool_put(pool, c);
	}
	sampler_free(s);
	rates_box_release(&box);
	chunk_pool_free(pool);
	sbuf_release(&err);
	early_release(&w.e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_decides_without_a_table),
		cmocka_unit_test(rates_of_the_agent),
		cmocka_unit_test(rules_that_can_be_known),
		cmocka_unit_test(limits),
		cmocka_unit_test(table_is_full),
		cmocka_unit_test(both_halves_agree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
