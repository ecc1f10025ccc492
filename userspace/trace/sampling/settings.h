/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_SETTINGS_H
#define TRACE_SAMPLING_SETTINGS_H

#include "trace/sampling/rules.h"

/* What the variables of an environment (struct sampling_vars) ask of sampling:
 *   DD_TRACE_SAMPLING_RULES  rules.h
 *   DD_TRACE_SAMPLE_RATE     0..1: a last rule for all traces, as in Datadog's tracers but that for Python, which
 * ignores it DD_TRACE_RATE_LIMIT      traces a second that rules keep, of each process; 0: none, below 0: all
 *   DD_SPAN_SAMPLING_RULES   rules.h */
struct sampling_settings {
	struct sampling_rules rules, span_rules;
	double rate_limit;
};

#define SAMPLING_RATE_LIMIT 100 /* when nothing is said (dd-trace-py, dd-trace-go) */

/* What is wrong is appended to `mistakes`, a line for each that begins with the variable's name, and is as if it were
 * not there. The number of mistakes, or -ENOMEM. */
int sampling_settings_parse(struct sampling_settings *ret, const struct sampling_vars *vars, struct sbuf *mistakes);
void sampling_settings_release(struct sampling_settings *s);
bool sampling_vars_empty(const struct sampling_vars *vars);
/* Each of `over` that says something, else `under`'s. */
struct sampling_vars sampling_vars_merge(const struct sampling_vars *over, const struct sampling_vars *under);

#endif
