/* SPDX-License-Identifier: Apache-2.0 */
/* Moved sites equal the entry when the code really runs: a corpus of functions is generated, compiled by gcc and clang
 * and assembled, and called with random arguments under breakpoints of our own at the entry and at the site. At each
 * site the registers, the return address and the stack arguments must be those of the entry just before. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <cmocka.h>

#if defined(__x86_64__)

#include "binary/placement.h"
#include "elf_walk.h"

#define FUNCS	70
#define TRIALS	40
#define STACKED 4 /* words read above the return address */

/* --- the corpus --- */

static uint64_t seed = 0x853c49e6748fea9b;
static unsigned pick(unsigned n)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return (unsigned)((seed >> 33) % n);
}

#define ARGS "long a, long *p, long b, long *q, long c, long d, long e, long g"
#define PASS "a, p, b, q, c, d, e, g"

static const char *expression(void)
{
	static const char *const all[] = {
		"a + b",  "p[a & 7]", "q[b & 7] ^ c", "c * d - e", "(a ^ g) >> 3", "p[c & 7] + q[d & 7]",
		"a < b",  "(int)a",   "*(char *)p",   "b ? c : d", "~e + a",	   "(long)p + d",
		"a % 17", "-(int)d"};
	return all[pick(sizeof(all) / sizeof(all[0]))];
}

static void c_function(FILE *f, int n)
{
	fprintf(f, "__attribute__((noinline)) long f%d(" ARGS ")\n{\n", n);
	switch (pick(10)) {
	case 0:
		fprintf(f, "\treturn %s;\n", expression());
		break;
	case 1:
		fprintf(f, "\tif (%s)\n\t\treturn %s;\n\treturn helper(%s) + %s;\n", expression(), expression(),
			expression(), expression());
		break;
	case 2:
		fprintf(f,
			"\tlong s = 0;\n\tfor (long i = 0; i < (%s & 15); i++)\n\t\ts += p[i & 7] * %s;\n\treturn s;\n",
			expression(), expression());
		break;
	case 3:
		fprintf(f, "\tswitch ((%s) & 7) {\n", expression());
		for (int k = 0; k < 7; k++)
			fprintf(f, "\tcase %d: return %s;\n", k, expression());
		fprintf(f, "\t}\n\treturn helper(%s);\n", expression());
		break;
	case 4:
		fprintf(f, "\tif ((a & 7) == 0)\n\t\treturn %s;\n\treturn f%d(a - 1, p, b, q, c, d, e, g) + %s;\n",
			expression(), n, expression());
		break;
	case 5:
		fprintf(f, "\tp[%u] = %s;\n\tq[%u] += %s;\n\treturn %s;\n", pick(8), expression(), pick(8),
			expression(), expression());
		break;
	case 6:
		fprintf(f, "\tif (!p || (%s) == 3)\n\t\treturn -1;\n\treturn helper(%s);\n", expression(),
			expression());
		break;
	case 7:
		fprintf(f, "\tvolatile long v[%u];\n\tv[1] = %s;\n\tv[2] = helper(v[1]);\n\treturn v[2] + %s;\n",
			3 + pick(40), expression(), expression());
		break;
	case 8:
		fprintf(f, "\tdouble x = a, y = b;\n\treturn (long)(x * 0.5 + y) ^ %s;\n", expression());
		break;
	default:
		fprintf(f,
			"\tfor (long i = a & 3;;) {\n\t\tif (p[i & 7] == q[i & 7] || i > 9)\n\t\t\treturn "
			"%s;\n\t\ti++;\n\t}\n",
			expression());
	}
	fprintf(f, "}\n");
}

static void c_corpus(const char *path)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "__attribute__((noinline)) long helper(long x) { __asm__ volatile(\"\" ::: \"memory\"); return x * "
		   "31; }\n");
	for (int n = 0; n < FUNCS; n++)
		c_function(f, n);
	/* Tail calls, as a file of its own would have them. */
	for (int n = FUNCS; n < FUNCS + 10; n++)
		fprintf(f, "__attribute__((noinline)) long f%d(" ARGS ") { return (%s) ? f%u(" PASS ") : %s; }\n", n,
			expression(), pick(FUNCS), expression());
	fclose(f);
}

/* Straight pieces, harmful ones among them, a branch back to a random place, and something to place on. The loop
 * counter is r9, which the caller keeps small. */
