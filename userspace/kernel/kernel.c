/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <pthread.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/vec.h"
#include "kernel/load_log.h"
#include "kernel/syscalls.h"

#define RING_TOTAL_DEFAULT (4u << 20)
#define RING_MIN	   (64u << 10)
#define RATES_SZ	   (SH_MAX_RATES * sizeof(struct sh_rates))

static struct kernel *loading; /* libbpf's print callback has no argument */

static int kernel_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_DEBUG) /* among so much of it what is wrong would not be kept */
		return 0;
	if (loading && loading->log.len < 16384)
		sbuf_vaddf(&loading->log, fmt, ap);
	return 0;
}

/* The program behind a hook, and how it differs per kind of link. */
struct hook_program {
	struct bpf_program *plain, *sleepable;
};

static struct hook_program kernel_hook_program(struct kernel *k, enum kernel_hook hook)
{
	struct spanhound *s = k->skel;
	switch (hook) {
	case HOOK_CALL_ENTRY:
		return (struct hook_program){s->progs.function_entry, s->progs.function_entry_sleepable};
	case HOOK_CALL_RETURN:
		return (struct hook_program){s->progs.function_return, s->progs.function_return_sleepable};
	case HOOK_CALL_SESSION:
		return (struct hook_program){s->progs.function_session, s->progs.function_session_sleepable};
	case HOOK_CALL_END:
		return (struct hook_program){s->progs.function_end, s->progs.function_end_sleepable};
	case HOOK_STACK_SWITCH:
		return (struct hook_program){s->progs.function_switch, NULL};
	case HOOK_LONGJMP:
		return (struct hook_program){s->progs.function_longjmp, NULL};
	case HOOK_THROW:
		return (struct hook_program){s->progs.exception_throw, NULL};
	case HOOK_RAISE:
		return (struct hook_program){s->progs.exception_raise, NULL};
	case HOOK_LAND:
		return (struct hook_program){s->progs.exception_land, NULL};
	case HOOK_CATCH:
		return (struct hook_program){s->progs.exception_catch, NULL};
	case HOOK_MAP:
		return (struct hook_program){s->progs.process_map, NULL};
	case HOOK_HANDOFF_GIVE:
		return (struct hook_program){s->progs.handoff_give, NULL};
	case HOOK_HANDOFF_TAKE:
		return (struct hook_program){s->progs.handoff_take, NULL};
	case HOOK_GOROUTINE_GIVE:
		return (struct hook_program){s->progs.goroutine_give, NULL};
	case HOOK_GOROUTINE_TAKE:
		return (struct hook_program){s->progs.goroutine_take, NULL};
	case KERNEL_HOOKS:
		break;
	}
	return (struct hook_program){NULL, NULL};
}

static bool kernel_hook_used(const struct kernel *k, enum kernel_hook hook)
{
	if (hook == HOOK_CALL_SESSION)
		return k->options.link == LINK_SESSION;
	if (hook == HOOK_CALL_RETURN)
		return k->options.link != LINK_SESSION;
	if (hook == HOOK_HANDOFF_GIVE || hook == HOOK_HANDOFF_TAKE)
		return k->options.handoffs;
	if (hook == HOOK_GOROUTINE_GIVE || hook == HOOK_GOROUTINE_TAKE)
		return k->options.sockets;
	return true;
}

static void kernel_enable(const struct kernel *k, struct bpf_program *p, enum kernel_hook hook)
{
	bpf_program__set_autoload(p, true);
	if (k->options.link == LINK_PERF)
		return;
	bpf_program__set_expected_attach_type(p, (enum bpf_attach_type)(hook == HOOK_CALL_SESSION
										? LINK_ATTACH_UPROBE_SESSION
										: LINK_ATTACH_UPROBE_MULTI));
}

