/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/noreturn.h"

#include <errno.h>

#include "base/cleanup.h"
#include "binary/decode.h"

#define NORETURN_NAME_MAX 512

struct vaddr_vec {
	uint64_t *data;
	size_t cnt;
	size_t cap;
};

struct noreturn {
	struct vaddr_vec functions; /* ascending */
	struct vaddr_vec slots;
};

/* Declared noreturn by: ISO C, POSIX, glibc (stdlib.h, assert.h, setjmp.h, err.h, pthread.h, threads.h, debug/,
 * sysdeps/), GCC's libgcc and libssp, the Itanium C++ ABI, libstdc++ (eh, functexcept.h), clang. Sorted. */
static const char *const names[] = {
	"_Exit",
	"_Unwind_Resume",
	"_ZN10__cxxabiv111__terminateEPFvvE",
	"_ZN10__cxxabiv112__unexpectedEPFvvE",
	"_ZSt10unexpectedv",
	"_ZSt17rethrow_exceptionNSt15__exception_ptr13exception_ptrE",
	"_ZSt21__glibcxx_assert_failPKciS0_S0_",
	"_ZSt9terminatev",
	"__assert",
	"__assert_fail",
	"__assert_fail_base",
	"__assert_perror_fail",
	"__chk_fail",
	"__clang_call_terminate",
	"__cxa_bad_cast",
	"__cxa_bad_typeid",
	"__cxa_call_terminate",
	"__cxa_call_unexpected",
	"__cxa_deleted_virtual",
	"__cxa_pure_virtual",
	"__cxa_rethrow",
	"__cxa_throw",
	"__cxa_throw_bad_array_length",
	"__cxa_throw_bad_array_new_length",
	"__fortify_fail",
	"__libc_fatal",
	"__longjmp",
	"__longjmp_chk",
	"__stack_chk_fail",
	"_exit",
	"_longjmp",
	"abort",
	"err",
	"errx",
	"exit",
	"longjmp",
	"pthread_exit",
	"quick_exit",
	"rust_begin_unwind",
	"siglongjmp",
	"thrd_exit",
	"verr",
	"verrx",
};

/* Of Rust's standard library, where the whole path is written into the name: legacy mangling, then v0 without the
 * crate's hash, which is `CsXXXX_`. All of core::panicking returns `!` except assert helpers, which are inlined. */
static const char *const rust_legacy[] = {
	"_ZN4core9panicking5panic17h",
	"_ZN4core9panicking9panic_fmt17h",
	"_ZN4core9panicking9panic_str",
	"_ZN4core9panicking14panic_nounwind",
	"_ZN4core9panicking14panic_explicit17h",
	"_ZN4core9panicking16panic_in_cleanup17h",
	"_ZN4core9panicking18panic_bounds_check17h",
	"_ZN4core9panicking18panic_nounwind_fmt17h",
	"_ZN4core9panicking19panic_cannot_unwind17h",
	"_ZN4core9panicking13assert_failed17h",
	"_ZN4core9panicking19assert_failed_inner17h",
	"_ZN4core9panicking11panic_const",
	"_ZN4core6option13unwrap_failed17h",
	"_ZN4core6option13expect_failed17h",
	"_ZN4core6result13unwrap_failed17h",
	"_ZN4core5slice5index24slice_end_index_len_fail17h",
	"_ZN4core5slice5index26slice_start_index_len_fail17h",
	"_ZN4core5slice5index22slice_index_order_fail17h",
	"_ZN4core3str16slice_error_fail17h",
	"_ZN4core4cell22panic_already_borrowed17h",
	"_ZN4core4cell30panic_already_mutably_borrowed17h",
	"_ZN5alloc5alloc18handle_alloc_error17h",
	"_ZN5alloc7raw_vec12handle_error17h",
	"_ZN5alloc7raw_vec17capacity_overflow17h",
	"_ZN3std7process4exit17h",
	"_ZN3std7process5abort17h",
	"_ZN3std9panicking11begin_panic17h",
	"_ZN3std9panicking20rust_panic_with_hook17h",
	"_ZN3std9panicking13resume_unwind17h",
	"_ZN3std5panic13resume_unwind17h",
};

bool noreturn_name(struct sv name)
{
	size_t lo = 0, hi = name.len ? sizeof(names) / sizeof(names[0]) : 0;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct sv known = sv_of(names[mid]);
		int order = memcmp(known.data, name.data, known.len < name.len ? known.len : name.len);
		if (order == 0 && known.len == name.len)
			return true;
		if (order < 0 || (order == 0 && known.len < name.len))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!name.len || !sv_starts(name, SV("_Z")))
		return false;
	/* std::__throw_length_error(char const*) and its like, all of functexcept.h */
	if (sv_starts(name, SV("_ZSt")) && name.len > 15 && memcmp(name.data + 6, "__throw_", 8) == 0)
		return true;
	for (size_t i = 0; i < sizeof(rust_legacy) / sizeof(rust_legacy[0]); i++)
		if (sv_starts(name, sv_of(rust_legacy[i])))
			return true;
	return false;
}

