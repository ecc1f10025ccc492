/* SPDX-License-Identifier: Apache-2.0 */
#include "app/injection.h"

#include <string.h>

#include "app/policy.h"
#include "base/glob.h"
#include "base/log.h"
#include "kernel/enrol.h"
#include "kernel/withdraw.h"
#include "spanhound/head.h"
#include "target/scan.h"
#include "target/sockets.h"
#include "target/text.h"
#include "trace/request_settings.h"

/* What programs do on connections they made, beyond reading them: by the executable's name. */
static const struct {
	const char *name;
	uint32_t does;
} known[] = {
	{"curl", 0},
	{"wget", 0},
	{"python*", 0},
	{"node", 0},
	{"haproxy", INJECT_SPLICES}, /* src/raw_sock.c, with its `option splice-response` */
	{"nginx", INJECT_ASKS},	     /* src/os/unix/ngx_recv.c, when a read filled its buffer */
	{"java", INJECT_ASKS},	     /* InputStream.available() */
	{"ruby*", INJECT_ASKS},	     /* IO#nread */
};

/* By the program. False: it is not known. */
static bool program_does(struct proc *p, const struct process_info *info, uint32_t *ret)
{
	struct sv exe;
	/* Whatever its name. io.Copy() from one connection to another (internal/poll/splice_linux.go); nothing in Go's library asks
	 * how much there is or waits for all of it. */
	if (sv_eq(info->language, SV("go"))) {
		*ret = INJECT_SPLICES;
		return true;
	}
	if (proc_exe(p, &exe) < 0)
		return false;
	struct sv name = text_basename(exe);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!glob_match(sv_of(known[i].name), name))
			continue;
		*ret = known[i].does;
		return true;
	}
	return false;
}

uint32_t injection_seen(const struct sh_watched *seen)
{
	if (seen->does)
		return seen->does;
	return seen->reads >= SH_WATCH_READS && seen->filled >= SH_WATCH_FILLED ? SH_DOES_WATCHED : 0;
}

static bool does_what(struct proc *p, const struct process_info *info, const struct sh_watched *seen, uint32_t *ret)
{
	bool is_known = program_does(p, info, ret);
	if (!is_known && injection_seen(seen)) {
		*ret = 0;
		is_known = true;
	}
	if (is_known)
		*ret |= seen->does;
	return is_known;
}

static uint32_t write_flags(const struct propagation_settings *s)
{
	static const uint32_t flag_of[PROPAGATION_STYLE_CNT] = {[PROPAGATION_STYLE_baggage] = SH_PROCESS_INJECT_BAGGAGE,
								[PROPAGATION_STYLE_datadog] = SH_PROCESS_INJECT_DATADOG,
								[PROPAGATION_STYLE_b3multi] = SH_PROCESS_INJECT_B3MULTI,
								[PROPAGATION_STYLE_b3] = SH_PROCESS_INJECT_B3,
								[PROPAGATION_STYLE_tracecontext] =
									SH_PROCESS_INJECT_TRACECONTEXT};
	uint32_t flags = 0;
	for (int style = 0; style < PROPAGATION_STYLE_CNT; style++)
		flags |= s->inject & 1u << style ? flag_of[style] : 0;
	return flags;
}

static uint32_t read_flags(const struct propagation_settings *s)
{
	uint32_t flags = 0;
	for (unsigned i = 0; i < s->extract_cnt; i++)
		if (s->extract[i] == PROPAGATION_STYLE_baggage && s->behavior != PROPAGATION_IGNORE)
			flags |= SH_PROCESS_READS_BAGGAGE;
	switch (propagation_reads(s)) {
	case 0:
		return flags;
	case SH_STYLE_DATADOG:
		return flags | SH_PROCESS_READS_DATADOG;
	case SH_STYLE_TRACECONTEXT:
		return flags | SH_PROCESS_READS_TRACECONTEXT;
	case SH_READS_USUAL:
		return flags | SH_PROCESS_READS_DATADOG | SH_PROCESS_READS_TRACECONTEXT;
	default:
		return flags | SH_PROCESS_READS_OTHERWISE;
	}
}

