/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/sampler.h"

#include <stdlib.h>
#include <strings.h>
#include <uthash.h>

#include "trace/sampling/decisions.h"
#include "trace/sampling/limiter.h"
#include "trace/sampling/threshold.h"
#include "trace/tags.h"

/* What belongs to one process: dd-trace has its limiters per process, and each may have an environment of its own. */
struct sampled_process {
	struct process_info *info; /* the key; a reference is held */
	struct sampling_settings *settings;
	bool owns_settings;
	struct limiter limiter;
	struct limiter *span_limiters;		/* one for each span rule; NULL: none has a limit */
	const struct rates *rates;		/* `rate` is of that table */
	const struct rate *rate;		/* of the process's own service; NULL: none */
	uint32_t dropped_traces, dropped_spans; /* to be reported */
	uint64_t last_ns;			/* of its last chunk */
	UT_hash_handle hh;
};

struct sampler {
	struct sampler_options options;
	struct sampling_settings standard; /* of processes that say nothing themselves */
	struct rates *rates;		   /* NULL: none yet */
	struct sampled_process *processes, *last;
	struct decisions open, ended;
	struct sbuf key; /* scratch of rates_find() */
	struct sampler_stats stats;
};

/* --- its life ----------------------------------------------------------------------------------------------------- */

static int sampler_settings(struct sampler *s, struct sampling_settings *ret, const struct sampling_vars *vars,
			    const struct process_info *process)
{
	struct sbuf lines = {0};
	int rc = sampling_settings_parse(ret, vars, &lines);
	if (rc > 0 && s->options.mistakes)
		s->options.mistakes(s->options.arg, process, sbuf_sv(&lines));
	sbuf_release(&lines);
	return rc;
}

struct sampler *sampler_new(const struct sampler_options *options)
{
	struct sampler *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->options = *options;
	decisions_init(&s->open, SAMPLER_MAX_OPEN);
	decisions_init(&s->ended, SAMPLER_MAX_ENDED);
	if (sampler_settings(s, &s->standard, &options->vars, NULL) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

static void sampled_process_free(struct sampler *s, struct sampled_process *p)
{
	HASH_DEL(s->processes, p);
	if (s->last == p)
		s->last = NULL;
	if (p->owns_settings) {
		sampling_settings_release(p->settings);
		free(p->settings);
	}
	free(p->span_limiters);
	process_info_unref(p->info);
	free(p);
}

void sampler_free(struct sampler *s)
{
	struct sampled_process *p, *next;
	if (!s)
		return;
	HASH_ITER (hh, s->processes, p, next)
		sampled_process_free(s, p);
	sampling_settings_release(&s->standard);
	decisions_release(&s->open);
	decisions_release(&s->ended);
	rates_free(s->rates);
	sbuf_release(&s->key);
	free(s);
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

static int process_settings(struct sampler *s, struct sampled_process *p)
{
	p->settings = &s->standard;
	if (sampling_vars_empty(&p->info->sampling))
		return 0;
	struct sampling_vars vars = sampling_vars_merge(&s->options.vars, &p->info->sampling);
	struct sampling_settings *own = calloc(1, sizeof(*own));
	if (!own || sampler_settings(s, own, &vars, p->info) < 0) {
		free(own);
		return -ENOMEM;
	}
	p->settings = own;
	p->owns_settings = true;
	return 0;
}

static int process_limiters(struct sampled_process *p, uint64_t now_ns)
{
	const struct sampling_rules *rules = &p->settings->span_rules;
	limiter_init(&p->limiter, p->settings->rate_limit, now_ns);
	p->span_limiters = rules->cnt ? calloc(rules->cnt, sizeof(*p->span_limiters)) : NULL;
	for (uint32_t i = 0; p->span_limiters && i < rules->cnt; i++)
		limiter_init(&p->span_limiters[i], rules->items[i].max_per_second, now_ns);
	return rules->cnt && !p->span_limiters ? -ENOMEM : 0;
}

/* NULL when out of memory. */
static struct sampled_process *sampler_process(struct sampler *s, struct process_info *info, uint64_t now_ns)
{
	struct sampled_process *p = s->last;
	if (p && p->info == info)
		return p;
	HASH_FIND_PTR(s->processes, &info, p);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->info = process_info_ref(info);
		p->last_ns = now_ns;
		HASH_ADD_PTR(s->processes, info, p);
		if (process_settings(s, p) < 0 || process_limiters(p, now_ns) < 0) {
			sampled_process_free(s, p);
			return NULL;
		}
	}
	return s->last = p;
}

void sampler_sweep(struct sampler *s, uint64_t now_ns)
{
	struct sampled_process *p, *next;
	HASH_ITER (hh, s->processes, p, next)
		if (now_ns > p->last_ns + SAMPLER_IDLE_NS)
			sampled_process_free(s, p);
}

/* --- the decision ------------------------------------------------------------------------------------------------- */

static bool tag_is_order(const struct tag *t, struct sv order)
{
	/* Any value but a plain no: dd-trace-py looks at the key alone, dd-trace-go at a boolean. */
	return sv_eq(t->key, order) && !(t->value.len == 5 && strncasecmp(t->value.data, "false", 5) == 0) &&
	       !sv_eq(t->value, SV("0"));
}

static void find_orders(const struct tag *tags, uint32_t cnt, bool *keep, bool *drop, uint8_t *manual)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (tags[i].key.len != 11 || memcmp(tags[i].key.data, "manual.", 7) != 0)
			continue;
		*keep |= tag_is_order(&tags[i], SV("manual.keep"));
		*drop |= tag_is_order(&tags[i], SV("manual.drop"));
		*manual |= sv_eq(tags[i].key, SV("manual.keep")) || sv_eq(tags[i].key, SV("manual.drop"));
	}
}

