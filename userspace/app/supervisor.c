/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor: attach, wait, detach, flush. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/confinement.h"
#include "app/session_private.h"
#include "app/summary.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/resident.h"

#define TICK_MS		 1000
#define PLAN_TICK_NS	 NSEC_PER_SEC
#define PLAN_BUSY_NS	 (100 * NSEC_PER_MSEC)
#define LOOK_AGAIN_NS	 NSEC_PER_SEC
#define NAMES_TIMEOUT_MS 3000 /* for the container runtime, at the start */
/* What removing one perf link took, on 6.1 and 6.18 alike; from so many sites on it is worth a word. */
#define PERF_DETACH_MS	 100
#define PERF_MANY_SITES	 200
#define FLUSH_TIMEOUT_NS (5 * NSEC_PER_SEC)

/* SIGUSR1 asks for the summary, SIGCHLD is about run's child; the others end a session, or go on to run's child. */
static const int handled_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD};
static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP};
static const int passed_signals[] = {SIGQUIT, SIGUSR2, SIGALRM, SIGWINCH};

int session_take_signals(struct session *s)
{
	sigset_t mask;
	sigemptyset(&mask);
	for (size_t i = 0; i < sizeof(handled_signals) / sizeof(handled_signals[0]); i++)
		sigaddset(&mask, handled_signals[i]);
	for (size_t i = 0; s->options.has_child && i < sizeof(passed_signals) / sizeof(passed_signals[0]); i++)
		sigaddset(&mask, passed_signals[i]);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? -errno : 0;
}

/* A daemon is told by SIGHUP that its configuration changed. */
static bool ends_session(const struct session *s, int signo)
{
	return !(s->service && signo == SIGHUP);
}

bool session_interrupted(const struct session *s)
{
	sigset_t pending;
	if (s->options.has_child || sigpending(&pending) < 0)
		return false;
	for (size_t i = 0; i < sizeof(ending_signals) / sizeof(ending_signals[0]); i++)
		if (sigismember(&pending, ending_signals[i]) == 1 && ends_session(s, ending_signals[i]))
			return true;
	return false;
}

static void say_ready(struct session *s)
{
	struct plan_stats stats;
	plan_stats(s->plan, &stats);
	/* What is told of processes counts from here. */
	runtime_metrics_tick(&s->runtime_metrics, s, clock_mono_ns(), false);
	log_write(LOG_WARN + 1, "ready: %u process%s, %u function%s, %u skipped", stats.processes,
		  stats.processes == 1 ? "" : "es", stats.functions, stats.functions == 1 ? "" : "s", stats.skipped);
	log_debug("functions found and placed in %.1f ms, attached in %.1f ms",
		  (double)stats.resolve_ns / NSEC_PER_MSEC, (double)stats.attach_ns / NSEC_PER_MSEC);
	struct sbuf where = {0};
	for (unsigned i = 0; export_queue_sink(s->queue, i, NULL, &where) == 0; i++) {
		if (where.len)
			log_info("%s", sbuf_str(&where));
		sbuf_reset(&where);
	}
	sbuf_release(&where);
	if (stats.limited)
		log_warn("%u functions beyond the limit of %u are not probed%s; raise it with --max-functions",
			 stats.limited, s->options.max_functions,
			 s->link == LINK_PERF ? ", because this kernel takes a tenth of a second to remove each probe"
					      : "");
	if (stats.unopened)
		log_warn(
			"%u mapped files were not looked at or not probed: of one process too many, or for want of file descriptors; raise "
			"`ulimit -n` (LimitNOFILE=)",
			stats.unopened);
	if (s->link == LINK_PERF && stats.sites >= PERF_MANY_SITES)
		log_warn("this kernel removes probes one by one: ending will take some %u s for the %u there are; "
			 "fewer functions end sooner",
			 stats.sites * PERF_DETACH_MS / 1000, stats.sites);
}

/* What the list asked for and no process has. False: a mistake. */
static bool check_list(struct session *s)
{
	struct diagnostics *d = s->options.diagnostics;
	struct sbuf text = {0};
	uint32_t before = d->error_cnt;
	plan_report(s->plan, d);
	diagnostics_print(d, &text);
	fputs(sbuf_str(&text), stderr);
	sbuf_release(&text);
	return d->error_cnt == before;
}

/* --wait: what it waited for came; a mistake now is said, and others may come. */
static void say_first(struct session *s, uint32_t chosen_before)
{
	if (chosen_before || !s->chosen)
		return;
	check_list(s);
	say_ready(s);
}

/* The container runtime answered: what was nameless may be asked for. */
static void targets_names_known(struct session *s)
{
	uint32_t before = s->chosen;
	uint64_t n;
	if (read(container_runtime_fd(s->policy.runtime), &n, sizeof(n)) < 0)
		return;
	targets_attach_all(s);
	if (!s->service)
		say_first(s, before);
}

#define EVENTS_AT_A_TIME 16

