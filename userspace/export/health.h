/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_HEALTH_H
#define EXPORT_HEALTH_H

#include "export/dogstatsd.h"
#include "export/exporter.h"

/* What we tell about ourselves, under the names that Datadog's tracers use for the same (dd-trace-go
 * ddtrace/tracer/metrics.go, dd-trace-py ddtrace/internal/writer):
 *   datadog.tracer.spans_finished         count, spans given to the exporters
 *   datadog.tracer.spans_dropped          count, with reason:<the reason's name in the summary>
 *   datadog.tracer.queue.length           gauge, spans that wait
 *   datadog.tracer.http.requests, .http.errors, .http.sent.bytes    counts, of the first exporter
 *   datadog.tracer.heartbeat              gauge, 1 */
#define HEALTH_MAX_REASONS 64
#define HEALTH_INTERVAL_S  10

/* Totals since the start. */
struct health {
	uint64_t spans, held;
	uint64_t dropped[HEALTH_MAX_REASONS];
	struct exporter_stats exporter;
};

/* Sends what was added since *told, and makes *told what is told now. `reasons`: names of dropped[], NULL for those
 * that are none. Flushes. */
void health_report(struct dogstatsd *d, const struct health *now, struct health *told,
		   const char *const reasons[HEALTH_MAX_REASONS], uint64_t now_ns);

#endif
