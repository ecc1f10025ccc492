/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/vec.h"
#include "binary/symbols.h"
#include "compiled.h"
#include "symbols_programs.h"

/* An elf with its symbols. */
struct loaded {
	struct elf *elf;
	struct symtab *tab;
};

static struct loaded load_with(const char *name, const struct symtab_options *opts)
{
	struct loaded l = {compiled_open(name), NULL};
	struct sbuf err = {0};
	assert_int_equal(symtab_open(&l.tab, l.elf, opts, &err), 0);
	assert_string_equal(sbuf_str(&err), "");
	sbuf_release(&err);
	return l;
}

static struct loaded load(const char *name)
{
	return load_with(name, NULL);
}

static void unload(struct loaded *l)
{
	symtab_close(l->tab);
	elf_close(l->elf);
}

static int find_cnt(struct symtab *tab, const char *pattern)
{
	struct symbol_vec v = {0};
	int n = symtab_find(tab, sv_of(pattern), &v);
	assert_int_equal(n, v.cnt);
	for (size_t i = 1; i < v.cnt; i++)
		assert_true(v.data[i - 1]->addr < v.data[i]->addr);
	vec_release(&v);
	return n;
}

static const struct symbol *find_one(struct symtab *tab, const char *pattern)
{
	struct symbol_vec v = {0};
	int n = symtab_find(tab, sv_of(pattern), &v);
	if (n != 1)
		fail_msg("%s: found %d", pattern, n);
	const struct symbol *s = v.data[0];
	vec_release(&v);
	return s;
}

static void expect_display(struct symtab *tab, const char *pattern, const char *want)
{
	struct sv got = symtab_display(tab, find_one(tab, pattern));
	if (!sv_eq(got, sv_of(want)))
		fail_msg("%s: shown as " SV_FMT, pattern, SV_ARG(got));
}

static void compile(void)
{
	compiled_source("pieces.c", pieces_c);
	compiled_source("labels.s", labels_s);
	compiled_source(
		"labels.map",
		"V1 { global: versioned; sized; unsized; label; tail; both; reaching; }; V2 { local: *; } V1;\n");
	compiled_source("cart.cc", cart_cc);
	compiled_source("cart.rs", cart_rs);
	compiled_run("gcc -O2 -fno-ipa-icf pieces.c -o pieces && gcc -shared -nostdlib -Wl,--version-script=labels.map "
		     "labels.s -o labels.so && g++ -std=c++17 -O2 cart.cc -o cart && "
		     "RUSTC_BOOTSTRAP=1 rustc --edition 2021 -O -Zunstable-options -C symbol-mangling-version=legacy "
		     "cart.rs -o cart_legacy && "
		     "rustc --edition 2021 -O -C symbol-mangling-version=v0 cart.rs -o cart_v0");
}

static void test_pieces(void **state)
{
	(void)state;
	compile();
	struct loaded l = load("pieces");
	const struct symbol *s = find_one(l.tab, "whole");
	assert_int_equal(s->name_cnt, 3);
	assert_true(sv_eq(s->name, SV("whole")) || sv_eq(s->name, SV("second_name")));
	assert_ptr_equal(find_one(l.tab, "second_name"), s);
	assert_ptr_equal(find_one(l.tab, "__third_name"), s);
	assert_true(sv_eq(symtab_name(l.tab, s, 2), SV("__third_name")));
	assert_null(symbol_why_not(s));

	s = find_one(l.tab, "chosen");
	assert_true(s->flags & SYMBOL_IFUNC);
	assert_true(sv_eq(s->name, SV("chosen")));
	assert_non_null(strstr(symbol_why_not(s), "IFUNC"));

	static const struct {
		const char *name, *raw;
		uint32_t flag;
	} copies[] = {{"scaled", "scaled.constprop.0", NAME_CONSTPROP},
		      {"member", "member.isra.0", NAME_ISRA},
		      {"early", "early.part.0", NAME_PART}};
	for (size_t i = 0; i < 3; i++) {
		s = find_one(l.tab, copies[i].name);
		assert_true(sv_eq(s->name, sv_of(copies[i].raw)));
		assert_true(s->flags & copies[i].flag);
		assert_true(s->flags & SYMBOL_LOCAL);
		assert_null(symbol_why_not(s));
		expect_display(l.tab, copies[i].name, copies[i].name);
		assert_ptr_equal(find_one(l.tab, copies[i].raw), s);
	}

	assert_false(find_one(l.tab, "risky")->flags & NAME_COLD);
	s = find_one(l.tab, "risky.cold");
	assert_true(s->flags & NAME_COLD);
	assert_true(sv_eq(symbol_base(s), SV("risky")));
	assert_non_null(symbol_why_not(s));
	assert_int_equal(find_cnt(l.tab, "ris*"), 1);
	assert_int_equal(find_cnt(l.tab, "use?"), 4);
	assert_int_equal(find_cnt(l.tab, "use[12]"), 2);
	assert_int_equal(find_cnt(l.tab, "nothing"), 0);
	assert_int_equal(find_cnt(l.tab, ""), 0);
	/* imported: no function of this file */
	assert_int_equal(find_cnt(l.tab, "fprintf"), 0);
	unload(&l);
}

