/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "binary/unwind.h"
#include "compiled.h"

static void compile(void)
{
	compiled_source("c.c", "#include <stdio.h>\nint twice(int a) { return 2 * a; }\n"
			       "int main(int c, char **v) { (void)v; printf(\"%d\\n\", twice(c)); return 0; }\n");
	compiled_source("cleanup.c",
			"#include <stdio.h>\n#include <stdlib.h>\nstatic void drop(char **p) { free(*p); }\n"
			"int main(int c, char **v) { (void)v; __attribute__((cleanup(drop))) char *p = malloc(9);"
			" printf(\"%d %p\\n\", c, (void *)p); return 0; }\n");
	compiled_source("x.cc",
			"#include <cstdio>\n#include <string>\nstruct Guard { ~Guard() { puts(\"g\"); } };\n"
			"extern \"C\" int raise_it(int a) { if (a > 3) throw a; return a; }\n"
			"int guarded(int a) { Guard g; return raise_it(a) + 1; }\n"
			"int main(int c, char **) { try { return guarded(c); } catch (int e) { return e; } }\n");
	compiled_source("r.rs",
			"#[inline(never)] fn work(v: &[u32], i: usize) -> u32 { let s = format!(\"{}\", v.len());"
			" v[i] + s.len() as u32 }\n"
			"fn main() { let n = std::env::args().count();"
			" println!(\"{:?}\", std::panic::catch_unwind(|| work(&[1, 2], n)).is_ok()); }\n");
	compiled_run(
		"gcc -O1 c.c -o c && gcc -O1 -static c.c -o cstatic && gcc -O1 -fexceptions cleanup.c -o cleanup && "
		"gcc -O1 -fno-asynchronous-unwind-tables -shared -fPIC -nostartfiles -nostdlib c.c -o notable.so && "
		"g++ -O1 x.cc -o pie && g++ -O1 -no-pie -fno-pie x.cc -o nopie && g++ -O1 -static x.cc -o static && "
		"g++ -O1 -static-pie x.cc -o staticpie && g++ -O1 -static-libstdc++ -static-libgcc x.cc -o inside && "
		"g++ -O1 -shared -fPIC x.cc -o lib.so && g++ -O1 -Wl,-z,pack-relative-relocs x.cc -o relr && "
		"g++ -O1 -static-pie -Wl,-z,pack-relative-relocs x.cc -o staticrelr && "
		"clang++ -O1 x.cc -o clang && clang++ -O1 -mcmodel=large -fPIC -shared x.cc -o large.so && "
		"rustc --edition 2021 -O r.rs -o rust && rustc --edition 2021 -O -C panic=abort r.rs -o rustabort && "
		"for f in pie nopie static inside lib.so rust; do strip -o $f.stripped $f; done && "
		"strip -o bare pie && for o in 40 41 42 43 44 45 46 47 60 61 62 63; do "
		"printf '\\000' | dd of=bare bs=1 seek=$o conv=notrunc status=none; done");
}

struct loaded {
	struct elf *elf;
	struct symtab *tab;
	struct unwind *unwind;
};

static struct loaded load(const char *name)
{
	struct loaded l = {.elf = compiled_open(name)};
	assert_int_equal(symtab_open(&l.tab, l.elf, NULL, NULL), 0);
	assert_int_equal(unwind_open(&l.unwind, l.elf, l.tab), 0);
	return l;
}

static void unload(struct loaded *l)
{
	unwind_close(l->unwind);
	symtab_close(l->tab);
	elf_close(l->elf);
}

