/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "export/exporter.h"
#include "trace/assembly.h"

/* An exporter that does as it is told. Written by the exporter thread, told by the test. */
struct exporter {
	bool again;	  /* atomic: write says -EAGAIN */
	int delay_us;	  /* atomic: of each write */
	int hold;	  /* atomic: keeps spans until flush */
	int deny_of_8;	  /* of 8 spans, how many are dropped */
	int refuse_flush; /* what is held is dropped at flush */
	uint64_t sum;	  /* of span ids */
	uint64_t writes, ticks;
	bool flushed, closed;
	uint64_t flush_deadline_ns;
	struct exporter_stats st;
	const struct chunk *seen; /* of the last write */
};

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELAXED)

static int fake_write(struct exporter *e, const struct chunk *chunks)
{
	if (LOAD(e->again))
		return -EAGAIN;
	if (LOAD(e->delay_us))
		usleep((unsigned)LOAD(e->delay_us));
	STORE(e->writes, e->writes + 1);
	for (const struct chunk *c = chunks; c; c = c->next) {
		for (uint32_t i = 0; i < c->span_cnt; i++) {
			e->sum += c->spans[i].span_id;
			if ((int)(c->spans[i].span_id % 8) < e->deny_of_8)
				e->st.dropped++;
			else if (LOAD(e->hold))
				e->st.held++;
			else
				e->st.exported++;
		}
	}
	return 0;
}

static int fake_tick(struct exporter *e, uint64_t now_ns)
{
	(void)now_ns;
	STORE(e->ticks, e->ticks + 1);
	return 0;
}

static void fake_flush(struct exporter *e, uint64_t deadline_ns)
{
	e->flushed = true;
	e->flush_deadline_ns = deadline_ns;
	if (e->refuse_flush)
		e->st.dropped += e->st.held;
	else
		e->st.exported += e->st.held;
	e->st.held = 0;
}

static void fake_stats(const struct exporter *e, struct exporter_stats *ret)
{
	*ret = e->st;
}

static void fake_describe(const struct exporter *e, struct sbuf *out)
{
	(void)e;
	sbuf_adds(out, "fake");
}

static void fake_close(struct exporter *e)
{
	assert_false(e->closed);
	e->closed = true;
}

static const struct exporter_ops fake_ops = {.name = "fake",
					     .write = fake_write,
					     .tick = fake_tick,
					     .flush = fake_flush,
					     .stats = fake_stats,
					     .describe = fake_describe,
					     .close = fake_close};

struct fixture {
	struct chunk_pool *pool;
	struct process_info *process;
	struct exporter e[3];
	struct export_queue *q;
	uint64_t next_id, sum; /* of what was pushed and taken */
};

static void fixture_start(struct fixture *f, unsigned sinks, uint32_t max_spans)
{
	struct export_sink s[3];
	f->pool = chunk_pool_new(100000);
	f->process = process_info_new();
	for (unsigned i = 0; i < sinks; i++)
		s[i] = (struct export_sink){&fake_ops, &f->e[i]};
	struct export_queue_options o = {.max_spans = max_spans, .pool = f->pool};
	struct sbuf err = {0};
	assert_int_equal(export_queue_start(&f->q, s, sinks, &o, &err), 0);
	sbuf_release(&err);
}

static bool push(struct fixture *f, uint32_t spans)
{
	struct chunk *c = chunk_pool_get(f->pool);
	uint64_t sum = 0;
	c->process = process_info_ref(f->process);
	for (uint32_t i = 0; i < spans; i++)
		sum += chunk_add(c)->span_id = ++f->next_id;
	bool taken = export_queue_push(f->q, c);
	f->sum += taken ? sum : 0;
	return taken;
}

static struct export_queue_stats stats(struct fixture *f)
{
	struct export_queue_stats st;
	export_queue_stats(f->q, &st);
	assert_int_equal(st.pushed, st.exported + st.export_failed + st.held);
	return st;
}

