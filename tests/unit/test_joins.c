/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "flow/ages.h"
#include "flow/joins.h"

static struct join_key key_of(uint32_t seq)
{
	return (struct join_key){
		.client = {[15] = 1}, .server = {[15] = 1}, .client_port = 4000, .server_port = 80, .seq = seq};
}

static const struct join_writer writer = {{7, 8, 9}, 77};

static void stats_are(struct joins *j, uint64_t joined, uint64_t waiting, uint64_t traces)
{
	struct joins_stats s;
	joins_stats(j, &s);
	assert_int_equal(s.joined, joined);
	assert_int_equal(s.waiting, waiting);
	assert_int_equal(s.traces, traces);
}

static void either_end_first(void **state)
{
	(void)state;
	struct joins *j = joins_new(10);
	struct join_writer got = {0};
	struct join_key a = key_of(1), b = key_of(2);
	assert_int_equal(joins_written(j, &a, &writer), JOINS_NONE);
	assert_true(joins_read(j, &a, 5, &got));
	assert_int_equal(got.self.span_id, 9);
	/* Once. */
	assert_false(joins_read(j, &a, 6, &got));
	assert_false(joins_read(j, &b, 7, &got));
	assert_int_equal(joins_written(j, &b, &writer), 7);
	assert_int_equal(joins_written(j, &a, &writer), 6);
	stats_are(j, 3, 0, 0);
	joins_free(j);
}

static void waits_or_not(void **state)
{
	(void)state;
	struct joins *j = joins_new(10);
	struct join_writer got;
	struct join_key a = key_of(1);
	assert_false(joins_read(j, &a, JOINS_NONE, &got));
	assert_int_equal(joins_written(j, &a, &writer), JOINS_NONE);
	stats_are(j, 0, 1, 0);
	assert_true(joins_read(j, &a, 1, &got));
	assert_false(joins_read(j, &a, 2, &got));
	joins_give_up(j, &a, 3); /* another one's */
	stats_are(j, 1, 1, 0);
	joins_give_up(j, &a, 2);
	stats_are(j, 1, 0, 0);
	joins_give_up(j, &a, 2);
	assert_int_equal(joins_written(j, &a, &writer), JOINS_NONE);
	joins_free(j);
}

/* Each field of a key counts. */
static void keys_differ(void **state)
{
	(void)state;
	struct joins *j = joins_new(10);
	struct join_writer got;
	struct join_key a = key_of(1);
	joins_written(j, &a, &writer);
	for (size_t i = 0; i < sizeof(a); i++) {
		struct join_key other = a;
		((uint8_t *)&other)[i] ^= 1;
		assert_false(joins_read(j, &other, JOINS_NONE, &got));
	}
	assert_true(joins_read(j, &a, JOINS_NONE, &got));
	joins_free(j);
}

static void oldest_halves_go(void **state)
{
	(void)state;
	struct joins *j = joins_new(100);
	struct join_writer got;
	for (uint32_t i = 0; i < 1000; i++) {
		struct join_key k = key_of(i);
		struct join_writer w = {{1, 1, i}, 1};
		assert_int_equal(joins_written(j, &k, &w), JOINS_NONE);
	}
	stats_are(j, 0, 100, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		struct join_key k = key_of(i);
		assert_int_equal(joins_read(j, &k, JOINS_NONE, &got), i >= 900);
		if (i >= 900)
			assert_int_equal(got.self.span_id, i);
	}
	stats_are(j, 100, 0, 0);
	joins_free(j);
}

static void resolves(struct joins *j, uint64_t lo, uint64_t now, int64_t expected)
{
	uint64_t hi = 3, at = lo;
	uint32_t tgid;
	bool done = joins_resolve(j, &hi, &at, now, &tgid);
	assert_int_equal(done, expected >= 0);
	assert_int_equal(at, done ? (uint64_t)expected : lo);
	assert_int_equal(hi, at == lo ? 3 : 3 + (uint64_t)expected);
}

static void chains(void **state)
{
	(void)state;
	struct joins *j = joins_new(10);
	resolves(j, 42, 0, 42);
	joins_begin(j, 1, 100);
	joins_begin(j, 2, 0);
	joins_same(j, 2, 3 + 1, 1, 0);
	resolves(j, 1, 99, -1);
	resolves(j, 2, 99, -1);
	resolves(j, 1, 100, 1);
	resolves(j, 2, 100, 1);
	joins_same(j, 1, 3 + 50, 50, 0);
	resolves(j, 1, 0, 50);
	resolves(j, 2, 0, 50);
	/* Settled: its own, and nothing remembered. */
	joins_begin(j, 4, 1000);
	joins_settle(j, 4);
	resolves(j, 4, 0, 4);
	stats_are(j, 0, 0, 2);
	/* The real trace has low bits of zero. */
	joins_begin(j, 5, 0);
	joins_same(j, 5, 3, 0, 0);
	resolves(j, 5, 0, 0);
	joins_free(j);
}

/* Whose the trace is: of the last process that is known on the way to it. */
static void whose(void **state)
{
	(void)state;
	struct joins *j = joins_new(10);
	static const struct {
		uint64_t lo, real;
		uint32_t tgid, whose;
	} links[] = {{3, 2, 20, 10}, {2, 1, 10, 10}, {5, 4, 40, 40}, {4, 100, 0, 0}, {6, 6, 60, 0}};
	for (size_t i = 0; i < 5; i++) {
		joins_begin(j, links[i].lo, 0);
		joins_same(j, links[i].lo, 3, links[i].real, links[i].tgid);
	}
	for (size_t i = 0; i < 5; i++) {
		uint64_t hi = 3, lo = links[i].lo;
		uint32_t tgid = 99;
		assert_true(joins_resolve(j, &hi, &lo, 0, &tgid));
		assert_int_equal(tgid, links[i].whose);
	}
	joins_free(j);
}

