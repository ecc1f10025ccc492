/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "binary/graph.h"
#include "binary/switch.h"

enum {
	SLOT_HEAD = 1,	   /* an instruction begins here */
	SLOT_BODY = 2,	   /* a later byte of one */
	SLOT_QUEUED = 4,   /* on the work list */
	SLOT_RESOLVED = 8, /* an indirect jump whose table was read */
	SLOT_FORM = 16,	   /* an indirect jump that looks like a switch */
	SLOT_OPEN = 32,	   /* resolved, but its table ended only where an entry led outside */
};

struct graph_slot {
	int32_t depth;
	int32_t frame; /* rbp, as a depth */
	int32_t prev;  /* slot of the instruction it was first reached from, -1 at an entry */
	uint8_t flags;
};

struct walk {
	struct graph *g;
	const struct graph_input *in;
	int failed;
};

static int64_t slot_of(const struct graph_input *in, uint64_t addr)
{
	uint64_t base = 0;
	for (size_t i = 0; i < in->range_cnt; i++) {
		if (addr - in->ranges[i].addr < in->ranges[i].sz)
			return (int64_t)(base + (addr - in->ranges[i].addr));
		base += in->ranges[i].sz;
	}
	return -1;
}

static uint64_t addr_of(const struct graph_input *in, uint32_t slot)
{
	for (size_t i = 0; i < in->range_cnt; i++) {
		if (slot < in->ranges[i].sz)
			return in->ranges[i].addr + slot;
		slot -= (uint32_t)in->ranges[i].sz;
	}
	return 0;
}

bool graph_inside(const struct graph_input *in, uint64_t addr)
{
	return slot_of(in, addr) >= 0;
}

/* Bytes from addr to the end of its range. */
static uint64_t room(const struct graph_input *in, uint64_t addr)
{
	for (size_t i = 0; i < in->range_cnt; i++)
		if (addr - in->ranges[i].addr < in->ranges[i].sz)
			return in->ranges[i].addr + in->ranges[i].sz - addr;
	return 0;
}

static int decode_in(const struct graph_input *in, uint64_t addr, struct insn *ret)
{
	for (size_t i = 0; i < in->range_cnt; i++) {
		uint64_t skip = addr - in->ranges[i].addr, left = in->ranges[i].sz - skip;
		if (skip >= in->ranges[i].sz)
			continue;
		const uint8_t *p = in->bytes ? in->bytes[i] + skip : code_window_at(in->code, addr, left);
		return p ? decode_insn(in->code->arch, p, left, addr, ret) : -EILSEQ;
	}
	return -EILSEQ;
}

static void fail(struct graph *g, enum graph_fault fault, uint64_t addr)
{
	if (g->fault == GRAPH_WHOLE) {
		g->fault = fault;
		g->fault_addr = addr;
	}
}

static int32_t join(int32_t a, int32_t b)
{
	return a == b ? a : GRAPH_UNKNOWN;
}

/* Each slot is queued at most once at a time, so the list never holds more than there are slots. */
static void reach(struct walk *w, uint64_t addr, int32_t depth, int32_t frame, int32_t prev)
{
	struct graph *g = w->g;
	int64_t at = slot_of(w->in, addr);
	struct graph_slot *s = &g->slots[at];

	if (s->flags & SLOT_BODY) {
		fail(g, GRAPH_OVERLAP, addr);
		return;
	}
	if (s->flags & (SLOT_HEAD | SLOT_QUEUED)) {
		int32_t d = join(s->depth, depth), f = join(s->frame, frame);
		if (d == s->depth && f == s->frame)
			return;
		s->depth = d;
		s->frame = f;
	} else {
		s->depth = depth;
		s->frame = frame;
		s->prev = prev;
	}
	if (!(s->flags & SLOT_QUEUED)) {
		s->flags |= SLOT_QUEUED;
		g->work[g->work_cnt++] = (uint32_t)at;
	}
}

