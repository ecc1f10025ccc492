/* SPDX-License-Identifier: Apache-2.0 */
/* Values as the kernel half leaves them, in maps of the kernel's; skipped where none can be made (not root). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "kernel/contexts.h"

#define TGID	  4242
#define KEY(tid)  ((uint64_t)TGID << 32 | (tid))
#define GOROUTINE 700

static struct context_maps maps;

static int make_maps(void **state)
{
	LIBBPF_OPTS(bpf_map_create_opts, o, .map_flags = BPF_F_NO_PREALLOC);
	(void)state;
	maps.context_sz = sizeof(struct sh_context) + sizeof(struct sh_arena);
	maps.contexts = bpf_map_create(BPF_MAP_TYPE_HASH, "contexts", 8, (uint32_t)maps.context_sz, 64, &o);
	maps.tasks = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "tasks", sizeof(struct sh_task), sizeof(struct sh_task_work),
				    4096, NULL);
	return 0;
}

static int close_maps(void **state)
{
	(void)state;
	close(maps.contexts);
	close(maps.tasks);
	return 0;
}

static void need_maps(void)
{
	if (maps.contexts < 0 || maps.tasks < 0)
		skip();
}

static void put(uint32_t tid, const struct sh_context *c)
{
	static uint8_t value[sizeof(struct sh_context) + sizeof(struct sh_arena)];
	uint64_t key = KEY(tid);
	memcpy(value, c, sizeof(*c));
	assert_int_equal(bpf_map_update_elem(maps.contexts, &key, value, BPF_ANY), 0);
}

static struct context_now get(uint32_t tid)
{
	struct context_now now;
	memset(&now, 0xff, sizeof(now));
	assert_int_equal(contexts_of_threads(&maps, TGID, &tid, 1, &now), 0);
	return now;
}

static void what_a_thread_is_in(void **state)
{
	static struct sh_context c;
	struct context_now now;
	(void)state;
	need_maps();
	now = get(1);
	assert_true(!now.work.span_id && !now.call.span_id && !now.answered);
	put(1, &c);
	assert_int_equal(get(1).work.span_id, 0);

	/* Stale words of a request that is over. */
	c.base = (struct sh_span_context){1, 2, 0};
	c.base_flags = SH_BASE_ANSWERED;
	put(1, &c);
	now = get(1);
	assert_true(!now.work.span_id && !now.answered);

	c.base.span_id = 3;
	put(1, &c);
	now = get(1);
	assert_int_equal(now.work.trace_hi, 1);
	assert_int_equal(now.work.trace_lo, 2);
	assert_int_equal(now.work.span_id, 3);
	assert_true(now.answered);

	/* A call that was open before the request came is none of its. */
	c.base_flags = 0;
	c.depth = c.base_depth = 1;
	c.frames[0] = (struct sh_frame){.self = {7, 8, 9}, .start_ns = 10, .func = 11};
	put(1, &c);
	assert_int_equal(get(1).call.span_id, 0);
	c.depth = 2;
	c.frames[1] = (struct sh_frame){.self = {1, 2, 5}, .start_ns = 20, .func = 12};
	put(1, &c);
	now = get(1);
	assert_int_equal(now.call.span_id, 5);
	assert_int_equal(now.func, 12);
	assert_int_equal(now.call_ns, 20);
	assert_int_equal(now.work.span_id, 3);

	c.base.span_id = 0;
	c.depth = 1;
	put(1, &c);
	assert_int_equal(get(1).call.span_id, 9);
	/* A depth that never is: no more is looked at than there is. */
	c.depth = UINT32_MAX;
	c.frames[SH_MAX_FRAMES - 1].self.span_id = 77;
	put(1, &c);
	assert_int_equal(get(1).call.span_id, 77);
}

static void each_of_many(void **state)
{
	static struct sh_context c;
	uint32_t tids[40];
	struct context_now now[40];
	(void)state;
	need_maps();
	for (uint32_t i = 0; i < 40; i++) {
		tids[i] = 100 + i;
		c.base.span_id = 1000 + i;
		if (i % 3)
			put(tids[i], &c);
	}
	assert_int_equal(contexts_of_threads(&maps, TGID, tids, 40, now), 0);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(now[i].work.span_id, i % 3 ? 1000 + i : 0);
	assert_int_equal(contexts_of_threads(&maps, TGID + 1, tids, 40, now), 0);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(now[i].work.span_id, 0);
}

static void put_task(uint64_t id, uint32_t tgid, uint32_t space)
{
	struct sh_task key = {.id = id, .tgid = tgid, .space = space};
	struct sh_task_work work = {.base = {1, 2, id}, .flags = id & 1 ? SH_BASE_ANSWERED : 0};
	assert_int_equal(bpf_map_update_elem(maps.tasks, &key, &work, BPF_ANY), 0);
}

static void goroutines(void **state)
{
	static struct context_now now[SH_MAX_TASKS];
	static bool found[GOROUTINE];
	(void)state;
	need_maps();
	assert_int_equal(contexts_of_goroutines(&maps, TGID, now, SH_MAX_TASKS), 0);
	for (uint64_t i = 0; i < GOROUTINE; i++) {
		put_task(i + 1, TGID, 2);
		put_task(i + 1, TGID + 1, 2);
		put_task(i + 10000, TGID, 2 | SH_TASK_GIVEN);
	}
	assert_int_equal(contexts_of_goroutines(&maps, TGID, now, SH_MAX_TASKS), GOROUTINE);
	for (int i = 0; i < GOROUTINE; i++) {
		assert_in_range(now[i].goroutine, 1, GOROUTINE);
		assert_false(found[now[i].goroutine - 1]);
		found[now[i].goroutine - 1] = true;
		assert_int_equal(now[i].work.span_id, now[i].goroutine);
		assert_int_equal(now[i].answered, now[i].goroutine & 1);
	}
	assert_int_equal(contexts_of_goroutines(&maps, TGID, now, 5), 5);
	struct context_maps none = {.contexts = -1, .tasks = -1, .context_sz = maps.context_sz};
	assert_int_equal(contexts_of_goroutines(&none, TGID, now, 5), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_thread_is_in),
		cmocka_unit_test(each_of_many),
		cmocka_unit_test(goroutines),
	};
	return cmocka_run_group_tests(tests, make_maps, close_maps);
}