static void drain_events(struct session *s)
{
	struct sh_ev_proc e;
	uint32_t before = s->chosen;
	/* Some at a time: where processes come faster than they can be looked at, signals still have their turn. */
	for (int n = 0; n < EVENTS_AT_A_TIME && read(s->events[0], &e, sizeof(e)) == sizeof(e); n++)
		targets_event(s, &e);
	if (!s->service)
		say_first(s, before);
}

/* Records about processes were lost, here or in the kernel's rings: what they said is found out by looking. Once a second at
 * most, and a second later: who is in the middle of its exit is still there. */
static void look_again(struct session *s, uint64_t now_ns)
{
	uint64_t lost = __atomic_load_n(&kernel_shared(s->kernel)->process_events_lost, __ATOMIC_RELAXED);
	uint32_t before = s->chosen;
	if ((atomic_exchange(&s->events_lost, false) || lost != s->events_lost_known) && !s->look_due_ns)
		s->look_due_ns = now_ns + LOOK_AGAIN_NS;
	s->events_lost_known = lost;
	if (!s->look_due_ns || now_ns < s->look_due_ns)
		return;
	s->look_due_ns = 0;
	log_warn("more processes came and went than could be followed; looking at all of them again");
	targets_check(s);
	targets_attach_all(s);
	if (!s->service)
		say_first(s, before);
}

struct child {
	pid_t pid;
	int status;
	bool ended;
	bool probed;
};

/* The child of `run` stops at its exec, is probed, and goes on. */
static void child_stopped(struct session *s, struct child *c)
{
	struct proc p = PROC_INIT;
	if (!c->probed && proc_open(&p, proc_root(), c->pid) == 0) {
		targets_attach(s, &p, -1, SH_PROCESS_KEEP_EXEC);
		proc_close(&p);
		say_ready(s);
		s->started = true;
	}
	c->probed = true;
	kill(c->pid, SIGCONT);
}

static void reap(struct session *s, struct child *c)
{
	int status;
	while (c->pid && !c->ended && waitpid(c->pid, &status, WNOHANG | WUNTRACED) == c->pid) {
		if (WIFSTOPPED(status) && !c->probed) {
			child_stopped(s, c);
		} else if (WIFEXITED(status) || WIFSIGNALED(status)) {
			c->ended = true;
			c->status = status;
		}
	}
}

/* False: time to stop. */
static bool handle_signals(struct session *s, struct child *c)
{
	struct signalfd_siginfo info;
	bool go_on = true;
	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			summary_print(s, stderr);
		else if (info.ssi_signo == SIGCHLD)
			reap(s, c);
		else if (!ends_session(s, (int)info.ssi_signo))
			service_reload(s->service);
		else if (c->pid && !c->ended)
			kill(c->pid, (int)info.ssi_signo); /* `run` passes it on and ends with the child */
		else
			go_on = false;
	}
	return go_on;
}

static void tick_plan(struct session *s, uint64_t now_ns)
{
	if (now_ns < s->plan_due_ns)
		return;
	s->plan_due_ns = now_ns + (plan_tick(s->plan, now_ns) ? PLAN_BUSY_NS : PLAN_TICK_NS);
}

static void wait_for_events(struct session *s, struct child *c)
{
	uint64_t end = s->options.duration_ns ? clock_mono_ns() + s->options.duration_ns : UINT64_MAX;
	runtime_metrics_tick(&s->runtime_metrics, s, clock_mono_ns(), false);
	for (;;) {
		struct pollfd fds[4 + SERVICE_POLLFDS] = {
			{.fd = s->signal_fd, .events = POLLIN},
			{.fd = s->events[0], .events = POLLIN},
			{.fd = s->count_fd, .events = POLLIN},
			{.fd = s->policy.runtime ? container_runtime_fd(s->policy.runtime) : -1, .events = POLLIN}};
		unsigned more = s->service   ? service_pollfds(s->service, fds + 4, SERVICE_POLLFDS)
				: s->control ? control_pollfds(s->control, fds + 4, CONTROL_POLLFDS)
					     : 0;
		uint64_t now = clock_mono_ns(), due = end;
		if (now >= end)
			return;
		if (s->service && service_due(s->service) < due)
			due = service_due(s->service) > now ? service_due(s->service) : now;
		if (s->plan_due_ns < due)
			due = s->plan_due_ns > now ? s->plan_due_ns : now;
		uint64_t left_ms = due == UINT64_MAX ? TICK_MS : (due - now) / NSEC_PER_MSEC + 1;
		poll(fds, 4 + more, left_ms < TICK_MS ? (int)left_ms : TICK_MS);
		if (fds[0].revents && !handle_signals(s, c))
			return;
		drain_events(s);
		look_again(s, clock_mono_ns());
		if (fds[3].revents)
			targets_names_known(s);
		if (s->service) {
			service_polled(s->service, fds + 4, more);
			service_tick(s->service, clock_mono_ns());
		} else if (s->control) {
			control_polled(s->control, fds + 4, more, clock_mono_ns());
			control_tick(s->control, clock_mono_ns());
		}
		tick_plan(s, clock_mono_ns());
		health_metrics_tick(&s->health, s, clock_mono_ns(), false);
		runtime_metrics_tick(&s->runtime_metrics, s, clock_mono_ns(), false);
		if (fds[2].revents || (c->pid && c->ended))
			return;
		pthread_mutex_lock(&s->lock);
		processes_forget(s->processes, clock_mono_ns());
		pthread_mutex_unlock(&s->lock);
	}
}

