/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/vec.h"
#include "trace/assembly.h"
#include "trace/hindex.h"

struct fixture {
	struct assembly *a;
	struct chunk_pool *pool;
	struct process_info *process[3];
	VEC(struct chunk *) out;
};

static void fixture_sink(void *arg, struct chunk *c)
{
	struct fixture *f = arg;
	assert_int_equal(vec_push(&f->out, c), 0);
}

static void fixture_init(struct fixture *f, struct assembly_options options)
{
	*f = (struct fixture){.pool = chunk_pool_new(1000)};
	options.sink = fixture_sink;
	options.sink_arg = f;
	options.pool = f->pool;
	f->a = assembly_new(&options);
	assert_non_null(f->a);
	for (int i = 0; i < 3; i++)
		assert_non_null(f->process[i] = process_info_new());
}

static void fixture_take(struct fixture *f)
{
	vec_foreach (c, &f->out)
		chunk_pool_put(f->pool, *c);
	f->out.cnt = 0;
}

static void fixture_release(struct fixture *f)
{
	fixture_take(f);
	assembly_free(f->a);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(f->process[i]->refs, 1);
		process_info_unref(f->process[i]);
	}
	chunk_pool_free(f->pool);
	vec_release(&f->out);
}

static const struct assembly_options wide = {
	.max_chunks = 1000, .max_spans = 100000, .partial_min_spans = 0, .max_idle_ns = 1000000};

/* A span of trace `lo`; a root is closed at once, as flow/ does. */
static struct span *add(struct fixture *f, uint64_t lo, uint64_t id, uint64_t parent, bool root)
{
	struct chunk *c;
	struct span *s = assembly_add(f->a, 7, lo, f->process[0], 0, &c);
	if (!s)
		return NULL;
	s->span_id = id;
	s->parent_id = parent;
	s->local_root = root;
	if (root)
		assembly_close(f->a, c);
	return s;
}

static void forget(struct fixture *f, uint64_t lo, uint64_t id, uint64_t parent, bool root)
{
	assembly_forget(f->a, 7, lo, f->process[0], id, parent, root, 0);
}

static const struct span *out_span(const struct fixture *f, size_t chunk, uint64_t id)
{
	assert_true(chunk < f->out.cnt);
	for (uint32_t i = 0; i < f->out.data[chunk]->span_cnt; i++)
		if (f->out.data[chunk]->spans[i].span_id == id)
			return &f->out.data[chunk]->spans[i];
	return NULL;
}

static void flushed_by_the_pass(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, wide);
	add(&f, 1, 11, 10, false);
	assembly_pass(f.a, 0);
	assembly_pass(f.a, 0);
	assert_int_equal(f.out.cnt, 0);
	add(&f, 1, 10, 0, true);
	assert_int_equal(f.out.cnt, 0);
	/* A child from another ring, read after its root. */
	add(&f, 1, 12, 10, false);
	assembly_pass(f.a, 0);
	assert_int_equal(f.out.cnt, 1);
	const struct chunk *c = f.out.data[0];
	assert_int_equal(c->span_cnt, 3);
	assert_int_equal(c->trace_hi, 7);
	assert_int_equal(c->trace_lo, 1);
	assert_int_equal(c->partial, 0);
	assert_ptr_equal(c->process, f.process[0]);
	/* The trace may come again: a new chunk. */
	add(&f, 1, 20, 5, true);
	assembly_flush(f.a);
	assert_int_equal(f.out.cnt, 2);
	fixture_release(&f);
}

static void traces_and_processes_apart(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, wide);
	struct chunk *c[4];
	assembly_add(f.a, 1, 5, f.process[0], 0, &c[0])->span_id = 1;
	assembly_add(f.a, 1, 5, f.process[1], 0, &c[1])->span_id = 2;
	assembly_add(f.a, 2, 5, f.process[0], 0, &c[2])->span_id = 3;
	assembly_add(f.a, 1, 5, f.process[0], 0, &c[3])->span_id = 4;
	assert_ptr_equal(c[0], c[3]);
	assert_ptr_not_equal(c[0], c[1]);
	assert_ptr_not_equal(c[0], c[2]);
	assembly_close(f.a, c[1]);
	assembly_pass(f.a, 0);
	assert_int_equal(f.out.cnt, 1);
	assert_int_equal(f.out.data[0]->spans[0].span_id, 2);
	fixture_take(&f);
	assembly_flush(f.a);
	assert_int_equal(f.out.cnt, 2);
	fixture_release(&f);
}

