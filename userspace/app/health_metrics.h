/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_HEALTH_METRICS_H
#define APP_HEALTH_METRICS_H

#include "export/health.h"

struct session;

/* Metrics about ourselves, with DD_TRACE_HEALTH_METRICS_ENABLED, every HEALTH_INTERVAL_S and at the end. Valid when
 * zeroed: off. */
struct health_metrics {
	struct dogstatsd *client; /* NULL: off */
	struct health told;
	uint64_t due_ns;
};

/* 0, or -EINVAL with a sentence in err: it is wanted, and where to send it is nonsense. */
int health_metrics_open(struct health_metrics *h, struct sbuf *err);
/* At any pace; does something when it is due, or when `now` is the end. */
void health_metrics_tick(struct health_metrics *h, struct session *s, uint64_t now_ns, bool end);
void health_metrics_close(struct health_metrics *h);

#endif