static void test_labels(void **state)
{
	(void)state;
	struct loaded l = load("labels.so");
	const struct symbol *s = find_one(l.tab, "sized");
	assert_int_equal(s->size, 3);
	assert_false(s->flags & (SYMBOL_SIZE_GUESSED | SYMBOL_NOTYPE));
	s = find_one(l.tab, "unsized");
	assert_int_equal(s->size, 4);
	assert_true(s->flags & SYMBOL_SIZE_GUESSED);
	s = find_one(l.tab, "label");
	assert_int_equal(s->size, 3); /* past local_label, which is none */
	assert_true(s->flags & SYMBOL_NOTYPE);
	assert_int_equal(find_cnt(l.tab, "local_label"), 0);
	s = find_one(l.tab, "reaching");
	assert_true(s->flags & SYMBOL_OVERLAPPED);
	assert_ptr_equal(symtab_at(l.tab, s->addr + 1), s);
	assert_ptr_equal(symtab_at(l.tab, s->addr + 2), find_one(l.tab, "both"));
	const struct elf_section *text = elf_section(l.elf, ".text");
	assert_true(s->addr + s->size <= text->vaddr + text->size);
	assert_null(symtab_at(l.tab, text->vaddr - 1));
	assert_null(symtab_at(l.tab, text->vaddr + text->size));

	struct symbol_vec v = {0};
	assert_int_equal(symtab_find(l.tab, SV("versioned"), &v), 2);
	assert_true(v.data[0]->flags & SYMBOL_OLD_VERSION);
	assert_false(v.data[1]->flags & SYMBOL_OLD_VERSION);
	assert_true(sv_eq(v.data[1]->name, SV("new_f")) || sv_eq(v.data[1]->name, SV("versioned")));
	vec_release(&v);
	unload(&l);
}

static void test_cxx(void **state)
{
	(void)state;
	struct loaded l = load("cart");
	static const struct {
		const char *pattern;
		int cnt;
	} cases[] = {
		{"shop::Cart<int>::total(int) const", 1},
		{"shop::Cart<int>::total(int)", 1},
		{"shop::Cart<int>::total(int,char)", 1},
		{"shop::Cart<int>::total(int, char) const", 1},
		{"shop::Cart<int>::total", 2},
		{"shop::Cart<int>::tota", 0},
		{"Cart<int>::total", 0},
		{"shop::charge_card", 2},
		{"shop::charge_card(double)", 1},
		{"shop::charge_card(*)", 2},
		{"shop::charge_*", 2},
		{"_ZN4shop11charge_cardEi", 1},
		{"shop::apply", 1},
		{"shop::Cart<int>::operator()", 1},
		{"shop::Cart<int>::operator()(int)", 1},
		{"shop::Cart<int>::operator<", 1},
		{"shop::Cart<int>::operator bool", 1},
		{"shop::Cart<int>::~Cart", 1},
		{"shop::Cart<int>::Cart", 1},
		{"shop::Cart<*>::total(int) const", 2},
		{"shop::describe", 1},
		{"(anonymous namespace)::hidden", 1},
		{"*hidden*", 1},
		{"plain_c", 1},
		{"main::{lambda(int)#1}::operator()", 1},
		{"shop::nothing_like_it", 0},
		{"shop::*char_traits*", 0}, /* in parameters only */
		{"shop::*(*char_traits*", 1},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int n = find_cnt(l.tab, cases[i].pattern);
		if (n != cases[i].cnt)
			fail_msg("%s: found %d", cases[i].pattern, n);
	}
	expect_display(l.tab, "shop::charge_card(double)", "shop::charge_card(double)");
	expect_display(l.tab, "_ZN4shop11charge_cardEi", "shop::charge_card(int)");
	/* Two names of one constructor (C1, C2) are one function. */
	assert_int_equal(find_one(l.tab, "shop::Cart<int>::Cart")->name_cnt, 2);
	unload(&l);
}