static void test_personalities(void **state)
{
	(void)state;
	compile();
	compiled_run("ln -s $(ldd c | awk '/libc.so/ {print $3}') libc && "
		     "ln -s $(ldd pie | awk '/libstdc/ {print $3}') libstdcxx");
	/* `among`: bits that may be set as well, where the C library is linked in. */
	static const struct {
		const char *name;
		uint32_t want, among;
	} cases[] = {
		{"c", UNWIND_NONE, 0},
		{"cstatic", UNWIND_C_CLEANUP, 0},
		{"cleanup", UNWIND_C_CLEANUP, 0},
		{"pie", UNWIND_CXX, 0},
		{"nopie", UNWIND_CXX, 0},
		{"static", UNWIND_CXX, UNWIND_C_CLEANUP},
		{"staticpie", UNWIND_CXX, UNWIND_C_CLEANUP},
		{"staticrelr", UNWIND_CXX, UNWIND_C_CLEANUP},
		{"relr", UNWIND_CXX, 0},
		{"inside", UNWIND_CXX, UNWIND_C_CLEANUP},
		{"lib.so", UNWIND_CXX, 0},
		{"clang", UNWIND_CXX, 0},
		{"large.so", UNWIND_CXX, 0},
		{"rust", UNWIND_RUST, UNWIND_C_CLEANUP},
		{"bare", UNWIND_CXX, 0},
		{"pie.stripped", UNWIND_CXX, 0},
		{"nopie.stripped", UNWIND_CXX, 0},
		{"lib.so.stripped", UNWIND_CXX, 0},
		/* linked in, and its name is gone */
		{"static.stripped", UNWIND_OTHER, 0},
		{"libc", UNWIND_C_CLEANUP, 0},
		{"libstdcxx", UNWIND_CXX, 0},
		{"/usr/bin/redis-server", UNWIND_NONE, 0},
		{"/usr/sbin/nginx", UNWIND_NONE, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct loaded l = load(cases[i].name);
		uint32_t got = l.unwind->personalities;
		print_message("%s: %x, %zu functions\n", cases[i].name, got, l.unwind->cnt);
		assert_int_equal(got & ~cases[i].among, cases[i].want);
		assert_true(l.unwind->present);
		assert_false(l.unwind->damaged);
		unload(&l);
	}
	/* Whatever a stripped one turns out as, it must not pass for C. */
	static const char *const unsafe[] = {"inside.stripped", "rust.stripped", "rustabort"};
	for (size_t i = 0; i < 3; i++) {
		struct loaded l = load(unsafe[i]);
		print_message("%s: %x\n", unsafe[i], l.unwind->personalities);
		assert_true(l.unwind->personalities & ~(uint32_t)UNWIND_C_CLEANUP);
		unload(&l);
	}
}

static void test_no_table(void **state)
{
	(void)state;
	struct loaded l = load("notable.so");
	assert_int_equal(l.unwind->personalities, UNWIND_NONE);
	assert_int_equal(l.unwind->cnt, 0);
	unload(&l);
}

static void test_of_function(void **state)
{
	(void)state;
	struct loaded l = load("pie");
	struct symbol_vec v = {0};
	assert_int_equal(symtab_find(l.tab, SV("guarded"), &v), 1);
	const struct symbol *guarded = v.data[0];
	const struct unwind_function *f = unwind_function_at(l.unwind, guarded->addr + 3);
	assert_non_null(f);
	assert_int_equal(f->start, guarded->addr);
	assert_int_equal(f->len, guarded->size);
	assert_int_equal(f->personality, UNWIND_CXX);
	assert_int_equal(symtab_find(l.tab, SV("raise_it"), &v), 1);
	f = unwind_function_at(l.unwind, v.data[1]->addr);
	assert_int_equal(f->personality, UNWIND_NONE);
	free(v.data);
	unload(&l);
}

/* Every range is the one readelf prints, and all of those are there. */
static void test_like_readelf(void **state)
{
	(void)state;
	static const char *const files[] = {
		"/usr/bin/redis-server", "/usr/sbin/nginx", "libc", "libstdcxx", "static", "rust", "clang", "bare"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct loaded l = load(files[i]);
		char cmd[512];
		snprintf(
			cmd, sizeof(cmd),
			"cd %s && readelf --debug-dump=frames %s 2>/dev/null | sed '/^Contents of the .debug_frame/,$d' | "
			"sed -n 's/.* FDE .*pc=\\([0-9a-f]*\\)\\.\\.\\([0-9a-f]*\\)$/\\1 \\2/p' | sort -u",
			compiled_dir, strcmp(files[i], "bare") == 0 ? "pie" : files[i]);
		FILE *p = popen(cmd, "r");
		assert_non_null(p);
		unsigned long start, end;
		size_t cnt = 0;
		while (fscanf(p, "%lx %lx", &start, &end) == 2) {
			uint64_t got_start, got_end;
			if (start == end)
				continue;
			if (!unwind_function_range(l.unwind, end - 1, &got_start, &got_end))
				fail_msg("%s: nothing at %lx", files[i], start);
			assert_int_equal(got_start, start);
			assert_int_equal(got_end, end);
			cnt++;
		}
		pclose(p);
		print_message("%s: %zu functions, %zu by readelf\n", files[i], l.unwind->cnt, cnt);
		assert_int_equal(l.unwind->cnt, cnt);
		assert_true(cnt >= 3);
		uint64_t got_start, got_end;
		assert_false(unwind_function_range(l.unwind, 0, &got_start, &got_end));
		assert_false(unwind_function_range(l.unwind, UINT64_MAX, &got_start, &got_end));
		unload(&l);
	}
}

/* A table with a hole in it is not taken for one that names no personality. */
static void test_damaged(void **state)
{
	(void)state;
	__cleanup(elf_closep) struct elf *whole = compiled_open("c");
	const struct elf_section *s = elf_section(whole, ".eh_frame");
	struct sv bytes = elf_bytes(whole, 0, whole->file_sz);
	char *copy = malloc(bytes.len);
	for (unsigned i = 0; i < 3; i++) {
		memcpy(copy, bytes.data, bytes.len);
		if (i == 0)
			memset(copy + s->offset, 0xee, 4); /* the first record's length */
		else if (i == 1)
			copy[s->offset + 8] = 77; /* its version */
		else
			memset(copy + s->offset + 9, 'e', 2); /* its augmentation */
		struct elf *elf = NULL;
		struct unwind *u = NULL;
		assert_int_equal(elf_open_memory(&elf, copy, bytes.len, NULL), 0);
		assert_int_equal(unwind_open(&u, elf, NULL), 0);
		assert_true(u->damaged);
		assert_int_equal(u->personalities, UNWIND_OTHER);
		unwind_close(u);
		elf_close(elf);
	}
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_personalities), cmocka_unit_test(test_no_table),
		cmocka_unit_test(test_of_function),   cmocka_unit_test(test_like_readelf),
		cmocka_unit_test(test_damaged),
	};
	return cmocka_run_group_tests(tests, compiled_setup, compiled_teardown);
}
