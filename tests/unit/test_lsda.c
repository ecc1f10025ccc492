/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "binary/eh_cursor.h"
#include "binary/lsda.h"
#include "binary/noreturn.h"
#include "compiled.h"
#include "exceptions_programs.h"

/* Has the compiler write assembly, in which the tables are differences of labels, makes the labels into symbols, and
 * takes the name of each landing pad and of the function it is counted from out of the text: `name.pads` then has a
 * line "function pad" for each, with the addresses nm gives. */
static void assemble(const char *name, const char *compiler)
{
	compiled_run(
		"%s -o %s.raw.s && sed '/addrsig/d; s/\\.L\\([A-Za-z0-9_]\\)/L_\\1/g' %s.raw.s >%s.s && "
		"gcc -shared -nostdlib -Wl,--unresolved-symbols=ignore-all -Wl,-Bsymbolic dso.c %s.s -o %s 2>%s.log && "
		"nm %s >%s.nm && "
		"awk 'NR == FNR { at[$3] = $1; next } "
		"/^(L_LSDACSB|L_cst_begin)/ { on = 1; n = 0; next } /^(L_LSDACSE|L_cst_end)/ { on = 0 } "
		"on && $1 ~ /^\\.(uleb128|byte|long)$/ { if (++n %% 4 == 3 && $2 ~ /-/) { split($2, l, \"-\"); "
		"print at[l[2]], at[l[1]] } }' %s.nm %s.s | sort -u >%s.pads",
		compiler, name, name, name, name, name, name, name, name, name, name, name);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static struct unwind *unwind_of(struct elf *elf)
{
	struct unwind *u = NULL;
	assert_int_equal(unwind_open(&u, elf, NULL), 0);
	assert_false(u->damaged);
	return u;
}

/* What the reader finds, in the same form. */
static void check_against_labels(const char *name)
{
	struct elf *elf = compiled_open(name);
	struct unwind *u = unwind_of(elf);
	struct landing_pads pads = {0};
	char path[256];
	size_t lines = 0, found = 0, with = 0;
	for (size_t i = 0; i < u->cnt; i++) {
		const struct unwind_function *f = &u->functions[i];
		pads.cnt = 0;
		assert_int_equal(unwind_landing_pads(u, elf, f->start, f->start + f->len, &pads), 0);
		found += pads.cnt;
		with += f->lsda != 0;
	}
	snprintf(path, sizeof(path), "%s/%s.pads", compiled_dir, name);
	__cleanup(fclosep) FILE *f = fopen(path, "re");
	assert_non_null(f);
	unsigned long function, pad;
	for (; fscanf(f, "%lx %lx", &function, &pad) == 2; lines++) {
		uint64_t key = pad;
		pads.cnt = 0;
		assert_int_equal(unwind_landing_pads(u, elf, function, function + 1, &pads), 0);
		if (!pads.cnt || !bsearch(&key, pads.data, pads.cnt, sizeof(*pads.data), compare))
			fail_msg("%s: the pad at %lx of %lx was not found", name, pad, function);
	}
	print_message("%s: %zu functions, %zu with tables, %zu pads, %zu by the assembly\n", name, u->cnt, with, found,
		      lines);
	assert_int_equal(found, lines);
	assert_true(lines >= 20);
	vec_release(&pads);
	unwind_close(u);
	elf_close(elf);
}

static void test_as_the_compilers_label_them(void **state)
{
	(void)state;
	static const struct {
		const char *name, *compiler;
	} cases[] = {
		{"gcc0.so", "g++ -O0 -fPIC -w -S x.cc"},
		{"gcc2.so", "g++ -O2 -fPIC -w -S x.cc"},
		{"gcc3.so", "g++ -O3 -fPIC -fcf-protection -fno-plt -w -S x.cc"},
		{"gcclarge.so", "g++ -O2 -fPIC -mcmodel=large -w -S x.cc"},
		{"gccwhole.so", "g++ -O2 -fPIC -fno-reorder-blocks-and-partition -w -S x.cc"},
		{"clang0.so", "clang++ -O0 -fPIC -w -S x.cc"},
		{"clang2.so", "clang++ -O2 -fPIC -w -S x.cc"},
	};
	compiled_source("x.cc", exceptions_cxx);
	compiled_source("dso.c", "void *__dso_handle;\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assemble(cases[i].name, cases[i].compiler);
		check_against_labels(cases[i].name);
	}
}

static void test_rust(void **state)
{
	(void)state;
	if (system("rustc --version >/dev/null 2>&1") != 0)
		skip();
	compiled_source("r.rs", exceptions_rust);
	compiled_source("dso.c", "void *__dso_handle;\n");
	for (unsigned level = 0; level <= 2; level += 2) {
		char name[16], how[128];
		snprintf(name, sizeof(name), "rust%u.so", level);
		snprintf(how, sizeof(how),
			 "rustc --edition 2021 -A warnings -C codegen-units=1 -C opt-level=%u --emit asm r.rs", level);
		assemble(name, how);
		check_against_labels(name);
	}
}

/* Both parts of a function that was split have a table of their own. */
static void test_split(void **state)
{
	(void)state;
	struct elf *elf = compiled_open("gcc2.so");
	struct unwind *u = unwind_of(elf);
	struct symtab *tab = NULL;
	struct symbol_vec v = {0};
	struct landing_pads pads = {0};
	assert_int_equal(symtab_open(&tab, elf, NULL, NULL), 0);
	assert_int_equal(symtab_find(tab, SV("nested"), &v), 1);
	assert_int_equal(symtab_find(tab, SV("nested.cold"), &v), 1);
	for (size_t i = 0; i < 2; i++) {
		size_t before = pads.cnt;
		const struct symbol *s = v.data[i];
		assert_int_equal(unwind_landing_pads(u, elf, s->addr, s->addr + s->size, &pads), 0);
		assert_true(pads.cnt > before);
	}
	/* Of a function without: none, and nothing of its neighbours. */
	size_t before = pads.cnt;
	assert_int_equal(symtab_find(tab, SV("risky"), &v), 1);
	assert_int_equal(unwind_landing_pads(u, elf, v.data[2]->addr, v.data[2]->addr + 1, &pads), 0);
	assert_int_equal(unwind_landing_pads(u, elf, 1, 2, &pads), 0);
	assert_int_equal(pads.cnt, before);
	/* From a byte in its middle on: the whole function's. */
	before = pads.cnt;
	assert_int_equal(unwind_landing_pads(u, elf, v.data[0]->addr + 9, v.data[0]->addr + 10, &pads), 0);
	assert_true(pads.cnt > before);
	free(v.data);
	vec_release(&pads);
	symtab_close(tab);
	unwind_close(u);
	elf_close(elf);
}

/* A file without section headers says as much. */
static void test_without_sections(void **state)
{
	(void)state;
	compiled_run("g++ -O2 -shared -fPIC -w x.cc -o whole.so && strip -o bare.so whole.so && "
		     "for o in 40 41 42 43 44 45 46 47 60 61 62 63; do "
		     "printf '\\000' | dd of=bare.so bs=1 seek=$o conv=notrunc status=none; done");
	struct elf *whole = compiled_open("whole.so"), *bare = compiled_open("bare.so");
	struct unwind *u = unwind_of(whole), *v = unwind_of(bare);
	struct landing_pads want = {0}, got = {0};
	assert_int_equal(bare->section_cnt, 0);
	assert_int_equal(u->cnt, v->cnt);
	assert_int_equal(unwind_landing_pads(u, whole, 0, UINT64_MAX, &want), 0);
	assert_int_equal(unwind_landing_pads(v, bare, 0, UINT64_MAX, &got), 0);
	assert_int_equal(want.cnt, got.cnt);
	assert_true(want.cnt >= 20);
	assert_memory_equal(want.data, got.data, want.cnt * sizeof(*want.data));
	vec_release(&want);
	vec_release(&got);
	unwind_close(u);
	unwind_close(v);
	elf_close(whole);
	elf_close(bare);
}

/* Every table of every program here can be read. */
static void test_real_files(void **state)
{
	(void)state;
	compiled_run("ln -sf $(ldd /usr/bin/gdb | awk '/libstdc/ {print $3}') libstdcxx; test -e libstdcxx");
	static const char *const files[] = {"libstdcxx", "/usr/bin/gdb", "/usr/bin/bpftrace", "/usr/bin/cmake",
					    "/usr/sbin/nginx"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (files[i][0] == '/' && access(files[i], R_OK) != 0)
			continue;
		struct elf *elf = compiled_open(files[i]);
		struct unwind *u = unwind_of(elf);
		struct landing_pads pads = {0};
		size_t with = 0;
		for (size_t k = 0; k < u->cnt; k++) {
			const struct unwind_function *f = &u->functions[k];
			with += f->lsda != 0;
			if (unwind_landing_pads(u, elf, f->start, f->start + 1, &pads) < 0)
				fail_msg("%s: the table of %lx", files[i], (unsigned long)f->start);
		}
		print_message("%s: %zu functions, %zu with tables, %zu pads\n", files[i], u->cnt, with, pads.cnt);
		vec_release(&pads);
		unwind_close(u);
		elf_close(elf);
	}
}

/* --- tables by hand --- */

struct hand {
	const char *what;
	uint8_t bytes[24];
	size_t sz;
	int rc;
	uint64_t pad; /* from the function's start; 0: none */
};

#define HAND(w, r, p, ...)                                               \
	{                                                                \
		w, {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}), r, p \
	}
