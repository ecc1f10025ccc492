/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/probe-list/NN_name.yaml -> NN_name.gold: everything a person is told about a bad probe list.
 * Run from the root of the source, or with SPANHOUND_GOLDEN=.../tests/golden; UPDATE_GOLD=1 rewrites the files. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "probe/list.h"

#define MIN_FILES 40

static void golden_path(char *buf, size_t sz, const char *name)
{
	const char *dir = getenv("SPANHOUND_GOLDEN");
	snprintf(buf, sz, "%s/probe-list/%s", dir ? dir : "tests/golden", name);
}

static char *read_whole(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "r");
	if (!f)
		return NULL;
	char *text = malloc(1 << 21);
	*ret_len = fread(text, 1, (1 << 21) - 1, f);
	text[*ret_len] = '\0';
	fclose(f);
	return text;
}

/* Whether what is said is what the .gold file says. */
static bool check_file(const char *name)
{
	char path[512], gold_name[256];
	size_t len = 0, gold_len = 0;
	golden_path(path, sizeof(path), name);
	char *text = read_whole(path, &len);
	assert_non_null(text);
	struct diagnostics d = {0};
	struct probe_list *list = NULL;
	struct sbuf said = {0};
	int err = probe_list_parse(&list, name, text, len, &d);
	diagnostics_print(&d, &said);
	assert_int_equal(err, d.error_cnt ? -EINVAL : 0);
	assert_false(d.failed);

	snprintf(gold_name, sizeof(gold_name), "%.*s.gold", (int)(strlen(name) - strlen(".yaml")), name);
	golden_path(path, sizeof(path), gold_name);
	if (getenv("UPDATE_GOLD")) {
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		fwrite(said.data, 1, said.len, f);
		fclose(f);
	}
	char *gold = read_whole(path, &gold_len);
	bool same = gold && gold_len == said.len && memcmp(gold, sbuf_str(&said), gold_len) == 0;
	if (!same)
		print_error("%s: expected\n%s\nbut it says\n%s\n", name, gold ? gold : "(no file)", sbuf_str(&said));
	free(gold);
	free(text);
	sbuf_release(&said);
	probe_list_free(list);
	diagnostics_release(&d);
	return same;
}

static void test_bad_files(void **state)
{
	char path[512];
	struct dirent **names;
	unsigned files = 0, wrong = 0;
	(void)state;
	golden_path(path, sizeof(path), "");
	int cnt = scandir(path, &names, NULL, alphasort);
	assert_true(cnt > 0);
	for (int i = 0; i < cnt; i++) {
		const char *name = names[i]->d_name;
		size_t len = strlen(name);
		if (len > 5 && strcmp(name + len - 5, ".yaml") == 0) {
			files++;
			wrong += !check_file(name);
		}
		free(names[i]);
	}
	free(names);
	assert_true(files >= MIN_FILES);
	assert_int_equal(wrong, 0);
}

static void load_says(const char *path, int expected_err, const char *expected)
{
	struct diagnostics d = {0};
	struct probe_list *list = (void *)1;
	struct sbuf said = {0};
	assert_int_equal(probe_list_load(&list, path, &d), expected_err);
	assert_null(list);
	diagnostics_print(&d, &said);
	assert_string_equal(sbuf_str(&said), expected);
	sbuf_release(&said);
	diagnostics_release(&d);
}

static void test_unreadable_files(void **state)
{
	(void)state;
	load_says("/nonexistent/probes.yaml", -ENOENT,
		  "/nonexistent/probes.yaml: error: cannot read the probe list: No such file or directory\n");
	load_says("/proc", -EISDIR, "/proc: error: cannot read the probe list: Is a directory\n");
	load_says("/dev/zero", -EINVAL, "/dev/zero: error: more than 1024 KiB: no probe list is that long\n");
	load_says("/dev/null", -EINVAL,
		  "/dev/null:1:1: error: the probe list is empty: expected targets: or probes:\n    \n    ^\n");
}

/* What bytes can do that a file in the repository had better not contain. */
static void test_bytes(void **state)
{
	static const struct {
		struct sv text;
		const char *said;
	} cases[] = {
		{SV("a: \"\xff\"\n"), "f:1:5: error: byte 0xff is not UTF-8; a probe list is plain text in UTF-8\n"},
		{SV("# \xc3\xa9\n\xc3\xa9: \xc3("),
		 "f:2:4: error: byte 0xc3 is not UTF-8; a probe list is plain text in UTF-8\n"},
		{SV("probes:\n  \0"), "f:2:3: error: byte 0x00 is not text; a probe list is plain text in UTF-8\n"},
		{SV("a: \x1b[31m"), "f:1:4: error: byte 0x1b is not text; a probe list is plain text in UTF-8\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct diagnostics d = {0};
		struct probe_list *list;
		struct sbuf said = {0};
		assert_int_equal(probe_list_parse(&list, "f", cases[i].text.data, cases[i].text.len, &d), -EINVAL);
		diagnostics_print(&d, &said);
		said.data[strcspn(said.data, "\n") + 1] = '\0';
		assert_string_equal(said.data, cases[i].said);
		sbuf_release(&said);
		diagnostics_release(&d);
	}
}

/* More mistakes than are kept are still counted and said. */
static void test_flood(void **state)
{
	struct sbuf text = {0}, said = {0};
	struct diagnostics d = {0};
	struct probe_list *list;
	(void)state;
	for (int i = 0; i < 1000; i++)
		sbuf_addf(&text, "unknown%d: 1\n", i);
	assert_int_equal(probe_list_parse(&list, "f", text.data, text.len, &d), -EINVAL);
	diagnostics_print(&d, &said);
	assert_int_equal(d.error_cnt, 1000);
	assert_int_equal(d.items.cnt, DIAGNOSTICS_MAX);
	assert_non_null(strstr(said.data, "... and 800 more\n"));
	probe_list_free(list);
	diagnostics_release(&d);
	sbuf_release(&text);
	sbuf_release(&said);
}

/* Later phases add to what the file's own check found; it all comes out in file order. */
static void test_later_phase(void **state)
{
	static const char text[] = "probes:\n  - function: chrage_card\n    sampel: 0.1\n";
	struct diagnostics d = {0};
	struct probe_list *list;
	struct sbuf said = {0};
	(void)state;
	assert_int_equal(probe_list_parse(&list, "p.yaml", text, strlen(text), &d), -EINVAL);
	assert_non_null(list);
	diagnostics_error(&d, list->probes.data[0].functions.data[0].pos,
			  "no function 'chrage_card' in shop; did you mean charge_card?");
	diagnostics_warning(&d, ((struct source_pos){0}), "about no line at all");
	diagnostics_print(&d, &said);
	assert_string_equal(said.data,
			    "p.yaml: warning: about no line at all\n"
			    "p.yaml:2:15: error: no function 'chrage_card' in shop; did you mean charge_card?\n"
			    "      - function: chrage_card\n"
			    "                  ^\n"
			    "p.yaml:3:5: error: unknown key 'sampel' in a probe; did you mean 'sample'?\n"
			    "        sampel: 0.1\n"
			    "        ^\n");
	assert_int_equal(d.error_cnt, 2);
	assert_int_equal(d.warning_cnt, 1);
	probe_list_free(list);
	diagnostics_release(&d);
	sbuf_release(&said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_files), cmocka_unit_test(test_unreadable_files), cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_flood),	  cmocka_unit_test(test_later_phase),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
