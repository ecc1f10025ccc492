/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>

#include "binary/imports.h"
#include "compiled.h"

static const char program_c[] =
	"#include <ucontext.h>\n"
	"#include <signal.h>\n"
	"static ucontext_t a, b;\n"
	"int work(int x) { return x * 3; }\n"
	"int main(int c, char **v) { (void)v; if (c > 5) swapcontext(&a, &b); return work(c); }\n";

static void compile(void)
{
	compiled_source("p.c", program_c);
	compiled_source("p.cc", "#include <string>\n"
				"namespace n { std::string f(int x) { return std::to_string(x); } }\n"
				"int main(int c, char **) { return (int)n::f(c).size(); }\n");
	compiled_source("p.rs", "fn main() { println!(\"{}\", std::env::args().count()); }\n");
	compiled_run(
		"gcc -O1 -pie -fPIE p.c -o pie && gcc -O1 -no-pie p.c -o nopie && gcc -O1 -static p.c -o static && "
		"gcc -O1 -static-pie -fPIE p.c -o staticpie && gcc -O1 -shared -fPIC -Wl,-soname,libp.so.7 p.c -o "
		"libp.so && "
		"g++ -O1 p.cc -o cxx && g++ -O1 -static p.cc -o cxxstatic && rustc -O p.rs -o rust && "
		"cp rust ruststripped && strip ruststripped && cp static staticstripped && strip staticstripped && "
		"gcc -O1 -Wl,--build-id=0xABCDEF0123 p.c -o id && gcc -O1 -Wl,--build-id=none p.c -o noid");
	/* A file as sstrip and packers leave it: no section headers at all. */
	compiled_run("strip -o nosections pie && for o in 40 41 42 43 44 45 46 47 60 61 62 63; do "
		     "printf '\\000' | dd of=nosections bs=1 seek=$o conv=notrunc status=none; done");
}

