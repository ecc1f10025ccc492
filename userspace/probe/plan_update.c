/* SPDX-License-Identifier: Apache-2.0 */
/* Another list for what is attached already: only the difference is touched. */
#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "probe/plan_private.h"

#define LINGER_NS (2 * NSEC_PER_SEC)

static int prepare_new(struct plan *p, const uint32_t *order, size_t cnt, struct sbuf *err)
{
	const struct probe_list *list = p->options.list;
	int rc = 0;
	for (uint32_t i = p->known; i < list->probes.cnt && rc == 0; i++)
		rc = i < p->options.max_probes ? plan_prepare_probe(p, i, err) : -ENOSPC;
	p->order.cnt = 0;
	for (size_t i = 0; i < cnt && rc == 0; i++)
		rc = vec_push(&p->order, order[i]);
	return rc;
}

static void find_kinds(const struct plan *p, bool *ret_target, bool *ret_library)
{
	const struct probe_list *list = p->options.list;
	*ret_target = *ret_library = false;
	vec_foreach (i, &p->order) {
		*ret_target |= list->probes.data[*i].target >= 0;
		*ret_library |= list->probes.data[*i].library.text.len > 0;
	}
	vec_foreach (h, &list->handoffs) {
		*ret_target |= h->target >= 0;
		*ret_library |= h->library.text.len > 0;
	}
}

/* Files are known per target as soon as the list has probes for single targets: then nothing stays as it was. */
static int start_over(struct plan *p, struct sbuf *err)
{
	VEC(struct plan_process) all = {0};
	int failed = 0;
	vec_foreach (process, &p->processes)
		if (vec_push(&all, ((struct plan_process){.pid = (*process)->pid, .target = (*process)->target})) < 0)
			failed = -ENOMEM;
	plan_forget_all(p);
	for (size_t i = 0; i < all.cnt && failed >= 0; i++) {
		__cleanup(proc_closep) struct proc proc = PROC_INIT;
		if (proc_open(&proc, p->options.proc_root, all.data[i].pid) < 0)
			continue;
		int rc = plan_add(p, &proc, all.data[i].target, err);
		failed += rc < 0 && rc != -ESRCH;
	}
	vec_release(&all);
	return failed;
}

/* A link that is still on its way out would count the calls of one that follows it a second time. */
static void wait_detached(struct plan *p)
{
	if (p->options.kernel)
		kernel_detach_finish(p->options.kernel);
}

/* Nobody runs it now: the next who does gets what is wanted then. */
static void release_idle(struct plan *p)
{
	bool any = false;
	vec_foreach (m, &p->modules) {
		if (!(*m)->resolved || (*m)->generation == p->generation || !(*m)->units.cnt)
			continue;
		unit_vec_detach(p, &(*m)->units, p->options.kernel);
		any = true;
	}
	if (any)
		wait_detached(p);
}

int plan_update(struct plan *p, const uint32_t *order, size_t cnt, struct sbuf *err)
{
	bool target_probes, library_probes;
	int failed = 0, rc = prepare_new(p, order, cnt, err);
	if (rc < 0)
		return rc;
	p->generation++;
	find_kinds(p, &target_probes, &library_probes);
	bool hook_anew = library_probes && !p->has_library_probes, over = target_probes != p->has_target_probes;
	p->has_target_probes = target_probes;
	p->has_library_probes |= library_probes;
	if (over) {
		failed = start_over(p, err);
	} else {
		vec_foreach (process, &p->processes) {
			if (hook_anew) {
				attachment_vec_detach(&(*process)->hooks, NULL);
				(*process)->hooked = false;
			}
			failed += plan_settle(p, *process, err) < 0;
		}
	}
	release_idle(p);
	p->known = (uint32_t)p->options.list->probes.cnt;
	return failed;
}

bool plan_tick(struct plan *p, uint64_t now_ns)
{
	bool left = false;
	uint32_t before = p->stats.sites;
	vec_foreach (m, &p->modules)
		left |= unit_vec_reap(p, &(*m)->units, now_ns, LINGER_NS);
	vec_foreach (process, &p->processes)
		vec_foreach (mapping, &(*process)->mappings)
			left |= unit_vec_reap(p, &mapping->units, now_ns, LINGER_NS);
	if (p->stats.sites != before)
		wait_detached(p);
	plan_tick_idle(p, now_ns);
	return left || p->leaving.cnt;
}

int plan_retarget(struct plan *p, struct proc *proc, int target, struct sbuf *err)
{
	vec_foreach (process, &p->processes)
		if ((*process)->pid == proc->pid)
			(*process)->target = target;
	if (!p->has_target_probes)
		return 0;
	plan_let_go(p, proc->pid);
	wait_detached(p);
	return plan_add(p, proc, target, err);
}
