/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of functions, held against what a running program does. A child runs under breakpoints at the entries and at the
 * end sites of all its functions, and, while a call is open, at the address it returns to: a call that returns there
 * has passed exactly one end site, with the stack pointer of its entry; one that an exception ended has passed none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "compiled.h"
#include "exceptions_programs.h"
#include "binary/lsda.h"
#include "probe/site.h"

#if defined(__x86_64__)

#define TABLE_SZ  (1u << 16)
#define CALLS_MAX 100 /* of one function; then it is let go */

/* What is known of one address with a breakpoint. */
struct stop {
	uint64_t addr;	   /* in the file; 0: free */
	int32_t entry_of;  /* number of a function, or -1 */
	int32_t first_end; /* of a chain in ends, or -1 */
	uint32_t returns;  /* open calls that return here */
	uint8_t byte;
	bool set;
};

struct end {
	int32_t function;
	int8_t condition; /* of a conditional jump, or -1 */
	int32_t next;
};

struct frame {
	uint64_t sp; /* at the entry */
	uint64_t back;
	int32_t function;
	uint32_t ended;
};

struct function {
	const struct symbol *symbol;
	bool provable; /* its ends are known */
	bool never;    /* and there are none */
	uint64_t calls, returns, ends;
};

struct run {
	const char *name;
	struct module *m;
	pid_t pid;
	uint64_t base;
	struct stop stops[TABLE_SZ];
	VEC(struct end) ends;
	VEC(struct function) functions;
	VEC(struct frame) frames;
	size_t stop_cnt;
	uint64_t events, calls, returns, unwound;
};

static struct stop *stop_at(struct run *r, uint64_t addr)
{
	uint32_t at = (uint32_t)(addr * 0x9e3779b97f4a7c15ull >> 40) % TABLE_SZ;
	while (r->stops[at].addr && r->stops[at].addr != addr)
		at = (at + 1) % TABLE_SZ;
	struct stop *s = &r->stops[at];
	if (!s->addr) {
		assert_true(++r->stop_cnt < TABLE_SZ / 2);
		*s = (struct stop){.addr = addr, .entry_of = -1, .first_end = -1};
	}
	return s;
}

static void poke(struct run *r, struct stop *s, bool set)
{
	uint64_t at = r->base + s->addr, aligned = at & ~7ull;
	unsigned shift = 8 * (unsigned)(at & 7);
	errno = 0;
	uint64_t word = (uint64_t)ptrace(PTRACE_PEEKTEXT, r->pid, (void *)aligned, NULL);
	if (errno)
		fail_msg("%s: no code at %lx", r->name, (unsigned long)s->addr);
	if (set && !s->set)
		s->byte = (uint8_t)(word >> shift);
	word = (word & ~(0xffull << shift)) | (uint64_t)(set ? 0xcc : s->byte) << shift;
	assert_int_equal(ptrace(PTRACE_POKETEXT, r->pid, (void *)aligned, (void *)word), 0);
	s->set = set;
}

static void describe(const struct run *r, int32_t function, char *text, size_t sz)
{
	struct sv name = r->functions.data[function].symbol->name;
	snprintf(text, sz, "%s: %.*s at %lx", r->name, (int)name.len, name.data,
		 (unsigned long)r->functions.data[function].symbol->addr);
}

static void frame_drop(struct run *r)
{
	struct frame f = r->frames.data[--r->frames.cnt];
	stop_at(r, f.back)->returns--;
}

/* Calls whose frames are gone without a return: an exception passed them, before they came to an end. */
static void frames_unwind(struct run *r, uint64_t sp, bool at_entry)
{
	while (r->frames.cnt > 0) {
		struct frame f = r->frames.data[r->frames.cnt - 1];
		if (f.sp > sp || (f.sp == sp && (!at_entry || f.ended)))
			return;
		r->unwound++;
		frame_drop(r);
	}
}

static uint64_t peek(struct run *r, uint64_t at)
{
	errno = 0;
	uint64_t word = (uint64_t)ptrace(PTRACE_PEEKDATA, r->pid, (void *)at, NULL);
	assert_int_equal(errno, 0);
	return word;
}

