/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/capabilities.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static const struct {
	const char *name, *enables;
} capability_table[] = {
#define CAPABILITY(id, text) {#id, text},
#include "kernel/capabilities.def"
#undef CAPABILITY
};

const char *capability_name(enum capability_id id)
{
	return capability_table[id].name;
}

const char *capability_enables(enum capability_id id)
{
	return capability_table[id].enables;
}

/* Private functions to probe, one per price class of the kernel's uprobe code. */
#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".balign 16\nspanhound_price_nop5: .byte 0x0f,0x1f,0x44,0x00,0x00\n ret\n"
	".balign 16\nspanhound_price_emulated: push %rbp\n pop %rbp\n ret\n"
	".balign 16\nspanhound_price_single_step: mov %rdi,%rax\n ret\n"
	".popsection\n");
#else
__asm__(".pushsection .text\n"
	".balign 16\nspanhound_price_nop5: nop\n ret\n"
	".balign 16\nspanhound_price_emulated: nop\n ret\n"
	".balign 16\nspanhound_price_single_step: mov x1, x0\n ret\n"
	".popsection\n");
#endif
void spanhound_price_nop5(void);
void spanhound_price_emulated(void);
void spanhound_price_single_step(void);

static void (*const price_targets[PRICE_CLASSES])(void) = {spanhound_price_nop5, spanhound_price_emulated,
							   spanhound_price_single_step};

/* Where in our own executable file a function of ours lies. */
static int own_offset(void (*fn)(void), uint64_t *ret)
{
	__cleanup(fclosep) FILE *f = fopen("/proc/self/maps", "re");
	char line[4096];
	uintptr_t at = (uintptr_t)fn;
	while (f && fgets(line, sizeof(line), f)) {
		uintptr_t start, end;
		uint64_t offset;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64, &start, &end, &offset) == 3 && at >= start &&
		    at < end) {
			*ret = at - start + offset;
			return 0;
		}
	}
	return -ENOENT;
}

/* A program that does nothing. */
static int load_empty(uint32_t attach_type, bool sleepable)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = (enum bpf_attach_type)attach_type,
		    .prog_flags = sleepable ? BPF_F_SLEEPABLE : 0);
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "probe_empty", "GPL", insns, 2, &opts);
	return fd < 0 ? -errno : fd;
}

static uint32_t link_attach_type(enum link_kind kind)
{
	return kind == LINK_SESSION ? LINK_ATTACH_UPROBE_SESSION : kind == LINK_MULTI ? LINK_ATTACH_UPROBE_MULTI : 0;
}

/* The links of one measurement. */
struct trial {
	int prog_fd;
	int link_fd[2];
};

static void trial_end(struct trial *t)
{
	for (int i = 0; i < 2; i++)
		closep(&t->link_fd[i]);
	closep(&t->prog_fd);
}

static int trial_link(struct trial *t, int i, enum link_kind kind, const struct link_sites *s)
{
	int rc = kind == LINK_PERF ? link_uprobe_perf(t->prog_fd, s, 0) : link_uprobe_multi(t->prog_fd, s);
	t->link_fd[i] = rc < 0 ? -1 : rc;
	return rc < 0 ? rc : 0;
}

/* Probes one of our functions at entry, and at return too if asked. */
static int trial_begin(struct trial *t, enum link_kind kind, bool with_return, void (*fn)(void))
{
	uint64_t offset, cookie = 0;
	*t = (struct trial){-1, {-1, -1}};
	int rc = own_offset(fn, &offset);
	if (rc < 0)
		return rc;
	rc = load_empty(link_attach_type(kind), false);
	if (rc < 0)
		return rc;
	t->prog_fd = rc;
	struct link_sites s = {.path = "/proc/self/exe",
			       .offsets = &offset,
			       .cookies = &cookie,
			       .cnt = 1,
			       .session = kind == LINK_SESSION};
	rc = trial_link(t, 0, kind, &s);
	if (rc == 0 && with_return && kind != LINK_SESSION) {
		s.at_return = true;
		rc = trial_link(t, 1, kind, &s);
	}
	if (rc < 0)
		trial_end(t);
	return rc;
}