static bool mark(struct walk *w, uint32_t at, const struct insn *i)
{
	struct graph *g = w->g;
	if (g->slots[at].flags & SLOT_BODY)
		return false;
	g->slots[at].flags |= SLOT_HEAD;
	for (uint32_t k = 1; k < i->len; k++) {
		if (g->slots[at + k].flags & (SLOT_HEAD | SLOT_QUEUED))
			return false;
		g->slots[at + k].flags |= SLOT_BODY;
	}
	return true;
}

static int32_t add_depth(int32_t depth, int32_t by)
{
	int64_t sum = (int64_t)depth + by;
	bool sane = depth != GRAPH_UNKNOWN && sum > -(1 << 30) && sum < (1 << 30);
	return sane ? (int32_t)sum : GRAPH_UNKNOWN;
}

static void stack_after(const struct insn *i, int32_t *depth, int32_t *frame)
{
	int32_t d = *depth, f = *frame;
	switch ((enum stack_effect)i->stack) {
	case STACK_SAME:
		break;
	case STACK_MOVE:
		*depth = add_depth(d, i->stack_move);
		break;
	case STACK_FROM_RBP:
		*depth = add_depth(f, i->stack_move);
		break;
	case STACK_LEAVE:
		*depth = add_depth(f, 8);
		break;
	case STACK_SAVE_RBP:
		*frame = add_depth(d, i->stack_move);
		return;
	case STACK_LOST:
		*depth = GRAPH_UNKNOWN;
		break;
	}
	bool call = i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT;
	if (!call && ((i->writes & GPR_BIT(GPR_RBP)) || !i->known))
		*frame = GRAPH_UNKNOWN;
}

/* What a switch's table is looked for in: the instructions that led to the jump, latest first. */
static size_t history(struct walk *w, uint32_t at, struct insn *ret, size_t max)
{
	size_t n = 0;
	for (int32_t s = w->g->slots[at].prev; s >= 0 && n < max; s = w->g->slots[s].prev)
		if (decode_in(w->in, addr_of(w->in, (uint32_t)s), &ret[n]) > 0)
			n++;
	return n;
}

static void add_exit(struct walk *w, uint64_t target)
{
	vec_foreach (known, &w->g->table_exits)
		if (*known == target)
			return;
	if (w->g->table_exits.cnt < GRAPH_MAX_EXITS && vec_push(&w->g->table_exits, target) < 0)
		w->failed = -ENOMEM;
}

static void reach_table(struct walk *w, uint32_t at, const struct switch_table *t, int32_t depth, int32_t frame)
{
	for (uint32_t k = 0; k < t->cnt; k++) {
		uint64_t target = 0;
		if (switch_entry(t, k, w->in->data, w->in->data_cnt, &target) == 0)
			reach(w, target, depth, frame, (int32_t)at);
	}
}

/* Tables that nothing bounds are read entry by entry, in turns, whenever all else was followed: what is reached by one
 * entry may name the data that ends the table. Where one is taken for longer than it is, what is reached wrongly
 * disagrees with what is reached rightly, and the function is given up. */
static struct graph_open *find_open(struct graph *g, uint32_t slot)
{
	vec_foreach (o, &g->open)
		if (o->slot == slot)
			return o;
	return NULL;
}

static void bound_open(struct graph_open *o, uint64_t name)
{
	if (name > o->table.addr && name < o->bound)
		o->bound = name;
}

static void follow_open(struct walk *w, uint32_t at, const struct switch_table *t, int32_t depth, int32_t frame)
{
	struct graph_open *o = find_open(w->g, at);
	if (!o) {
		struct graph_open fresh = {.slot = at, .table = *t, .bound = UINT64_MAX};
		vec_foreach (name, &w->g->named)
			bound_open(&fresh, *name);
		if (w->g->open.cnt < GRAPH_MAX_OPEN && vec_push(&w->g->open, fresh) < 0)
			w->failed = -ENOMEM;
		return;
	}
	w->g->slots[at].flags |= o->flags;
	reach_table(w, at, &o->table, depth, frame);
}