static void on_entry(struct run *r, int32_t function, uint64_t sp)
{
	uint64_t back = peek(r, sp) - r->base;
	frames_unwind(r, sp, true);
	struct frame f = {.sp = sp, .back = back, .function = function};
	assert_int_equal(vec_push(&r->frames, f), 0);
	r->functions.data[function].calls++;
	r->calls++;
	struct stop *s = stop_at(r, back);
	s->returns++;
	if (!s->set)
		poke(r, s, true);
}

static void on_end(struct run *r, int32_t function, uint64_t sp)
{
	for (size_t i = r->frames.cnt; i-- > 0;) {
		struct frame *f = &r->frames.data[i];
		if (f->sp != sp || f->function != function)
			continue;
		if (f->ended++ > 0) {
			char text[512];
			describe(r, function, text, sizeof(text));
			fail_msg("%s: a second end", text);
		}
		r->functions.data[function].ends++;
		return;
	}
}

static bool is_pad(struct run *r, uint64_t addr)
{
	struct landing_pads pads = {0};
	bool found = false;
	assert_int_equal(unwind_landing_pads(module_unwind(r->m), r->m->elf, addr, addr + 1, &pads), 0);
	vec_foreach (pad, &pads)
		found |= *pad == addr;
	vec_release(&pads);
	return found;
}

/* A catch block may jump to behind the call that threw. A return leaves the address it went to below the stack. */
static void on_return(struct run *r, uint64_t addr, uint64_t sp)
{
	if (peek(r, sp - 8) - r->base != addr)
		return;
	frames_unwind(r, sp - 8, false);
	while (r->frames.cnt > 0 && r->frames.data[r->frames.cnt - 1].sp == sp - 8 &&
	       r->frames.data[r->frames.cnt - 1].back == addr) {
		struct frame f = r->frames.data[r->frames.cnt - 1];
		bool provable = r->functions.data[f.function].provable;
		/* Behind a call that never returns there may be the block where its exception arrives. */
		if (r->functions.data[f.function].never && !is_pad(r, addr))
			fail_msg("%s: %lx was returned to by what never returns", r->name, (unsigned long)addr);
		if (provable && f.ended != 1) {
			char text[512];
			describe(r, f.function, text, sizeof(text));
			fail_msg("%s: returns to %lx, and no end was seen", text, (unsigned long)addr);
		}
		r->functions.data[f.function].returns++;
		r->returns += provable;
		frame_drop(r);
	}
}

static int resume(struct run *r, int request, int signal)
{
	int status;
	assert_int_equal(ptrace(request, r->pid, NULL, (void *)(long)signal), 0);
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	return status;
}

/* Intel SDM volume 1, appendix B. */
static bool is_taken(unsigned condition, uint64_t flags)
{
	bool c = flags & 1, p = flags & 4, z = flags & 0x40, s = flags & 0x80, o = flags & 0x800;
	const bool taken[] = {o, c, z, c || z, s, p, s != o, z || s != o};
	return taken[condition / 2] != (condition & 1);
}

static bool is_let_go(const struct run *r, int32_t function)
{
	if (r->functions.data[function].calls < CALLS_MAX)
		return false;
	vec_foreach (f, &r->frames)
		if (f->function == function)
			return false;
	return true;
}

static bool is_wanted(const struct run *r, const struct stop *s)
{
	if (s->returns || (s->entry_of >= 0 && r->functions.data[s->entry_of].calls < CALLS_MAX))
		return true;
	for (int32_t e = s->first_end; e >= 0; e = r->ends.data[e].next)
		if (!is_let_go(r, r->ends.data[e].function))
			return true;
	return false;
}

