/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SUMMARY_REQUESTS_H
#define APP_SUMMARY_REQUESTS_H

#include <stdio.h>

#include "flow/flow.h"

/* The part of the summary that is about requests: by service and resource, and how they came to their parents. */
void summary_requests_print(const struct flow *flow, FILE *out);
/* As members of a JSON object, without braces. */
void summary_requests_json(const struct flow *flow, struct sbuf *out);

#endif