uint32_t injection_styles(const struct process_info *info)
{
	struct propagation_settings standard;
	struct request_settings *settings = request_settings_new(info->settings, NULL, NULL);
	uint32_t flags = 0;
	if (!settings)
		return 0;
	const struct propagation_settings *s = &settings->propagation;
	propagation_settings_init(&standard);
	/* Baggage alone says nothing of a trace. */
	if (s->trace_id_128 && s->tags_max >= standard.tags_max && s->inject & ~(1u << PROPAGATION_STYLE_baggage))
		flags = write_flags(s) | read_flags(s);
	request_settings_unref(settings);
	return flags;
}

uint16_t injection_reads(const struct process_info *info)
{
	struct request_settings *settings = request_settings_new(info->settings, NULL, NULL);
	uint16_t order = settings ? propagation_reads(&settings->propagation) : 0;
	request_settings_unref(settings);
	return order;
}

static bool asks(struct target_propagation p)
{
	return p.inject != TARGET_INJECT_UNSAID && p.inject != TARGET_INJECT_OFF;
}

/* Its bit; 0: there is no room. */
static uint64_t exclude_bit(struct injection *i, struct kernel *k, const struct sh_exclude *x)
{
	uint32_t n = 0;
	while (n < i->exclude_cnt && memcmp(&i->excludes[n], x, sizeof(*x)) != 0)
		n++;
	if (n == SH_MAX_EXCLUDES || (n == i->exclude_cnt && kernel_set_exclude(k, n, x) < 0))
		return 0;
	i->excludes[n] = *x;
	i->exclude_cnt += n == i->exclude_cnt;
	return 1ULL << n;
}

/* False: not all of them found room. */
static bool exclude_bits(struct injection *i, struct kernel *k, const struct exclude_vec *all, __u64 *bits)
{
	bool right = true;
	for (size_t n = 0; n < all->cnt; n++) {
		uint64_t bit = exclude_bit(i, k, &all->data[n]);
		*bits |= bit;
		right &= bit != 0;
	}
	return right;
}

void injection_begin(struct injection *i, struct kernel *k, const struct target_propagation *all)
{
	/* As many as one list may have always fit. */
	if (!exclude_bits(i, k, &all->excludes, &i->exclude_all))
		i->exclude_all = UINT64_MAX;
}

/* A user said that it is safe. */
static bool takes_word(enum target_inject how)
{
	return how == TARGET_INJECT_PLAIN || how == TARGET_INJECT_VERDICT;
}

void injection_settings(struct injection *i, struct kernel *k, const struct target_spec *spec, struct sh_process *as)
{
	enum target_inject how = spec->propagation.inject ? spec->propagation.inject : i->standard;
	as->may_wait = takes_word(how);
	as->excludes = i->exclude_all;
	uint32_t wants = SH_PROCESS_INJECT | SH_PROCESS_WATCH | SH_PROCESS_OPTION;
	if (!(as->flags & wants) || exclude_bits(i, k, &spec->propagation.excludes, &as->excludes))
		return;
	as->flags &= ~wants;
	if (!i->full_said)
		log_warn(
			"there are more than %d different destinations to be excluded (propagation: exclude:): processes of further "
			"targets that have some get no headers at all",
			SH_MAX_EXCLUDES);
	i->full_said = true;
}

bool injection_wanted(bool asked, struct target_propagation all, const struct target_spec *targets, size_t cnt)
{
	bool wanted = asked || asks(all);
	for (size_t i = 0; i < cnt; i++)
		wanted |= asks(targets[i].propagation);
	return wanted;
}

static bool may_get_some(const struct inject_status *status, int pid)
{
	const struct process_info info = {0}; /* whatever its language is: that asks more of it */
	struct proc p = PROC_INIT;
	uint32_t does;
	bool may = proc_open(&p, proc_root(), pid) == 0 &&
		   (!program_does(&p, &info, &does) || inject_choose(status, does) >= 0);
	proc_close(&p);
	return may;
}

