/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/pipeline.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "trace/normalize.h"
#include "trace/obfuscate/obfuscate.h"

#define SLOW_PASS_NS NSEC_PER_SEC

struct pipeline {
	struct pipeline_options options;
	struct sampler *sampler;
	struct stats *stats;	 /* NULL: not asked for */
	bool counting;		 /* the Agent takes statistics */
	struct agent_info *info; /* as the Agent said last; NULL: it has not */
	struct span_ruler ruler;
	struct sbuf scratch;
	uint64_t no_memory;
	uint64_t now_ns, now_unix_ns;
	uint64_t slow_due_ns;
};

static int pipeline_additional_tags(struct pipeline *p)
{
	struct sv keys[STATS_MAX_ADDITIONAL_TAGS], rest = p->options.stats_tags;
	uint32_t cnt = 0;
	while (rest.len && cnt < STATS_MAX_ADDITIONAL_TAGS) {
		const char *comma = memchr(rest.data, ',', rest.len);
		struct sv key = {rest.data, comma ? (size_t)(comma - rest.data) : rest.len};
		rest = (struct sv){rest.data + key.len + (comma != NULL), rest.len - key.len - (comma != NULL)};
		while (key.len && key.data[0] == ' ')
			key = (struct sv){key.data + 1, key.len - 1};
		while (key.len && key.data[key.len - 1] == ' ')
			key.len--;
		if (key.len)
			keys[cnt++] = key;
	}
	return stats_set_additional_tags(p->stats, keys, cnt);
}

static int pipeline_open(struct pipeline *p)
{
	const struct pipeline_options *o = &p->options;
	struct sampler_options sampler = {
		.vars = o->vars, .rates = o->agent ? &o->agent->rates : NULL, .mistakes = o->mistakes, .arg = o->arg};
	p->sampler = sampler_new(&sampler);
	if (!p->sampler)
		return -ENOMEM;
	if (!o->stats || !o->agent)
		return 0;
	p->stats = stats_new(&(struct stats_options){.box = &o->agent->stats});
	return p->stats ? pipeline_additional_tags(p) : -ENOMEM;
}

struct pipeline *pipeline_new(const struct pipeline_options *options)
{
	struct pipeline *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->options = *options;
	if (pipeline_open(p) < 0) {
		pipeline_free(p);
		return NULL;
	}
	return p;
}

void pipeline_free(struct pipeline *p)
{
	if (!p)
		return;
	sampler_free(p->sampler);
	stats_free(p->stats);
	agent_info_unref(p->info);
	span_ruler_release(&p->ruler);
	sbuf_release(&p->scratch);
	free(p);
}

void pipeline_set_span_rules(struct pipeline *p, const struct span_rules *rules)
{
	p->ruler.rules = rules;
}

/* As the Agent's receiver: obfuscation, then the form of names and what is too long. (It obfuscates in between; what it
 * looks at for that are types, which normalising only cuts.) Secrets are nobody's; names are changed for an Agent alone. */
static void pipeline_clean(struct pipeline *p, struct chunk *c)
{
	size_t max_resource = p->info && p->info->big_resource ? NORMALIZE_BIG_RESOURCE : NORMALIZE_MAX_RESOURCE;
	for (uint32_t i = 0; i < c->span_cnt; i++) {
		struct span *s = &c->spans[i];
		if (s->clean)
			continue;
		bool good = obfuscate_span(c, s, p->info, p->options.normalize, &p->scratch);
		if (p->options.normalize)
			good &= normalize_span(c, s, max_resource, (int64_t)p->now_unix_ns, &p->scratch);
		p->no_memory += !good;
	}
}

void pipeline_chunk(void *arg, struct chunk *c)
{
	struct pipeline *p = arg;
	if (!span_ruler_chunk(&p->ruler, c)) {
		chunk_pool_put(p->options.pool, c);
		return;
	}
	sampler_chunk(p->sampler, c, p->now_ns);
	pipeline_clean(p, c);
	if (p->counting)
		stats_chunk(p->stats, c, p->now_unix_ns);
	if (c->counted && p->options.may_drop && !sampler_reduce(p->sampler, c)) {
		chunk_pool_put(p->options.pool, c);
		return;
	}
	p->options.push(p->options.arg, c);
}

static void pipeline_agent(struct pipeline *p)
{
	struct agent_info *info = p->options.agent ? agent_link_take_info(p->options.agent) : NULL;
	if (!info)
		return;
	agent_info_unref(p->info);
	p->info = info;
	if (!p->stats)
		return;
	p->counting = agent_info_takes_stats(info) &&
		      stats_set_peer_tags(p->stats, info->peer_tags.data, info->peer_tags.cnt) == 0;
	stats_set_default_env(p->stats, info->default_env);
	__atomic_store_n(&p->options.agent->obfuscated, info->obfuscation_version == OBFUSCATE_VERSION,
			 __ATOMIC_RELAXED);
}

void pipeline_pass(struct pipeline *p, uint64_t now_ns, int64_t unix_minus_mono_ns)
{
	p->now_ns = now_ns;
	p->now_unix_ns = now_ns + (uint64_t)unix_minus_mono_ns;
	pipeline_agent(p);
	if (now_ns < p->slow_due_ns)
		return;
	p->slow_due_ns = now_ns + SLOW_PASS_NS;
	sampler_sweep(p->sampler, now_ns);
	if (p->stats)
		stats_pass(p->stats, p->now_unix_ns);
}

void pipeline_flush(struct pipeline *p)
{
	if (p->stats)
		stats_flush(p->stats);
}

void pipeline_stats(const struct pipeline *p, struct pipeline_stats *ret)
{
	*ret = (struct pipeline_stats){.counting = p->counting, .no_memory = p->no_memory + p->ruler.no_memory};
	sampler_stats(p->sampler, &ret->sampling);
	if (p->stats)
		stats_stats(p->stats, &ret->stats);
	ret->ruled_out = p->ruler.dropped;
	ret->unlinked = p->ruler.unreadable + p->ruler.crowded;
	ret->left_out = ret->sampling.reduced_spans;
}
