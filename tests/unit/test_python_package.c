/* SPDX-License-Identifier: Apache-2.0 */
#include "target_help.h"

#include "target/python_package.h"

/* What ddtrace 4.16 makes of the same, but that it takes a link with two '#' for a reason to tell nothing at all. */
static void test_link(void **state)
{
	static const struct {
		const char *metadata, *repository, *commit;
		bool good;
	} cases[] = {
		{"Name: x\nProject-URL: source_code_link, https://git.example/a/b#abc\n", "https://git.example/a/b",
		 "abc", true},
		{"Project-URL: source_code_link, https://git.example/a#abc&other=1&z\n", "https://git.example/a", "abc",
		 true},
		{"project-url:source_code_link, https://git.example/a#abc\r\nX: y\r\n", "https://git.example/a", "abc",
		 true},
		{"Project-URL: Home, https://x\nProject-URL: source_code_link, u#c\nProject-URL: source_code_link, v#d\n",
		 "u", "c", true},
		{"Project-URL: source_code_link,  u#c  ", "u", "c", true},
		{"Project-URL: source_code_link, #c", "", "c", true},
		{"Project-URL: source_code_link, u#", "u", "", true},
		{"Project-URL: source_code_link,u#c\n", "", "", false},
		{"Project-URL: Source_code_link, u#c\n", "", "", false},
		{"Project-URL: source_code_link, u\n", "", "", false},
		{"Project-URL: source_code_link, u#c#d\n", "", "", false},
		{"Name: x\n\nProject-URL: source_code_link, u#c\n", "", "", false}, /* in the description */
		{"Project-URL: source_code_link, \n", "", "", false},
		{"", "", "", false},
	};
	(void)state;
	struct sbuf repository = {0}, commit = {0};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* To the byte: nothing behind the text may be looked at. */
		size_t len = strlen(cases[i].metadata);
		char *text = malloc(len + 1);
		memcpy(text, cases[i].metadata, len);
		sbuf_reset(&repository);
		sbuf_reset(&commit);
		assert_int_equal(python_package_link((struct sv){text, len}, &repository, &commit), cases[i].good);
		assert_string_equal(sbuf_str(&repository), cases[i].repository);
		assert_string_equal(sbuf_str(&commit), cases[i].commit);
		free(text);
	}
	char longest[2000] = "Project-URL: source_code_link, u#";
	memset(longest + strlen(longest), 'a', 1500);
	sbuf_reset(&commit);
	assert_false(python_package_link(sv_of(longest), &repository, &commit));
	assert_int_equal(commit.len, 0);
	sbuf_release(&repository);
	sbuf_release(&commit);
}