static void test_kinds(void **state)
{
	(void)state;
	compile();
	static const struct {
		const char *name;
		uint16_t type;
		bool is_static, is_pie;
		enum elf_language language;
		const char *soname;
	} cases[] = {
		{"pie", ET_DYN, false, true, ELF_LANGUAGE_C, ""},
		{"nopie", ET_EXEC, false, false, ELF_LANGUAGE_C, ""},
		{"static", ET_EXEC, true, false, ELF_LANGUAGE_C, ""},
		{"staticpie", ET_DYN, true, true, ELF_LANGUAGE_C, ""},
		{"libp.so", ET_DYN, false, false, ELF_LANGUAGE_C, "libp.so.7"},
		{"cxx", ET_DYN, false, true, ELF_LANGUAGE_CXX, ""},
		{"cxxstatic", ET_EXEC, true, false, ELF_LANGUAGE_CXX, ""},
		{"rust", ET_DYN, false, true, ELF_LANGUAGE_RUST, ""},
		{"nosections", ET_DYN, false, true, ELF_LANGUAGE_C, ""},
		{"/usr/bin/redis-server", ET_DYN, false, true, ELF_LANGUAGE_C, ""},
		{"/usr/sbin/nginx", ET_DYN, false, true, ELF_LANGUAGE_C, ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		__cleanup(elf_closep) struct elf *elf = compiled_open(cases[i].name);
		print_message("%s\n", cases[i].name);
		assert_int_equal(elf->type, cases[i].type);
		assert_int_equal(elf->is_static, cases[i].is_static);
		assert_int_equal(elf->is_pie, cases[i].is_pie);
		assert_int_equal(elf_language(elf), cases[i].language);
		assert_true(sv_eq(elf->soname, sv_of(cases[i].soname)));
	}
}

static void test_libc(void **state)
{
	(void)state;
	compiled_run("ln -s $(ldd pie | awk '/libc.so/ {print $3}') libc");
	__cleanup(elf_closep) struct elf *elf = compiled_open("libc");
	assert_true(sv_eq(elf->soname, SV("libc.so.6")));
	assert_false(elf->is_static);
	assert_false(elf->is_pie);
	assert_int_equal(elf_language(elf), ELF_LANGUAGE_C);
}

static void test_build_id(void **state)
{
	(void)state;
	__cleanup(elf_closep) struct elf *id = compiled_open("id"), *noid = compiled_open("noid");
	assert_string_equal(id->build_id, "abcdef0123");
	assert_string_equal(noid->build_id, "");
	__cleanup(elf_closep) struct elf *pie = compiled_open("pie"), *bare = compiled_open("nosections");
	assert_int_equal(strlen(pie->build_id), 40);
	assert_string_equal(bare->build_id, pie->build_id);
	char cmd[256];
	snprintf(cmd, sizeof(cmd), "readelf -n pie | grep -q 'Build ID: %s'", pie->build_id);
	compiled_run("%s", cmd);
}

static void test_needed(void **state)
{
	(void)state;
	__cleanup(elf_closep) struct elf *cxx = compiled_open("cxx"), *fixed = compiled_open("static");
	bool found = false;
	for (size_t i = 0; i < cxx->needed_cnt; i++)
		found |= sv_eq(cxx->needed[i], SV("libstdc++.so.6"));
	assert_true(found);
	assert_int_equal(fixed->needed_cnt, 0);
}

/* Every function of the symbol table: its address goes to the file and back, and its code is the bytes there. */
static void test_addresses(void **state)
{
	(void)state;
	static const char *const names[] = {"pie", "nopie", "static", "nosections"};
	for (size_t i = 0; i < 4; i++) {
		__cleanup(elf_closep) struct elf *elf = compiled_open(names[i]);
		__cleanup(elf_closep) struct elf *named = compiled_open(i == 3 ? "pie" : names[i]);
		__cleanup(elf_symbols_release) struct elf_symbols symbols;
		size_t seen = 0;
		assert_true(elf_symbols(named, SHT_SYMTAB, &symbols));
		for (size_t k = 0; k < symbols.cnt; k++) {
			Elf64_Sym sym = elf_symbols_at(&symbols, k);
			if (ELF64_ST_TYPE(sym.st_info) != STT_FUNC || !sym.st_shndx || !sym.st_size)
				continue;
			uint64_t offset, back;
			assert_true(elf_vaddr_to_offset(elf, sym.st_value, &offset));
			assert_true(elf_offset_to_vaddr(elf, offset, &back));
			assert_int_equal(back, sym.st_value);
			struct sv code = elf_code(elf, sym.st_value, sym.st_size);
			assert_int_equal(code.len, sym.st_size);
			struct sv again = elf_bytes(elf, offset, sym.st_size);
			assert_memory_equal(code.data, again.data, code.len);
			assert_non_null(elf_range_at(elf, sym.st_value));
			seen++;
		}
		assert_true(seen >= 3);
	}
}

static void test_code_ends(void **state)
{
	(void)state;
	__cleanup(elf_closep) struct elf *elf = compiled_open("/usr/bin/redis-server");
	const struct elf_section *text = elf_section(elf, ".text"), *data = elf_section(elf, ".rodata");
	assert_int_equal(elf_code(elf, text->vaddr + text->size - 3, 100).len, 3);
	assert_null(elf_code(elf, data->vaddr, 1).data);
	assert_null(elf_code(elf, 0, 1).data);
	assert_null(elf_code(elf, UINT64_MAX, 16).data);
	assert_null(elf_code(elf, text->vaddr, 0).data);
	/* All of it in one, and piece by piece across the borders of what is read at once. */
	struct sv all = elf_code(elf, text->vaddr, text->size);
	assert_int_equal(all.len, text->size);
	__cleanup(elf_closep) struct elf *fresh = compiled_open("/usr/bin/redis-server");
	for (uint64_t at = 0; at < text->size; at += 997) {
		struct sv piece = elf_code(fresh, text->vaddr + at, 1500);
		assert_memory_equal(piece.data, all.data + at, piece.len);
		assert_true(piece.len == 1500 || at + piece.len == text->size);
	}
	size_t plts = 0;
	for (size_t i = 0; i < elf->range_cnt; i++) {
		plts += elf->ranges[i].is_plt;
		assert_true(i == 0 || elf->ranges[i].start >= elf->ranges[i - 1].end);
	}
	assert_true(plts >= 1);
	assert_null(elf_bytes(elf, elf->file_sz, 1).data);
	assert_null(elf_bytes(elf, 1, elf->file_sz).data);
	assert_null(elf_bytes(elf, UINT64_MAX, 2).data);
}

static void test_imports(void **state)
{
	(void)state;
	static const char *const names[] = {"swapcontext", "makecontext", "main", "__cxa_throw"};
	static const struct {
		const char *name;
		uint64_t imported, defined;
		bool complete;
	} cases[] = {
		{"pie", 1, 4, true},	    {"nopie", 1, 4, true},	     {"static", 0, 1 | 4, true},
		{"nosections", 1, 0, true}, {"staticstripped", 0, 0, false},
	};
	struct elf_imports got;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		__cleanup(elf_closep) struct elf *elf = compiled_open(cases[i].name);
		print_message("%s\n", cases[i].name);
		assert_int_equal(elf_imports(elf, names, 4, &got), 0);
		assert_int_equal(got.imported, cases[i].imported);
		assert_int_equal(got.defined, cases[i].defined);
		assert_int_equal(got.complete, cases[i].complete);
	}
	__cleanup(elf_closep) struct elf *pie = compiled_open("pie"), *bare = compiled_open("nosections");
	struct sv library;
	assert_true(elf_imported(pie, SV("swapcontext"), &library));
	assert_true(sv_eq(library, SV("libc.so.6")));
	assert_true(elf_imported(bare, SV("swapcontext"), &library));
	assert_true(sv_eq(library, SV("libc.so.6")));
	assert_false(elf_imported(pie, SV("swapcontex"), &library));
	assert_false(elf_imported(pie, SV("work"), &library));
	assert_int_equal(elf_imports(pie, names, ELF_IMPORTS_MAX + 1, &got), -EINVAL);
}

