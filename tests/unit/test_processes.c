/* SPDX-License-Identifier: Apache-2.0 */
#include "target_help.h"

#include <pthread.h>

#include "base/clock.h"
#include "target/processes.h"

static int released;

static void on_released(void *arg, struct process *p)
{
	(void)arg, (void)p;
	released++;
}

static struct processes *new_table(const char *root, uint32_t max)
{
	struct processes_options o = {
		.root = root,
		.max = max,
		.keep_ended_ns = 100,
		.hostname = SV("box"),
		.released = on_released,
	};
	released = 0;
	return processes_new(&o);
}

static char root[256];

static int make_root(void **state)
{
	int err = make_test_dir(state);
	snprintf(root, sizeof(root), "%s", in_dir("proc"));
	return err ? err : mkdir(root, 0755);
}

static int end_test(void **state)
{
	reap_all(state);
	return remove_test_dir(state);
}

static int add(struct processes *t, int pid, const struct target_spec *spec, struct process **ret)
{
	struct proc p = PROC_INIT;
	int err = proc_open(&p, root, pid);
	if (!err)
		err = processes_add(t, &p, spec, ret);
	proc_close(&p);
	return err;
}

static void set_start(int pid, unsigned int ticks)
{
	char text[256];
	snprintf(text, sizeof(text), "%d (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %u 0 0\n", pid, ticks);
	write_text(in_dir("proc/%d/stat", pid), text);
}

static void test_add_find_remove(void **state)
{
	(void)state;
	struct processes *t = new_table(root, 3);
	struct processes_stats stats;
	struct process *a = NULL, *again = NULL;
	struct target_spec spec = {.service = SV("svc")};
	for (int pid = 1; pid <= 4; pid++)
		fake_process(root, pid, "x", "/bin/x", "x", 2);
	assert_int_equal(add(t, 1, &spec, &a), 1);
	assert_int_equal(a->tgid, 1);
	assert_int_equal(a->start_ticks, 10);
	assert_ptr_equal(a->spec, &spec);
	assert_sv(a->info->service, "svc");
	assert_sv(a->info->hostname, "box");
	assert_int_equal(add(t, 1, &spec, &again), 0);
	assert_ptr_equal(a, again);
	assert_int_equal(add(t, 2, &spec, NULL), 1);
	assert_int_equal(add(t, 3, &spec, NULL), 1);
	assert_int_equal(add(t, 4, &spec, NULL), -ENOSPC);
	assert_int_equal(add(t, 77, &spec, NULL), -ESRCH);
	assert_null(processes_find(t, 4));
	assert_null(processes_get_info(t, 4));
	struct process_info *info = processes_get_info(t, 1);
	assert_int_equal(info->refs, 2);
	processes_remove(t, 1);
	processes_remove(t, 1);
	assert_null(processes_find(t, 1));
	assert_int_equal(info->refs, 1); /* a chunk may hold it longer than the table */
	assert_sv(info->service, "svc");
	process_info_unref(info);
	assert_int_equal(add(t, 4, &spec, NULL), 1);
	processes_stats(t, &stats);
	assert_int_equal(stats.live, 3);
	assert_int_equal(stats.added, 4);
	assert_int_equal(stats.refused, 1);
	assert_int_equal(released, 1);
	processes_free(t);
	assert_int_equal(released, 4);
	processes_free(NULL);
}

static void test_pid_reuse(void **state)
{
	(void)state;
	struct processes *t = new_table(root, 10);
	struct target_spec one = {.service = SV("one")}, two = {.service = SV("two")};
	struct processes_stats stats;
	struct process *p = NULL;
	fake_process(root, 5, "x", "/bin/x", "x", 2);
	set_start(5, 100);
	assert_int_equal(add(t, 5, &one, NULL), 1);
	struct process_info *old = processes_get_info(t, 5);
	set_start(5, 200);
	assert_int_equal(add(t, 5, &two, &p), 1);
	assert_int_equal(p->start_ticks, 200);
	struct process_info *now = processes_get_info(t, 5);
	assert_sv(old->service, "one");
	assert_sv(now->service, "two");
	assert_false(sv_eq(old->runtime_id, now->runtime_id));
	process_info_unref(old);
	process_info_unref(now);
	processes_stats(t, &stats);
	assert_int_equal(stats.reused, 1);
	assert_int_equal(stats.live, 1);
	/* Its number belongs to another by now: an exec of that one is not an exec of ours. */
	struct target_spec none = SPEC(names, SV("nothing"));
	set_start(5, 300);
	assert_int_equal(processes_exec(t, 5, &none, 1, 1, &p), PROCESSES_IGNORED);
	assert_null(processes_find(t, 5));
	processes_free(t);
}

