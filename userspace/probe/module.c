/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/module.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "binary/imports.h"
#include "probe/proof.h"

/* Text beyond this is not searched for jumps into functions (10 ms a megabyte): entry probes then stay at the symbol. */
#define TARGETS_MAX_TEXT (48u << 20)

static const struct {
	const char *symbol;
	uint32_t trait;
} trait_symbols[] = {
	/* Itanium C++ ABI, Exception Handling; Rust's panic_unwind goes through level I. */
	{"__cxa_throw", TRAIT_UNWINDS},
	{"__gxx_personality_v0", TRAIT_UNWINDS},
	{"_Unwind_RaiseException", TRAIT_UNWINDS},
	{"rust_eh_personality", TRAIT_UNWINDS},
	{"_Unwind_Resume", TRAIT_UNWINDS},
	{"swapcontext", TRAIT_SWITCHES},
	{"makecontext", TRAIT_SWITCHES},
	{"setcontext", TRAIT_SWITCHES},
	{"jump_fcontext", TRAIT_SWITCHES}, /* Boost.Context */
	{"ontop_fcontext", TRAIT_SWITCHES},
	{"coroutine_transfer", TRAIT_SWITCHES}, /* Ruby's fibers */
	{"ASYNC_start_job", TRAIT_SWITCHES},	/* OpenSSL's own coroutines */
	{"sigaltstack", TRAIT_ALTSTACK},
	{"longjmp", TRAIT_LONGJMP},
	{"_longjmp", TRAIT_LONGJMP},
	{"siglongjmp", TRAIT_LONGJMP},
	{"__longjmp_chk", TRAIT_LONGJMP},
};
#define TRAIT_SYMBOLS (sizeof(trait_symbols) / sizeof(trait_symbols[0]))

/* Libraries that offer these functions, or use them only within themselves: no exception of theirs passes a frame of
 * another module. OpenSSL switches stacks only for jobs that somebody starts with ASYNC_start_job(), or lets libssl start
 * (SSL_MODE_ASYNC, for hardware engines). The allocators are C++, called at the leaves, and call nobody back. */
/* clang-format off */
static const char *const harmless_libraries[] = {
	"libc.so", "ld-linux", "libc.musl", "ld-musl", "libgcc_s.so", "libstdc++.so", "libc++.so", "libc++abi.so",
	"libcrypto.so", "libssl.so", "libjemalloc.so", "libtcmalloc.so", "libtcmalloc_minimal.so", "libmimalloc.so",
};
/* clang-format on */

static bool module_is_harmless(struct sv name)
{
	for (size_t i = 0; i < sizeof(harmless_libraries) / sizeof(harmless_libraries[0]); i++)
		if (sv_starts(name, sv_of(harmless_libraries[i])))
			return true;
	return false;
}

static uint32_t module_find_traits(struct module *m)
{
	uint32_t traits = elf_language(m->elf) == ELF_LANGUAGE_GO ? TRAIT_GO | TRAIT_SWITCHES : 0;
	const char *names[TRAIT_SYMBOLS];
	struct elf_imports imports;

	if (module_is_harmless(m->name))
		return 0;
	for (size_t i = 0; i < TRAIT_SYMBOLS; i++)
		names[i] = trait_symbols[i].symbol;
	if (elf_imports(m->elf, names, TRAIT_SYMBOLS, &imports) < 0)
		return TRAIT_UNWINDS | TRAIT_SWITCHES;
	for (size_t i = 0; i < TRAIT_SYMBOLS; i++)
		if ((imports.imported | imports.defined) & (1ULL << i))
			traits |= trait_symbols[i].trait;
	if (memmem(m->path.data, m->path.len, "greenlet", 8))
		traits |= TRAIT_SWITCHES; /* copies stacks in and out, without a function that could be named */
	struct unwind *u = NULL;
	if (!imports.complete && unwind_open(&u, m->elf, NULL) == 0 &&
	    u->personalities & (UNWIND_CXX | UNWIND_RUST | UNWIND_OTHER))
		traits |= TRAIT_UNWINDS;
	unwind_close(u);
	return traits;
}

int module_open(struct module **ret, int fd, int root_fd, struct sv path, bool is_exe, struct sbuf *err)
{
	struct stat st;
	struct module *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->fd = -1;
	m->root_fd = root_fd < 0 ? -1 : fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
	m->is_exe = is_exe;
	int rc = fstat(fd, &st) < 0 ? -errno : elf_open(&m->elf, fd, err);
	if (rc < 0) {
		module_close(m);
		return rc;
	}
	m->dev = st.st_dev;
	m->ino = st.st_ino;
	m->path = arena_dup(&m->arena, path);
	const char *slash = m->path.data ? strrchr(m->path.data, '/') : NULL;
	m->name = slash ? sv_of(slash + 1) : m->path;
	if (m->elf->soname.len)
		m->name = arena_dup(&m->arena, m->elf->soname);
	m->traits = module_find_traits(m);
	m->fd = fd;
	*ret = m;
	return 0;
}