static void kernel_select_programs(struct kernel *k)
{
	for (enum kernel_hook h = 0; h < KERNEL_HOOKS; h++) {
		struct hook_program p = kernel_hook_program(k, h);
		if (!kernel_hook_used(k, h))
			continue;
		kernel_enable(k, p.plain, h);
		if (p.sleepable && k->options.sleepable)
			kernel_enable(k, p.sleepable, h);
	}
	bpf_program__set_autoload(k->skel->progs.process_fork, true);
	bpf_program__set_autoload(k->skel->progs.process_exec, true);
	bpf_program__set_autoload(k->skel->progs.process_exit, true);
	bpf_program__set_autoload(k->skel->progs.socket_exit, k->options.sockets);
	bpf_program__set_autoload(k->skel->progs.socket_state, k->options.sockets);
	bpf_program__set_autoload(k->skel->progs.socket_destroy, k->options.sockets);
	bpf_program__set_autoload(k->skel->progs.inject_message, k->inject.on);
	bpf_program__set_autoload(k->skel->progs.inject_enrol, k->inject.on);
	bpf_program__set_autoload(k->skel->progs.inject_pass, k->inject.on);
	/* Where one mode carries everything, nobody needs the other one. */
	bool both = ~k->inject.carries[INJECT_PLAIN] & INJECT_ALL;
	bpf_program__set_autoload(k->skel->progs.enrol_older, k->inject.on && both);
	bpf_program__set_autoload(k->skel->progs.withdraw_idle, k->inject.on && both);
	bpf_program__set_autoload(k->skel->progs.option_enter, k->option.on);
	bpf_program__set_autoload(k->skel->progs.option_ops, k->option.on);
	bpf_program__set_autoload(k->skel->progs.option_listen, k->option.on);
}

static size_t ring_size_per_cpu(size_t total, unsigned cpu_cnt)
{
	size_t want = (total ? total : RING_TOTAL_DEFAULT) / cpu_cnt, size = RING_MIN;
	while (size * 2 <= want)
		size *= 2;
	return size;
}

static int kernel_make_rings(struct kernel *k, unsigned cpu_cnt, struct sbuf *err)
{
	int rc = ring_set_open(&k->rings, cpu_cnt, ring_size_per_cpu(k->options.ring_size, cpu_cnt), err);
	for (uint32_t cpu = 0; rc == 0 && cpu < cpu_cnt; cpu++) {
		int fd = ring_set_map_fd(k->rings, cpu);
		if (bpf_map_update_elem(bpf_map__fd(k->skel->maps.rings), &cpu, &fd, BPF_ANY) < 0) {
			rc = -errno;
			sbuf_addf(err, "cannot use the ring buffer of CPU %u: %s", cpu, strerror(errno));
		}
	}
	return rc;
}

static int kernel_map_functions(struct kernel *k, struct sbuf *err)
{
	k->functions_sz = (size_t)k->options.max_functions * sizeof(struct sh_func);
	void *p = mmap(NULL, k->functions_sz, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(k->skel->maps.functions),
		       0);
	if (p == MAP_FAILED) {
		sbuf_addf(err, "cannot map the table of functions: %s", strerror(errno));
		return -errno;
	}
	k->functions = p;
	return 0;
}

/* Do requests carry their trace, one way or the other? */
static bool kernel_carries(const struct kernel *k)
{
	return k->inject.on || k->option.on;
}

static int kernel_map_rates(struct kernel *k, struct sbuf *err)
{
	if (!kernel_carries(k))
		return 0;
	void *p = mmap(NULL, RATES_SZ, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(k->skel->maps.rates), 0);
	if (p == MAP_FAILED) {
		sbuf_addf(err, "cannot map the table of sampling rates: %s", strerror(errno));
		return -errno;
	}
	k->rates = p;
	return 0;
}

static void kernel_load_error(struct kernel *k, int rc, struct sbuf *err)
{
	if (rc == -EPERM || rc == -EACCES)
		sbuf_addf(err,
			  "the kernel refused the BPF programs (%s); run as root, or with CAP_BPF, CAP_PERFMON and "
			  "CAP_SYS_PTRACE",
			  strerror(-rc));
	else
		sbuf_addf(err, "the kernel did not load the BPF programs: %s", strerror(-rc));
	/* The last lines hold the verifier's verdict. */
	size_t from = k->log.len > 1500 ? k->log.len - 1500 : 0;
	if (k->log.len)
		sbuf_addf(err, "\n%s", k->log.data + from);
}

