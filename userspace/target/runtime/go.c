/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdlib.h>

#include "target/runtime/memory.h"
#include "target/runtime/runtime.h"

/* What Go's collector notes about itself, somewhere in runtime.memstats (runtime/mstats.go, from last_gc_unix on; the
 * same in all versions that are in use, at different places). There is no note before the first collection. */
#define PAUSES 256
struct gc_notes {
	uint64_t last_gc_unix, pause_total_ns;
	uint64_t pause_ns[PAUSES], pause_end[PAUSES]; /* rings: those of the last one are at (num_gc - 1) % PAUSES */
	uint32_t num_gc, num_forced_gc;
	double cpu_fraction;
};
_Static_assert(sizeof(struct gc_notes) == 4128, "as the runtime has it");

#define MEMSTATS_MAX_SZ (64 << 10)
#define YEAR_2017_NS	1500000000000000000ULL
#define YEAR_2096_NS	4000000000000000000ULL
#define ATTEMPTS	3 /* to find the variable, and of each read: a collection may be writing */

/* What is kept. */
enum { KEPT_MEMSTATS, KEPT_SIZE, KEPT_ATTEMPTS };

/* --- the notes ---------------------------------------------------------------------------------------------------- */

/* The end of the last pause stands in two places, and while the ring was not full once, all pauses add up to the total. */
static bool are_notes(const struct gc_notes *g)
{
	uint32_t cnt = g->num_gc < PAUSES ? g->num_gc : PAUSES;
	uint64_t sum = 0;
	if (!cnt || g->last_gc_unix < YEAR_2017_NS || g->last_gc_unix > YEAR_2096_NS ||
	    g->pause_end[(g->num_gc - 1) % PAUSES] != g->last_gc_unix || g->num_forced_gc > g->num_gc)
		return false;
	for (uint32_t i = 0; i < cnt; i++)
		sum += g->pause_ns[i];
	for (uint32_t i = cnt; i < PAUSES; i++)
		if (g->pause_ns[i] || g->pause_end[i])
			return false;
	return (g->num_gc <= PAUSES ? sum == g->pause_total_ns : sum <= g->pause_total_ns) && g->cpu_fraction >= 0 &&
	       g->cpu_fraction <= 1;
}

static bool notes_in(const char *data, size_t len, struct gc_notes *ret)
{
	for (size_t i = 0; i + sizeof(*ret) <= len; i += 8) {
		uint64_t last;
		memcpy(&last, data + i, sizeof(last));
		if (last < YEAR_2017_NS || last > YEAR_2096_NS)
			continue;
		memcpy(ret, data + i, sizeof(*ret));
		if (are_notes(ret))
			return true;
	}
	return false;
}

static bool find_memstats(const struct runtime_report *r)
{
	struct runtime_variable v;
	if (r->kept[KEPT_MEMSTATS] > 0)
		return true;
	if (++r->kept[KEPT_ATTEMPTS] >= ATTEMPTS || runtime_find(r->proc, NULL, "runtime.memstats", &v) < 0 ||
	    v.size > MEMSTATS_MAX_SZ)
		return false;
	r->kept[KEPT_MEMSTATS] = (int64_t)v.address;
	r->kept[KEPT_SIZE] = (int64_t)v.size;
	return true;
}

static bool read_notes(const struct runtime_report *r, struct gc_notes *ret)
{
	bool found = false;
	if (!find_memstats(r))
		return false;
	size_t size = (size_t)r->kept[KEPT_SIZE];
	char *data = malloc(size);
	for (int i = 0; data && i < ATTEMPTS && !found; i++) {
		ssize_t n = runtime_peek(r->proc, (uint64_t)r->kept[KEPT_MEMSTATS], data, size);
		found = n > 0 && notes_in(data, (size_t)n, ret);
	}
	free(data);
	return found;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* As debug.ReadGCStats() makes them, of the pauses that are remembered. */
static void report_quantiles(const struct runtime_report *r, const struct gc_notes *g)
{
	static const char *const names[] = {
		"runtime.go.gc_stats.pause_quantiles.min", "runtime.go.gc_stats.pause_quantiles.25p",
		"runtime.go.gc_stats.pause_quantiles.50p", "runtime.go.gc_stats.pause_quantiles.75p",
		"runtime.go.gc_stats.pause_quantiles.max"};
	uint64_t sorted[PAUSES];
	size_t cnt = g->num_gc < PAUSES ? g->num_gc : PAUSES;
	memcpy(sorted, g->pause_ns, cnt * sizeof(*sorted));
	qsort(sorted, cnt, sizeof(*sorted), by_size);
	for (size_t i = 0; i < 5; i++)
		r->emit(r->arg, names[i], RUNTIME_GAUGE, (double)sorted[i < 4 ? cnt * i / 4 : cnt - 1]);
}

/* --- the report --------------------------------------------------------------------------------------------------- */

static unsigned go_report(const struct runtime_report *r)
{
	cpu_set_t cpus;
	struct gc_notes g;
	/* What runtime.NumCPU() answers. */
	if (sched_getaffinity(r->proc->pid, sizeof(cpus), &cpus) == 0)
		r->emit(r->arg, "runtime.go.num_cpu", RUNTIME_GAUGE, CPU_COUNT(&cpus));
	if (!read_notes(r, &g))
		return 0;
	r->emit(r->arg, "runtime.go.mem_stats.num_gc", RUNTIME_GAUGE, g.num_gc);
	r->emit(r->arg, "runtime.go.mem_stats.num_forced_gc", RUNTIME_GAUGE, g.num_forced_gc);
	r->emit(r->arg, "runtime.go.mem_stats.pause_total_ns", RUNTIME_GAUGE, (double)g.pause_total_ns);
	r->emit(r->arg, "runtime.go.mem_stats.last_gc", RUNTIME_GAUGE, (double)g.last_gc_unix);
	r->emit(r->arg, "runtime.go.mem_stats.gc_cpu_fraction", RUNTIME_GAUGE, g.cpu_fraction);
	report_quantiles(r, &g);
	return 0;
}

const struct runtime_ops runtime_go = {"go", go_report};
