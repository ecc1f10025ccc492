/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "probe/list_merge.h"

static struct probe_list *parse(const char *text)
{
	struct diagnostics d = {0};
	struct probe_list *list = NULL;
	assert_int_equal(probe_list_parse(&list, "f", text, strlen(text), &d), 0);
	diagnostics_release(&d);
	return list;
}

static struct probe_list *first(const char *text)
{
	struct probe_list *list = parse(text);
	assert_int_equal(probe_list_reserve(list), 0);
	return list;
}

/* Merges; the lists that must live are freed by the caller, through `kept`. */
static struct probe_list *merge(struct probe_list *list, const char *text, struct list_merge *m)
{
	struct sbuf err = {0};
	struct probe_list *next = parse(text);
	bool kept;
	assert_int_equal(probe_list_merge(list, next, m, &kept, &err), 0);
	sbuf_release(&err);
	if (kept)
		return next;
	probe_list_free(next);
	return NULL;
}

static const char *wanted(const struct probe_list *list)
{
	static char text[256];
	text[0] = '\0';
	for (size_t i = 0; i < list->order.cnt; i++) {
		const struct probe *p = &list->probes.data[list->order.data[i]];
		assert_false(p->retired);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u" SV_FMT, i ? " " : "",
			 list->order.data[i], SV_ARG(p->functions.data[0].text));
	}
	return text;
}

static void test_probes_come_back_to_their_place(void **state)
{
	struct list_merge m;
	(void)state;
	struct probe_list *list = first("probes: [{function: a}, {function: b}]\n");
	assert_string_equal(wanted(list), "0a 1b");
	/* Blanks, quotes and comments do not make another probe. */
	assert_null(merge(list, "probes:\n  - function: a # this\n  -    {function: b}\n", &m));
	assert_int_equal(m.probes_added + m.probes_removed, 0);
	struct probe_list *second = merge(list, "probes: [{function: c}, {function: a}]\n", &m);
	assert_non_null(second);
	assert_string_equal(wanted(list), "2c 0a");
	assert_int_equal(m.probes_added, 1);
	assert_int_equal(m.probes_removed, 1);
	assert_null(merge(list, "probes: [{function: a}, {function: b}]\n", &m));
	assert_string_equal(wanted(list), "0a 1b");
	assert_int_equal(m.probes_added, 1);
	/* The same function with something else about it is another. */
	struct probe_list *third = merge(list, "probes: [{function: a, rate: 5/s}]\n", &m);
	assert_string_equal(wanted(list), "3a");
	assert_int_equal(list->probes.data[3].spec.rate_per_sec, 5);
	probe_list_free(list);
	probe_list_free(second);
	probe_list_free(third);
}

static void test_targets_keep_their_order(void **state)
{
	struct list_merge m;
	(void)state;
	struct probe_list *list = first("targets: [{name: a, probes: [{function: f}]}, {name: b}]\n");
	struct target_spec *a = &list->targets.data[0];
	/* Before `a`: then `a` is tried later than it was, which is another target. */
	struct probe_list *second =
		merge(list, "targets: [{name: c}, {name: a, probes: [{function: f}]}, {name: b}]\n", &m);
	assert_ptr_equal(a, &list->targets.data[0]);
	assert_true(a->retired);
	assert_int_equal(m.targets_added, 3);
	assert_int_equal(m.targets_removed, 2);
	assert_int_equal(list->probes.data[list->order.data[0]].target, 3);
	assert_null(merge(list, "targets: [{name: a, probes: [{function: f}]}, {name: b}]\n", &m));
	assert_false(a->retired);
	assert_true(list->targets.data[2].retired);
	assert_string_equal(wanted(list), "0f");
	probe_list_free(list);
	probe_list_free(second);
}

static void test_run_time_probes_stay(void **state)
{
	struct list_merge m;
	struct sbuf err = {0};
	bool kept;
	(void)state;
	struct probe_list *list = first("probes: [{function: a}]\n"), *more = parse("probes: [{function: x}]\n");
	assert_int_equal(probe_list_merge_probes(list, more, &m, &kept, &err), 0);
	assert_true(kept);
	assert_string_equal(wanted(list), "0a 1x");
	struct probe_list *second = merge(list, "probes: [{function: b}]\n", &m);
	assert_string_equal(wanted(list), "2b 1x");
	assert_int_equal(probe_list_merge_remove(list, 2, &m), -EPERM);
	assert_int_equal(probe_list_merge_remove(list, 0, &m), -ENOENT);
	assert_int_equal(probe_list_merge_remove(list, 99, &m), -ENOENT);
	assert_int_equal(probe_list_merge_remove(list, 1, &m), 0);
	assert_string_equal(wanted(list), "2b");
	assert_int_equal(probe_list_merge_remove(list, 1, &m), -ENOENT);
	probe_list_free(list);
	probe_list_free(more);
	probe_list_free(second);
}

