/* SPDX-License-Identifier: Apache-2.0 */
/* What runs a process, against the interpreters of this machine and against files made to look like others'. */
#include "target_help.h"

#include <sys/wait.h>

#include "compiled.h"
#include "target/language.h"
#include "target/text.h"

static struct language of_file(const char *name, enum runtime runtime)
{
	struct language l = {.runtime = runtime};
	struct elf *elf = compiled_open(name);
	language_of_file(elf, sv_of(name), &l);
	elf_close(elf);
	return l;
}

static void assert_language(struct language l, enum runtime runtime, const char *version, const char *interpreter)
{
	assert_string_equal(runtime_title(l.runtime), runtime_title(runtime));
	assert_string_equal(l.version, version);
	assert_string_equal(l.interpreter, interpreter);
}

/* A library with these bytes among its constants. */
static void make_library(const char *name, const char *source)
{
	char file[128];
	snprintf(file, sizeof(file), "%s.c", name);
	compiled_source(file, source);
	compiled_run("gcc -shared -fPIC -o %s %s.c", name, name);
}

static void test_python_files(void **state)
{
	(void)state;
	make_library("libpython3.13.so.1.0", "const unsigned long Py_Version = 0x030d00c2;\n");
	assert_language(of_file("libpython3.13.so.1.0", RUNTIME_CPYTHON), RUNTIME_CPYTHON, "3.13.0rc2", "CPython");
	make_library("libpython3.12.so.1.0", "const unsigned long Py_Version = 0x030c04f0;\n");
	assert_language(of_file("libpython3.12.so.1.0", RUNTIME_CPYTHON), RUNTIME_CPYTHON, "3.12.4", "CPython");
	/* Before 3.11 the constant by itself; nearly equal ones are none. */
	make_library(
		"libpython3.7m.so.1.0",
		"const char text[] = \"x\\0\" \"3.7\\0\" \"3.7.x\\0\" \"3.70.1\\0\" \"3.7.1 (main)\\0\" \"3.7.16\";\n");
	assert_language(of_file("libpython3.7m.so.1.0", RUNTIME_CPYTHON), RUNTIME_CPYTHON, "3.7.16", "CPython");
	make_library("libpython3.6m.so.1.0", "int nothing;\n");
	assert_language(of_file("libpython3.6m.so.1.0", RUNTIME_CPYTHON), RUNTIME_CPYTHON, "3.6", "CPython");
	make_library("libpython.so", "int nothing;\n");
	assert_language(of_file("libpython.so", RUNTIME_CPYTHON), RUNTIME_CPYTHON, "", "CPython");
	/* A symbol that is too small, and one that lies outside the file. */
	make_library("libpython3.11.so.1.0", "const char Py_Version = 3;\n");
	assert_language(of_file("libpython3.11.so.1.0", RUNTIME_CPYTHON), RUNTIME_CPYTHON, "3.11", "CPython");
	make_library("libpython3.14.so.1.0", "unsigned long Py_Version;\n");
	assert_language(of_file("libpython3.14.so.1.0", RUNTIME_CPYTHON), RUNTIME_CPYTHON, "3.14", "CPython");
}

static void test_other_runtimes(void **state)
{
	(void)state;
	make_library("node",
		     "const char t[] = \"https://nodejs.org/download/release/v20.11.1/node-v20.11.1.tar.gz\";\n");
	assert_language(of_file("node", RUNTIME_NODE), RUNTIME_NODE, "v20.11.1", "v8");
	make_library("libnode.so.108", "const char t[] = \"/node-v0.x-archive\\0v18.19\\0v18.19.0.1\\0v18.19.0\";\n");
	assert_language(of_file("libnode.so.108", RUNTIME_NODE), RUNTIME_NODE, "v18.19.0", "v8");
	make_library("libnode.so.1", "int nothing;\n");
	assert_language(of_file("libnode.so.1", RUNTIME_NODE), RUNTIME_NODE, "", "v8");
	make_library("libjvm.so", "const char t[] = \"# JRE (%s)\\0\" \"OpenJDK 64-Bit Server VM (25.392-b08) for "
				  "linux-amd64 JRE (1.8.0_392-b08), built on\";\n");
	assert_language(of_file("libjvm.so", RUNTIME_JVM), RUNTIME_JVM, "1.8.0_392", "OpenJDK 64-Bit Server VM");
	make_library("libphp.so", "const char t[] = \"X-Powered-By: PHP/8.2.7\";\n");
	assert_language(of_file("libphp.so", RUNTIME_PHP), RUNTIME_PHP, "8.2.7", "");
	make_library("libruby.so", "const char ruby_version[] = \"3.1.2\";\n");
	assert_language(of_file("libruby.so", RUNTIME_RUBY), RUNTIME_RUBY, "3.1.2", "");
	struct language dotnet = {.runtime = RUNTIME_DOTNET};
	struct elf *elf = compiled_open("libruby.so");
	language_of_file(elf, SV("/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so"), &dotnet);
	assert_language(dotnet, RUNTIME_DOTNET, "8.0.1", "");
	elf_close(elf);
}

