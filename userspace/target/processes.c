/* SPDX-License-Identifier: Apache-2.0 */
#include "target/processes.h"

#include <errno.h>
#include <pthread.h>

#include "base/cleanup.h"
#include "target/match.h"

#define BUCKETS 1024

struct processes {
	struct processes_options options;
	pthread_mutex_t lock; /* over the buckets, and each entry's info */
	struct process *buckets[BUCKETS];
	struct processes_stats stats;
	struct languages *languages;
};

struct processes *processes_new(const struct processes_options *options)
{
	struct processes *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->options = *options;
	t->languages = languages_new(); /* without it files are looked at anew */
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

static struct process **bucket(struct processes *t, uint32_t tgid)
{
	return &t->buckets[(tgid * 2654435761u) >> 22];
}

/* The owner reads without the lock: nobody else writes. */
static struct process **locate(struct processes *t, uint32_t tgid)
{
	struct process **at = bucket(t, tgid);
	while (*at && (*at)->tgid != tgid)
		at = &(*at)->next;
	return at;
}

static void process_free(struct processes *t, struct process *p)
{
	if (t->options.released)
		t->options.released(t->options.arg, p);
	process_info_unref(p->info);
	free(p);
}

static void unlink_at(struct processes *t, struct process **at)
{
	struct process *p = *at;
	pthread_mutex_lock(&t->lock);
	*at = p->next;
	pthread_mutex_unlock(&t->lock);
	t->stats.live -= !p->ended;
	t->stats.ended -= p->ended;
	process_free(t, p);
}

void processes_free(struct processes *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (t->buckets[i])
			unlink_at(t, &t->buckets[i]);
	pthread_mutex_destroy(&t->lock);
	languages_free(t->languages);
	free(t);
}

struct process *processes_find(struct processes *t, uint32_t tgid)
{
	return *locate(t, tgid);
}

struct process_info *processes_get_info(struct processes *t, uint32_t tgid)
{
	pthread_mutex_lock(&t->lock);
	struct process *p = *locate(t, tgid);
	struct process_info *info = p ? process_info_ref(p->info) : NULL;
	pthread_mutex_unlock(&t->lock);
	return info;
}

/* Takes `info` over, also when it fails. */
static int insert(struct processes *t, struct process fields, struct process_info *info, struct process **ret_process)
{
	struct process *p = NULL;
	if (!info)
		return -ENOMEM;
	if (t->stats.live + t->stats.ended >= t->options.max) {
		process_info_unref(info);
		t->stats.refused++;
		return -ENOSPC;
	}
	p = malloc(sizeof(*p));
	if (!p) {
		process_info_unref(info);
		return -ENOMEM;
	}
	struct process **head = bucket(t, fields.tgid);
	*p = fields;
	p->info = info;
	pthread_mutex_lock(&t->lock);
	p->next = *head;
	*head = p;
	pthread_mutex_unlock(&t->lock);
	t->stats.live++;
	t->stats.added++;
	if (ret_process)
		*ret_process = p;
	return 1;
}

/* Whether the entry is this very process. One that was gone when it was added, or has ended, has no claim to a pid
 * that is alive with another start time. */
static bool same(const struct process *p, uint64_t start_ticks)
{
	return p->start_ticks == start_ticks && !p->ended;
}

static struct process *known(struct processes *t, uint32_t tgid, uint64_t start_ticks)
{
	struct process **at = locate(t, tgid);
	if (!*at)
		return NULL;
	if (same(*at, start_ticks))
		return *at;
	t->stats.reused += (*at)->start_ticks != start_ticks;
	unlink_at(t, at);
	return NULL;
}

static int identify(struct processes *t, struct proc *p, const struct target_spec *spec, struct process_info **ret)
{
	struct identify_options o = {.spec = spec,
				     .languages = t->languages,
				     .hostname = t->options.hostname,
				     .environment = t->options.environment};
	int err = identify_process(p, &o, ret);
	t->stats.gone += err == -ESRCH;
	return err;
}

int processes_add(struct processes *t, struct proc *p, const struct target_spec *spec, struct process **ret_process)
{
	uint32_t tgid = (uint32_t)p->pid;
	struct process *there = known(t, tgid, p->start_ticks);
	struct process_info *info;
	if (there) {
		if (ret_process)
			*ret_process = there;
		return 0;
	}
	int err = identify(t, p, spec, &info);
	if (err)
		return err;
	struct process fields = {.tgid = tgid, .start_ticks = p->start_ticks, .spec = spec};
	return insert(t, fields, info, ret_process);
}

int processes_fork(struct processes *t, uint32_t parent, uint32_t child, struct process **ret_process)
{
	__cleanup(proc_closep) struct proc p = PROC_INIT;
	const struct proc_status *status;
	struct process *from = processes_find(t, parent);
	uint32_t ns_pid = child;
	if (!from)
		return -ENOENT;
	struct process fields = {.tgid = child, .spec = from->spec, .parent = parent};
	if (proc_open(&p, t->options.root, (int)child) == 0) {
		fields.start_ticks = p.start_ticks;
		if (proc_status(&p, &status) == 0)
			ns_pid = (uint32_t)status->ns_pid;
	} else {
		t->stats.gone++;
	}
	struct process_info *info = process_info_ref(from->info); /* known() may take the parent's entry */
	struct process *there = known(t, child, fields.start_ticks);
	int ret = 0;
	if (!there)
		ret = insert(t, fields, identify_fork(info, child, ns_pid), &there);
	process_info_unref(info);
	if (ret >= 0 && ret_process)
		*ret_process = there;
	return ret;
}

static void mark_ended(struct processes *t, struct process *p, uint64_t now_ns)
{
	if (p->ended)
		return;
	p->ended = true;
	p->ended_ns = now_ns;
	t->stats.live--;
	t->stats.ended++;
}

/* The old identity goes; chunks that hold it keep it. */
static int replace_info(struct processes *t, struct process *there, struct proc *p, const struct target_spec *spec)
{
	struct process_info *info;
	int err = identify(t, p, spec, &info);
	if (err)
		return err;
	pthread_mutex_lock(&t->lock);
	struct process_info *old = there->info;
	there->info = info;
	pthread_mutex_unlock(&t->lock);
	process_info_unref(old);
	there->spec = spec;
	return 0;
}

int processes_respec(struct processes *t, struct proc *p, const struct target_spec *spec)
{
	struct process *there = processes_find(t, (uint32_t)p->pid);
	return there && same(there, p->start_ticks) ? replace_info(t, there, p, spec) : -ESRCH;
}

int processes_exec(struct processes *t, uint32_t tgid, const struct target_spec *specs, size_t spec_cnt,
		   uint64_t now_ns, struct process **ret_process)
{
	__cleanup(proc_closep) struct proc p = PROC_INIT;
	struct process *there = processes_find(t, tgid);
	int err = proc_open(&p, t->options.root, (int)tgid);
	if (!err) /* exec keeps the start time */
		there = known(t, tgid, p.start_ticks);
	*ret_process = there;
	if (err)
		return there ? PROCESSES_KEPT : PROCESSES_IGNORED;
	int match = target_first_match(specs, spec_cnt, &p, NULL);
	if (match < 0 && p.skipped[0] && t->options.skipped)
		t->options.skipped(t->options.arg, &p);
	if (!there) {
		err = match < 0 ? 0 : processes_add(t, &p, &specs[match], ret_process);
		return err > 0 ? PROCESSES_CHOSEN : err == -ESRCH ? PROCESSES_IGNORED : err;
	}
	if (match < 0 && !there->spec->follow_exec && !proc_gone(&p)) {
		mark_ended(t, there, now_ns);
		return PROCESSES_DROPPED;
	}
	err = replace_info(t, there, &p, match < 0 ? there->spec : &specs[match]);
	return err && err != -ESRCH ? err : PROCESSES_KEPT;
}

void processes_end(struct processes *t, uint32_t tgid, uint64_t now_ns)
{
	struct process *p = processes_find(t, tgid);
	if (p)
		mark_ended(t, p, now_ns);
}

uint32_t processes_forget(struct processes *t, uint64_t now_ns)
{
	uint32_t removed = 0;
	if (!t->stats.ended)
		return 0;
	for (size_t i = 0; i < BUCKETS; i++) {
		struct process **at = &t->buckets[i];
		while (*at) {
			struct process *p = *at;
			if (!p->ended || now_ns < p->ended_ns || now_ns - p->ended_ns < t->options.keep_ended_ns) {
				at = &p->next;
				continue;
			}
			unlink_at(t, at);
			removed++;
		}
	}
	return removed;
}

void processes_remove(struct processes *t, uint32_t tgid)
{
	struct process **at = locate(t, tgid);
	if (*at)
		unlink_at(t, at);
}

uint32_t processes_check(struct processes *t, uint64_t now_ns)
{
	__cleanup(proc_closep) struct proc p = PROC_INIT;
	uint32_t missed = 0;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct process *e = t->buckets[i]; e; e = e->next) {
			if (e->ended)
				continue;
			int err = proc_open(&p, t->options.root, (int)e->tgid);
			if (err && err != -ESRCH)
				continue;
			if (!err && p.start_ticks == e->start_ticks && !p.zombie)
				continue;
			mark_ended(t, e, now_ns);
			missed++;
		}
	}
	return missed;
}

int processes_each(struct processes *t, int (*visit)(void *arg, struct process *p), void *arg)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct process *p = t->buckets[i]; p; p = p->next) {
			int ret = visit(arg, p);
			if (ret)
				return ret;
		}
	}
	return 0;
}

void processes_stats(struct processes *t, struct processes_stats *ret)
{
	*ret = t->stats;
}
