/* SPDX-License-Identifier: Apache-2.0 */
/* What processes cost: of this one, of made-up ones, and what HotSpot writes down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "target/runtime/hsperfdata.h"
#include "target/runtime/runtime.h"

/* --- facts -------------------------------------------------------------------------------------------------------- */

static pthread_barrier_t barrier;

static void *waiting(void *arg)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

static void facts_of(pid_t pid, struct runtime_facts *ret)
{
	struct proc p = PROC_INIT;
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	assert_int_equal(runtime_facts_read(&p, 1, ret), 0);
	proc_close(&p);
}

static void own_facts(void **state)
{
	(void)state;
	struct runtime_facts before, now;
	pthread_t threads[3];
	facts_of(getpid(), &before);
	assert_int_equal(before.threads, 1);
	pthread_barrier_init(&barrier, NULL, 4);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, waiting, NULL);
	int fds[5];
	for (int i = 0; i < 5; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	pthread_barrier_wait(&barrier);
	enum { SZ = 32 << 20 };
	char *memory = malloc(SZ);
	for (size_t i = 0; i < SZ; i += 512)
		memory[i] = (char)i;
	clock_t end = clock() + CLOCKS_PER_SEC / 10;
	while (clock() < end)
		;
	facts_of(getpid(), &now);
	assert_int_equal(now.threads, 4);
	assert_int_equal(now.fds, before.fds + 5);
	assert_true(now.rss >= before.rss + SZ - (1 << 20));
	assert_true(now.user_ns + now.system_ns >= before.user_ns + before.system_ns + 50 * NSEC_PER_MSEC);
	assert_true(now.voluntary > before.voluntary);
	assert_true(now.age_ns >= before.age_ns && now.age_ns < 3600 * NSEC_PER_SEC);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
	free(memory);
}

