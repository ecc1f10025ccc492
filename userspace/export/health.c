/* SPDX-License-Identifier: Apache-2.0 */
#include "export/health.h"

/* Counts are told when there is something to count. */
static void count(struct dogstatsd *d, struct sv name, uint64_t now, uint64_t told, const char *reason)
{
	const struct tag tag = {SV("reason"), sv_of(reason)};
	double v = (double)(now - told);
	if (now <= told)
		return;
	dogstatsd_add(d, &(struct dogstatsd_metric){.name = name,
						    .type = DOGSTATSD_COUNT,
						    .values = &v,
						    .value_cnt = 1,
						    .tags = &tag,
						    .tag_cnt = reason != NULL});
}

void health_report(struct dogstatsd *d, const struct health *now, struct health *told,
		   const char *const reasons[HEALTH_MAX_REASONS], uint64_t now_ns)
{
	const struct exporter_stats *e = &now->exporter, *was = &told->exporter;
	count(d, SV("datadog.tracer.spans_finished"), now->spans, told->spans, NULL);
	for (unsigned i = 0; i < HEALTH_MAX_REASONS; i++)
		if (reasons[i])
			count(d, SV("datadog.tracer.spans_dropped"), now->dropped[i], told->dropped[i], reasons[i]);
	dogstatsd_gauge(d, SV("datadog.tracer.queue.length"), (double)now->held);
	count(d, SV("datadog.tracer.http.requests"), e->requests, was->requests, NULL);
	count(d, SV("datadog.tracer.http.errors"), e->errors, was->errors, NULL);
	count(d, SV("datadog.tracer.http.sent.bytes"), e->bytes, was->bytes, NULL);
	dogstatsd_gauge(d, SV("datadog.tracer.heartbeat"), 1);
	*told = *now;
	dogstatsd_flush(d, now_ns);
}