static void test_fork(void **state)
{
	(void)state;
	struct processes *t = new_table(root, 10);
	struct target_spec spec = {.service = SV("svc")};
	struct process *child = NULL, *again = NULL;
	struct processes_stats stats;
	fake_process(root, 5, "x", "/bin/x", "x", 2);
	fake_process(root, 6, "x", "/bin/x", "x", 2);
	write_text(in_dir("proc/6/status"), "Tgid:\t6\nNSpid:\t6\t2\n");
	assert_int_equal(processes_fork(t, 5, 6, &child), -ENOENT);
	assert_int_equal(add(t, 5, &spec, NULL), 1);
	assert_int_equal(processes_fork(t, 5, 6, &child), 1);
	assert_ptr_equal(child->spec, &spec);
	assert_int_equal(child->parent, 5);
	assert_int_equal(child->info->pid, 6);
	assert_int_equal(child->info->ns_pid, 2);
	assert_sv(child->info->service, "svc");
	assert_false(sv_eq(child->info->runtime_id, processes_find(t, 5)->info->runtime_id));
	/* The scan saw it too. */
	assert_int_equal(add(t, 6, &spec, &again), 0);
	assert_ptr_equal(again, child);
	assert_int_equal(processes_fork(t, 5, 6, &again), 0);
	/* A grandchild that was gone before it could be looked at still has spans. */
	assert_int_equal(processes_fork(t, 6, 7, &again), 1);
	assert_int_equal(again->start_ticks, 0);
	struct process_info *info = processes_get_info(t, 7);
	assert_sv(info->service, "svc");
	process_info_unref(info);
	processes_stats(t, &stats);
	assert_int_equal(stats.gone, 1);
	assert_int_equal(processes_check(t, 50), 1); /* whose exit nobody told */
	assert_true(processes_find(t, 7)->ended);
	processes_free(t);
}

static void test_end(void **state)
{
	(void)state;
	struct processes *t = new_table(root, 10);
	struct target_spec spec = {.service = SV("svc")};
	struct processes_stats stats;
	for (int pid = 1; pid <= 3; pid++) {
		fake_process(root, pid, "x", "/bin/x", "x", 2);
		assert_int_equal(add(t, pid, &spec, NULL), 1);
	}
	processes_end(t, 1, 1000);
	processes_end(t, 1, 5000); /* the first time counts */
	processes_end(t, 9, 1000);
	assert_non_null(processes_find(t, 1));
	assert_int_equal(processes_forget(t, 1099), 0);
	assert_int_equal(processes_forget(t, 1100), 1);
	assert_null(processes_find(t, 1));
	assert_int_equal(processes_check(t, 1), 0);
	set_start(2, 99);
	char path[256];
	snprintf(path, sizeof(path), "%s", in_dir("proc/3"));
	assert_int_equal(rename(path, in_dir("gone")), 0);
	assert_int_equal(processes_check(t, 2000), 2);
	processes_stats(t, &stats);
	assert_int_equal(stats.live, 0);
	assert_int_equal(stats.ended, 2);
	/* Ended, and then seen alive under the same pid: another process. */
	struct process *p = NULL;
	assert_int_equal(add(t, 2, &spec, &p), 1);
	assert_false(p->ended);
	processes_free(t);
}