static void asm_function(FILE *f, int n)
{
	static const char *const pieces[] = {
		"nop",
		"nopl 0(%rax,%rax)",
		"xchg %ax,%ax",
		"xor %eax,%eax",
		"mov %rdi,%rax",
		"mov (%rsi),%rax",
		"lea 8(%rdi),%r10",
		"test %rdi,%rdi",
		"mov %rdi,-8(%rsp)",
		"cmp $5,%edx",
		"movzbl (%rsi),%eax",
		"pxor %xmm0,%xmm0",
		"mov %rdx,%r11",
		"sete %al",
		"bt $3,%rdi",
		"mov 8(%rsp),%rax",
		"imul $7,%rdi,%rax",
		"movd %edi,%xmm1",
		"cmove %rdi,%rax",
		"nopw %cs:0(%rax,%rax)",
		"xor %ecx,%ecx",
		"add $1,%rdi",
		"mov %rax,(%rsi)",
		"cqto",
		"mov $1,%r8d",
		"movzbl %dil,%edx",
		"sete %cl",
		"bswap %edx",
		"lea (%rdi,%rdi),%rdi",
		"xchg %rdi,%rdx",
		"movb $1,(%rsi)",
		"rep stosb",
	};
	unsigned cnt = 1 + pick(8), loop = pick(3) ? 99 : pick(cnt + 1);
	fprintf(f, "\t.globl f%d\n\t.type f%d,@function\n\t.p2align 4\nf%d:\n", n, n, n);
	if (pick(2))
		fprintf(f, "\tendbr64\n");
	for (unsigned k = 0; k <= cnt; k++) {
		if (k == loop)
			fprintf(f, "1:\n");
		if (k < cnt) {
			const char *p = pieces[pick(pick(2) ? 20 : 32)];
			if (strcmp(p, "rep stosb") != 0) /* its count would be random */
				fprintf(f, "\t%s\n", p);
		}
	}
	static const char *const sites[] = {"push %rbx\n\tpop %rbx", "je 2f\n2:",  "jmp 2f\n2:", "call 3f",
					    "push %r12\n\tpop %r12", "jne 2f\n2:", "nop",	 "nopl 0(%rax,%rax,1)"};
	fprintf(f, "\t%s\n", sites[pick(sizeof(sites) / sizeof(sites[0]))]);
	if (loop != 99)
		fprintf(f, "\tdec %%r9d\n\tjg 1b\n");
	fprintf(f, "\tret\n3:\n\tret\n\t.size f%d,.-f%d\n", n, n);
}

static void asm_corpus(const char *path)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "\t.text\n");
	for (int n = 0; n < 10 * FUNCS; n++)
		asm_function(f, n);
	/* One function enters another in its middle. */
	fprintf(f,
		"\t.globl fm\n\t.type fm,@function\nfm:\n\txor %%eax,%%eax\nmiddle:\n\tpush %%rbx\n\tpop %%rbx\n\tret\n"
		"\t.size fm,.-fm\n\t.globl fn\n\t.type fn,@function\nfn:\n\ttest %%rdi,%%rdi\n\tje middle\n\tret\n"
		"\t.size fn,.-fn\n\t.section .note.GNU-stack,\"\",@progbits\n");
	fclose(f);
}

/* --- breakpoints --- */

struct hit {
	bool at_site;
	uint64_t regs[6]; /* rdi rsi rdx rcx r8 r9 */
	uint64_t rsp;
	uint64_t stack[1 + STACKED];
};

#define HITS 4096
static struct hit hits[HITS];
static volatile size_t hit_cnt;
static uint8_t *entry_at, *site_at, *stepping;
static uint8_t entry_byte, site_byte;

static void on_trap(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	if (info->si_code == TRAP_TRACE) { /* the step over a breakpoint is done: set it again */
		*stepping = 0xcc;
		r[REG_EFL] &= ~0x100ll;
		return;
	}
	uint8_t *at = (uint8_t *)r[REG_RIP] - 1;
	if (at != entry_at && at != site_at)
		_exit(90);
	if (hit_cnt < HITS) {
		struct hit *h = &hits[hit_cnt++];
		h->at_site = at == site_at;
		static const int order[6] = {REG_RDI, REG_RSI, REG_RDX, REG_RCX, REG_R8, REG_R9};
		for (int k = 0; k < 6; k++)
			h->regs[k] = (uint64_t)r[order[k]];
		h->rsp = (uint64_t)r[REG_RSP];
		memcpy(h->stack, (void *)r[REG_RSP], sizeof(h->stack));
	}
	*at = at == entry_at ? entry_byte : site_byte;
	stepping = at;
	r[REG_RIP] = (greg_t)at;
	r[REG_EFL] |= 0x100;
}

typedef long func_t(long, long *, long, long *, long, long, long, long);

/* In the child: calls the function and compares. 0, or the exit status that says what differs. */
static int run(func_t *f, unsigned offset)
{
	static long p[64], q[64];
	entry_at = (uint8_t *)f;
	site_at = entry_at + offset;
	entry_byte = *entry_at;
	site_byte = *site_at;
	for (int t = 0; t < TRIALS; t++) {
		for (int k = 0; k < 64; k++)
			p[k] = pick(5), q[k] = pick(2) ? p[k] : (long)pick(1 << 30);
		long v[6];
		for (int k = 0; k < 6; k++)
			v[k] = pick(2) ? (long)pick(12) - 3 : (long)((uint64_t)pick(1u << 31) << pick(32));
		hit_cnt = 0;
		*entry_at = *site_at = 0xcc;
		f(v[0], p, v[1], q, v[2], pick(4), v[4], v[5]);
		*entry_at = entry_byte;
		*site_at = site_byte;
		if (hit_cnt == 0 || hit_cnt % 2)
			return 91;
		for (size_t k = 0; k < hit_cnt; k += 2) {
			if (hits[k].at_site || !hits[k + 1].at_site)
				return 92;
			if (memcmp(hits[k].regs, hits[k + 1].regs, sizeof(hits[k].regs)) != 0)
				return 93;
			if (hits[k].rsp != hits[k + 1].rsp)
				return 94;
			if (memcmp(hits[k].stack, hits[k + 1].stack, sizeof(hits[k].stack)) != 0)
				return 95;
		}
	}
	return 0;
}