static int add(struct vaddr_vec *v, uint64_t addr)
{
	return v->cnt < NORETURN_MAX ? vec_push(v, addr) : 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static bool has(const struct vaddr_vec *v, uint64_t addr)
{
	return v->cnt && bsearch(&addr, v->data, v->cnt, sizeof(*v->data), compare);
}

static void sort(struct vaddr_vec *v)
{
	if (v->cnt)
		qsort(v->data, v->cnt, sizeof(*v->data), compare);
}

/* A program may have an err() of its own that returns; names that begin with _ are the implementation's. */
static int add_functions(struct noreturn *n, const struct elf *elf, const struct symtab *tab)
{
	int rc = 0;
	for (size_t i = 0; tab && i < tab->cnt && rc == 0; i++) {
		const struct symbol *s = &tab->symbols[i];
		bool found = false;
		for (size_t k = 0; k < s->name_cnt && !found; k++) {
			struct sv name = name_base(symtab_name(tab, s, k), NULL);
			found = (sv_starts(name, SV("_")) || elf->is_static) && noreturn_name(name);
		}
		/* What an ifunc's symbol names is its resolver; its cold piece is no function. */
		if (found && !(s->flags & (SYMBOL_IFUNC | NAME_COLD)))
			rc = add(&n->functions, s->addr);
	}
	return rc;
}

/* Words that the dynamic linker fills with the address of one of these functions. */
static int add_slots(struct noreturn *n, struct elf *elf, uint64_t table, uint64_t len,
		     const struct elf_symbols *symbols)
{
	__cleanup(freep) void *owned = NULL;
	uint64_t offset;
	if (!table || !len || !elf_vaddr_to_offset(elf, table, &offset))
		return 0;
	struct sv relocations = elf_bytes_owned(elf, offset, len, &owned);
	int rc = 0;
	for (size_t i = 0; i + sizeof(Elf64_Rela) <= relocations.len && rc == 0; i += sizeof(Elf64_Rela)) {
		Elf64_Rela rela;
		memcpy(&rela, relocations.data + i, sizeof(rela));
		uint32_t type = ELF64_R_TYPE(rela.r_info), symbol = ELF64_R_SYM(rela.r_info);
		bool slot = elf->machine == EM_X86_64 ? type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT
						      : type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT;
		if (!slot || !symbol || symbol >= symbols->cnt)
			continue;
		Elf64_Sym sym = elf_symbols_at(symbols, symbol);
		if (noreturn_name(elf_string(symbols->strings, sym.st_name, NORETURN_NAME_MAX)))
			rc = add(&n->slots, rela.r_offset);
	}
	return rc;
}

/* Linkers write `[endbr64] [bnd] jmp *slot(%rip)` for each function, padded or followed by what binds it lazily. */
static int add_stubs(struct noreturn *n, struct elf *elf, const struct elf_range *range)
{
	struct sv bytes = elf_code(elf, range->start, range->end - range->start);
	struct code_window plt = {(const uint8_t *)bytes.data, bytes.len, range->start, DECODE_X86_64};
	bool endbr = false;
	int rc = 0;
	for (uint64_t at = range->start; at - range->start < plt.sz && rc == 0;) {
		struct insn i;
		if (decode_at(&plt, at, &i) < 0) {
			endbr = false;
			at++;
			continue;
		}
		if (i.kind == INSN_JMP_INDIRECT && i.rip_relative && has(&n->slots, i.target)) {
			rc = add(&n->functions, at);
			if (rc == 0 && endbr)
				rc = add(&n->functions, at - 4);
		}
		endbr = i.kind == INSN_ENDBR;
		at += i.len;
	}
	return rc;
}

static int noreturn_fill(struct noreturn *n, struct elf *elf, const struct symtab *tab)
{
	__cleanup(elf_symbols_release) struct elf_symbols symbols = {0};
	int rc = add_functions(n, elf, tab);
	if (rc == 0 && elf_symbols(elf, SHT_DYNSYM, &symbols)) {
		rc = add_slots(n, elf, elf->dynamic[DT_JMPREL], elf->dynamic[DT_PLTRELSZ], &symbols);
		if (rc == 0)
			rc = add_slots(n, elf, elf->dynamic[DT_RELA], elf->dynamic[DT_RELASZ], &symbols);
	}
	sort(&n->slots);
	for (size_t i = 0; i < elf->range_cnt && elf->machine == EM_X86_64 && n->slots.cnt && rc == 0; i++)
		if (elf->ranges[i].is_plt)
			rc = add_stubs(n, elf, &elf->ranges[i]);
	sort(&n->functions);
	return rc;
}

int noreturn_open(struct noreturn **ret, struct elf *elf, const struct symtab *tab)
{
	struct noreturn *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	int rc = noreturn_fill(n, elf, tab);
	if (rc < 0)
		noreturn_close(n);
	else
		*ret = n;
	return rc;
}

void noreturn_close(struct noreturn *n)
{
	if (!n)
		return;
	vec_release(&n->functions);
	vec_release(&n->slots);
	free(n);
}

bool noreturn_function(void *noreturn, uint64_t target)
{
	return has(&((struct noreturn *)noreturn)->functions, target);
}

bool noreturn_slot(void *noreturn, uint64_t slot)
{
	return has(&((struct noreturn *)noreturn)->slots, slot);
}
