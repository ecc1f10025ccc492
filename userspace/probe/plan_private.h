/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_PLAN_PRIVATE_H
#define PROBE_PLAN_PRIVATE_H

#include "binary/imports.h"
#include "probe/plan.h"

/* Shared by plan.c (processes), plan_resolve.c (which functions), plan_handoff.c (which of them hand work on),
 * plan_attach.c (links), plan_golang.c, plan_update.c, plan_release.c, plan_shared.c. */

/* The functions of a file; they come and go together. */
struct plan_batch {
	struct arena arena; /* of all that is known of them */
	VEC(struct plan_function *) functions;
	bool asked; /* when all that was on its way is out: */
	uint32_t moment;
};

struct planned {
	struct plan_function *function;
	struct site site;
	bool sleepable;
	uint32_t generation; /* of the list, when a probe last wanted it: active if it is the module's */
};

/* A function on one side of a hand-off. */
struct planned_handoff {
	uint32_t handoff; /* index into the list's */
	bool take;
	uint64_t addr; /* ELF virtual address */
	struct site site;
};

struct attachment_vec {
	struct kernel_attachment **data;
	size_t cnt, cap;
};

/* Links that were made together, of functions of one probe or, where the list cannot change, of all. */
struct plan_unit {
	struct unit_function {
		uint32_t at;	    /* in plan_module.functions */
		uint64_t signature; /* of its sites and cookies as they are attached */
	} * functions;
	uint32_t cnt; /* 0: hand-offs */
	uint32_t sites;
	struct attachment_vec attached;
	uint64_t retired_ns; /* no probe wants any of it since then; 0: somebody does */
};

/* What is attached of one file, for all (pid 0) or for one process. */
struct unit_vec {
	struct plan_unit *data;
	size_t cnt, cap;
	uint32_t generation; /* of the module, when this was made to agree with it */
	bool handoffs;	     /* attached */
};

/* A file, for the processes of one target. */
struct plan_module {
	dev_t map_dev; /* as /proc/PID/maps says it: known before the file is opened */
	ino_t map_ino;
	int target;	       /* the list has probes for single targets: links are per process then; else -1 */
	struct module *module; /* NULL: nothing of it is probed or hooked */
	struct arena arena;
	struct plan_batch *batch; /* NULL: no function of it was ever wanted */
	struct sv name;
	uint32_t traits;   /* of the file */
	uint32_t made_for; /* traits of the processes its sites were chosen for */
	bool is_exe;
	bool resolved;
	bool again;    /* and not for the first time */
	bool filtered; /* links name a process, for others map this file too */
	struct {
		struct planned *data;
		size_t cnt, cap;
	} functions;
	struct {
		struct planned_handoff *data;
		size_t cnt, cap;
	} handoffs;
	struct {
		uint64_t give, take; /* offsets in the file */
		bool there;
	} goroutines;
	uint32_t generation;		/* of the list it was resolved for */
	struct unit_vec units;		/* unfiltered links */
	struct attachment_vec attached; /* unfiltered hooks */
	bool filter_known;
	uint32_t hooked; /* hook_symbols that have an unfiltered link here, a bit each */
	uint32_t users;	 /* processes that have it mapped */
	bool left_alone; /* by a process that goes on: calls that are open may name functions of it */
	uint64_t idle;	 /* without users: the lower, the longer */
	uint64_t idle_ns;
};

/* Files without a user are kept open, and probed, for the next process that maps them, but not for ever: programs that are
 * unpacked, run and removed would keep their disk space, and us descriptors. */
#define PLAN_IDLE_MODULES 128
#define PLAN_IDLE_NS	  (600 * NSEC_PER_SEC)
/* So many may wait for their links to be gone, which goes on in the background; beyond, the plan waits for that. */
#define PLAN_MAX_LEAVING 1024
/* Of one process; the largest seen have some hundred. A file takes three descriptors. */
#define PLAN_MAX_MODULES_EACH 4096
/* Descriptors that are left for all else (receivers, rings, /proc) by executables and their links; by links of libraries;
 * by libraries: whoever comes late still has its own code probed. */
#define PLAN_SPARE_FDS	       64
#define PLAN_SPARE_FDS_LINK    128
#define PLAN_SPARE_FDS_LIBRARY 192

struct plan_mapping {
	struct plan_module *module;
	struct unit_vec units; /* filtered links */
};

struct plan_process {
	int pid;
	int target;
	uint32_t traits;
	const char *no_return;
	bool hooked;
	struct {
		struct plan_mapping *data;
		size_t cnt, cap;
	} mappings;
	struct attachment_vec hooks;
};

/* What became of one function item, library or address of the list. */
struct plan_item {
	uint32_t found;
	struct sv suggestion; /* nearest name seen */
	struct sv where;      /* module it was looked for in */
	const char *problem;
	bool no_symbols; /* there, nothing has a name */
};

struct plan {
	struct plan_options options;
	struct site_finder *finder;
	struct arena arena;
	VEC(struct plan_module *) modules;
	VEC(struct plan_process *) processes;
	VEC(struct plan_function *) functions; /* by index; NULL: free */
	VEC(uint32_t) free_indexes;
	uint32_t serial;
	VEC(struct plan_batch *) leaving; /* of files that were let go of */
	VEC(struct plan_batch *) kept;	  /* of files that plan_forget_all() forgot */
	VEC(uint32_t) order; /* probes of the list that are wanted, those before others that mean the same function */
	uint32_t generation; /* of the list: 1, 2, ... */
	uint32_t known;	     /* probes of the list that were prepared */
	struct plan_item **items;	  /* [probe][function item; last: library or address] */
	struct plan_item **handoff_items; /* [hand-off][functions that give, those that take; last: library] */
	struct plan_stats stats;
	bool has_target_probes;
	bool has_library_probes;
	uint32_t idle_cnt;
	uint64_t idle_clock;
	bool seccomp_tried, seccomp_return;
};

