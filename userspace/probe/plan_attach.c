/* SPDX-License-Identifier: Apache-2.0 */
/* From sites to links: as few as possible, one for each file and kind of program. */
#include <errno.h>
#include <stdio.h>

#include "probe/plan_private.h"

int site_group_add(struct site_group *g, uint64_t offset, uint64_t cookie)
{
	if (g->cnt == g->cap) {
		uint32_t cap = g->cap ? g->cap * 2 : 64;
		uint64_t *offsets = reallocarray(g->offsets, cap, sizeof(*offsets));
		if (offsets)
			g->offsets = offsets;
		uint64_t *cookies = reallocarray(g->cookies, cap, sizeof(*cookies));
		if (cookies)
			g->cookies = cookies;
		if (!offsets || !cookies)
			return -ENOMEM;
		g->cap = cap;
	}
	g->offsets[g->cnt] = offset;
	g->cookies[g->cnt++] = cookie;
	return 0;
}

void site_group_release(struct site_group *g)
{
	free(g->offsets);
	free(g->cookies);
}

void attachment_vec_detach(struct attachment_vec *v, struct kernel *k)
{
	vec_foreach (a, v) {
		if (k)
			kernel_detach_later(k, *a);
		else
			kernel_detach(*a);
	}
	vec_release(v);
}

static int compare_addr(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The addresses of the module's probed functions, sorted: does a tail jump lead into one of them? */
static uint64_t *probed_addresses(const struct plan_module *m)
{
	uint64_t *addrs = calloc(m->functions.cnt ? m->functions.cnt : 1, sizeof(*addrs));
	if (!addrs)
		return NULL;
	for (size_t i = 0; i < m->functions.cnt; i++)
		addrs[i] = m->functions.data[i].function->addr;
	qsort(addrs, m->functions.cnt, sizeof(*addrs), compare_addr);
	return addrs;
}

enum { GROUP_RETURN, GROUP_ENTRY, GROUP_END, GROUPS };

static int group_function(struct plan *p, const struct planned *f, const uint64_t *probed, size_t probed_cnt,
			  struct site_group groups[2][GROUPS])
{
	const struct plan_function *fn = f->function;
	bool has_spec = probe_has_spec(&p->options.list->probes.data[fn->probe]);
	uint64_t cookie = fn->index | (has_spec ? SH_COOKIE_OF_SPEC(fn->probe) : 0);
	struct site_group *g = groups[f->sleepable];

	if (f->site.end == SITE_END_RETURN)
		return site_group_add(&g[GROUP_RETURN], f->site.offset, cookie | SH_COOKIE_RETURN);
	if (f->site.end == SITE_END_NONE)
		return site_group_add(&g[GROUP_ENTRY], f->site.offset, cookie | SH_COOKIE_ENTRY_ONLY);
	int rc = site_group_add(&g[GROUP_ENTRY], f->site.offset, cookie);
	vec_foreach (end, &f->site.ends) {
		bool goes_on = end->target && bsearch(&end->target, probed, probed_cnt, sizeof(*probed), compare_addr);
		uint64_t how = goes_on ? SH_COOKIE_TAIL : end->jump ? SH_COOKIE_JUMP : 0;
		if (end->conditional)
			how |= SH_COOKIE_CONDITION | (uint64_t)end->condition << SH_COOKIE_CC_SHIFT;
		if (rc == 0)
			rc = site_group_add(&g[GROUP_END], end->offset, cookie | how);
	}
	return rc;
}

int plan_attach_group(struct plan *p, enum kernel_hook hook, bool sleepable, struct link_sites *sites,
		      struct attachment_vec *out, struct sbuf *err)
{
	struct kernel_attachment *a;
	if (!sites->cnt)
		return 0;
	int rc = kernel_attach(p->options.kernel, hook, sleepable, sites, &a, err);
	if (rc < 0)
		return rc;
	p->stats.sites += sites->cnt;
	rc = vec_push(out, a);
	if (rc < 0)
		kernel_detach(a);
	return rc;
}

/* Ends are attached before entries: a frame that was pushed finds its end. */
static int attach_groups(struct plan *p, struct plan_module *m, int pid, bool sleepable, struct site_group *g,
			 struct attachment_vec *out, struct sbuf *err)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->module->fd);
	struct link_sites sites[GROUPS];
	for (int i = 0; i < GROUPS; i++)
		sites[i] = (struct link_sites){
			.path = path, .offsets = g[i].offsets, .cookies = g[i].cookies, .cnt = g[i].cnt, .pid = pid};
	int rc = plan_attach_group(p, HOOK_CALL_END, sleepable, &sites[GROUP_END], out, err);
	if (rc == 0)
		rc = plan_attach_group(p, HOOK_CALL_ENTRY, sleepable, &sites[GROUP_ENTRY], out, err);
	if (rc < 0)
		return rc;
	if (p->options.link == LINK_SESSION) {
		sites[GROUP_RETURN].session = true;
		return plan_attach_group(p, HOOK_CALL_SESSION, sleepable, &sites[GROUP_RETURN], out, err);
	}
	sites[GROUP_RETURN].at_return = true;
	rc = plan_attach_group(p, HOOK_CALL_RETURN, sleepable, &sites[GROUP_RETURN], out, err);
	sites[GROUP_RETURN].at_return = false;
	if (rc == 0)
		rc = plan_attach_group(p, HOOK_CALL_ENTRY, sleepable, &sites[GROUP_RETURN], out, err);
	return rc;
}

