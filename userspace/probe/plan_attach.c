/* SPDX-License-Identifier: Apache-2.0 */
/* From sites to links: as few as possible, one for each file and kind of program. */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
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

struct probed {
	uint64_t *addrs; /* of the module's active functions, sorted: does a tail jump lead into one of them? */
	size_t cnt;
};

static int probed_addresses(const struct plan_module *m, struct probed *ret)
{
	*ret = (struct probed){calloc(m->functions.cnt ? m->functions.cnt : 1, sizeof(*ret->addrs)), 0};
	if (!ret->addrs)
		return -ENOMEM;
	vec_foreach (f, &m->functions)
		if (planned_is_active(m, f))
			ret->addrs[ret->cnt++] = f->function->addr;
	qsort(ret->addrs, ret->cnt, sizeof(*ret->addrs), compare_addr);
	return 0;
}

enum { GROUP_RETURN, GROUP_ENTRY, GROUP_END, GROUPS };

/* Sites on their way into links. Without groups they are only signed. */
struct sites_out {
	struct site_group *groups;
	uint64_t signature; /* FNV-1a over kind, offset and cookie of each site */
};

static int put_site(struct sites_out *out, unsigned group, uint64_t offset, uint64_t cookie)
{
	uint64_t words[] = {group, offset, cookie};
	for (size_t i = 0; i < sizeof(words); i++)
		out->signature = (out->signature ^ ((const uint8_t *)words)[i]) * 0x100000001b3;
	return out->groups ? site_group_add(&out->groups[group], offset, cookie) : 0;
}