static void circles_end(void **state)
{
	(void)state;
	struct joins *j = joins_new(10);
	uint64_t hi = 0, lo = 1;
	uint32_t tgid;
	joins_begin(j, 1, 0);
	joins_same(j, 1, 0, 1, 0);
	assert_true(joins_resolve(j, &hi, &lo, 0, &tgid));
	assert_int_equal(lo, 1);
	joins_same(j, 1, 0, 2, 0);
	joins_begin(j, 2, 0);
	joins_same(j, 2, 0, 1, 0);
	assert_true(joins_resolve(j, &hi, &lo, 0, &tgid));
	joins_begin(j, 1, 0); /* again, by damaged records */
	stats_are(j, 0, 0, 2);
	joins_free(j);
}

static void ended_ones_are_forgotten_first(void **state)
{
	(void)state;
	struct joins *j = joins_new(10);
	struct joins_stats s;
	for (uint64_t i = 1; i <= 10; i++) {
		joins_begin(j, i, 0);
		joins_same(j, i, 3 + 100 + i, 100 + i, 0);
	}
	joins_begin(j, 11, 0); /* no room: nothing has ended */
	joins_stats(j, &s);
	assert_int_equal(s.forgotten, 1);
	joins_end(j, 5);
	joins_end(j, 3);
	joins_begin(j, 12, 0);
	joins_same(j, 12, 3 + 112, 112, 0);
	resolves(j, 5, 0, 5);
	for (uint64_t i = 1; i <= 12; i++)
		if (i != 5 && i != 11)
			resolves(j, i, 0, 100 + (int64_t)i);
	joins_begin(j, 13, 0);
	resolves(j, 3, 0, 3);
	joins_stats(j, &s);
	assert_int_equal(s.forgotten, 1);
	assert_int_equal(s.traces, 10);
	joins_free(j);
}

static void decisions(void **state)
{
	(void)state;
	struct joins *j = joins_new(4);
	struct joins_decision keep = {.decided = true, .priority = 2, .mechanism = 4, .origin = "rum"},
			      drop = {.decided = true};
	assert_null(joins_decision(j, 1));
	joins_decide(j, 1, &keep);
	joins_decide(j, 1, &drop); /* the first one stands */
	assert_int_equal(joins_decision(j, 1)->priority, 2);
	assert_string_equal(joins_decision(j, 1)->origin, "rum");
	resolves(j, 1, 0, 1);
	/* A trace of our own that is decided on is not forgotten when it is settled. */
	joins_begin(j, 2, 100);
	joins_decide(j, 2, &drop);
	joins_settle(j, 2);
	resolves(j, 2, 0, 2);
	assert_non_null(joins_decision(j, 2));
	/* Only those of traces that have ended give way. */
	for (uint64_t i = 10; i < 20; i++)
		joins_decide(j, i, &keep);
	assert_null(joins_decision(j, 1));
	assert_non_null(joins_decision(j, 2));
	assert_non_null(joins_decision(j, 19));
	joins_free(j);
}

/* The slots of a table: in use, queued and free ones stay apart under any use. */
static void ages_at_random(void **state)
{
	(void)state;
	enum { MAX = 17 };
	struct ages a;
	uint64_t rng = 1, stamp[MAX] = {0}, clock = 0; /* when queued; 0: not */
	bool used[MAX] = {0};
	uint32_t cnt = 0;
	assert_true(ages_init(&a, MAX));
	for (int step = 0; step < 100000; step++) {
		rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
		uint32_t i = (uint32_t)(rng >> 40) % MAX, oldest = AGES_NONE;
		switch (rng >> 60 & 3) {
		case 0:
			i = ages_take(&a);
			assert_int_equal(i == AGES_NONE, cnt == MAX);
			if (i != AGES_NONE) {
				assert_false(used[i]);
				used[i] = true;
				stamp[i] = 0;
				cnt++;
			}
			break;
		case 1:
			if (used[i]) {
				ages_give(&a, i);
				used[i] = false;
				cnt--;
			}
			break;
		case 2:
			if (used[i]) {
				ages_queue(&a, i);
				stamp[i] = ++clock;
			}
			break;
		default:
			if (used[i]) {
				ages_unqueue(&a, i);
				stamp[i] = 0;
			}
		}
		for (uint32_t k = 0; k < MAX; k++)
			if (used[k] && stamp[k] && (oldest == AGES_NONE || stamp[k] < stamp[oldest]))
				oldest = k;
		assert_int_equal(a.oldest, oldest);
		assert_int_equal(a.cnt, cnt);
	}
	ages_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(either_end_first), cmocka_unit_test(waits_or_not),
		cmocka_unit_test(keys_differ),	    cmocka_unit_test(oldest_halves_go),
		cmocka_unit_test(chains),	    cmocka_unit_test(whose),
		cmocka_unit_test(circles_end),	    cmocka_unit_test(ended_ones_are_forgotten_first),
		cmocka_unit_test(decisions),	    cmocka_unit_test(ages_at_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
