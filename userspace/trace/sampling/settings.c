/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define RATE_LIMIT_MAX 1e9

struct reader {
	struct sbuf *mistakes;
	int mistake_cnt;
	bool failed;
};

static void read_rules(struct reader *r, const char *name, enum rules_kind kind, struct sv json,
		       struct sampling_rules *ret)
{
	struct sbuf lines = {0};
	int rc = sampling_rules_parse(ret, kind, json, &lines);
	struct sv rest = sbuf_sv(&lines);
	r->failed |= rc == -ENOMEM || lines.failed;
	while (rest.len) {
		const char *end = memchr(rest.data, '\n', rest.len);
		size_t len = end ? (size_t)(end - rest.data) : rest.len;
		sbuf_addf(r->mistakes, "%s%s: %.*s", r->mistake_cnt++ ? "\n" : "", name, (int)len, rest.data);
		len += end != NULL;
		rest = (struct sv){rest.data + len, rest.len - len};
	}
	sbuf_release(&lines);
}

/* False: nothing (usable) is said. */
static bool read_number(struct reader *r, const char *name, struct sv text, double min, double max, const char *wanted,
			double *ret)
{
	char copy[32], *end;
	if (!text.len)
		return false;
	snprintf(copy, sizeof(copy), "%.*s", (int)(text.len < sizeof(copy) ? text.len : 0), text.data);
	double v = strtod(copy, &end);
	if (copy[0] && !*end && v >= min && v <= max) {
		*ret = v;
		return true;
	}
	sbuf_addf(r->mistakes, "%s%s: '%.*s' is not %s: ignored", r->mistake_cnt++ ? "\n" : "", name,
		  (int)(text.len < 64 ? text.len : 64), text.data, wanted);
	return false;
}

int sampling_settings_parse(struct sampling_settings *ret, const struct sampling_vars *vars, struct sbuf *mistakes)
{
	struct reader r = {.mistakes = mistakes};
	double rate;
	*ret = (struct sampling_settings){.rate_limit = SAMPLING_RATE_LIMIT};
	read_rules(&r, "DD_TRACE_SAMPLING_RULES", RULES_OF_TRACES, vars->rules, &ret->rules);
	read_rules(&r, "DD_SPAN_SAMPLING_RULES", RULES_OF_SPANS, vars->span_rules, &ret->span_rules);
	if (read_number(&r, "DD_TRACE_SAMPLE_RATE", vars->sample_rate, 0, 1, "a rate from 0 to 1", &rate))
		r.failed |= sampling_rules_add_rate(&ret->rules, rate) < 0;
	read_number(&r, "DD_TRACE_RATE_LIMIT", vars->rate_limit, -RATE_LIMIT_MAX, RATE_LIMIT_MAX,
		    "a number of traces a second", &ret->rate_limit);
	if (!r.failed)
		return r.mistake_cnt;
	sampling_settings_release(ret);
	return -ENOMEM;
}

void sampling_settings_release(struct sampling_settings *s)
{
	sampling_rules_release(&s->rules);
	sampling_rules_release(&s->span_rules);
}

bool sampling_vars_empty(const struct sampling_vars *v)
{
	return !v->sample_rate.len && !v->rules.len && !v->rate_limit.len && !v->span_rules.len;
}

struct sampling_vars sampling_vars_merge(const struct sampling_vars *over, const struct sampling_vars *under)
{
	return (struct sampling_vars){
		.sample_rate = over->sample_rate.len ? over->sample_rate : under->sample_rate,
		.rules = over->rules.len ? over->rules : under->rules,
		.rate_limit = over->rate_limit.len ? over->rate_limit : under->rate_limit,
		.span_rules = over->span_rules.len ? over->span_rules : under->span_rules,
	};
}