static void test_name(void **state)
{
	static const struct {
		const char *entry, *package;
		bool same;
	} cases[] = {
		{"shop-1.0.dist-info", "shop", true},
		{"Shop-1.0.egg-info", "sHOP", true},
		{"my_shop.cart-1.0-py3.11.egg-info", "My--Shop_Cart", true},
		{"my_shop.dist-info", "my.shop", true},
		{"my_shop-2.DIST-INFO", "my-shop", true},
		{"shop", "shop", false},
		{"shop-1.0", "shop", false},
		{"shopping-1.0.dist-info", "shop", false},
		{"shop-1.0.dist-info", "shopping", false},
		{"sh_op-1.0.dist-info", "shop", false},
		{"shop-1.0.dist-info", "shop-1.0", false},
		{".dist-info", "shop", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(python_package_is(cases[i].entry, sv_of(cases[i].package)), cases[i].same);
}

static void command(const char *text)
{
	assert_int_equal(system(text), 0);
}

/* A package below the process's root; its commit tells it from the others. */
static void install(const char *folder, const char *entry, const char *file, const char *commit)
{
	char text[800];
	snprintf(text, sizeof(text), "mkdir -p '%s/root/%s/%s'", test_dir, folder, entry);
	command(text);
	snprintf(text, sizeof(text),
		 "Metadata-Version: 2.1\nProject-URL: source_code_link, https://git.example/shop#%s\n\nShop\n", commit);
	write_text(in_dir("root/%s/%s/%s", folder, entry, file), text);
}

/* The commit of "my.shop"; empty: not found. */
static const char *commit_of(const char *cmdline, size_t len, const char *path, const char *environment)
{
	static char got[64];
	struct sbuf repository = {0}, commit = {0};
	struct proc p = PROC_INIT;
	struct python_package_options o = {.package = SV("my.shop"),
					   .python_path = sv_of(path),
					   .environment = sv_of(environment),
					   .version = SV("3.11.2")};
	char root[128];
	snprintf(root, sizeof(root), "%s", in_dir("proc"));
	write_file(in_dir("proc/9/cmdline"), cmdline, len);
	assert_int_equal(proc_open(&p, root, 9), 0);
	bool good = python_package_source(&p, &o, &repository, &commit);
	assert_int_equal(good, commit.len > 0);
	if (good)
		assert_string_equal(sbuf_str(&repository), "https://git.example/shop");
	snprintf(got, sizeof(got), "%s", sbuf_str(&commit));
	proc_close(&p);
	sbuf_release(&repository);
	sbuf_release(&commit);
	return got;
}

#define COMMIT_OF(cmdline, path, environment) commit_of(cmdline, sizeof(cmdline), path, environment)

static void test_where(void **state)
{
	(void)state;
	char line[600];
	assert_int_equal(mkdir(in_dir("proc"), 0755), 0);
	fake_process(in_dir("proc"), 9, "python3", "/usr/bin/python3.11", "", 0);
	command((snprintf(line, sizeof(line), "mkdir -p %s/root/srv/app", test_dir), line));
	assert_int_equal(symlink("/srv/app", in_dir("proc/9/cwd")), 0);
	assert_int_equal(symlink(in_dir("root"), in_dir("proc/9/root")), 0);
	assert_string_equal(COMMIT_OF("python3\0app.py", "", ""), "");

	install("usr/lib/python3/dist-packages", "my_shop-1.dist-info", "METADATA", "debian");
	assert_string_equal(COMMIT_OF("python3\0app.py", "", ""), "debian");
	install("usr/lib/python3.11/site-packages", "my_shop-1.egg-info", "PKG-INFO", "installed");
	assert_string_equal(COMMIT_OF("python3\0app.py", "", ""), "installed");
	install("srv/venv/lib/python3.11/site-packages", "my_shop-1.dist-info", "METADATA", "venv");
	assert_string_equal(COMMIT_OF("python3\0app.py", "", "/srv/venv"), "venv");
	assert_string_equal(COMMIT_OF("/srv/venv/bin/python3\0-m\0app", "", "/elsewhere"), "venv");
	assert_string_equal(COMMIT_OF("../venv/bin/python3\0app.py", "", ""), "venv");
	install("srv/path", "My_Shop-3.dist-info", "METADATA", "path");
	assert_string_equal(COMMIT_OF("/srv/venv/bin/python3\0app.py", "/none::../path:/srv/venv", ""), "path");
	install("srv/app", "my_shop-4.dist-info", "METADATA", "cwd");
	assert_string_equal(COMMIT_OF("python3\0app.py", "/srv/path", ""), "cwd");
	assert_string_equal(COMMIT_OF("python3\0-c\0pass", "/srv/path", ""), "cwd");
	install("srv/script", "my_shop-5.dist-info", "METADATA", "script");
	assert_string_equal(COMMIT_OF("python3\0/srv/script/run.py", "/srv/path", ""), "script");

	/* The first of its name is it, whether it says something or not. A link or a FIFO in its place is not read; and no
	 * link leads out of the process's root. */
	write_text(in_dir("outside"), "Project-URL: source_code_link, https://git.example/shop#outside\n");
	const char *metadata = in_dir("root/srv/app/my_shop-4.dist-info/METADATA");
	unlink(metadata);
	assert_int_equal(symlink("../../../../outside", metadata), 0);
	assert_string_equal(COMMIT_OF("python3\0app.py", "/srv/path", ""), "");
	unlink(metadata);
	assert_int_equal(mkfifo(metadata, 0644), 0);
	assert_string_equal(COMMIT_OF("python3\0app.py", "/srv/path", ""), "");
	command((snprintf(line, sizeof(line), "rm -r %s/root/srv/app/my_shop-4.dist-info", test_dir), line));
	install("../away", "my_shop-6.dist-info", "METADATA", "away");
	assert_int_equal(symlink("../../away", in_dir("root/srv/out")), 0);
	assert_string_equal(COMMIT_OF("python3\0app.py", "/srv/out:../../../away:/srv/path", ""), "path");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_test_dir, remove_test_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_link), TEST(test_name), TEST(test_where)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
