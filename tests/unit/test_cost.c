/* SPDX-License-Identifier: Apache-2.0 */
/* The cost classes against the running kernel: real uprobes on instructions of this very program. What is said to be
 * probeable must attach and leave the program's result alone; what is said to be emulated must be far cheaper than what
 * is stepped. */
#include <errno.h>
#include <link.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "binary/cost.h"

#ifdef __x86_64__

/* The probed instruction stands at <name>_p; the function returns its argument. */
#define FUNCTION(name, before, probed, after)                                                             \
	__asm__(".text\n.p2align 6\n" #name ":\n" before "\n" #name "_p:\n" probed "\n" after "\nret\n"); \
	long name(long);                                                                                  \
	extern const uint8_t name##_p[];

#define RESULT "mov %rdi,%rax"
FUNCTION(push_rbx, "", "push %rbx", "pop %rbx\n" RESULT)
FUNCTION(push_r12, "", "push %r12", "pop %r12\n" RESULT)
FUNCTION(push_rexw, "", ".byte 0x48,0x53", "pop %rbx\n" RESULT)
FUNCTION(push_imm, "", "push $5", "pop %rax\n" RESULT)
FUNCTION(endbr, "", ".byte 0xf3,0x0f,0x1e,0xfa", RESULT)
FUNCTION(nop1, "", "nop", RESULT)
FUNCTION(nop2, "", ".byte 0x66,0x90", RESULT)
FUNCTION(nop3, "", ".byte 0x0f,0x1f,0x00", RESULT)
FUNCTION(nop5, "", ".byte 0x0f,0x1f,0x44,0,0", RESULT)
FUNCTION(nop8, "", ".byte 0x0f,0x1f,0x84,0,0,0,0,0", RESULT)
FUNCTION(nop9, "", ".byte 0x66,0x0f,0x1f,0x84,0,0,0,0,0", RESULT)
FUNCTION(pause_, "", "pause", RESULT)
FUNCTION(jump, "", "jmp 1f\nnop\n1:", RESULT)
FUNCTION(jump_if, "test %rdi,%rdi", "jne 1f\nud2\n1:", RESULT)
FUNCTION(jump_not, "test %rdi,%rdi", "je 1f", RESULT "\nret\n1: ud2")
FUNCTION(jump_far, "test %rdi,%rdi", ".byte 0x0f,0x85,2,0,0,0\nud2", RESULT)
FUNCTION(call_, "", "call 1f", "ret\n1: " RESULT)
FUNCTION(jrcxz_, "mov $1,%ecx", "jrcxz 1f", RESULT "\n1:")
FUNCTION(move, "", "mov %rdi,%rax", "")
FUNCTION(load, "mov %rdi,-8(%rsp)", "mov -8(%rsp),%rax", "")
FUNCTION(rip_relative, "", "lea 1f(%rip),%rax", "jmp *%rax\n1: " RESULT)
FUNCTION(cpuid_, "push %rbx\nxor %eax,%eax", "cpuid", "pop %rbx\n" RESULT)
FUNCTION(return_, RESULT, "ret", "")
FUNCTION(cs_nop, "", ".byte 0x66,0x2e,0x0f,0x1f,0x84,0,0,0,0,0", RESULT)
FUNCTION(locked, "mov %rdi,-16(%rsp)", "lock addq $0,-16(%rsp)", "mov -16(%rsp),%rax")
FUNCTION(notrack, "lea 1f(%rip),%rcx", ".byte 0x3e,0xff,0xe1", "1: " RESULT)
FUNCTION(xchg_r8, "mov %rdi,%r8\nmov $99,%eax", ".byte 0x49,0x90", "")
FUNCTION(vpor, "movq %rdi,%xmm1\npxor %xmm0,%xmm0", "vpor %xmm1,%xmm0,%xmm0", "movq %xmm0,%rax")
FUNCTION(vpshufd, "movq %rdi,%xmm1\npxor %xmm0,%xmm0", "vpshufd $0x44,%xmm1,%xmm0", "movq %xmm0,%rax")

static const struct probed {
	const char *name;
	long (*func)(long);
	const uint8_t *at;
	enum placement_cost cost; /* on a kernel that emulates nops and optimises those of 5 bytes */
} all[] = {
#define PROBED(name, cost)                  \
	{                                   \
#name, name, name##_p, cost \
	}
	PROBED(push_rbx, COST_EMULATED),    PROBED(push_r12, COST_EMULATED),   PROBED(push_rexw, COST_SINGLE_STEP),
	PROBED(push_imm, COST_SINGLE_STEP), PROBED(endbr, COST_SINGLE_STEP),   PROBED(nop1, COST_EMULATED),
	PROBED(nop2, COST_EMULATED),	    PROBED(nop3, COST_EMULATED),       PROBED(nop5, COST_OPTIMISED_NOP5),
	PROBED(nop8, COST_EMULATED),	    PROBED(nop9, COST_SINGLE_STEP),    PROBED(pause_, COST_SINGLE_STEP),
	PROBED(jump, COST_EMULATED),	    PROBED(jump_if, COST_EMULATED),    PROBED(jump_not, COST_EMULATED),
	PROBED(jump_far, COST_EMULATED),    PROBED(call_, COST_EMULATED),      PROBED(jrcxz_, COST_SINGLE_STEP),
	PROBED(move, COST_SINGLE_STEP),	    PROBED(load, COST_SINGLE_STEP),    PROBED(rip_relative, COST_SINGLE_STEP),
	PROBED(cpuid_, COST_SINGLE_STEP),   PROBED(return_, COST_SINGLE_STEP), PROBED(cs_nop, COST_UNPROBEABLE),
	PROBED(locked, COST_UNPROBEABLE),   PROBED(notrack, COST_UNPROBEABLE), PROBED(xchg_r8, COST_UNPROBEABLE),
	PROBED(vpor, COST_UNPROBEABLE),	    PROBED(vpshufd, COST_UNPROBEABLE),
};
#define CNT (sizeof(all) / sizeof(all[0]))

static enum placement_cost class_of(const struct probed *p, struct cost_kernel kernel)
{
	struct insn i;
	assert_true(decode_insn(DECODE_X86_64, p->at, 15, (uint64_t)(uintptr_t)p->at, &i) > 0);
	return cost_of(DECODE_X86_64, &i, &kernel);
}

static void classes(void **state)
{
	(void)state;
	for (size_t k = 0; k < CNT; k++)
		if (class_of(&all[k], (struct cost_kernel){true, 5}) != all[k].cost)
			fail_msg("%s is %s, expected %s", all[k].name,
				 cost_name(class_of(&all[k], (struct cost_kernel){true, 5})), cost_name(all[k].cost));
	for (size_t k = 0; k < CNT; k++)
		if (all[k].at == nop3_p || all[k].at == nop5_p || all[k].at == nop2_p)
			assert_int_equal(class_of(&all[k], (struct cost_kernel){0}), COST_SINGLE_STEP);
}

struct place {
	uintptr_t addr;
	uint64_t offset;
};

static int find_offset(struct dl_phdr_info *info, size_t sz, void *ctx)
{
	(void)sz;
	struct place *p = ctx;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;
		if (ph->p_type == PT_LOAD && p->addr - start < ph->p_memsz) {
			p->offset = ph->p_offset + (p->addr - start);
			return 1;
		}
	}
	return 0;
}