/* Every address of data that the function names: where another thing begins, a table has ended. */
static void name_data(struct walk *w, const struct insn *i)
{
	bool table = i->kind == INSN_JMP_INDIRECT && i->memory && i->rm == GPR_NONE && i->disp > 0;
	uint64_t name = table ? (uint64_t)i->disp : i->target;
	if (!table && !(i->rip_relative && i->kind == INSN_OTHER))
		return;
	if (vec_push(&w->g->named, name) < 0)
		w->failed = -ENOMEM;
	vec_foreach (o, &w->g->open)
		bound_open(o, name);
}

/* The next entry of an open table. False: it has ended; then `flags` says what that makes of the switch. */
static bool next_entry(struct walk *w, struct graph_open *o, uint64_t *ret_target)
{
	struct graph *g = w->g;
	struct switch_table *t = &o->table;
	uint64_t at = t->addr + (uint64_t)t->cnt * t->width;

	if (at >= o->bound || switch_entry(t, t->cnt, w->in->data, w->in->data_cnt, ret_target) < 0)
		return false;
	/* To the function itself: a table of functions to call. */
	bool strange = *ret_target == w->in->ranges[0].addr || t->cnt == GRAPH_MAX_TABLE;
	int64_t slot = slot_of(w->in, *ret_target);
	if (!strange && slot >= 0 && !(g->slots[slot].flags & SLOT_BODY))
		return true;
	if (!strange && slot < 0 && vec_push(&g->table_stops, *ret_target) < 0)
		w->failed = -ENOMEM;
	o->flags = strange ? 0 : o->flags | (o->flags ? SLOT_OPEN : 0);
	return false;
}

/* False: all have ended. */
static bool advance_open(struct walk *w)
{
	struct graph *g = w->g;
	bool more = false;
	for (size_t i = 0; i < g->open.cnt; i++) {
		struct graph_open *o = &g->open.data[i];
		struct graph_slot *s = &g->slots[o->slot];
		uint64_t target;
		if (o->ended)
			continue;
		o->ended = !next_entry(w, o, &target);
		if (!o->ended) {
			o->flags = SLOT_RESOLVED;
			o->table.cnt++;
			reach(w, target, s->depth, s->frame, (int32_t)o->slot);
			more = true;
		}
		s->flags = (uint8_t)((s->flags & ~(SLOT_RESOLVED | SLOT_OPEN)) | o->flags);
	}
	return more;
}

static void follow_indirect(struct walk *w, uint32_t at, const struct insn *i, int32_t depth, int32_t frame)
{
	struct insn before[SWITCH_HISTORY];
	struct switch_table t;
	size_t n = history(w, at, before, SWITCH_HISTORY);
	struct graph_slot *s = &w->g->slots[at];

	s->flags &= (uint8_t) ~(SLOT_RESOLVED | SLOT_FORM | SLOT_OPEN);
	if (switch_find(i, before, n, &t))
		s->flags |= SLOT_FORM;
	if (!(s->flags & SLOT_FORM) || !t.addr || t.cnt > GRAPH_MAX_TABLE)
		return;
	if (t.cnt == 0) {
		follow_open(w, at, &t, depth, frame);
		return;
	}
	bool inside = true;
	for (uint32_t k = 0; k < t.cnt; k++) {
		uint64_t target;
		if (switch_entry(&t, k, w->in->data, w->in->data_cnt, &target) < 0)
			return;
		if (!graph_inside(w->in, target)) {
			inside = false;
			add_exit(w, target);
		}
	}
	if (!inside)
		return;
	s->flags |= SLOT_RESOLVED;
	reach_table(w, at, &t, depth, frame);
}

static bool never_returns(const struct graph_input *in, const struct insn *i)
{
	if (i->kind == INSN_CALL)
		return in->noreturn && in->noreturn(in->ctx, i->target);
	return i->kind == INSN_CALL_INDIRECT && i->rip_relative && in->noreturn_slot &&
	       in->noreturn_slot(in->ctx, i->target);
}

