/* SPDX-License-Identifier: Apache-2.0 */
/* What collectors of CPython and Go keep in memory, made up in this program's own: one thing wrong with it, and nothing is
 * reported. Real ones: tests/e2e/test_runtime_metrics.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "target/runtime/memory.h"
#include "target/runtime/runtime.h"

/* --- reports ------------------------------------------------------------------------------------------------------ */

static struct {
	char name[64];
	double value;
} told[64];
static unsigned told_cnt;

static void note(void *arg, const char *name, enum runtime_kind kind, double value)
{
	(void)arg, (void)kind;
	assert_true(told_cnt < 64);
	snprintf(told[told_cnt].name, sizeof(told[0].name), "%s", name);
	told[told_cnt++].value = value;
}

static double value_of(const char *name)
{
	for (unsigned i = 0; i < told_cnt; i++)
		if (strcmp(told[i].name, name) == 0)
			return told[i].value;
	return -1;
}

static void report_kept(const char *language, const char *version, int64_t *kept)
{
	struct proc p = PROC_INIT;
	struct runtime_facts facts = {.time_ns = 1};
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	told_cnt = 0;
	runtime_report(sv_of(language), &(struct runtime_report){.proc = &p,
								 .version = sv_of(version),
								 .now = &facts,
								 .before = &facts,
								 .elapsed_s = 1,
								 .kept = kept,
								 .emit = note});
	proc_close(&p);
}

static void report(const char *language, const char *version)
{
	int64_t kept[RUNTIME_KEPT] = {-1, -1, -1, -1, -1, -1};
	report_kept(language, version, kept);
}

/* --- CPython ------------------------------------------------------------------------------------------------------ */

struct made_generation {
	uint64_t next, prev;
	int32_t threshold, count;
};
struct made_collector {
	struct made_generation generations[3];
	uint64_t generation0;
	struct made_generation permanent;
	int64_t stats[3][3];
};

/* The whole of the runtime, or what points to the interpreter elsewhere. */
uint64_t runtime_words[512] __asm__("_PyRuntime");
static uint64_t interpreter[9000];

static struct made_collector *make_collector(uint64_t *at)
{
	struct made_collector *c = (struct made_collector *)at;
	memset(runtime_words, 0, sizeof(runtime_words));
	memset(interpreter, 0, sizeof(interpreter));
	for (int i = 0; i < 3; i++) {
		c->generations[i] = (struct made_generation){(uintptr_t)&c->generations[i],
							     (uintptr_t)&c->generations[i] | 2, 10, 5 + i};
		c->stats[i][0] = 100 + i;
	}
	c->permanent = (struct made_generation){(uintptr_t)&c->permanent, (uintptr_t)&c->permanent, 0, 0};
	c->generation0 = (uintptr_t)c;
	return c;
}

static void assert_no_collector(const char *version)
{
	report("python", version);
	assert_true(value_of("runtime.python.gc.count.gen0") < 0);
	assert_true(value_of("runtime.python.thread_count") >= 0);
}

static void collector(void **state)
{
	(void)state;
	int64_t kept[RUNTIME_KEPT] = {-1, -1, -1, -1, -1, -1};
	struct made_collector *c = make_collector(&runtime_words[100]);
	report_kept("python", "3.11.2", kept);
	assert_true(value_of("runtime.python.gc.count.gen0") == 5 && value_of("runtime.python.gc.count.gen2") == 7);
	assert_true(value_of("runtime.python.gc.collections.gen1") < 0); /* since when? */
	c->stats[1][0] += 4;
	c->stats[2][0] -= 1; /* another one since */
	report_kept("python", "3.11.2", kept);
	assert_true(value_of("runtime.python.gc.collections.gen0") == 0);
	assert_true(value_of("runtime.python.gc.collections.gen1") == 4);
	assert_true(value_of("runtime.python.gc.collections.gen2") < 0);
	/* It moved: found again, a few times. */
	for (int i = 0; i < 5; i++) {
		make_collector(&runtime_words[100 + 10 * i]);
		report_kept("python", "3.11.2", kept);
		assert_true((value_of("runtime.python.gc.count.gen0") == 5) == (i <= 2));
	}
}

static void wrong_collectors(void **state)
{
	(void)state;
	struct made_collector *c = make_collector(&runtime_words[7]);
	static const char *const versions[] = {"",	 "3",	   "3.7.17", "3.14.0",
					       "2.7.18", "4.11.1", "3.13.0", "3.99999999999999"};
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		assert_no_collector(versions[i]);
	c->generation0 += 8;
	assert_no_collector("3.11.2");
	make_collector(&runtime_words[7])->generations[1].count = -1;
	assert_no_collector("3.11.2");
	make_collector(&runtime_words[7])->generations[2].next |= 1;
	assert_no_collector("3.11.2");
	make_collector(&runtime_words[7])->generations[2].prev = 0;
	assert_no_collector("3.11.2");
	make_collector(&runtime_words[7])->permanent.threshold = 1;
	assert_no_collector("3.11.2");
	make_collector(&runtime_words[7])->stats[2][1] = -1;
	assert_no_collector("3.11.2");
	/* Beyond the end of the variable. */
	make_collector(&runtime_words[512 - 21]);
	assert_no_collector("3.11.2");
	make_collector(&runtime_words[512 - 22]);
	report("python", "3.11.2");
	assert_true(value_of("runtime.python.gc.count.gen1") == 6);
}

