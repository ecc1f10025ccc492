/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/site.h"

#include <errno.h>

#include "binary/name.h"
#include "probe/proof.h"
#include "probe/body.h"

struct site_finder {
	struct graph graph;
	struct ends ends;
	struct body body;
};

struct site_finder *site_finder_new(void)
{
	return calloc(1, sizeof(struct site_finder));
}

void site_finder_free(struct site_finder *f)
{
	if (!f)
		return;
	graph_release(&f->graph);
	ends_release(&f->ends);
	body_release(&f->body);
	free(f);
}

void site_release(struct site *s)
{
	vec_release(&s->ends);
	*s = (struct site){0};
}

const char *site_end_name(enum site_end end)
{
	static const char *const names[] = {"return", "sites", "none"};
	return names[end];
}

/* Functions whose return address is not one, or is used again: replacing it would send the program astray. Those that
 * return twice (setjmp(3), vfork(2), getcontext(3)) keep it and return to it later; a start routine has none. */
/* clang-format off */
static const char *const no_return_names[] = {
	"setjmp", "_setjmp", "__setjmp", "sigsetjmp", "__sigsetjmp", "vfork", "__vfork", "__libc_vfork", "clone", "__clone",
	"__clone3", "clone3", "getcontext", "__getcontext", "swapcontext", "__swapcontext", "setcontext", "__setcontext",
	"__start_context", "_start", "_dl_start", "_dl_start_user", "_dl_runtime_resolve", "_dl_runtime_resolve_xsave",
	"_dl_runtime_resolve_xsavec", "_dl_runtime_resolve_fxsave", "__restore_rt", "__restore", "_Unwind_RaiseException",
	"_Unwind_Resume", "_Unwind_Resume_or_Rethrow", "_Unwind_ForcedUnwind", "_Unwind_Backtrace", "__cxa_throw",
	"__cxa_rethrow", "__morestack", "start_thread",
};
/* clang-format on */

static bool returns_oddly(const struct symtab *tab, const struct symbol *s)
{
	for (size_t n = 0; n < s->name_cnt; n++) {
		struct sv name = name_base(symtab_name(tab, s, n), NULL);
		for (size_t i = 0; i < sizeof(no_return_names) / sizeof(no_return_names[0]); i++)
			if (sv_eq(name, sv_of(no_return_names[i])))
				return true;
	}
	return false;
}

/* Why no return probe may sit on this function; NULL: it may. */
static const char *why_no_return(struct module *m, const struct symbol *s, const struct site_options *o)
{
	struct symtab *tab = module_symbols(m);
	if (o->traits & TRAIT_GO)
		return "Go moves its stacks";
	if (returns_oddly(tab, s))
		return "its return address is not used once and in order";
	if (s->flags & SYMBOL_NOTYPE)
		return "it may be a label that is jumped to";
	if (o->no_return)
		return o->no_return;
	if (o->traits & TRAIT_SWITCHES)
		return "the process switches stacks";
	if (o->traits & TRAIT_ALTSTACK && !o->session)
		return "the process uses signal stacks";
	if (!(o->traits & TRAIT_UNWINDS))
		return NULL;
	if (!m->proof)
		m->proof = proof_new(m);
	return proof_never_unwinds(m->proof, s->addr) ? NULL : "exceptions or panics may pass it";
}

/* The condition of the jump at an address: jcc rel8 is 70+cc, jcc rel32 is 0f 80+cc (Intel SDM volume 2). */
static bool condition_code(struct module *m, uint64_t vaddr, uint8_t *ret)
{
	struct code_window code;
	struct insn insn;
	if (!module_code(m, vaddr, 15, &code) || code.arch != DECODE_X86_64 || decode_at(&code, vaddr, &insn) <= 0 ||
	    insn.kind != INSN_JCC)
		return false;
	*ret = insn.opcode & 15;
	return (insn.map == 0 && insn.opcode >> 4 == 7) || (insn.map == 1 && insn.opcode >> 4 == 8);
}

/* Turns what ends_find() found into probes; NULL, or why they would not see every end. */
static const char *take_ends(struct site_finder *f, struct module *m, struct site *ret, int *ret_err)
{
	struct ends *e = &f->ends;
	vec_foreach (end, &e->sites) {
		struct site_end_probe p = {.target = end->target,
					   .jump = end->kind != END_RETURN,
					   .conditional = end->kind == END_TAIL_CONDITIONAL,
					   .cost = end->cost};
		if (p.conditional && !condition_code(m, end->addr, &p.condition))
			return "a conditional jump leaves it";
		if (!elf_vaddr_to_offset(m->elf, end->addr, &p.offset))
			return "an end is not in the file";
		*ret_err = vec_push(&ret->ends, p);
		if (*ret_err < 0)
			return "out of memory";
	}
	return NULL;
}

static int place_entry(struct site_finder *f, struct module *m, const struct symbol *s, const struct site_options *o,
		       struct site *ret)
{
	struct code_window code;
	struct placement p;
	struct placement_options options = {
		.kernel = o->cost,
		.keep = o->keep,
		.targets = module_targets(m, s->addr),
		.graph = &f->graph,
	};
	uint64_t size = s->flags & SYMBOL_SIZE_GUESSED ? 0 : s->size;

	ret->offset = s->offset;
	if (!module_code(m, s->addr, s->size ? s->size : 16, &code)) {
		ret->refused = "its code is not in the file";
		return 0;
	}
	int rc = placement_find(&code, s->addr, size, &options, &p);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0 || p.cost == COST_UNPROBEABLE) {
		ret->refused = "the kernel refuses probes on its first instruction";
		return 0;
	}
	ret->cost = p.cost;
	if (!elf_vaddr_to_offset(m->elf, s->addr + p.offset, &ret->offset))
		ret->refused = "its code is not in the file";
	return 0;
}

int site_find(struct site_finder *f, struct module *m, const struct symbol *s, const struct site_options *o,
	      struct site *ret)
{
	struct symtab *tab = module_symbols(m);
	*ret = (struct site){0};
	if (!tab)
		return -ENOMEM;
	ret->refused = symbol_why_not(s);
	if (ret->refused)
		return 0;
	int rc = place_entry(f, m, s, o, ret);
	if (rc < 0 || ret->refused)
		return rc;
	ret->no_return = o->wanted == SITE_SITES_ONLY ? "end sites were asked for" : why_no_return(m, s, o);
	if (!ret->no_return) {
		ret->end = SITE_END_RETURN;
		return 0;
	}
	ret->end = SITE_END_NONE;
	if (o->wanted == SITE_RETURN_ONLY) {
		ret->refused = ret->no_return;
		return 0;
	}
	if (o->traits & TRAIT_GO) {
		ret->entry_only = "goroutines change threads";
		return 0;
	}
	rc = body_find_ends(&f->body, &f->graph, m, s, &o->cost, &f->ends, &ret->entry_only);
	if (rc < 0)
		return rc;
	if (!ret->entry_only)
		ret->entry_only = take_ends(f, m, ret, &rc);
	if (!ret->entry_only)
		ret->end = SITE_END_SITES;
	else
		vec_release(&ret->ends);
	return rc == -ENOMEM ? rc : 0;
}
