/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_TIMELINE_H
#define TRACE_TIMELINE_H

#include <stdint.h>

#include "base/sbuf.h"
#include "trace/log_line.h"

/* Which span each thread was in, when: finished spans, asked for the one a line of a log was written in. A line gets a
 * span only when there is one answer. */
struct timeline;

struct timeline_span {
	int64_t start_ns, end_ns; /* since 1970; both belong to it */
	uint64_t trace_hi, trace_lo, span_id;
	uint32_t pid, tid; /* tid 0: not of one thread */
	struct sv service, env, version;
	struct sv method, path; /* of a request; empty: it is none */
	bool served;		/* span.kind: server */
};

struct timeline *timeline_new(void); /* NULL: out of memory */
void timeline_free(struct timeline *t);

/* One line as the json exporter writes it, lines of one process and trace in the order in which they were written.
 * 0, -EINVAL: it is none; -ENOMEM. */
int timeline_add(struct timeline *t, struct sv json);
size_t timeline_count(const struct timeline *t);

enum timeline_answer {
	TIMELINE_FOUND,
	TIMELINE_NO_TIME,   /* the line has none */
	TIMELINE_NO_SPAN,   /* nothing was under way then, or nothing that fits */
	TIMELINE_AMBIGUOUS, /* more than one trace, or more than one span of which none is within the other */
	TIMELINE_NOBODYS,   /* the line does not say whose it is, and more than one process has spans */
	TIMELINE_ANSWERS,
};
/* What the user says of all lines. */
struct timeline_filter {
	struct sv service; /* only spans of this service; empty: of any */
	bool any_pid;	   /* pids in the log are of another PID namespace: they say nothing */
};

/* *ret is valid until the next timeline_add(). */
enum timeline_answer timeline_find(struct timeline *t, const struct log_line *line,
				   const struct timeline_filter *filter, const struct timeline_span **ret);

#endif