static void fall_through(struct walk *w, const struct insn *i, int32_t depth, int32_t frame, uint32_t at)
{
	uint64_t next = i->addr + i->len;
	bool call = i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT;
	if (call && never_returns(w->in, i))
		return;
	if (room(w->in, i->addr) > i->len)
		reach(w, next, depth, frame, (int32_t)at);
	else if (!call) /* a call at the very end is one that does not return */
		fail(w->g, GRAPH_FALLS_OUT, i->addr);
}

static void visit(struct walk *w, uint32_t at)
{
	struct graph_slot *s = &w->g->slots[at];
	uint64_t addr = addr_of(w->in, at);
	struct insn i;

	s->flags &= (uint8_t)~SLOT_QUEUED;
	if (decode_in(w->in, addr, &i) < 0) {
		fail(w->g, GRAPH_UNDECODABLE, addr);
		return;
	}
	bool known = s->flags & SLOT_HEAD;
	if (!mark(w, at, &i)) {
		fail(w->g, GRAPH_OVERLAP, addr);
		return;
	}
	if (!known)
		name_data(w, &i);
	int32_t depth = s->depth, frame = s->frame;
	stack_after(&i, &depth, &frame);
	switch ((enum insn_kind)i.kind) {
	case INSN_RET:
	case INSN_TRAP:
		return;
	case INSN_FAR:
		fail(w->g, GRAPH_FAR, addr);
		return;
	case INSN_JMP_INDIRECT:
		follow_indirect(w, at, &i, depth, frame);
		return;
	case INSN_JMP:
	case INSN_JCC:
		if (graph_inside(w->in, i.target))
			reach(w, i.target, depth, frame, (int32_t)at);
		if (i.kind == INSN_JMP)
			return;
		break;
	default:
		break;
	}
	fall_through(w, &i, depth, frame, at);
}

static enum graph_jump classify(const struct graph_slot *s, const struct insn *i)
{
	if (i->kind != INSN_JMP_INDIRECT)
		return JUMP_NOT_INDIRECT;
	/* notrack is how compilers mark a jump whose targets have no endbr64: a switch. */
	bool stays = i->segment || (s->depth != GRAPH_UNKNOWN && s->depth != 0);
	if (s->flags & SLOT_RESOLVED && !(s->flags & SLOT_OPEN))
		return JUMP_SWITCH;
	if (s->flags & SLOT_OPEN)
		return stays ? JUMP_OPEN_SWITCH : JUMP_AMBIGUOUS;
	if (stays)
		return JUMP_UNRESOLVED;
	if (s->depth == 0 && !(s->flags & SLOT_FORM))
		return JUMP_TAIL_CALL;
	return JUMP_AMBIGUOUS;
}

static int add_insn(struct graph *g, const struct insn *i, const struct graph_slot *s, bool reached)
{
	struct graph_insn n = {.insn = *i, .depth = GRAPH_UNKNOWN, .reached = reached};
	if (reached) {
		n.depth = s->depth;
		n.jump = (uint8_t)classify(s, i);
	} else if (i->kind == INSN_JMP_INDIRECT) {
		n.jump = JUMP_AMBIGUOUS;
	}
	return vec_push(&g->insns, n);
}

/* Bytes that no flow reached: padding is left out, instructions are listed, anything else is data. */
static int add_gap(struct walk *w, uint32_t from, uint32_t to)
{
	size_t kept = w->g->insns.cnt;
	bool padding = true;
	for (uint32_t at = from; at < to;) {
		uint64_t addr = addr_of(w->in, at);
		struct insn i;
		if (decode_in(w->in, addr, &i) < 0 || at + i.len > to) {
			w->g->data_gap = true;
			w->g->insns.cnt = kept;
			return 0;
		}
		padding &= i.kind == INSN_NOP || (i.kind == INSN_TRAP && i.len == 1);
		int err = add_insn(w->g, &i, NULL, false);
		if (err)
			return err;
		at += i.len;
	}
	if (padding)
		w->g->insns.cnt = kept;
	return 0;
}

