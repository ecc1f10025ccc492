/* SPDX-License-Identifier: Apache-2.0 */
/* Which functions of a file the probe list means. */
#include <errno.h>
#include <stdio.h>

#include "binary/name.h"
#include "base/glob.h"
#include "probe/plan_private.h"

bool plan_module_is(const struct plan_module *m, int target, struct sv library)
{
	if (target >= 0 && target != m->target)
		return false;
	if (!library.len)
		return m->is_exe;
	return glob_match(library, m->name) || glob_match(library, m->module->name);
}

static bool probe_excludes(const struct probe *probe, struct symtab *tab, const struct symbol *s)
{
	vec_foreach (glob, &probe->excludes) {
		bool excluded = false;
		/* A pattern means the same here as in `function:`; a single name is the common case. */
		for (size_t i = 0; i < s->name_cnt && !excluded; i++)
			excluded = glob_match(glob->text, symtab_name(tab, s, i));
		if (!excluded) {
			struct sv shown = symtab_display(tab, s);
			struct name_parts parts = name_parse(shown);
			excluded = glob_match(glob->text, shown) ||
				   glob_match(glob->text, (struct sv){shown.data, parts.args_end}) ||
				   glob_match(glob->text, name_unqualified(shown));
		}
		if (excluded)
			return true;
	}
	return false;
}

static struct plan_function *plan_new_function(struct plan *p, struct plan_module *m, const struct symbol *s,
					       uint32_t probe)
{
	size_t index = p->functions.cnt;
	if (p->free_indexes.cnt) {
		index = p->free_indexes.data[p->free_indexes.cnt - 1];
	} else if (index >= p->options.max_functions) {
		p->stats.limited++;
		return NULL;
	}
	if (!m->batch)
		m->batch = calloc(1, sizeof(*m->batch));
	struct arena *arena = m->batch ? &m->batch->arena : NULL;
	struct plan_function *f = arena ? arena_alloc(arena, sizeof(*f)) : NULL;
	if (!f)
		return NULL;
	struct sv display = symtab_display(module_symbols(m->module), s);
	*f = (struct plan_function){
		.index = (uint32_t)index,
		.serial = p->serial + 1,
		.arena = arena,
		.probe = probe,
		.raw = arena_dup(arena, s->name),
		.display = arena_dup(arena, display),
		.name = arena_dup(arena, name_unqualified(display)),
		.module = arena_dup(arena, m->module->path),
		.build_id = arena_dup(arena, sv_of(m->module->elf->build_id)),
		.addr = s->addr,
		.size = s->size,
	};
	struct sv *aliases = arena_alloc(arena, s->name_cnt * sizeof(*aliases));
	for (uint32_t i = 1; aliases && i < s->name_cnt; i++)
		aliases[f->alias_cnt++] = arena_dup(arena, symtab_name(module_symbols(m->module), s, i));
	f->aliases = aliases;
	if (vec_push(&m->batch->functions, f) < 0 || (index == p->functions.cnt && vec_push(&p->functions, f) < 0))
		return NULL;
	p->free_indexes.cnt -= p->free_indexes.cnt != 0;
	p->functions.data[index] = f;
	p->serial++;
	return f;
}

static bool module_has_function(const struct plan_module *m, uint64_t addr)
{
	vec_foreach (f, &m->functions)
		if (f->function->addr == addr && planned_is_active(m, f))
			return true;
	return false;
}

uint16_t plan_argument_register(unsigned arg)
{
	static const uint8_t order[SH_MAX_ARGS] = {GPR_RDI, GPR_RSI, GPR_RDX, GPR_RCX, GPR_R8, GPR_R9};
	return arg >= 1 && arg <= SH_MAX_ARGS ? (uint16_t)GPR_BIT(order[arg - 1]) : 0;
}

/* What the probe reads at entry. */
static uint16_t probe_registers(const struct plan *p, uint32_t index)
{
	const struct probe *probe = &p->options.list->probes.data[index];
	uint16_t keep = 0;
	for (unsigned i = 0; i < probe->spec.capture_cnt; i++)
		keep |= plan_argument_register(probe->spec.captures[i].arg);
	return keep;
}

struct site_options plan_site_options(const struct plan *p, const struct plan_process *process, uint16_t keep)
{
	return (struct site_options){
		.keep = keep,
		.cost = p->options.cost,
		.wanted = p->options.ends,
		.session = p->options.link == LINK_SESSION,
		.traits = process->traits,
		.no_return = process->no_return,
	};
}

