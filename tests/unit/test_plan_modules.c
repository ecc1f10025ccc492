/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a plan keeps open: this process maps them as code and lets them go, and is looked at. */
#include "target_help.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "probe/plan.h"
#include "probe/plan_private.h"

#define PAGE 4096

static char *library; /* the bytes of a small one */
static size_t library_len;

static int read_library(void **state)
{
	char line[1024], path[1024] = "";
	FILE *maps = fopen("/proc/self/maps", "re");
	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "libcmocka"))
			sscanf(line, "%*s %*s %*s %*s %*s %1023s", path);
	fclose(maps);
	FILE *f = fopen(path, "re");
	library = malloc(1 << 20);
	library_len = f ? fread(library, 1, 1 << 20, f) : 0;
	if (f)
		fclose(f);
	return library_len ? make_test_dir(state) : -1;
}

static int free_library(void **state)
{
	free(library);
	return remove_test_dir(state);
}

static void *map_file(int n)
{
	char path[512];
	snprintf(path, sizeof(path), "%s", in_dir("lib%d.so", n));
	write_file(path, library, library_len);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	close(fd);
	assert_int_equal(unlink(path), 0);
	return at;
}

static unsigned descriptors(void)
{
	unsigned cnt = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d))
		cnt++;
	closedir(d);
	return cnt;
}

static struct plan *make_plan(struct probe_list *list)
{
	struct plan_options options = {.list = list, .link = LINK_SESSION, .proc_root = "/proc", .max_functions = 100};
	struct sbuf err = {0};
	struct plan *plan = NULL;
	assert_int_equal(probe_list_add_function(list, "no_such_function_at_all", &err), 0);
	if (plan_new(&plan, &options, &err) < 0)
		fail_msg("%s", sbuf_str(&err));
	sbuf_release(&err);
	return plan;
}

static void look(struct plan *plan)
{
	struct proc p = PROC_INIT;
	struct sbuf err = {0};
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	if (plan_add(plan, &p, -1, &err) < 0)
		fail_msg("%s", sbuf_str(&err));
	proc_close(&p);
	sbuf_release(&err);
}

/* Files that come and go: the last ones are kept, for those who come back, and no more. */
static void test_come_and_go(void **state)
{
	(void)state;
	struct probe_list *list = probe_list_new();
	struct plan *plan = make_plan(list);
	struct plan_stats stats;
	look(plan);
	plan_stats(plan, &stats);
	uint32_t own = stats.modules;
	unsigned before = descriptors();
	assert_true(own > 1);
	for (int i = 0; i < 3 * PLAN_IDLE_MODULES; i++) {
		void *at = map_file(i);
		look(plan);
		munmap(at, PAGE);
		plan_drop(plan, getpid());
		plan_stats(plan, &stats);
		assert_true(stats.modules <= PLAN_IDLE_MODULES);
	}
	assert_int_equal(stats.modules, PLAN_IDLE_MODULES);
	assert_true(descriptors() <= before + 3 * PLAN_IDLE_MODULES);
	/* What is used is not forgotten, and what was kept is not opened again. */
	look(plan);
	plan_stats(plan, &stats);
	assert_int_equal(stats.modules, PLAN_IDLE_MODULES);
	for (int i = 0; i < 5; i++) {
		plan_drop(plan, getpid());
		look(plan);
	}
	plan_stats(plan, &stats);
	assert_int_equal(stats.modules, PLAN_IDLE_MODULES);
	assert_int_equal(stats.processes, 1);
	assert_int_equal(stats.unopened, 0);
	plan_free(plan);
	probe_list_free(list);
}

/* A parent's files are its children's, too. */
static void test_forks(void **state)
{
	(void)state;
	struct probe_list *list = probe_list_new();
	struct plan *plan = make_plan(list);
	struct plan_stats stats;
	struct sbuf err = {0};
	enum { CHILD = 1 << 22 }; /* beyond every number of a process */
	look(plan);
	assert_int_equal(plan_fork(plan, getpid(), CHILD, &err), 0);
	plan_drop(plan, getpid());
	for (int i = 0; i < 2 * PLAN_IDLE_MODULES; i++) {
		void *at = map_file(i);
		look(plan);
		munmap(at, PAGE);
		plan_drop(plan, getpid());
	}
	plan_stats(plan, &stats);
	uint32_t kept = stats.modules - PLAN_IDLE_MODULES;
	assert_true(kept > 1); /* the child's: nobody's else, and in use */
	plan_drop(plan, CHILD);
	plan_stats(plan, &stats);
	assert_int_equal(stats.modules, PLAN_IDLE_MODULES);
	plan_free(plan);
	probe_list_free(list);
}

