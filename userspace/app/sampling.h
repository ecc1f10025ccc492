/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SAMPLING_H
#define APP_SAMPLING_H

#include "export/datadog.h"
#include "trace/pipeline.h"

/* A pipeline that goes by what our own environment says about sampling and statistics: DD_TRACE_SAMPLE_RATE,
 * DD_TRACE_SAMPLING_RULES, DD_TRACE_RATE_LIMIT, DD_SPAN_SAMPLING_RULES or, when that is empty, the file
 * DD_SPAN_SAMPLING_RULES_FILE names; DD_TRACE_STATS_COMPUTATION_ENABLED (DD_TRACE_COMPUTE_STATS),
 * DD_TRACE_STATS_ADDITIONAL_TAGS. The rest of the options is the caller's; `file` holds the file's text and must outlive
 * the pipeline. Warns of what is wrong in the environments of traced processes. 0; -EINVAL with every mistake in err, a
 * line each; -ENOMEM. */
int sampling_pipeline(struct pipeline **ret, struct pipeline_options *options, struct sbuf *file, struct sbuf *err);
/* Ties the Datadog exporters that are opened from now on to the link; both must outlive them. */
void sampling_listen(struct datadog_listener *listener, struct agent_link *link);

#endif