/* What a file says is no version just because it stands where one should. */
static void test_hostile_constants(void **state)
{
	(void)state;
	make_library("libphp1.so", "const char t[] = \"X-Powered-By: PHP/\\nX-Evil: 1\";\n");
	assert_language(of_file("libphp1.so", RUNTIME_PHP), RUNTIME_PHP, "", "");
	make_library("libphp2.so", "const char t[] = \"X-Powered-By: PHP/8.2.7\\r\\nX-Evil: 1\";\n");
	assert_language(of_file("libphp2.so", RUNTIME_PHP), RUNTIME_PHP, "8.2.7", "");
	make_library("libphp3.so",
		     "const char t[] = \"X-Powered-By: PHP/"
		     "11111111112222222222333333333344444444445555555555666666666677777777778888888888\";\n");
	assert_int_equal(strlen(of_file("libphp3.so", RUNTIME_PHP).version), 40);
}

#define GO_SECTION(flags, rest)                                                                                \
	"__asm__(\".section .go.buildinfo,\\\"a\\\"\\n .ascii \\\"\\\\377 Go buildinf:\\\"\\n .byte 8, " flags \
	"\\n .zero 16\\n " rest "\\n .text\\n\");\n"

static void test_go_files(void **state)
{
	(void)state;
	compiled_source("go1.c",
			GO_SECTION("2", ".byte 8\\n .ascii \\\"go1.22.3\\\"") "int main(void) { return 0; }\n");
	compiled_run("gcc -o go1 go1.c");
	assert_language(of_file("go1", RUNTIME_UNKNOWN), RUNTIME_GO, "1.22.3", "gc-amd64-linux");
	/* A length beyond the section. */
	compiled_source("go2.c",
			GO_SECTION("2", ".byte 120\\n .ascii \\\"go1.22.3\\\"") "int main(void) { return 0; }\n");
	compiled_run("gcc -o go2 go2.c");
	assert_language(of_file("go2", RUNTIME_UNKNOWN), RUNTIME_GO, "", "gc-amd64-linux");
	/* An old one, whose pointer leads nowhere. */
	compiled_source("go3.c", GO_SECTION("0", ".byte 1") "int main(void) { return 0; }\n");
	compiled_run("gcc -o go3 go3.c");
	assert_language(of_file("go3", RUNTIME_UNKNOWN), RUNTIME_GO, "", "gc-amd64-linux");
	compiled_source(
		"go4.c",
		GO_SECTION("2",
			   ".byte 27\\n .ascii \\\"devel go1.23-0123abc Mon xy\\\"") "int main(void) { return 0; }\n");
	compiled_run("gcc -o go4 go4.c");
	assert_language(of_file("go4", RUNTIME_UNKNOWN), RUNTIME_GO, "1.23-0123abc", "gc-amd64-linux");
}

/* A version of no length, then a module's lines between 16 bytes before and behind them. */
#define GO_MODULE(length, lines)                                                                           \
	GO_SECTION("2", ".byte 0\\n .byte " length "\\n .zero 16\\n .ascii \\\"" lines "\\\"\\n .zero 16") \
	"int main(void) { "                                                                                \
	"return 0; }\n"