static void test_no_descriptors(void **state)
{
	(void)state;
	enum { FILES = 40, HARD = 250 };
	struct probe_list *list = probe_list_new();
	struct plan *plan = make_plan(list);
	struct plan_stats stats;
	void *at[FILES];
	pid_t pid = fork();
	if (pid) {
		int status;
		waitpid(pid, &status, 0);
		assert_int_equal(status, 0);
		plan_free(plan);
		probe_list_free(list);
		return;
	}
	struct rlimit l = {HARD, HARD};
	for (int i = 0; i < FILES; i++)
		at[i] = map_file(i);
	setrlimit(RLIMIT_NOFILE, &l);
	look(plan);
	plan_stats(plan, &stats);
	unsigned open = descriptors();
	munmap(at[0], PAGE);
	plan_free(plan);
	probe_list_free(list);
	_exit(stats.unopened > 0 && stats.modules > 1 && open + PLAN_SPARE_FDS < HARD ? 0 : 1);
}

/* --- files of which something is probed --- */

struct watcher {
	uint32_t published, unpublished;
	uint32_t asked;	      /* moments */
	uint32_t out;	      /* the last one that is over */
	uint8_t alive[1024];  /* by index */
	uint32_t last_serial; /* of those published */
};

static void on_publish(void *arg, const struct plan_function *f)
{
	struct watcher *w = arg;
	assert_int_equal(w->alive[f->index], 0);
	assert_true(f->serial > w->last_serial);
	assert_non_null(arena_dup(f->arena, f->display).data);
	w->last_serial = f->serial;
	w->alive[f->index] = 1;
	w->published++;
}

static void on_unpublish(void *arg, const struct plan_function *f)
{
	struct watcher *w = arg;
	assert_int_equal(w->alive[f->index], 1);
	assert_true(f->display.len > 0 && f->retired);
	w->alive[f->index] = 0;
	w->unpublished++;
}

static uint32_t on_leave(void *arg)
{
	return ++((struct watcher *)arg)->asked;
}

static bool on_left(void *arg, uint32_t moment)
{
	return ((struct watcher *)arg)->out >= moment;
}

static struct plan *make_probing_plan(struct probe_list **ret_list, struct watcher *w, uint32_t max_functions)
{
	static const char text[] = "probes:\n  - {library: \"libcmocka*\", function: cmocka_set_*, optional: true}\n";
	struct diagnostics d = {0};
	assert_int_equal(probe_list_parse(ret_list, "list", text, sizeof(text) - 1, &d), 0);
	diagnostics_release(&d);
	struct plan_options options = {.list = *ret_list,
				       .link = LINK_SESSION,
				       .proc_root = "/proc",
				       .max_functions = max_functions,
				       .publish = on_publish,
				       .unpublish = on_unpublish,
				       .leave = on_leave,
				       .left = on_left,
				       .arg = w};
	struct sbuf err = {0};
	struct plan *plan = NULL;
	if (plan_new(&plan, &options, &err) < 0)
		fail_msg("%s", sbuf_str(&err));
	sbuf_release(&err);
	return plan;
}

static struct plan_stats stats_of(const struct plan *plan)
{
	struct plan_stats stats;
	plan_stats(plan, &stats);
	return stats;
}

