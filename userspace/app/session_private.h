/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SESSION_PRIVATE_H
#define APP_SESSION_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "app/health_metrics.h"
#include "app/environment.h"
#include "app/functions.h"
#include "app/inquiry.h"
#include "app/policy.h"
#include "app/probe_metrics.h"
#include "app/recorder.h"
#include "app/runtime_metrics.h"
#include "app/service.h"
#include "app/session.h"
#include "export/datadog.h"
#include "trace/pipeline.h"
#include "trace/sampling/early.h"

/* Shared by session.c (opening, accounts), supervisor.c, targets.c and consumer.c. */

struct session {
	struct session_options options;
	enum link_kind link;
	bool limit_was_asked_for; /* of functions */
	struct kernel *kernel;
	struct injection injection;
	struct tcp_option tcp_option;
	struct plan *plan;
	struct functions *functions;
	struct policy policy;
	bool foreign_pids;   /* proc_root() shows another PID namespace than ours */
	struct skipped_one { /* processes that were said to be skipped */
		int pid;
		uint64_t start_ticks;
	} skipped_said[64];
	unsigned skipped_cnt;
	struct target_spec own; /* of processes that no target of the list asked for: run's */
	struct chunk_pool *pool;
	struct environment environment;
	struct flow *flow;
	struct agent_link agent; /* between pipeline and exporter */
	struct datadog_listener listener;
	struct sbuf span_rules; /* of DD_SPAN_SAMPLING_RULES_FILE */
	struct pipeline *pipeline;
	struct early early; /* what the kernel half decides by */
	struct export_queue *queue;
	struct health_metrics health;
	struct runtime_metrics runtime_metrics;
	struct probe_metrics probe_metrics; /* the consumer's */
	bool any_agent;			    /* a Datadog Agent gets the spans */
	bool only_agent;		    /* and nobody else */
	struct recorder *recorder;	    /* NULL: no capture was asked for */

	pthread_mutex_t lock; /* of `processes` */
	struct processes *processes;

	/* The image whose processes the kernel half chooses by itself, and one of them. Under `lock`. */
	struct process_info *image_info; /* a reference, or NULL */
	dev_t image_dev;
	ino_t image_ino;
	bool many_images; /* then nobody can tell which one it was of */

	struct service *service; /* NULL: no daemon */
	struct control *control; /* NULL: of a daemon, or nobody asked for one */

	pthread_t consumer;
	struct inquiry *_Atomic inquiry; /* for the consumer; it takes it */
	atomic_uint consumer_passes;	 /* counts up while it lives */
	/* Moments asked for, and the last one of which all that was on its way then is out: see session_leave(). */
	atomic_uint moment_asked, moment_out;
	struct session_past past;
	uint64_t plan_due_ns; /* plan_tick() */
	bool consuming;
	atomic_bool stopping;	    /* tells the consumer to make its last passes */
	atomic_uint process_epoch;  /* bumped when identities changed: the consumer asks anew */
	atomic_bool events_lost;    /* the pipe was full: look at every process again */
	uint64_t events_lost_known; /* of the kernel's count */
	uint64_t look_due_ns;	    /* 0: there is no need */
	int events[2];		    /* pipe: struct sh_ev_proc from the consumer to the supervisor */
	int signal_fd;
	int count_fd;	    /* eventfd: the wanted number of spans was reached */
	bool count_reached; /* consumer's */

	uint64_t start_ns, end_ns;
	uint64_t gap_ns, gaps;
	uint32_t chosen;
	uint64_t seen; /* final, from the kernel's contexts */
	bool ended;
	bool started; /* run's child executed its program */
	enum session_end failure;
};

/* dogstatsd_agent_port() of what the Agent said last. */
static inline uint16_t session_statsd_port(const struct session *s)
{
	return __atomic_load_n(&s->agent.statsd_port, __ATOMIC_RELAXED);
}

/* First of all, before there is a thread that would not inherit it, or anything to undo: from here on signals wait for
 * the supervisor. 0 or -errno. */
int session_take_signals(struct session *s);
/* A signal that ends the session is waiting. */
bool session_interrupted(const struct session *s);

int consumer_start(struct session *s, struct sbuf *err);
/* Drains what is left and joins. */
void consumer_stop(struct session *s);

/* Chooses and attaches what matches now. The number chosen, or -errno. */
int targets_attach_all(struct session *s);
/* Probes one process, of the given target spec (-1: none), and lets its events through. 0 or -errno. */
int targets_attach(struct session *s, struct proc *p, int target, uint32_t flags);
/* For processes_options. */
void targets_skipped(void *arg, const struct proc *p);
void targets_event(struct session *s, const struct sh_ev_proc *e);
/* Lets go of those whose exit was not told. */
void targets_check(struct session *s);
/* Targets of the list came or went: every process is looked at again. */
void targets_changed(struct session *s);
/* Those that the list does not have any more, and no process belongs to, make room. */
void targets_vacate(struct session *s);
/* Why nothing matches, said to the user. */
void targets_explain_none(struct session *s);

#endif