static void fixture_end(struct fixture *f)
{
	export_queue_stop(f->q, NSEC_PER_SEC);
	export_queue_stop(f->q, NSEC_PER_SEC);
	assert_int_equal(stats(f).held, 0);
	export_queue_free(f->q);
	/* Every chunk went back: nobody holds the process any more. */
	assert_int_equal(f->process->refs, 1);
	process_info_unref(f->process);
	chunk_pool_free(f->pool);
}

static void wait_for(const uint64_t *what, uint64_t at_least)
{
	for (int i = 0; i < 2000 && LOAD(*what) < at_least; i++)
		usleep(1000);
	assert_true(LOAD(*what) >= at_least);
}

static void everyone_gets_everything(void **state)
{
	(void)state;
	struct fixture f = {0};
	fixture_start(&f, 3, 1 << 30);
	f.e[0].deny_of_8 = 3;
	for (int i = 0; i < 20000; i++) {
		assert_true(push(&f, 1 + (uint32_t)i % 7));
		if (i % 1000 == 0)
			stats(&f);
	}
	export_queue_stop(f.q, NSEC_PER_SEC);
	struct export_queue_stats st = stats(&f);
	assert_int_equal(st.pushed, f.next_id);
	assert_int_equal(st.queue_full, 0);
	assert_int_equal(st.exported, f.e[0].st.exported);
	assert_int_equal(st.export_failed, f.e[0].st.dropped);
	assert_true(st.export_failed > 1000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(f.e[i].sum, f.sum);
		assert_true(f.e[i].flushed && f.e[i].closed);
		struct exporter_stats es;
		struct sbuf text = {0};
		assert_int_equal(export_queue_sink(f.q, (unsigned)i, &es, &text), 0);
		assert_int_equal(es.exported, f.e[i].st.exported);
		assert_string_equal(sbuf_str(&text), "fake");
		sbuf_release(&text);
	}
	assert_int_equal(export_queue_sink(f.q, 3, NULL, NULL), -EINVAL);
	/* Nothing is taken after the end. */
	assert_false(push(&f, 5));
	assert_int_equal(stats(&f).queue_full, 5);
	fixture_end(&f);
}

static void full_at_the_door(void **state)
{
	(void)state;
	struct fixture f = {0};
	f.e[0].delay_us = 300;
	fixture_start(&f, 1, 500);
	uint64_t refused = 0;
	for (int i = 0; i < 3000; i++)
		if (!push(&f, 10))
			refused += 10;
	struct export_queue_stats st = stats(&f);
	assert_true(refused > 0);
	assert_int_equal(st.queue_full, refused);
	assert_int_equal(st.pushed + st.queue_full, 30000);
	export_queue_stop(f.q, 5 * NSEC_PER_SEC);
	assert_int_equal(f.e[0].sum, f.sum);
	assert_int_equal(stats(&f).exported, 30000 - refused);
	fixture_end(&f);
}

/* A chunk larger than the queue still passes when the queue is empty. */
static void one_huge_chunk(void **state)
{
	(void)state;
	struct fixture f = {0};
	fixture_start(&f, 1, 100);
	assert_true(push(&f, 1000));
	fixture_end(&f);
	assert_int_equal(f.e[0].st.exported, 1000);
}

/* One exporter cannot take more: the other goes on with what it has; after a second the batch is given up. */
static void stalled_exporter(void **state)
{
	(void)state;
	struct fixture f = {0};
	f.e[0].again = true;
	fixture_start(&f, 2, 100000);
	assert_true(push(&f, 10));
	wait_for(&f.e[1].writes, 1);
	assert_int_equal(stats(&f).held, 10);
	usleep(1300000);
	assert_int_equal(stats(&f).export_failed, 10);
	STORE(f.e[0].again, false);
	assert_true(push(&f, 7));
	wait_for(&f.e[0].writes, 1);
	fixture_end(&f);
	assert_int_equal(f.e[0].st.exported, 7);
	assert_int_equal(f.e[1].st.exported, 17);
}

static void stop_does_not_wait_for_a_stalled_one(void **state)
{
	(void)state;
	struct fixture f = {0};
	f.e[0].again = true;
	fixture_start(&f, 1, 100000);
	for (int i = 0; i < 1000; i++)
		assert_true(push(&f, 10));
	uint64_t before = clock_mono_ns();
	export_queue_stop(f.q, 100 * NSEC_PER_MSEC);
	assert_true(clock_mono_ns() - before < 800 * NSEC_PER_MSEC);
	assert_int_equal(stats(&f).export_failed, 10000);
	fixture_end(&f);
}

