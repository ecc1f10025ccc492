/* SPDX-License-Identifier: Apache-2.0 */
/* Which processes are traced, and keeping that true while they come and go. Runs on the supervisor. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/session_private.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/glob.h"
#include "base/log.h"
#include "binary/golang.h"
#include "probe/list_merge.h"
#include "target/match.h"
#include "target/scan.h"
#include "target/text.h"

#define PROC_ROOT proc_root()

static void targets_refresh_identities(struct session *s)
{
	atomic_fetch_add(&s->process_epoch, 1);
}

static const struct target_spec *target_spec_of(const struct session *s, int target)
{
	return target >= 0 ? &s->options.list->targets.data[target] : &s->own;
}

static int target_index(const struct session *s, const struct target_spec *spec)
{
	const struct target_spec *first = s->options.list->targets.data;
	return spec >= first && spec < first + s->options.list->targets.cnt ? (int)(spec - first) : -1;
}

/* A process chosen by its number stays chosen whatever it executes. */
static uint32_t target_flags(const struct target_spec *spec)
{
	return spec->pids.cnt || spec->follow_exec ? SH_PROCESS_KEEP_EXEC : 0;
}

/* Programs of which no request is left for later that was read whole (SH_PROCESS_AT_ONCE): by the executable's name. */
static bool acts_at_once(struct proc *p)
{
	struct sv exe;
	return proc_exe(p, &exe) == 0 && glob_match(SV("nginx*"), text_basename(exe));
}

/* Goroutines: whichever thread is free runs the next one. */
static uint32_t task_flags(const struct process *process, struct proc *p)
{
	__cleanup(elf_closep) struct elf *elf = NULL;
	int fd;
	if (!process || !sv_eq(process->info->language, SV("go")))
		return process && acts_at_once(p) ? SH_PROCESS_AT_ONCE : 0;
	if (proc_open_exe(p, &fd) < 0)
		return SH_PROCESS_TASKS;
	int rc = elf_open(&elf, fd, NULL);
	close(fd);
	return SH_PROCESS_TASKS | (rc == 0 ? SH_PROCESS_OF_GOID(golang_goid_offset(elf)) : 0);
}

static uint32_t process_flags(struct session *s, const struct process *process, struct proc *p)
{
	struct sh_watched seen = kernel_watched(s->kernel, (uint32_t)p->pid);
	return !process ? 0
			: task_flags(process, p) |
				  injection_flags(&s->injection, kernel_inject(s->kernel), process->spec, p,
						  process->info, &seen) |
				  tcp_option_flags(&s->tcp_option, kernel_option(s->kernel), process->spec,
						   process->info);
}

/* The same flags, with what belongs to them; by which rates it is decided about its traces goes by what is known of it now. */
static struct sh_process process_as(struct session *s, const struct proc *p, uint32_t flags)
{
	const struct process *process = processes_find(s->processes, (uint32_t)p->pid);
	struct sh_process as = {.flags = flags};
	if (process)
		injection_settings(&s->injection, s->kernel, process->spec, &as);
	if (process && flags & (SH_PROCESS_INJECT | SH_PROCESS_WATCH | SH_PROCESS_OPTION))
		as.rates = (uint16_t)early_index(&s->early, process->info);
	if (process && flags & SH_PROCESS_READS_OTHERWISE)
		as.reads = injection_reads(process->info);
	return as;
}

static int targets_choose(struct session *s, struct proc *p, uint32_t flags)
{
	struct process *process = processes_find(s->processes, (uint32_t)p->pid);
	struct sh_process as = process_as(s, p, flags);
	as.watched = kernel_watched(s->kernel, (uint32_t)p->pid);
	if (as.flags & SH_PROCESS_INJECT) { /* whatever it did before: should it do that again, it is let go of again */
		as.watched.does = 0;
		if (process)
			process->does &= SH_DOES_WATCHED;
	}
	int rc = kernel_choose_process(s->kernel, (uint32_t)p->pid, as);
	if (rc == 0) { /* what it connects from here on is enrolled as it does */
		injection_enrol(&s->injection, s->kernel, p, &as);
		tcp_option_listen(s->kernel, p, as.flags);
	}
	return rc;
}