static void late_ones_do_not_wait(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, wide);
	add(&f, 1, 10, 0, true);
	add(&f, 2, 20, 0, true);
	assembly_pass(f.a, 0);
	fixture_take(&f);
	add(&f, 1, 11, 10, false);
	add(&f, 3, 30, 0, false);
	struct chunk *c;
	assembly_add(f.a, 7, 2, f.process[1], 0, &c)->span_id = 21; /* another process's part is not late */
	assembly_pass(f.a, 0);
	assert_int_equal(f.out.cnt, 1);
	assert_non_null(out_span(&f, 0, 11));
	assembly_flush(f.a);
	assert_int_equal(f.out.cnt, 3);
	fixture_release(&f);
}

static void forgotten_before_and_after(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, wide);
	/* 10 -> (20) -> (30) -> 40, and 50 under (20); chain buried in both orders. */
	add(&f, 1, 40, 30, false);
	forget(&f, 1, 30, 20, false);
	forget(&f, 1, 20, 10, false);
	add(&f, 1, 50, 20, false);
	add(&f, 1, 60, 30, false);
	add(&f, 1, 10, 0, true);
	/* Same ids in another trace: not touched. */
	add(&f, 2, 41, 30, true);
	assembly_pass(f.a, 0);
	assert_int_equal(f.out.cnt, 2);
	assert_int_equal(out_span(&f, 0, 40)->parent_id, 10);
	assert_int_equal(out_span(&f, 0, 50)->parent_id, 10);
	assert_int_equal(out_span(&f, 0, 60)->parent_id, 10);
	assert_int_equal(out_span(&f, 0, 10)->parent_id, 0);
	assert_int_equal(out_span(&f, 1, 41)->parent_id, 30);
	struct assembly_stats st;
	assembly_stats(f.a, &st);
	assert_int_equal(st.reparented, 3);
	assert_int_equal(st.open_tombstones, 0);
	fixture_release(&f);
}

static void forgotten_root_makes_roots(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, wide);
	add(&f, 1, 11, 10, false);
	add(&f, 1, 12, 10, false);
	add(&f, 1, 13, 12, false);
	forget(&f, 1, 10, 99, true); /* 99 lives in another process */
	/* Nothing but a tombstone: no chunk. */
	forget(&f, 2, 10, 0, true);
	assembly_pass(f.a, 0);
	assert_int_equal(f.out.cnt, 1);
	assert_int_equal(out_span(&f, 0, 11)->parent_id, 99);
	assert_int_equal(out_span(&f, 0, 11)->local_root, 1);
	assert_int_equal(out_span(&f, 0, 12)->local_root, 1);
	assert_int_equal(out_span(&f, 0, 13)->local_root, 0);
	assert_int_equal(out_span(&f, 0, 13)->parent_id, 12);
	struct assembly_stats st;
	assembly_stats(f.a, &st);
	assert_int_equal(st.open_chunks, 0);
	fixture_release(&f);
}

static void damaged_circle_ends(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, wide);
	add(&f, 1, 1, 2, false);
	forget(&f, 1, 2, 3, false);
	forget(&f, 1, 3, 2, false);
	forget(&f, 1, 4, 4, false);
	add(&f, 1, 5, 4, false);
	assembly_flush(f.a);
	assert_int_equal(f.out.cnt, 1);
	fixture_release(&f);
}

static void partial_flush(void **state)
{
	(void)state;
	struct fixture f;
	struct assembly_options o = wide;
	o.partial_min_spans = 300;
	fixture_init(&f, o);
	for (uint64_t i = 0; i < 300; i++)
		add(&f, 1, 100 + i, 10, false);
	assert_int_equal(f.out.cnt, 0);
	forget(&f, 1, 10, 5, false);
	add(&f, 1, 1000, 10, false);
	assert_int_equal(f.out.cnt, 1);
	assert_int_equal(f.out.data[0]->span_cnt, 300);
	assert_int_equal(f.out.data[0]->partial, 1);
	assert_int_equal(out_span(&f, 0, 399)->parent_id, 5);
	/* The forgotten call is remembered over the partial flush; a closed chunk is not cut. */
	add(&f, 1, 5, 0, true);
	for (uint64_t i = 0; i < 500; i++)
		add(&f, 1, 2000 + i, 10, false);
	assembly_pass(f.a, 0);
	assert_int_equal(f.out.cnt, 2);
	assert_int_equal(f.out.data[1]->span_cnt, 502);
	assert_int_equal(f.out.data[1]->partial, 0);
	assert_int_equal(out_span(&f, 1, 1000)->parent_id, 5);
	assert_int_equal(out_span(&f, 1, 2499)->parent_id, 5);
	struct assembly_stats st;
	assembly_stats(f.a, &st);
	assert_int_equal(st.partial_chunks, 1);
	assert_int_equal(st.flushed_spans, 802);
	fixture_release(&f);
}

