/* SPDX-License-Identifier: Apache-2.0 */
#include "app/functions.h"

#include <errno.h>
#include <stdlib.h>

#include "app/probe_metrics.h"
#include "base/arena.h"
#include "trace/normalize.h"
#include "trace/obfuscate/obfuscate.h"
#include "trace/redact.h"

struct function_entry {
	struct probe_metrics *metrics;
	struct function_info info;
	const struct plan_function *plan;
	const struct probe *probe;
};

struct functions {
	const struct probe_list *list;
	uint32_t max;
	struct function_entry **entries;
	struct probe_metrics *metrics;
};

struct functions *functions_new(const struct probe_list *list, uint32_t max)
{
	struct functions *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->list = list;
	f->max = max;
	f->entries = calloc(max ? max : 1, sizeof(struct function_entry *));
	if (!f->entries) {
		free(f);
		return NULL;
	}
	return f;
}

void functions_free(struct functions *f)
{
	if (!f)
		return;
	free(f->entries);
	free(f);
}

static void span_push_tag(struct span *s, struct tag *room, struct sv key, struct sv value)
{
	room[s->tag_cnt++] = (struct tag){key, value};
}

/* Room for `more` tags behind those the span has; flow/ reserved only for its own. */
static bool span_make_room(struct span *s, struct arena *arena, size_t tags, size_t metrics)
{
	struct tag *t = arena_alloc(arena, (s->tag_cnt + tags) * sizeof(*t));
	struct metric *m = arena_alloc(arena, (s->metric_cnt + metrics) * sizeof(*m));
	if (!t || !m)
		return false;
	if (s->tag_cnt)
		memcpy(t, s->tags, s->tag_cnt * sizeof(*t));
	if (s->metric_cnt)
		memcpy(m, s->metrics, s->metric_cnt * sizeof(*m));
	s->tags = t;
	s->metrics = m;
	return true;
}

static void decorate_values(const struct probe *probe, const struct call_values *values, struct span *s,
			    struct arena *arena)
{
	for (unsigned i = 0; i < probe->span.tag_cnt; i++) {
		const struct probe_tag *t = &probe->span.tags[i];
		span_push_tag(s, s->tags, t->key, template_render_arena(&t->value, values, arena));
	}
	for (unsigned i = 0; i < probe->span.metric_cnt; i++) {
		const struct probe_metric *m = &probe->span.metrics[i];
		double number;
		if (call_value_number(&values->v[m->value], &number))
			s->metrics[s->metric_cnt++] = (struct metric){m->key, number};
	}
}

static void decorate_error(const struct probe *probe, const struct call_values *values, struct span *s,
			   struct arena *arena)
{
	s->error = 1;
	span_push_tag(s, s->tags, SV("error.type"), probe->error.type);
	span_push_tag(s, s->tags, SV("error.message"), template_render_arena(&probe->error.message, values, arena));
}

enum { ERROR_TAGS = 2 };

/* Conditions see secrets, spans do not. */
static void redact_values(const struct probe *probe, struct call_values *values)
{
	for (unsigned i = 0; i < probe->spec.capture_cnt && probe->redacted; i++)
		if (probe->redacted & (1u << i) && values->v[i].type)
			values->v[i] = (struct call_value){.type = SH_STRING, .bytes = REDACTED};
}

static void function_decorate(const struct function_info *info, const struct sh_ev_call *record, struct span *s,
			      struct arena *arena)
{
	const struct function_entry *f = info->decorate_arg;
	const struct probe *probe = f->probe;
	struct call_values values;

	call_values_read(&values, &probe->spec, probe->return_type, record, record->hdr.size);
	values.function = f->plan->name;
	/* An exception is its own error; the return value is none then. */
	bool failed = !(record->hdr.flags & (SH_CALL_EXCEPTION | SH_CALL_UNFINISHED)) && probe->error.when.cnt &&
		      condition_eval(&probe->error.when, &values);
	redact_values(probe, &values);
	if (probe->span.name.cnt) {
		s->normal = 0;
		s->name = template_render_arena(&probe->span.name, &values, arena);
	}
	if (probe->span.resource.cnt)
		s->resource = template_render_arena(&probe->span.resource, &values, arena);
	if (!span_make_room(s, arena, probe->span.tag_cnt + ERROR_TAGS, probe->span.metric_cnt))
		return;
	decorate_values(probe, &values, s, arena);
	if (failed)
		decorate_error(probe, &values, s, arena);
}