bool injection_useful(const struct inject_status *status, const struct target_spec *targets, size_t cnt)
{
	struct scan scan = {0};
	/* Where all is carried everybody is served. */
	bool useful = !(INJECT_ALL & ~status->carries[INJECT_PLAIN]) ||
		      scan_processes(proc_root(), targets, cnt, &scan, NULL) < 0 || !scan.cnt;
	for (size_t i = 0; !useful && i < scan.cnt; i++)
		useful = may_get_some(status, scan.data[i].pid);
	scan_release(&scan);
	return useful;
}

bool injection_enters(struct target_propagation all, const struct target_spec *targets, size_t cnt)
{
	bool enters = all.inject == TARGET_INJECT_VERDICT;
	for (size_t i = 0; i < cnt; i++)
		enters |= targets[i].propagation.inject == TARGET_INJECT_VERDICT;
	return enters;
}

/* A verdict program that was asked for is not for who is known to hang with it. */
static int choose(const struct inject_status *status, enum target_inject how, uint32_t does, bool is_known)
{
	if (how == TARGET_INJECT_PLAIN)
		return INJECT_PLAIN;
	if (how == TARGET_INJECT_VERDICT && (!is_known || !(does & ~status->carries[INJECT_VERDICT])))
		return INJECT_VERDICT;
	return inject_choose(status, does);
}

enum target_inject injection_standard(bool asked, struct target_propagation all)
{
	if (asked && all.inject <= TARGET_INJECT_OFF)
		return TARGET_INJECT_AUTO;
	return all.inject == TARGET_INJECT_UNSAID ? TARGET_INJECT_OFF : all.inject;
}

struct injection_choice injection_choose(const struct inject_status *status, enum target_inject how, struct proc *p,
					 const struct process_info *info, const struct sh_watched *seen)
{
	/* Of whom nothing is known may do everything. */
	struct injection_choice c = {.does = INJECT_ALL};
	if (how == TARGET_INJECT_OFF || !status->on) {
		c.left = how == TARGET_INJECT_OFF ? INJECTION_NOT_ASKED : INJECTION_NOWHERE;
		return c;
	}
	bool is_known = does_what(p, info, seen, &c.does);
	if (takes_word(how))
		c.does &= ~INJECT_BLOCKS;
	int mode = choose(status, how, c.does, is_known);
	bool watch = mode < 0 && !is_known && inject_choose(status, 0) == INJECT_PLAIN;
	uint32_t styles = mode < 0 && !watch ? 0 : injection_styles(info);
	if (!styles) {
		c.left = mode < 0 && !watch ? INJECTION_NO_MODE : INJECTION_STYLES;
		return c;
	}
	if (watch) {
		c.left = INJECTION_WATCHED;
		c.flags = styles | SH_PROCESS_WATCH;
		return c;
	}
	c.mode = (enum inject_mode)mode;
	c.flags = styles | SH_PROCESS_INJECT | (mode == INJECT_VERDICT ? SH_PROCESS_INJECT_VERDICT : 0);
	return c;
}

/* One of INJECT_*, or of SH_DOES_*, which are the same bits. */
static const char *habit_name(uint32_t does)
{
	return does & INJECT_ASKS      ? "FIONREAD"
	       : does & INJECT_SPLICES ? "splice() from a socket"
	       : does & INJECT_BLOCKS  ? "reads that wait"
				       : "MSG_WAITALL";
}

void injection_explain(const struct injection_choice *c, const struct inject_status *status, struct sbuf *out)
{
	switch (c->left) {
	case INJECTION_NOT_LEFT:
		break;
	case INJECTION_NOT_ASKED:
		sbuf_adds(out, "not asked for");
		break;
	case INJECTION_NOWHERE:
		sbuf_adds(out, status->why_not);
		break;
	case INJECTION_WATCHED:
		sbuf_addf(out, "not before it was watched for a while: whether it uses %s on its sockets is not known",
			  habit_name(INJECT_ALL & ~status->carries[INJECT_PLAIN]));
		break;
	case INJECTION_NO_MODE:
		sbuf_addf(out, "it uses %s, which this kernel does not carry then",
			  habit_name(c->does & ~status->carries[INJECT_PLAIN]));
		break;
	case INJECTION_STYLES:
		sbuf_adds(out, "its propagation style is not written by the kernel half");
		break;
	}
}

