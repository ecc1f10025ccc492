/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "binary/name.h"
#include "probe/plan_private.h"

#define SECCOMP_MODE_FILTER 2 /* "Seccomp:" of proc_pid_status(5) */

int plan_prepare_probe(struct plan *p, uint32_t i, struct sbuf *err)
{
	const struct probe *probe = &p->options.list->probes.data[i];
	p->items[i] = arena_alloc(&p->arena, (probe->functions.cnt + 1) * sizeof(struct plan_item));
	if (!p->items[i])
		return -ENOMEM;
	p->has_target_probes |= probe->target >= 0;
	p->has_library_probes |= probe->library.text.len > 0;
	int rc = p->options.kernel ? kernel_set_spec(p->options.kernel, i, &probe->spec) : 0;
	if (rc < 0)
		sbuf_addf(err, "cannot hand probe %u to the kernel: %s", i, strerror(-rc));
	return rc;
}

static int plan_prepare(struct plan *p, struct sbuf *err)
{
	const struct probe_list *list = p->options.list;
	size_t max = list->probes.cnt > p->options.max_probes ? list->probes.cnt : p->options.max_probes;
	p->items = arena_alloc(&p->arena, max * sizeof(*p->items));
	p->finder = site_finder_new();
	p->generation = 1;
	if ((max && !p->items) || !p->finder)
		return -ENOMEM;
	if (plan_prepare_handoffs(p) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < list->probes.cnt; i++) {
		int rc = plan_prepare_probe(p, i, err);
		if (rc == 0)
			rc = vec_push(&p->order, i);
		if (rc < 0)
			return rc;
	}
	p->known = (uint32_t)list->probes.cnt;
	return 0;
}

int plan_new(struct plan **ret, const struct plan_options *options, struct sbuf *err)
{
	struct plan *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->options = *options;
	int rc = plan_prepare(p, err);
	if (rc < 0) {
		plan_free(p);
		return rc;
	}
	*ret = p;
	return 0;
}

/* `fd` is open; are there `spare` descriptors besides? The usual soft limit may be raised by anybody. */
static bool fds_suffice(int fd, unsigned spare)
{
	struct rlimit l;
	rlim_t want = (rlim_t)fd + spare;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur > want)
		return true;
	l.rlim_cur = l.rlim_max;
	return l.rlim_max > want && setrlimit(RLIMIT_NOFILE, &l) == 0;
}

static void plan_process_free(struct plan *p, struct plan_process *process, bool goes_on, struct kernel *later)
{
	vec_foreach (m, &process->mappings) {
		unit_vec_detach(p, &m->units, later);
		plan_leave_module(p, m->module, goes_on);
	}
	vec_release(&process->mappings);
	attachment_vec_detach(&process->hooks, later);
	free(process);
}

void plan_detach(struct plan *p)
{
	uint64_t start = clock_mono_ns();
	uint32_t sites = p->stats.sites; /* what there was is for the summary */
	vec_foreach (process, &p->processes)
		plan_process_free(p, *process, true, p->options.kernel);
	vec_release(&p->processes);
	vec_foreach (m, &p->modules) {
		unit_vec_detach(p, &(*m)->units, p->options.kernel);
		attachment_vec_detach(&(*m)->attached, p->options.kernel);
	}
	if (p->options.kernel)
		kernel_detach_finish(p->options.kernel);
	p->stats.sites = sites;
	p->stats.detach_ns += clock_mono_ns() - start;
}

void plan_forget_all(struct plan *p)
{
	vec_foreach (process, &p->processes)
		plan_process_free(p, *process, true, NULL);
	vec_release(&p->processes);
	vec_foreach (m, &p->modules) {
		if ((*m)->batch && vec_push(&p->kept, (*m)->batch) == 0)
			(*m)->batch = NULL;
		plan_module_free(p, *m, NULL);
	}
	vec_release(&p->modules);
	p->idle_cnt = 0;
	vec_foreach (f, &p->functions)
		if (*f)
			(*f)->retired = true;
}

