/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/list_merge.h"

#include <errno.h>

#include "base/cleanup.h"

#define NOWHERE UINT32_MAX

struct list_place {
	struct probe_list *lender; /* NULL: the list itself */
	bool vacant;
};

static int reserve(void **data, size_t cnt, size_t *cap, size_t sz, size_t more)
{
	/* Untouched memory costs address space only. */
	void *grown = reallocarray(*data, cnt + more, sz);
	if (!grown)
		return -ENOMEM;
	*data = grown;
	*cap = cnt + more;
	return 0;
}

int probe_list_reserve(struct probe_list *list)
{
	int rc = reserve((void **)&list->targets.data, list->targets.cnt, &list->targets.cap,
			 sizeof(*list->targets.data), LIST_MORE_TARGETS);
	if (rc == 0)
		rc = reserve((void **)&list->probes.data, list->probes.cnt, &list->probes.cap,
			     sizeof(*list->probes.data), LIST_MORE_PROBES);
	list->places = calloc(list->targets.cap, sizeof(*list->places));
	if (!list->places)
		rc = -ENOMEM;
	for (uint32_t i = 0; i < list->probes.cnt && rc == 0; i++)
		rc = vec_push(&list->order, i);
	return rc;
}

struct order {
	uint32_t *data;
	size_t cnt, cap;
};

static void order_release(struct order *o)
{
	vec_release(o);
}

/* Where everything of `next` is, or will be, in the list. */
struct merge_plan {
	uint32_t *targets, *probes;
	bool *is_new; /* of the targets */
	uint32_t new_targets, new_probes;
	size_t target_end; /* behind the last one */
};

static void merge_plan_release(struct merge_plan *m)
{
	free(m->targets);
	free(m->probes);
	free(m->is_new);
}

static size_t find_target(const struct probe_list *list, const struct target_spec *wanted, size_t from)
{
	while (from < list->targets.cnt &&
	       (list->places[from].vacant || !sv_eq(list->targets.data[from].canonical, wanted->canonical)))
		from++;
	return from;
}

/* A place from `from` on, before `end`; else behind all of them. */
static size_t find_vacancy(const struct probe_list *list, size_t from, size_t end)
{
	while (from < end && !list->places[from].vacant)
		from++;
	return from < end ? from : list->targets.cnt > from ? list->targets.cnt : from;
}

static void put_target(struct merge_plan *m, size_t i, size_t at, bool is_new)
{
	m->targets[i] = (uint32_t)at;
	m->is_new[i] = is_new;
	m->new_targets += is_new;
	m->target_end = at + 1 > m->target_end ? at + 1 : m->target_end;
}

/* The first that matches a process gets it, so their order is part of what they mean. Those that are there stay where they
 * are if they come behind the one before. */
static void place_targets(const struct probe_list *list, const struct probe_list *next, struct merge_plan *m)
{
	size_t from = 0;
	m->target_end = list->targets.cnt;
	for (size_t i = 0; i < next->targets.cnt; i++) {
		size_t at = find_target(list, &next->targets.data[i], from), end = list->targets.cnt;
		bool is_new = at >= end;
		for (size_t k = i + 1; is_new && k < next->targets.cnt && end == list->targets.cnt; k++)
			end = find_target(list, &next->targets.data[k], from);
		put_target(m, i, is_new ? find_vacancy(list, from, end) : at, is_new);
		from = m->targets[i] + 1;
	}
}

/* No room behind: all of them anew, wherever there is room. */
static void place_targets_anew(const struct probe_list *list, const struct probe_list *next, struct merge_plan *m)
{
	size_t from = 0;
	m->target_end = list->targets.cnt;
	m->new_targets = 0;
	for (size_t i = 0; i < next->targets.cnt; i++) {
		put_target(m, i, find_vacancy(list, from, list->targets.cnt), true);
		from = m->targets[i] + 1;
	}
}

static uint32_t find_probe(const struct probe_list *list, const struct probe *wanted, int target, bool at_run_time)
{
	for (size_t i = 0; i < list->probes.cnt; i++) {
		const struct probe *p = &list->probes.data[i];
		if (p->target == target && p->at_run_time == at_run_time && sv_eq(p->canonical, wanted->canonical))
			return (uint32_t)i;
	}
	return NOWHERE;
}

