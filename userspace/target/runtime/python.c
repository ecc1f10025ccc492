/* SPDX-License-Identifier: Apache-2.0 */
#include "target/runtime/memory.h"
#include "target/runtime/runtime.h"

/* The collector of the main interpreter (CPython, Include/internal/pycore_gc.h, struct _gc_runtime_state), from its
 * generations on: the same from 3.8 to 3.13, but in 3.13 without the GIL. 3.14 collects in another way. */
#define GENERATIONS 3
struct generation {
	uint64_t next, prev;
	int32_t threshold, count;
};
struct collector {
	struct generation generations[GENERATIONS];
	uint64_t generation0; /* the address of the first of them: by this it is found, and told from all else */
	struct generation permanent;
	struct {
		int64_t collections, collected, uncollectable;
	} stats[GENERATIONS];
};
_Static_assert(sizeof(struct collector) == 176, "as the interpreter has it");

#define RUNTIME_MAX_SZ	   (4 << 20)  /* of _PyRuntime; 3.13 has less than 1 MiB */
#define INTERPRETER_MAX_SZ (64 << 10) /* of an interpreter's state that is looked at */
#define MAIN_INTERPRETER   40	      /* in _PyRuntime, of 3.9 and 3.10: where it is no part of it */
#define ATTEMPTS	   3	      /* to find it: a program may have just begun */

/* What is kept. */
enum { KEPT_COLLECTIONS, KEPT_ADDRESS = GENERATIONS, KEPT_ATTEMPTS };

/* --- the collector ------------------------------------------------------------------------------------------------ */

/* The N of 3.N, 0: another. */
static unsigned minor_version(struct sv version)
{
	unsigned minor = 0;
	for (size_t i = 2; sv_starts(version, SV("3.")) && i < version.len && minor < 100; i++) {
		if (version.data[i] < '0' || version.data[i] > '9')
			break;
		minor = minor * 10 + (unsigned)(version.data[i] - '0');
	}
	return minor;
}

static bool is_list(const struct generation *g)
{
	/* Flags are in the low bits of prev alone. */
	return g->next && g->next % 8 == 0 && g->prev && g->threshold >= 0 && g->count >= 0;
}

static bool is_collector(const struct collector *c, uint64_t address)
{
	if (c->generation0 != address || !is_list(&c->permanent) || c->permanent.threshold || c->permanent.count)
		return false;
	for (int i = 0; i < GENERATIONS; i++)
		if (!is_list(&c->generations[i]) || c->stats[i].collections < 0 || c->stats[i].collected < 0 ||
		    c->stats[i].uncollectable < 0)
			return false;
	return true;
}

/* The address of the first collector in what was read from `address`; 0: there is none. */
static uint64_t collector_in(const char *data, size_t len, uint64_t address)
{
	for (size_t i = 0; i + sizeof(struct collector) <= len; i += 8) {
		struct collector c;
		uint64_t generation0;
		memcpy(&generation0, data + i + offsetof(struct collector, generation0), sizeof(generation0));
		if (generation0 != address + i)
			continue;
		memcpy(&c, data + i, sizeof(c));
		if (is_collector(&c, address + i))
			return address + i;
	}
	return 0;
}

static uint64_t find_near(struct proc *p, uint64_t address, size_t len, struct sbuf *text)
{
	sbuf_reset(text);
	char *data = sbuf_reserve(text, len);
	ssize_t n = data ? runtime_peek(p, address, data, len) : -1;
	return n > 0 ? collector_in(data, (size_t)n, address) : 0;
}

/* From 3.13 on the runtime begins with this (pycore_debug_offsets.h). */
static bool has_gil(struct proc *p, uint64_t runtime)
{
	struct {
		char cookie[8];
		uint64_t version, free_threaded;
	} head;
	return runtime_peek(p, runtime, &head, sizeof(head)) == sizeof(head) &&
	       memcmp(head.cookie, "xdebugpy", sizeof(head.cookie)) == 0 && head.version >> 16 == 0x30d &&
	       head.free_threaded == 0;
}

