/* SPDX-License-Identifier: Apache-2.0 */
/* Hand-offs of the probe list: which functions give and take work in a file, and where that is seen. */
#include <errno.h>
#include <stdio.h>

#include "base/glob.h"
#include "probe/plan_private.h"

int plan_prepare_handoffs(struct plan *p)
{
	const struct probe_list *list = p->options.list;
	p->handoff_items = arena_alloc(&p->arena, list->handoffs.cnt * sizeof(*p->handoff_items));
	if (list->handoffs.cnt && !p->handoff_items)
		return -ENOMEM;
	for (size_t i = 0; i < list->handoffs.cnt; i++) {
		const struct probe_handoff *h = &list->handoffs.data[i];
		size_t items = h->give.functions.cnt + h->take.functions.cnt + 1;
		p->handoff_items[i] = arena_alloc(&p->arena, items * sizeof(struct plan_item));
		if (!p->handoff_items[i])
			return -ENOMEM;
		p->has_target_probes |= h->target >= 0;
		p->has_library_probes |= h->library.text.len > 0;
	}
	return 0;
}

/* --- which ---------------------------------------------------------------------------------------------------------
 */

static const struct probe_handoff_side *side_of(const struct plan *p, uint32_t index, bool take)
{
	const struct probe_handoff *h = &p->options.list->handoffs.data[index];
	return take ? &h->take : &h->give;
}

/* The entry: where the value is still in its register, and not behind the function's own entry probe. Its span begins
 * under what was taken. */
static void place_before_probe(const struct plan_module *m, uint64_t addr, struct site *site)
{
	vec_foreach (f, &m->functions)
		if (f->function->addr == addr && f->site.offset < site->offset)
			site->offset = f->site.offset;
}

/* Why a returned value cannot be seen at the function's ends; NULL: it can. */
static const char *why_no_return_value(const struct site *site)
{
	if (site->end == SITE_END_NONE)
		return site->entry_only ? site->entry_only : "its end is not seen";
	vec_foreach (end, &site->ends)
		if (end->jump)
			return "it leaves by a jump to another function, which returns the value: name that one";
	return NULL;
}

static int handoff_site(struct plan *p, struct plan_module *m, const struct symbol *s, unsigned arg,
			const struct plan_process *process, struct site *ret)
{
	struct site_options options = plan_site_options(p, process, plan_argument_register(arg));
	bool may_return = options.wanted == SITE_AUTO && !arg;
	options.session = false; /* a plain return probe cannot be declined call by call */
	/* Threads wait for work inside the function: those that did so at the attach pass no return probe. */
	options.wanted = may_return ? SITE_SITES_ONLY : options.wanted;
	int rc = site_find(p->finder, m->module, s, &options, ret);
	const char *why = rc == 0 && !ret->refused && may_return ? why_no_return_value(ret) : NULL;
	if (why) {
		site_release(ret);
		options.wanted = SITE_RETURN_ONLY;
		rc = site_find(p->finder, m->module, s, &options, ret);
		ret->refused = ret->refused ? why : NULL;
	}
	if (rc < 0 || ret->refused)
		return rc;
	if (arg)
		place_before_probe(m, s->addr, ret);
	else
		ret->refused = why_no_return_value(ret);
	return 0;
}

static bool handoff_is_there(const struct plan_module *m, uint32_t index, bool take, uint64_t addr)
{
	vec_foreach (h, &m->handoffs)
		if (h->handoff == index && h->take == take && h->addr == addr)
			return true;
	return false;
}

static int handoff_take(struct plan *p, struct plan_module *m, const struct symbol *s, uint32_t index, bool take,
			const struct plan_process *process)
{
	struct planned_handoff h = {.handoff = index, .take = take, .addr = s->addr};
	if (handoff_is_there(m, index, take, s->addr))
		return 0;
	int rc = handoff_site(p, m, s, side_of(p, index, take)->arg, process, &h.site);
	if (rc == 0 && h.site.refused) {
		p->stats.skipped++;
		/* Said even of a glob's: work that is given and never taken, or the other way round, makes no links. */
		if (p->options.skipped)
			p->options.skipped(p->options.arg, symtab_display(module_symbols(m->module), s),
					   m->module->path, h.site.refused, true);
	}
	if (rc == 0 && !h.site.refused) {
		rc = vec_push(&m->handoffs, h);
		p->stats.handoffs += rc == 0;
		return rc;
	}
	site_release(&h.site);
	return rc;
}

static int resolve_side(struct plan *p, struct plan_module *m, uint32_t index, bool take, struct plan_item *items,
			const struct plan_process *process)
{
	const struct probe_handoff_side *side = side_of(p, index, take);
	int rc = 0;
	for (size_t item = 0; item < side->functions.cnt && rc == 0; item++) {
		struct sv pattern = side->functions.data[item].text;
		struct symbol_vec found = {0};
		rc = plan_find(p, m, pattern, &items[item], &found);
		for (size_t i = 0; i < found.cnt && rc == 0; i++) {
			if (glob_is_pattern(pattern) && !plan_glob_means(found.data[i]))
				continue;
			items[item].found++;
			rc = handoff_take(p, m, found.data[i], index, take, process);
		}
		vec_release(&found);
	}
	return rc;
}