static void on_stop(struct run *r)
{
	struct user_regs_struct regs;
	assert_int_equal(ptrace(PTRACE_GETREGS, r->pid, NULL, &regs), 0);
	struct stop *s = stop_at(r, regs.rip - 1 - r->base);
	if (!s->set)
		fail_msg("%s: stopped at %llx", r->name, regs.rip);
	r->events++;
	if (s->returns)
		on_return(r, s->addr, regs.rsp);
	if (s->entry_of >= 0)
		on_entry(r, s->entry_of, regs.rsp);
	for (int32_t e = s->first_end; e >= 0; e = r->ends.data[e].next)
		if (r->ends.data[e].condition < 0 || is_taken((unsigned)r->ends.data[e].condition, regs.eflags))
			on_end(r, r->ends.data[e].function, regs.rsp);
	regs.rip--;
	assert_int_equal(ptrace(PTRACE_SETREGS, r->pid, NULL, &regs), 0);
	poke(r, s, false);
	int status = resume(r, PTRACE_SINGLESTEP, 0);
	if (WIFSTOPPED(status) && is_wanted(r, s))
		poke(r, s, true);
}

/* Sites of all functions that a prober would take. */
static size_t plan(struct run *r)
{
	struct symtab *tab = module_symbols(r->m);
	struct site_finder *finder = site_finder_new();
	struct site_options o = {.cost = {true, 5}, .wanted = SITE_SITES_ONLY, .traits = TRAIT_UNWINDS};
	size_t refused = 0;
	for (size_t i = 0; i < tab->cnt; i++) {
		const struct symbol *s = &tab->symbols[i];
		struct site site;
		/* _start and its like are entered by a jump. */
		if (symbol_why_not(s) || s->flags & (SYMBOL_NOTYPE | SYMBOL_OVERLAPPED) || sv_eq(s->name, SV("_start")))
			continue;
		assert_int_equal(site_find(finder, r->m, s, &o, &site), 0);
		struct function f = {.symbol = s,
				     .provable = site.end == SITE_END_SITES && site.ends.cnt,
				     .never = site.end == SITE_END_SITES && !site.ends.cnt};
		int32_t number = (int32_t)r->functions.cnt;
		assert_int_equal(vec_push(&r->functions, f), 0);
		stop_at(r, s->addr)->entry_of = number;
		refused += !f.provable && !f.never;
		vec_foreach (end, &site.ends) {
			uint64_t addr;
			assert_true(elf_offset_to_vaddr(r->m->elf, end->offset, &addr));
			struct stop *stop = stop_at(r, addr);
			struct end e = {.function = number, .next = stop->first_end, .condition = -1};
			if (end->conditional)
				e.condition = (int8_t)end->condition;
			stop->first_end = (int32_t)r->ends.cnt;
			assert_int_equal(vec_push(&r->ends, e), 0);
		}
		site_release(&site);
	}
	site_finder_free(finder);
	return refused;
}

/* Where the program was loaded: its entry point is in the auxiliary vector. */
static uint64_t load_base(pid_t pid, uint64_t entry)
{
	char path[64];
	Elf64_auxv_t aux;
	snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
	__cleanup(fclosep) FILE *f = fopen(path, "re");
	assert_non_null(f);
	while (fread(&aux, sizeof(aux), 1, f) == 1)
		if (aux.a_type == AT_ENTRY)
			return aux.a_un.a_val - entry;
	fail_msg("no entry point");
	return 0;
}

/* Tracer and child take turns: on one CPU a turn is a context switch, on two each waits for the other CPU to wake up.
 */
static void stay_on_this_cpu(void)
{
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void start(struct run *r, char *const argv[])
{
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		execv(argv[0], argv);
		_exit(127);
	}
	int status;
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	assert_true(WIFSTOPPED(status));
	ptrace(PTRACE_SETOPTIONS, r->pid, NULL, (void *)(long)PTRACE_O_EXITKILL);
	r->base = load_base(r->pid, r->m->elf->entry);
	for (size_t i = 0; i < TABLE_SZ; i++)
		if (r->stops[i].addr)
			poke(r, &r->stops[i], true);
}

struct outcome {
	size_t functions, called, thrown, refused;
	uint64_t returns;
};

