/* SPDX-License-Identifier: Apache-2.0 */
#include "app/health_metrics.h"

#include <errno.h>

#include "app/session_private.h"
#include "base/clock.h"
#include "base/variables.h"
#include "trace/settings.h"

int health_metrics_open(struct health_metrics *h, struct sbuf *err)
{
	struct dogstatsd_options o = {.telemetry = true};
	if (!setting_is_true(sv_of(variable_get("DD_TRACE_HEALTH_METRICS_ENABLED"))))
		return 0;
	h->due_ns = clock_mono_ns() + HEALTH_INTERVAL_S * NSEC_PER_SEC;
	return dogstatsd_open(&h->client, &o, err);
}

void health_metrics_tick(struct health_metrics *h, struct session *s, uint64_t now_ns, bool end)
{
	struct health now = {0};
	struct session_account account;
	const char *reasons[HEALTH_MAX_REASONS] = {0};
	if (!h->client || (!end && now_ns < h->due_ns))
		return;
	dogstatsd_agent_port(h->client, session_statsd_port(s));
	h->due_ns = now_ns + HEALTH_INTERVAL_S * NSEC_PER_SEC;
	session_account(s, &account);
	export_queue_sink(s->queue, 0, &now.exporter, NULL);
	now.spans = account.seen;
	now.held = account.pending;
	_Static_assert(SH_MAX_DROPS <= HEALTH_MAX_REASONS, "every reason has a place");
	for (unsigned i = 0; i < SH_MAX_DROPS; i++) {
		now.dropped[i] = account.dropped[i];
		reasons[i] = session_drop_name(i);
	}
	health_report(h->client, &now, &h->told, reasons, now_ns);
}

void health_metrics_close(struct health_metrics *h)
{
	dogstatsd_close(h->client);
	h->client = NULL;
}