static void test_rust(void **state)
{
	(void)state;
	static const char *const files[] = {"cart_legacy", "cart_v0"};
	for (size_t i = 0; i < 2; i++) {
		struct loaded l = load(files[i]);
		const char *crate = "cart";
		static const char *const names[] = {"shop::charge_card", "shop::apply", "main", "shop::Cart::total"};
		for (size_t k = 0; k < 4; k++) {
			char name[128];
			snprintf(name, sizeof(name), "%s::%s", crate, names[k]);
			struct sv shown = symtab_display(l.tab, find_one(l.tab, name));
			assert_null(memmem(shown.data, shown.len, "17h", 3));
			assert_true(sv_starts(shown, sv_of(name)));
		}
		char glob[128];
		snprintf(glob, sizeof(glob), "%s::shop::*", crate);
		assert_true(find_cnt(l.tab, glob) >= 2);
		assert_int_equal(find_cnt(l.tab, "*Cart*Debug*::fmt"), 1);
		assert_int_equal(find_cnt(l.tab, "plain_c"), 1);
		assert_true(find_cnt(l.tab, "core::fmt::Formatter::*") > 3);
		unload(&l);
	}
}

static void test_demangled_is_kept(void **state)
{
	(void)state;
	struct loaded l = load("cart");
	const struct symbol *s = find_one(l.tab, "shop::describe");
	struct sv first = symtab_display(l.tab, s);
	assert_ptr_equal(first.data, symtab_display(l.tab, s).data);
	unload(&l);
}

/* A file's own table, and the same one from where stripping may have put it: the same functions. */
static void expect_same(struct symtab *tab, struct symtab *whole)
{
	assert_int_equal(tab->cnt, whole->cnt);
	for (size_t i = 0; i < whole->cnt; i++) {
		assert_int_equal(tab->symbols[i].addr, whole->symbols[i].addr);
		assert_int_equal(tab->symbols[i].offset, whole->symbols[i].offset);
		assert_int_equal(tab->symbols[i].size, whole->symbols[i].size);
		assert_true(sv_eq(tab->symbols[i].name, whole->symbols[i].name));
	}
}

static void test_minidebuginfo(void **state)
{
	(void)state;
	/* As Fedora's find-debuginfo does it: function symbols that are not in .dynsym, packed. */
	compiled_run("objcopy --only-keep-debug pieces mini && objcopy -S --remove-section .comment mini mini2 "
		     "--keep-symbol=risky --keep-symbol=risky.cold --keep-symbol=early.part.0 --keep-symbol=main && "
		     "rm -f mini2.xz && xz mini2 && strip -o stripped pieces && "
		     "objcopy --add-section .gnu_debugdata=mini2.xz stripped packed");
	struct loaded bare = load("stripped"), l = load("packed"), whole = load("pieces");
	assert_int_equal(find_cnt(bare.tab, "risky"), 0);
	assert_int_equal(l.tab->sources & ~(uint32_t)SYMTAB_FROM_DYNSYM, SYMTAB_FROM_MINIDEBUG);
	static const char *const names[] = {"risky", "risky.cold", "early", "main"};
	for (size_t i = 0; i < 4; i++) {
		const struct symbol *s = find_one(l.tab, names[i]), *same = find_one(whole.tab, names[i]);
		assert_int_equal(s->addr, same->addr);
		assert_int_equal(s->offset, same->offset);
		assert_int_equal(s->size, same->size);
	}
	assert_int_equal(find_cnt(l.tab, "use1"), 0);
	unload(&bare);
	unload(&l);
	unload(&whole);

	/* What cannot be unpacked is said, and the rest is used. */
	compiled_run(
		"head -c 300 mini2.xz >broken.xz && objcopy --add-section .gnu_debugdata=broken.xz stripped broken");
	__cleanup(elf_closep) struct elf *elf = compiled_open("broken");
	struct symtab *tab = NULL;
	struct sbuf err = {0};
	assert_int_equal(symtab_open(&tab, elf, NULL, &err), 0);
	assert_non_null(strstr(sbuf_str(&err), ".gnu_debugdata cannot be unpacked"));
	symtab_close(tab);
	sbuf_release(&err);
}