/* The host's system calls pass us by only while somebody is traced. */
static void targets_watch_sockets(struct session *s)
{
	struct processes_stats stats;
	struct sbuf err = {0};
	processes_stats(s->processes, &stats);
	if (kernel_watch_sockets(s->kernel, stats.live > 0, &err) < 0) {
		log_error("%s", sbuf_str(&err));
		s->failure = SESSION_FAILED;
	}
	sbuf_release(&err);
}

static int targets_probe(struct session *s, struct proc *p, int target)
{
	struct sbuf err = {0};
	int rc = plan_add(s->plan, p, target, &err);
	if (rc < 0 && rc != -ESRCH) {
		log_error("process %d: %s", p->pid, err.len ? sbuf_str(&err) : strerror(-rc));
		s->failure = SESSION_FAILED;
	}
	sbuf_release(&err);
	return rc;
}

/* A process of the image that is gone before anybody looked at it is taken for one like this. */
static void targets_remember_image(struct session *s, const struct proc *p, const struct stat *st)
{
	pthread_mutex_lock(&s->lock);
	bool same = s->image_info && s->image_dev == st->st_dev && s->image_ino == st->st_ino;
	s->many_images |= s->image_info && !same;
	if (!s->image_info)
		s->image_info = processes_get_info(s->processes, (uint32_t)p->pid);
	s->image_dev = st->st_dev;
	s->image_ino = st->st_ino;
	pthread_mutex_unlock(&s->lock);
}

/* Once per process: whoever asked for it wants to know. */
static void targets_say_skipped(struct session *s, const struct proc *p)
{
	unsigned max = sizeof(s->skipped_said) / sizeof(s->skipped_said[0]);
	for (unsigned i = 0; i < s->skipped_cnt && i < max; i++)
		if (s->skipped_said[i].pid == p->pid && s->skipped_said[i].start_ticks == p->start_ticks)
			return;
	s->skipped_said[s->skipped_cnt++ % max] = (struct skipped_one){p->pid, p->start_ticks};
	if (s->skipped_cnt > max)
		return;
	if (sv_starts(sv_of(p->skipped), SV("carries ")))
		log_warn("process %d (" SV_FMT ") is not traced: it %s, and its work would be reported twice; "
			 "--trace-instrumented traces it all the same",
			 p->pid, SV_ARG(p->comm), p->skipped);
	else
		log_info("process %d (" SV_FMT ") is not traced: it is %s", p->pid, SV_ARG(p->comm), p->skipped);
	if (s->skipped_cnt == max)
		log_info("further processes that are not traced are not mentioned");
}

void targets_skipped(void *arg, const struct proc *p)
{
	targets_say_skipped(arg, p);
}

/* Only by looking at the process can it be told whether it is meant. */
static bool targets_depend_on_process(const struct target_spec *spec, const struct process_info *info)
{
	const struct target_policy *policy = spec->policy;
	/* Two runs of one interpreter: the one with a tracer in it, the other without. */
	bool interpreted = !sv_eq(info->language, SV("cpp")) && !sv_eq(info->language, SV("rust")) &&
			   !sv_eq(info->language, SV("go"));
	return spec->cmdlines.cnt || spec->containers.cnt || spec->pids.cnt || target_needs_listening(spec) ||
	       spec->units.cnt || spec->labels.cnt || (policy && policy->exclude_cnt) ||
	       (policy && !policy->trace_instrumented && interpreted);
}

/* Does the spec mean every process of this executable, whatever its arguments? Then the kernel half may choose further
 * ones by the file alone, from their first instruction on. */
static void targets_choose_image(struct session *s, struct proc *p, const struct process *process, uint32_t flags)
{
	const struct target_spec *spec = process->spec;
	struct sv exe;
	struct stat st;
	int fd;
	bool means_file = false;

	if (targets_depend_on_process(spec, process->info) || proc_exe(p, &exe) < 0)
		return;
	struct sv name = text_basename(exe);
	for (size_t i = 0; i < spec->exes.cnt; i++)
		means_file |= glob_match(spec->exes.data[i], exe);
	for (size_t i = 0; i < spec->names.cnt; i++)
		means_file |= glob_match(spec->names.data[i], name);
	if ((spec->exes.cnt && spec->names.cnt) || !means_file || proc_open_exe(p, &fd) < 0)
		return;
	/* A file of several names (hard links) may be meant by one of them. */
	if (fstat(fd, &st) == 0 && st.st_nlink <= 1) {
		targets_remember_image(s, p, &st);
		kernel_choose_image(s->kernel, st.st_dev, st.st_ino, process_as(s, p, flags));
	}
	close(fd);
}

