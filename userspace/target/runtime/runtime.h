/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_RUNTIME_RUNTIME_H
#define TARGET_RUNTIME_RUNTIME_H

#include "target/procfs.h"

/* What a traced process costs, and what its runtime lets be seen from outside, under the names that Datadog's tracer of
 * its language uses (dd-trace-py ddtrace/internal/runtime/constants.py, dd-trace-js packages/dd-trace/src/
 * runtime_metrics, dd-trace-dotnet RuntimeMetrics, the jvm.* of dd-trace-java's JMXFetch); what a language has no name
 * for, and languages without one, as runtime.process.* (process.c).
 *
 * A language is one file here and one line in runtimes.def. */

/* Read from /proc at one moment. */
struct runtime_facts {
	uint64_t time_ns; /* monotonic; 0: nothing was read */
	uint64_t user_ns, system_ns;
	uint64_t voluntary, involuntary; /* context switches of the threads there are, RUNTIME_MAX_THREADS at most */
	uint64_t rss;			 /* bytes */
	uint32_t threads;
	int64_t fds; /* -1: may not be seen */
	uint64_t age_ns;
};
#define RUNTIME_MAX_THREADS 128

/* 0, -ESRCH, -EACCES ... `p` is open. */
int runtime_facts_read(struct proc *p, uint64_t now_ns, struct runtime_facts *ret);

enum runtime_kind { RUNTIME_GAUGE, RUNTIME_DISTRIBUTION };

/* Which of the facts a language has names for. */
enum {
	RUNTIME_CPU = 1 << 0,
	RUNTIME_SWITCHES = 1 << 1,
	RUNTIME_RSS = 1 << 2,
	RUNTIME_THREADS = 1 << 3,
	RUNTIME_FDS = 1 << 4,
};

/* What a runtime file keeps from one report to the next. */
#define RUNTIME_KEPT 6

struct runtime_report {
	struct proc *proc;
	struct sv version; /* of the language, "3.11.2"; may be empty */
	const struct runtime_facts *now,
		*before;  /* before: of the last report, or of when the process was first seen */
	double elapsed_s; /* between them, above 0 */
	int64_t *kept;	  /* RUNTIME_KEPT of them, -1 at first */
	void (*emit)(void *arg, const char *name, enum runtime_kind kind, double value);
	void *arg;
};

struct runtime_ops {
	const char *language; /* process_info.language */
	/* Emits what it has names for; which facts those were. */
	unsigned (*report)(const struct runtime_report *r);
};

extern const struct runtime_ops *const runtime_registry[];
extern const unsigned runtime_registry_cnt;

/* Everything about a process of that language. */
void runtime_report(struct sv language, const struct runtime_report *r);
/* What is left when `covered` has names already (process.c). */
void runtime_report_process(const struct runtime_report *r, unsigned covered);

/* Since `before`, in seconds. */
static inline double runtime_user_s(const struct runtime_report *r)
{
	return r->now->user_ns > r->before->user_ns ? (double)(r->now->user_ns - r->before->user_ns) / 1e9 : 0;
}

static inline double runtime_system_s(const struct runtime_report *r)
{
	return r->now->system_ns > r->before->system_ns ? (double)(r->now->system_ns - r->before->system_ns) / 1e9 : 0;
}

/* Threads end and take their switches with them. */
static inline double runtime_since(uint64_t now, uint64_t before)
{
	return now > before ? (double)(now - before) : 0;
}

#endif
