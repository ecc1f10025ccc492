/* SPDX-License-Identifier: Apache-2.0 */
/* Files that others map, too. Every process of the host has to be asked: once for all files of a process. */
#include <errno.h>

#include "base/cleanup.h"
#include "probe/plan_private.h"
#include "target/maps.h"
#include "target/scan.h"

struct shared_search {
	const struct plan *plan;
	VEC(struct plan_module *) modules; /* of which it is not known yet */
};

static void mapped_by_others(struct shared_search *s, const struct proc_map *map)
{
	for (size_t i = 0; i < s->modules.cnt;) {
		struct plan_module *m = s->modules.data[i];
		if (m->map_dev != map->dev || m->map_ino != map->ino) {
			i++;
			continue;
		}
		m->filtered = true;
		s->modules.data[i] = s->modules.data[--s->modules.cnt];
	}
}

static int look_at_maps(void *arg, struct proc *proc)
{
	struct shared_search *s = arg;
	__cleanup(sbuf_release) struct sbuf text = {0};
	struct proc_map map;
	if (plan_find_process(s->plan, proc->pid) || maps_read(proc, &text) < 0)
		return 0;
	struct maps_iter it = MAPS_ITER(&text);
	while (s->modules.cnt && maps_next(&it, &map))
		mapped_by_others(s, &map);
	return s->modules.cnt == 0;
}

int plan_find_shared(struct plan *p, const struct plan_process *process)
{
	struct shared_search s = {.plan = p};
	/* A perf event can be filtered by thread only. */
	bool never = p->options.link == LINK_PERF || p->options.foreign_pids;
	int rc = 0;
	vec_foreach (mapping, &process->mappings) {
		struct plan_module *m = mapping->module;
		if (m->filter_known || !plan_module_wanted(m))
			continue;
		m->filter_known = true;
		m->filtered = !never && m->target >= 0;
		if (!never && !m->filtered && !m->is_exe && rc == 0)
			rc = vec_push(&s.modules, m);
	}
	p->stats.walks += s.modules.cnt != 0;
	/* Who cannot be looked at may have them mapped. */
	if (rc == 0 && s.modules.cnt && scan_each(p->options.proc_root, look_at_maps, &s, NULL) < 0)
		vec_foreach (m, &s.modules)
			(*m)->filtered = true;
	vec_release(&s.modules);
	return rc;
}