static void idle_expiry(void **state)
{
	(void)state;
	struct fixture f;
	struct assembly_options o = wide;
	o.max_idle_ns = 100;
	fixture_init(&f, o);
	struct chunk *c;
	assembly_add(f.a, 0, 1, f.process[0], 1000, &c)->span_id = 1;
	assembly_add(f.a, 0, 2, f.process[0], 1001, &c)->span_id = 2;
	assembly_add(f.a, 0, 1, f.process[0], 1050, &c)->span_id = 3;
	assembly_forget(f.a, 0, 3, f.process[0], 9, 8, false, 1001);
	assembly_pass(f.a, 1101);
	assert_int_equal(f.out.cnt, 0);
	assembly_pass(f.a, 1102); /* trace 2 and the lone tombstone */
	assert_int_equal(f.out.cnt, 1);
	assert_int_equal(f.out.data[0]->spans[0].span_id, 2);
	assert_int_equal(f.out.data[0]->partial, 1);
	assembly_pass(f.a, 1151);
	assert_int_equal(f.out.cnt, 2);
	struct assembly_stats st;
	assembly_stats(f.a, &st);
	assert_int_equal(st.open_chunks, 0);
	assert_int_equal(st.idle_chunks, 2);
	assembly_pass(f.a, 900); /* a clock behind: nothing bad */
	fixture_release(&f);
}

static void limits(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, (struct assembly_options){.max_chunks = 2, .max_spans = 3, .max_idle_ns = 1000});
	assert_non_null(add(&f, 1, 1, 0, false));
	assert_non_null(add(&f, 2, 2, 0, false));
	assert_null(add(&f, 3, 3, 0, false));
	forget(&f, 3, 3, 0, false);
	assert_non_null(add(&f, 1, 4, 0, false));
	assert_null(add(&f, 1, 5, 0, false));
	for (uint64_t i = 0; i < 5; i++)
		forget(&f, 1, 10 + i, 0, false);
	struct assembly_stats st;
	assembly_stats(f.a, &st);
	assert_int_equal(st.limit_spans, 2);
	assert_int_equal(st.open_spans, 3);
	assert_int_equal(st.open_tombstones, 3);
	assert_int_equal(st.lost_tombstones, 3);
	assembly_flush(f.a);
	assert_non_null(add(&f, 3, 3, 0, false));
	fixture_release(&f);
}

static void freed_with_open_chunks(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, wide);
	for (uint64_t i = 0; i < 50; i++) {
		add(&f, i, 1, 0, i % 2);
		forget(&f, i, 2, 0, false);
	}
	fixture_release(&f); /* checks the references; leaks are the sanitizer's */
}

/* --- the pool ----------------------------------------------------------------------------------------------------- */

static void pool_reuses(void **state)
{
	(void)state;
	struct chunk_pool *p = chunk_pool_new(2 * 33); /* room for 32 spans each */
	struct process_info *pi = process_info_new();
	struct chunk *c[3];
	for (int i = 0; i < 3; i++) {
		c[i] = chunk_pool_get(p);
		c[i]->process = process_info_ref(pi);
		for (int n = 0; n < 20; n++)
			assert_int_equal(chunk_add(c[i])->span_id, 0);
		c[i]->spans[3].span_id = 9;
		assert_true(arena_dup(&c[i]->arena, SV("text")).len == 4);
	}
	for (int i = 0; i < 3; i++)
		chunk_pool_put(p, c[i]);
	assert_int_equal(pi->refs, 1);
	struct chunk *again = chunk_pool_get(p);
	assert_true(again == c[0] || again == c[1]);
	assert_int_equal(again->span_cnt, 0);
	assert_null(again->process);
	assert_true(again->span_cap >= 20);
	for (int n = 0; n < 20; n++)
		assert_int_equal(chunk_add(again)->span_id, 0);
	/* A huge one does not keep its memory. */
	while (again->span_cnt < 5000)
		chunk_add(again);
	chunk_pool_put(p, again);
	struct chunk *x = chunk_pool_get(p), *y = chunk_pool_get(p);
	assert_true(x->span_cap < 5000 && y->span_cap < 5000);
	chunk_pool_put(p, x);
	chunk_pool_put(p, y);
	chunk_pool_free(p);
	process_info_unref(pi);
	process_info_unref(NULL);
}