static void expect_refused(const void *data, size_t len, int want, const char *why)
{
	struct elf *elf = NULL;
	struct sbuf err = {0};
	assert_int_equal(elf_open_memory(&elf, data, len, &err), want);
	assert_null(elf);
	assert_string_equal(sbuf_str(&err), why);
	sbuf_release(&err);
}

static void test_refused(void **state)
{
	(void)state;
	expect_refused(NULL, 0, -ENOEXEC, "is not an ELF file");
	expect_refused("#!/bin/sh\n", 10, -ENOEXEC, "is not an ELF file");
	Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT}, .e_type = ET_EXEC};
	struct elf *elf = NULL;
	assert_int_equal(elf_open_memory(&elf, &h, sizeof(h), NULL), 0);
	elf_close(elf);
	expect_refused(&h, sizeof(h) - 1, -ENOEXEC, "is not an ELF file");
	h.e_type = ET_REL;
	expect_refused(&h, sizeof(h), -ENOTSUP, "is neither an executable nor a shared library");
	h.e_type = ET_DYN;
	h.e_phnum = 1;
	expect_refused(&h, sizeof(h), -ENOEXEC, "is a damaged ELF file: program headers of a wrong size");
	h.e_phentsize = sizeof(Elf64_Phdr);
	h.e_phoff = 16;
	expect_refused(&h, sizeof(h), -ENOEXEC, "is a damaged ELF file: program headers beyond its end");
	h.e_phnum = ELF_SEGMENT_MAX + 1;
	expect_refused(&h, sizeof(h), -ENOEXEC, "is a damaged ELF file: too many program headers");
	h.e_ident[EI_CLASS] = ELFCLASS32;
	expect_refused(&h, sizeof(h), -ENOTSUP, "is a 32-bit program");
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2MSB;
	expect_refused(&h, sizeof(h), -ENOTSUP, "is a big-endian program");
	struct sbuf err = {0};
	int dir = open(compiled_dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(elf_open(&elf, dir, &err), -ENOEXEC);
	assert_string_equal(sbuf_str(&err), "is not a regular file");
	close(dir);
	sbuf_release(&err);
}

/* Cut anywhere, the file is read to its last byte and no further: that byte lies before an unmapped page. */
static void test_truncated(void **state)
{
	(void)state;
	__cleanup(elf_closep) struct elf *whole = compiled_open("pie");
	struct sv bytes = elf_bytes(whole, 0, whole->file_sz);
	size_t page = 4096, room = (bytes.len + page - 1) & ~(page - 1);
	char *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + room, page, PROT_NONE), 0);
	static const char *const names[] = {"swapcontext"};
	size_t opened = 0;
	for (size_t len = 0; len < bytes.len; len += len < 5000 ? 7 : 331) {
		char *at = map + room - len;
		memcpy(at, bytes.data, len);
		struct elf *elf = NULL;
		if (elf_open_memory(&elf, at, len, NULL) < 0)
			continue;
		struct elf_imports got;
		struct sv library;
		elf_language(elf);
		elf_imports(elf, names, 1, &got);
		elf_imported(elf, SV("swapcontext"), &library);
		for (size_t i = 0; i < elf->segment_cnt; i++)
			elf_code(elf, elf->segments[i].vaddr, elf->segments[i].mem_sz);
		elf_close(elf);
		opened++;
	}
	assert_true(opened > 10);
	munmap(map, room + page);
}

/* The file shrinks between opening and reading. */
static void test_truncated_while_open(void **state)
{
	(void)state;
	compiled_run("cp pie shrinking");
	__cleanup(elf_closep) struct elf *elf = compiled_open("shrinking");
	const struct elf_section *text = elf_section(elf, ".text");
	assert_non_null(text);
	compiled_run("truncate -s 600 shrinking");
	assert_null(elf_code(elf, text->vaddr, text->size).data);
	__cleanup(elf_symbols_release) struct elf_symbols symbols;
	assert_false(elf_symbols(elf, SHT_SYMTAB, &symbols));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),	  cmocka_unit_test(test_libc),
		cmocka_unit_test(test_build_id),  cmocka_unit_test(test_needed),
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_code_ends),
		cmocka_unit_test(test_imports),	  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_truncated_while_open),
	};
	return cmocka_run_group_tests(tests, compiled_setup, compiled_teardown);
}