/* Attaches and hooks what is wanted of the files the process has mapped. */
int plan_settle(struct plan *p, struct plan_process *process, struct sbuf *err);
int plan_prepare_probe(struct plan *p, uint32_t index, struct sbuf *err);
/* Detaches everything and forgets every file; functions keep their indexes. */
void plan_forget_all(struct plan *p);

struct plan_process *plan_find_process(const struct plan *p, int pid);
/* Which of the files that are to be probed do others map, too, who shall not pay for it? Their links are per process then.
 * 0 or -ENOMEM. */
int plan_find_shared(struct plan *p, const struct plan_process *process);
int plan_use_module(struct plan *p, struct plan_process *process, struct plan_module *m);
/* The process has it mapped no more; `goes_on`: only as far as we are concerned. */
void plan_leave_module(struct plan *p, struct plan_module *m, bool goes_on);
/* The longest without a user first, until there are few enough. */
void plan_forget_idle(struct plan *p);
void plan_tick_idle(struct plan *p, uint64_t now_ns);
void plan_module_free(struct plan *p, struct plan_module *m, struct kernel *later);
void plan_batch_free(struct plan_batch *b); /* NULL is fine */

/* Finds the probed functions of a module and their sites. 0 or -errno. */
int plan_resolve(struct plan *p, struct plan_module *m, const struct plan_process *process);
/* Chooses the sites anew for processes with these traits. */
int plan_site_all(struct plan *p, struct plan_module *m, const struct plan_process *process);
/* Makes what is attached agree with the module's active functions: what agrees already is left alone. On failure
 * nothing stays attached. 0 or -errno. */
int plan_attach_module(struct plan *p, struct plan_module *m, int pid, struct unit_vec *units, struct sbuf *err);
void unit_vec_detach(struct plan *p, struct unit_vec *units, struct kernel *k);
/* Detaches what was retired at least `linger_ns` ago; true when some retired ones remain. */
bool unit_vec_reap(struct plan *p, struct unit_vec *units, uint64_t now_ns, uint64_t linger_ns);
static inline bool planned_is_active(const struct plan_module *m, const struct planned *f)
{
	return f->generation == m->generation;
}
int plan_attach_hooks(struct plan *p, struct plan_process *process, struct sbuf *err);
/* `k`: in the background, on that kernel's detacher; NULL: now. */
void attachment_vec_detach(struct attachment_vec *v, struct kernel *k);
/* Is this the file that a probe or hand-off of that target (-1: all) and library (empty: the executable) is about? */
bool plan_module_is(const struct plan_module *m, int target, struct sv library);
/* The symbols that a name or glob of the list means, added to `ret`; `it` learns where was looked, and what is like it.
 * 0 or -ENOMEM. */
int plan_find(struct plan *p, struct plan_module *m, struct sv pattern, struct plan_item *it, struct symbol_vec *ret);
/* Does a glob mean this one? Functions, not the pieces and labels that happen to match. */
bool plan_glob_means(const struct symbol *s);
struct site_options plan_site_options(const struct plan *p, const struct plan_process *process, uint16_t keep);
/* The bit of the register (System V AMD64 ABI, 3.2.3) that holds an argument; 0 for none of them. */
uint16_t plan_argument_register(unsigned arg);

int plan_prepare_handoffs(struct plan *p);
/* After the module's probes: where a function has both, the hand-off comes first. 0 or -errno. */
int plan_resolve_handoffs(struct plan *p, struct plan_module *m, const struct plan_process *process);
int plan_site_handoffs(struct plan *p, struct plan_module *m, const struct plan_process *process);
int plan_attach_handoffs(struct plan *p, struct plan_module *m, int pid, struct attachment_vec *out, struct sbuf *err);
void plan_report_handoffs(const struct plan *p, struct diagnostics *d);
void plan_report_item(const struct plan_item *it, const struct probe_glob *glob, bool optional, struct diagnostics *d);
void plan_report_library(const struct probe_glob *library, bool optional, struct diagnostics *d);

/* The functions by which Go's HTTP client gives a request to the goroutine that writes it, where they are. 0 or -errno. */
int plan_resolve_goroutines(struct plan *p, struct plan_module *m, const struct plan_process *process);
int plan_attach_goroutines(struct plan *p, struct plan_module *m, int pid, struct attachment_vec *out,
			   struct sbuf *err);

/* Sites that share a program, as the kernel wants them: parallel arrays. */
struct site_group {
	uint64_t *offsets, *cookies;
	uint32_t cnt, cap;
};
int site_group_add(struct site_group *g, uint64_t offset, uint64_t cookie);
void site_group_release(struct site_group *g);
/* One link for all of them; none for none. */
int plan_attach_group(struct plan *p, enum kernel_hook hook, bool sleepable, struct link_sites *sites,
		      struct attachment_vec *out, struct sbuf *err);

/* Something of it is to be probed. */
static inline bool plan_module_wanted(const struct plan_module *m)
{
	return m->functions.cnt || m->handoffs.cnt || m->goroutines.there;
}

#endif