static void test_what_holds_from_the_next_start_on(void **state)
{
	struct list_merge m;
	(void)state;
	struct probe_list *list = first("probes: [{function: a}]\nlimits: {max_spans: 5}\ntags: {a: b}\n");
	assert_null(merge(list, "probes: [{function: a}]\nlimits: {max_spans: 6}\ntags: {a: b}\n", &m));
	assert_true(m.fixed_changed);
	assert_null(merge(list, "probes: [{function: a}]\nlimits: {max_spans: 5}\ntags: {a: c}\n", &m));
	assert_false(m.fixed_changed);
	probe_list_free(list);
}

/* Always new: refused when there is no room, and nothing is changed then. */
/* The first that is wanted, else the first; the end: there is none. */
static size_t find_named(const struct probe_list *list, const char *name)
{
	size_t found = list->targets.cnt;
	for (size_t i = list->targets.cnt; i-- > 0;) {
		const struct target_spec *t = &list->targets.data[i];
		if (t->names.cnt && sv_eq(t->names.data[0], sv_of(name)) &&
		    (found == list->targets.cnt || !t->retired || list->targets.data[found].retired))
			found = i;
	}
	return found;
}

/* Targets that are new each time: none is kept that nobody uses, and no list that lent them. */
static void test_always_new_targets(void **state)
{
	struct list_merge m;
	struct probe_list *held, *third, *lent_c = NULL, *before = NULL;
	bool in_use[LIST_MORE_TARGETS + 3] = {0};
	size_t most = 0;
	char text[128];
	(void)state;
	struct probe_list *list = first("targets: [{name: a}, {name: b}, {name: c}]\n");
	for (unsigned i = 0; i < 2 * LIST_MORE_TARGETS; i++) {
		snprintf(text, sizeof(text), "targets: [{name: a%u}, {name: b%u, routes: [/x]}, {name: c}]\n", i, i);
		struct probe_list *next = merge(list, text, &m);
		assert_non_null(next);
		probe_list_vacate(list, in_use);
		most = list->targets.cnt > most ? list->targets.cnt : most;
		/* The one that lent what never changes stays. */
		if (i == 0)
			lent_c = next;
		else if (before && before != lent_c)
			assert_false(probe_list_lends(before));
		if (before != lent_c)
			probe_list_free(before);
		before = next;
	}
	assert_true(probe_list_lends(lent_c));
	assert_in_range(most, 3, 12);
	/* Somebody still needs what one of them says, a process belongs to the other. */
	size_t b = find_named(list, "b2047"), c = find_named(list, "c");
	routes_hold(&list->targets.data[b].routes);
	in_use[c] = true;
	held = merge(list, "targets: [{name: d}, {name: e}]\n", &m);
	probe_list_vacate(list, in_use);
	assert_true(probe_list_lends(before));
	assert_int_equal(find_named(list, "b2047"), b);
	assert_int_equal(find_named(list, "c"), c);
	assert_true(list->targets.data[b].retired && list->targets.data[c].retired);
	routes_let_go(&list->targets.data[b].routes);
	in_use[c] = false;
	probe_list_vacate(list, in_use);
	assert_int_equal(find_named(list, "b2047"), list->targets.cnt);
	assert_int_equal(find_named(list, "c"), list->targets.cnt);
	/* Those that stay are tried in their order, the new one between them, if there is room for it or not. */
	assert_true(find_named(list, "d") < find_named(list, "e"));
	third = merge(list, "targets: [{name: f}, {name: d}, {name: g}, {name: e}]\n", &m);
	assert_true(find_named(list, "f") < find_named(list, "d") && find_named(list, "d") < find_named(list, "g") &&
		    find_named(list, "g") < find_named(list, "e"));
	probe_list_free(list);
	probe_list_free(lent_c);
	probe_list_free(before);
	probe_list_free(held);
	probe_list_free(third);
}

