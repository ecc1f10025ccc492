/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_TAGS_H
#define TRACE_TAGS_H

#include "base/sbuf.h"
#include "base/vec.h"
#include "trace/hindex.h"
#include "trace/span.h"

/* What a receiver is told about a span, beyond its own fields: the tags of its process, of its function, its own, and
 * those Datadog expects in certain places of a chunk:
 *   chunk head (the span sent first): _sampling_priority_v1, _dd.p.tid, _dd.p.dm, _dd.p.ksr and the other _dd.p.*,
 * _dd.origin, language, _dd.tags.process, _dd.git.*, _dd.go_path, _dd.python_main_package. On no other span: the Agent takes the last one it finds of some, the first one of others. local
 * root: runtime-id, process_id, _dd.hostname, _dd.top_level; when it is the head: _dd.rule_psr, _dd.limit_psr, _dd.agent_psr wherever
 * the service differs from the parent's: _dd.top_level; from the process's: _dd.base_service, _dd.svc_src everywhere:
 * env, DD_TAGS; version where the service is the process's Of several tags of one key the most specific one is kept:
 * span, function, env and version, DD_TAGS. Keys are unique, except that a name used by Datadog for itself wins over
 * all. */
struct tags {
	const struct chunk *chunk;
	uint32_t head;	     /* index of the span to send first */
	char tid[17];	     /* upper half of the trace id, hex; empty when 0 */
	char dm[6];	     /* "-N"; empty: not said */
	char ksr[10];	     /* the rate that decided, at most 6 decimals; empty: none did */
	bool services;	     /* some span has a service of its own */
	struct hindex by_id; /* spans by span id, made when `services` */
	/* The answer of tags_of(). */
	VEC(struct tag) meta;
	VEC(struct metric) metrics;
	size_t meta_sz;	       /* bytes of the keys and values of meta, or more */
	uint64_t meta_keys[4]; /* a bit for each key there: most are new, and told so without a search */
	uint64_t metric_keys;
	/* The tags of the process and of the function: the first of meta, and the same for all spans of a chunk that have that
	 * function. */
	struct tags_common {
		uint32_t id;  /* of these tags, never used again; 0: this span says something else of them */
		uint32_t cnt; /* as many of meta */
		uint32_t last_id;
		uint32_t shared_cnt;
		const struct tag *shared; /* of the function that they are for */
		bool foreign;		  /* and for spans of another service than the process's */
		size_t sz;
		uint64_t keys[4];
	} common;
	bool failed; /* out of memory: some tags are missing; sticky until the next tags_start() */
	/* Links and events of spans become tags: said by whoever has no other form for them. */
	bool links_as_tag, events_as_tag;
	struct sbuf links, events; /* their text, of the span in hand */
};

/* Valid when zeroed; begins a chunk of at least one span. Keeps memory for the next one. */
void tags_start(struct tags *t, const struct chunk *chunk);
/* Is span `i` the first of its service on its path through the trace, as far as the chunk tells? */
bool tags_is_top_level(const struct tags *t, uint32_t i);
/* Does its service differ from the process's? */
bool tags_is_foreign(const struct tags *t, uint32_t i);
/* Does it differ from what the process's own would be, without a mapping? Such a span has _dd.base_service, which is that
 * one, and _dd.svc_src, which says where its service came from. */
bool tags_has_base(const struct tags *t, uint32_t i, struct sv *ret_base, struct sv *ret_source);
/* Which span to send as the n-th: the head first, the others in their order. */
static inline uint32_t tags_nth(const struct tags *t, uint32_t n)
{
	return n == 0 ? t->head : n <= t->head ? n - 1 : n;
}
/* Fills meta and metrics for span `i`; what they point to lives as long as the chunk and until the next tags_of(). */
void tags_of(struct tags *t, uint32_t i);
void tags_release(struct tags *t);

/* Where the service of a span came from that is not its process's: only the probe list gives one. */
#define TAGS_SERVICE_SOURCE SV("m")
/* And of the process's, where DD_SERVICE_MAPPING gave it (ddtrace's word). */
#define TAGS_SERVICE_MAPPED SV("opt.service_mapping")

/* What the span is presented as: its own, or what stands in for it. */
static inline struct sv span_service(const struct chunk *c, const struct span *s)
{
	return s->service.len ? s->service : c->process->service;
}

static inline struct sv span_resource(const struct span *s)
{
	return s->resource.len ? s->resource : s->name;
}

#endif
