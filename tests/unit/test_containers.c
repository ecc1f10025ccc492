/* SPDX-License-Identifier: Apache-2.0 */
/* Names and labels of containers: what is wanted, what is answered, what is kept. */
#include "target_help.h"

#include "target/containers.h"

#define SECOND 1000000000ULL

static int woken;

static void wake(void *arg)
{
	(void)arg;
	woken++;
}

static bool named(struct containers *t, const char *id, const char *glob)
{
	struct sv_vec globs = {(struct sv[]){sv_of(glob)}, 1, 1};
	return containers_match_name(t, sv_of(id), &globs);
}

static bool labelled(struct containers *t, const char *id, const char *key, const char *value)
{
	struct tag_vec labels = {(struct tag[]){{sv_of(key), sv_of(value)}}, 1, 1};
	return containers_match_labels(t, sv_of(id), &labels);
}

static void test_asked_once(void **state)
{
	(void)state;
	char id[CONTAINER_ID_MAX + 1];
	struct containers_stats stats;
	struct containers *t = containers_new(wake, NULL);
	woken = 0;
	assert_false(containers_next(t, 0, id));
	assert_false(named(t, "c1", "*"));
	assert_false(named(t, "c1", "*"));
	assert_int_equal(woken, 1);
	assert_true(containers_next(t, 0, id));
	assert_string_equal(id, "c1");
	assert_false(containers_next(t, 0, id)); /* it is being asked */
	assert_int_equal(containers_answer(t, "c1",
					   SV("{\"Id\":\"c1\",\"Name\":\"/shop-web\",\"State\":{\"Pid\":7},"
					      "\"Config\":{\"Env\":[\"A=b\"],\"Labels\":{\"app\":\"shop\","
					      "\"n\":\"\\u00e9\"}},\"Mounts\":[]}")),
			 0);
	assert_true(named(t, "c1", "shop-*"));
	assert_false(named(t, "c1", "web"));
	assert_true(labelled(t, "c1", "app", "sh*"));
	assert_true(labelled(t, "c1", "n", "\xc3\xa9"));
	assert_false(labelled(t, "c1", "app", "other"));
	assert_false(labelled(t, "c1", "App", "*"));
	struct tag_vec both = {(struct tag[]){{SV("app"), SV("shop")}, {SV("tier"), SV("*")}}, 2, 2};
	assert_false(containers_match_labels(t, SV("c1"), &both)); /* every one of them */
	containers_stats(t, &stats);
	assert_int_equal(stats.known, 1);
	assert_int_equal(stats.wanted + stats.asked, 0);
	assert_int_equal(woken, 1);
	containers_free(t);
}

static void test_no_answer(void **state)
{
	(void)state;
	char id[CONTAINER_ID_MAX + 1];
	struct containers *t = containers_new(NULL, NULL);
	named(t, "gone", "*");
	named(t, "late", "*");
	for (int i = 0; i < 2; i++) {
		assert_true(containers_next(t, SECOND, id));
		containers_no_answer(t, id, strcmp(id, "gone") == 0, SECOND);
	}
	assert_false(named(t, "late", "*"));
	assert_false(containers_next(t, SECOND + CONTAINERS_RETRY_NS - 1, id));
	assert_true(containers_next(t, SECOND + CONTAINERS_RETRY_NS, id)); /* the unknown one is not asked for again */
	assert_string_equal(id, "late");
	assert_false(containers_next(t, SECOND + CONTAINERS_RETRY_NS, id));
	assert_int_equal(containers_answer(t, "late", SV("{\"Name\":\"x\"}")), 0);
	assert_true(named(t, "late", "x"));
	/* Answers nobody asked for. */
	assert_int_equal(containers_answer(t, "late", SV("{\"Name\":\"y\"}")), 0);
	assert_true(named(t, "late", "x"));
	assert_int_equal(containers_answer(t, "nobody", SV("{\"Name\":\"y\"}")), 0);
	assert_false(named(t, "nobody", "y"));
	containers_free(t);
}

static void test_bad_answers(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"Name\":7}",
		"{\"Name\":\"/x\"",
		"{\"Name\":\"/x\"} x",
		"{\"message\":\"No such container\"}",
		"{\"Name\":\"/x\",\"Config\":{\"Labels\":{\"a\":\"b\"}",
		"{\"Config\":{\"Labels\":[\"a\"]}}",
		"<html>",
	};
	char id[CONTAINER_ID_MAX + 1];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct containers *t = containers_new(NULL, NULL);
		named(t, "c", "*");
		assert_true(containers_next(t, 0, id));
		assert_int_equal(containers_answer(t, "c", sv_of(bad[i])), -EBADMSG);
		assert_false(named(t, "c", "*"));
		assert_false(containers_next(t, UINT64_MAX, id));
		containers_free(t);
	}
}