static void planned_describe(struct planned *f)
{
	f->function->cost = f->site.cost;
	f->function->end = f->site.end;
	f->function->no_return = f->site.no_return;
	f->function->entry_only = f->site.entry_only;
}

/* Taken for the same probe by an earlier generation of the list. */
static bool plan_take_again(struct plan_module *m, uint64_t addr, uint32_t probe)
{
	vec_foreach (f, &m->functions) {
		if (f->function->addr != addr || f->function->probe != probe)
			continue;
		f->generation = m->generation;
		return true;
	}
	return false;
}

/* 1: taken, 0: refused or there already, -ENOMEM. */
static int plan_take(struct plan *p, struct plan_module *m, const struct symbol *s, uint32_t probe, bool by_name,
		     const struct plan_process *process)
{
	struct site_options options = plan_site_options(p, process, probe_registers(p, probe));
	struct planned f = {.sleepable = probe_reads_memory(&p->options.list->probes.data[probe]),
			    .generation = m->generation};

	/* Those of the first generation are all new. */
	if (m->generation > 1 && plan_take_again(m, s->addr, probe))
		return 1;
	int rc = site_find(p->finder, m->module, s, &options, &f.site);
	if (rc < 0)
		return rc;
	if (f.site.refused) {
		bool said = probe < p->known && m->again; /* with an earlier generation */
		p->stats.skipped += !said;
		if (p->options.skipped && !said)
			p->options.skipped(p->options.arg, symtab_display(module_symbols(m->module), s),
					   m->module->path, f.site.refused, by_name);
		site_release(&f.site);
		return 0;
	}
	f.function = plan_new_function(p, m, s, probe);
	if (!f.function) {
		site_release(&f.site);
		return p->functions.cnt >= p->options.max_functions && !p->free_indexes.cnt ? 0 : -ENOMEM;
	}
	planned_describe(&f);
	rc = vec_push(&m->functions, f);
	return rc < 0 ? rc : 1;
}

int plan_find(struct plan *p, struct plan_module *m, struct sv pattern, struct plan_item *it, struct symbol_vec *ret)
{
	struct symtab *tab = module_symbols(m->module);
	int rc = tab ? symtab_find(tab, pattern, ret) : -ENOMEM;
	if (rc < 0)
		return rc;
	if (ret->cnt == 0 && !it->suggestion.len && !glob_is_pattern(pattern)) {
		struct sv near;
		if (symtab_suggest(tab, pattern, &near, 1) == 1)
			it->suggestion = arena_dup(&p->arena, near);
	}
	if (!it->where.len)
		it->where = arena_dup(&p->arena, m->module->name);
	it->no_symbols |= tab->cnt == 0;
	return 0;
}

bool plan_glob_means(const struct symbol *s)
{
	return !symbol_why_not(s) && !(s->flags & (SYMBOL_NOTYPE | SYMBOL_OVERLAPPED));
}

/* Symbols of one module are many: whether one is taken already is asked of a bit per symbol. */
static int plan_resolve_item(struct plan *p, struct plan_module *m, uint32_t probe_index, size_t item, uint8_t *taken,
			     const struct plan_process *process)
{
	const struct probe *probe = &p->options.list->probes.data[probe_index];
	struct sv pattern = probe->functions.data[item].text;
	struct symtab *tab = module_symbols(m->module);
	struct plan_item *it = &p->items[probe_index][item];
	struct symbol_vec found = {0};
	bool glob = glob_is_pattern(pattern);

	int rc = plan_find(p, m, pattern, it, &found);
	for (size_t i = 0; i < found.cnt && rc >= 0; i++) {
		const struct symbol *s = found.data[i];
		size_t at = (size_t)(s - tab->symbols);
		if (taken[at / 8] & (1u << at % 8)) {
			it->found++;
			continue;
		}
		if (probe_excludes(probe, tab, s))
			continue;
		if (glob && !plan_glob_means(s))
			continue;
		taken[at / 8] |= (uint8_t)(1u << at % 8);
		it->found++;
		rc = plan_take(p, m, s, probe_index, !glob, process);
	}
	vec_release(&found);
	return rc < 0 ? rc : 0;
}

