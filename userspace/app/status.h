/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_STATUS_H
#define APP_STATUS_H

#include "app/reload.h"
#include "app/session.h"

/* How a daemon is, made when somebody asks: nothing is counted for it on the way of a span. Runs on the supervisor. */
struct status {
	struct session *session;
	const struct reload *reload;
	bool ready;
	bool alive; /* the consumer makes progress */
	uint64_t probe_cost_ns;
	uint32_t off;		  /* probes taken off by the guard rails, */
	uint64_t taken_off, shed; /* and how often they did something */
};

/* 0, or why not: what is wrong is appended, one line. */
int status_health(const struct status *st, struct sbuf *out);
/* OpenMetrics 1.0 text. In every scrape spans_seen = spans_exported + the sum of spans_dropped + spans_in_flight. */
void status_metrics(const struct status *st, struct sbuf *out);
/* One JSON object and a newline. */
void status_json(const struct status *st, struct sbuf *out);
/* The probes of the list, as a JSON array. */
void status_probes(const struct status *st, struct sbuf *out);

#endif