static void function_measure(const struct function_info *info, const struct sh_ev_call *record,
			     struct process_info *who)
{
	const struct function_entry *f = info->decorate_arg;
	struct call_values values;
	call_values_read(&values, &f->probe->spec, f->probe->return_type, record, record->hdr.size);
	values.function = f->plan->name;
	redact_values(f->probe, &values);
	probe_metrics_call(f->metrics, f->probe, &values, record, who);
}

void functions_measure(struct functions *f, struct probe_metrics *metrics)
{
	f->metrics = metrics;
}

static bool probe_needs_values(const struct probe *p)
{
	return p->span.name.cnt || p->span.resource.cnt || p->span.tag_cnt || p->span.metric_cnt || p->error.when.cnt;
}

static int function_tags(struct function_entry *e)
{
	const struct probe_span *span = &e->probe->span;
	const struct plan_function *plan = e->plan;
	struct tag *tags = arena_alloc(plan->arena, (span->constant_tag_cnt + 5u) * sizeof(*tags));
	uint32_t cnt = 0;
	if (!tags)
		return -ENOMEM;
	tags[cnt++] = (struct tag){SV("component"), SV("spanhound")};
	if (span->kind.len)
		tags[cnt++] = (struct tag){SV("span.kind"), span->kind};
	tags[cnt++] = (struct tag){SV("code.function"), plan->display};
	tags[cnt++] = (struct tag){SV("code.filepath"), plan->module};
	if (plan->build_id.len)
		tags[cnt++] = (struct tag){SV("code.build_id"), plan->build_id};
	for (unsigned i = 0; i < span->constant_tag_cnt; i++)
		tags[cnt++] = span->constant_tags[i];
	if (!normalize_tags(tags, &cnt, plan->arena))
		return -ENOMEM;
	e->info.tags = tags;
	e->info.tag_cnt = (uint16_t)cnt;
	return 0;
}

/* Services have one name everywhere: that of Datadog. False: memory is out. */
static bool function_service(struct arena *arena, struct sv *service)
{
	struct sbuf text = {0};
	if (!service->len || normalize_is_service(*service))
		return true;
	normalize_service(&text, *service, SV_NULL);
	*service = text.failed ? SV_NULL : arena_dup(arena, sbuf_sv(&text));
	sbuf_release(&text);
	return service->data;
}

int functions_publish(struct functions *f, const struct plan_function *plan)
{
	struct function_entry *e = arena_alloc(plan->arena, sizeof(*e));
	if (!e || plan->index >= f->max)
		return -ENOMEM;
	e->plan = plan;
	e->probe = &f->list->probes.data[plan->probe];
	e->info = (struct function_info){
		.name = plan->name,
		.resource = plan->display,
		.service = e->probe->span.service,
		.type = e->probe->span.type.len ? e->probe->span.type : SV("custom"),
		.probe = plan->probe,
		.decorate = probe_needs_values(e->probe) ? function_decorate : NULL,
		.decorate_arg = e,
		.measure = f->metrics && e->probe->measure_cnt ? function_measure : NULL,
		.no_span = e->probe->no_span,
	};
	struct sv type = e->info.type;
	if (!function_service(plan->arena, &e->info.service))
		return -ENOMEM;
	e->info.normal = normalize_is_name(plan->name);
	e->info.clean = e->info.normal && plan->display.len <= NORMALIZE_MAX_RESOURCE &&
			type.len <= NORMALIZE_MAX_NAME && !obfuscate_touches(type);
	e->metrics = f->metrics;
	int rc = function_tags(e);
	if (rc < 0)
		return rc;
	__atomic_store_n(&f->entries[plan->index], e, __ATOMIC_RELEASE);
	return 0;
}

void functions_unpublish(struct functions *f, uint32_t index)
{
	if (index < f->max)
		__atomic_store_n(&f->entries[index], NULL, __ATOMIC_RELEASE);
}

static const struct function_entry *functions_entry(const struct functions *f, uint32_t index)
{
	return index < f->max ? __atomic_load_n(&f->entries[index], __ATOMIC_ACQUIRE) : NULL;
}

const struct function_info *functions_get(const struct functions *f, uint32_t index)
{
	const struct function_entry *e = functions_entry(f, index);
	return e ? &e->info : NULL;
}

const struct plan_function *functions_plan(const struct functions *f, uint32_t index)
{
	const struct function_entry *e = functions_entry(f, index);
	return e ? e->plan : NULL;
}