/* Is there an instruction of the surrounding function at exactly this address? */
static bool address_is_instruction(struct module *m, uint64_t start, uint64_t end, uint64_t vaddr)
{
	struct code_window code;
	if (!module_code(m, start, end - start, &code))
		return false;
	for (uint64_t at = start; at < end;) {
		struct insn insn;
		if (at == vaddr)
			return true;
		int len = decode_at(&code, at, &insn);
		if (len <= 0 || at > vaddr)
			return false;
		at += (uint64_t)len;
	}
	return false;
}

/* The code around an address: a symbol, else what .eh_frame says, else just the address. */
static void address_function(struct module *m, uint64_t vaddr, uint64_t *ret_start, uint64_t *ret_end)
{
	const struct symbol *s = symtab_at(module_symbols(m), vaddr);
	*ret_start = vaddr;
	*ret_end = vaddr + 1;
	if (s) {
		*ret_start = s->addr;
		*ret_end = s->addr + s->size;
	} else if (module_unwind(m)) {
		unwind_function_range(module_unwind(m), vaddr, ret_start, ret_end);
	}
}

static int plan_resolve_address(struct plan *p, struct plan_module *m, uint32_t probe_index,
				const struct plan_process *process)
{
	const struct probe *probe = &p->options.list->probes.data[probe_index];
	struct plan_item *it = &p->items[probe_index][probe->functions.cnt];
	uint64_t start, end;
	char name[32];

	if (!it->where.len)
		it->where = arena_dup(&p->arena, m->module->name);
	struct symbol s = {.addr = probe->address};
	if (!elf_range_at(m->module->elf, probe->address) ||
	    !elf_vaddr_to_offset(m->module->elf, probe->address, &s.offset)) {
		it->problem = "is not in its code";
		return 0;
	}
	address_function(m->module, probe->address, &start, &end);
	if (!address_is_instruction(m->module, start, end, probe->address)) {
		it->problem = "is not the start of an instruction";
		return 0;
	}
	if (start != probe->address) {
		it->problem = "is inside a function, not at its start";
		return 0;
	}
	it->found++;
	const struct symbol *known = symtab_at(module_symbols(m->module), probe->address);
	if (known)
		return module_has_function(m, known->addr) ? 0 : plan_take(p, m, known, probe_index, true, process);
	snprintf(name, sizeof(name), "0x%llx", (unsigned long long)probe->address);
	s.name = sv_of(name);
	s.base_len = (uint32_t)s.name.len;
	s.size = end - start;
	if (s.size == 1)
		s.flags = SYMBOL_SIZE_GUESSED;
	return plan_take(p, m, &s, probe_index, true, process);
}

int plan_resolve(struct plan *p, struct plan_module *m, const struct plan_process *process)
{
	int rc = 0;
	uint8_t *taken = NULL;

	m->again = m->resolved;
	m->resolved = true;
	m->made_for |= process->traits;
	m->generation = p->generation;
	for (size_t n = 0; n < p->order.cnt && rc >= 0; n++) {
		uint32_t i = p->order.data[n];
		const struct probe *probe = &p->options.list->probes.data[i];
		if (probe->broken || !plan_module_is(m, probe->target, probe->library.text))
			continue;
		struct symtab *tab = module_symbols(m->module);
		if (!taken && tab)
			taken = calloc(1, tab->cnt / 8 + 1);
		if (!tab || !taken)
			return -ENOMEM;
		p->items[i][probe->functions.cnt].found += probe->library.text.len > 0 && probe->functions.cnt;
		for (size_t item = 0; item < probe->functions.cnt && rc >= 0; item++)
			rc = plan_resolve_item(p, m, i, item, taken, process);
		if (!probe->functions.cnt && rc >= 0)
			rc = plan_resolve_address(p, m, i, process);
	}
	free(taken);
	if (rc >= 0)
		rc = plan_resolve_handoffs(p, m, process);
	return rc < 0 ? rc : plan_resolve_goroutines(p, m, process);
}

int plan_site_all(struct plan *p, struct plan_module *m, const struct plan_process *process)
{
	struct symtab *tab = module_symbols(m->module);
	if (!tab)
		return -ENOMEM;
	m->made_for = process->traits;
	vec_foreach (f, &m->functions) {
		const struct symbol *s = symtab_at(tab, f->function->addr);
		if (!s)
			continue;
		struct site_options options = plan_site_options(p, process, probe_registers(p, f->function->probe));
		site_release(&f->site);
		int rc = site_find(p->finder, m->module, s, &options, &f->site);
		if (rc < 0)
			return rc;
		planned_describe(f);
	}
	return plan_site_handoffs(p, m, process);
}