/* A runtime that is not well: huge names, labels without end. */
static void test_bounds(void **state)
{
	(void)state;
	char id[CONTAINER_ID_MAX + 1];
	struct sbuf json = {0}, name = {0};
	struct containers *t = containers_new(NULL, NULL);
	sbuf_adds(&json, "{\"Name\":\"/");
	for (int i = 0; i < 100000; i++)
		sbuf_addc(&json, 'n');
	sbuf_adds(&json, "\",\"Config\":{\"Labels\":{");
	for (int i = 0; i < 10000; i++)
		sbuf_addf(&json, "%s\"l%d\":\"v\"", i ? "," : "", i);
	sbuf_adds(&json, "}}}");
	named(t, "c", "*");
	assert_true(containers_next(t, 0, id));
	assert_int_equal(containers_answer(t, "c", sbuf_sv(&json)), 0);
	containers_name(t, SV("c"), &name);
	assert_int_equal(name.len, CONTAINER_NAME_MAX);
	assert_true(labelled(t, "c", "l127", "v"));
	assert_false(labelled(t, "c", "l128", "v"));
	sbuf_release(&json);
	sbuf_release(&name);
	/* Ids that are none. */
	char longer[CONTAINER_ID_MAX + 2];
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	named(t, longer, "*");
	named(t, "", "*");
	named(t, "../info", "*");
	assert_false(containers_next(t, 0, id));
	containers_free(t);
}

static void test_eviction(void **state)
{
	(void)state;
	struct containers_stats stats;
	char id[CONTAINER_ID_MAX + 1];
	struct containers *t = containers_new(NULL, NULL);
	named(t, "first", "*");
	assert_true(containers_next(t, 0, id)); /* with the asker: it must stay */
	for (int i = 0; i < CONTAINERS_MAX + 50; i++) {
		char name[32];
		snprintf(name, sizeof(name), "c%d", i);
		named(t, name, "*");
	}
	containers_stats(t, &stats);
	assert_int_equal(stats.wanted + stats.asked + stats.known, CONTAINERS_MAX);
	assert_int_equal(stats.evicted, 51);
	assert_int_equal(containers_answer(t, "first", SV("{\"Name\":\"/x\"}")), 0);
	assert_true(named(t, "first", "x"));
	containers_free(t);
}

static void test_podinfo(void **state)
{
	(void)state;
	static const struct {
		const char *text, *key, *value;
		int rc;
	} cases[] = {
		{"app=\"shop\"\nteam=\"core\"\n", "app", "shop", 1},
		{"app=\"shop\"\nteam=\"core\"", "team", "core", 1},
		{"app.kubernetes.io/name=\"a=b\"\n", "app.kubernetes.io/name", "a=b", 1},
		{"a=\"x\\\"y\\\\z\"", "a", "x\"y\\z", 1},
		{"a=\"\"", "a", "", 1},
		{"app=\"shop\"\n", "ap", "", 0},
		{"", "app", "", 0},
		{"app=shop\n", "app", "", -EINVAL},
		{"root:x:0:0:root:/root:/bin/bash\n", "root", "", -EINVAL},
		{"a=\"\\", "a", "", -EINVAL},
		{"a=\"\\n\"", "a", "", -EINVAL},
		{"=\"x\"", "", "", -EINVAL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sbuf value = {0};
		int rc = podinfo_label(sv_of(cases[i].text), sv_of(cases[i].key), &value);
		if (rc != cases[i].rc || (rc == 1 && !sv_eq(sbuf_sv(&value), sv_of(cases[i].value))))
			fail_msg("%s: %d '%s'", cases[i].text, rc, sbuf_str(&value));
		sbuf_release(&value);
	}
}

/* The file as the process sees it: a link leads into its root; devices and FIFOs are not opened. */
static void test_podinfo_of_process(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct tag_vec labels = {(struct tag[]){{SV("app"), SV("sh*")}}, 1, 1};
	fake_process(test_dir, 9, "x", "/x", "x", 2);
	assert_int_equal(mkdir(in_dir("9/root"), 0755), 0);
	assert_int_equal(proc_open(&p, test_dir, 9), 0);
	assert_false(podinfo_match_labels(&p, &labels));
	assert_int_equal(mkdir(in_dir("9/root/etc"), 0755), 0);
	assert_int_equal(mkdir(in_dir("9/root/etc/podinfo"), 0755), 0);
	assert_int_equal(mkdir(in_dir("9/root/etc/podinfo/..data"), 0755), 0);
	write_text(in_dir("9/root/etc/podinfo/..data/labels"), "app=\"shop\"\n");
	assert_int_equal(symlink("/etc/podinfo/..data/labels", in_dir("9/root/etc/podinfo/labels")), 0);
	assert_true(podinfo_match_labels(&p, &labels));
	labels.data[0].value = SV("other");
	assert_false(podinfo_match_labels(&p, &labels));
	assert_int_equal(unlink(in_dir("9/root/etc/podinfo/labels")), 0);
	assert_int_equal(mkfifo(in_dir("9/root/etc/podinfo/labels"), 0600), 0);
	assert_false(podinfo_match_labels(&p, &labels)); /* and does not wait for a writer */
	assert_int_equal(unlink(in_dir("9/root/etc/podinfo/labels")), 0);
	assert_int_equal(symlink("../../../../../../../../etc/passwd", in_dir("9/root/etc/podinfo/labels")), 0);
	assert_false(podinfo_match_labels(&p, &labels));
	struct sbuf text = {0};
	assert_int_equal(proc_read_in_root(&p, PODINFO_LABELS, 1000, &text),
			 -ENOENT); /* below its root there is none */
	sbuf_release(&text);
	proc_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked_once),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_podinfo),
		cmocka_unit_test_setup_teardown(test_podinfo_of_process, make_test_dir, remove_test_dir),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
