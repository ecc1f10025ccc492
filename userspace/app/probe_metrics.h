/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_PROBE_METRICS_H
#define APP_PROBE_METRICS_H

#include "export/aggregate.h"
#include "probe/list.h"

/* metric: of the probe list. All of it belongs to the consumer's thread between opening and closing. Valid when
 * zeroed: off. */
struct probe_metrics {
	struct dogstatsd *client; /* NULL: no probe has a metric */
	struct aggregate *aggregate;
	uint64_t due_ns;
};

#define PROBE_METRICS_INTERVAL_S 10 /* as the Agent's own flush */

/* 0; -EINVAL with a sentence in err: where to send them is nonsense; -ENOMEM. */
int probe_metrics_open(struct probe_metrics *m, const struct probe_list *list, struct sbuf *err);
/* One call of a function of `probe`. Values that the call does not have (an argument that could not be read, the return
 * value of a call that did not return) add nothing. */
void probe_metrics_call(struct probe_metrics *m, const struct probe *probe, const struct call_values *values,
			const struct sh_ev_call *record, struct process_info *who);
/* At any pace; sends when it is due, or when it is the end. `agent_port`: for dogstatsd_agent_port(). */
void probe_metrics_tick(struct probe_metrics *m, uint64_t now_ns, bool end, uint16_t agent_port);
void probe_metrics_close(struct probe_metrics *m);

#endif