static void targets_look(struct session *s, struct proc *p)
{
	struct sv vars;
	if (proc_environ(p, &vars) == 0)
		environment_of_process(&s->environment, (uint32_t)p->pid, p->comm, vars);
}

int targets_attach(struct session *s, struct proc *p, int target, uint32_t flags)
{
	struct process *process = NULL;
	pthread_mutex_lock(&s->lock);
	int rc = processes_add(s->processes, p, target_spec_of(s, target), &process);
	pthread_mutex_unlock(&s->lock);
	if (rc < 0)
		return rc;
	flags |= process_flags(s, process, p);
	targets_look(s, p);
	targets_watch_sockets(s);
	rc = targets_probe(s, p, target);
	if (rc < 0)
		return rc;
	s->chosen++;
	targets_refresh_identities(s);
	targets_choose_image(s, p, process, flags);
	rc = targets_choose(s, p, flags);
	if (rc < 0)
		log_error("process %d: cannot be chosen: %s", p->pid, strerror(-rc));
	return rc;
}

struct family {
	struct session *session;
	int found;
};

/* A child that runs on in its parent's image (a prefork worker, say) belongs to it. */
static int attach_if_child(void *arg, struct proc *p)
{
	struct family *f = arg;
	struct session *s = f->session;
	struct sv exe, parent_exe;
	struct proc parent = PROC_INIT;

	if (p->pid == getpid() || processes_find(s->processes, (uint32_t)p->pid))
		return 0;
	struct process *chosen = processes_find(s->processes, (uint32_t)p->ppid);
	if (!chosen || chosen->ended || proc_open(&parent, PROC_ROOT, p->ppid) < 0)
		return 0;
	bool same = proc_exe(p, &exe) == 0 && proc_exe(&parent, &parent_exe) == 0 && sv_eq(exe, parent_exe);
	proc_close(&parent);
	int target = target_index(s, chosen->spec);
	if (same && chosen->spec->policy && !policy_admits(chosen->spec->policy, p, NULL)) {
		targets_say_skipped(s, p);
		return 0;
	}
	if (same && targets_attach(s, p, target, target_flags(chosen->spec)) == 0)
		f->found++;
	return 0;
}

static int targets_attach_matches(struct session *s, struct sbuf *err)
{
	struct probe_list *list = s->options.list;
	struct scan scan = {0};
	int found = 0;
	int rc = scan_processes(PROC_ROOT, list->targets.data, list->targets.cnt, &scan, err);

	for (size_t i = 0; rc >= 0 && i < scan.cnt && !session_interrupted(s); i++) {
		const struct scan_match *m = &scan.data[i];
		struct proc p = PROC_INIT;
		if (processes_find(s->processes, (uint32_t)m->pid) || proc_open(&p, PROC_ROOT, m->pid) < 0)
			continue;
		if (targets_attach(s, &p, (int)m->spec, target_flags(&list->targets.data[m->spec])) == 0)
			found++;
		proc_close(&p);
	}
	for (size_t i = 0; rc >= 0 && i < scan.skipped_cnt; i++) {
		struct proc p = PROC_INIT;
		if (proc_open(&p, PROC_ROOT, scan.skipped[i].pid) == 0) {
			memcpy(p.skipped, scan.skipped[i].why, sizeof(p.skipped));
			targets_say_skipped(s, &p);
		}
		proc_close(&p);
	}
	scan_release(&scan);
	return rc < 0 ? rc : found;
}

int targets_attach_all(struct session *s)
{
	struct sbuf err = {0};
	int total = 0, found;
	/* What started between the look and the choice is found by looking again. */
	for (int round = 0; round < 5; round++) {
		found = targets_attach_matches(s, &err);
		if (found < 0) {
			log_error("%s", sbuf_str(&err));
			break;
		}
		struct family f = {.session = s};
		scan_each(PROC_ROOT, attach_if_child, &f, NULL);
		found += f.found;
		total += found;
		if (!found || session_interrupted(s))
			break;
	}
	sbuf_release(&err);
	return found < 0 ? found : total;
}

