/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_RUNTIME_METRICS_H
#define APP_RUNTIME_METRICS_H

#include <stdbool.h>
#include <stdint.h>

struct dogstatsd;
struct session;
struct runtime_process;

/* What each traced process costs (target/runtime/runtime.h), for those that say DD_RUNTIME_METRICS_ENABLED, or for all
 * when we are told so. The supervisor's. Valid when zeroed. */
struct runtime_metrics {
	struct dogstatsd *client; /* NULL: nobody wanted any yet */
	struct runtime_process *processes;
	uint32_t cnt, cap;
	uint64_t due_ns;
	unsigned epoch; /* of the processes when they were last looked at */
	bool broken;	/* where to send them is nonsense; it was said */
};

#define RUNTIME_METRICS_INTERVAL_S 10	/* ddtrace's */
#define RUNTIME_METRICS_MAX	   4096 /* processes */

/* At any pace: takes note of new processes, and reports when it is due, or when it is the end. */
void runtime_metrics_tick(struct runtime_metrics *m, struct session *s, uint64_t now_ns, bool end);
void runtime_metrics_close(struct runtime_metrics *m);

#endif