void plan_free(struct plan *p)
{
	if (!p)
		return;
	plan_detach(p);
	plan_forget_all(p);
	vec_foreach (b, &p->leaving)
		plan_batch_free(*b);
	vec_release(&p->leaving);
	vec_foreach (b, &p->kept)
		plan_batch_free(*b);
	vec_release(&p->kept);
	vec_release(&p->functions);
	vec_release(&p->free_indexes);
	vec_release(&p->order);
	site_finder_free(p->finder);
	arena_release(&p->arena);
	free(p);
}

struct plan_process *plan_find_process(const struct plan *p, int pid)
{
	vec_foreach (process, &p->processes)
		if ((*process)->pid == pid)
			return *process;
	return NULL;
}

static struct plan_module *plan_find_module(const struct plan *p, const struct proc_map *map, int target)
{
	vec_foreach (m, &p->modules)
		if ((*m)->map_dev == map->dev && (*m)->map_ino == map->ino && (*m)->target == target)
			return *m;
	return NULL;
}

static void plan_say_unreadable(const struct plan *p, int pid, const struct proc_map *map, bool is_exe, int error)
{
	bool denied = error == EACCES || error == EPERM, gone = map->deleted && (error == ENOENT || error == ESTALE);
	if (p->options.unreadable && (denied || gone))
		p->options.unreadable(p->options.arg, pid, map->path, is_exe, error,
				      denied ? "CAP_DAC_READ_SEARCH"
					     : "CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH");
}