static void test_go_source(void **state)
{
	(void)state;
	static const struct {
		const char *source, *package, *commit;
	} cases[] = {
		{GO_MODULE("0xdf, 0x00",
			   "path\\\\texample.org/shop\\\\nbuild\\\\tvcs=git\\\\nbuild\\\\tvcs.revision=0123abc\\\\n"),
		 "example.org/shop", "0123abc"},
		/* Of another system's working tree; a length beyond the section. */
		{GO_MODULE("0xde, 0x00",
			   "path\\\\texample.org/shop\\\\nbuild\\\\tvcs=hg\\\\nbuild\\\\tvcs.revision=0123abc\\\\n"),
		 "example.org/shop", ""},
		{GO_MODULE("0xff, 0x7f", "path\\\\texample.org/shop\\\\n"), "", ""},
		{GO_MODULE("0xff, 0xff, 0xff, 0xff, 0xff", "path\\\\tx\\\\n"), "", ""},
		{GO_MODULE("4", "path\\\\tx\\\\n"), "", ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char file[16], command[64];
		snprintf(file, sizeof(file), "gm%zu.c", i);
		compiled_source(file, cases[i].source);
		snprintf(command, sizeof(command), "gcc -o gm%zu gm%zu.c", i, i);
		compiled_run(command);
		file[strlen(file) - 2] = '\0';
		struct language l = of_file(file, RUNTIME_UNKNOWN);
		assert_int_equal(l.runtime, RUNTIME_GO);
		assert_string_equal(l.package, cases[i].package);
		assert_string_equal(l.commit, cases[i].commit);
	}
}

static void test_programs(void **state)
{
	(void)state;
	compiled_source("c.c", "int main(void) { return 0; }\n");
	compiled_run("gcc -o c c.c && g++ -x c++ -o cxx c.c -Wl,--no-as-needed");
	assert_language(of_file("c", RUNTIME_UNKNOWN), RUNTIME_C, "", "");
	assert_language(of_file("cxx", RUNTIME_UNKNOWN), RUNTIME_CXX, "", "");
	compiled_source("r.c",
			"__asm__(\".ident \\\"rustc version 1.75.0 (82e1608df 2023-12-21)\\\"\");\nint main(void) { "
			"return 0; }\n");
	compiled_run("gcc -o r r.c");
	assert_language(of_file("r", RUNTIME_UNKNOWN), RUNTIME_RUST, "1.75.0", "");
}

/* The words are what tracers and the Agent call it; titles are unique. */
static void test_words(void **state)
{
	(void)state;
	assert_sv(runtime_word(RUNTIME_CPYTHON), "python");
	assert_sv(runtime_word(RUNTIME_JVM), "jvm");
	assert_sv(runtime_word((enum runtime)99), "cpp");
	for (enum runtime a = 0; a < RUNTIME_CNT; a++)
		for (enum runtime b = 0; b < a; b++)
			assert_string_not_equal(runtime_title(a), runtime_title(b));
}

/* What a program says of itself, "" when it is not there. */
static void said(char *out, size_t sz, const char *command)
{
	FILE *f = popen(command, "r");
	out[0] = '\0';
	if (f && !fgets(out, (int)sz, f))
		out[0] = '\0';
	if (f)
		pclose(f);
	out[strcspn(out, "\n")] = '\0';
}

static struct language of_process(struct languages *known, pid_t pid)
{
	struct proc p = PROC_INIT;
	struct language l;
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	assert_int_equal(language_find(known, &p, &l), 0);
	proc_close(&p);
	return l;
}

static void test_real(void **state)
{
	(void)state;
	char version[128];
	struct languages *known = languages_new();
	said(version, sizeof(version), "python3 -c 'import platform; print(platform.python_version())' 2>/dev/null");
	if (version[0]) {
		pid_t pid = SPAWN("python3", "python3", "-c", "import time; time.sleep(1000)");
		/* A shim of a version manager starts as a shell script. */
		assert_true(eventually(of_process(known, pid).runtime == RUNTIME_CPYTHON));
		assert_true(eventually(strcmp(of_process(known, pid).version, version) == 0));
		reap(pid);
	}
	said(version, sizeof(version), "node --version 2>/dev/null");
	if (version[0]) {
		pid_t pid = SPAWN("node", "node", "-e", "setInterval(() => {}, 1000)");
		assert_language(of_process(known, pid), RUNTIME_NODE, version, "v8");
		reap(pid);
	}
	pid_t pid = SPAWN("sleep", "sleep", "1000");
	assert_int_equal(of_process(known, pid).runtime, RUNTIME_C);
	uint64_t read = languages_files_read(known);
	for (int i = 0; i < 10; i++)
		assert_int_equal(of_process(known, pid).runtime, RUNTIME_C);
	assert_int_equal(languages_files_read(known), read);
	languages_free(known);
}

/* A file is known by what it is, not by its name; more files than there is room for are looked at again. */
static void test_cache(void **state)
{
	(void)state;
	struct languages *known = languages_new();
	struct proc p = PROC_INIT;
	struct language l;
	char target[512];
	compiled_source("c2.c", "int main(void) { return 0; }\n");
	compiled_run("gcc -o program c2.c && g++ -x c++ -o other c2.c -Wl,--no-as-needed");
	snprintf(target, sizeof(target), "%s/program", compiled_dir);
	fake_process(test_dir, 9, "program", target, "program", 8);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(proc_open(&p, test_dir, 9), 0);
		assert_int_equal(language_find(known, &p, &l), 0);
		assert_int_equal(l.runtime, RUNTIME_C);
	}
	assert_int_equal(languages_files_read(known), 1);
	compiled_run("mv other program");
	assert_int_equal(proc_open(&p, test_dir, 9), 0);
	assert_int_equal(language_find(known, &p, &l), 0);
	assert_int_equal(l.runtime, RUNTIME_CXX);
	assert_int_equal(languages_files_read(known), 2);
	proc_close(&p);
	languages_free(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_python_files),
		cmocka_unit_test(test_other_runtimes),
		cmocka_unit_test(test_hostile_constants),
		cmocka_unit_test(test_go_files),
		cmocka_unit_test(test_go_source),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_words),
		cmocka_unit_test_setup_teardown(test_real, make_test_dir, remove_test_dir),
		cmocka_unit_test_setup_teardown(test_cache, make_test_dir, remove_test_dir),
	};
	int failed = cmocka_run_group_tests(tests, compiled_setup, compiled_teardown);
	reap_all(NULL);
	return failed;
}