static const struct hand hands[] = {
	HAND("one pad", 0, 9, 0xff, 0xff, 0x01, 4, 0, 5, 9, 0),
	HAND("none", 0, 0, 0xff, 0xff, 0x01, 4, 0, 5, 0, 0),
	HAND("no call sites", 0, 0, 0xff, 0xff, 0x01, 0),
	HAND("with types", 0, 9, 0xff, 0x9b, 0x0c, 0x01, 4, 0, 5, 9, 1),
	HAND("of two bytes each", 0, 9, 0xff, 0xff, 0x02, 7, 0, 0, 5, 0, 9, 0, 0),
	HAND("of four bytes each", 0, 9, 0xff, 0xff, 0x03, 13, 0, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0),
	HAND("overlong numbers", 0, 9, 0xff, 0xff, 0x01, 7, 0x80, 0, 0x85, 0, 0x89, 0, 0),
	HAND("twice the same pad", 0, 9, 0xff, 0xff, 0x01, 8, 0, 5, 9, 0, 5, 5, 9, 0),
	HAND("pads counted from their own address", 0, 9, PE_PCREL | PE_SDATA4, 0, 0, 0, 0, 0xff, 0x01, 4),
	HAND("behind the function", -EBADMSG, 0, 0xff, 0xff, 0x01, 5, 0, 0xff, 0x7f, 9, 0),
	HAND("not in order", -EBADMSG, 0, 0xff, 0xff, 0x01, 8, 5, 5, 0, 0, 0, 5, 0, 0),
	HAND("a pad that is no code", -EBADMSG, 0, 0xff, 0xff, 0x01, 7, 0, 5, 0xff, 0xff, 0xff, 0x7f, 0),
	HAND("cut off within a call site", -EBADMSG, 0, 0xff, 0xff, 0x01, 3, 0, 5, 9),
	HAND("table longer than the section", -EBADMSG, 0, 0xff, 0xff, 0x01, 0xff, 0xff, 0x7f, 0, 5, 9, 0),
	HAND("unknown format", -EBADMSG, 0, 0xff, 0xff, 0x07, 4, 0, 5, 9, 0),
	HAND("relative call sites", -EBADMSG, 0, 0xff, 0xff, 0x1b, 4, 0, 5, 9, 0),
	HAND("no format", -EBADMSG, 0, 0xff, 0xff, 0xff, 4, 0, 5, 9, 0),
	HAND("base relative to text", -EBADMSG, 0, 0x2b, 0, 0, 0, 0, 0xff, 0x01, 4, 0, 5, 9, 0),
	HAND("base behind a pointer", -EBADMSG, 0, 0x9b, 1, 0, 0, 0, 0xff, 0x01, 4, 0, 5, 9, 0),
};

