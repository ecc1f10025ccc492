/* SPDX-License-Identifier: Apache-2.0 */
#include "app/guard.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/prices.h"
#include "app/reload.h"
#include "app/session_private.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

/* A queue that fills at a million spans a second takes a hundred megabytes in that time. */
#define MEMORY_LOOK_NS	(100 * NSEC_PER_MSEC)

#define SHARE_OF(below) ((double)(below) / 4294967296.0) /* see list_read_share() */

/* A burst fills the queue faster than anybody looks: it begins no larger than what there is room for. */
static void guard_begin_small(struct guard *g)
{
	uint64_t want = memory_used(&g->memory) + GUARD_EXPORTER, ceiling = g->memory.bytes / 10 * 9;
	uint64_t spans = ceiling > want ? (ceiling - want) / GUARD_SPAN : 0;
	spans = spans > GUARD_MIN_QUEUE ? spans : GUARD_MIN_QUEUE;
	if (!g->memory.bytes || spans >= g->queue_limit)
		return;
	log_info("the queue takes %" PRIu64 " spans at most, for %s %" PRIu64 " MiB of memory", spans,
		 g->memory.usage ? "the cgroup lets us take" : "limits: memory: is", g->memory.bytes >> 20);
	g->queue_limit = g->queue_spans = (uint32_t)spans;
	export_queue_set_max(g->session->queue, g->queue_spans);
}

int guard_init(struct guard *g, struct session *s)
{
	const struct probe_limits *limits = &s->options.list->limits;
	*g = (struct guard){.session = s, .limit = SHARE_OF(limits->target_overhead), .looked_ns = clock_mono_ns()};
	g->queue_limit = g->queue_spans = export_queue_max(s->queue);
	g->probe_cap = g->limit > 0 ? s->options.list->probes.cap : 0;
	g->probes = calloc(g->probe_cap ? g->probe_cap : 1, sizeof(*g->probes));
	int rc = memory_limit_init(&g->memory, limits->memory, "/proc/self/cgroup", "/sys/fs/cgroup");
	if (g->memory.usage)
		log_debug("memory: the cgroup lets us take %" PRIu64 " MiB", g->memory.bytes >> 20);
	guard_begin_small(g);
	return g->probes ? rc : -ENOMEM;
}

void guard_release(struct guard *g)
{
	memory_limit_release(&g->memory);
	free(g->probes);
	g->probes = NULL;
}

static void measure(struct guard *g)
{
	struct sbuf err = {0};
	if (!g->priced && price_list_measure(g->session->link, &g->prices, &err) < 0)
		log_warn("what probes cost is not known: %s", sbuf_str(&err));
	g->priced = true;
	sbuf_release(&err);
}

static uint64_t function_calls(const struct guard *g, const struct plan_function *f)
{
	struct function_stats stats;
	calls_function_stats(flow_calls(g->session->flow), f->index, &stats);
	const struct sh_func *counted = kernel_function(g->session->kernel, f->index);
	return stats.spans + (counted ? counted->dropped : 0);
}

static uint64_t function_cost(const struct guard *g, const struct plan_function *f)
{
	return (uint64_t)((double)function_calls(g, f) * function_price(&g->prices, f));
}

void guard_unpublish(struct guard *g, const struct plan_function *f)
{
	if (f->cost < COST_UNPROBEABLE)
		g->past_calls[f->cost][f->end] += function_calls(g, f);
	if (g->priced && f->probe < g->probe_cap)
		g->probes[f->probe].past_ns += function_cost(g, f);
}

static uint64_t past_cost(const struct guard *g)
{
	double total = 0;
	for (unsigned cost = 0; cost < COST_UNPROBEABLE; cost++) {
		for (unsigned end = 0; end <= SITE_END_NONE; end++) {
			struct plan_function like = {.cost = cost, .end = end};
			total += (double)g->past_calls[cost][end] * function_price(&g->prices, &like);
		}
	}
	return (uint64_t)total;
}

/* Adds up by probe, too, where that is kept. */
static void add_up(struct guard *g)
{
	struct plan_stats plan;
	plan_stats(g->session->plan, &plan);
	for (size_t i = 0; i < g->probe_cap; i++)
		g->probes[i].spent_ns = g->probes[i].cost_ns;
	for (size_t i = 0; i < g->probe_cap; i++)
		g->probes[i].cost_ns = g->probes[i].past_ns;
	for (uint32_t i = 0; i < plan.known; i++) {
		const struct plan_function *f = plan_function(g->session->plan, i);
		if (f && f->probe < g->probe_cap)
			g->probes[f->probe].cost_ns += function_cost(g, f);
	}
	for (size_t i = 0; i < g->probe_cap; i++)
		g->probes[i].spent_ns = g->probes[i].cost_ns - g->probes[i].spent_ns;
}