void module_close(struct module *m)
{
	if (!m)
		return;
	module_rest(m);
	elf_close(m->elf);
	closep(&m->fd);
	closep(&m->root_fd);
	arena_release(&m->arena);
	free(m);
}

struct symtab *module_symbols(struct module *m)
{
	if (m->symtab)
		return m->symtab;
	struct symtab_options options = {.root_fd = m->root_fd, .path = m->path};
	if (symtab_open(&m->symtab, m->elf, &options, NULL) < 0)
		m->symtab = NULL;
	return m->symtab;
}

bool module_is_stripped(struct module *m)
{
	struct symtab *tab = module_symbols(m);
	return !tab || !(tab->sources & ~(uint32_t)SYMTAB_FROM_DYNSYM);
}

struct unwind *module_unwind(struct module *m)
{
	if (!m->unwind && unwind_open(&m->unwind, m->elf, NULL) < 0)
		m->unwind = NULL;
	return m->unwind;
}

struct noreturn *module_noreturn(struct module *m)
{
	if (!m->noreturn && noreturn_open(&m->noreturn, m->elf, module_symbols(m)) < 0)
		m->noreturn = NULL;
	return m->noreturn;
}

enum decode_arch module_arch(const struct module *m)
{
	return m->elf->machine == EM_AARCH64 ? DECODE_ARM64 : DECODE_X86_64;
}

/* BOLT leaves the old .rodata in place and adds a second. */
size_t module_data(struct module *m, struct code_window ret[MODULE_DATA_MAX])
{
	size_t cnt = 0;
	for (size_t i = 0; i < m->elf->section_cnt && cnt < MODULE_DATA_MAX; i++) {
		const struct elf_section *s = &m->elf->sections[i];
		if (!sv_starts(s->name, SV(".rodata")) && !sv_eq(s->name, SV(".bolt.org.rodata")) &&
		    !sv_eq(s->name, SV(".data.rel.ro")))
			continue;
		struct sv bytes = elf_section_bytes(m->elf, s);
		if (bytes.len)
			ret[cnt++] =
				(struct code_window){(const uint8_t *)bytes.data, bytes.len, s->vaddr, module_arch(m)};
	}
	return cnt;
}

bool module_code(struct module *m, uint64_t vaddr, uint64_t len, struct code_window *ret)
{
	struct sv bytes = elf_code(m->elf, vaddr, len);
	*ret = (struct code_window){
		.data = (const uint8_t *)bytes.data,
		.sz = bytes.len,
		.addr = vaddr,
		.arch = module_arch(m),
	};
	return bytes.len > 0;
}

static int module_scan_range(struct module *m, const struct elf_range *r, struct code_targets *ret)
{
	struct code_window text;
	struct symtab *tab = module_symbols(m);
	VEC(uint64_t) starts = {0};

	if (!tab || r->end - r->start > TARGETS_MAX_TEXT || !module_code(m, r->start, r->end - r->start, &text))
		return -E2BIG;
	int rc = 0;
	for (size_t i = 0; i < tab->cnt && rc == 0; i++)
		if (tab->symbols[i].addr >= r->start && tab->symbols[i].addr < r->end)
			rc = vec_push(&starts, tab->symbols[i].addr);
	if (rc == 0)
		rc = code_targets_init(ret, &text, starts.data, starts.cnt);
	vec_release(&starts);
	return rc;
}

const struct code_targets *module_targets(struct module *m, uint64_t vaddr)
{
	const struct elf_range *r = elf_range_at(m->elf, vaddr);
	if (!r)
		return NULL;
	if (!m->targets) {
		m->targets = calloc(m->elf->range_cnt, sizeof(*m->targets));
		m->target_cnt = m->targets ? m->elf->range_cnt : 0;
	}
	size_t i = (size_t)(r - m->elf->ranges);
	if (i >= m->target_cnt)
		return NULL;
	if (!m->targets[i].bits && module_scan_range(m, r, &m->targets[i]) < 0)
		return NULL;
	return &m->targets[i];
}

void module_rest(struct module *m)
{
	proof_free(m->proof);
	m->proof = NULL;
	for (size_t i = 0; i < m->target_cnt; i++)
		code_targets_release(&m->targets[i]);
	free(m->targets);
	m->targets = NULL;
	m->target_cnt = 0;
	unwind_close(m->unwind);
	m->unwind = NULL;
	noreturn_close(m->noreturn);
	m->noreturn = NULL;
	symtab_close(m->symtab);
	m->symtab = NULL;
}
