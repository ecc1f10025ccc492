/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/early.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "trace/sampling/threshold.h"

/* What decides about traces of one kind, whatever the Agent says. */
struct early_rule {
	bool given;
	int16_t mechanism;
	double rate;
};

struct early_entry {
	char *service, *env;
	struct early_rule rules[SH_ROOTS];
	double limit;
};

void early_init(struct early *e, const struct sampling_vars *vars)
{
	*e = (struct early){.vars = *vars};
	pthread_mutex_init(&e->lock, NULL);
}

void early_release(struct early *e)
{
	for (uint32_t i = 0; i < e->cnt; i++) {
		free(e->entries[i].service);
		free(e->entries[i].env);
	}
	free(e->entries);
	rates_free(e->rates);
	sbuf_release(&e->key);
	*e = (struct early){0};
}

/* --- to the kernel half ------------------------------------------------------------------------------------------- */

#define OT_ALL 0x1p56 /* OTEP 235 */

/* As propagation_set_rate() states it: half away from zero, trailing zeros cut. */
static void choice_threshold(struct sh_choice *c, double rate)
{
	char digits[17];
	if (!(rate > 0))
		return;
	double rejects = rate >= 1 ? 0 : floor((1 - rate) * OT_ALL + 0.5);
	c->ot_threshold = rejects < OT_ALL - 1 ? (uint64_t)rejects : (uint64_t)(OT_ALL - 1);
	int len = snprintf(digits, sizeof(digits), "%014llx", (unsigned long long)c->ot_threshold);
	while (len > 1 && digits[len - 1] == '0')
		len--;
	memcpy(c->th, digits, (size_t)len);
	c->th_len = (uint8_t)len;
}

static struct sh_choice choice_make(uint8_t by, int mechanism, double rate)
{
	struct sh_choice c = {.threshold = sampling_threshold(rate), .by = by, .mechanism = (uint8_t)mechanism};
	char dm[8];
	_Static_assert(sizeof(c.rate) == sizeof(rate), "bit by bit");
	memcpy(&c.rate, &rate, sizeof(rate));
	int len = snprintf(dm, sizeof(dm), "-%d", c.mechanism);
	memcpy(c.dm, dm, sizeof(c.dm));
	c.dm_len = (uint8_t)len;
	choice_threshold(&c, rate);
	return c;
}

static struct sh_choice early_choice(struct early *e, const struct early_entry *entry, const struct early_rule *rule)
{
	if (rule->given)
		return choice_make(SH_BY_RULE, rule->mechanism, rule->rate);
	const struct rate *rate = !e->rates ? NULL
				  : entry->service
					  ? rates_find(e->rates, sv_of(entry->service), sv_of(entry->env), &e->key)
					  : e->rates->standard;
	return rate ? choice_make(SH_BY_AGENT, MECHANISM_AGENT_RATE, rate->rate) : choice_make(0, MECHANISM_DEFAULT, 1);
}

/* The set that nobody looks at, then the turn to it: the kernel half reads one or the other. */
static void early_write(struct early *e, uint32_t index)
{
	const struct early_entry *entry = &e->entries[index];
	struct sh_rates *to = &e->table[index];
	uint32_t set = to->set == 1 ? 2 : 1;
	for (int root = 0; root < SH_ROOTS; root++)
		to->choices[set - 1][root] = early_choice(e, entry, &entry->rules[root]);
	/* As in limiter.h: less than one a second is none. */
	to->limit = entry->limit < 0 ? SH_NO_LIMIT : (uint32_t)fmin(entry->limit, SH_NO_LIMIT - 1.0);
	__atomic_store_n(&to->set, set, __ATOMIC_RELEASE);
}

int early_start(struct early *e, struct sh_rates *table, uint32_t max)
{
	e->entries = calloc(max, sizeof(*e->entries));
	if (!e->entries)
		return -ENOMEM;
	pthread_mutex_lock(&e->lock);
	e->table = table;
	e->max = max;
	e->cnt = 1;
	e->entries[0].limit = -1;
	early_write(e, 0);
	pthread_mutex_unlock(&e->lock);
	return 0;
}

void early_answer(struct early *e, struct sv json)
{
	struct sbuf err = {0};
	struct rates *news;
	if (rates_parse(&news, json, &err) > 0) {
		pthread_mutex_lock(&e->lock);
		rates_free(e->rates);
		e->rates = news;
		for (uint32_t i = 0; e->table && i < e->cnt; i++)
			early_write(e, i);
		pthread_mutex_unlock(&e->lock);
	}
	sbuf_release(&err); /* who samples says it */
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

static void early_match(const struct sampling_settings *s, const struct process_info *info, struct early_entry *ret)
{
	static const struct sv names[SH_ROOTS] = {
		[SH_ROOT_SERVER] = SV("http.server.request"), [SH_ROOT_CLIENT] = SV("http.client.request")};
	ret->limit = s->rate_limit;
	for (int root = 0; root < SH_ROOTS; root++)
		for (uint32_t i = 0; i < s->rules.cnt && !ret->rules[root].given; i++) {
			const struct sampling_rule *r = &s->rules.items[i];
			if (sampling_rule_matches_early(r, info, names[root]))
				ret->rules[root] = (struct early_rule){true, r->mechanism, r->rate};
		}
}

static bool early_same(const struct early_entry *a, const struct early_entry *b, const struct process_info *info)
{
	bool same = a->limit == b->limit && sv_eq(sv_of(a->service), info->service) && sv_eq(sv_of(a->env), info->env);
	for (int root = 0; same && root < SH_ROOTS; root++) {
		const struct early_rule *x = &a->rules[root], *y = &b->rules[root];
		same = x->given == y->given && x->mechanism == y->mechanism && x->rate == y->rate;
	}
	return same;
}

static uint32_t early_add(struct early *e, const struct early_entry *like, const struct process_info *info)
{
	uint32_t i = 1;
	while (i < e->cnt && !early_same(&e->entries[i], like, info))
		i++;
	if (i < e->cnt)
		return i;
	struct early_entry entry = *like;
	entry.service = i < e->max ? strndup(info->service.data, info->service.len) : NULL;
	entry.env = i < e->max ? strndup(info->env.data ? info->env.data : "", info->env.len) : NULL;
	if (!entry.service || !entry.env) {
		free(entry.service);
		free(entry.env);
		e->full++;
		return 0;
	}
	e->entries[i] = entry;
	e->cnt++;
	early_write(e, i);
	return i;
}

uint32_t early_index(struct early *e, const struct process_info *info)
{
	struct sampling_vars vars = sampling_vars_merge(&e->vars, &info->sampling);
	struct sampling_settings settings;
	struct early_entry entry = {0};
	struct sbuf mistakes = {0};
	uint32_t index = 0;
	if (!e->table || sampling_settings_parse(&settings, &vars, &mistakes) < 0) {
		sbuf_release(&mistakes);
		return 0;
	}
	early_match(&settings, info, &entry);
	pthread_mutex_lock(&e->lock);
	index = early_add(e, &entry, info);
	pthread_mutex_unlock(&e->lock);
	sampling_settings_release(&settings);
	sbuf_release(&mistakes);
	return index;
}
