/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compiled.h"

#include "binary/golang.h"

/* An object whose .go.buildinfo holds these bytes. */
static struct elf *with_info(const char *bytes, size_t len, const char *section)
{
	struct sbuf source = {0};
	sbuf_addf(&source, "int main(void) { return 0; }\n__attribute__((used, section(\"%s\"))) char info[] = {",
		  section);
	for (size_t i = 0; i < len; i++)
		sbuf_addf(&source, "%d,", bytes[i]);
	sbuf_adds(&source, "};\n");
	compiled_source("info.c", sbuf_str(&source));
	sbuf_release(&source);
	compiled_run("gcc -o info info.c");
	return compiled_open("info");
}

#define HEAD(flags) "\xff Go buildinf:\x08" flags "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define INFO(text)  text, sizeof(text) - 1

static void minor_is(const char *bytes, size_t len, unsigned minor, unsigned offset)
{
	struct elf *elf = with_info(bytes, len, ".go.buildinfo");
	assert_int_equal(golang_minor(elf), minor);
	/* The compiler here may be another machine's than we are. */
	assert_int_equal(golang_goid_offset(elf), elf->machine == EM_X86_64 ? offset : 0);
	elf_close(elf);
}

static void versions(void **state)
{
	(void)state;
	minor_is(INFO(HEAD("\x02") "\x09go1.22.12path"), 22, 152);
	minor_is(INFO(HEAD("\x02") "\x06go1.18"), 18, 152);
	minor_is(INFO(HEAD("\x02") "\x06go1.23"), 23, 160);
	minor_is(INFO(HEAD("\x02") "\x08go1.24.1"), 24, 160);
	minor_is(INFO(HEAD("\x02") "\x15go1.25.1 X:something "), 25, 152);
	minor_is(INFO(HEAD("\x02") "\x08go1.26.8"), 26, 152);
	minor_is(INFO(HEAD("\x02") "\x06go1.17"), 17, 0);
	minor_is(INFO(HEAD("\x02") "\x06go1.99"), 99, 0);
}

/* Nothing is known then, and nothing is guessed. */
static void no_version(void **state)
{
	(void)state;
	minor_is(INFO(HEAD("\x00") "\x09go1.22.12"), 0, 0); /* by pointers, before 1.18 */
	minor_is(INFO(HEAD("\x02") "\x0a"
				   "go1.22.12"),
		 0, 0); /* longer than the section */
	minor_is(INFO(HEAD("\x02") "\x80go1.22.12"), 0, 0);
	minor_is(INFO(HEAD("\x02") "\x0c"
				   "devel +abcd1"),
		 0, 0);
	minor_is(INFO(HEAD("\x02") "\x0bgo1.1000000"), 0, 0);
	minor_is(INFO(HEAD("\x02") "\x04go1."), 0, 0);
	minor_is(INFO(HEAD("\x02")), 0, 0);
	minor_is(INFO("\xff Go buildinf"), 0, 0);
	minor_is(INFO("\xff No buildinf:\x08\x02................\x09go1.22.12"), 0, 0);
	struct elf *elf = with_info(INFO(HEAD("\x02") "\x09go1.22.12"), ".other");
	assert_int_equal(golang_minor(elf), 0);
	elf_close(elf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions),
		cmocka_unit_test(no_version),
	};
	return cmocka_run_group_tests(tests, compiled_setup, compiled_teardown);
}