static struct symtab_options root_options(const char *path)
{
	return (struct symtab_options){open(compiled_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), sv_of(path)};
}

static void test_build_id_file(void **state)
{
	(void)state;
	__cleanup(elf_closep) struct elf *elf = compiled_open("pieces");
	/* An absolute link, which must lead into the target's root, not ours. */
	compiled_run("mkdir -p usr/lib/debug/.build-id/%.2s real && objcopy --only-keep-debug pieces real/p.debug && "
		     "ln -sf /real/p.debug usr/lib/debug/.build-id/%.2s/%s.debug && strip -o byid pieces",
		     elf->build_id, elf->build_id, elf->build_id + 2);
	struct symtab_options opts = root_options(NULL);
	struct loaded whole = load("pieces"), l = load_with("byid", &opts);
	assert_true(l.tab->sources & SYMTAB_FROM_DEBUG_FILE);
	expect_same(l.tab, whole.tab);
	unload(&l);
	/* Of another build: refused. */
	compiled_run("objcopy --only-keep-debug cart real/p.debug");
	l = load_with("byid", &opts);
	assert_false(l.tab->sources & SYMTAB_FROM_DEBUG_FILE);
	unload(&l);
	unload(&whole);
	close(opts.root_fd);
}

static void test_debuglink(void **state)
{
	(void)state;
	compiled_run("gcc -O2 -fno-ipa-icf -Wl,--build-id=none pieces.c -o plain && mkdir -p opt/bin && "
		     "objcopy --only-keep-debug plain plain.debug && strip -o opt/bin/prog plain && "
		     "objcopy --add-gnu-debuglink=plain.debug opt/bin/prog");
	static const char *const places[] = {"opt/bin", "opt/bin/.debug", "usr/lib/debug/opt/bin"};
	struct symtab_options opts = root_options("/opt/bin/prog");
	struct loaded whole = load("plain");
	for (size_t i = 0; i < 3; i++) {
		struct loaded l = load_with("opt/bin/prog", &opts);
		assert_false(l.tab->sources & SYMTAB_FROM_DEBUG_FILE);
		unload(&l);
		compiled_run("mkdir -p %s && cp plain.debug %s", places[i], places[i]);
		l = load_with("opt/bin/prog", &opts);
		assert_true(l.tab->sources & SYMTAB_FROM_DEBUG_FILE);
		expect_same(l.tab, whole.tab);
		unload(&l);
		/* One byte more, and the checksum is another. */
		compiled_run("printf x >>%s/plain.debug", places[i]);
		l = load_with("opt/bin/prog", &opts);
		assert_false(l.tab->sources & SYMTAB_FROM_DEBUG_FILE);
		unload(&l);
		/* A FIFO of that name must not make us wait. */
		compiled_run("rm %s/plain.debug && mkfifo %s/plain.debug", places[i], places[i]);
		l = load_with("opt/bin/prog", &opts);
		unload(&l);
		compiled_run("rm %s/plain.debug", places[i]);
	}
	unload(&whole);
	close(opts.root_fd);
}

/* As many functions as readelf sees, and each of them found by its name. */
static void test_like_readelf(void **state)
{
	(void)state;
	compiled_run("for l in libc.so.6 libssl.so.3 libcrypto.so.3 libstdc++.so.6; do "
		     "ln -s $(gcc -print-file-name=$l) ${l%%%%.*}; done");
	static const char *const files[] = {"/usr/bin/redis-server",
					    "/usr/sbin/nginx",
					    "libc",
					    "libssl",
					    "libcrypto",
					    "libstdc++",
					    "pieces",
					    "cart",
					    "cart_v0",
					    "cart_legacy",
					    "/usr/bin/gdb",
					    "/usr/bin/python3"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct loaded l = load(files[i]);
		long want = compiled_count("readelf -sW %s | awk '($4 == \"FUNC\" || $4 == \"IFUNC\") && "
					   "$7 != \"UND\" {print $2}' | sort -u | wc -l",
					   files[i]);
		long got = 0;
		for (size_t k = 0; k < l.tab->cnt; k++) {
			const struct symbol *s = &l.tab->symbols[k];
			got += !(s->flags & SYMBOL_NOTYPE);
			struct symbol_vec v = {0};
			bool found = false;
			assert_true(symtab_find(l.tab, s->name, &v) >= 1);
			for (size_t n = 0; n < v.cnt; n++)
				found |= v.data[n] == s;
			assert_true(found);
			vec_release(&v);
			uint64_t vaddr;
			assert_true(elf_offset_to_vaddr(l.elf, s->offset, &vaddr));
			assert_int_equal(vaddr, s->addr);
			assert_true(s->size > 0 || s->flags & SYMBOL_SIZE_GUESSED);
		}
		print_message("%s: %ld functions, %ld by readelf\n", files[i], got, want);
		assert_int_equal(got, want);
		unload(&l);
	}
}