int plan_resolve_handoffs(struct plan *p, struct plan_module *m, const struct plan_process *process)
{
	const struct probe_list *list = p->options.list;
	int rc = 0;
	for (uint32_t i = 0; i < list->handoffs.cnt && rc == 0; i++) {
		const struct probe_handoff *h = &list->handoffs.data[i];
		struct plan_item *items = p->handoff_items[i];
		if (h->broken || !plan_module_is(m, h->target, h->library.text))
			continue;
		items[h->give.functions.cnt + h->take.functions.cnt].found++;
		rc = resolve_side(p, m, i, false, items, process);
		if (rc == 0)
			rc = resolve_side(p, m, i, true, items + h->give.functions.cnt, process);
	}
	return rc;
}

int plan_site_handoffs(struct plan *p, struct plan_module *m, const struct plan_process *process)
{
	struct symtab *tab = module_symbols(m->module);
	if (!tab)
		return -ENOMEM;
	vec_foreach (h, &m->handoffs) {
		const struct symbol *s = symtab_at(tab, h->addr);
		site_release(&h->site);
		int rc = s ? handoff_site(p, m, s, side_of(p, h->handoff, h->take)->arg, process, &h->site) : 0;
		if (rc < 0)
			return rc;
		if (s && h->site.refused && p->options.skipped)
			p->options.skipped(p->options.arg, symtab_display(tab, s), m->module->path, h->site.refused,
					   true);
	}
	return 0;
}

/* --- links ---------------------------------------------------------------------------------------------------------
 */

enum { GROUP_PLAIN, GROUP_RETURN, GROUPS };

static int group_handoff(const struct plan *p, const struct planned_handoff *h, struct site_group groups[2][GROUPS])
{
	struct site_group *g = groups[h->take];
	uint64_t arg = side_of(p, h->handoff, h->take)->arg;
	if (h->site.refused)
		return 0;
	if (arg)
		return site_group_add(&g[GROUP_PLAIN], h->site.offset, arg);
	if (h->site.end == SITE_END_RETURN)
		return site_group_add(&g[GROUP_RETURN], h->site.offset, 0);
	int rc = 0;
	vec_foreach (end, &h->site.ends)
		if (rc == 0)
			rc = site_group_add(&g[GROUP_PLAIN], end->offset, 0);
	return rc;
}

int plan_attach_handoffs(struct plan *p, struct plan_module *m, int pid, struct attachment_vec *out, struct sbuf *err)
{
	static const enum kernel_hook hooks[2] = {HOOK_HANDOFF_GIVE, HOOK_HANDOFF_TAKE};
	struct site_group groups[2][GROUPS] = {0};
	char path[32];
	int rc = 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->module->fd);
	for (size_t i = 0; i < m->handoffs.cnt && rc == 0; i++)
		rc = group_handoff(p, &m->handoffs.data[i], groups);
	/* The kernel runs what was attached last first: where the taking function is probed, too, its span begins after
	 * it. */
	for (int i = 0; i < 2 * GROUPS; i++) {
		struct site_group *g = &groups[i / GROUPS][i % GROUPS];
		struct link_sites sites = {.path = path,
					   .offsets = g->offsets,
					   .cookies = g->cookies,
					   .cnt = g->cnt,
					   .pid = pid,
					   .at_return = i % GROUPS == GROUP_RETURN};
		if (rc == 0)
			rc = plan_attach_group(p, hooks[i / GROUPS], false, &sites, out, err);
		site_group_release(g);
	}
	return rc;
}

/* --- mistakes ------------------------------------------------------------------------------------------------------
 */

static void report_side(const struct probe_handoff *h, const struct probe_handoff_side *side,
			const struct plan_item *items, struct diagnostics *d)
{
	for (size_t i = 0; i < side->functions.cnt; i++)
		if (!items[i].found)
			plan_report_item(&items[i], &side->functions.data[i], h->optional, d);
}

void plan_report_handoffs(const struct plan *p, struct diagnostics *d)
{
	const struct probe_list *list = p->options.list;
	for (size_t i = 0; i < list->handoffs.cnt; i++) {
		const struct probe_handoff *h = &list->handoffs.data[i];
		const struct plan_item *items = p->handoff_items[i];
		if (h->broken)
			continue;
		if (h->library.text.len && !items[h->give.functions.cnt + h->take.functions.cnt].found) {
			plan_report_library(&h->library, h->optional, d);
			continue;
		}
		report_side(h, &h->give, items, d);
		report_side(h, &h->take, items + h->give.functions.cnt, d);
	}
}
