/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SESSION_H
#define APP_SESSION_H

#include "app/injection.h"
#include "app/tcp_option.h"
#include "export/exporter.h"
#include "flow/flow.h"
#include "kernel/kernel.h"
#include "probe/plan.h"
#include "target/processes.h"

/* One tracing session: from targets and a probe list to spans in a receiver.
 *
 * Three threads. The caller's is the supervisor: it looks at processes, attaches, and waits for signals. The consumer
 * drains the rings and makes spans. The exporter thread ships them (export/queue.c). What they share: the function
 * table (append-only, published by index), the process table (under `lock`), counters (atomic). */

struct session_options {
	struct probe_list *list; /* owned by the caller, outlives the session */
	struct sv_vec exports;	 /* as --export takes them; empty: the agent if one answers, else console */
	const char *config;	 /* the file `list` is from, or NULL */
	bool serve;		 /* a daemon: never ends for want of targets, reloads, tells systemd */
	const char *control;	 /* socket to be asked on, or NULL: where the list says, of a daemon always */
	const char *capture;	 /* file for the raw stream, or NULL */
	int link;		 /* enum link_kind, or -1: the best one that works */
	enum site_ends_wanted ends;
	uint32_t max_functions;
	uint64_t ring_size;   /* bytes for all CPUs; 0: default */
	uint64_t duration_ns; /* 0: until a signal */
	uint64_t count;	      /* spans after which to stop; 0: no limit */
	bool wait;	      /* no matching process is no error: wait for one */
	bool no_http;	      /* function spans only: no socket is watched */
	bool inject;	      /* trace context into requests: asked for here */
	bool no_inject;	      /* and not, whatever the list says */
	bool tcp_option;      /* and into TCP options */
	bool quiet;
	unsigned confine;		 /* enum confine_part */
	bool confine_asked;		 /* by name */
	bool has_child;			 /* session_run() gets one; signals go on to it */
	struct sv_vec function_options;	 /* as -f gave them; already in the list */
	struct diagnostics *diagnostics; /* of the list's file */
};

struct session;

/* Opens everything that can fail before a process is touched: exporters, kernel half. SESSION_CLEAN, or why not, with a
 * sentence in err. From here on a signal no longer ends the program: session_run() does, at once if one came before. */
enum session_end session_open(struct session **ret, const struct session_options *options, struct sbuf *err);
void session_free(struct session *s); /* NULL is fine */

enum session_end {
	SESSION_CLEAN = 0,
	SESSION_FAILED = 1,  /* something broke; it was said */
	SESSION_MISTAKE = 2, /* nothing to trace, or a mistake in the command line or the probe list */
	SESSION_LOSSY = 3,   /* the identity does not hold, or the receiver refused spans */
};

/* Attaches, runs until a signal or a limit, detaches, flushes. `child`: a process of ours that waits to execute
 * (see run), or 0; then *ret_child_status is what wait() said of it. */
enum session_end session_run(struct session *s, pid_t child, int release_fd, int *ret_child_status);

/* Where every call went. */
struct session_account {
	uint64_t seen, exported;
	uint64_t dropped[SH_MAX_DROPS];
	int64_t unaccounted; /* seen - exported - all dropped: 0 once the session ended */
	uint64_t pending;    /* in rings, open traces and queues: while it runs */
};
void session_account(struct session *s, struct session_account *ret);
const char *session_drop_name(unsigned drop); /* NULL: no such reason */
const char *session_drop_help(unsigned drop);

/* Functions of programs that nobody ran any more, which were forgotten. */
struct session_past {
	uint64_t functions, calls, spans, errors;
};

/* For the summary. */
struct session_view {
	const struct probe_list *list;
	struct plan *plan;
	const struct calls *calls;
	const struct flow *flow;
	struct kernel *kernel;
	const struct probe_metrics *metrics; /* of the consumer: numbers of a running session are of no one moment */
	const struct injection *injection;
	const struct tcp_option *tcp_option;
	struct export_queue *queue;
	const struct ring_set *rings;
	enum link_kind link;
	uint64_t elapsed_ns;
	uint64_t gap_ns, gaps; /* time in which libraries of forked children were not probed yet */
	uint64_t unlinked;     /* pipeline_stats.unlinked */
	struct session_past past;
	uint32_t processes; /* chosen over the whole session */
	uint32_t max_functions;
};
void session_view(struct session *s, struct session_view *ret);

#endif