int plan_attach_module(struct plan *p, struct plan_module *m, int pid, struct attachment_vec *ret, struct sbuf *err)
{
	struct site_group groups[2][GROUPS] = {0};
	uint64_t *probed = probed_addresses(m);
	int rc = probed ? 0 : -ENOMEM;

	for (size_t i = 0; i < m->functions.cnt && rc == 0; i++)
		rc = group_function(p, &m->functions.data[i], probed, m->functions.cnt, groups);
	for (int sleepable = 0; sleepable < 2 && rc == 0; sleepable++)
		rc = attach_groups(p, m, pid, sleepable, groups[sleepable], ret, err);
	if (rc == 0)
		rc = plan_attach_handoffs(p, m, pid, ret, err);
	if (rc == 0)
		rc = plan_attach_goroutines(p, m, pid, ret, err);
	if (rc < 0)
		attachment_vec_detach(ret, NULL);
	for (int i = 0; i < 2 * GROUPS; i++)
		site_group_release(&groups[i / GROUPS][i % GROUPS]);
	free(probed);
	return rc;
}

/* Functions of runtimes that tell what happens to a thread's stack as a whole. */
static const struct hook_symbol {
	const char *symbol;
	enum kernel_hook hook;
	uint32_t trait; /* of the process: 0 any */
} hook_symbols[] = {
	{"__cxa_throw", HOOK_THROW, TRAIT_UNWINDS},
	{"_Unwind_RaiseException", HOOK_RAISE, TRAIT_UNWINDS},
	{"_Unwind_SetIP", HOOK_LAND, TRAIT_UNWINDS},
	{"__cxa_begin_catch", HOOK_CATCH, TRAIT_UNWINDS},
	{"swapcontext", HOOK_STACK_SWITCH, TRAIT_SWITCHES},
	{"setcontext", HOOK_STACK_SWITCH, TRAIT_SWITCHES},
	{"jump_fcontext", HOOK_STACK_SWITCH, TRAIT_SWITCHES},
	{"ontop_fcontext", HOOK_STACK_SWITCH, TRAIT_SWITCHES},
	{"coroutine_transfer", HOOK_STACK_SWITCH, TRAIT_SWITCHES},
	{"longjmp", HOOK_LONGJMP, TRAIT_LONGJMP}, /* _longjmp and siglongjmp are aliases of it */
	{"__longjmp_chk", HOOK_LONGJMP, TRAIT_LONGJMP},
	{"_dl_debug_state", HOOK_MAP, 0},
};

/* A perf event cannot be filtered by process: one serves all. */
static int attach_hook(struct plan *p, struct plan_process *process, struct plan_module *pm, size_t hook,
		       struct sbuf *err)
{
	const struct hook_symbol *h = &hook_symbols[hook];
	struct module *m = pm->module;
	struct symtab *tab = module_symbols(m);
	struct symbol_vec found = {0};
	char path[32];
	uint64_t cookie = 0;
	bool for_all = p->options.link == LINK_PERF || p->options.foreign_pids;
	if (for_all && pm->hooked & (1u << hook))
		return 0;
	pm->hooked |= for_all ? 1u << hook : 0;
	int rc = tab ? symtab_find(tab, sv_of(h->symbol), &found) : -ENOMEM;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->fd);
	for (size_t i = 0; i < found.cnt && rc >= 0; i++) {
		struct link_sites site = {.path = path,
					  .offsets = &found.data[i]->offset,
					  .cookies = &cookie,
					  .cnt = 1,
					  .pid = for_all ? 0 : process->pid};
		rc = plan_attach_group(p, h->hook, false, &site, for_all ? &pm->attached : &process->hooks, err);
	}
	vec_release(&found);
	return rc < 0 ? rc : 0;
}

static bool hook_wanted(const struct plan *p, const struct plan_process *process, const struct hook_symbol *h)
{
	if (h->hook == HOOK_MAP)
		return p->has_library_probes;
	return (process->traits & h->trait) != 0;
}

int plan_attach_hooks(struct plan *p, struct plan_process *process, struct sbuf *err)
{
	int rc = 0;
	for (size_t i = 0; i < sizeof(hook_symbols) / sizeof(hook_symbols[0]) && rc >= 0; i++) {
		if (!hook_wanted(p, process, &hook_symbols[i]))
			continue;
		for (size_t n = 0; n < process->mappings.cnt && rc >= 0; n++) {
			struct plan_module *pm = process->mappings.data[n].module;
			struct module *m = pm->module;
			struct elf_imports imports;
			const char *name = hook_symbols[i].symbol;
			if (m && elf_imports(m->elf, &name, 1, &imports) == 0 && imports.defined)
				rc = attach_hook(p, process, pm, i, err);
		}
	}
	process->hooked = true;
	return rc;
}