/* The function's sites; *ret_signature is equal as long as they and what they tell the kernel half are. */
static int put_function(struct plan *p, const struct planned *f, const struct probed *probed, struct site_group *groups,
			uint64_t *ret_signature)
{
	const struct plan_function *fn = f->function;
	bool has_spec = probe_has_spec(&p->options.list->probes.data[fn->probe]);
	uint64_t cookie = fn->index | (has_spec ? SH_COOKIE_OF_SPEC(fn->probe) : 0);
	struct sites_out out = {groups, 0xcbf29ce484222325};
	int rc = 0;

	if (f->site.end == SITE_END_RETURN) {
		rc = put_site(&out, GROUP_RETURN, f->site.offset, cookie | SH_COOKIE_RETURN);
	} else if (f->site.end == SITE_END_NONE) {
		rc = put_site(&out, GROUP_ENTRY, f->site.offset, cookie | SH_COOKIE_ENTRY_ONLY);
	} else {
		rc = put_site(&out, GROUP_ENTRY, f->site.offset, cookie);
		vec_foreach (end, &f->site.ends) {
			bool goes_on = end->target && bsearch(&end->target, probed->addrs, probed->cnt,
							      sizeof(*probed->addrs), compare_addr);
			uint64_t how = goes_on ? SH_COOKIE_TAIL : end->jump ? SH_COOKIE_JUMP : 0;
			if (end->conditional)
				how |= SH_COOKIE_CONDITION | (uint64_t)end->condition << SH_COOKIE_CC_SHIFT;
			if (rc == 0)
				rc = put_site(&out, GROUP_END, end->offset, cookie | how);
		}
	}
	*ret_signature = out.signature;
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

static void unit_release(struct plan *p, struct plan_unit *u, struct kernel *k)
{
	attachment_vec_detach(&u->attached, k);
	p->stats.sites -= u->sites;
	free(u->functions);
	*u = (struct plan_unit){0};
}

void unit_vec_detach(struct plan *p, struct unit_vec *units, struct kernel *k)
{
	vec_foreach (u, units)
		unit_release(p, u, k);
	vec_release(units);
	units->generation = 0;
	units->handoffs = false;
}

bool unit_vec_reap(struct plan *p, struct unit_vec *units, uint64_t now_ns, uint64_t linger_ns)
{
	bool left = false;
	for (size_t i = 0; i < units->cnt;) {
		struct plan_unit *u = &units->data[i];
		if (!u->retired_ns || now_ns - u->retired_ns < linger_ns) {
			left |= u->retired_ns != 0;
			i++;
			continue;
		}
		unit_release(p, u, p->options.kernel);
		units->data[i] = units->data[--units->cnt];
	}
	return left;
}

/* --- what is attached and what should be ---------------------------------------------------------------------------
 */

struct agreement {
	struct plan *plan;
	struct plan_module *module;
	struct probed probed;
	uint64_t *signatures; /* of the active functions, by place */
	bool *covered;	      /* by a link that is there */
};

static void agreement_release(struct agreement *a)
{
	free(a->probed.addrs);
	free(a->signatures);
	free(a->covered);
}

static int agreement_init(struct agreement *a, struct plan *p, struct plan_module *m)
{
	size_t cnt = m->functions.cnt ? m->functions.cnt : 1;
	*a = (struct agreement){.plan = p, .module = m};
	a->signatures = calloc(cnt, sizeof(*a->signatures));
	a->covered = calloc(cnt, sizeof(*a->covered));
	if (!a->signatures || !a->covered || probed_addresses(m, &a->probed) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < m->functions.cnt; i++)
		if (planned_is_active(m, &m->functions.data[i]))
			put_function(p, &m->functions.data[i], &a->probed, NULL, &a->signatures[i]);
	return 0;
}

/* Is anything of the unit wanted? False in *ret_true: some of it is wanted with other sites or cookies. */
static bool unit_is_wanted(const struct agreement *a, const struct plan_unit *u, bool *ret_true)
{
	bool wanted = false;
	*ret_true = true;
	for (uint32_t i = 0; i < u->cnt; i++) {
		const struct unit_function *f = &u->functions[i];
		if (!planned_is_active(a->module, &a->module->functions.data[f->at]))
			continue;
		wanted = true;
		*ret_true &= a->signatures[f->at] == f->signature;
	}
	return wanted;
}

/* A function that is not wanted any more, of a unit of which others are, is muted alone. */
static void agree_with_unit(struct agreement *a, struct plan_unit *u, uint64_t now_ns)
{
	bool as_it_is;
	bool wanted = unit_is_wanted(a, u, &as_it_is);
	if (!u->cnt)
		return; /* hand-offs do not change */
	if (!wanted) {
		u->retired_ns = u->retired_ns ? u->retired_ns : now_ns;
	} else if (as_it_is) {
		u->retired_ns = 0;
		for (uint32_t i = 0; i < u->cnt; i++)
			a->covered[u->functions[i].at] = true;
	} else {
		unit_release(a->plan, u, NULL);
	}
}

static void agree_with_units(struct agreement *a, struct unit_vec *units)
{
	uint64_t now_ns = clock_mono_ns();
	size_t kept = 0;
	for (size_t i = 0; i < units->cnt; i++) {
		agree_with_unit(a, &units->data[i], now_ns);
		if (units->data[i].attached.cnt)
			units->data[kept++] = units->data[i];
	}
	units->cnt = kept;
}

/* Where the list cannot change one unit holds all: as few links as possible. */
static bool of_same_unit(const struct plan *p, const struct planned *a, const struct planned *b)
{
	return !p->options.max_probes || a->function->probe == b->function->probe;
}

static int unit_add_function(struct agreement *a, struct plan_unit *u, size_t at, struct site_group groups[2][GROUPS])
{
	const struct planned *f = &a->module->functions.data[at];
	struct unit_function *grown = reallocarray(u->functions, u->cnt + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	u->functions = grown;
	struct unit_function *added = &u->functions[u->cnt++];
	added->at = (uint32_t)at;
	a->covered[at] = true;
	return put_function(a->plan, f, &a->probed, groups[f->sleepable], &added->signature);
}

/* One unit of the functions that belong with `first`. */
static int attach_unit(struct agreement *a, size_t first, int pid, struct unit_vec *units, struct sbuf *err)
{
	struct site_group groups[2][GROUPS] = {0};
	struct plan *p = a->plan;
	struct plan_module *m = a->module;
	struct plan_unit u = {0};
	uint32_t before = p->stats.sites;
	int rc = 0;
	for (size_t i = first; i < m->functions.cnt && rc == 0; i++)
		if (!a->covered[i] && planned_is_active(m, &m->functions.data[i]) &&
		    of_same_unit(p, &m->functions.data[first], &m->functions.data[i]))
			rc = unit_add_function(a, &u, i, groups);
	for (int sleepable = 0; sleepable < 2 && rc == 0; sleepable++)
		rc = attach_groups(p, m, pid, sleepable, groups[sleepable], &u.attached, err);
	u.sites = p->stats.sites - before;
	if (rc == 0)
		rc = vec_push(units, u);
	if (rc < 0)
		unit_release(p, &u, NULL);
	for (int i = 0; i < 2 * GROUPS; i++)
		site_group_release(&groups[i / GROUPS][i % GROUPS]);
	return rc;
}

static int attach_handoff_unit(struct plan *p, struct plan_module *m, int pid, struct unit_vec *units, struct sbuf *err)
{
	struct plan_unit u = {0};
	uint32_t before = p->stats.sites;
	if (units->handoffs || (!m->handoffs.cnt && !m->goroutines.there))
		return 0;
	units->handoffs = true;
	int rc = plan_attach_handoffs(p, m, pid, &u.attached, err);
	if (rc == 0)
		rc = plan_attach_goroutines(p, m, pid, &u.attached, err);
	u.sites = p->stats.sites - before;
	if (rc == 0)
		rc = vec_push(units, u);
	if (rc < 0)
		unit_release(p, &u, NULL);
	return rc;
}

int plan_attach_module(struct plan *p, struct plan_module *m, int pid, struct unit_vec *units, struct sbuf *err)
{
	struct agreement a;
	int rc = agreement_init(&a, p, m);
	if (rc == 0)
		agree_with_units(&a, units);
	for (size_t i = 0; i < m->functions.cnt && rc == 0; i++)
		if (!a.covered[i] && planned_is_active(m, &m->functions.data[i]))
			rc = attach_unit(&a, i, pid, units, err);
	if (rc == 0)
		rc = attach_handoff_unit(p, m, pid, units, err);
	if (rc < 0)
		unit_vec_detach(p, units, NULL);
	else
		units->generation = m->generation;
	agreement_release(&a);
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
