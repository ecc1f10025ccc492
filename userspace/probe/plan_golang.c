/* SPDX-License-Identifier: Apache-2.0 */
/* Go's HTTP client: see bpf/golang.bpf.c for what its two functions tell. */
#include <errno.h>
#include <stdio.h>

#include "probe/plan_private.h"

#define GIVE SV("net/http.(*persistConn).roundTrip")
#define TAKE SV("net/http.persistConnWriter.Write")

/* 1: there; 0: not, or it cannot be probed. */
static int goroutine_site(struct plan *p, struct plan_module *m, struct sv name, const struct plan_process *process,
			  uint64_t *ret_offset)
{
	struct symtab *tab = module_symbols(m->module);
	struct symbol_vec found = {0};
	struct site site = {0};
	int rc = tab ? symtab_find(tab, name, &found) : -ENOMEM;
	/* The name's * matches nothing but itself when there is a function of this very name. */
	const struct symbol *s = rc == 1 && sv_eq(found.data[0]->name, name) ? found.data[0] : NULL;
	if (s) {
		/* Go's ABIInternal: the first argument, and the goroutine. */
		struct site_options options = plan_site_options(p, process, GPR_BIT(GPR_RAX) | GPR_BIT(GPR_R14));
		rc = site_find(p->finder, m->module, s, &options, &site);
		*ret_offset = site.offset;
	}
	bool there = rc >= 0 && s && !site.refused;
	site_release(&site);
	vec_release(&found);
	return rc < 0 ? rc : there;
}

int plan_resolve_goroutines(struct plan *p, struct plan_module *m, const struct plan_process *process)
{
	if (!p->options.goroutines || !m->is_exe || !(m->traits & TRAIT_GO))
		return 0;
	int rc = goroutine_site(p, m, GIVE, process, &m->goroutines.give);
	if (rc > 0)
		rc = goroutine_site(p, m, TAKE, process, &m->goroutines.take);
	m->goroutines.there = rc > 0;
	return rc < 0 ? rc : 0;
}

int plan_attach_goroutines(struct plan *p, struct plan_module *m, int pid, struct attachment_vec *out, struct sbuf *err)
{
	static const enum kernel_hook hooks[2] = {HOOK_GOROUTINE_TAKE, HOOK_GOROUTINE_GIVE};
	const uint64_t *offsets[2] = {&m->goroutines.take, &m->goroutines.give};
	uint64_t cookie = 0;
	char path[32];
	int rc = 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->module->fd);
	for (int i = 0; i < 2 && rc == 0 && m->goroutines.there; i++) {
		struct link_sites site = {
			.path = path, .offsets = offsets[i], .cookies = &cookie, .cnt = 1, .pid = pid};
		rc = plan_attach_group(p, hooks[i], false, &site, out, err);
	}
	return rc;
}