static void test_by_hand(void **state)
{
	(void)state;
	struct elf *whole = compiled_open("gcc2.so");
	struct unwind *u = unwind_of(whole);
	const struct unwind_function *f = u->functions;
	while (!f->lsda || f->len < 64)
		f++;
	struct elf_section s = *elf_section(whole, ".gcc_except_table");
	uint64_t lsda = u->lsda_base + (uint64_t)(int64_t)f->lsda, at = s.offset + (lsda - s.vaddr), start = f->start;
	struct sv bytes = elf_bytes(whole, 0, whole->file_sz);
	char *copy = malloc(bytes.len);
	for (size_t i = 0; i < sizeof(hands) / sizeof(hands[0]); i++) {
		const struct hand *h = &hands[i];
		struct elf *elf = NULL;
		struct landing_pads pads = {0};
		memcpy(copy, bytes.data, bytes.len);
		memcpy(copy + at, h->bytes, h->sz);
		if (h->bytes[0] ==
		    0x1b) { /* the base is so far before the place it is written at; then `start` is +9 of it */
			int32_t back = (int32_t)(start - (lsda + 1));
			memcpy(copy + at + 1, &back, 4);
			memcpy(copy + at + 8, "\0\5\11\0", 4);
		}
		assert_int_equal(elf_open_memory(&elf, copy, bytes.len, NULL), 0);
		struct unwind *v = unwind_of(elf);
		int rc = unwind_landing_pads(v, elf, start, start + 1, &pads);
		if (rc != h->rc || (rc == 0 && pads.cnt != (h->pad > 0)) ||
		    (pads.cnt && rc == 0 && pads.data[0] != start + h->pad))
			fail_msg("%s: %d, %zu pads", h->what, rc, pads.cnt);
		vec_release(&pads);
		unwind_close(v);
		elf_close(elf);
	}
	free(copy);
	unwind_close(u);
	elf_close(whole);
}