/* As many as there may be: then all of them move to where there is room. */
static void test_targets_move(void **state)
{
	struct list_merge m;
	bool in_use[LIST_MORE_TARGETS + 3] = {0};
	struct probe_list *lists[LIST_MORE_TARGETS + 1] = {0};
	char text[128];
	(void)state;
	struct probe_list *list = first("targets: [{name: a}, {name: z}]\n");
	unsigned cnt = 0;
	for (; list->targets.cnt < list->targets.cap; cnt++) {
		snprintf(text, sizeof(text), "targets: [{name: x%u}, {name: y%u}]\n", cnt, cnt);
		lists[cnt] = merge(list, text, &m);
	}
	in_use[find_named(list, "x500")] = true;
	probe_list_vacate(list, in_use);
	size_t last = find_named(list, "x511");
	assert_int_equal(last, list->targets.cap - 2);
	lists[cnt++] = merge(list, "targets: [{name: x511}, {name: y511}, {name: w}]\n", &m);
	assert_true(list->targets.data[last].retired);
	assert_int_equal(m.targets_added, 3);
	assert_int_equal(m.targets_removed, 2);
	assert_true(find_named(list, "x511") < find_named(list, "y511") &&
		    find_named(list, "y511") < find_named(list, "w"));
	assert_true(list->targets.data[find_named(list, "x500")].retired);
	probe_list_free(list);
	for (unsigned i = 0; i < cnt; i++)
		probe_list_free(lists[i]);
}

static void test_full(void **state)
{
	struct probe_list *kept_lists[LIST_MORE_PROBES + 2] = {0};
	struct list_merge m;
	struct sbuf err = {0};
	char text[128];
	bool kept;
	(void)state;
	struct probe_list *list = first("probes: [{function: a}]\n");
	for (unsigned i = 0; i < LIST_MORE_PROBES; i++) {
		snprintf(text, sizeof(text), "probes: [{function: f%u}]\n", i);
		kept_lists[i] = merge(list, text, &m);
	}
	struct probe_list *next = parse("probes: [{function: one_too_many}]\n");
	assert_int_equal(probe_list_merge(list, next, &m, &kept, &err), -ENOSPC);
	assert_non_null(strstr(sbuf_str(&err), "a restart makes room"));
	snprintf(text, sizeof(text), "%uf%u", LIST_MORE_PROBES, LIST_MORE_PROBES - 1);
	assert_string_equal(wanted(list), text);
	assert_null(merge(list, "probes: [{function: a}]\n", &m));
	assert_string_equal(wanted(list), "0a");
	sbuf_release(&err);
	probe_list_free(next);
	probe_list_free(list);
	for (unsigned i = 0; i < LIST_MORE_PROBES; i++)
		probe_list_free(kept_lists[i]);
}

/* 500 files that somebody's editor, disk or cat damaged: each mistake has a place, and none is our end. */
static void test_mutated_files(void **state)
{
	static const char good[] = "include: conf.d/*.yaml\npolicy: {listening: true}\n"
				   "control: {socket: /run/x.sock}\nhealth: {listen: \"127.0.0.1:9464\"}\n"
				   "targets:\n  - name: shop\n    service: shop\n    tags: {team: a}\n    probes:\n"
				   "      - function: charge_*\n        args: {amount: {at: 1, type: i64}}\n"
				   "        when: amount > 100\n        span: {resource: \"{amount}\"}\n"
				   "limits: {max_spans: 1000, ring_size: 1m}\nroutes: [\"/a/{id}\"]\n"
				   "agent: {host: localhost, port: 8126}\n";
	static const char *const pieces[] = {"  ", "\n",  ": ", "- ", "{",    "}", "[",
					     "\"", "&a ", "*a", "\t", "\xff", "#", "!"};
	uint32_t seed = 7, with_errors = 0;
	(void)state;
	for (unsigned n = 0; n < 500; n++) {
		struct sbuf text = {0};
		struct diagnostics d = {0};
		struct probe_list *list = NULL;
		sbuf_adds(&text, good);
		for (unsigned i = 0; i <= n % 3; i++) {
			seed = seed * 1664525 + 1013904223;
			size_t at = (seed >> 8) % text.len;
			const char *piece = pieces[(seed >> 4) % (sizeof(pieces) / sizeof(pieces[0]))];
			if (seed & 1)
				text.data[at] = piece[0];
			else
				memmove(text.data + at, text.data + at + 1, text.len-- - at - 1);
		}
		int rc = probe_list_parse(&list, "f", text.data, text.len, &d);
		assert_true(rc == 0 || rc == -EINVAL);
		assert_int_equal(rc == 0, d.error_cnt == 0);
		vec_foreach (item, &d.items) {
			assert_true(item->pos.line > 0 && item->pos.column > 0);
			assert_true(item->message.len > 0);
		}
		with_errors += d.error_cnt > 0;
		probe_list_free(list);
		diagnostics_release(&d);
		sbuf_release(&text);
	}
	assert_true(with_errors > 200 && with_errors < 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probes_come_back_to_their_place),
		cmocka_unit_test(test_targets_keep_their_order),
		cmocka_unit_test(test_run_time_probes_stay),
		cmocka_unit_test(test_what_holds_from_the_next_start_on),
		cmocka_unit_test(test_always_new_targets),
		cmocka_unit_test(test_targets_move),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_mutated_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