/* What chunks point to may go two ages after the last of them was got. */
static void pool_ages(void **state)
{
	(void)state;
	struct chunk_pool *p = chunk_pool_new(1000);
	uint32_t start = chunk_pool_age(p);
	struct chunk *first = chunk_pool_get(p);
	chunk_pool_turn(p);
	assert_int_equal(chunk_pool_age(p) - start, 1);
	struct chunk *second = chunk_pool_get(p); /* keeps nobody waiting who asked before it */
	for (int i = 0; i < 3; i++)
		chunk_pool_turn(p);
	assert_int_equal(chunk_pool_age(p) - start, 1);
	chunk_pool_put(p, first);
	chunk_pool_turn(p);
	assert_int_equal(chunk_pool_age(p) - start, 2);
	chunk_pool_turn(p);
	assert_int_equal(chunk_pool_age(p) - start, 2);
	first = chunk_pool_get(p); /* the same memory, of another age */
	chunk_pool_put(p, second);
	chunk_pool_turn(p);
	assert_int_equal(chunk_pool_age(p) - start, 3);
	chunk_pool_put(p, first);
	for (int i = 0; i < 5; i++)
		chunk_pool_turn(p);
	assert_int_equal(chunk_pool_age(p) - start, 8);
	chunk_pool_free(p);
}

/* --- against a naive model ---------------------------------------------------------------------------------------- */

struct model_tomb {
	uint64_t id, parent;
	bool root;
};
struct model_chunk {
	bool used, closed;
	unsigned close_pass;
	uint64_t trace, last_ns;
	int process;
	VEC(struct model_tomb) tombs;
	VEC(struct span) spans;
};
#define MODEL_CHUNKS 24
#define MODEL_SPANS  150
static struct model_chunk model[MODEL_CHUNKS];
static unsigned model_passes;
/* Roots that left lately; places are taken as in assembly.c. */
static struct {
	uint64_t trace;
	int process; /* + 1 */
} model_left[4096];
static size_t model_seen; /* chunks of the fixture compared so far */

static size_t model_spans(void)
{
	size_t n = 0;
	for (int i = 0; i < MODEL_CHUNKS; i++)
		n += model[i].used ? model[i].spans.cnt : 0;
	return n;
}

static struct model_chunk *model_find(uint64_t trace, int process)
{
	for (int i = 0; i < MODEL_CHUNKS; i++)
		if (model[i].used && model[i].trace == trace && model[i].process == process)
			return &model[i];
	return NULL;
}

static size_t model_place(uint64_t trace)
{
	return hindex_hash(trace, 0) % (sizeof(model_left) / sizeof(model_left[0]));
}

static void model_close(struct model_chunk *m)
{
	if (m->closed)
		return;
	m->close_pass = model_passes;
	m->closed = true;
	model_left[model_place(m->trace)].trace = m->trace;
	model_left[model_place(m->trace)].process = m->process + 1;
}

static struct model_chunk *model_get(uint64_t trace, int process)
{
	struct model_chunk *m = model_find(trace, process);
	for (int i = 0; !m && i < MODEL_CHUNKS; i++)
		if (!model[i].used) {
			m = &model[i];
			m->used = true;
			m->closed = false;
			m->trace = trace;
			m->process = process;
			m->tombs.cnt = m->spans.cnt = 0;
			size_t place = model_place(trace);
			if (model_left[place].trace == trace && model_left[place].process == process + 1)
				model_close(m);
		}
	return m;
}

static void model_resolve(const struct model_chunk *m, struct span *s)
{
	for (bool again = true; again;) {
		again = false;
		for (size_t i = 0; i < m->tombs.cnt && !again; i++) {
			if (m->tombs.data[i].id != s->parent_id)
				continue;
			s->parent_id = m->tombs.data[i].parent;
			s->local_root |= m->tombs.data[i].root;
			again = !m->tombs.data[i].root;
			break;
		}
	}
}