uint64_t guard_cost_ns(struct guard *g)
{
	struct plan_stats plan;
	measure(g);
	uint64_t total = past_cost(g);
	plan_stats(g->session->plan, &plan);
	for (uint32_t i = 0; i < plan.known; i++) {
		const struct plan_function *f = plan_function(g->session->plan, i);
		total += f ? function_cost(g, f) : 0;
	}
	return total;
}

static void name_of(const struct probe *p, struct sbuf *out)
{
	if (p->functions.cnt)
		sbuf_addf(out, SV_FMT "%s", SV_ARG(p->functions.data[0].text), p->functions.cnt > 1 ? ", ..." : "");
	else
		sbuf_addf(out, "0x%" PRIx64, p->address);
}

static void take_off(struct guard *g, uint32_t index, double share, uint64_t now_ns)
{
	struct probe *p = &g->session->options.list->probes.data[index];
	struct guard_probe *gp = &g->probes[index];
	struct sbuf name = {0};
	gp->backoff_s = !gp->backoff_s				  ? GUARD_BACKOFF_S
			: gp->backoff_s * 2 < GUARD_MAX_BACKOFF_S ? gp->backoff_s * 2
								  : GUARD_MAX_BACKOFF_S;
	gp->off_until_ns = now_ns + gp->backoff_s * NSEC_PER_SEC;
	p->off = true;
	g->off++;
	g->taken_off++;
	name_of(p, &name);
	log_warn(
		"probe %u (%s) costs %.1f %% of a CPU, and all may cost %.1f %% (limits: target_overhead:): it is taken off "
		"for %u s",
		index, sbuf_str(&name), share * 100, g->limit * 100, gp->backoff_s);
	sbuf_release(&name);
}

/* The hottest first, until what is left is within the limit. */
static bool cool_down(struct guard *g, uint64_t elapsed_ns, uint64_t now_ns)
{
	const struct probe_list *list = g->session->options.list;
	double left = g->share;
	bool any = false;
	while (left > g->limit) {
		uint32_t hottest = UINT32_MAX;
		vec_foreach (i, &list->order)
			if (!list->probes.data[*i].off && g->probes[*i].spent_ns &&
			    (hottest == UINT32_MAX || g->probes[*i].spent_ns > g->probes[hottest].spent_ns))
				hottest = *i;
		if (hottest == UINT32_MAX)
			break;
		double share = (double)g->probes[hottest].spent_ns / (double)elapsed_ns;
		take_off(g, hottest, share, now_ns);
		left -= share;
		any = true;
	}
	return any;
}

/* One at a time: what it costs then is seen before the next. */
static bool put_back(struct guard *g, uint64_t now_ns)
{
	const struct probe_list *list = g->session->options.list;
	if (!g->off || g->share > g->limit / 2)
		return false;
	for (size_t i = 0; i < list->probes.cnt; i++) {
		struct probe *p = &list->probes.data[i];
		if (!p->off || now_ns < g->probes[i].off_until_ns)
			continue;
		p->off = false;
		g->off--;
		g->restored++;
		log_info("probe %zu is put back", i);
		return true;
	}
	return false;
}

static bool guard_overhead(struct guard *g, uint64_t now_ns)
{
	uint64_t elapsed = now_ns - g->looked_ns, spent = 0;
	if (!g->limit || elapsed < NSEC_PER_SEC / 2)
		return false;
	measure(g);
	add_up(g);
	g->looked_ns = now_ns;
	for (size_t i = 0; i < g->probe_cap; i++)
		spent += g->probes[i].spent_ns;
	g->share = (double)spent / (double)elapsed;
	return g->share > g->limit ? cool_down(g, elapsed, now_ns) : put_back(g, now_ns);
}

static void guard_memory(struct guard *g)
{
	uint64_t now = memory_used(&g->memory);
	if (now > g->memory.bytes / 10 * 9) {
		malloc_trim(0);
		now = memory_used(&g->memory);
	}
	if (now > g->memory.bytes / 10 * 9 && g->queue_spans > GUARD_MIN_QUEUE) {
		g->queue_spans = g->queue_spans / 2 > GUARD_MIN_QUEUE ? g->queue_spans / 2 : GUARD_MIN_QUEUE;
		g->shed++;
		log_warn("%" PRIu64 " MiB of memory, and %s %" PRIu64
			 " MiB: the queue takes %u spans at most until there is less",
			 now >> 20, g->memory.usage ? "the cgroup lets us take" : "limits: memory: is",
			 g->memory.bytes >> 20, g->queue_spans);
	} else if (now && now < g->memory.bytes / 10 * 7 && g->queue_spans < g->queue_limit) {
		g->queue_spans = g->queue_spans < g->queue_limit / 2 ? g->queue_spans * 2 : g->queue_limit;
	}
	export_queue_set_max(g->session->queue, g->queue_spans);
}

bool guard_tick(struct guard *g, uint64_t now_ns)
{
	if (g->memory.bytes && now_ns - g->memory_looked_ns > MEMORY_LOOK_NS) {
		guard_memory(g);
		g->memory_looked_ns = now_ns;
	}
	return guard_overhead(g, now_ns);
}