static void run_forked(const char *what, const char *name, func_t *f, unsigned offset)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
		sigaction(SIGTRAP, &sa, NULL);
		signal(SIGSEGV, SIG_DFL);
		alarm(20);
		uintptr_t page = (uintptr_t)f & ~4095ul;
		if (mprotect((void *)page, 8192 + offset, PROT_READ | PROT_WRITE | PROT_EXEC) &&
		    mprotect((void *)page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC))
			_exit(96);
		_exit(run(f, offset));
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	static const char *const why[] = {"trap elsewhere",   "hits do not pair",      "hits out of order",
					  "arguments differ", "stack pointer differs", "stack differs",
					  "mprotect"};
	if (WIFSIGNALED(status))
		fail_msg("%s: %s+%u: signal %d", what, name, offset, WTERMSIG(status));
	int code = WEXITSTATUS(status);
	if (code)
		fail_msg("%s: %s+%u: %s", what, name, offset, code >= 90 && code <= 96 ? why[code - 90] : "?");
}

/* --- building and trying it --- */

static size_t try_library(const char *what, const char *path, uint16_t keep)
{
	struct elf_walk w;
	assert_int_equal(elf_walk_open(&w, path), 0);
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		fail_msg("%s: %s", what, dlerror());
	struct link_map *map;
	assert_int_equal(dlinfo(lib, RTLD_DI_LINKMAP, &map), 0);

	struct code_targets t;
	struct graph g = {0};
	assert_int_equal(code_targets_init(&t, &w.text, NULL, 0), 0);
	struct placement_options o = {.kernel = {true, 5}, .keep = keep, .targets = &t, .graph = &g};
	size_t moved = 0, funcs = 0;
	for (size_t i = 0; i < w.funcs.cnt; i++) {
		struct walk_func *f = &w.funcs.data[i];
		struct placement p;
		if (!f->name || f->name[0] != 'f' || strchr(f->name, '.') || strcmp(f->name, "frame_dummy") == 0)
			continue;
		funcs++;
		assert_int_equal(placement_find(&w.text, f->addr, f->sz, &o, &p), 0);
		if (strcmp(f->name, "fm") == 0)
			assert_int_equal(p.offset, 0);
		if (p.offset == 0)
			continue;
		moved++;
		run_forked(what, f->name, (func_t *)(map->l_addr + f->addr), p.offset);
	}
	printf("  %-36s %4zu functions, %4zu moved and run\n", what, funcs, moved);
	graph_release(&g);
	code_targets_release(&t);
	dlclose(lib);
	elf_walk_close(&w);
	return moved;
}

static char dir[] = "/tmp/placement-XXXXXX";

static size_t build_and_try(const char *source, const char *command, int n)
{
	char out[256], line[1024];
	snprintf(out, sizeof(out), "%s/%d.so", dir, n);
	snprintf(line, sizeof(line), "%s -shared -fPIC -w -o %s %s 2>/dev/null", command, out, source);
	if (system(line) != 0) {
		printf("  %s: does not build here\n", command);
		return 0;
	}
	return try_library(command, out, PLACEMENT_KEEP_SYSV);
}

static void compiled_functions(void **state)
{
	(void)state;
	static const char *const commands[] = {
		"gcc -O0 -fcf-protection=full",
		"gcc -O1 -fcf-protection=none",
		"gcc -O2 -fcf-protection=none",
		"gcc -O2 -fcf-protection=full",
		"gcc -O3 -fcf-protection=none",
		"gcc -Os -fcf-protection=full",
		"clang -O0",
		"clang -O1 -fcf-protection=full",
		"clang -O2",
		"clang -Os -fcf-protection=full",
		"gcc -O2 -fpatchable-function-entry=5",
		"gcc -O2 -fno-omit-frame-pointer",
	};
	size_t moved = 0;
	for (size_t k = 0; k < sizeof(commands) / sizeof(commands[0]); k++) {
		char source[256];
		snprintf(source, sizeof(source), "%s/%zu.c", dir, k);
		c_corpus(source);
		moved += build_and_try(source, commands[k], (int)k);
	}
	assert_true(moved >= 200);
}

static void assembled_functions(void **state)
{
	(void)state;
	char source[256];
	snprintf(source, sizeof(source), "%s/corpus.s", dir);
	asm_corpus(source);
	assert_true(build_and_try(source, "gcc", 100) >= 200);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	char line[256];
	snprintf(line, sizeof(line), "rm -rf %s", dir);
	return system(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compiled_functions),
		cmocka_unit_test(assembled_functions),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

#else
int main(void)
{
	puts("1..1\nok 1 - moved_sites # SKIP sites move on x86-64 only");
	return 0;
}
#endif