static struct outcome run(const char *name, char *const argv[])
{
	struct run *r = calloc(1, sizeof(*r));
	int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	r->name = name;
	assert_int_equal(module_open(&r->m, fd, -1, sv_of(argv[0]), true, NULL), 0);
	struct outcome o = {.refused = plan(r)};
	start(r, argv);
	for (int status = resume(r, PTRACE_CONT, 0); !WIFEXITED(status);) {
		if (!WIFSTOPPED(status))
			fail_msg("%s: killed by signal %d", name, WTERMSIG(status));
		int signal = WSTOPSIG(status);
		if (signal == SIGTRAP)
			on_stop(r);
		status = resume(r, PTRACE_CONT, signal == SIGTRAP ? 0 : signal);
		if (WIFEXITED(status))
			assert_int_equal(WEXITSTATUS(status), 0);
	}
	vec_foreach (f, &r->functions) {
		if (!f->provable)
			continue;
		o.functions++;
		o.called += f->calls > 0;
		o.thrown += f->calls > f->returns;
		if (f->ends > f->calls || f->returns > f->ends)
			fail_msg("%s: %.*s: %lu calls, %lu ends, %lu returns", name, (int)f->symbol->name.len,
				 f->symbol->name.data, (unsigned long)f->calls, (unsigned long)f->ends,
				 (unsigned long)f->returns);
	}
	o.returns = r->returns;
	print_message("%-24s %5zu functions with end sites, %zu refused; %zu called, %lu calls, %lu returned, %lu "
		      "ended by an "
		      "exception\n",
		      name, o.functions, o.refused, o.called, (unsigned long)r->calls, (unsigned long)r->returns,
		      (unsigned long)r->unwound);
	vec_release(&r->ends);
	vec_release(&r->functions);
	vec_release(&r->frames);
	module_close(r->m);
	free(r);
	return o;
}

static void run_compiled(const char *name, size_t at_least)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", compiled_dir, name);
	struct outcome o = run(name, (char *[]){path, NULL});
	if (o.called < at_least || o.thrown < at_least / 3 || o.returns < 1000)
		fail_msg("%s: %zu functions were called, %zu passed by exceptions", name, o.called, o.thrown);
}

static void cxx_programs(void **state)
{
	(void)state;
	static const struct {
		const char *name, *how;
	} programs[] = {
		{"gcc-O0", "g++ -O0"},
		{"gcc-O2", "g++ -O2"},
		{"gcc-O3-nopie", "g++ -O3 -no-pie -fno-pie"},
		{"gcc-Os-frame", "g++ -Os -fno-omit-frame-pointer"},
		{"gcc-noplt-cet", "g++ -O2 -fno-plt -fcf-protection"},
		{"gcc-stripped", "g++ -O2 -rdynamic -s"},
		{"gcc-static", "g++ -O2 -static"},
		{"clang-O0", "clang++ -O0"},
		{"clang-O2", "clang++ -O2"},
		{"clang-stripped", "clang++ -O2 -rdynamic -s"},
	};
	compiled_source("x.cc", exceptions_cxx);
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		compiled_run("%s -w x.cc -o %s", programs[i].how, programs[i].name);
		run_compiled(programs[i].name, 20);
	}
}

static void rust_programs(void **state)
{
	(void)state;
	if (system("rustc --version >/dev/null 2>&1") != 0)
		skip();
	compiled_source("r.rs", exceptions_rust);
	for (unsigned level = 0; level <= 2; level += 2) {
		compiled_run("rustc --edition 2021 -A warnings -C opt-level=%u r.rs -o rust-O%u", level, level);
		char name[16];
		snprintf(name, sizeof(name), "rust-O%u", level);
		run_compiled(name, 20);
	}
}

/* Programs of other people, for what no one here would think of writing. */
static void installed_programs(void **state)
{
	(void)state;
	static const char *const commands[][4] = {
		{"/usr/bin/cmake", "--version", NULL},
		{"/usr/bin/troff", "-v", NULL},
		{"/usr/bin/ninja", "--version", NULL},
		{"/usr/bin/bpftrace", "--version", NULL},
	};
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (access(commands[i][0], X_OK) == 0)
			run(commands[i][0], (char *const *)commands[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cxx_programs),
		cmocka_unit_test(rust_programs),
		cmocka_unit_test(installed_programs),
	};
	stay_on_this_cpu();
	return cmocka_run_group_tests(tests, compiled_setup, compiled_teardown);
}

#else
int main(void)
{
	puts("1..1\nok 1 - ends_run # SKIP steps x86-64 code under breakpoints of its own");
	return 0;
}
#endif