uint32_t injection_flags(struct injection *i, const struct inject_status *status, const struct target_spec *spec,
			 struct proc *p, const struct process_info *info, const struct sh_watched *seen)
{
	enum target_inject how = spec->propagation.inject ? spec->propagation.inject : i->standard;
	struct injection_choice c = injection_choose(status, how, p, info, seen);
	if (c.left == INJECTION_NOWHERE && asks(spec->propagation) && !i->off_said) {
		i->off_said = true;
		log_warn("process %d: its target asks for headers (propagation:), and none are injected: %s", p->pid,
			 status->why_not);
	}
	i->watched += c.left == INJECTION_WATCHED;
	i->no_mode += c.left == INJECTION_NO_MODE;
	i->styles += c.left == INJECTION_STYLES;
	return c.flags;
}

static bool enrol_one(void *arg, int fd, uint64_t inode)
{
	enrol_add(arg, fd, inode);
	return false;
}

/* The kernel half counts there as well. */
static void count(__u64 *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void injection_enrol(struct injection *i, struct kernel *k, struct proc *p, const struct sh_process *as)
{
	struct sh_shared *shared = kernel_shared(k);
	struct enrol e;
	if (!(as->flags & SH_PROCESS_INJECT))
		return;
	enrol_begin(&e, k, p->pid, p->dir, as->flags & SH_PROCESS_INJECT_VERDICT ? INJECT_VERDICT : INJECT_PLAIN);
	e.may_wait = as->may_wait;
	sockets_clients(p, enrol_one, &e);
	enrol_end(&e);
	i->older += e.enrolled;
	i->older_ns += e.took_ns;
	count(&shared->injects[SH_INJECT_withheld], e.withheld);
	count(&shared->injects[SH_INJECT_unread], e.unread);
	count(&shared->injects[SH_INJECT_waits], e.waits);
	count(&shared->injects[SH_INJECT_blocking], e.blocking);
	count(&shared->injects[SH_INJECT_unfit], e.unfit);
	count(&shared->inject_left_out, e.full);
	if (e.withheld && !i->withheld_said) {
		i->withheld_said = true;
		log_warn("process %d: %u connections that it has already get no headers: pidfd_getfd(): %s; it takes "
			 "CAP_SYS_PTRACE, and nothing that forbids it (yama, seccomp)",
			 p->pid, e.withheld, strerror(-e.why_withheld));
	}
}

static bool note_one(void *arg, int fd, uint64_t inode)
{
	(void)inode;
	withdraw_add(arg, fd);
	return false;
}

static bool wake_one(void *arg, int fd, uint64_t inode)
{
	(void)inode;
	withdraw_wake(arg, fd);
	return false;
}

static void let_go(struct injection *i, struct kernel *k, struct proc *p, uint32_t does)
{
	struct withdraw w;
	withdraw_begin(&w, k, p->pid);
	sockets_each(p, note_one, &w);
	withdraw_take(&w);
	sockets_each(p, wake_one, &w);
	withdraw_end(&w);
	i->withdrawn += w.taken;
	if (does & SH_DOES_WATCHED) {
		i->failed++;
		log_info("process %d (" SV_FMT
			 ") gets no headers: it uses %s, which this kernel does not carry on sockets that "
			 "are looked at",
			 p->pid, SV_ARG(p->comm), habit_name(does));
		return;
	}
	i->turned++;
	log_warn("process %d (" SV_FMT
		 ") gets no headers any more: it uses %s, which this kernel does not carry on sockets that are "
		 "looked at; its %u connections are as they were before",
		 p->pid, SV_ARG(p->comm), habit_name(does), w.taken);
}

void injection_turned(struct injection *i, struct kernel *k, struct proc *p, uint32_t does)
{
	if (does != SH_DOES_WATCHED) {
		let_go(i, k, p, does);
		return;
	}
	injection_enrol(i, k, p, &(struct sh_process){.flags = SH_PROCESS_INJECT});
	i->passed++;
	log_info("process %d (" SV_FMT
		 ") gets headers from here on: it was watched, and uses nothing that this kernel does not carry",
		 p->pid, SV_ARG(p->comm));
}
