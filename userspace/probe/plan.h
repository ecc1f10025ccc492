/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_PLAN_H
#define PROBE_PLAN_H

#include "base/diagnostics.h"
#include "kernel/kernel.h"
#include "probe/list.h"
#include "probe/site.h"
#include "target/procfs.h"

/* From a probe list and processes to attached probes. Each file is read once, however many processes run it; each
 * function gets an index that names it in records. One thread uses a plan. */
struct plan;

/* A function that is (or, without a kernel, would be) probed. But for `retired` constant once published. Lives until it is
 * unpublished, or as long as the plan. */
struct plan_function {
	uint32_t index;	     /* given to another one when this is unpublished */
	uint32_t serial;     /* and this never is: from 1 on */
	struct arena *arena; /* what publish() makes of the function may be put there, to live as long */
	uint32_t probe;	     /* index into the list's probes */
	struct sv raw;	     /* symbol */
	struct sv display;   /* demangled, with parameters */
	struct sv name;	     /* unqualified */
	struct sv module;    /* path, in the target's mount namespace */
	struct sv build_id;
	const struct sv *aliases; /* further symbols at the same address */
	uint32_t alias_cnt;
	uint64_t addr; /* ELF virtual address */
	uint64_t size;
	enum placement_cost cost; /* of the entry probe */
	enum site_end end;
	const char *no_return;	/* why not SITE_END_RETURN, or NULL */
	const char *entry_only; /* why SITE_END_NONE, or NULL */
	bool retired;		/* no probe of the list wants it any more: the plan's thread alone may look */
};

struct plan_options {
	const struct probe_list *list;
	struct kernel *kernel; /* NULL: resolve everything, attach nothing */
	enum link_kind link;
	enum site_ends_wanted ends;
	struct cost_kernel cost;
	bool goroutines; /* what Go programs ask for is followed from goroutine to goroutine */
	bool (*seccomp_return)(enum link_kind link); /* are return probes safe under a seccomp filter? NULL: they are */
	const char *proc_root;
	bool foreign_pids; /* proc_root shows another PID namespace than ours: no link can name a process */
	uint32_t max_functions;
	uint32_t max_probes; /* plan_update() may come, with lists of up to so many; 0: never */
	/* Called before the function's probes are attached. */
	void (*publish)(void *arg, const struct plan_function *f);
	/* A file that nobody runs any more is let go of. `leave` tells which moment it is, `left` whether all that was on its
	 * way then is out: no record and no span names a function that had no probe at that moment. NULL: at once. */
	uint32_t (*leave)(void *arg);
	bool (*left)(void *arg, uint32_t moment);
	/* Called before the function is freed and its index given to another; NULL: nobody wants to know. */
	void (*unpublish)(void *arg, const struct plan_function *f);
	/* A function that was asked for, by its name or by a glob, and cannot be probed; may be NULL. */
	void (*skipped)(void *arg, struct sv display, struct sv module, const char *why, bool by_name);
	/* A mapped file could not be opened, and with which capabilities it could; may be NULL. */
	void (*unreadable)(void *arg, int pid, struct sv path, bool is_exe, int error, const char *needs);
	void *arg;
};

int plan_new(struct plan **ret, const struct plan_options *options, struct sbuf *err);
void plan_free(struct plan *p); /* detaches; NULL is fine */
/* Detaches every probe, keeps what is known of the functions. */
void plan_detach(struct plan *p);

/* Attaches what the list asks for in this process, which belongs to target spec `target` of the list (-1: to none of
 * them). 0, -ESRCH when it is gone, or another -errno with a sentence in err. Adding it again looks for libraries that
 * were loaded since. */
int plan_add(struct plan *p, struct proc *proc, int target, struct sbuf *err);
/* A process that was added forked: its child runs the same code. Unfiltered probes see it already. */
int plan_fork(struct plan *p, int parent, int child, struct sbuf *err);
/* The process ended, or executes another program. What it ran is kept for the next one that does, but neither for ever nor
 * without bounds: see plan_tick(). */
void plan_drop(struct plan *p, int pid);
/* The process goes on, and is traced no more: what its calls that are open name stays known as long as the plan. */
void plan_let_go(struct plan *p, int pid);

/* The list has changed: probes were added at its end, and those wanted now are `order`, the first of those that mean a
 * function being the one that gets it. What stays as it is keeps its links and loses no call. What is not wanted any more is
 * muted at once and detached by plan_tick() two seconds later, so that open calls see their ends, and a probe that comes
 * back meanwhile costs nothing. Probes of a list never change or move. Returns how many processes could not be brought
 * up to date (described into err), or -ENOMEM. */
int plan_update(struct plan *p, const uint32_t *order, size_t cnt, struct sbuf *err);
/* A process that was added belongs to another target of the list now. 0 or as plan_add(). */
int plan_retarget(struct plan *p, struct proc *proc, int target, struct sbuf *err);
/* To be called every now and then. Lets go of files that nobody runs any more, probes, descriptors, memory: at once when
 * they were deleted, else after ten minutes; plan_drop() does when there are too many. True while something is on its way
 * out. */
bool plan_tick(struct plan *p, uint64_t now_ns);

/* Adds a mistake for each function, library and address of the list that was found in no process that was added. */
void plan_report(const struct plan *p, struct diagnostics *d);

struct plan_stats {
	uint32_t functions, skipped, modules, processes;
	uint32_t known;	       /* indexes are below this; plan_function() has not all of them */
	uint32_t held;	       /* functions that something may still name, retired ones, too */
	uint32_t walks;	       /* over all processes of the host, in search of those that map the same libraries */
	uint32_t released;     /* files that were let go of */
	uint32_t sites;	       /* probe sites attached now, ends included */
	uint32_t fast_entries; /* functions whose entry probe is not single-stepped */
	uint32_t by_return, by_sites, entry_only;
	uint32_t handoffs; /* functions that give or take work, as hand-offs of the list say */
	uint32_t limited;  /* functions beyond max_functions */
	uint32_t unopened; /* mapped files not looked at or not probed: too many of a process, or no descriptors left */
	uint32_t filtered_forks; /* forks after which probes of libraries had to be attached to the child anew */
	uint64_t resolve_ns;	 /* spent on finding functions and their probe sites, */
	uint64_t attach_ns;	 /* on making links, */
	uint64_t detach_ns;	 /* and on plan_detach() */
};
void plan_stats(const struct plan *p, struct plan_stats *ret);
uint32_t plan_filtered_forks(const struct plan *p); /* of plan_stats, which asks every function */
/* Pages of files with a probe on them: each becomes private memory of each process that maps it (PLAN_PAGE_SZ). */
uint32_t plan_pages(const struct plan *p);
#define PLAN_PAGE_SZ 4096
const struct plan_function *plan_function(const struct plan *p, uint32_t index); /* NULL: no such function (any more) */

#endif
