/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/body.h"

#include <errno.h>

enum place {
	PLACE_FUNCTION, /* where another function begins, or its PLT entry; or no code of this file (weak, undefined: 0)
			 */
	PLACE_PIECE,	/* not known to be a function: the range of code it is in is known */
	PLACE_UNKNOWN,
};

void body_release(struct body *b)
{
	vec_release(&b->pads);
	*b = (struct body){0};
}

static bool overlaps(const struct body *b, const struct graph_range *r)
{
	for (size_t i = 0; i < b->range_cnt; i++)
		if (r->addr < b->ranges[i].addr + b->ranges[i].sz && b->ranges[i].addr < r->addr + r->sz)
			return true;
	return false;
}

static enum place classify(const struct body *b, struct module *m, uint64_t addr, struct graph_range *ret)
{
	const struct elf_range *section = elf_range_at(m->elf, addr);
	if (!section || section->is_plt)
		return PLACE_FUNCTION;
	const struct symbol *s = symtab_at(module_symbols(m), addr);
	if (s && s->addr == addr && !(s->flags & (NAME_COLD | SYMBOL_NOTYPE)))
		return PLACE_FUNCTION;
	const struct unwind_function *f = unwind_function_at(module_unwind(m), addr);
	if (s && (s->flags & NAME_COLD) && !(s->flags & SYMBOL_SIZE_GUESSED))
		*ret = (struct graph_range){s->addr, s->size};
	else if (f && (!s || s->flags & (NAME_COLD | SYMBOL_SIZE_GUESSED)))
		*ret = (struct graph_range){f->start, f->len};
	else
		return PLACE_UNKNOWN;
	return overlaps(b, ret) ? PLACE_UNKNOWN : PLACE_PIECE;
}

/* -ERANGE: there are too many already, or the file does not hold it. */
static int add_range(struct body *b, struct module *m, const struct graph_range *r)
{
	struct code_window code;
	if (b->range_cnt == GRAPH_MAX_RANGES || r->sz > GRAPH_MAX_SZ || !module_code(m, r->addr, r->sz, &code) ||
	    code.sz < r->sz)
		return -ERANGE;
	b->bytes[b->range_cnt] = code.data;
	b->ranges[b->range_cnt++] = *r;
	return unwind_landing_pads(module_unwind(m), m->elf, r->addr, r->addr + r->sz, &b->pads);
}

static bool inside(const struct body *b, uint64_t addr)
{
	for (size_t i = 0; i < b->range_cnt; i++)
		if (addr - b->ranges[i].addr < b->ranges[i].sz)
			return true;
	return false;
}

/* Pieces in which exceptions arrive, and so on from there. NULL, or why that is not possible. */
static const char *add_pads(struct body *b, struct module *m)
{
	for (size_t i = 0; i < b->pads.cnt; i++) {
		struct graph_range piece;
		if (inside(b, b->pads.data[i]))
			continue;
		if (classify(b, m, b->pads.data[i], &piece) != PLACE_PIECE || add_range(b, m, &piece) < 0)
			return "its exceptions arrive in code that is not known";
	}
	return NULL;
}

/* What ended a jump table: a wrong one may lead anywhere, but may it be an entry that leads to a piece of this
 * function? NULL: no, or it was added. */
static const char *check_stop(struct body *b, struct module *m, uint64_t stop, int *ret_added)
{
	const struct elf_range *section = elf_range_at(m->elf, stop);
	const struct symbol *s = symtab_at(module_symbols(m), stop);
	struct graph_range piece;
	if (inside(b, stop) || !section || section->is_plt)
		return NULL;
	if (!s)
		return module_is_stripped(m) ? ends_verdict_name(ENDS_SWITCH) : NULL;
	if (!(s->flags & NAME_COLD) || classify(b, m, stop, &piece) != PLACE_PIECE)
		return NULL;
	*ret_added = 1;
	return add_range(b, m, &piece) < 0 ? "it is in too many pieces" : add_pads(b, m);
}

static const char *start(struct body *b, struct module *m, const struct symbol *s)
{
	struct graph_range whole = {s->addr, s->size};
	const struct unwind_function *f = unwind_function_at(module_unwind(m), s->addr);
	if (f && f->start == s->addr && s->flags & SYMBOL_SIZE_GUESSED)
		whole.sz = f->len;
	b->range_cnt = 0;
	b->pads.cnt = 0;
	switch (add_range(b, m, &whole)) {
	case 0:
		return add_pads(b, m);
	case -ERANGE:
		return "its code is not in the file";
	default:
		return "its exception tables cannot be read";
	}
}

/* 1 when pieces were added, 0 when there are none left to add; else `ret_why` is set. */
static int add_pieces(struct body *b, struct module *m, const struct ends *e, const char **ret_why)
{
	int added = 0;
	vec_foreach (target, &e->exits) {
		struct graph_range piece;
		if (inside(b, *target))
			continue;
		switch (classify(b, m, *target, &piece)) {
		case PLACE_FUNCTION:
			continue;
		case PLACE_UNKNOWN:
			*ret_why = "it jumps to code that is not known";
			return 0;
		case PLACE_PIECE:
			break;
		}
		switch (add_range(b, m, &piece)) {
		case 0:
			*ret_why = add_pads(b, m);
			break;
		case -ERANGE:
			*ret_why = "it is in too many pieces";
			break;
		default:
			*ret_why = "its exception tables cannot be read";
		}
		if (*ret_why)
			return 0;
		added = 1;
	}
	return added;
}

int body_find_ends(struct body *b, struct graph *g, struct module *m, const struct symbol *s,
		   const struct cost_kernel *cost, struct ends *ret, const char **ret_why)
{
	struct code_window data[MODULE_DATA_MAX];
	struct symtab *tab = module_symbols(m);
	if (!tab || !module_unwind(m) || !module_noreturn(m))
		return -ENOMEM;
	*ret_why = start(b, m, s);
	if (*ret_why)
		return 0;
	struct code_window code = {.arch = module_arch(m)};
	struct graph_input in = {
		.code = &code,
		.ranges = b->ranges,
		.bytes = b->bytes,
		.maybe_split = module_is_stripped(m),
		.data = data,
		.data_cnt = module_data(m, data),
		.noreturn = noreturn_function,
		.noreturn_slot = noreturn_slot,
		.ctx = module_noreturn(m),
	};
	int more;
	do {
		in.range_cnt = b->range_cnt;
		in.entries = b->pads.data;
		in.entry_cnt = b->pads.cnt;
		int rc = ends_find(g, &in, cost, ret);
		if (rc < 0)
			return rc;
		more = add_pieces(b, m, ret, ret_why);
		for (size_t i = 0; i < g->table_stops.cnt && !*ret_why; i++)
			*ret_why = check_stop(b, m, g->table_stops.data[i], &more);
	} while (more > 0 && !*ret_why);
	/* One that never returns has all of its ends seen, too: its frame ends with the thread, or is unwound. */
	if (!*ret_why && ret->verdict != ENDS_ALL && ret->verdict != ENDS_NONE)
		*ret_why = ends_verdict_name(ret->verdict);
	return 0;
}