static void settle(struct capability *c, int rc, const char *what)
{
	c->works = rc >= 0;
	if (rc < 0)
		snprintf(c->why_not, sizeof(c->why_not), "%s: %s", what, strerror(-rc));
}

/* Return probes came with the kind of link, or before it. */
static int try_link(enum link_kind kind)
{
	struct trial t;
	int rc = trial_begin(&t, kind, false, spanhound_price_emulated);
	if (rc == 0)
		trial_end(&t);
	return rc;
}

static const struct {
	enum capability_id id;
	const char *what; /* is tried */
} link_capability[LINK_KINDS] = {
	[LINK_SESSION] = {CAPABILITY_uprobe_session, "session link"},
	[LINK_MULTI] = {CAPABILITY_uprobe_multi, "uprobe_multi link"},
	[LINK_PERF] = {CAPABILITY_perf_uprobe, "perf event with a BPF cookie"},
};

static int try_sleepable(bool multi)
{
	int fd = load_empty(multi ? LINK_ATTACH_UPROBE_MULTI : 0, true);
	if (fd >= 0)
		close(fd);
	return fd;
}

/* From 6.11 on x86, a return probe runs system call 335, uretprobe, in the target. Kernels before the fix (6.14 and its
 * backports) let a seccomp filter see it, and a filter that does not know it kills the process. */
#define SYSCALL_URETPROBE 335

static void seccomp_child(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYSCALL_URETPROBE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		_exit(0); /* no seccomp here: nothing to fear */
	spanhound_price_emulated();
	_exit(0);
}

static int try_seccomp_return(enum link_kind kind)
{
	struct trial t;
	int rc = trial_begin(&t, kind, true, spanhound_price_emulated), status = 0;
	if (rc < 0)
		return rc;
	pid_t pid = fork();
	if (pid == 0)
		seccomp_child();
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		rc = -errno;
	else if (!WIFEXITED(status))
		rc = -EFAULT;
	trial_end(&t);
	return rc;
}

void capabilities_probe(struct capabilities *ret)
{
	*ret = (struct capabilities){0};
	struct capability *is = ret->is;
	settle(&is[CAPABILITY_btf], access("/sys/kernel/btf/vmlinux", R_OK) < 0 ? -errno : 0,
	       "/sys/kernel/btf/vmlinux");
	int fd = load_empty(0, false);
	settle(&is[CAPABILITY_bpf], fd, "loading an empty program");
	if (fd >= 0)
		close(fd);
	for (enum link_kind kind = LINK_SESSION; kind < LINK_KINDS; kind++)
		settle(&is[link_capability[kind].id], try_link(kind), link_capability[kind].what);
	settle(&is[CAPABILITY_sleepable], try_sleepable(is[CAPABILITY_uprobe_multi].works), "sleepable program");
	struct sbuf ignored = {0};
	int kind = capabilities_choose_link(ret, &ignored);
	sbuf_release(&ignored);
	int rc = kind < 0 ? kind : try_seccomp_return((enum link_kind)kind);
	settle(&is[CAPABILITY_seccomp_return], rc, "return probe under a filter");
	if (rc == -EFAULT)
		snprintf(is[CAPABILITY_seccomp_return].why_not, sizeof(is[0].why_not),
			 "a filter that does not know system call %d kills the process", SYSCALL_URETPROBE);
}

