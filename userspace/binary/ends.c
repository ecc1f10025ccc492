/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/ends.h"

const char *ends_verdict_name(enum ends_verdict verdict)
{
	static const char *const names[] = {
		[ENDS_ALL] = "all",
		[ENDS_NONE] = "never returns",
		[ENDS_UNDECODABLE] = "undecodable",
		[ENDS_FALLS_OUT] = "runs on into the next function",
		[ENDS_FAR] = "far return",
		[ENDS_SWITCH] = "unread switch",
		[ENDS_UNREACHED] = "ends in code nothing reaches",
		[ENDS_AMBIGUOUS] = "ambiguous indirect jump",
		[ENDS_STACK] = "stack depth at an end",
		[ENDS_UNPROBEABLE] = "unprobeable end",
		[ENDS_TOO_MANY] = "too large",
		[ENDS_BAD_RANGE] = "outside of the code",
	};
	return names[verdict];
}

static void refuse(struct ends *e, enum ends_verdict verdict, uint64_t culprit)
{
	if (e->verdict != ENDS_ALL)
		return;
	e->verdict = verdict;
	e->culprit = culprit;
}

static enum ends_verdict fault_verdict(enum graph_fault fault)
{
	switch (fault) {
	case GRAPH_WHOLE:
		return ENDS_ALL;
	case GRAPH_BAD_RANGE:
		return ENDS_BAD_RANGE;
	case GRAPH_TOO_LARGE:
		return ENDS_TOO_MANY;
	case GRAPH_UNDECODABLE:
	case GRAPH_OVERLAP:
		return ENDS_UNDECODABLE;
	case GRAPH_FALLS_OUT:
		return ENDS_FALLS_OUT;
	case GRAPH_FAR:
		return ENDS_FAR;
	}
	return ENDS_UNDECODABLE;
}

/* Whether control leaves the function's frame at n, and how. */
static bool is_end(const struct graph_input *in, const struct graph_insn *n, enum end_kind *ret_kind)
{
	/* To the own entry, with the stack as it was there: a call of itself, which the entry's probe sees as one. */
	uint64_t self = in->ranges[0].addr;
	bool leaves = !graph_inside(in, n->insn.target) || (n->insn.target == self && n->depth == 0);
	switch ((enum insn_kind)n->insn.kind) {
	case INSN_RET:
		*ret_kind = END_RETURN;
		return true;
	case INSN_JMP:
		*ret_kind = END_TAIL_JUMP;
		return leaves;
	case INSN_JCC:
		*ret_kind = END_TAIL_CONDITIONAL;
		return leaves;
	case INSN_JMP_INDIRECT:
		*ret_kind = END_TAIL_INDIRECT;
		return n->jump == JUMP_TAIL_CALL || n->jump == JUMP_AMBIGUOUS;
	default:
		return false;
	}
}

/* What clang -O0 leaves behind a call that never returns: a jump to a label where no code came to be. */
static bool is_past_end(const struct graph_input *in, const struct graph_insn *n, enum end_kind kind)
{
	if (kind != END_TAIL_JUMP && kind != END_TAIL_CONDITIONAL)
		return false;
	for (size_t i = 0; i < in->range_cnt; i++) {
		uint64_t end = in->ranges[i].addr + in->ranges[i].sz;
		if (n->insn.target == end && n->insn.addr - in->ranges[i].addr < in->ranges[i].sz)
			return true;
	}
	return false;
}

static int add_site(struct ends *e, const struct graph_input *in, const struct graph_insn *n, enum end_kind kind,
		    const struct cost_kernel *kernel)
{
	struct end_site s = {.addr = n->insn.addr, .kind = kind, .cost = cost_of(in->code->arch, &n->insn, kernel)};
	if (kind == END_TAIL_JUMP || kind == END_TAIL_CONDITIONAL)
		s.target = n->insn.target;
	e->conditional |= kind == END_TAIL_CONDITIONAL;
	if (n->depth != GRAPH_UNKNOWN && n->depth != 0) {
		if (e->verdict == ENDS_ALL)
			e->outside = s.target;
		refuse(e, ENDS_STACK, s.addr);
	}
	if (n->jump == JUMP_AMBIGUOUS)
		refuse(e, ENDS_AMBIGUOUS, s.addr);
	if (s.cost == COST_UNPROBEABLE)
		refuse(e, ENDS_UNPROBEABLE, s.addr);
	if (e->sites.cnt >= ENDS_MAX) {
		refuse(e, ENDS_TOO_MANY, s.addr);
		return 0;
	}
	return vec_push(&e->sites, s);
}

static int add_exit(struct ends *e, uint64_t target, uint64_t from)
{
	vec_foreach (known, &e->exits)
		if (*known == target)
			return 0;
	if (e->exits.cnt < ENDS_MAX_EXITS)
		return vec_push(&e->exits, target);
	refuse(e, ENDS_TOO_MANY, from);
	return 0;
}

static int collect_exits(struct ends *e, const struct graph *g, const struct graph_input *in)
{
	int err = 0;
	e->exits.cnt = 0;
	for (size_t i = 0; i < g->insns.cnt && !err; i++) {
		const struct insn *n = &g->insns.data[i].insn;
		bool jump = n->kind == INSN_JMP || n->kind == INSN_JCC;
		if (jump && g->insns.data[i].reached && !graph_inside(in, n->target))
			err = add_exit(e, n->target, n->addr);
	}
	for (size_t i = 0; i < g->table_exits.cnt && !err; i++)
		err = add_exit(e, g->table_exits.data[i], in->ranges[0].addr);
	return err;
}

int ends_find(struct graph *g, const struct graph_input *in, const struct cost_kernel *kernel, struct ends *ret)
{
	uint64_t unread = 0, open = 0, unreached = 0;
	ret->sites.cnt = 0;
	ret->verdict = ENDS_ALL;
	ret->culprit = 0;
	ret->outside = 0;
	ret->conditional = false;

	int err = graph_build(g, in);
	if (err)
		return err;
	err = collect_exits(ret, g, in);
	if (err)
		return err;
	if (g->fault != GRAPH_WHOLE)
		refuse(ret, fault_verdict(g->fault), g->fault_addr);
	vec_foreach (n, &g->insns) {
		enum end_kind kind;
		if (n->jump == JUMP_UNRESOLVED)
			unread = n->insn.addr;
		if (n->jump == JUMP_OPEN_SWITCH)
			open = n->insn.addr;
		if (!is_end(in, n, &kind))
			continue;
		if (!n->reached)
			unreached = is_past_end(in, n, kind) ? unreached : n->insn.addr;
		else if ((err = add_site(ret, in, n, kind, kernel)) < 0)
			return err;
	}
	if (unread && (unreached || g->data_gap || in->maybe_split))
		refuse(ret, ENDS_SWITCH, unread);
	if (open && g->data_gap)
		refuse(ret, ENDS_SWITCH, open);
	if (unreached)
		refuse(ret, ENDS_UNREACHED, unreached);
	if (ret->verdict == ENDS_ALL && ret->sites.cnt == 0)
		ret->verdict = ENDS_NONE;
	if (ret->verdict != ENDS_ALL)
		ret->sites.cnt = 0;
	return 0;
}

void ends_release(struct ends *e)
{
	vec_release(&e->sites);
	vec_release(&e->exits);
	*e = (struct ends){0};
}