/* It is done once, by the event or, if that was lost, by who looks. */
static void targets_turned(struct session *s, uint32_t tgid, uint32_t does)
{
	struct process *process = processes_find(s->processes, tgid);
	struct proc p = PROC_INIT;
	uint32_t known = process ? process->does : 0;
	if (!process || !does || (known && (does == SH_DOES_WATCHED || known & ~SH_DOES_WATCHED)) ||
	    proc_open(&p, PROC_ROOT, (int)tgid) < 0)
		return;
	process->does |= does;
	injection_turned(&s->injection, s->kernel, &p, does);
	proc_close(&p);
}

/* --- the list changed ----------------------------------------------------------------------------------------------
 */

struct chosen {
	uint32_t *data;
	size_t cnt, cap;
};

static int collect_chosen(void *arg, struct process *p)
{
	struct chosen *c = arg;
	return p->ended ? 0 : vec_push(c, p->tgid);
}

void targets_check(struct session *s)
{
	struct chosen chosen = {0};
	pthread_mutex_lock(&s->lock);
	processes_each(s->processes, collect_chosen, &chosen);
	uint32_t missed = processes_check(s->processes, clock_mono_ns());
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; missed && i < chosen.cnt; i++) {
		const struct process *p = processes_find(s->processes, chosen.data[i]);
		if (p && p->ended)
			plan_drop(s->plan, (int)chosen.data[i]);
	}
	vec_foreach (tgid, &chosen) {
		struct sh_watched seen = kernel_watched(s->kernel, *tgid);
		targets_turned(s, *tgid, injection_seen(&seen));
	}
	vec_release(&chosen);
	targets_watch_sockets(s);
}

static void targets_respec(struct session *s, struct proc *p, const struct target_spec *spec)
{
	struct sbuf err = {0};
	pthread_mutex_lock(&s->lock);
	int rc = processes_respec(s->processes, p, spec);
	struct process *process = processes_find(s->processes, (uint32_t)p->pid);
	pthread_mutex_unlock(&s->lock);
	if (rc == 0)
		rc = plan_retarget(s->plan, p, target_index(s, spec), &err);
	if (rc == 0)
		rc = targets_choose(s, p, target_flags(spec) | process_flags(s, process, p));
	if (rc < 0 && rc != -ESRCH)
		log_error("process %d: %s", p->pid, err.len ? sbuf_str(&err) : strerror(-rc));
	sbuf_release(&err);
}

static void targets_let_go(struct session *s, uint32_t tgid)
{
	plan_let_go(s->plan, (int)tgid);
	pthread_mutex_lock(&s->lock);
	processes_end(s->processes, tgid, clock_mono_ns());
	pthread_mutex_unlock(&s->lock);
	kernel_release_process(s->kernel, tgid);
}

/* What no spec means by itself belongs to the process that forked it. */
static const struct target_spec *inherited_spec(struct session *s, const struct process *p)
{
	const struct process *parent = p->parent ? processes_find(s->processes, p->parent) : NULL;
	return parent && !parent->ended && !parent->spec->retired ? parent->spec : NULL;
}

/* `last`: parents have been looked at. */
static void targets_match_anew(struct session *s, uint32_t tgid, struct listeners *l, bool last)
{
	const struct probe_list *list = s->options.list;
	struct process *process = processes_find(s->processes, tgid);
	struct proc p = PROC_INIT;
	if (!process || process->ended || proc_open(&p, proc_root(), (int)tgid) < 0)
		return;
	int match = target_first_match(list->targets.data, list->targets.cnt, &p, l);
	const struct target_spec *spec = match >= 0		   ? &list->targets.data[match]
					 : !process->spec->retired ? process->spec
								   : inherited_spec(s, process);
	if (spec && spec != process->spec)
		targets_respec(s, &p, spec);
	else if (!spec && last)
		targets_let_go(s, tgid);
	if (spec && process->spec == spec)
		targets_choose_image(s, &p, process, target_flags(spec) | process_flags(s, process, &p));
	proc_close(&p);
}

void targets_changed(struct session *s)
{
	struct chosen chosen = {0};
	struct listeners listeners = {0};
	pthread_mutex_lock(&s->lock);
	processes_each(s->processes, collect_chosen, &chosen);
	pthread_mutex_unlock(&s->lock);
	kernel_forget_images(s->kernel);
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < chosen.cnt; i++)
			targets_match_anew(s, chosen.data[i], &listeners, pass == 1);
	listeners_release(&listeners);
	vec_release(&chosen);
	targets_watch_sockets(s);
	targets_refresh_identities(s);
}

struct specs_in_use {
	const struct session *session;
	bool *in_use; /* by index */
};