static int plan_open_module(struct plan *p, struct proc *proc, const struct proc_map *map, int target, bool is_exe,
			    struct plan_module **ret)
{
	int fd, rc = maps_open(proc, map, &fd);
	if (rc < 0) {
		plan_say_unreadable(p, proc->pid, map, is_exe, -rc);
		return rc;
	}
	if (!fds_suffice(fd, is_exe ? PLAN_SPARE_FDS : PLAN_SPARE_FDS_LIBRARY)) {
		close(fd);
		return -EMFILE;
	}
	__cleanup(closep) int root = openat(proc->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct plan_module *m = calloc(1, sizeof(*m));
	if (m)
		rc = module_open(&m->module, fd, root, map->path, is_exe, NULL);
	if (!m || rc < 0) {
		close(fd);
		if (rc == -ENOMEM || !m) {
			free(m);
			return -ENOMEM;
		}
		/* Mapped as code but no ELF file we read: remembered, so that it is not opened again. */
	}
	m->map_dev = map->dev;
	m->map_ino = map->ino;
	m->target = target;
	m->is_exe = is_exe;
	m->name = arena_dup(&m->arena, m->module ? m->module->name : map->path);
	m->traits = m->module ? m->module->traits : 0;
	rc = vec_push(&p->modules, m);
	if (rc < 0) {
		plan_module_free(p, m, NULL);
		return rc;
	}
	*ret = m;
	return 0;
}

static bool process_has_module(const struct plan_process *process, const struct plan_module *m)
{
	vec_foreach (mapping, &process->mappings)
		if (mapping->module == m)
			return true;
	return false;
}

/* The executable is what /proc/PID/exe is, whatever it is called. */
static void exe_identity(struct proc *proc, struct sbuf *maps_text, dev_t *ret_dev, ino_t *ret_ino)
{
	struct sv exe;
	struct sbuf copy = {0};
	*ret_ino = 0;
	if (proc_exe(proc, &exe) < 0)
		return;
	sbuf_addsv(&copy, sbuf_sv(maps_text));
	struct maps_iter it = MAPS_ITER(&copy);
	struct proc_map map;
	while (!*ret_ino && maps_next(&it, &map)) {
		if (!sv_eq(map.path, exe))
			continue;
		*ret_dev = map.dev;
		*ret_ino = map.ino;
	}
	sbuf_release(&copy);
}

/* Every file the process has mapped as code, opened once. */
static int plan_read_modules(struct plan *p, struct proc *proc, struct plan_process *process, struct sbuf *err)
{
	__cleanup(sbuf_release) struct sbuf text = {0};
	dev_t exe_dev = 0;
	ino_t exe_ino;
	struct proc_map map;
	int rc = maps_read(proc, &text);
	if (rc < 0) {
		sbuf_addf(err, "cannot read the memory map of process %d: %s", proc->pid, strerror(-rc));
		return rc;
	}
	exe_identity(proc, &text, &exe_dev, &exe_ino);
	struct maps_iter it = MAPS_ITER(&text);
	while (maps_next(&it, &map)) {
		int target = p->has_target_probes ? process->target : -1;
		struct plan_module *m = plan_find_module(p, &map, target);
		if (m && process_has_module(process, m))
			continue;
		bool is_exe = exe_ino ? map.dev == exe_dev && map.ino == exe_ino : process->mappings.cnt == 0;
		if (process->mappings.cnt >= PLAN_MAX_MODULES_EACH)
			rc = -EMFILE;
		else
			rc = m ? 0 : plan_open_module(p, proc, &map, target, is_exe, &m);
		p->stats.unopened += rc == -EMFILE;
		if (rc == -ENOMEM)
			return rc;
		if (rc < 0)
			continue; /* unmapped meanwhile, or not ours to open */
		rc = plan_use_module(p, process, m);
		if (rc < 0)
			return rc;
		process->traits |= m->traits;
	}
	return 0;
}

static int plan_attach_mapping(struct plan *p, struct plan_process *process, struct plan_mapping *mapping,
			       struct sbuf *err)
{
	struct plan_module *m = mapping->module;
	struct unit_vec *units = m->filtered ? &mapping->units : &m->units;
	if (!plan_module_wanted(m) || units->generation == m->generation || !p->options.kernel)
		return 0;
	int lowest = fcntl(m->module->fd, F_DUPFD_CLOEXEC, 0); /* what a link would get */
	bool suffice = lowest >= 0 && fds_suffice(lowest, m->is_exe ? PLAN_SPARE_FDS : PLAN_SPARE_FDS_LINK);
	closep(&lowest);
	if (!suffice) {
		p->stats.unopened++;
		return 0;
	}
	uint64_t start = clock_mono_ns();
	int rc = plan_attach_module(p, m, m->filtered ? process->pid : 0, units, err);
	p->stats.attach_ns += clock_mono_ns() - start;
	return rc;
}

/* Which functions the list means now. Functions that were wanted before keep their index and their sites. */
static int plan_resolve_module(struct plan *p, struct plan_module *m, const struct plan_process *process)
{
	size_t first = m->functions.cnt;
	uint64_t start = clock_mono_ns();
	int rc = plan_resolve(p, m, process);
	p->stats.resolve_ns += clock_mono_ns() - start;
	vec_foreach (f, &m->functions) {
		f->function->retired = !planned_is_active(m, f);
		if (p->options.kernel)
			kernel_mute(p->options.kernel, f->function->index, f->function->retired);
	}
	if (p->options.publish)
		for (size_t i = first; i < m->functions.cnt; i++)
			p->options.publish(p->options.arg, m->functions.data[i].function);
	return rc;
}

/* A process that is more easily hurt runs the same file: its needs count for all. */
static int plan_site_anew(struct plan *p, struct plan_module *m, struct plan_process *process)
{
	process->traits |= m->made_for;
	unit_vec_detach(p, &m->units, NULL);
	attachment_vec_detach(&m->attached, NULL);
	if (m->hooked)
		vec_foreach (other, &p->processes)
			(*other)->hooked = false;
	m->hooked = 0;
	return plan_site_all(p, m, process);
}

static int plan_resolve_mapping(struct plan *p, struct plan_process *process, struct plan_module *m)
{
	int rc = 0;
	if (!m->module)
		return 0;
	bool first = !m->resolved;
	if (!first && plan_module_wanted(m) && process->traits & ~m->made_for)
		rc = plan_site_anew(p, m, process);
	if (rc == 0 && (first || m->generation != p->generation))
		rc = plan_resolve_module(p, m, process);
	return rc;
}

static bool process_is_probed(const struct plan_process *process)
{
	vec_foreach (mapping, &process->mappings)
		if (plan_module_wanted(mapping->module))
			return true;
	return false;
}

int plan_settle(struct plan *p, struct plan_process *process, struct sbuf *err)
{
	int rc = 0;
	for (size_t i = 0; i < process->mappings.cnt && rc == 0; i++)
		rc = plan_resolve_mapping(p, process, process->mappings.data[i].module);
	if (rc == 0)
		rc = plan_find_shared(p, process);
	for (size_t i = 0; i < process->mappings.cnt && rc == 0; i++)
		rc = plan_attach_mapping(p, process, &process->mappings.data[i], err);
	if (rc == 0 && p->options.kernel && !process->hooked && process_is_probed(process))
		rc = plan_attach_hooks(p, process, err);
	vec_foreach (mapping, &process->mappings)
		if (mapping->module->module)
			module_rest(mapping->module->module);
	return rc;
}

/* Tried when it first matters. */
static bool plan_seccomp_lets_return(struct plan *p)
{
	if (!p->seccomp_tried)
		p->seccomp_return = !p->options.seccomp_return || p->options.seccomp_return(p->options.link);
	p->seccomp_tried = true;
	return p->seccomp_return;
}

static void plan_read_seccomp(struct plan *p, struct proc *proc, struct plan_process *process)
{
	const struct proc_status *status;
	if (proc_status(proc, &status) == 0 && status->seccomp == SECCOMP_MODE_FILTER && !plan_seccomp_lets_return(p))
		process->no_return = "its seccomp filter would kill it";
}

int plan_add(struct plan *p, struct proc *proc, int target, struct sbuf *err)
{
	struct plan_process *process = plan_find_process(p, proc->pid);
	if (!process) {
		process = calloc(1, sizeof(*process));
		if (!process || vec_push(&p->processes, process) < 0) {
			free(process);
			return -ENOMEM;
		}
		process->pid = proc->pid;
		process->target = target;
		plan_read_seccomp(p, proc, process);
	}
	int rc = plan_read_modules(p, proc, process, err);
	if (rc == 0)
		rc = plan_settle(p, process, err);
	if (rc < 0 && proc_gone(proc))
		rc = -ESRCH;
	if (rc == -ESRCH)
		plan_drop(p, proc->pid);
	else if (rc < 0)
		plan_let_go(p, proc->pid);
	return rc;
}

int plan_fork(struct plan *p, int parent, int child, struct sbuf *err)
{
	const struct plan_process *from = plan_find_process(p, parent);
	if (!from || plan_find_process(p, child))
		return from ? 0 : -ENOENT;
	struct plan_process *process = calloc(1, sizeof(*process));
	if (!process || vec_push(&p->processes, process) < 0) {
		free(process);
		return -ENOMEM;
	}
	*process = (struct plan_process){
		.pid = child, .target = from->target, .traits = from->traits, .no_return = from->no_return};
	int rc = 0;
	bool filtered = false;
	for (size_t i = 0; i < from->mappings.cnt && rc == 0; i++) {
		struct plan_module *m = from->mappings.data[i].module;
		rc = plan_use_module(p, process, m);
		filtered |= m->filtered && plan_module_wanted(m);
	}
	p->stats.filtered_forks += filtered;
	if (rc == 0)
		rc = plan_settle(p, process, err);
	if (rc < 0)
		plan_let_go(p, child);
	return rc;
}

static void plan_forget_process(struct plan *p, int pid, bool goes_on)
{
	for (size_t i = 0; i < p->processes.cnt; i++) {
		if (p->processes.data[i]->pid != pid)
			continue;
		plan_process_free(p, p->processes.data[i], goes_on, p->options.kernel);
		p->processes.data[i] = p->processes.data[--p->processes.cnt];
		plan_forget_idle(p);
		return;
	}
}

void plan_drop(struct plan *p, int pid)
{
	plan_forget_process(p, pid, false);
}

void plan_let_go(struct plan *p, int pid)
{
	plan_forget_process(p, pid, true);
}

void plan_report_item(const struct plan_item *it, const struct probe_glob *glob, bool optional, struct diagnostics *d)
{
	enum severity severity = optional ? SEVERITY_WARNING : SEVERITY_ERROR;
	struct sv where = it->where.len ? it->where : SV("the chosen processes");
	if (it->no_symbols)
		diagnostics_add(
			d, severity, glob->pos,
			"no function '" SV_FMT "' in " SV_FMT
			": it has no symbols (stripped); install its debug symbols, or name the function by `address:`",
			SV_ARG(glob->text), SV_ARG(where));
	else if (it->suggestion.len)
		diagnostics_add(d, severity, glob->pos,
				"no function '" SV_FMT "' in " SV_FMT "; did you mean " SV_FMT "?", SV_ARG(glob->text),
				SV_ARG(where), SV_ARG(it->suggestion));
	else
		diagnostics_add(d, severity, glob->pos, "no function '" SV_FMT "' in " SV_FMT, SV_ARG(glob->text),
				SV_ARG(where));
}

void plan_report_library(const struct probe_glob *library, bool optional, struct diagnostics *d)
{
	diagnostics_add(d, optional ? SEVERITY_WARNING : SEVERITY_ERROR, library->pos,
			"no chosen process has loaded a library '" SV_FMT "'%s", SV_ARG(library->text),
			optional ? "; it is probed when it is loaded"
				 : "; with `optional: true` it is probed when it is loaded");
}

static bool plan_wants(const struct plan *p, uint32_t probe)
{
	vec_foreach (wanted, &p->order)
		if (*wanted == probe)
			return true;
	return false;
}

static void report_probe(const struct plan *p, uint32_t index, struct diagnostics *d)
{
	const struct probe *probe = &p->options.list->probes.data[index];
	const struct plan_item *items = p->items[index], *last = &items[probe->functions.cnt];
	enum severity severity = probe->optional ? SEVERITY_WARNING : SEVERITY_ERROR;

	if (probe->broken || !plan_wants(p, index))
		return;
	if (probe->library.text.len && !last->found && !last->where.len) {
		plan_report_library(&probe->library, probe->optional, d);
		return;
	}
	for (size_t i = 0; i < probe->functions.cnt; i++)
		if (!items[i].found)
			plan_report_item(&items[i], &probe->functions.data[i], probe->optional, d);
	if (!probe->functions.cnt && !last->found)
		diagnostics_add(d, severity, probe->address_pos, "address 0x%llx %s of " SV_FMT,
				(unsigned long long)probe->address,
				last->problem ? last->problem : "was not looked for in any", SV_ARG(last->where));
}

void plan_report(const struct plan *p, struct diagnostics *d)
{
	for (uint32_t i = 0; i < p->options.list->probes.cnt; i++)
		report_probe(p, i, d);
	plan_report_handoffs(p, d);
}

uint32_t plan_filtered_forks(const struct plan *p)
{
	return p->stats.filtered_forks;
}

void plan_stats(const struct plan *p, struct plan_stats *ret)
{
	*ret = p->stats;
	ret->functions = 0;
	ret->known = (uint32_t)p->functions.cnt;
	ret->held = (uint32_t)(p->functions.cnt - p->free_indexes.cnt);
	ret->processes = (uint32_t)p->processes.cnt;
	ret->modules = (uint32_t)p->modules.cnt;
	vec_foreach (it, &p->functions) {
		const struct plan_function *f = *it;
		if (!f || f->retired)
			continue;
		ret->functions++;
		ret->fast_entries += f->cost <= COST_EMULATED;
		ret->by_return += f->end == SITE_END_RETURN;
		ret->by_sites += f->end == SITE_END_SITES;
		ret->entry_only += f->end == SITE_END_NONE;
	}
}

static int compare_pages(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static uint32_t module_pages(const struct plan_module *m)
{
	VEC(uint64_t) pages = {0};
	uint32_t cnt = 0;
	int rc = 0;
	vec_foreach (f, &m->functions) {
		if (!planned_is_active(m, f))
			continue;
		rc |= vec_push(&pages, f->site.offset / PLAN_PAGE_SZ);
		vec_foreach (end, &f->site.ends)
			rc |= vec_push(&pages, end->offset / PLAN_PAGE_SZ);
	}
	if (pages.cnt && rc == 0)
		qsort(pages.data, pages.cnt, sizeof(*pages.data), compare_pages);
	for (size_t i = 0; i < pages.cnt && rc == 0; i++)
		cnt += i == 0 || pages.data[i] != pages.data[i - 1];
	vec_release(&pages);
	return cnt;
}

uint32_t plan_pages(const struct plan *p)
{
	uint32_t cnt = 0;
	vec_foreach (m, &p->modules)
		cnt += module_pages(*m);
	return cnt;
}

const struct plan_function *plan_function(const struct plan *p, uint32_t index)
{
	return index < p->functions.cnt ? p->functions.data[index] : NULL;
}