int link_kind_choose(struct sbuf *err)
{
	struct capabilities c = {0};
	struct capability *is = c.is;
	settle(&is[CAPABILITY_btf], access("/sys/kernel/btf/vmlinux", R_OK) < 0 ? -errno : 0,
	       "/sys/kernel/btf/vmlinux");
	int fd = load_empty(0, false);
	settle(&is[CAPABILITY_bpf], fd, "loading an empty program");
	if (fd >= 0)
		close(fd);
	for (enum link_kind kind = LINK_SESSION; kind < LINK_KINDS; kind++) {
		struct capability *link = &is[link_capability[kind].id];
		settle(link, try_link(kind), link_capability[kind].what);
		if (link->works)
			break;
	}
	return capabilities_choose_link(&c, err);
}

int link_kind_check(enum link_kind kind, struct sbuf *err)
{
	struct capability link;
	int rc = try_link(kind);
	settle(&link, rc, link_capability[kind].what);
	if (rc == -EACCES || rc == -EPERM)
		sbuf_addf(err, "%s links are refused (%s): %s", link_kind_names[kind], link.why_not,
			  kind == LINK_PERF
				  ? "from 6.18 on they need CAP_SYS_ADMIN; without --link the best that works is taken"
				  : "they need CAP_BPF and CAP_PERFMON");
	else if (rc < 0)
		sbuf_addf(err, "this kernel has no %s links (%s); without --link the best that works is taken",
			  link_kind_names[kind], link.why_not);
	return rc;
}

bool capability_sleepable(enum link_kind link)
{
	return try_sleepable(link != LINK_PERF) >= 0;
}

bool capability_seccomp_return(enum link_kind link)
{
	return try_seccomp_return(link) >= 0;
}

int capabilities_choose_link(const struct capabilities *c, struct sbuf *err)
{
	const struct capability *is = c->is;
	if (!is[CAPABILITY_bpf].works) {
		sbuf_addf(
			err,
			"BPF is out of reach (%s): run spanhound as root, in a container with --privileged, or with CAP_BPF and CAP_PERFMON%s",
			is[CAPABILITY_bpf].why_not,
			prctl(PR_GET_SECCOMP) > 0
				? ", and without the seccomp filter that is on it (a container's: seccomp=unconfined)"
				: "");
		return -EPERM;
	}
	if (!is[CAPABILITY_btf].works) {
		sbuf_addf(
			err,
			"this kernel has no BTF (%s): spanhound needs Linux 5.15 or newer built with CONFIG_DEBUG_INFO_BTF, as distributions build it",
			is[CAPABILITY_btf].why_not);
		return -ENOTSUP;
	}
	if (is[CAPABILITY_uprobe_session].works)
		return LINK_SESSION;
	if (is[CAPABILITY_uprobe_multi].works)
		return LINK_MULTI;
	if (is[CAPABILITY_perf_uprobe].works)
		return LINK_PERF;
	sbuf_addf(err, "this kernel cannot give probes a cookie (%s): spanhound needs Linux 5.15 or newer",
		  is[CAPABILITY_perf_uprobe].why_not);
	return -ENOTSUP;
}

static double price_of(void (*fn)(void))
{
	enum { ROUNDS = 5, CALLS = 400 };
	double best = 0;
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t start = clock_mono_ns();
		for (int i = 0; i < CALLS; i++)
			fn();
		double each = (double)(clock_mono_ns() - start) / CALLS;
		if (r == 0 || each < best)
			best = each;
	}
	return best;
}

int price_list_measure(enum link_kind link, struct price_list *ret, struct sbuf *err)
{
	*ret = (struct price_list){0};
	for (int c = 0; c < PRICE_CLASSES; c++) {
		for (int with_return = 0; with_return < 2; with_return++) {
			struct trial t;
			enum link_kind kind = !with_return && link == LINK_SESSION ? LINK_MULTI : link;
			int rc = trial_begin(&t, kind, with_return, price_targets[c]);
			if (rc < 0) {
				sbuf_addf(err, "cannot measure the price of a probe: %s", strerror(-rc));
				return rc;
			}
			*(with_return ? &ret->with_return_ns[c] : &ret->entry_ns[c]) = price_of(price_targets[c]);
			trial_end(&t);
		}
	}
	return 0;
}
