/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SAMPLING_H
#define APP_SAMPLING_H

#include "export/datadog.h"
#include "trace/pipeline.h"

/* What our own environment says about sampling and statistics: DD_TRACE_SAMPLE_RATE, DD_TRACE_SAMPLING_RULES,
 * DD_TRACE_RATE_LIMIT, DD_SPAN_SAMPLING_RULES or, when that is empty, the file DD_SPAN_SAMPLING_RULES_FILE names;
 * DD_TRACE_STATS_COMPUTATION_ENABLED (DD_TRACE_COMPUTE_STATS), DD_TRACE_STATS_ADDITIONAL_TAGS. Sets what of the options
 * that decides; `file` holds the file's text and must outlive the pipeline. 0; -EINVAL with every mistake in err, a
 * line each; -ENOMEM. */
int sampling_environment(struct pipeline_options *ret, struct sbuf *file, struct sbuf *err);
/* As pipeline_options.mistakes: warns of what is wrong in the environment of a traced process. */
void sampling_mistakes(void *arg, const struct process_info *process, struct sv lines);
/* Ties the Datadog exporters that are opened from now on to the link; both must outlive them. */
void sampling_listen(struct datadog_listener *listener, struct agent_link *link);

#endif