static void held_until_flush(void **state)
{
	(void)state;
	struct fixture f = {0};
	f.e[0].hold = 1;
	f.e[0].refuse_flush = 1;
	f.e[1].hold = 1;
	fixture_start(&f, 2, 100000);
	assert_true(push(&f, 10));
	wait_for(&f.e[1].writes, 1);
	assert_int_equal(stats(&f).held, 10);
	uint64_t before = clock_mono_ns();
	export_queue_stop(f.q, NSEC_PER_SEC);
	assert_int_equal(stats(&f).export_failed, 10);
	assert_int_equal(f.e[1].st.exported, 10);
	/* The time is shared: the first cannot use up the second's. */
	assert_true(f.e[0].flush_deadline_ns < before + 700 * NSEC_PER_MSEC);
	assert_true(f.e[1].flush_deadline_ns > before + 900 * NSEC_PER_MSEC);
	fixture_end(&f);
}

static void awake_when_needed(void **state)
{
	(void)state;
	struct fixture f = {0};
	fixture_start(&f, 1, 100000);
	usleep(500000);
	uint64_t ticks = LOAD(f.e[0].ticks);
	assert_true(ticks >= 2 && ticks < 10); /* every 200 ms, not more */
	uint64_t before = clock_mono_ns();
	assert_true(push(&f, 1));
	wait_for(&f.e[0].writes, 1);
	assert_true(clock_mono_ns() - before < 50 * NSEC_PER_MSEC);
	fixture_end(&f);
}

static void *pusher(void *arg)
{
	struct fixture *f = arg;
	struct fixture mine = {.pool = chunk_pool_new(0), .process = f->process, .q = f->q};
	for (int i = 0; i < 5000; i++)
		push(&mine, 3);
	chunk_pool_free(mine.pool);
	return NULL;
}

static void several_producers(void **state)
{
	(void)state;
	struct fixture f = {0};
	fixture_start(&f, 2, 1 << 30);
	pthread_t t[3];
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, pusher, &f);
	for (int i = 0; i < 100; i++) {
		stats(&f);
		usleep(200);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	fixture_end(&f);
	assert_int_equal(f.e[0].st.exported, 45000);
}

static void bad_start_closes_all(void **state)
{
	(void)state;
	struct exporter e[9] = {0};
	struct export_sink s[9];
	for (int i = 0; i < 9; i++)
		s[i] = (struct export_sink){&fake_ops, &e[i]};
	struct export_queue_options o = {.max_spans = 1};
	struct export_queue *q = NULL;
	struct sbuf err = {0};
	assert_int_equal(export_queue_start(&q, s, 9, &o, &err), -EINVAL);
	for (int i = 0; i < 9; i++)
		assert_true(e[i].closed);
	assert_true(err.len > 0);
	assert_int_equal(export_queue_start(&q, NULL, 0, &o, &err), -EINVAL);
	sbuf_release(&err);
	export_queue_free(NULL);
	export_queue_stop(NULL, 0);
}

static void registry(void **state)
{
	(void)state;
	assert_int_equal(exporter_registry_cnt, 3);
	for (unsigned i = 0; i < exporter_registry_cnt; i++)
		assert_ptr_equal(exporter_find(sv_of(exporter_registry[i]->name)), exporter_registry[i]);
	assert_null(exporter_find(SV("zipkin")));
	assert_null(exporter_find(SV("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everyone_gets_everything),
		cmocka_unit_test(full_at_the_door),
		cmocka_unit_test(one_huge_chunk),
		cmocka_unit_test(stalled_exporter),
		cmocka_unit_test(stop_does_not_wait_for_a_stalled_one),
		cmocka_unit_test(held_until_flush),
		cmocka_unit_test(awake_when_needed),
		cmocka_unit_test(several_producers),
		cmocka_unit_test(bad_start_closes_all),
		cmocka_unit_test(registry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