/* A context, and behind it, if values are recorded, an arena. */
static size_t kernel_context_sz(const struct kernel *k)
{
	return sizeof(struct sh_context) + (k->options.captures ? sizeof(struct sh_arena) : 0);
}

/* As the kernel itself writes a device number (include/linux/kdev_t.h). */
static uint32_t kernel_dev(dev_t dev)
{
	return major(dev) << 20 | minor(dev);
}

/* Tables of what is not asked for take no memory. */
static void kernel_size_maps(struct kernel *k, uint32_t cpu_cnt)
{
	struct spanhound *s = k->skel;
	bpf_map__set_max_entries(s->maps.rings, cpu_cnt);
	bpf_map__set_max_entries(s->maps.functions, k->options.max_functions);
	if (!k->options.handoffs)
		bpf_map__set_max_entries(s->maps.handoffs, 1); /* its table of buckets alone is 1 MiB */
	if (!k->options.sockets)
		bpf_map__set_max_entries(s->maps.tasks, 1);
	bpf_map__set_max_entries(s->maps.specs, k->options.max_specs ? k->options.max_specs : 1);
	bpf_map__set_value_size(s->maps.contexts, (uint32_t)kernel_context_sz(k));
	if (!kernel_carries(k)) {
		bpf_map__set_max_entries(s->maps.remotes, 1);
		bpf_map__set_max_entries(s->maps.carried, 1);
		bpf_map__set_max_entries(s->maps.decisions, 1);
		bpf_map__set_max_entries(s->maps.rates, 1);
	}
	if (!k->inject.on) {
		bpf_map__set_max_entries(s->maps.inject_leaving, 1);
		bpf_map__set_max_entries(s->maps.inject_wanted, 1);
	}
	if (!k->option.on) {
		bpf_map__set_max_entries(s->maps.option_ends, 1);
		bpf_map__set_max_entries(s->maps.option_ports, 1);
	}
	bpf_map__set_autocreate(s->maps.inject_scratch, kernel_carries(k));
	/* Making a map of sockets takes CAP_NET_ADMIN. */
	bpf_map__set_autocreate(s->maps.inject_plain, k->inject.on);
	bpf_map__set_autocreate(s->maps.inject_verdict, k->inject.on);
}