/* The fixture must have emitted exactly this chunk. Order between chunks is free. */
static void model_expect(struct fixture *f, struct model_chunk *m, bool partial)
{
	if (m->spans.cnt == 0)
		return;
	struct chunk *c = NULL;
	for (size_t i = 0; i < f->out.cnt; i++)
		if (f->out.data[i] && f->out.data[i]->trace_lo == m->trace &&
		    f->out.data[i]->process == f->process[m->process]) {
			c = f->out.data[i];
			f->out.data[i] = NULL;
			break;
		}
	assert_non_null(c);
	assert_int_equal(c->span_cnt, m->spans.cnt);
	assert_int_equal(c->partial, partial);
	for (size_t i = 0; i < m->spans.cnt; i++) {
		model_resolve(m, &m->spans.data[i]);
		assert_int_equal(c->spans[i].span_id, m->spans.data[i].span_id);
		assert_int_equal(c->spans[i].parent_id, m->spans.data[i].parent_id);
		assert_int_equal(c->spans[i].local_root, m->spans.data[i].local_root);
	}
	chunk_pool_put(f->pool, c);
	model_seen++;
	m->spans.cnt = 0;
}

static void model_all_matched(struct fixture *f)
{
	vec_foreach (c, &f->out)
		assert_null(*c);
	f->out.cnt = 0;
}

static void model_pass(struct fixture *f, uint64_t now, uint64_t idle)
{
	assembly_pass(f->a, now);
	model_passes++;
	for (int i = 0; i < MODEL_CHUNKS; i++) {
		struct model_chunk *m = &model[i];
		if (!m->used)
			continue;
		if (m->closed ? model_passes <= m->close_pass : now - m->last_ns <= idle)
			continue;
		model_expect(f, m, !m->closed);
		m->used = false;
	}
	model_all_matched(f);
}

static void random_against_model(void **state)
{
	(void)state;
	struct fixture f;
	const unsigned partial = 7;
	const uint64_t idle = 50;
	fixture_init(&f, (struct assembly_options){.max_chunks = MODEL_CHUNKS,
						   .max_spans = MODEL_SPANS,
						   .partial_min_spans = partial,
						   .max_idle_ns = idle});
	uint64_t now = 1000, id = 100, refused = 0;
	srand(12345);
	for (int step = 0; step < 300000; step++) {
		uint64_t trace = (uint64_t)(rand() % 20 + 20 * (step / 2500));
		int process = rand() % 3, what = rand() % 100;
		now += rand() % 8 == 0;
		/* Parents among recent ids, so that some are forgotten and chains form. */
		uint64_t parent = id - (uint64_t)(rand() % 40);
		const struct model_chunk *old = model_find(trace, process);
		if (old && old->tombs.cnt && rand() % 3 == 0)
			parent = old->tombs.data[(size_t)rand() % old->tombs.cnt].id;
		if (what < 60) {
			struct model_chunk *m = model_find(trace, process);
			bool full = m && !m->closed && m->spans.cnt >= partial;
			struct chunk *c;
			struct span *s = assembly_add(f.a, 0, trace, f.process[process], now, &c);
			if (full) {
				model_expect(&f, m, true);
				model_all_matched(&f);
			}
			bool room = model_spans() < MODEL_SPANS && (m = model_get(trace, process)) != NULL;
			assert_int_equal(s != NULL, room);
			refused += !room;
			if (!room)
				continue;
			s->span_id = ++id;
			s->parent_id = parent;
			m->last_ns = now;
			s->local_root = rand() % 12 == 0;
			assert_int_equal(vec_push(&m->spans, *s), 0);
			if (s->local_root) {
				assembly_close(f.a, c);
				model_close(m);
			}
		} else if (what < 80) {
			bool root = rand() % 12 == 0;
			struct assembly_stats st;
			assembly_stats(f.a, &st);
			bool room = st.open_tombstones < MODEL_SPANS;
			uint64_t gone = ++id;
			assembly_forget(f.a, 0, trace, f.process[process], gone, parent, root, now);
			struct model_chunk *m = model_get(trace, process);
			if (!m)
				continue;
			m->last_ns = now;
			if (room)
				assert_int_equal(vec_push(&m->tombs, ((struct model_tomb){gone, parent, root})), 0);
			if (root)
				model_close(m);
		} else if (rand() % 200) {
			if (rand() % 4 == 0)
				model_pass(&f, now, idle);
		} else if (rand() % 2) {
			model_pass(&f, now, idle);
		} else {
			now += 2 * idle;
			model_pass(&f, now, idle);
		}
	}
	struct assembly_stats st;
	assembly_stats(f.a, &st);
	assert_int_equal(st.limit_spans, refused);
	assert_int_equal(st.flushed_chunks, model_seen);
	assert_true(st.reparented > 1000 && st.partial_chunks > 100 && st.idle_chunks > 100 && refused > 100);
	assembly_flush(f.a);
	for (int i = 0; i < MODEL_CHUNKS; i++) {
		if (model[i].used)
			model_expect(&f, &model[i], !model[i].closed);
		vec_release(&model[i].tombs);
		vec_release(&model[i].spans);
	}
	model_all_matched(&f);
	assembly_stats(f.a, &st);
	assert_int_equal(st.open_spans, 0);
	assert_int_equal(st.open_chunks, 0);
	fixture_release(&f);
}

