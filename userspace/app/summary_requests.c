/* SPDX-License-Identifier: Apache-2.0 */
#include "app/summary_requests.h"

#include <inttypes.h>
#include <stdlib.h>

#include "app/summary.h"
#include "base/vec.h"

#define SHOWN 20 /* in the text form; the rest is counted */

static int row_compare(const void *a, const void *b)
{
	const struct request_row *x = *(const struct request_row *const *)a, *y = *(const struct request_row *const *)b;
	if (x->durations.cnt != y->durations.cnt)
		return x->durations.cnt < y->durations.cnt ? 1 : -1;
	size_t len = x->name.resource.len < y->name.resource.len ? x->name.resource.len : y->name.resource.len;
	int order = memcmp(x->name.resource.data, y->name.resource.data, len);
	return order ? order : (x->name.resource.len > len) - (y->name.resource.len > len);
}

struct rows {
	const struct request_row *data[REQUESTS_MAX_ROWS];
	size_t cnt;
};

/* Most requests first. */
static void rows_gather(const struct flow *flow, struct rows *ret)
{
	const struct request_row *row;
	ret->cnt = 0;
	while (ret->cnt < REQUESTS_MAX_ROWS && (row = requests_row(flow_requests(flow), (uint32_t)ret->cnt)))
		ret->data[ret->cnt++] = row;
	qsort(ret->data, ret->cnt, sizeof(ret->data[0]), row_compare);
}

static const char *row_kind(const struct request_row *row)
{
	return row->name.server ? "server" : "client";
}

static void print_links(const struct exchanges_stats *stats, FILE *out)
{
	const char *sep = "requests linked by ";
	for (unsigned i = EXCHANGE_LINK_NONE + 1; i < EXCHANGE_LINKS; i++) {
		if (!stats->links[i])
			continue;
		fprintf(out, "%s%s %" PRIu64, sep, exchange_link_name(i), stats->links[i]);
		sep = ", ";
	}
	if (stats->spans)
		fprintf(out, "%s%" PRIu64 " without a parent\n",
			sep[0] == ',' ? "; " : "requests: ", stats->links[EXCHANGE_LINK_NONE]);
}

void summary_requests_print(const struct flow *flow, FILE *out)
{
	struct rows rows;
	struct flow_stats stats;
	char p50[DURATION_LEN], p95[DURATION_LEN], max[DURATION_LEN];
	rows_gather(flow, &rows);
	flow_stats(flow, &stats);
	if (rows.cnt)
		fprintf(out, "%12s %8s %10s %10s %10s  request\n", "requests", "errors", "p50", "p95", "max");
	for (size_t i = 0; i < rows.cnt && i < SHOWN; i++) {
		const struct request_row *r = rows.data[i];
		const struct histogram *h = &r->durations;
		fprintf(out, "%12" PRIu64 " %8" PRIu64 " %10s %10s %10s  %s " SV_FMT ": " SV_FMT "\n", h->cnt,
			r->errors, duration_text(histogram_quantile(h, 0.5), p50),
			duration_text(histogram_quantile(h, 0.95), p95), duration_text(h->max, max), row_kind(r),
			SV_ARG(r->name.service), SV_ARG(r->name.resource));
	}
	if (rows.cnt > SHOWN)
		fprintf(out, "%12s and %zu more kinds of requests\n", "", rows.cnt - SHOWN);
	print_links(&stats.exchanges, out);
	if (requests_overflow(flow_requests(flow)))
		fprintf(out,
			"%" PRIu64
			" requests have a resource of METHOD *: their service has too many; routes: names them\n",
			requests_overflow(flow_requests(flow)));
	if (stats.connections.headers_full)
		fprintf(out, "%" PRIu64 " headers are not looked at: %d different ones are, over all processes\n",
			stats.connections.headers_full, HTTP1_MAX_WANTED);
}

void summary_requests_json(const struct flow *flow, struct sbuf *out)
{
	struct rows rows;
	struct flow_stats stats;
	rows_gather(flow, &rows);
	flow_stats(flow, &stats);
	sbuf_adds(out, "\"requests\":[");
	for (size_t i = 0; i < rows.cnt; i++) {
		const struct request_row *r = rows.data[i];
		const struct histogram *h = &r->durations;
		sbuf_adds(out, i ? ",{\"service\":" : "{\"service\":");
		sbuf_add_json(out, r->name.service);
		sbuf_adds(out, ",\"resource\":");
		sbuf_add_json(out, r->name.resource);
		sbuf_addf(out,
			  ",\"kind\":\"%s\",\"requests\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"p50_ns\":%" PRIu64
			  ",\"p95_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 "}",
			  row_kind(r), h->cnt, r->errors, histogram_quantile(h, 0.5), histogram_quantile(h, 0.95),
			  h->max);
	}
	sbuf_addf(out, "],\"other_requests\":%" PRIu64 ",\"resource_overflow\":%" PRIu64 ",\"links\":{",
		  requests_others(flow_requests(flow)), requests_overflow(flow_requests(flow)));
	for (unsigned i = 0; i < EXCHANGE_LINKS; i++)
		sbuf_addf(out, "%s\"%s\":%" PRIu64, i ? "," : "", exchange_link_name(i), stats.exchanges.links[i]);
	sbuf_addc(out, '}');
}