static void where_it_is(void **state)
{
	(void)state;
	/* An interpreter that is no part of the runtime: of 3.9 and 3.10. */
	make_collector(&interpreter[77]);
	runtime_words[5] = (uintptr_t)interpreter;
	report("python", "3.9.2");
	assert_true(value_of("runtime.python.gc.count.gen0") == 5);
	assert_no_collector("3.11.2");
	runtime_words[5] = 16;
	assert_no_collector("3.9.2");
	runtime_words[5] = UINT64_MAX - 100;
	assert_no_collector("3.9.2");
	/* 3.13 says whether it has a lock. */
	make_collector(&runtime_words[100]);
	memcpy(runtime_words, "xdebugpy", 8);
	runtime_words[1] = 0x030d00f0;
	report("python", "3.13.0");
	assert_true(value_of("runtime.python.gc.count.gen0") == 5);
	runtime_words[2] = 1;
	assert_no_collector("3.13.0");
	runtime_words[2] = 0;
	runtime_words[1] = 0x030e00f0;
	assert_no_collector("3.13.0");
}

/* --- Go ----------------------------------------------------------------------------------------------------------- */

struct made_notes {
	uint64_t last, total, pause[256], end[256];
	uint32_t cnt, forced;
	double fraction;
};

uint64_t memstats[1000] __asm__("runtime.memstats");

static struct made_notes *make_notes(uint32_t cnt)
{
	struct made_notes *n = (struct made_notes *)&memstats[33];
	memset(memstats, 0, sizeof(memstats));
	for (uint32_t i = 0; i < cnt; i++) {
		n->pause[i % 256] = 10 + (i * 7) % 100;
		n->end[i % 256] = n->last = 1700000000000000000 + i;
		n->total += n->pause[i % 256];
	}
	n->cnt = cnt;
	n->forced = cnt / 2;
	n->fraction = 0.25;
	return n;
}

static void assert_no_notes(void)
{
	report("go", "");
	assert_true(value_of("runtime.go.mem_stats.num_gc") < 0);
	assert_true(value_of("runtime.go.num_cpu") > 0);
}

static void notes(void **state)
{
	(void)state;
	make_notes(4);
	report("go", "");
	assert_true(value_of("runtime.go.mem_stats.num_gc") == 4 &&
		    value_of("runtime.go.mem_stats.num_forced_gc") == 2);
	assert_true(value_of("runtime.go.mem_stats.pause_total_ns") == 10 + 17 + 24 + 31);
	assert_true(value_of("runtime.go.mem_stats.last_gc") == 1700000000000000003.0);
	assert_true(value_of("runtime.go.mem_stats.gc_cpu_fraction") == 0.25);
	assert_true(value_of("runtime.go.gc_stats.pause_quantiles.min") == 10);
	assert_true(value_of("runtime.go.gc_stats.pause_quantiles.50p") == 24);
	assert_true(value_of("runtime.go.gc_stats.pause_quantiles.75p") == 31);
	assert_true(value_of("runtime.go.gc_stats.pause_quantiles.max") == 31);
	make_notes(1000);
	report("go", "");
	assert_true(value_of("runtime.go.mem_stats.num_gc") == 1000);
	assert_true(value_of("runtime.go.gc_stats.pause_quantiles.max") == 109);
	make_notes(256);
	report("go", "");
	assert_true(value_of("runtime.go.mem_stats.num_gc") == 256);
}

static void wrong_notes(void **state)
{
	(void)state;
	make_notes(0);
	assert_no_notes();
	make_notes(4)->cnt = 3;
	assert_no_notes();
	make_notes(4)->cnt = 5;
	assert_no_notes();
	make_notes(4)->last++;
	assert_no_notes();
	make_notes(4)->total++;
	assert_no_notes();
	make_notes(256)->pause[255]++;
	assert_no_notes();
	make_notes(300)->total = 5;
	assert_no_notes();
	make_notes(4)->pause[200] = 1;
	assert_no_notes();
	make_notes(4)->forced = 5;
	assert_no_notes();
	make_notes(4)->fraction = 1.5;
	assert_no_notes();
	make_notes(4)->fraction = -__builtin_nan("");
	assert_no_notes();
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void reads(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct runtime_variable v;
	uint64_t word = 0;
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	assert_int_equal(runtime_find(&p, NULL, "runtime.memstats", &v), 0);
	assert_int_equal(v.address, (uintptr_t)memstats);
	assert_int_equal(v.size, sizeof(memstats));
	assert_int_equal(runtime_find(&p, "libc.", "no such thing", &v), -ENOENT);
	/* Of a library; the program has none of that name. */
	assert_int_equal(runtime_find(&p, NULL, "optopt", &v), -ENOENT);
	assert_int_equal(runtime_find(&p, "libc.", "optopt", &v), 0);
	assert_int_equal(v.address, (uintptr_t)dlsym(RTLD_DEFAULT, "optopt"));
	assert_int_equal(runtime_peek(&p, v.address, &word, 4), 4);
	assert_int_equal(word, '?');
	assert_true(runtime_peek(&p, 8, &word, 8) < 0);
	proc_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(collector),	  cmocka_unit_test(wrong_collectors),
					   cmocka_unit_test(where_it_is), cmocka_unit_test(notes),
					   cmocka_unit_test(wrong_notes), cmocka_unit_test(reads)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
