/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_PROCESSES_H
#define TARGET_PROCESSES_H

#include "target/identify.h"

/* The chosen processes. One thread (the owner) adds, changes and removes; any thread may call processes_get_info().
 * A struct process belongs to the owner and lives until it is removed, forgotten or the table is freed.
 *
 * A pid alone names nobody: the kernel gives it out again. An entry is a pid and a start time; adding another start
 * time under the same pid replaces the entry (and counts `reused`).
 *
 * An ended process is kept for a while (processes_end), since its last spans may still be in a ring buffer when its
 * exit is read from another; processes_forget() then removes it.
 *
 * Fork, exec and exit are to be told in the order they happened. Where several ring buffers leave that open: after a
 * fork whose child's exec was told before it, tell the exec again; an exit told before its fork leaves an entry that
 * processes_check() ends. Pids are those of `root`'s PID namespace; the kernel's events carry the initial one's, so
 * both agree only where /proc is the host's. */

struct process {
	struct process *next; /* in its bucket; the table's own */
	uint32_t tgid;
	uint64_t start_ticks; /* 0: it was gone before that could be read */
	const struct target_spec *spec;
	struct process_info *info; /* a reference is held; changed by the owner under the table's lock */
	uint32_t parent;	   /* tgid of the chosen process that forked it; 0: chosen itself */
	bool ended;
	uint64_t ended_ns; /* the owner's clock */
	void *user;	   /* the caller's; see processes_options.released */
	uint32_t does;	   /* the caller's: SH_DOES_* that it acted upon, of the program that it runs */
};

struct processes_options {
	const char *root; /* "/proc" */
	uint32_t max;	  /* processes, ended ones included; beyond: not added, counted in `refused` */
	uint64_t keep_ended_ns;
	struct sv hostname;    /* borrowed for the table's life, as is */
	struct sv environment; /* see identify_options */
	/* A target asked for a program that was executed, and its policy is against it (p->skipped); may be NULL. */
	void (*skipped)(void *arg, const struct proc *p);
	void (*released)(void *arg, struct process *p); /* before an entry dies, to free `user`; may be NULL */
	void *arg;
};

struct processes_stats {
	uint32_t live, ended;
	uint64_t added, reused, refused, gone; /* gone: ended before it could be looked at */
};

struct processes;
struct processes *processes_new(const struct processes_options *options); /* NULL when out of memory */
void processes_free(struct processes *t);

/* A process matched `spec`. 1 added; 0 it is there already (same start time); -ENOSPC full; -ESRCH gone; -ENOMEM.
 * *ret_process (may be NULL) is set when >= 0. */
int processes_add(struct processes *t, struct proc *p, const struct target_spec *spec, struct process **ret_process);

/* A chosen process forked: its child gets its spec and identity. Returns as processes_add(), but a child that is gone
 * already is added all the same, for its spans; -ENOENT when the parent is not in the table. */
int processes_fork(struct processes *t, uint32_t parent, uint32_t child, struct process **ret_process);

/* Any process executed a new program: it is matched against all specs anew. */
enum processes_verdict {
	PROCESSES_IGNORED, /* was not chosen and is not */
	PROCESSES_CHOSEN,  /* newly chosen: attach */
	PROCESSES_KEPT, /* stays chosen with a new image and a new process_info: detach the old image, attach the new */
	PROCESSES_DROPPED, /* was chosen and does not match any more: marked as ended */
};
/* A verdict, or -ENOSPC, -ENOMEM. *ret_process is set for all but IGNORED. A process that vanished meanwhile is
 * IGNORED, or KEPT with its old identity until its exit is seen. */
int processes_exec(struct processes *t, uint32_t tgid, const struct target_spec *specs, size_t spec_cnt,
		   uint64_t now_ns, struct process **ret_process);

/* The list of specs changed: the process, which is there, is of this spec now. 0, -ESRCH or -ENOMEM. */
int processes_respec(struct processes *t, struct proc *p, const struct target_spec *spec);

/* NULL when it is not there. Ended processes are found until they are forgotten. */
struct process *processes_find(struct processes *t, uint32_t tgid);
/* A new reference, or NULL. Any thread. */
struct process_info *processes_get_info(struct processes *t, uint32_t tgid);

void processes_end(struct processes *t, uint32_t tgid, uint64_t now_ns);
/* Removes those that ended keep_ended_ns ago or earlier: how many. Cheap when there are none. */
uint32_t processes_forget(struct processes *t, uint64_t now_ns);
void processes_remove(struct processes *t, uint32_t tgid);
/* Ends those whose exit was missed (an event lost): how many. Reads /proc once per process. */
uint32_t processes_check(struct processes *t, uint64_t now_ns);

/* Each entry, ended ones included; the callback may not change the table. A return other than 0 stops and is returned.
 */
int processes_each(struct processes *t, int (*visit)(void *arg, struct process *p), void *arg);
void processes_stats(struct processes *t, struct processes_stats *ret);

#endif