static int kernel_load_programs(struct kernel *k, uint32_t cpu_cnt)
{
	k->skel = spanhound__open();
	if (!k->skel)
		return -errno;
	kernel_size_maps(k, cpu_cnt);
	k->skel->rodata->settings.specs = k->options.specs;
	k->skel->rodata->settings.pid_ns_ino = k->options.pid_ns_ino;
	k->skel->rodata->settings.pid_ns_dev = kernel_dev(k->options.pid_ns_dev);
	k->skel->rodata->settings.captures = k->options.captures;
	k->skel->rodata->settings.inject = kernel_carries(k);
	k->skel->rodata->settings.option = k->option.on;
	_Static_assert(SH_DOES_ASK == INJECT_ASKS && SH_DOES_SPLICE == INJECT_SPLICES && SH_DOES_WAIT == INJECT_WAITS &&
			       SH_DOES_BLOCK == INJECT_BLOCKS,
		       "the same bits");
	k->skel->rodata->settings.lacks =
		k->inject.on ? ~k->inject.carries[INJECT_PLAIN] & (INJECT_ALL | INJECT_BLOCKS) : 0;
	k->skel->rodata->settings.head = k->options.head ? k->options.head : SH_HEAD_DEFAULT;
	syscalls_fill(k->skel->rodata->settings.syscalls);
	kernel_select_programs(k);
	return spanhound__load(k->skel);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

void kernel_part_off(struct kernel_part p, const char *what, int rc)
{
	*p.on = false;
	snprintf(p.why_not, WHY_NOT_SZ, "%s: %s", what, strerror(-rc));
}

void kernel_part_not_loaded(struct kernel *k, struct kernel_part p, int rc)
{
	struct sbuf why = {0};
	load_log_explain(sbuf_sv(&k->log), &why);
	log_debug("loading the programs %s: %s", p.programs, sbuf_str(&k->log));
	*p.on = false;
	snprintf(p.why_not, WHY_NOT_SZ, "its programs were not loaded: %s%s%s", strerror(-rc), why.len ? ": " : "",
		 sbuf_str(&why));
	sbuf_release(&why);
}

static int kernel_load(struct kernel *k, struct sbuf *err)
{
	int cpu_cnt = libbpf_num_possible_cpus();
	if (cpu_cnt < 1)
		return -EINVAL;
	loading = k;
	libbpf_set_print(kernel_print);
	kernel_inject_prepare(k);
	kernel_option_prepare(k);
	int rc = kernel_load_programs(k, (uint32_t)cpu_cnt);
	/* All the rest works without them. */
	while (rc < 0 && kernel_carries(k)) {
		kernel_part_not_loaded(k, k->option.on ? kernel_part_option(k) : kernel_part_inject(k), rc);
		spanhound__destroy(k->skel);
		sbuf_reset(&k->log);
		rc = kernel_load_programs(k, (uint32_t)cpu_cnt);
	}
	loading = NULL;
	if (rc < 0) {
		kernel_load_error(k, rc, err);
		return rc;
	}
	k->skel->bss->shared.unix_minus_mono_ns = (uint64_t)clock_mono_to_unix_ns();
	rc = kernel_map_functions(k, err);
	rc = rc < 0 ? rc : kernel_map_rates(k, err);
	rc = rc < 0 ? rc : kernel_make_rings(k, (unsigned)cpu_cnt, err);
	if (rc == 0) {
		kernel_inject_attach(k);
		kernel_option_attach(k);
	}
	return rc;
}

int kernel_open(struct kernel **ret, const struct kernel_options *options, struct sbuf *err)
{
	struct kernel *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->options = *options;
	pthread_mutex_init(&k->detach_lock, NULL);
	pthread_cond_init(&k->detach_more, NULL);
	int rc = kernel_load(k, err);
	sbuf_release(&k->log);
	if (rc < 0) {
		kernel_close(k);
		return rc;
	}
	*ret = k;
	return 0;
}

void kernel_close(struct kernel *k)
{
	if (!k)
		return;
	kernel_detach_finish(k);
	bpf_link__destroy(k->inject_link);
	kernel_option_quiesce(k);
	kernel_watch_sockets(k, false, NULL);
	for (int i = 0; i < MAX_PROCESS_LINKS; i++)
		bpf_link__destroy(k->process_links[i]);
	if (k->functions)
		munmap(k->functions, k->functions_sz);
	if (k->rates)
		munmap(k->rates, RATES_SZ);
	ring_set_close(k->rings);
	spanhound__destroy(k->skel);
	free(k);
}

struct ring_set *kernel_rings(struct kernel *k)
{
	return k->rings;
}

struct sh_shared *kernel_shared(struct kernel *k)
{
	return (struct sh_shared *)&k->skel->bss->shared;
}

struct sh_func *kernel_function(struct kernel *k, uint32_t index)
{
	return index < k->options.max_functions ? &k->functions[index] : NULL;
}

int kernel_set_spec(struct kernel *k, uint32_t index, const struct sh_spec *spec)
{
	return bpf_map_update_elem(bpf_map__fd(k->skel->maps.specs), &index, spec, BPF_ANY) < 0 ? -errno : 0;
}

int kernel_attach_process_events(struct kernel *k, struct sbuf *err)
{
	struct bpf_program *programs[MAX_PROCESS_LINKS] = {k->skel->progs.process_fork, k->skel->progs.process_exec,
							   k->skel->progs.process_exit};
	for (int i = 0; i < MAX_PROCESS_LINKS; i++) {
		struct bpf_link *link = bpf_program__attach(programs[i]);
		if (!link) {
			int rc = -errno;
			sbuf_addf(err, "cannot watch processes (%s): %s", bpf_program__section_name(programs[i]),
				  strerror(-rc));
			return rc;
		}
		k->process_links[i] = link;
	}
	return 0;
}

int kernel_watch_sockets(struct kernel *k, bool wanted, struct sbuf *err)
{
	for (int i = 0; i < MAX_SOCKET_LINKS && !wanted; i++) {
		bpf_link__destroy(k->socket_links[i]);
		k->socket_links[i] = NULL;
	}
	if (!wanted || !k->options.sockets)
		return 0;
	struct bpf_program *programs[MAX_SOCKET_LINKS] = {k->skel->progs.socket_state, k->skel->progs.socket_destroy,
							  k->skel->progs.socket_exit,
							  k->option.on ? k->skel->progs.option_enter : NULL};
	for (int i = 0; i < MAX_SOCKET_LINKS; i++) {
		if (k->socket_links[i] || !programs[i])
			continue;
		k->socket_links[i] = bpf_program__attach(programs[i]);
		if (!k->socket_links[i]) {
			int rc = -errno;
			sbuf_addf(err, "cannot watch sockets (%s): %s", bpf_program__section_name(programs[i]),
				  strerror(-rc));
			return rc;
		}
	}
	return 0;
}

int kernel_choose_process(struct kernel *k, uint32_t tgid, struct sh_process as)
{
	return bpf_map_update_elem(bpf_map__fd(k->skel->maps.processes), &tgid, &as, BPF_ANY) < 0 ? -errno : 0;
}

struct sh_watched kernel_watched(const struct kernel *k, uint32_t tgid)
{
	struct sh_process process = {0};
	if (bpf_map_lookup_elem(bpf_map__fd(k->skel->maps.processes), &tgid, &process) < 0)
		return (struct sh_watched){0};
	return process.watched;
}

int kernel_choose_image(struct kernel *k, dev_t dev, ino_t ino, struct sh_process as)
{
	struct sh_image key = {.ino = ino, .dev = kernel_dev(dev)};
	return bpf_map_update_elem(bpf_map__fd(k->skel->maps.images), &key, &as, BPF_ANY) < 0 ? -errno : 0;
}

void kernel_forget_image(struct kernel *k, dev_t dev, ino_t ino)
{
	struct sh_image key = {.ino = ino, .dev = kernel_dev(dev)};
	bpf_map_delete_elem(bpf_map__fd(k->skel->maps.images), &key);
}

void kernel_forget_images(struct kernel *k)
{
	struct sh_image key;
	int fd = bpf_map__fd(k->skel->maps.images);
	while (bpf_map_get_next_key(fd, NULL, &key) == 0 && bpf_map_delete_elem(fd, &key) == 0)
		;
}

int kernel_release_process(struct kernel *k, uint32_t tgid)
{
	return bpf_map_delete_elem(bpf_map__fd(k->skel->maps.processes), &tgid) < 0 ? -errno : 0;
}

static int attachment_add_perf(struct kernel_attachment *a, int prog_fd, const struct link_sites *sites)
{
	int rc = link_fds_reserve(sites->cnt);
	for (uint32_t i = 0; i < sites->cnt && rc >= 0; i++) {
		int fd = link_uprobe_perf(prog_fd, sites, i);
		rc = fd < 0 ? fd : vec_push(&a->perf_fds, fd);
		if (fd >= 0 && rc < 0)
			close(fd);
	}
	return rc;
}

int kernel_attach(struct kernel *k, enum kernel_hook hook, bool sleepable, const struct link_sites *sites,
		  struct kernel_attachment **ret, struct sbuf *err)
{
	struct hook_program p = kernel_hook_program(k, hook);
	struct bpf_program *prog = sleepable && k->options.sleepable && p.sleepable ? p.sleepable : p.plain;
	int prog_fd = bpf_program__fd(prog);
	struct kernel_attachment *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->multi_fd = -1;
	int rc;
	if (k->options.link == LINK_PERF) {
		rc = attachment_add_perf(a, prog_fd, sites);
	} else {
		rc = link_uprobe_multi(prog_fd, sites);
		a->multi_fd = rc;
	}
	if (rc < 0) {
		sbuf_addf(err, "cannot attach %u probe sites in %s: %s", sites->cnt, sites->path, strerror(-rc));
		kernel_detach(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void kernel_detach(struct kernel_attachment *a)
{
	if (!a)
		return;
	closep(&a->multi_fd);
	vec_foreach (fd, &a->perf_fds)
		closep(fd);
	vec_release(&a->perf_fds);
	free(a);
}

void kernel_stop_at_exec(struct kernel *k, uint32_t tgid)
{
	kernel_shared(k)->stop_at_exec = tgid;
}

static void *detacher_main(void *arg)
{
	struct kernel *k = arg;
	pthread_mutex_lock(&k->detach_lock);
	for (;;) {
		while (!k->detach.cnt && !k->detach_stop)
			pthread_cond_wait(&k->detach_more, &k->detach_lock);
		if (!k->detach.cnt)
			break;
		struct kernel_attachment *a = k->detach.data[--k->detach.cnt];
		k->detaching++;
		pthread_mutex_unlock(&k->detach_lock);
		kernel_detach(a);
		pthread_mutex_lock(&k->detach_lock);
		k->detaching--;
	}
	pthread_mutex_unlock(&k->detach_lock);
	return NULL;
}

void kernel_detach_later(struct kernel *k, struct kernel_attachment *a)
{
	if (!a)
		return;
	if (k->detacher_cnt < DETACHERS && pthread_create(&k->detachers[k->detacher_cnt], NULL, detacher_main, k) == 0)
		k->detacher_cnt++;
	pthread_mutex_lock(&k->detach_lock);
	bool queued = k->detacher_cnt && vec_push(&k->detach, a) == 0;
	pthread_cond_signal(&k->detach_more);
	pthread_mutex_unlock(&k->detach_lock);
	if (!queued)
		kernel_detach(a);
}

bool kernel_detaching(struct kernel *k)
{
	pthread_mutex_lock(&k->detach_lock);
	bool busy = k->detach.cnt || k->detaching;
	pthread_mutex_unlock(&k->detach_lock);
	return busy;
}

void kernel_detach_finish(struct kernel *k)
{
	pthread_mutex_lock(&k->detach_lock);
	k->detach_stop = true;
	pthread_cond_broadcast(&k->detach_more);
	pthread_mutex_unlock(&k->detach_lock);
	while (k->detacher_cnt)
		pthread_join(k->detachers[--k->detacher_cnt], NULL);
	k->detach_stop = false;
	vec_release(&k->detach);
}

void kernel_mute(struct kernel *k, uint32_t index, bool muted)
{
	struct sh_func *f = kernel_function(k, index);
	if (!f || f->muted == muted)
		return;
	__atomic_store_n(&f->muted, muted, __ATOMIC_RELEASE);
	k->muted_cnt += muted ? 1 : -1;
	if (k->muted_cnt)
		__atomic_fetch_or(&kernel_shared(k)->winding_up, SH_SOME_MUTED, __ATOMIC_RELEASE);
	else
		__atomic_fetch_and(&kernel_shared(k)->winding_up, ~SH_SOME_MUTED, __ATOMIC_RELEASE);
}

void kernel_wind_up(struct kernel *k)
{
	__atomic_fetch_or(&kernel_shared(k)->winding_up, SH_WINDING_UP, __ATOMIC_RELEASE);
}

void kernel_quiesce(struct kernel *k)
{
	kernel_inject_quiesce(k);
	kernel_option_quiesce(k);
	kernel_watch_sockets(k, false, NULL);
	for (int i = 0; i < MAX_PROCESS_LINKS; i++) {
		bpf_link__destroy(k->process_links[i]);
		k->process_links[i] = NULL;
	}
	/* An update of a map of maps returns only when no program can be using the old value (maybe_wait_bpf_programs).
	 */
	uint32_t zero = 0;
	int fd = ring_set_map_fd(k->rings, 0);
	bpf_map_update_elem(bpf_map__fd(k->skel->maps.rings), &zero, &fd, BPF_ANY);
}

static void context_report(const struct sh_context *c, uint64_t key, uint64_t now, const struct sh_arena *arena,
			   void (*fn)(void *arg, const struct sh_ev_hdr *record), void *arg)
{
	for (uint32_t i = c->depth < SH_MAX_FRAMES ? c->depth : SH_MAX_FRAMES; i-- > c->inherited;) {
		const struct sh_frame *f = &c->frames[i];
		uint64_t buf[SH_MAX_RECORD / 8] = {0};
		struct sh_ev_call *e = (struct sh_ev_call *)buf;
		uint32_t size = sizeof(*e);
		if (arena && f->record_len > size && f->record_len <= SH_MAX_RECORD) {
			size = f->record_len;
			memcpy(buf, arena->data + (f->record_off & (SH_ARENA_SZ - 1)), size);
		}
		*e = (struct sh_ev_call){
			.hdr = {.size = size, .kind = SH_EV_CALL, .flags = SH_CALL_UNFINISHED},
			.func = f->func,
			.depth = i,
			.tgid = (uint32_t)(key >> 32),
			.tid = (uint32_t)key,
			.trace_hi = f->self.trace_hi,
			.trace_lo = f->self.trace_lo,
			.span_id = f->self.span_id,
			.parent_id = f->parent_id,
			.start_ns = f->start_ns,
			.end_ns = now,
		};
		if (f->flags & SH_FRAME_ROOT)
			e->hdr.flags |= SH_CALL_ROOT;
		if (f->flags & SH_FRAME_CONTINUED)
			e->hdr.flags |= SH_CALL_CONTINUED;
		fn(arg, &e->hdr);
	}
}

uint64_t kernel_contexts(struct kernel *k, void (*fn)(void *arg, const struct sh_ev_hdr *record), void *arg)
{
	int fd = bpf_map__fd(k->skel->maps.contexts);
	uint64_t seen = kernel_shared(k)->seen + kernel_shared(k)->exchanges, now = clock_mono_ns(), key, next;
	__cleanup(freep) struct sh_context *c = malloc(kernel_context_sz(k));
	if (!c)
		return seen;
	const struct sh_arena *arena = k->options.captures ? (const struct sh_arena *)(c + 1) : NULL;
	for (void *at = NULL; bpf_map_get_next_key(fd, at, &next) == 0; at = &key) {
		key = next;
		if (bpf_map_lookup_elem(fd, &key, c) < 0)
			continue;
		seen += c->seen;
		if (fn)
			context_report(c, key, now, arena, fn, arg);
	}
	return seen;
}

uint64_t kernel_seen(struct kernel *k)
{
	return kernel_contexts(k, NULL, NULL);
}

void kernel_context_maps(const struct kernel *k, struct context_maps *ret)
{
	*ret = (struct context_maps){.contexts = bpf_map__fd(k->skel->maps.contexts),
				     .tasks = bpf_map__fd(k->skel->maps.tasks),
				     .context_sz = kernel_context_sz(k)};
}

uint64_t kernel_missed(struct kernel *k)
{
	uint64_t missed = 0;
	struct bpf_program *p;
	bpf_object__for_each_program(p, k->skel->obj)
	{
		struct bpf_prog_info info = {0};
		uint32_t len = sizeof(info);
		int fd = bpf_program__fd(p);
		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0)
			missed += info.recursion_misses;
	}
	return missed;
}