static int collect(struct walk *w)
{
	uint32_t at = 0;
	for (size_t r = 0; r < w->in->range_cnt; r++) {
		uint32_t end = at + (uint32_t)w->in->ranges[r].sz;
		while (at < end) {
			struct graph_slot *s = &w->g->slots[at];
			struct insn i;
			int err;
			if (s->flags & SLOT_HEAD) {
				if (decode_in(w->in, addr_of(w->in, at), &i) < 0)
					return 0;
				err = add_insn(w->g, &i, s, true);
				at += i.len;
			} else {
				uint32_t from = at;
				while (at < end && !(w->g->slots[at].flags & SLOT_HEAD))
					at++;
				err = add_gap(w, from, at);
			}
			if (err)
				return err;
		}
	}
	return 0;
}

/* Total bytes, or 0 with the fault set. */
static size_t check_ranges(struct graph *g, const struct graph_input *in)
{
	size_t total = 0;
	if (in->range_cnt == 0 || in->range_cnt > GRAPH_MAX_RANGES) {
		fail(g, GRAPH_BAD_RANGE, 0);
		return 0;
	}
	for (size_t i = 0; i < in->range_cnt; i++) {
		const struct graph_range *r = &in->ranges[i];
		bool held = in->bytes ? in->bytes[i] != NULL : code_window_at(in->code, r->addr, r->sz) != NULL;
		if (r->sz == 0 || r->addr + r->sz < r->addr || !held) {
			fail(g, GRAPH_BAD_RANGE, r->addr);
			return 0;
		}
		total += r->sz;
		if (r->sz > GRAPH_MAX_SZ || total > GRAPH_MAX_SZ) {
			fail(g, GRAPH_TOO_LARGE, r->addr);
			return 0;
		}
	}
	return total;
}

static int make_room(struct graph *g, size_t slots)
{
	if (slots > g->slot_cap) {
		struct graph_slot *s = realloc(g->slots, slots * sizeof(*s));
		if (!s)
			return -ENOMEM;
		g->slots = s;
		g->slot_cap = slots;
	}
	if (slots > g->work_cap) {
		uint32_t *work = realloc(g->work, slots * sizeof(*work));
		if (!work)
			return -ENOMEM;
		g->work = work;
		g->work_cap = slots;
	}
	memset(g->slots, 0, slots * sizeof(*g->slots));
	return 0;
}

int graph_build(struct graph *g, const struct graph_input *in)
{
	struct walk w = {g, in, 0};
	g->insns.cnt = 0;
	g->table_exits.cnt = 0;
	g->table_stops.cnt = 0;
	g->open.cnt = 0;
	g->named.cnt = 0;
	g->work_cnt = 0;
	g->fault = GRAPH_WHOLE;
	g->fault_addr = 0;
	g->data_gap = false;

	size_t total = check_ranges(g, in);
	if (!total)
		return 0;
	int err = make_room(g, total);
	if (err)
		return err;

	/* arm64 keeps the return address in a register: there the depth says nothing. */
	reach(&w, in->ranges[0].addr, in->code->arch == DECODE_X86_64 ? 0 : GRAPH_UNKNOWN, GRAPH_UNKNOWN, -1);
	for (size_t i = 0; i < in->entry_cnt; i++)
		if (graph_inside(in, in->entries[i]))
			reach(&w, in->entries[i], GRAPH_UNKNOWN, GRAPH_UNKNOWN, -1);
	while (g->work_cnt > 0 && g->fault == GRAPH_WHOLE) {
		visit(&w, g->work[--g->work_cnt]);
		while (g->work_cnt == 0 && g->fault == GRAPH_WHOLE && advance_open(&w))
			;
	}
	if (w.failed)
		return w.failed;
	return g->fault == GRAPH_WHOLE ? collect(&w) : 0;
}

void graph_release(struct graph *g)
{
	free(g->slots);
	free(g->work);
	vec_release(&g->insns);
	vec_release(&g->table_exits);
	vec_release(&g->table_stops);
	vec_release(&g->open);
	vec_release(&g->named);
	*g = (struct graph){0};
}
