/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sampling and statistics add to a span, on one thread. Prints nanoseconds of CPU time a span of statistics, of
 * sampling with three rules, and of obfuscation and normalisation.
 *
 *   sampling clients|request SPANS SECONDS
 *
 * Chunks of SPANS spans with six tags each; clients: all are calls of a peer, the dearest there are; request: of ten
 * one is a request, two are calls of a peer, and seven are functions that statistics do not count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "trace/assembly.h"
#include "trace/normalize.h"
#include "trace/obfuscate/obfuscate.h"
#include "trace/pipeline.h"

#define CHUNKS	  256
#define RESOURCES 64

static struct tag client_tags[] = {
	{SV("span.kind"), SV("client")},
	{SV("component"), SV("redis")},
	{SV("db.system"), SV("redis")},
	{SV("out.host"), SV("cache.internal")},
	{SV("http.status_code"), SV("200")},
	{SV("http.url"), SV("http://cache.internal:8080/cart/items/17?token=%3Credacted%3E&page=2")}};
static struct tag function_tags[] = {{SV("code.function"), SV("handle")},     {SV("code.namespace"), SV("shop")},
				     {SV("thread.name"), SV("worker")},	      {SV("currency"), SV("EUR")},
				     {SV("module.build_id"), SV("8f3b2a1c")}, {SV("module.path"), SV("/usr/bin/shop")}};
static struct metric metrics[] = {{SV("thread.id"), 7}};
static struct process_info shop = {.refs = 1, .service = SV("shop"), .env = SV("prod"), .version = SV("1.2.3")};

static uint64_t cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static struct chunk *make_chunk(struct chunk_pool *pool, unsigned spans, unsigned number, bool request, uint64_t now_ns)
{
	static char resources[RESOURCES][24];
	struct chunk *c = chunk_pool_get(pool);
	c->process = process_info_ref(&shop);
	for (unsigned i = 0; i < spans; i++) {
		struct span *s = chunk_add(c);
		char *resource = resources[(number + i) % RESOURCES];
		snprintf(resource, sizeof(resources[0]), "GET key:%u", (number + i) % RESOURCES);
		s->span_id = i + 1;
		s->parent_id = i == spans - 1 ? 0 : spans;
		s->local_root = i == spans - 1;
		bool client = !request || i % 10 < 2;
		s->name = client ? SV("http.client.request") : SV("handle");
		s->resource = sv_of(resource);
		s->type = client ? SV("http") : SV("custom");
		s->normal = 1;
		s->clean = !client;
		s->tags = client ? client_tags : function_tags;
		s->tag_cnt = 6;
		s->metrics = metrics;
		s->metric_cnt = 1;
		s->duration_ns = 1000 + (int64_t)((number * 7919 + i * 104729) % 5000000);
		s->start_ns = (int64_t)now_ns - s->duration_ns;
	}
	return c;
}

static void undecide(struct chunk *c, uint64_t trace)
{
	c->decided = DECIDED_NOT;
	c->rates = 0;
	c->trace_lo = trace;
}

static void clean(struct chunk *c, uint64_t now_ns, struct sbuf *scratch)
{
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		if (c->spans[i].clean)
			continue;
		obfuscate_span(c, &c->spans[i], NULL, true, scratch);
		normalize_span(c, &c->spans[i], NORMALIZE_MAX_RESOURCE, (int64_t)now_ns, scratch);
	}
}

int main(int argc, char **argv)
{
	static struct stats_box box;
	static struct chunk *chunks[CHUNKS];
	static struct sv peers[] = {SV("_dd.base_service"), SV("db.name"), SV("db.system"), SV("out.host"),
				    SV("peer.service")};
	struct sampler_options options = {
		.vars = {.rules = SV("[{\"service\":\"other\",\"sample_rate\":0},{\"resource\":\"POST "
				     "*\",\"sample_rate\":1},"
				     "{\"tags\":{\"span.kind\":\"cl*\"},\"sample_rate\":0.5}]"),
			 .rate_limit = SV("-1")}};
	struct stats *stats = stats_new(&(struct stats_options){.box = &box});
	struct sampler *sampler = sampler_new(&options);
	struct chunk_pool *pool = chunk_pool_new(1 << 20);
	if (argc != 4 || !stats || !sampler || !pool)
		return 2;
	unsigned spans = (unsigned)atoi(argv[2]);
	bool request = !strcmp(argv[1], "request");
	uint64_t budget = (uint64_t)(atof(argv[3]) * 1e9), now_ns = 1700000005 * NSEC_PER_SEC, trace = 1;
	stats_set_peer_tags(stats, peers, 5);
	for (unsigned i = 0; i < CHUNKS; i++)
		chunks[i] = make_chunk(pool, spans, i, request, now_ns);
	double per_span[3];
	struct sbuf scratch = {0};
	for (int what = 0; what < 3; what++) {
		uint64_t start = cpu_ns(), rounds = 0;
		for (; cpu_ns() - start < budget || rounds < 3; rounds++) {
			/* The first rounds warm up. */
			if (rounds == 2)
				start = cpu_ns();
			for (unsigned i = 0; i < CHUNKS; i++) {
				undecide(chunks[i], trace++ * 0x9e3779b97f4a7c15ULL);
				if (what == 0)
					stats_chunk(stats, chunks[i], now_ns);
				else if (what == 1)
					sampler_chunk(sampler, chunks[i], trace);
				else
					clean(chunks[i], now_ns, &scratch);
			}
		}
		per_span[what] = (double)(cpu_ns() - start) / (double)((rounds - 2) * CHUNKS * spans);
	}
	sbuf_release(&scratch);
	printf("%.1f %.1f %.1f\n", per_span[0], per_span[1], per_span[2]);
	return 0;
}
