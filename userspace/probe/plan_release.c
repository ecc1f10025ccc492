/* SPDX-License-Identifier: Apache-2.0 */
/* Files that nobody runs any more: what they took is given back. */
#include <sys/stat.h>

#include "base/clock.h"
#include "probe/plan_private.h"

void plan_batch_free(struct plan_batch *b)
{
	if (!b)
		return;
	vec_release(&b->functions);
	arena_release(&b->arena);
	free(b);
}

void plan_module_free(struct plan *p, struct plan_module *m, struct kernel *later)
{
	unit_vec_detach(p, &m->units, later);
	attachment_vec_detach(&m->attached, later);
	vec_foreach (f, &m->functions)
		site_release(&f->site);
	vec_release(&m->functions);
	vec_foreach (h, &m->handoffs)
		site_release(&h->site);
	vec_release(&m->handoffs);
	module_close(m->module);
	plan_batch_free(m->batch);
	arena_release(&m->arena);
	free(m);
}

int plan_use_module(struct plan *p, struct plan_process *process, struct plan_module *m)
{
	int rc = vec_push(&process->mappings, ((struct plan_mapping){.module = m}));
	if (rc < 0)
		return rc;
	if (m->idle)
		p->idle_cnt--;
	m->idle = 0;
	m->users++;
	return 0;
}

void plan_leave_module(struct plan *p, struct plan_module *m, bool goes_on)
{
	/* The kernel half reports those calls when their thread ends, or we do. */
	m->left_alone |= goes_on && m->batch;
	if (--m->users || m->left_alone)
		return;
	m->idle = ++p->idle_clock;
	m->idle_ns = clock_mono_ns();
	p->idle_cnt++;
}

/* Its links go in the background; its functions when nothing can name them any more. */
static void plan_release_module(struct plan *p, size_t at)
{
	struct plan_module *m = p->modules.data[at];
	struct kernel *k = p->options.kernel;
	p->modules.data[at] = p->modules.data[--p->modules.cnt];
	p->idle_cnt--;
	p->stats.released++;
	p->stats.handoffs -= (uint32_t)m->handoffs.cnt;
	if (k && m->is_exe && m->module)
		kernel_forget_image(k, m->module->dev, m->module->ino);
	if (m->batch) {
		vec_foreach (f, &m->batch->functions)
			(*f)->retired = true;
		vec_push(&p->leaving, m->batch); /* without memory: it is kept, of no use but safe */
		m->batch = NULL;
	}
	plan_module_free(p, m, k);
}

void plan_forget_idle(struct plan *p)
{
	while (p->idle_cnt > PLAN_IDLE_MODULES) {
		size_t oldest = p->modules.cnt;
		for (size_t i = 0; i < p->modules.cnt; i++) {
			const struct plan_module *m = p->modules.data[i];
			if (m->idle && (oldest == p->modules.cnt || m->idle < p->modules.data[oldest]->idle))
				oldest = i;
		}
		if (oldest == p->modules.cnt)
			return;
		plan_release_module(p, oldest);
	}
}

/* Nobody can execute it any more. */
static bool module_is_deleted(const struct plan_module *m)
{
	struct stat st;
	return m->module && fstat(m->module->fd, &st) == 0 && st.st_nlink == 0;
}

static void plan_unpublish(struct plan *p, const struct plan_function *f)
{
	uint32_t index = f->index;
	if (p->options.kernel)
		kernel_mute(p->options.kernel, index, false);
	if (p->options.unpublish)
		p->options.unpublish(p->options.arg, f);
	p->functions.data[index] = NULL;
	vec_push(&p->free_indexes, index); /* without memory: an index is lost */
}

/* False: its functions may still be named by what is on its way. */
static bool plan_batch_leave(struct plan *p, struct plan_batch *b)
{
	if (p->options.leave && !b->asked) {
		if (p->options.kernel && kernel_detaching(p->options.kernel))
			return false;
		b->moment = p->options.leave(p->options.arg);
		b->asked = true;
	}
	if (b->asked && !p->options.left(p->options.arg, b->moment))
		return false;
	vec_foreach (f, &b->functions)
		plan_unpublish(p, *f);
	plan_batch_free(b);
	return true;
}

void plan_tick_idle(struct plan *p, uint64_t now_ns)
{
	for (size_t i = p->modules.cnt; p->idle_cnt && i-- > 0;) {
		const struct plan_module *m = p->modules.data[i];
		if (m->idle && (now_ns > m->idle_ns + PLAN_IDLE_NS || module_is_deleted(m)))
			plan_release_module(p, i);
	}
	if (p->leaving.cnt > PLAN_MAX_LEAVING && p->options.kernel)
		kernel_detach_finish(p->options.kernel);
	size_t kept = 0;
	for (size_t i = 0; i < p->leaving.cnt; i++)
		if (!plan_batch_leave(p, p->leaving.data[i]))
			p->leaving.data[kept++] = p->leaving.data[i];
	p->leaving.cnt = kept;
}
