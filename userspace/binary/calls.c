/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "binary/calls.h"

struct calls_memo {
	uint64_t addr;
	uint64_t insn;
	uint64_t func;
	uint8_t used;
	uint8_t verdict;
};

/* One question: the functions met so far, each with the one that called it. */
struct question {
	uint64_t addr[CALLS_MAX_FUNCS];
	uint16_t caller[CALLS_MAX_FUNCS];
	size_t cnt;
	struct calls_why why;
};

void calls_init(struct calls *c, const struct calls_ops *ops)
{
	*c = (struct calls){.ops = *ops};
}

void calls_release(struct calls *c)
{
	graph_release(&c->graph);
	free(c->memo);
	*c = (struct calls){0};
}

static size_t hash(uint64_t addr, size_t cap)
{
	return (size_t)((addr * 0x9e3779b97f4a7c15ull) >> 32) & (cap - 1);
}

/* The slot of addr, or the free one where it belongs. */
static struct calls_memo *memo_slot(const struct calls *c, uint64_t addr)
{
	size_t at = hash(addr, c->memo_cap);
	while (c->memo[at].used && c->memo[at].addr != addr)
		at = (at + 1) & (c->memo_cap - 1);
	return &c->memo[at];
}

static const struct calls_memo *memo_get(const struct calls *c, uint64_t addr)
{
	if (!c->memo_cap)
		return NULL;
	const struct calls_memo *m = memo_slot(c, addr);
	return m->used ? m : NULL;
}

static int memo_grow(struct calls *c)
{
	size_t old_cap = c->memo_cap;
	struct calls_memo *old = c->memo;
	size_t cap = old_cap ? old_cap * 2 : 256;
	c->memo = calloc(cap, sizeof(*c->memo));
	if (!c->memo) {
		c->memo = old;
		return -ENOMEM;
	}
	c->memo_cap = cap;
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].used)
			*memo_slot(c, old[i].addr) = old[i];
	free(old);
	return 0;
}

static int memo_put(struct calls *c, uint64_t addr, const struct calls_why *why)
{
	if (c->memo_cnt >= CALLS_MAX_MEMO) {
		c->memo_full++;
		return 0;
	}
	if (c->memo_cnt * 2 >= c->memo_cap) {
		int err = memo_grow(c);
		if (err)
			return err;
	}
	struct calls_memo *m = memo_slot(c, addr);
	c->memo_cnt += !m->used;
	*m = (struct calls_memo){addr, why->insn, why->func, 1, (uint8_t)why->verdict};
	return 0;
}

/* Adds a function to be looked at. False: no proof, the reason is in q->why. */
static bool ask(struct calls *c, struct question *q, uint64_t addr, size_t caller, uint64_t insn)
{
	if (c->ops.allowed && c->ops.allowed(c->ops.ctx, addr))
		return true;
	for (size_t i = 0; i < q->cnt; i++)
		if (q->addr[i] == addr)
			return true;
	const struct calls_memo *m = memo_get(c, addr);
	if (m && m->verdict == CALLS_NEVER_UNWIND)
		return true;
	if (m) {
		q->why = (struct calls_why){m->verdict, m->func, m->insn};
		return false;
	}
	if (q->cnt == CALLS_MAX_FUNCS) {
		q->why = (struct calls_why){CALLS_TOO_MANY, q->addr[caller], insn};
		return false;
	}
	q->addr[q->cnt] = addr;
	q->caller[q->cnt++] = (uint16_t)caller;
	return true;
}

/* What one instruction means for the proof; callees go on the list. */
static bool check_insn(struct calls *c, struct question *q, const struct graph_input *in, size_t at,
		       const struct graph_insn *n)
{
	enum calls_verdict verdict = CALLS_NEVER_UNWIND;
	switch ((enum insn_kind)n->insn.kind) {
	case INSN_CALL:
	case INSN_JMP:
	case INSN_JCC:
		if (graph_inside(in, n->insn.target))
			return true;
		return ask(c, q, n->insn.target, at, n->insn.addr);
	case INSN_JMP_INDIRECT:
		verdict = n->jump == JUMP_SWITCH ? CALLS_NEVER_UNWIND : CALLS_INDIRECT;
		break;
	case INSN_CALL_INDIRECT:
		verdict = CALLS_INDIRECT;
		break;
	case INSN_SYSTEM:
	case INSN_FAR:
		verdict = CALLS_SYSTEM;
		break;
	default:
		break;
	}
	q->why = (struct calls_why){verdict, q->addr[at], n->insn.addr};
	return verdict == CALLS_NEVER_UNWIND;
}

/* 1 when nothing in the function speaks against the proof, 0 when something does, -ENOMEM. */
static int check_func(struct calls *c, struct question *q, size_t at)
{
	struct calls_func f = {0};
	uint64_t func = q->addr[at];
	if (!c->ops.resolve(c->ops.ctx, func, &f)) {
		uint64_t from = at ? q->addr[q->caller[at]] : func;
		q->why = (struct calls_why){CALLS_UNRESOLVED, from, func};
		return 0;
	}
	struct graph_input in = {.code = f.code,
				 .ranges = f.ranges,
				 .range_cnt = f.range_cnt,
				 .data = c->ops.data,
				 .data_cnt = c->ops.data_cnt};
	int err = graph_build(&c->graph, &in);
	if (err)
		return err;
	if (c->graph.fault != GRAPH_WHOLE || c->graph.data_gap) {
		enum calls_verdict v = c->graph.fault == GRAPH_FAR ? CALLS_SYSTEM : CALLS_UNDECODABLE;
		q->why = (struct calls_why){v, func, c->graph.fault_addr};
		return 0;
	}
	vec_foreach (n, &c->graph.insns)
		if (!check_insn(c, q, &in, at, n))
			return 0;
	return 1;
}

/* With a proof, all the functions met are proven. Without, those on the way to the culprit are not. */
static int remember(struct calls *c, const struct question *q, bool proven, size_t culprit)
{
	int err = 0;
	if (proven) {
		for (size_t i = 0; i < q->cnt && !err; i++)
			err = memo_put(c, q->addr[i], &q->why);
		return err;
	}
	/* That there were too many is an answer to the one asked about, not to those below it. */
	size_t at = q->why.verdict == CALLS_TOO_MANY ? 0 : culprit;
	for (;;) {
		err = memo_put(c, q->addr[at], &q->why);
		if (err || at == 0)
			return err;
		at = q->caller[at];
	}
}

int calls_may_unwind(struct calls *c, uint64_t addr, struct calls_why *ret_why)
{
	struct question q = {.cnt = 0};
	int ok = 1;
	size_t at = 0;

	if (ask(c, &q, addr, 0, addr)) {
		for (; at < q.cnt && ok == 1; at++)
			ok = check_func(c, &q, at);
		if (ok < 0)
			return ok;
		if (ok == 1)
			q.why = (struct calls_why){CALLS_NEVER_UNWIND, addr, 0};
		int err = q.cnt ? remember(c, &q, ok == 1, at - 1) : 0;
		if (err)
			return err;
	} else {
		ok = 0;
	}
	if (ret_why)
		*ret_why = q.why;
	return ok == 1 ? 0 : 1;
}