static void place_probes(const struct probe_list *list, const struct probe_list *next, bool at_run_time,
			 struct merge_plan *m)
{
	for (size_t i = 0; i < next->probes.cnt; i++) {
		const struct probe *p = &next->probes.data[i];
		int target = p->target < 0 ? -1 : (int)m->targets[p->target];
		m->probes[i] = find_probe(list, p, target, at_run_time);
		if (m->probes[i] == NOWHERE)
			m->probes[i] = (uint32_t)list->probes.cnt + m->new_probes++;
	}
}

static int make_plan(const struct probe_list *list, const struct probe_list *next, bool at_run_time,
		     struct merge_plan *m, struct sbuf *err)
{
	*m = (struct merge_plan){.targets = calloc(next->targets.cnt + 1, sizeof(*m->targets)),
				 .probes = calloc(next->probes.cnt + 1, sizeof(*m->probes)),
				 .is_new = calloc(next->targets.cnt + 1, sizeof(*m->is_new))};
	if (!m->targets || !m->probes || !m->is_new)
		return -ENOMEM;
	if (!at_run_time)
		place_targets(list, next, m);
	if (m->target_end > list->targets.cap)
		place_targets_anew(list, next, m);
	place_probes(list, next, at_run_time, m);
	if (m->target_end > list->targets.cap || list->probes.cnt + m->new_probes > list->probes.cap) {
		sbuf_addf(
			err,
			"there are %zu targets, with those that processes still belong to, and since the start there were %zu "
			"different probes: there is no room for %u and %u more; a restart makes room",
			list->targets.cnt, list->probes.cnt, m->new_targets, m->new_probes);
		return -ENOSPC;
	}
	return 0;
}

static void move_targets(struct probe_list *list, struct probe_list *next, const struct merge_plan *m,
			 struct list_merge *ret)
{
	size_t before = list->targets.cnt;
	bool *wanted = m->targets ? calloc(before + 1, sizeof(*wanted)) : NULL;
	for (size_t i = 0; i < next->targets.cnt; i++) {
		struct target_spec *t = &next->targets.data[i];
		if (m->is_new[i]) {
			t->number = m->targets[i] + 1;
			list->targets.data[m->targets[i]] = *t;
			list->places[m->targets[i]] = (struct list_place){.lender = next};
			next->lent++;
			*t = (struct target_spec){.retired = true};
			ret->targets_added++;
		}
		if (wanted && m->targets[i] < before)
			wanted[m->targets[i]] = true;
	}
	for (size_t i = 0; wanted && i < before; i++) {
		struct target_spec *t = &list->targets.data[i];
		ret->targets_added += wanted[i] && t->retired;
		ret->targets_removed += !wanted[i] && !t->retired;
		t->retired = !wanted[i];
	}
	/* Complete before anybody can find them. */
	__atomic_store_n(&list->targets.cnt, m->target_end, __ATOMIC_RELEASE);
	free(wanted);
}

static bool is_in_order(const struct order *o, uint32_t index)
{
	vec_foreach (one, o)
		if (*one == index)
			return true;
	return false;
}

static int move_probes(struct probe_list *list, struct probe_list *next, const struct merge_plan *m, bool at_run_time,
		       struct order *order, struct list_merge *ret)
{
	int rc = 0;
	for (size_t i = 0; i < next->probes.cnt && rc == 0; i++) {
		struct probe *from = &next->probes.data[i], *to = &list->probes.data[m->probes[i]];
		if (m->probes[i] >= list->probes.cnt) {
			*to = *from;
			to->target = from->target < 0 ? -1 : (int)m->targets[from->target];
			to->at_run_time = at_run_time;
			to->retired = true; /* until it is counted */
			from->functions = from->excludes = (struct probe_glob_vec){0};
			list->probes.cnt = m->probes[i] + 1;
		}
		ret->probes_added += to->retired;
		to->retired = false;
		rc = is_in_order(order, m->probes[i]) ? 0 : vec_push(order, m->probes[i]);
	}
	return rc;
}

/* The file's that it does not name any more go; those of run time come behind the file's. */
static int settle_others(struct probe_list *list, struct order *order, struct list_merge *ret)
{
	int rc = 0;
	for (uint32_t i = 0; i < list->probes.cnt && rc == 0; i++) {
		struct probe *p = &list->probes.data[i];
		if (p->retired || is_in_order(order, i))
			continue;
		if (p->at_run_time)
			rc = vec_push(order, i);
		ret->probes_removed += !p->at_run_time;
		p->retired = !p->at_run_time;
	}
	return rc;
}

