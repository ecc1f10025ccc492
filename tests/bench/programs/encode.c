/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans with the tags a web service has, to the bytes of a payload. Prints spans, payload bytes, the nanoseconds of CPU
 * time that took, and how often memory was asked for meanwhile.
 *
 *   encode v04|v05 SECONDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "export/payload.h"

#define SPANS	      10
#define PAYLOAD_BYTES (2 << 20) /* then a new one is begun, as the exporter does */

/* glibc's own names for what the wrappers below stand before. */
void *__libc_malloc(size_t sz);
void *__libc_calloc(size_t n, size_t sz);
void *__libc_realloc(void *old, size_t sz);
static uint64_t allocations;

void *malloc(size_t sz)
{
	allocations++;
	return __libc_malloc(sz);
}

void *calloc(size_t n, size_t sz)
{
	allocations++;
	return __libc_calloc(n, sz);
}

void *realloc(void *old, size_t sz)
{
	allocations++;
	return __libc_realloc(old, sz);
}

static struct tag dd_tags[] = {{SV("team"), SV("core")}};
static struct process_info shop = {
	.refs = 1,
	.pid = 4242,
	.service = SV("shop"),
	.env = SV("prod"),
	.version = SV("1.2.3"),
	.language = SV("python"),
	.runtime_id = SV("6f9619ff-8b86-4011-b42d-00c04fc964ff"),
	.tags = dd_tags,
	.tag_cnt = 1,
};

static struct tag own[SPANS][6] = {};
static struct metric metrics[1] = {{SV("network.destination.port"), 5432}};
static const struct tag shared[] = {
	{SV("component"), SV("postgres")}, {SV("span.kind"), SV("client")}, {SV("db.system"), SV("postgresql")}};

static void chunk_make(struct chunk *c, struct span *spans, uint64_t n)
{
	static char urls[SPANS][64], ids[SPANS][24];
	for (int i = 0; i < SPANS; i++) {
		/* One value of each span is its own. */
		int len = snprintf(urls[i], sizeof(urls[i]), "http://shop.example:8080/items/%d",
				   (int)(n + (uint64_t)i) % 1000);
		int id_len = snprintf(ids[i], sizeof(ids[i]), "%llu", (unsigned long long)(n * SPANS + (uint64_t)i));
		own[i][0] = (struct tag){SV("http.url"), {urls[i], (size_t)len}};
		own[i][1] = (struct tag){SV("http.method"), SV("GET")};
		own[i][2] = (struct tag){SV("http.status_code"), SV("200")};
		own[i][3] = (struct tag){SV("out.host"), SV("db.example")};
		own[i][4] = (struct tag){SV("order.id"), {ids[i], (size_t)id_len}};
		own[i][5] = (struct tag){SV("db.name"), SV("orders")};
		spans[i] = (struct span){.span_id = n * SPANS + (uint64_t)i + 1,
					 .parent_id = i == SPANS - 1 ? 0 : n * SPANS + SPANS,
					 .start_ns = (int64_t)(1700000000000000000 + n * 1000),
					 .duration_ns = 123456 + i,
					 .name = SV("postgres.query"),
					 .resource = SV("SELECT * FROM orders WHERE id = ?"),
					 .type = SV("sql"),
					 .tags = own[i],
					 .tag_cnt = 6,
					 .shared_tags = shared,
					 .shared_tag_cnt = 3,
					 .metrics = metrics,
					 .metric_cnt = 1,
					 .local_root = i == SPANS - 1};
	}
	*c = (struct chunk){.trace_hi = 1700000000ULL << 32,
			    .trace_lo = (n + 1) * 0x9e3779b97f4a7c15ULL,
			    .process = &shop,
			    .spans = spans,
			    .span_cnt = SPANS};
}

#define CHUNKS 256

int main(int argc, char **argv)
{
	static struct chunk chunks[CHUNKS];
	static struct span spans[CHUNKS][SPANS];
	if (argc != 3)
		return 2;
	enum payload_format format = strcmp(argv[1], "v05") == 0 ? PAYLOAD_V05 : PAYLOAD_V04;
	uint64_t made = 0, bytes = 0, limit = (uint64_t)(atof(argv[2]) * 1e9), ns = 0;
	struct tags tags = {0};
	struct payload *p = payload_new(&shop, false, format);
	for (uint64_t i = 0; i < CHUNKS; i++)
		chunk_make(&chunks[i], spans[i], i);
	uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t i = 0; ns < limit; i++) {
		if (payload_add(p, &tags, &chunks[i % CHUNKS], 0) < 0)
			return 1;
		made += SPANS;
		if (payload_wire_sz(p) < PAYLOAD_BYTES)
			continue;
		bytes += payload_wire_sz(p);
		payload_free(p);
		p = payload_new(&shop, false, format);
		ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	}
	bytes += payload_wire_sz(p);
	printf("%llu %llu %llu %llu\n", (unsigned long long)made, (unsigned long long)bytes, (unsigned long long)ns,
	       (unsigned long long)allocations);
	payload_free(p);
	tags_release(&tags);
	return 0;
}