static void decide(struct chunk *c, int priority, int mechanism)
{
	c->decided = DECIDED_HERE;
	c->priority = (int8_t)priority;
	c->mechanism = (int16_t)mechanism;
}

/* What a person ordered by a tag; false: nothing. */
static bool decide_by_order(struct chunk *c)
{
	bool keep = false, drop = false;
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		const struct span *s = &c->spans[i];
		find_orders(s->tags, s->tag_cnt, &keep, &drop, &c->manual);
		find_orders(s->shared_tags, s->shared_tag_cnt, &keep, &drop, &c->manual);
	}
	if (!keep && !drop)
		return false;
	c->rates = 0;
	decide(c, keep ? PRIORITY_USER_KEEP : PRIORITY_USER_DROP, MECHANISM_MANUAL);
	return true;
}

/* The span that rules of traces are about: as tags_start() has it. */
static const struct span *chunk_root(const struct chunk *c)
{
	for (uint32_t i = c->span_cnt; i-- > 0;)
		if (c->spans[i].local_root)
			return &c->spans[i];
	return NULL;
}

static void decide_by_rule(struct sampler *s, struct sampled_process *p, struct chunk *c, const struct sampling_rule *r,
			   uint64_t now_ns)
{
	bool keep = sh_sampling_keeps(c->trace_lo, r->threshold);
	c->rates = RATE_RULE;
	c->rule_rate = r->rate;
	if (keep) {
		keep = limiter_allow(&p->limiter, now_ns);
		c->rates |= RATE_LIMIT;
		c->limit_rate = limiter_effective_rate(&p->limiter);
		s->stats.limited += !keep;
	}
	decide(c, keep ? PRIORITY_USER_KEEP : PRIORITY_USER_DROP, r->mechanism);
}

static const struct rate *agent_rate(struct sampler *s, struct sampled_process *p, const struct span *root)
{
	if (!s->rates)
		return NULL;
	if (root && root->service.len && !sv_eq(root->service, p->info->service))
		return rates_find(s->rates, root->service, p->info->env, &s->key);
	if (p->rates != s->rates) {
		p->rates = s->rates;
		p->rate = rates_find(s->rates, p->info->service, p->info->env, &s->key);
	}
	return p->rate;
}

static void sampler_decide(struct sampler *s, struct sampled_process *p, struct chunk *c, uint64_t now_ns)
{
	const struct span *root = c->owner ? NULL : chunk_root(c);
	const struct sampling_rules *rules = &p->settings->rules;
	for (uint32_t i = 0; i < rules->cnt; i++) {
		if (!sampling_rule_matches(&rules->items[i], c, root))
			continue;
		decide_by_rule(s, p, c, &rules->items[i], now_ns);
		return;
	}
	const struct rate *rate = agent_rate(s, p, root);
	if (!rate) {
		decide(c, PRIORITY_AUTO_KEEP, MECHANISM_DEFAULT);
		return;
	}
	c->rates = RATE_AGENT;
	c->agent_rate = rate->rate;
	decide(c, sh_sampling_keeps(c->trace_lo, rate->threshold) ? PRIORITY_AUTO_KEEP : PRIORITY_AUTO_DROP,
	       MECHANISM_AGENT_RATE);
}

/* --- single spans ------------------------------------------------------------------------------------------------- */

static void span_keep(struct sampler *s, struct chunk *c, struct span *span, const struct sampling_rule *r)
{
	uint16_t cnt = span->metric_cnt, more = r->max_per_second >= 0 ? 3 : 2;
	struct metric *metrics =
		cnt < UINT16_MAX - more ? arena_alloc(&c->arena, (cnt + more) * sizeof(*metrics)) : NULL;
	if (!metrics)
		return;
	if (cnt)
		memcpy(metrics, span->metrics, cnt * sizeof(*metrics));
	metrics[cnt++] = (struct metric){SV("_dd.span_sampling.mechanism"), MECHANISM_SPAN_RULE};
	metrics[cnt++] = (struct metric){SV("_dd.span_sampling.rule_rate"), r->rate};
	if (more == 3)
		metrics[cnt++] = (struct metric){SV("_dd.span_sampling.max_per_second"), r->max_per_second};
	span->metrics = metrics;
	span->metric_cnt = cnt;
	span->kept = 1;
	s->stats.kept_spans++;
}

