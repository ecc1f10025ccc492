/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SPAN_H
#define TRACE_SPAN_H

#include <stdint.h>

#include "base/arena.h"
#include "base/sv.h"

/* The common language of flow/ (which makes spans), trace/ (which gathers them) and export/ (which ships them). */

struct tag {
	struct sv key;
	struct sv value;
};

struct metric {
	struct sv key;
	double value;
};

/* What an environment says about sampling, as it is written there (trace/sampling/settings.h); empty: nothing. */
struct sampling_vars {
	struct sv sample_rate; /* DD_TRACE_SAMPLE_RATE */
	struct sv rules;       /* DD_TRACE_SAMPLING_RULES */
	struct sv rate_limit;  /* DD_TRACE_RATE_LIMIT */
	struct sv span_rules;  /* DD_SPAN_SAMPLING_RULES */
};

struct routes;
struct span_annex;

/* Who a chunk's spans belong to: one process, as the exporters must present it. Immutable once published, counted,
 * shared by every chunk of that process; made by target/. Strings are owned by the object and live as long as it. */
struct process_info {
	int refs;		  /* atomic */
	uint32_t pid;		  /* in the initial PID namespace */
	uint32_t ns_pid;	  /* as the process sees itself */
	struct sv name;		  /* for people: basename of script or executable */
	struct sv service;	  /* default service of its spans; never empty */
	struct sv base_service;	  /* its name before DD_SERVICE_MAPPING gave it this one; empty: it has it by itself */
	struct sv service_source; /* "m" when the target's environment or our configuration said so, else empty */
	struct sv env, version;	  /* DD_ENV, DD_VERSION and their equivalents; may be empty */
	struct sv language;	  /* Datadog's word: cpp, rust, go, python, javascript, jvm ... */
	struct sv language_version; /* of what runs it, "3.11.2"; may be empty */
	struct sv interpreter;	    /* "CPython", "gc-amd64-linux"; may be empty */
	struct sv runtime_id;	    /* UUID v4, made once per process */
	struct sv container_id;	    /* of the process, may be empty */
	struct sv external_env;	    /* its DD_EXTERNAL_ENV, as it is; may be empty */
	uint64_t cgroup_inode; /* of its cgroup, when there is no container id and it is not the host's; 0: not known */
	struct sv hostname;
	/* With each chunk; may be empty: what it was built from, and how it was started, as target/source.h has it. */
	struct sv commit, repository, go_path, python_package, process_tags;
	bool report_hostname; /* DD_TRACE_REPORT_HOSTNAME */
	struct tag *tags;     /* DD_TAGS and the like: on every span */
	uint32_t tag_cnt;
	struct sampling_vars sampling; /* of its own environment */
	struct sv settings;	       /* how it wants its requests traced: trace/request_settings.h */
	bool runtime_metrics;	       /* it wants them (DD_RUNTIME_METRICS_ENABLED) */
	bool instrumented; /* it carries a tracer of its own, which reports the spans that its headers name */
	uint32_t target;   /* which target of the probe list chose it, from 1; 0: none */
	/* Configured for that target, which is held (trace/route.h), and for all, which live as long as that. NULL: none. */
	const struct routes *routes[2];
	struct arena arena; /* what the fields above point into */
};

/* A zeroed object with one reference, or NULL; its strings are put into `arena` by whoever makes it. */
struct process_info *process_info_new(void);
struct process_info *process_info_ref(struct process_info *p);
void process_info_unref(struct process_info *p); /* NULL is fine */

/* A finished span. Strings live in the chunk's arena, in its process_info, or in a table that outlives both. */
struct span {
	uint64_t span_id;
	uint64_t parent_id; /* 0: root of the trace */
	int64_t start_ns;   /* Unix time */
	int64_t duration_ns;
	struct sv service; /* empty: the process's */
	struct sv name, resource, type;
	struct tag *tags; /* meta, of this span alone */
	struct metric *metrics;
	const struct tag *shared_tags; /* meta that all spans of its function share */
	uint16_t tag_cnt, metric_cnt, shared_tag_cnt;
	uint8_t error;		  /* 0 or 1 */
	uint8_t local_root;	  /* first span of this process in the trace */
	uint8_t kept;		  /* by a span rule, though the trace is not */
	uint8_t top_level;	  /* enum top_level: set where its parent may have left the chunk since */
	uint8_t normal;		  /* name and service are as an Agent wants them, whoever made the span knows */
	uint8_t clean;		  /* nothing of it came from the traced program: no secrets, nothing too long, normal */
	struct span_annex *annex; /* links and events (trace/annex.h); NULL: none. In the chunk's arena */
	uint32_t probe;		  /* for the per-probe statistics: index given by the probe list, or UINT32_MAX */
};