/* --- several rings ------------------------------------------------------------------------------------------------ */

#define RINGS 4
#define CALLS 60
struct call {
	uint64_t id, parent, end;
	int ring;
	bool gone, read;
};

/* Random trees of calls on random rings, some not reported: wherever the cuts fall between the writes, each trace
 * is one chunk, complete, and every parent is the nearest reported ancestor. */
static void rings_in_any_order(void **state)
{
	(void)state;
	srand(99);
	for (int round = 0; round < 3000; round++) {
		struct fixture f;
		fixture_init(&f, wide);
		struct call calls[CALLS];
		int cnt = 2 + rand() % (CALLS - 2), reported = 0;
		for (int i = 0; i < cnt; i++) {
			/* calls[0] is the root; a child ends before its parent. */
			int parent = i ? rand() % i : -1;
			calls[i] = (struct call){.id = (uint64_t)i + 1,
						 .parent = parent < 0 ? 0 : (uint64_t)parent + 1,
						 .end = (uint64_t)(cnt - i),
						 .ring = rand() % RINGS,
						 .gone = rand() % 3 == 0};
			reported += !calls[i].gone;
		}
		/* A pass reads one ring after the other, each up to the same moment. */
		uint64_t now = 0;
		for (int pass = 0; pass < 200 && f.out.cnt == 0; pass++) {
			for (int ring = 0; ring < RINGS; ring++) {
				for (int i = cnt - 1; i >= 0; i--) {
					struct call *c = &calls[i];
					if (c->ring != ring || c->read || c->end > now)
						continue;
					c->read = true;
					if (c->gone)
						forget(&f, 1, c->id, c->parent, i == 0);
					else
						add(&f, 1, c->id, c->parent, i == 0);
				}
			}
			assembly_pass(f.a, 0);
			now += (uint64_t)(rand() % 5);
		}
		assert_int_equal(f.out.cnt, reported > 0);
		if (reported)
			assert_int_equal(f.out.data[0]->span_cnt, reported);
		for (int i = 0; i < cnt; i++) {
			if (calls[i].gone)
				continue;
			uint64_t p = calls[i].parent;
			while (p && calls[p - 1].gone)
				p = calls[p - 1].parent;
			assert_int_equal(out_span(&f, 0, calls[i].id)->parent_id, p);
			assert_int_equal(out_span(&f, 0, calls[i].id)->local_root, p == 0);
		}
		fixture_release(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flushed_by_the_pass),
		cmocka_unit_test(traces_and_processes_apart),
		cmocka_unit_test(late_ones_do_not_wait),
		cmocka_unit_test(forgotten_before_and_after),
		cmocka_unit_test(forgotten_root_makes_roots),
		cmocka_unit_test(damaged_circle_ends),
		cmocka_unit_test(partial_flush),
		cmocka_unit_test(idle_expiry),
		cmocka_unit_test(limits),
		cmocka_unit_test(freed_with_open_chunks),
		cmocka_unit_test(pool_reuses),
		cmocka_unit_test(pool_ages),
		cmocka_unit_test(random_against_model),
		cmocka_unit_test(rings_in_any_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