static void test_exec(void **state)
{
	(void)state;
	struct processes_options o = {.root = "/proc", .max = 10};
	struct processes *t = processes_new(&o);
	struct target_spec specs[] = {SPEC(names, SV("first")), SPEC(names, SV("second"))};
	struct process *p = NULL;
	char script[1024];
	specs[0].service = SV("one");
	specs[1].service = SV("two");
	copy_file("/bin/sleep", in_dir("first"));
	copy_file("/bin/sleep", in_dir("second"));
	/* A shell that becomes first, then nothing of ours: each step waits for a file to appear. */
	assert_int_equal(mkfifo(in_dir("go"), 0600), 0);
	snprintf(script, sizeof(script), "read x <%s/go; exec %s/first 1000", test_dir, test_dir);
	pid_t pid = SPAWN("sh", "sh", "-c", script);
	assert_int_equal(processes_exec(t, (uint32_t)pid, specs, 2, 1, &p), PROCESSES_IGNORED);
	assert_null(p);
	write_text(in_dir("go"), "x\n");
	assert_true(eventually(processes_exec(t, (uint32_t)pid, specs, 2, 1, &p) == PROCESSES_CHOSEN));
	assert_ptr_equal(p->spec, &specs[0]);
	assert_sv(p->info->service, "one");
	assert_sv(p->info->name, "first");
	assert_sv(p->info->language, "cpp");
	struct process_info *before = processes_get_info(t, (uint32_t)pid);
	/* Executed again, the same program: a new image with a new identity. */
	assert_int_equal(processes_exec(t, (uint32_t)pid, specs, 2, 1, &p), PROCESSES_KEPT);
	assert_ptr_not_equal(p->info, before);
	assert_false(sv_eq(p->info->runtime_id, before->runtime_id));
	/* Another spec matches now. */
	assert_int_equal(processes_exec(t, (uint32_t)pid, (struct target_spec[]){specs[1], specs[0]}, 2, 1, &p),
			 PROCESSES_KEPT);
	process_info_unref(before);
	/* None does. */
	struct target_spec follow = {.follow_exec = true, .service = SV("follow")};
	struct target_spec none = SPEC(names, SV("nothing"));
	p->spec = &follow;
	assert_int_equal(processes_exec(t, (uint32_t)pid, &none, 1, 1, &p), PROCESSES_KEPT);
	assert_sv(p->info->service, "follow");
	p->spec = &specs[0];
	assert_int_equal(processes_exec(t, (uint32_t)pid, &none, 1, 7, &p), PROCESSES_DROPPED);
	assert_true(p->ended);
	assert_int_equal(p->ended_ns, 7);
	assert_int_equal(processes_exec(t, (uint32_t)pid, specs, 2, 1, &p), PROCESSES_CHOSEN);
	/* Gone before we came to look: known by its old name until its exit is read. */
	reap(pid);
	assert_int_equal(processes_exec(t, (uint32_t)pid, specs, 2, 1, &p), PROCESSES_KEPT);
	assert_int_equal(processes_exec(t, (uint32_t)pid + 100000, specs, 2, 1, &p), PROCESSES_IGNORED);
	processes_free(t);
}

static volatile bool stop;

static void *reader(void *arg)
{
	struct processes *t = arg;
	uintptr_t found = 0;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (uint32_t pid = 1; pid <= 8; pid++) {
			struct process_info *info = processes_get_info(t, pid);
			if (!info)
				continue;
			found += info->pid == pid && sv_eq(info->service, SV("svc"));
			process_info_unref(info);
		}
	}
	return (void *)found;
}

/* One thread changes the table while two look into it. */
static void test_threads(void **state)
{
	(void)state;
	struct processes *t = new_table(root, 10);
	struct target_spec spec = {.service = SV("svc")}, specs[] = {SPEC(names, SV("x"))};
	pthread_t threads[2];
	struct process *p;
	specs[0].service = SV("svc");
	for (int pid = 1; pid <= 8; pid++)
		fake_process(root, pid, "x", "/bin/x", "x", 2);
	stop = false;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, t), 0);
	for (int round = 0; round < 300; round++) {
		int pid = 1 + round % 8;
		assert_true(add(t, pid, &spec, NULL) >= 0);
		assert_true(processes_exec(t, (uint32_t)pid, specs, 1, 1, &p) >= 0);
		if (round % 3 == 0)
			processes_end(t, (uint32_t)pid, 1);
		if (round % 5 == 0)
			processes_forget(t, 1000);
		if (round % 7 == 0)
			processes_remove(t, (uint32_t)pid);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++) {
		void *found;
		pthread_join(threads[i], &found);
		assert_true((uintptr_t)found > 0);
	}
	processes_free(t);
}

static int count(void *arg, struct process *p)
{
	(void)p;
	return ++*(int *)arg == 2000 ? 1 : 0;
}

/* Many at once: buckets are shared, lookups stay right. */
static void test_many(void **state)
{
	(void)state;
	struct processes *t = new_table(root, 3001);
	struct target_spec spec = {.service = SV("svc")};
	int seen = 0;
	fake_process(root, 1, "x", "/bin/x", "x", 2);
	assert_int_equal(add(t, 1, &spec, NULL), 1);
	for (uint32_t pid = 2; pid <= 3001; pid++)
		assert_int_equal(processes_fork(t, 1, pid * 64, NULL), 1);
	assert_int_equal(processes_fork(t, 1, 7, NULL), -ENOSPC);
	for (uint32_t pid = 2; pid <= 3001; pid++)
		assert_int_equal(processes_find(t, pid * 64)->info->pid, pid * 64);
	assert_int_equal(processes_each(t, count, &seen), 1);
	assert_int_equal(seen, 2000);
	uint64_t before = clock_mono_ns();
	for (int i = 0; i < 1000000; i++)
		process_info_unref(processes_get_info(t, 128 + 64 * (uint32_t)(i % 3000)));
	print_message("processes_get_info: %.0f ns\n", (double)(clock_mono_ns() - before) / 1e6);
	processes_free(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_add_find_remove),
		TEST(test_pid_reuse),
		TEST(test_fork),
		TEST(test_end),
		TEST(test_exec),
		TEST(test_many),
		TEST(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