static void take_order(struct probe_list *list, struct order *order)
{
	vec_release(&list->order);
	list->order.data = order->data;
	list->order.cnt = order->cnt;
	list->order.cap = order->cap;
	*order = (struct order){0};
}

static bool same_includes(const struct probe_list *a, const struct probe_list *b)
{
	if (a->includes.cnt != b->includes.cnt)
		return false;
	for (size_t i = 0; i < a->includes.cnt; i++)
		if (!sv_eq(a->includes.data[i].text, b->includes.data[i].text))
			return false;
	return true;
}

static int take_includes(struct probe_list *list, const struct probe_list *next)
{
	int rc = 0;
	if (same_includes(list, next))
		return 0;
	list->includes.cnt = 0;
	for (size_t i = 0; i < next->includes.cnt && rc == 0; i++) {
		struct probe_glob copy = {.text = arena_dup(&list->arena, next->includes.data[i].text)};
		rc = copy.text.data ? vec_push(&list->includes, copy) : -ENOMEM;
	}
	return rc;
}

int probe_list_merge(struct probe_list *list, struct probe_list *next, struct list_merge *ret, bool *ret_kept,
		     struct sbuf *err)
{
	__cleanup(merge_plan_release) struct merge_plan m;
	__cleanup(order_release) struct order order = {0};
	*ret = (struct list_merge){.fixed_changed = !sv_eq(list->canonical_fixed, next->canonical_fixed)};
	*ret_kept = false;
	int rc = make_plan(list, next, false, &m, err);
	if (rc < 0)
		return rc;
	*ret_kept = m.new_targets || m.new_probes;
	next->lent_for_good = m.new_probes > 0;
	move_targets(list, next, &m, ret);
	rc = move_probes(list, next, &m, false, &order, ret);
	if (rc == 0)
		rc = settle_others(list, &order, ret);
	if (rc == 0)
		rc = take_includes(list, next);
	if (rc == 0)
		take_order(list, &order);
	return rc;
}

int probe_list_merge_probes(struct probe_list *list, struct probe_list *more, struct list_merge *ret, bool *ret_kept,
			    struct sbuf *err)
{
	__cleanup(merge_plan_release) struct merge_plan m;
	__cleanup(order_release) struct order order = {0};
	*ret = (struct list_merge){0};
	*ret_kept = false;
	int rc = make_plan(list, more, true, &m, err);
	if (rc < 0)
		return rc;
	*ret_kept = more->lent_for_good = m.new_probes > 0;
	for (size_t i = 0; i < list->order.cnt && rc == 0; i++)
		rc = vec_push(&order, list->order.data[i]);
	if (rc == 0)
		rc = move_probes(list, more, &m, true, &order, ret);
	if (rc == 0)
		take_order(list, &order);
	return rc;
}

int probe_list_merge_remove(struct probe_list *list, uint32_t index, struct list_merge *ret)
{
	struct probe *p = index < list->probes.cnt ? &list->probes.data[index] : NULL;
	size_t kept = 0;
	*ret = (struct list_merge){0};
	if (!p || p->retired)
		return -ENOENT;
	if (!p->at_run_time)
		return -EPERM;
	p->retired = true;
	ret->probes_removed = 1;
	for (size_t i = 0; i < list->order.cnt; i++)
		if (list->order.data[i] != index)
			list->order.data[kept++] = list->order.data[i];
	list->order.cnt = kept;
	return 0;
}

/* What is said of a place may not be said of whoever comes there next. */
static bool is_named(const struct probe_list *list, size_t target)
{
	vec_foreach (h, &list->handoffs)
		if (h->target == (int)target)
			return true;
	return false;
}

void probe_list_vacate(struct probe_list *list, const bool *in_use)
{
	size_t cnt = list->targets.cnt;
	for (size_t i = 0; i < cnt; i++) {
		struct target_spec *t = &list->targets.data[i];
		struct list_place *place = &list->places[i];
		if (place->vacant || !t->retired || in_use[i] || routes_are_held(&t->routes) || is_named(list, i))
			continue;
		target_spec_release(t);
		*t = (struct target_spec){.retired = true};
		if (place->lender)
			place->lender->lent--;
		*place = (struct list_place){.vacant = true};
	}
	while (cnt && list->places[cnt - 1].vacant)
		list->places[--cnt].vacant = false;
	list->targets.cnt = cnt;
}

bool probe_list_lends(const struct probe_list *lender)
{
	return lender->lent || lender->lent_for_good;
}