/* A table of frames with a hole in it proves nothing. */
static void test_damaged_frames(void **state)
{
	(void)state;
	struct elf *whole = compiled_open("gcc2.so");
	struct elf_section s = *elf_section(whole, ".eh_frame");
	struct sv bytes = elf_bytes(whole, 0, whole->file_sz);
	char *copy = malloc(bytes.len);
	memcpy(copy, bytes.data, bytes.len);
	copy[s.offset + 8] = 77; /* the first CIE's version */
	struct elf *elf = NULL;
	struct unwind *u = NULL;
	struct landing_pads pads = {0};
	assert_int_equal(elf_open_memory(&elf, copy, bytes.len, NULL), 0);
	assert_int_equal(unwind_open(&u, elf, NULL), 0);
	assert_int_equal(unwind_landing_pads(u, elf, 0x1000, 0x2000, &pads), -EBADMSG);
	unwind_close(u);
	elf_close(elf);
	free(copy);
	elf_close(whole);
}

static void test_encodings(void **state)
{
	(void)state;
	static const char bytes[] = {0x7f, (char)0x80, 0x01, (char)0xff, 0x7f, (char)0xfe, (char)0xff, 0, 0, 0, 0};
	struct eh_cursor c = {bytes, sizeof(bytes), 0x1000, false};
	assert_int_equal(eh_value(&c, PE_SLEB128), (uint64_t)-1);
	assert_int_equal(eh_value(&c, PE_ULEB128), 128);
	assert_int_equal(eh_value(&c, PE_SLEB128), (uint64_t)-1);
	assert_int_equal(c.vaddr, 0x1005);
	assert_int_equal(eh_pointer(&c, PE_PCREL | PE_SDATA2), 0x1005 - 2);
	assert_int_equal(eh_pointer(&c, PE_PCREL | PE_SDATA4), 0); /* no pointer */
	assert_false(c.failed);
	assert_int_equal(eh_byte(&c), 0);
	assert_true(c.failed);
	assert_int_equal(eh_leb128(&c, true), 0);
	struct eh_cursor aligned = {bytes, sizeof(bytes), 0x1005, false};
	eh_pointer(&aligned, PE_ALIGNED);
	assert_int_equal(aligned.vaddr, 0x1010);
}