/* One after the other, more of them than indexes: a file goes when it was deleted, its functions when all is out. */
static void test_probed_come_and_go(void **state)
{
	(void)state;
	struct watcher w = {0};
	struct probe_list *list;
	struct plan *plan = make_probing_plan(&list, &w, 40);
	look(plan); /* the library proper is mapped, too */
	struct plan_stats first = stats_of(plan);
	uint32_t own = w.published;
	unsigned before = descriptors();
	assert_in_range(own, 2, 13);
	for (int i = 0; i < 100; i++) {
		void *at = map_file(i);
		look(plan);
		assert_int_equal(stats_of(plan).functions, 2 * own);
		munmap(at, PAGE);
		plan_drop(plan, getpid());
		look(plan);
		assert_true(plan_tick(plan, 0));
		assert_int_equal(w.unpublished, (uint32_t)i * own); /* records may be on their way */
		assert_int_equal(stats_of(plan).modules, first.modules);
		w.out = w.asked;
		assert_false(plan_tick(plan, 0));
		assert_int_equal(w.unpublished, (uint32_t)(i + 1) * own);
	}
	struct plan_stats last = stats_of(plan);
	assert_int_equal(last.limited, 0);
	assert_int_equal(last.functions, own);
	assert_int_equal(last.held, own);
	assert_int_equal(last.known, 2 * own);
	assert_int_equal(last.released, 100);
	assert_int_equal(descriptors(), before);
	plan_free(plan);
	probe_list_free(list);
}

/* Who goes on may have calls open: what they name is not given to others. */
static void test_let_go(void **state)
{
	(void)state;
	struct watcher w = {0};
	struct probe_list *list;
	struct plan *plan = make_probing_plan(&list, &w, 100);
	void *at = map_file(0);
	look(plan);
	uint32_t all = w.published;
	plan_let_go(plan, getpid());
	munmap(at, PAGE);
	look(plan);
	plan_drop(plan, getpid());
	plan_tick(plan, UINT64_MAX / 2);
	plan_tick(plan, UINT64_MAX / 2);
	w.out = w.asked;
	plan_tick(plan, UINT64_MAX / 2);
	assert_int_equal(w.unpublished, 0);
	assert_int_equal(stats_of(plan).held, all);
	/* Nor are those that are on their way out. */
	at = map_file(1);
	look(plan);
	assert_true(w.published > all);
	munmap(at, PAGE);
	plan_drop(plan, getpid());
	plan_tick(plan, 0);
	at = map_file(2);
	look(plan); /* on_publish() looks for indexes given twice */
	munmap(at, PAGE);
	plan_free(plan);
	probe_list_free(list);
}

/* What is still in its place is kept for the next who runs it, for a while. */
static void test_kept(void **state)
{
	(void)state;
	struct watcher w = {0};
	struct probe_list *list;
	struct plan *plan = make_probing_plan(&list, &w, 100);
	look(plan);
	plan_drop(plan, getpid());
	uint64_t now = clock_mono_ns();
	plan_tick(plan, now + PLAN_IDLE_NS - 10 * NSEC_PER_SEC);
	uint32_t all = w.published;
	look(plan);
	assert_int_equal(w.published, all);
	plan_drop(plan, getpid());
	now = clock_mono_ns();
	assert_true(plan_tick(plan, now + PLAN_IDLE_NS + NSEC_PER_SEC));
	assert_int_equal(stats_of(plan).modules, 0);
	w.out = w.asked;
	plan_tick(plan, now);
	assert_int_equal(w.unpublished, all);
	look(plan);
	assert_int_equal(w.published, 2 * all);
	plan_free(plan);
	probe_list_free(list);
}

/* Whether others map them, too, is found out for all files of a process at a time. */
static void test_one_walk(void **state)
{
	(void)state;
	enum { FILES = 8 };
	struct watcher w = {0};
	struct probe_list *list;
	struct plan *plan = make_probing_plan(&list, &w, 100);
	void *at[FILES];
	for (int i = 0; i < FILES; i++)
		at[i] = map_file(i);
	look(plan);
	assert_int_equal(w.published % (FILES + 1), 0);
	assert_int_equal(stats_of(plan).walks, 1);
	look(plan);
	assert_int_equal(stats_of(plan).walks, 1);
	for (int i = 0; i < FILES; i++)
		munmap(at[i], PAGE);
	plan_free(plan);
	probe_list_free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_forks),
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_probed_come_and_go),
		cmocka_unit_test(test_let_go),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_one_walk),
	};
	return cmocka_run_group_tests(tests, read_library, free_library);
}