static void final_record(void *arg, const struct sh_ev_hdr *record)
{
	struct session *s = arg;
	if (s->recorder)
		recorder_record(s->recorder, record);
	flow_record(s->flow, record, clock_mono_ns());
}

/* From here on nothing of ours is in any process; what was captured goes out. */
static void wind_up(struct session *s)
{
	struct sbuf err = {0};

	s->end_ns = clock_mono_ns();
	runtime_metrics_tick(&s->runtime_metrics, s, s->end_ns, true);
	if (s->service)
		service_stopping(s->service);
	if (s->started)
		check_list(s); /* of `run`: only now is it known what was never loaded */
	kernel_wind_up(s->kernel);
	plan_detach(s->plan);
	kernel_quiesce(s->kernel);
	consumer_stop(s);
	s->seen = kernel_contexts(s->kernel, final_record, s);
	s->ended = true;
	flow_flush(s->flow, clock_mono_ns());
	pipeline_flush(s->pipeline);
	export_queue_stop(s->queue, FLUSH_TIMEOUT_NS);
	probe_metrics_tick(&s->probe_metrics, clock_mono_ns(), true, session_statsd_port(s));
	health_metrics_tick(&s->health, s, clock_mono_ns(), true);
	if (s->recorder) {
		struct capture_account account = {.seen = s->seen};
		memcpy(account.dropped, kernel_shared(s->kernel)->drops, sizeof(account.dropped));
		if (recorder_close(s->recorder, &account, &err) < 0) {
			log_error("%s", sbuf_str(&err));
			s->failure = SESSION_FAILED;
		}
		s->recorder = NULL;
	}
	sbuf_release(&err);
}

/* What a daemon cannot find now may come later: it says so, and serves. */
static enum session_end serve_attached(struct session *s)
{
	struct plan_stats stats;
	plan_stats(s->plan, &stats);
	if (stats.processes)
		check_list(s);
	resident_trim();
	say_ready(s);
	service_ready(s->service);
	return SESSION_CLEAN;
}

static enum session_end attach_running(struct session *s)
{
	if (!s->options.list->targets.cnt)
		return SESSION_CLEAN;
	int found = targets_attach_all(s), named = 0;
	/* At the start all that is there is to be found, by its name, too. */
	if (found >= 0 && !session_interrupted(s) && s->policy.runtime) {
		policy_wait(&s->policy, NAMES_TIMEOUT_MS);
		named = targets_attach_all(s);
	}
	if (found < 0 || named < 0)
		return SESSION_FAILED;
	found += named;
	if (session_interrupted(s))
		return SESSION_CLEAN; /* not all were looked at: whoever waits for events sees why */
	if (s->service)
		return serve_attached(s);
	if (!found && !s->options.wait) {
		targets_explain_none(s);
		return SESSION_MISTAKE;
	}
	if (!found) {
		log_info("nothing matches yet: waiting");
		return SESSION_CLEAN;
	}
	if (!check_list(s))
		return SESSION_MISTAKE;
	struct plan_stats stats;
	plan_stats(s->plan, &stats);
	if (!stats.functions && stats.skipped && !s->options.wait) {
		log_error("none of the functions that were asked for can be probed");
		return SESSION_MISTAKE;
	}
	resident_trim(); /* reading symbols took memory that will not be needed again for long */
	say_ready(s);
	return SESSION_CLEAN;
}

enum session_end session_run(struct session *s, pid_t child, int release_fd, int *ret_child_status)
{
	struct sbuf err = {0};
	struct child c = {.pid = child};

	s->start_ns = clock_mono_ns();
	kernel_shared(s->kernel)->watch_exec = s->options.list->targets.cnt > 0;
	int rc = kernel_attach_process_events(s->kernel, &err);
	/* Nothing has been looked at yet that somebody else wrote; run's child was born before. */
	struct confinement_needs needs = {s->link, s->options.has_child,
					  injection_enters(s->options.list->propagation, s->options.list->targets.data,
							   s->options.list->targets.cnt)};
	if (rc == 0)
		confinement_enter(&needs, s->options.confine_asked);
	if (rc < 0 || consumer_start(s, &err) < 0) {
		log_error("%s", sbuf_str(&err));
		sbuf_release(&err);
		return SESSION_FAILED;
	}
	enum session_end end = attach_running(s);
	if (end == SESSION_CLEAN) {
		if (child) {
			kernel_stop_at_exec(s->kernel, (uint32_t)child);
			close(release_fd);
		}
		wait_for_events(s, &c);
	}
	wind_up(s);
	if (ret_child_status)
		*ret_child_status = c.status;
	sbuf_release(&err);
	return end != SESSION_CLEAN ? end : s->failure;
}