static void gone(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct runtime_facts facts;
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(proc_open(&p, "/proc", child), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_int_equal(runtime_facts_read(&p, 1, &facts), -ESRCH);
	proc_close(&p);
}

/* --- reports ------------------------------------------------------------------------------------------------------ */

struct told {
	struct sbuf text;
};

static void tell(void *arg, const char *name, enum runtime_kind kind, double value)
{
	sbuf_addf(&((struct told *)arg)->text, "%s %g %s\n", name, value, kind == RUNTIME_GAUGE ? "g" : "d");
}

static const char *report(const char *language, struct proc *p, int64_t *kept)
{
	static struct told told;
	static const struct runtime_facts before = {.time_ns = 1,
						    .user_ns = 1000000000,
						    .system_ns = 500000000,
						    .voluntary = 10,
						    .involuntary = 20},
					  now = {.time_ns = 2,
						 .user_ns = 3000000000,
						 .system_ns = 1500000000,
						 .voluntary = 15,
						 .involuntary = 18,
						 .rss = 4096000,
						 .threads = 7,
						 .fds = 12,
						 .age_ns = 61500000000};
	sbuf_reset(&told.text);
	const struct runtime_report r = {
		.proc = p, .now = &now, .before = &before, .elapsed_s = 10, .kept = kept, .emit = tell, .arg = &told};
	runtime_report(sv_of(language), &r);
	return sbuf_str(&told.text);
}

static void assert_tells(const char *text, const char *line)
{
	assert_non_null(text);
	if (!strstr(text, line))
		fail_msg("'%s' is not in\n%s", line, text);
}

static void languages(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	int64_t kept[RUNTIME_KEPT] = {-1, -1, -1, -1};
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	assert_string_equal(report("python", &p, kept), "runtime.python.cpu.time.user 2 d\n"
							"runtime.python.cpu.time.sys 1 d\n"
							"runtime.python.cpu.percent 30 d\n"
							"runtime.python.cpu.ctx_switch.voluntary 5 d\n"
							"runtime.python.cpu.ctx_switch.involuntary 0 d\n"
							"runtime.python.thread_count 7 d\n"
							"runtime.python.mem.rss 4.096e+06 d\n"
							"runtime.process.open_fds 12 g\n");
	assert_string_equal(report("cpp", &p, kept), "runtime.process.cpu.time.user 2 g\n"
						     "runtime.process.cpu.time.sys 1 g\n"
						     "runtime.process.cpu.percent 30 g\n"
						     "runtime.process.cpu.ctx_switch.voluntary 5 g\n"
						     "runtime.process.cpu.ctx_switch.involuntary 0 g\n"
						     "runtime.process.thread_count 7 g\n"
						     "runtime.process.mem.rss 4.096e+06 g\n"
						     "runtime.process.open_fds 12 g\n");
	const char *node = report("javascript", &p, kept);
	assert_tells(node, "runtime.node.cpu.user 20 g\nruntime.node.cpu.system 10 g\nruntime.node.cpu.total 30 g\n");
	assert_tells(node, "runtime.node.process.uptime 61 g\n");
	assert_tells(node, "runtime.process.thread_count 7 g\n");
	assert_null(strstr(node, "runtime.process.mem.rss"));
	assert_tells(report("go", &p, kept), "runtime.go.num_cpu ");
	const char *dotnet = report("dotnet", &p, kept);
	assert_tells(dotnet, "runtime.dotnet.cpu.user 2000 g\nruntime.dotnet.cpu.system 1000 g\n");
	assert_tells(dotnet, "runtime.dotnet.threads.count 7 g\n");
	/* A JVM that keeps no file. */
	const char *jvm = report("jvm", &p, kept);
	assert_tells(jvm, "jvm.os.open_file_descriptors 12 g\n");
	assert_tells(jvm, "runtime.process.thread_count 7 g\n");
	proc_close(&p);
}

/* --- HotSpot ------------------------------------------------------------------------------------------------------ */

struct file {
	unsigned char data[65536];
	size_t len;
	bool big;
};

static void put32(struct file *f, size_t at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		f->data[at + (size_t)i] = (unsigned char)(v >> (f->big ? 24 - 8 * i : 8 * i));
}

static void begin(struct file *f, bool big)
{
	*f = (struct file){.len = 32, .big = big};
	memcpy(f->data, "\xca\xfe\xc0\xc0", 4);
	f->data[4] = !big;
	f->data[5] = 2;
	f->data[7] = 1;
	put32(f, 24, 32);
}

static void number(struct file *f, const char *name, int64_t value)
{
	size_t at = f->len, name_sz = (strlen(name) + 1 + 3) & ~(size_t)3, size = (20 + name_sz + 7) & ~(size_t)7;
	memcpy(f->data + at + 20, name, strlen(name));
	put32(f, at, (uint32_t)size + 8);
	put32(f, at + 4, 20);
	f->data[at + 12] = 'J';
	put32(f, at + 16, (uint32_t)size);
	put32(f, at + size + (f->big ? 4 : 0), (uint32_t)value);
	put32(f, at + size + (f->big ? 0 : 4), (uint32_t)((uint64_t)value >> 32));
	f->len += size + 8;
	uint32_t cnt = f->big ? f->data[31] : f->data[28];
	put32(f, 28, cnt + 1);
}

static void add_number(void *arg, struct sv name, int64_t value)
{
	sbuf_addf(arg, SV_FMT "=%lld ", SV_ARG(name), (long long)value);
}

static void hsperfdata_file(void **state)
{
	(void)state;
	static struct file f;
	struct sbuf out = {0};
	for (int big = 0; big < 2; big++) {
		begin(&f, big);
		number(&f, "a", 1);
		number(&f, "sun.gc.x", -5);
		number(&f, "large", 0x123456789abcdef0);
		sbuf_reset(&out);
		assert_int_equal(hsperfdata_each(f.data, f.len, add_number, &out), 3);
		assert_string_equal(sbuf_str(&out), "a=1 sun.gc.x=-5 large=1311768467463790320 ");
		/* Cut anywhere, in memory of exactly that size: never beyond it (address sanitizer), never a number more. */
		for (size_t len = 0; len < f.len; len++) {
			unsigned char *copy = malloc(len ? len : 1);
			memcpy(copy, f.data, len);
			assert_int_equal(hsperfdata_each(copy, len, add_number, &out), -EBADMSG);
			free(copy);
		}
	}
	f.data[7] = 0;
	assert_int_equal(hsperfdata_each(f.data, f.len, add_number, &out), -EAGAIN);
	f.data[7] = 1;
	f.data[5] = 1;
	assert_int_equal(hsperfdata_each(f.data, f.len, add_number, &out), -EBADMSG);
	/* An entry of no length would never end. */
	begin(&f, false);
	number(&f, "a", 1);
	put32(&f, 32, 0);
	assert_int_equal(hsperfdata_each(f.data, f.len, add_number, &out), -EBADMSG);
	sbuf_release(&out);
}

static void make_dirs(const char *root, const char *path)
{
	char full[512];
	for (const char *at = path; at; at = strchr(at + 1, '/')) {
		const char *end = strchr(at + 1, '/');
		snprintf(full, sizeof(full), "%s/%.*s", root, (int)(end ? end - path : (long)strlen(path)), path);
		mkdir(full, 0755);
	}
}

static void write_file(const char *root, const char *path, const void *data, size_t len)
{
	char full[512];
	snprintf(full, sizeof(full), "%s/%s", root, path);
	int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

#define STATUS "Name:\tjava\nTgid:\t77\nNSpid:\t77\t5\n"
#define STAT   "77 (java) S 1 77 77 0 -1 4194304 1 0 0 0 3 4 0 0 20 0 9 0 1000 1 2 18446744073709551615"

static void jvm_counters(struct file *f, int64_t minor, int64_t major)
{
	begin(f, false);
	number(f, "sun.os.hrt.frequency", 1000000);
	number(f, "sun.gc.generation.0.space.0.used", 100);
	number(f, "sun.gc.generation.0.space.1.used", 20);
	number(f, "sun.gc.generation.0.space.2.used", 3);
	number(f, "sun.gc.generation.1.space.0.used", 4000);
	number(f, "sun.gc.generation.0.space.0.capacity", 200);
	number(f, "sun.gc.generation.0.space.1.capacity", 40);
	number(f, "sun.gc.generation.0.space.2.capacity", 6);
	number(f, "sun.gc.generation.1.space.0.capacity", 8000);
	number(f, "sun.gc.metaspace.used", 55);
	number(f, "java.cls.loadedClasses", 30);
	number(f, "java.cls.sharedLoadedClasses", 12);
	number(f, "java.cls.unloadedClasses", 2);
	number(f, "java.threads.live", 7);
	number(f, "sun.gc.collector.0.invocations", minor);
	number(f, "sun.gc.collector.0.time", minor * 50000); /* 50 ms each */
	number(f, "sun.gc.collector.1.invocations", major);
	number(f, "sun.gc.collector.1.time", major * 1000000);
}

/* A process as /proc shows it, in a directory. */
static void jvm(void **state)
{
	(void)state;
	static struct file f;
	char root[] = "/tmp/test_runtime.XXXXXX", path[600];
	struct proc p = PROC_INIT;
	int64_t kept[RUNTIME_KEPT] = {-1, -1, -1, -1};
	assert_non_null(mkdtemp(root));
	make_dirs(root, "77/root/tmp/hsperfdata_someone");
	make_dirs(root, "77/root/tmp/hsperfdata_else");
	make_dirs(root, "77/task/77");
	write_file(root, "77/stat", STAT, sizeof(STAT) - 1);
	write_file(root, "77/status", STATUS, sizeof(STATUS) - 1);
	jvm_counters(&f, 10, 1);
	write_file(root, "77/root/tmp/hsperfdata_someone/5", f.data, f.len);
	assert_int_equal(proc_open(&p, root, 77), 0);
	const char *text = report("jvm", &p, kept);
	assert_tells(text, "jvm.heap_memory 4123 g\n");
	assert_tells(text, "jvm.heap_memory_committed 8246 g\n");
	assert_tells(text, "jvm.gc.eden_size 100 g\n");
	assert_tells(text, "jvm.gc.survivor_size 23 g\n");
	assert_tells(text, "jvm.gc.old_gen_size 4000 g\n");
	assert_tells(text, "jvm.gc.metaspace_size 55 g\n");
	assert_tells(text, "jvm.thread_count 7 g\n");
	assert_tells(text, "jvm.loaded_classes 40 g\n");
	assert_null(strstr(text, "collection_count")); /* since when? */
	assert_null(strstr(text, "runtime.process.thread_count"));
	/* Twenty young ones and one full within the ten seconds. */
	jvm_counters(&f, 30, 2);
	write_file(root, "77/root/tmp/hsperfdata_someone/5", f.data, f.len);
	text = report("jvm", &p, kept);
	assert_tells(text, "jvm.gc.minor_collection_count 2 g\n");
	assert_tells(text, "jvm.gc.minor_collection_time 100 g\n");
	assert_tells(text, "jvm.gc.major_collection_count 0.1 g\n");
	assert_tells(text, "jvm.gc.major_collection_time 100 g\n");
	/* Links and pipes are not followed. */
	snprintf(path, sizeof(path), "%s/77/root/tmp/hsperfdata_someone/5", root);
	char moved[600];
	snprintf(moved, sizeof(moved), "%s/elsewhere", root);
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(symlink(moved, path), 0);
	assert_null(strstr(report("jvm", &p, kept), "jvm.heap_memory"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_null(strstr(report("jvm", &p, kept), "jvm.heap_memory"));
	proc_close(&p);
	snprintf(path, sizeof(path), "rm -r %s", root);
	assert_int_equal(system(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_facts),	   cmocka_unit_test(gone), cmocka_unit_test(languages),
		cmocka_unit_test(hsperfdata_file), cmocka_unit_test(jvm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