/* Is the span its service's entry? Unknown: to be told from the chunk (tags_is_top_level()). */
enum top_level { TOP_LEVEL_UNKNOWN, TOP_LEVEL_NO, TOP_LEVEL_YES };

/* Values of _sampling_priority_v1 (Agent, pkg/trace/sampler/sampler.go): above 0 the trace is kept. */
#define PRIORITY_USER_DROP (-1)
#define PRIORITY_AUTO_DROP 0
#define PRIORITY_AUTO_KEEP 1
#define PRIORITY_USER_KEEP 2

/* Who decided: N of the tag _dd.p.dm = "-N" (dd-trace-go, internal/samplernames). */
#define MECHANISM_UNSAID       (-1) /* a context that came over the wire did not say: no tag */
#define MECHANISM_DEFAULT      0    /* no rate is known */
#define MECHANISM_AGENT_RATE   1
#define MECHANISM_RULE	       3 /* DD_TRACE_SAMPLING_RULES, DD_TRACE_SAMPLE_RATE, and the rate limit behind them */
#define MECHANISM_MANUAL       4
#define MECHANISM_SPAN_RULE    8  /* of a span, never of a trace */
#define MECHANISM_REMOTE_RULE  11 /* a rule whose provenance is "customer" */
#define MECHANISM_DYNAMIC_RULE 12 /* a rule whose provenance is "dynamic" */
#define MECHANISM_MAX	       255

/* Where the sampling decision of a chunk's trace came from. */
enum decided {
	DECIDED_NOT = 0,  /* `priority` and `mechanism` say nothing: the sampler decides */
	DECIDED_UPSTREAM, /* extracted with a context: stands */
	DECIDED_HERE,
};

/* Which of a chunk's rates took part in the decision. */
#define RATE_RULE  (1 << 0)
#define RATE_AGENT (1 << 1)
#define RATE_LIMIT (1 << 2)

/* The finished spans of one trace in one process: what an exporter sends as one unit.
 * One owner at any moment: assembly, then the queue, then the exporter, which gives it back to its pool. */
struct chunk {
	struct chunk *next;
	uint64_t trace_hi, trace_lo;
	struct process_info *process; /* a reference is held */
	/* Another one of this host that the trace came from: whose sampling decides about it. A reference; NULL: itself. */
	struct process_info *owner;
	struct span *spans; /* local roots last, as they end last */
	uint32_t span_cnt, span_cap;
	uint8_t partial; /* flushed before its local root ended */
	uint8_t age;	 /* the pool's */
	/* The sampling decision. flow/ sets what came over the wire, trace/sampling/ the rest; it stands for all
	 * chunks of the trace in this process. */
	uint8_t decided;   /* enum decided */
	int8_t priority;   /* PRIORITY_...; read it with chunk_priority() */
	int16_t mechanism; /* MECHANISM_... */
	uint8_t rates;	   /* RATE_...: which of these count */
	uint8_t manual;	   /* manual.keep or manual.drop is among its tags: an order, not a tag to send */
	uint8_t counted;   /* its spans are in the statistics that we send ourselves */
	double rule_rate, agent_rate;
	double limit_rate; /* the share the rate limit let through of late */
	/* Chunks of this process that were dropped on our side since the last one that was not, and their spans. */
	uint32_t dropped_traces, dropped_spans;
	struct sv origin; /* of the trace, as it came over the wire; may be empty */
	/* _dd.p.* tags that came over the wire, without _dd.p.tid (trace_hi) and _dd.p.dm (mechanism). */
	const struct tag *propagated;
	uint16_t propagated_cnt;
	struct arena arena;
};

/* What receivers are told; a trace that nobody decided about is kept. */
static inline int chunk_priority(const struct chunk *c)
{
	return c->decided ? c->priority : PRIORITY_AUTO_KEEP;
}

static inline struct process_info *chunk_owner(const struct chunk *c)
{
	return c->owner ? c->owner : c->process;
}

#endif