static void expect_suggestion(struct symtab *tab, const char *wrong, const char *want)
{
	struct sv like[3];
	size_t n = symtab_suggest(tab, sv_of(wrong), like, 3);
	if (!want && n > 0)
		fail_msg("%s: suggests " SV_FMT, wrong, SV_ARG(like[0]));
	if (want && (n == 0 || !sv_eq(like[0], sv_of(want))))
		fail_msg("%s: suggests " SV_FMT, wrong, SV_ARG(n ? like[0] : SV("nothing")));
}

static void test_suggest(void **state)
{
	(void)state;
	struct loaded l = load("cart");
	expect_suggestion(l.tab, "plain_d", "plain_c");
	expect_suggestion(l.tab, "shop::chrage_card", "shop::charge_card");
	expect_suggestion(l.tab, "chrage_card", "shop::charge_card");
	expect_suggestion(l.tab, "shop::chrage_card(int)", "shop::charge_card");
	expect_suggestion(l.tab, "store::describe", "shop::describe");
	expect_suggestion(l.tab, "charge", "shop::charge_card");
	expect_suggestion(l.tab, "zzzzzzzzzzzz", NULL);
	expect_suggestion(l.tab, "", NULL);
	unload(&l);
	l = load("/usr/bin/redis-server");
	expect_suggestion(l.tab, "setComand", "setCommand");
	expect_suggestion(l.tab, "mian", "main");
	unload(&l);
	l = load("cart_v0");
	expect_suggestion(l.tab, "cart::shop::charge_crad", "cart::shop::charge_card");
	unload(&l);
}

/* Stripped static: nothing to find, and no error. */
static void test_no_symbols(void **state)
{
	(void)state;
	compiled_run("gcc -O1 -static pieces.c -o fixed && strip -o none fixed");
	struct loaded l = load("none");
	assert_int_equal(l.tab->cnt, 0);
	assert_int_equal(l.tab->sources, 0);
	assert_int_equal(find_cnt(l.tab, "main"), 0);
	assert_int_equal(find_cnt(l.tab, "*"), 0);
	struct sv like;
	assert_int_equal(symtab_suggest(l.tab, SV("main"), &like, 1), 0);
	unload(&l);
	l = load("fixed");
	assert_true(find_one(l.tab, "main")->size > 0);
	assert_true(find_one(l.tab, "chosen")->flags & SYMBOL_IFUNC);
	unload(&l);
}

/* Time is machine-dependent; what is fast enough here by a factor of fifty fails only when something is quadratic. */
static void test_load_time(void **state)
{
	(void)state;
	static const char *const files[] = {"libc", "libcrypto", "/usr/bin/gdb"};
	for (size_t i = 0; i < 3; i++) {
		uint64_t start = clock_mono_ns();
		struct loaded l = load(files[i]);
		uint64_t ns = clock_mono_ns() - start;
		print_message("%s: %zu functions in %.1f ms\n", files[i], l.tab->cnt, (double)ns / 1e6);
		assert_true(ns < NSEC_PER_SEC);
		unload(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_cxx),
		cmocka_unit_test(test_rust),
		cmocka_unit_test(test_demangled_is_kept),
		cmocka_unit_test(test_minidebuginfo),
		cmocka_unit_test(test_build_id_file),
		cmocka_unit_test(test_debuglink),
		cmocka_unit_test(test_like_readelf),
		cmocka_unit_test(test_suggest),
		cmocka_unit_test(test_no_symbols),
		cmocka_unit_test(test_load_time),
	};
	return cmocka_run_group_tests(tests, compiled_setup, compiled_teardown);
}
