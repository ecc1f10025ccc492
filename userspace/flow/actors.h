/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_ACTORS_H
#define FLOW_ACTORS_H

#include "spanhound/events.h"
#include "trace/request_settings.h"
#include "trace/span.h"

/* The processes and threads that records name, as the consumer knows them. Used by one thread. */

struct actor; /* a process */

struct actors_options {
	/* A new reference to what is known of a process; NULL when nothing is. */
	struct process_info *(*process)(void *arg, uint32_t tgid);
	/* Births, deaths, new images and maps. Called in order with all other records. */
	void (*process_event)(void *arg, const struct sh_ev_proc *event);
	/* Its settings for requests have mistakes: lines that describe them, once for each set of settings. May be
	 * NULL. */
	void (*mistakes)(void *arg, const struct process_info *process, struct sv lines);
	void *arg;
};

struct actors;
/* `want` learns of all settings before a record of their process is looked at; may be NULL. */
struct actors *actors_new(const struct actors_options *options,
			  void (*want)(void *arg, const struct request_settings *settings),
			  void *want_arg); /* NULL when out of memory */
void actors_free(struct actors *a);	   /* NULL is fine */

/* Forgets who the processes are; they are asked for again. */
void actors_refresh(struct actors *a);
void actors_event(struct actors *a, const struct sh_ev_proc *event, uint64_t now_ns);
/* After a whole pass over all rings: forgets those long gone. */
void actors_pass(struct actors *a, uint64_t now_ns);

/* NULL when nothing is known of the process. Valid until the next call of actors_event() or actors_pass(). */
struct actor *actors_get(struct actors *a, uint32_t tgid);
struct process_info *actor_info(const struct actor *p);		      /* borrowed */
const struct request_settings *actor_requests(const struct actor *p); /* borrowed */
/* Empty when it was not told. */
struct sv actor_thread_name(const struct actor *p, uint32_t tid);

#endif