static int note_spec(void *arg, struct process *p)
{
	struct specs_in_use *u = arg;
	int index = target_index(u->session, p->spec);
	if (index >= 0)
		u->in_use[index] = true;
	return 0;
}

void targets_vacate(struct session *s)
{
	struct probe_list *list = s->options.list;
	struct specs_in_use u = {s, calloc(list->targets.cnt + 1, sizeof(bool))};
	if (!u.in_use)
		return;
	pthread_mutex_lock(&s->lock);
	processes_each(s->processes, note_spec, &u);
	probe_list_vacate(list, u.in_use);
	pthread_mutex_unlock(&s->lock);
	free(u.in_use);
}

void targets_explain_none(struct session *s)
{
	struct probe_list *list = s->options.list;
	struct sbuf text = {0};
	for (size_t i = 0; i < list->targets.cnt; i++) {
		sbuf_reset(&text);
		scan_explain(PROC_ROOT, &list->targets.data[i], 0, &text);
		log_error("%s", sbuf_str(&text));
	}
	log_error("nothing to attach to; --wait waits for it to start");
	sbuf_release(&text);
}

static void targets_forked(struct session *s, const struct sh_ev_proc *e)
{
	struct sbuf err = {0};
	uint32_t before = plan_filtered_forks(s->plan);

	s->chosen++;
	int rc = plan_fork(s->plan, (int)e->other, (int)e->tgid, &err);
	if (plan_filtered_forks(s->plan) > before) {
		s->gaps++;
		s->gap_ns += clock_mono_ns() - e->time_ns;
	}
	if (rc < 0 && rc != -ENOENT && rc != -ESRCH)
		log_debug("process %u: probes of libraries do not follow it: %s", e->tgid, sbuf_str(&err));
	sbuf_release(&err);
}

static void targets_executed(struct session *s, const struct sh_ev_proc *e)
{
	struct probe_list *list = s->options.list;
	struct process *process = NULL;
	struct proc p = PROC_INIT;

	pthread_mutex_lock(&s->lock);
	int verdict =
		processes_exec(s->processes, e->tgid, list->targets.data, list->targets.cnt, clock_mono_ns(), &process);
	pthread_mutex_unlock(&s->lock);
	if (verdict == PROCESSES_IGNORED && s->service)
		service_executed(s->service, clock_mono_ns());
	if (verdict != PROCESSES_CHOSEN)
		plan_drop(s->plan, (int)e->tgid);
	if (verdict == PROCESSES_DROPPED)
		kernel_release_process(s->kernel, e->tgid);
	if (verdict != PROCESSES_CHOSEN && verdict != PROCESSES_KEPT)
		return;
	targets_watch_sockets(s);
	targets_refresh_identities(s);
	s->chosen += verdict == PROCESSES_CHOSEN;
	process->does = 0;
	if (proc_open(&p, PROC_ROOT, (int)e->tgid) < 0)
		return;
	targets_look(s, &p);
	if (targets_probe(s, &p, target_index(s, process->spec)) == 0)
		targets_choose(s, &p, target_flags(process->spec) | process_flags(s, process, &p));
	proc_close(&p);
}

static void targets_exited(struct session *s, const struct sh_ev_proc *e)
{
	plan_drop(s->plan, (int)e->tgid);
	pthread_mutex_lock(&s->lock);
	processes_end(s->processes, e->tgid, e->time_ns);
	pthread_mutex_unlock(&s->lock);
	targets_watch_sockets(s);
}

static void targets_mapped(struct session *s, const struct sh_ev_proc *e)
{
	struct process *process = processes_find(s->processes, e->tgid);
	struct proc p = PROC_INIT;
	if (!process || proc_open(&p, PROC_ROOT, (int)e->tgid) < 0)
		return;
	targets_probe(s, &p, target_index(s, process->spec));
	proc_close(&p);
}

void targets_event(struct session *s, const struct sh_ev_proc *e)
{
	switch (e->hdr.kind) {
	case SH_EV_FORK:
		targets_forked(s, e);
		break;
	case SH_EV_EXEC:
		targets_executed(s, e);
		break;
	case SH_EV_EXIT:
		targets_exited(s, e);
		break;
	case SH_EV_MAP:
		targets_mapped(s, e);
		break;
	case SH_EV_TURN:
		targets_turned(s, e->tgid, e->other);
		break;
	}
}
