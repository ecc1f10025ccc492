/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/proof.h"

struct proof {
	struct module *module;
	struct arena arena; /* the windows */
	struct code_window data[MODULE_DATA_MAX];
	struct calls calls;
};

/* A function that a symbol begins and measures; pieces elsewhere are not asked for: jumping to one ends the proof. */
static bool proof_resolve(void *ctx, uint64_t addr, struct calls_func *ret)
{
	struct proof *p = ctx;
	const struct symbol *s = symtab_at(module_symbols(p->module), addr);
	struct code_window *code;
	if (!s || s->addr != addr || symbol_why_not(s) ||
	    s->flags & (SYMBOL_SIZE_GUESSED | SYMBOL_NOTYPE | SYMBOL_OVERLAPPED))
		return false;
	code = arena_alloc(&p->arena, sizeof(*code));
	if (!code || !module_code(p->module, s->addr, s->size, code) || code->sz != s->size)
		return false;
	*ret = (struct calls_func){.code = code, .ranges = {{s->addr, s->size}}, .range_cnt = 1};
	return true;
}

struct proof *proof_new(struct module *m)
{
	struct proof *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->module = m;
	struct calls_ops ops = {
		.resolve = proof_resolve,
		.ctx = p,
		.data = p->data,
		.data_cnt = module_data(m, p->data),
	};
	calls_init(&p->calls, &ops);
	return p;
}

void proof_free(struct proof *p)
{
	if (!p)
		return;
	calls_release(&p->calls);
	arena_release(&p->arena);
	free(p);
}

bool proof_never_unwinds(struct proof *p, uint64_t vaddr)
{
	return p && module_symbols(p->module) && calls_may_unwind(&p->calls, vaddr, NULL) == 0;
}