static uint64_t find_collector(const struct runtime_report *r)
{
	unsigned minor = minor_version(r->version);
	struct runtime_variable runtime;
	struct sbuf text = {0};
	uint64_t main_interpreter, found = 0;
	if (minor < 8 || minor > 13 || runtime_find(r->proc, "libpython3.", "_PyRuntime", &runtime) < 0 ||
	    runtime.size > RUNTIME_MAX_SZ || (minor == 13 && !has_gil(r->proc, runtime.address)))
		return 0;
	found = find_near(r->proc, runtime.address, runtime.size, &text);
	if (!found && (minor == 9 || minor == 10) &&
	    runtime_peek(r->proc, runtime.address + MAIN_INTERPRETER, &main_interpreter, 8) == 8)
		found = find_near(r->proc, main_interpreter, INTERPRETER_MAX_SZ, &text);
	sbuf_release(&text);
	return found;
}

/* Where it was before, or anywhere. */
static bool read_collector(const struct runtime_report *r, struct collector *ret)
{
	int64_t *address = &r->kept[KEPT_ADDRESS], *attempts = &r->kept[KEPT_ATTEMPTS];
	for (int i = 0; i < 2; i++) {
		uint64_t at = *address > 0 ? (uint64_t)*address : 0;
		if (at && runtime_peek(r->proc, at, ret, sizeof(*ret)) == sizeof(*ret) && is_collector(ret, at))
			return true;
		if (i || ++*attempts >= ATTEMPTS)
			break;
		*address = (int64_t)find_collector(r);
	}
	return false;
}

/* ddtrace's: how many objects wait for the next collection of each generation (gc.get_count()), and how many
 * collections there were (of gc.get_stats()). */
static void report_collector(const struct runtime_report *r)
{
	static const char *const counts[GENERATIONS] = {"runtime.python.gc.count.gen0", "runtime.python.gc.count.gen1",
							"runtime.python.gc.count.gen2"};
	static const char *const collections[GENERATIONS] = {"runtime.python.gc.collections.gen0",
							     "runtime.python.gc.collections.gen1",
							     "runtime.python.gc.collections.gen2"};
	struct collector c;
	if (!read_collector(r, &c))
		return;
	for (int i = 0; i < GENERATIONS; i++) {
		int64_t *before = &r->kept[KEPT_COLLECTIONS + i], now = c.stats[i].collections;
		r->emit(r->arg, counts[i], RUNTIME_DISTRIBUTION, c.generations[i].count);
		if (*before >= 0 && now >= *before)
			r->emit(r->arg, collections[i], RUNTIME_DISTRIBUTION, (double)(now - *before));
		*before = now;
	}
}

/* --- the report --------------------------------------------------------------------------------------------------- */

static unsigned python_report(const struct runtime_report *r)
{
	double user = runtime_user_s(r), system = runtime_system_s(r);
	const struct {
		const char *name;
		double value;
	} metrics[] = {
		{"runtime.python.cpu.time.user", user},
		{"runtime.python.cpu.time.sys", system},
		{"runtime.python.cpu.percent", (user + system) / r->elapsed_s * 100},
		{"runtime.python.cpu.ctx_switch.voluntary", runtime_since(r->now->voluntary, r->before->voluntary)},
		{"runtime.python.cpu.ctx_switch.involuntary",
		 runtime_since(r->now->involuntary, r->before->involuntary)},
		{"runtime.python.thread_count", r->now->threads},
		{"runtime.python.mem.rss", (double)r->now->rss},
	};
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
		r->emit(r->arg, metrics[i].name, RUNTIME_DISTRIBUTION, metrics[i].value);
	report_collector(r);
	return RUNTIME_CPU | RUNTIME_SWITCHES | RUNTIME_RSS | RUNTIME_THREADS;
}

const struct runtime_ops runtime_python = {"python", python_report};