static int pmu_type(void)
{
	int type = -1;
	FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &type) != 1)
		type = -1;
	fclose(f);
	return type;
}

/* An open probe, or -errno. */
static int attach(const uint8_t *at)
{
	struct place p = {(uintptr_t)at, 0};
	dl_iterate_phdr(find_offset, &p);
	struct perf_event_attr a = {.size = sizeof(a), .type = (uint32_t)pmu_type(), .config2 = p.offset};
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n < 0)
		return -errno;
	exe[n] = '\0';
	a.config1 = (uint64_t)(uintptr_t)exe;
	int fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* In a child, should the kernel's work go wrong: exit status 0 right, 1 wrong result; the price goes to *shared. */
static int try_probe(const struct probed *p, double *ret_ns)
{
	int pipe_fd[2], status;
	double ns = 1e18;
	assert_int_equal(pipe(pipe_fd), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = attach(p->at);
		if (fd < 0)
			_exit(fd == -524 ? 2 : 3); /* ENOTSUPP: the kernel refuses the instruction */
		bool wrong = p->func(12345) != 12345;
		for (int batch = 0; batch < 8; batch++) {
			uint64_t began = clock_mono_ns();
			for (int k = 0; k < 50; k++)
				wrong |= p->func(k + 1) != k + 1;
			double each = (double)(clock_mono_ns() - began) / 50;
			ns = each < ns ? each : ns;
		}
		uint64_t calls = 0;
		wrong |= read(fd, &calls, sizeof(calls)) != sizeof(calls) || calls != 401;
		_exit(write(pipe_fd[1], &ns, sizeof(ns)) != sizeof(ns) || wrong);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pipe_fd[1]);
	*ret_ns = read(pipe_fd[0], &ns, sizeof(ns)) == sizeof(ns) ? ns : -1;
	close(pipe_fd[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void the_kernel_agrees(void **state)
{
	(void)state;
	double step, ns;
	if (pmu_type() < 0 || geteuid() != 0)
		skip();
	int fd = attach(endbr_p);
	if (fd < 0) {
		printf("  no uprobes here: %s\n", strerror(-fd));
		skip();
	}
	close(fd);
	const struct probed stepped = {"endbr", endbr, endbr_p, COST_SINGLE_STEP};
	const struct probed nop = {"nop3", nop3, nop3_p, COST_EMULATED};
	assert_int_equal(try_probe(&stepped, &step), 0);
	assert_int_equal(try_probe(&nop, &ns), 0);
	struct cost_kernel kernel = {.emulates_nops = ns * 2 < step};

	for (size_t k = 0; k < CNT; k++) {
		enum placement_cost cost = class_of(&all[k], kernel);
		if (cost == COST_UNPROBEABLE)
			continue;
		int got = try_probe(&all[k], &ns);
		if (got != 0)
			fail_msg("%s, said to be %s: %s", all[k].name, cost_name(cost),
				 got == 2   ? "refused"
				 : got == 1 ? "changed the program"
					    : "died");
		printf("  %-14s %-12s %6.0f ns\n", all[k].name, cost_name(cost), ns);
		if (cost == COST_EMULATED && ns * 2 > step)
			fail_msg("%s is said to be emulated, but costs %.0f ns; a step %.0f", all[k].name, ns, step);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes),
		cmocka_unit_test(the_kernel_agrees),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	puts("1..1\nok 1 - the_kernel_agrees # SKIP costs of x86-64 instructions");
	return 0;
}

#endif
