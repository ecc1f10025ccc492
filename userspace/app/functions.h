/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_FUNCTIONS_H
#define APP_FUNCTIONS_H

#include "flow/calls.h"
#include "probe/plan.h"

/* The table of probed functions as flow/ wants it: what a probe of the list says a function's spans look like. Written by
 * the supervisor, read by the consumer without a lock: an entry is complete before its index can occur in a record. */
struct functions;

struct probe_metrics;

struct functions *functions_new(const struct probe_list *list, uint32_t max); /* NULL when out of memory */
void functions_free(struct functions *f);				      /* NULL is fine */
/* Where metric: goes; before the first function is published. Without it nothing is measured. */
void functions_measure(struct functions *f, struct probe_metrics *metrics);
int functions_publish(struct functions *f, const struct plan_function *function);
/* No record and no span names it any more. */
void functions_unpublish(struct functions *f, uint32_t index);
const struct function_info *functions_get(const struct functions *f, uint32_t index);
/* What the entry was made from; NULL beyond the table. */
const struct plan_function *functions_plan(const struct functions *f, uint32_t index);

#endif
