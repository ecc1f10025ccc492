/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a plan keeps open: this process maps them as code and lets them go, and is looked at. */
#include "target_help.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/resource.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_forks),
		cmocka_unit_test(test_no_descriptors),
	};
	return cmocka_run_group_tests(tests, read_library, free_library);
}