static void sample_spans(struct sampler *s, struct sampled_process *p, struct chunk *c, uint64_t now_ns)
{
	const struct sampling_rules *rules = &p->settings->span_rules;
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		struct span *span = &c->spans[i];
		for (uint32_t r = 0; r < rules->cnt; r++) {
			const struct sampling_rule *rule = &rules->items[r];
			if (!sampling_rule_matches(rule, c, span))
				continue;
			if (sh_sampling_keeps(span->span_id, rule->threshold) &&
			    limiter_allow(&p->span_limiters[r], now_ns))
				span_keep(s, c, span, rule);
			break;
		}
	}
}

/* --- a chunk ------------------------------------------------------------------------------------------------------ */

static void take_rates(struct sampler *s)
{
	struct rates *news = s->options.rates ? rates_box_take(s->options.rates) : NULL;
	if (!news)
		return;
	rates_free(s->rates);
	s->rates = news;
	s->stats.rates_taken++;
	/* The next table may lie where this one's predecessor did. */
	for (struct sampled_process *p = s->processes; p; p = p->hh.next)
		p->rates = NULL;
}

/* A decision that the kernel half made, when the trace's context left: once for the trace it counts against the limit here,
 * too, and the share that the limit lets through is told. */
static void sampler_note(struct sampler *s, struct sampled_process *p, struct chunk *c, uint64_t now_ns)
{
	if (!(c->rates & RATE_LIMIT) || !p)
		return;
	if (!decisions_limit(&s->open, c, &c->limit_rate) && !decisions_limit(&s->ended, c, &c->limit_rate)) {
		limiter_note(&p->limiter, now_ns, c->priority > 0);
		c->limit_rate = limiter_effective_rate(&p->limiter);
		s->stats.limited += c->priority <= 0;
	}
}

void sampler_chunk(struct sampler *s, struct chunk *c, uint64_t now_ns)
{
	struct sampled_process *p = sampler_process(s, c->process, now_ns);
	take_rates(s);
	if (c->decided == DECIDED_HERE)
		sampler_note(s, c->owner ? sampler_process(s, c->owner, now_ns) : p, c, now_ns);
	if (!decide_by_order(c) && !c->decided && !decisions_recall(&s->open, c) && !decisions_recall(&s->ended, c)) {
		struct sampled_process *owner = c->owner ? sampler_process(s, c->owner, now_ns) : p;
		if (owner) {
			owner->last_ns = now_ns;
			sampler_decide(s, owner, c, now_ns);
		} else {
			decide(c, PRIORITY_AUTO_KEEP, MECHANISM_DEFAULT);
		}
	}
	decisions_remember(c->partial ? &s->open : &s->ended, c);
	if (c->priority > 0)
		s->stats.kept++;
	else
		s->stats.dropped++;
	if (!p)
		return;
	p->last_ns = now_ns;
	if (c->priority <= 0 && p->settings->span_rules.cnt)
		sample_spans(s, p, c, now_ns);
	/* Those reported with a chunk that is dropped in turn are taken back by sampler_reduce(). */
	c->dropped_traces = p->dropped_traces;
	c->dropped_spans = p->dropped_spans;
	p->dropped_traces = p->dropped_spans = 0;
}

/* Of a chunk that shrinks, each span must still be told whether it is its service's entry. */
static void keep_kept(struct chunk *c)
{
	struct tags t = {0};
	uint32_t kept = 0;
	tags_start(&t, c);
	for (uint32_t i = 0; i < c->span_cnt; i++)
		if (c->spans[i].kept)
			c->spans[i].top_level = tags_is_top_level(&t, i) ? TOP_LEVEL_YES : TOP_LEVEL_NO;
	tags_release(&t);
	for (uint32_t i = 0; i < c->span_cnt; i++)
		if (c->spans[i].kept)
			c->spans[kept++] = c->spans[i];
	c->span_cnt = kept;
}

bool sampler_reduce(struct sampler *s, struct chunk *c)
{
	uint32_t kept = 0, before = c->span_cnt;
	if (chunk_priority(c) > 0)
		return true;
	for (uint32_t i = 0; i < before; i++) {
		if (c->spans[i].error)
			return true;
		kept += c->spans[i].kept;
	}
	struct sampled_process *p = sampler_process(s, c->process, 0);
	s->stats.reduced_spans += before - kept;
	if (kept) {
		keep_kept(c);
		c->dropped_spans += before - kept;
		return true;
	}
	s->stats.reduced_traces++;
	if (p) {
		p->dropped_traces += c->dropped_traces + 1;
		p->dropped_spans += c->dropped_spans + before;
	}
	return false;
}

void sampler_stats(const struct sampler *s, struct sampler_stats *ret)
{
	*ret = s->stats;
	ret->processes = HASH_COUNT(s->processes);
	ret->rates = s->rates ? s->rates->items.cnt : 0;
}