/* --- functions that never return --- */

static void test_noreturn_names(void **state)
{
	(void)state;
	static const char *const never[] = {
		"abort",
		"exit",
		"_exit",
		"_Exit",
		"_Unwind_Resume",
		"__cxa_throw",
		"__cxa_rethrow",
		"__stack_chk_fail",
		"__assert_fail",
		"_ZSt9terminatev",
		"_ZSt20__throw_length_errorPKc",
		"_ZSt17__throw_bad_allocv",
		"_ZSt24__throw_out_of_range_fmtPKcz",
		"__clang_call_terminate",
		"siglongjmp",
		"verrx",
		"_ZN4core9panicking5panic17h0123456789abcdefE",
		"_ZN4core9panicking18panic_bounds_check17h0123456789abcdefE",
	};
	static const char *const other[] = {
		"",
		"a",
		"abor",
		"aborts",
		"__cxa_begin_catch",
		"__cxa_throw_",
		"_Unwind_RaiseException",
		"zexit",
		"_Z",
		"_ZSt4cout",
		"_ZN4core9panicking",
		"setjmp",
		"error",
		"_ZSt20",
		"~",
	};
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (!noreturn_name(sv_of(never[i])))
			fail_msg("%s returns", never[i]);
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		if (noreturn_name(sv_of(other[i])))
			fail_msg("%s never returns", other[i]);
}

/* Where the calls of a function go that calls abort(), as objdump writes it. */
static void check_abort(const char *name, const char *how, bool slot)
{
	compiled_run("gcc %s abort.c -o %s", how, name);
	unsigned long target = (unsigned long)compiled_count(
		"printf '%%d\\n' 0x$(objdump -d --no-show-raw-insn %s | awk '/<leave>:/ {on = 1} on && /call/ "
		"{ if (match($0, /# [0-9a-f]+/)) print substr($0, RSTART + 2, RLENGTH - 2); else print $3; exit }')",
		name);
	struct elf *elf = compiled_open(name);
	struct symtab *tab = NULL;
	struct noreturn *n = NULL;
	assert_int_equal(symtab_open(&tab, elf, NULL, NULL), 0);
	assert_int_equal(noreturn_open(&n, elf, tab), 0);
	if (noreturn_function(n, target) != !slot || noreturn_slot(n, target) != slot)
		fail_msg("%s: abort is called at %lx", name, target);
	assert_false(noreturn_function(n, target + 1));
	assert_false(noreturn_slot(n, target + 8));
	assert_false(noreturn_function(n, elf->entry));
	noreturn_close(n);
	symtab_close(tab);
	elf_close(elf);
}

static void test_noreturn_calls(void **state)
{
	(void)state;
	compiled_source("abort.c", "#include <stdio.h>\n#include <stdlib.h>\n"
				   "__attribute__((noinline)) void leave(int a) { if (a > 5) abort(); }\n"
				   "int main(int c, char **v) { leave(c); puts(v[0]); return 0; }\n");
	check_abort("plt", "-O1 -fno-inline", false);
	check_abort("plt-cet", "-O1 -fno-inline -fcf-protection -Wl,-z,ibtplt", false);
	check_abort("plt-now", "-O1 -fno-inline -Wl,-z,now", false);
	check_abort("nopie", "-O1 -fno-inline -no-pie", false);
	check_abort("noplt", "-O1 -fno-inline -fno-plt", true);
	check_abort("static", "-O1 -fno-inline -static", false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_compilers_label_them),
		cmocka_unit_test(test_rust),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_without_sections),
		cmocka_unit_test(test_real_files),
		cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_damaged_frames),
		cmocka_unit_test(test_encodings),
		cmocka_unit_test(test_noreturn_names),
		cmocka_unit_test(test_noreturn_calls),
	};
	return cmocka_run_group_tests(tests, compiled_setup, compiled_teardown);
}
