/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_PLAN_PRIVATE_H
#define PROBE_PLAN_PRIVATE_H

#include "binary/imports.h"
#include "probe/plan.h"

/* Shared by plan.c (processes), plan_resolve.c (which functions) and plan_attach.c (links). */

struct planned {
	struct plan_function *function;
	struct site site;
	bool sleepable;
};

struct attachment_vec {
	struct kernel_attachment **data;
	size_t cnt, cap;
};

/* A file, for the processes of one target. */
struct plan_module {
	dev_t map_dev; /* as /proc/PID/maps says it: known before the file is opened */
	ino_t map_ino;
	int target; /* the list has probes for single targets: links are per process then; else -1 */
	struct module *module; /* NULL: nothing of it is probed or hooked */
	struct sv name;
	uint32_t traits;       /* of the file */
	uint32_t made_for;     /* traits of the processes its sites were chosen for */
	bool is_exe;
	bool resolved;
	bool filtered; /* links name a process, for others map this file too */
	struct {
		struct planned *data;
		size_t cnt, cap;
	} functions;
	struct attachment_vec attached; /* unfiltered links */
	bool probed;			/* those of its functions are among them */
	uint32_t hooked; /* hook_symbols that have an unfiltered link here, a bit each */
};

struct plan_mapping {
	struct plan_module *module;
	struct attachment_vec attached; /* filtered links */
	bool probed;
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
	VEC(struct plan_function *) functions;
	struct plan_item **items; /* [probe][function item; last: library or address] */
	struct plan_stats stats;
	bool has_target_probes;
	bool has_library_probes;
	bool seccomp_tried, seccomp_return;
};

/* Finds the probed functions of a module and their sites. 0 or -errno. */
int plan_resolve(struct plan *p, struct plan_module *m, const struct plan_process *process);
/* Chooses the sites anew for processes with these traits. */
int plan_site_all(struct plan *p, struct plan_module *m, const struct plan_process *process);
int plan_attach_module(struct plan *p, struct plan_module *m, int pid, struct attachment_vec *ret, struct sbuf *err);
int plan_attach_hooks(struct plan *p, struct plan_process *process, struct sbuf *err);
/* `k`: in the background, on that kernel's detacher; NULL: now. */
void attachment_vec_detach(struct attachment_vec *v, struct kernel *k);
bool plan_probe_wants(const struct plan *p, const struct probe *probe, const struct plan_module *m);

#endif
