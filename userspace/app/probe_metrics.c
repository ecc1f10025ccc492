/* SPDX-License-Identifier: Apache-2.0 */
#include "app/probe_metrics.h"

#include <errno.h>

#include "base/clock.h"

/* Of one metric of one call, rendered: what is beyond is cut. */
#define NAME_SZ 256
#define TAGS_SZ 2048

int probe_metrics_open(struct probe_metrics *m, const struct probe_list *list, struct sbuf *err)
{
	const struct dogstatsd_options o = {.telemetry = true};
	if (!probe_list_measures(list))
		return 0;
	m->due_ns = clock_mono_ns() + PROBE_METRICS_INTERVAL_S * NSEC_PER_SEC;
	m->aggregate = aggregate_new(0);
	return m->aggregate ? dogstatsd_open(&m->client, &o, err) : -ENOMEM;
}

/* Rendered into what is left of a buffer; nothing of a text that does not fit whole. */
static struct sv render(const struct template *t, const struct call_values *values, char *buf, size_t sz, size_t *used)
{
	char text[TEMPLATE_MAX_SZ];
	struct sv constant;
	if (template_is_constant(t, &constant))
		return constant;
	size_t len = template_render(t, values, text);
	if (len > sz - *used)
		return SV_NULL;
	memcpy(buf + *used, text, len);
	*used += len;
	return (struct sv){buf + *used - len, len};
}

static bool measured_value(const struct probe_measure *m, const struct call_values *values,
			   const struct sh_ev_call *record, double *ret)
{
	*ret = 1;
	if (m->value == MEASURE_ONE)
		return true;
	if (m->value != MEASURE_DURATION)
		return call_value_number(&values->v[m->value], ret);
	*ret = record->end_ns > record->start_ns ? (double)(record->end_ns - record->start_ns) / NSEC_PER_MSEC : 0;
	return !(record->hdr.flags & (SH_CALL_ENTRY_ONLY | SH_CALL_UNFINISHED));
}

static void measure(struct probe_metrics *metrics, const struct probe *probe, const struct probe_measure *m,
		    const struct call_values *values, const struct sh_ev_call *record, struct process_info *who)
{
	static const enum dogstatsd_type types[] = {[MEASURE_COUNT] = DOGSTATSD_COUNT,
						    [MEASURE_GAUGE] = DOGSTATSD_GAUGE,
						    [MEASURE_HISTOGRAM] = DOGSTATSD_HISTOGRAM,
						    [MEASURE_DISTRIBUTION] = DOGSTATSD_DISTRIBUTION};
	char name[NAME_SZ], text[TAGS_SZ];
	struct tag tags[MEASURE_MAX_TAGS + 1];
	size_t name_used = 0, used = 0;
	double value;
	unsigned cnt = 0;
	if (!measured_value(m, values, record, &value))
		return;
	if (probe->span.service.len)
		tags[cnt++] = (struct tag){SV("service"), probe->span.service};
	for (unsigned i = 0; i < m->tag_cnt; i++)
		tags[cnt++] =
			(struct tag){m->tags[i].key, render(&m->tags[i].value, values, text, sizeof(text), &used)};
	aggregate_add(metrics->aggregate,
		      &(struct dogstatsd_metric){
			      .name = render(&m->name, values, name, sizeof(name), &name_used),
			      .type = types[m->type],
			      .values = &value,
			      .value_cnt = 1,
			      .rate = probe->spec.sample_below ? probe->spec.sample_below / 4294967296.0 : 1,
			      .tags = tags,
			      .tag_cnt = cnt,
			      .origin = who,
		      });
}

void probe_metrics_call(struct probe_metrics *m, const struct probe *probe, const struct call_values *values,
			const struct sh_ev_call *record, struct process_info *who)
{
	for (unsigned i = 0; i < probe->measure_cnt; i++)
		measure(m, probe, &probe->measures[i], values, record, who);
}

void probe_metrics_tick(struct probe_metrics *m, uint64_t now_ns, bool end, uint16_t agent_port)
{
	if (!m->client || (!end && now_ns < m->due_ns))
		return;
	m->due_ns = now_ns + PROBE_METRICS_INTERVAL_S * NSEC_PER_SEC;
	dogstatsd_agent_port(m->client, agent_port);
	aggregate_flush(m->aggregate, m->client);
	dogstatsd_flush(m->client, now_ns);
}

void probe_metrics_close(struct probe_metrics *m)
{
	dogstatsd_close(m->client);
	aggregate_free(m->aggregate);
	*m = (struct probe_metrics){0};
}
