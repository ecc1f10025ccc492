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

/* Who a chunk's spans belong to: one process, as the exporters must present it. Immutable once published, counted,
 * shared by every chunk of that process; made by target/. Strings are owned by the object and live as long as it. */
struct process_info {
	int refs;		  /* atomic */
	uint32_t pid;		  /* in the initial PID namespace */
	uint32_t ns_pid;	  /* as the process sees itself */
	struct sv name;		  /* for people: basename of script or executable */
	struct sv service;	  /* default service of its spans; never empty */
	struct sv service_source; /* "m" when the target's environment or our configuration said so, else empty */
	struct sv env, version;	  /* DD_ENV, DD_VERSION and their equivalents; may be empty */
	struct sv language;	  /* Datadog's word: cpp, rust, go, python, javascript, jvm ... */
	struct sv runtime_id;	  /* UUID v4, made once per process */
	struct sv container_id;	  /* of the process, may be empty */
	struct sv hostname;
	struct tag *tags; /* DD_TAGS and the like: on every span */
	uint32_t tag_cnt;
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
	uint8_t error;	    /* 0 or 1 */
	uint8_t local_root; /* first span of this process in the trace */
	uint32_t probe;	    /* for the per-probe statistics: index given by the probe list, or UINT32_MAX */
};

/* The finished spans of one trace in one process: what an exporter sends as one unit.
 * One owner at any moment: assembly, then the queue, then the exporter, which gives it back to its pool. */
struct chunk {
	struct chunk *next;
	uint64_t trace_hi, trace_lo;
	struct process_info *process; /* a reference is held */
	struct span *spans;	      /* local roots last, as they end last */
	uint32_t span_cnt, span_cap;
	uint8_t partial; /* flushed before its local root ended */
	struct arena arena;
};

#endif
