/* SPDX-License-Identifier: Apache-2.0 */
#include "app/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "app/contexts.h"
#include "app/control.h"
#include "app/environment.h"
#include "app/exporters.h"
#include "app/sampling.h"
#include "app/session_private.h"
#include "base/clock.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/log.h"
#include "base/variables.h"
#include "kernel/capabilities.h"
#include "probe/list_merge.h"
#include "target/identify.h"
#include "target/match.h"

#define DEFAULT_MAX_FUNCTIONS 16384
/* By perf links: the kernel takes a tenth of a second to remove one, and a function has two or more. */
#define DEFAULT_MAX_PERF_FUNCTIONS 250
#define DEFAULT_MAX_TRACES	   16384
#define DEFAULT_MAX_SPANS	   200000
#define DEFAULT_QUEUE_SPANS	   200000
#define DEFAULT_PARTIAL_SPANS	   300 /* DD_TRACE_PARTIAL_FLUSH_MIN_SPANS of dd-trace-py */
#define TRACE_IDLE_NS		   (30 * NSEC_PER_SEC)
#define POOL_IDLE_SPANS		   4096 /* what 100,000 requests a second have on their way; each takes a kilobyte */
#define PROCESS_KEEP_NS		   (10 * NSEC_PER_SEC)
#define EVENT_PIPE_SZ		   (1 << 20)

const char *session_drop_name(unsigned drop)
{
	switch (drop) {
#define DROP(id, name, help) \
	case id:             \
		return #name;
#include "spanhound/counters.def"
#undef DROP
	}
	return NULL;
}

const char *session_drop_help(unsigned drop)
{
	switch (drop) {
#define DROP(id, name, help) \
	case id:             \
		return help;
#include "spanhound/counters.def"
#undef DROP
	}
	return NULL;
}

static const struct function_info *session_function(void *arg, uint32_t index)
{
	struct session *s = arg;
	return functions_get(s->functions, index);
}

/* It lived too short to be looked at: like another of its image, as far as there is but one. */
static struct process_info *session_gone_process(struct session *s, uint32_t tgid)
{
	pthread_mutex_lock(&s->lock);
	struct process_info *info = s->image_info && !s->many_images ? identify_fork(s->image_info, tgid, tgid) : NULL;
	pthread_mutex_unlock(&s->lock);
	return info;
}

/* A process the kernel half chose by its image, or whose fork was lost to a full ring: the supervisor has not looked at
 * it yet. */
static struct process_info *session_find_process(struct session *s, uint32_t tgid)
{
	const struct probe_list *list = s->options.list;
	struct proc p = PROC_INIT;
	if (proc_open(&p, proc_root(), (int)tgid) < 0)
		return session_gone_process(s, tgid);
	pthread_mutex_lock(&s->lock);
	int match = target_first_match(list->targets.data, list->targets.cnt, &p, NULL);
	processes_add(s->processes, &p, match < 0 ? &s->own : &list->targets.data[match], NULL);
	pthread_mutex_unlock(&s->lock);
	proc_close(&p);
	struct process_info *info = processes_get_info(s->processes, tgid);
	return info ? info : session_gone_process(s, tgid);
}

static struct process_info *session_process(void *arg, uint32_t tgid)
{
	struct session *s = arg;
	struct process_info *info = processes_get_info(s->processes, tgid);
	return info ? info : session_find_process(s, tgid);
}

/* On the consumer: a child's identity must be there before its first call is read; all else is the supervisor's. */
static void session_process_event(void *arg, const struct sh_ev_proc *e)
{
	struct session *s = arg;
	if (e->hdr.kind == SH_EV_FORK) {
		pthread_mutex_lock(&s->lock);
		processes_fork(s->processes, e->other, e->tgid, NULL);
		pthread_mutex_unlock(&s->lock);
	}
	if (write(s->events[1], e, sizeof(*e)) != sizeof(*e))
		atomic_store(&s->events_lost, true);
}

static void session_mistakes(void *arg, const struct process_info *process, struct sv lines)
{
	struct session *s = arg;
	environment_mistakes(&s->environment, process, lines);
}

static void session_push(void *arg, struct chunk *chunk)
{
	struct session *s = arg;
	export_queue_push(s->queue, chunk);
}

static void session_notice(void *arg, const char *line)
{
	(void)arg;
	log_warn("%s", line);
}

static void session_publish(void *arg, const struct plan_function *f)
{
	struct session *s = arg;
	struct sh_func *slot = kernel_function(s->kernel, f->index);
	if (slot)
		slot->spec = f->probe;
	if (functions_publish(s->functions, f) < 0)
		log_error("out of memory: spans of " SV_FMT " are lost", SV_ARG(f->display));
}

/* A function has no probe any more. Its last records are in the rings; what is made of them points to what we know of it. */
static uint32_t session_leave(void *arg)
{
	struct session *s = arg;
	return atomic_fetch_add(&s->moment_asked, 1) + 1;
}

static bool session_left(void *arg, uint32_t moment)
{
	struct session *s = arg;
	return (int32_t)(atomic_load(&s->moment_out) - moment) >= 0;
}

static void session_unpublish(void *arg, const struct plan_function *f)
{
	struct session *s = arg;
	struct function_stats stats;
	struct sh_func *slot = kernel_function(s->kernel, f->index);
	calls_function_stats(flow_calls(s->flow), f->index, &stats);
	uint64_t dropped = slot ? slot->dropped : 0;
	s->past.functions++;
	s->past.calls += stats.spans + dropped;
	s->past.spans += stats.spans;
	s->past.errors += stats.errors;
	if (s->service)
		service_unpublish(s->service, f);
	functions_unpublish(s->functions, f->index);
	flow_forget_function(s->flow, f->index);
	if (slot)
		*slot = (struct sh_func){0};
}

static void session_skipped(void *arg, struct sv display, struct sv module, const char *why, bool by_name)
{
	(void)arg;
	/* Who named it wants to know; a glob just means those that can be probed. */
	log_write(by_name ? LOG_WARN : LOG_DEBUG, "not probed: " SV_FMT " in " SV_FMT ": %s", SV_ARG(display),
		  SV_ARG(module), why);
}

/* Of a process that is there: what it runs is asked for by whoever chose it; its libraries may be of no interest. */
static void session_unreadable(void *arg, int pid, struct sv path, bool is_exe, int error, const char *needs)
{
	(void)arg;
	log_write(is_exe ? LOG_WARN : LOG_DEBUG,
		  "process %d: nothing in " SV_FMT " is probed: it cannot be opened: %s (needs %s)", pid, SV_ARG(path),
		  strerror(error), needs);
}

static uint32_t or_default(uint32_t value, uint32_t standard)
{
	return value ? value : standard;
}

/* Who attaches to programs that run, or runs one, gets headers where that is safe, unless somebody said something about it. */
static bool injects_unasked(const struct session_options *o)
{
	return !o->serve && !o->inject && !o->no_inject && !o->no_http &&
	       o->list->propagation.inject == TARGET_INJECT_UNSAID;
}

static bool session_inject_useful(void *arg, const struct inject_status *status)
{
	const struct session *s = arg;
	const struct probe_list *list = s->options.list;
	return !s->injection.unasked || s->options.has_child ||
	       injection_wanted(false, list->propagation, list->targets.data, list->targets.cnt) ||
	       injection_useful(status, list->targets.data, list->targets.cnt);
}

static int session_open_kernel(struct session *s, struct sbuf *err)
{
	const struct probe_list *list = s->options.list;
	int link = s->options.link;
	int rc = link >= 0 ? link_kind_check((enum link_kind)link, err) : link_kind_choose(err);
	if (rc < 0)
		return rc;
	if (link < 0)
		link = rc;
	s->link = (enum link_kind)link;
	if (link == LINK_PERF && !s->limit_was_asked_for)
		s->options.max_functions = DEFAULT_MAX_PERF_FUNCTIONS;
	s->injection.unasked = injects_unasked(&s->options);
	struct kernel_options options = {
		.link = s->link,
		.sleepable = (s->options.serve || probe_list_reads_memory(list)) && capability_sleepable(s->link),
		.max_functions = list->probes.cnt || s->options.serve ? s->options.max_functions : 1,
		.max_specs = (uint32_t)(s->options.serve ? list->probes.cap : list->probes.cnt),
		/* What a daemon's list may come to ask for. */
		.specs = s->options.serve || probe_list_has_specs(list),
		.captures = s->options.serve || probe_list_captures(list),
		.sockets = !s->options.no_http,
		.inject = !s->options.no_inject &&
			  injection_wanted(s->options.inject || s->injection.unasked, list->propagation,
					   list->targets.data, list->targets.cnt),
		.inject_verdict =
			s->options.serve || injection_enters(list->propagation, list->targets.data, list->targets.cnt),
		.inject_useful = session_inject_useful,
		.arg = s,
		.option = !s->options.no_inject && tcp_option_wanted(s->options.tcp_option, list->propagation.option,
								     list->targets.data, list->targets.cnt),
		.head = list->capture.head,
		.handoffs = list->handoffs.cnt > 0,
		.ring_size = s->options.ring_size ? s->options.ring_size : list->limits.ring_size,
	};
	rc = policy_pid_namespace(&options.pid_ns_dev, &options.pid_ns_ino, err);
	s->foreign_pids = rc == 0 && !policy_pids_are_ours(options.pid_ns_ino);
	if (s->options.has_child && s->foreign_pids) {
		sbuf_addf(
			err,
			"%s shows another PID namespace than ours, and a program of ours has another number there: `run` "
			"needs a /proc of its own PID namespace (unshare --mount-proc; HOST_PROC unset)",
			proc_root());
		rc = -EINVAL;
	}
	if (rc < 0)
		return rc;
	if (options.pid_ns_ino)
		log_info(
			"%s shows an inner PID namespace: processes outside of it are not seen; for the whole host mount the "
			"host's /proc and set HOST_PROC, or share its PID namespace (hostPID, --pid host)",
			proc_root());
	s->injection.standard = injection_standard(s->options.inject || s->injection.unasked, list->propagation);
	s->tcp_option.standard = s->options.tcp_option ? TARGET_OPTION_ON : list->propagation.option;
	rc = kernel_open(&s->kernel, &options, err);
	if (rc == 0)
		injection_begin(&s->injection, s->kernel, &list->propagation);
	if (rc == 0 && kernel_rates(s->kernel))
		rc = early_start(&s->early, kernel_rates(s->kernel), SH_MAX_RATES);
	if (rc == 0 && options.inject && !kernel_inject(s->kernel)->on)
		log_write(s->injection.unasked ? LOG_DEBUG : LOG_WARN, "no headers are injected: %s",
			  kernel_inject(s->kernel)->why_not);
	if (rc == 0 && options.option && !kernel_option(s->kernel)->on)
		log_warn("there are no TCP options: %s", kernel_option(s->kernel)->why_not);
	return rc;
}

static int session_open_plan(struct session *s, struct sbuf *err)
{
	struct plan_options options = {
		.list = s->options.list,
		.kernel = s->kernel,
		.link = s->link,
		.ends = s->options.ends,
		.cost = {.optimised_nop_sz = 0},
		.seccomp_return = capability_seccomp_return,
		.goroutines = !s->options.no_http,
		.proc_root = proc_root(),
		.foreign_pids = s->foreign_pids,
		.max_functions = s->options.max_functions,
		.max_probes = s->options.serve ? (uint32_t)s->options.list->probes.cap : 0,
		.publish = session_publish,
		.leave = session_leave,
		.left = session_left,
		.unpublish = session_unpublish,
		.skipped = session_skipped,
		.unreadable = session_unreadable,
		.arg = s,
	};
	return plan_new(&s->plan, &options, err);
}

static uint32_t partial_flush_spans(void)
{
	const char *enabled = variable_get("DD_TRACE_PARTIAL_FLUSH_ENABLED"),
		   *min = variable_get("DD_TRACE_PARTIAL_FLUSH_MIN_SPANS");
	if (enabled && (!strcasecmp(enabled, "false") || !strcmp(enabled, "0")))
		return 0;
	long n = min ? strtol(min, NULL, 10) : 0;
	return n > 0 && n < 1000000 ? (uint32_t)n : DEFAULT_PARTIAL_SPANS;
}

static int session_open_flow(struct session *s)
{
	const struct probe_limits *limits = &s->options.list->limits;
	struct flow_options flow = {
		.assembly =
			{
				.max_chunks = or_default(limits->max_traces, DEFAULT_MAX_TRACES),
				.max_spans = or_default(limits->max_spans, DEFAULT_MAX_SPANS),
				.partial_min_spans = partial_flush_spans(),
				.max_idle_ns = TRACE_IDLE_NS,
				.sink = pipeline_chunk,
				.sink_arg = s->pipeline,
				.pool = s->pool,
			},
		.actors = {.process = session_process,
			   .process_event = session_process_event,
			   .mistakes = session_mistakes,
			   .arg = s},
		.function = session_function,
		.function_arg = s,
		.max_functions = s->options.max_functions,
		.head_max = http1_head_max(s->options.list->capture.head),
	};
	s->flow = flow_new(&flow);
	if (!s->flow)
		return -ENOMEM;
	flow_set_clock(s->flow, clock_mono_to_unix_ns());
	return 0;
}

static int session_open_queue(struct session *s, struct sbuf *err)
{
	struct export_sink sinks[EXPORTERS_MAX];
	unsigned cnt = 0;
	sampling_listen(&s->listener, &s->agent);
	int rc = exporters_open(&s->options.exports, sinks, &cnt, err);
	datadog_listen(NULL);
	if (rc < 0)
		return rc;
	s->any_agent = exporters_have_agent(sinks, cnt);
	s->only_agent = cnt == 1 && s->any_agent;
	struct export_queue_options options = {
		.max_spans = or_default(s->options.list->limits.queue_spans, DEFAULT_QUEUE_SPANS),
		.pool = s->pool,
		.notice = session_notice,
	};
	return export_queue_start(&s->queue, sinks, cnt, &options, err);
}

static int session_open_pipeline(struct session *s, struct sbuf *err)
{
	struct pipeline_options options = {.agent = &s->agent,
					   .may_drop = s->only_agent,
					   .normalize = s->any_agent,
					   .pool = s->pool,
					   .push = session_push,
					   .arg = s};
	int rc = sampling_pipeline(&s->pipeline, &options, &s->span_rules, err);
	if (rc < 0)
		return rc;
	early_init(&s->early, &options.vars);
	__atomic_store_n(&s->agent.early, &s->early, __ATOMIC_RELEASE);
	pipeline_set_span_rules(s->pipeline, &s->options.list->span_rules);
	return 0;
}

static int session_open_recorder(struct session *s, struct sbuf *err)
{
	if (!s->options.capture)
		return 0;
	if (s->options.list->includes.cnt) {
		sbuf_adds(err, "a capture holds one file of probes: --export capture: and include: do not go together");
		return -EINVAL;
	}
	struct recorder_options options = {
		.path = s->options.capture,
		.unix_minus_mono_ns = clock_mono_to_unix_ns(),
		.functions = s->functions,
		.process = session_process,
		.arg = s,
	};
	int rc = recorder_open(&s->recorder, &options, err);
	if (rc < 0)
		return rc;
	recorder_probes(s->recorder, s->options.diagnostics->text);
	vec_foreach (text, &s->options.function_options)
		recorder_function_option(s->recorder, *text);
	return 0;
}

static int session_open_base(struct session *s)
{
	struct processes_options processes = {.root = proc_root(),
					      .environment = sbuf_sv(&s->environment.requests),
					      .max = SH_MAX_PROCESSES,
					      .keep_ended_ns = PROCESS_KEEP_NS,
					      .hostname = identify_hostname(),
					      .skipped = targets_skipped,
					      .arg = s};
	uint32_t asked = or_default(s->options.max_functions, s->options.list->limits.max_functions);
	s->limit_was_asked_for = asked != 0;
	s->options.max_functions = or_default(asked, DEFAULT_MAX_FUNCTIONS);
	s->processes = processes_new(&processes);
	s->pool = chunk_pool_new(POOL_IDLE_SPANS);
	s->functions = functions_new(s->options.list, s->options.max_functions);
	s->count_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!s->processes || !s->pool || !s->functions)
		return -ENOMEM;
	if (s->count_fd < 0 || pipe2(s->events, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	fcntl(s->events[1], F_SETPIPE_SZ, EVENT_PIPE_SZ);
	return 0;
}

static bool session_answer(void *arg, struct sv words, struct sv text, struct sbuf *out)
{
	struct session *s = arg;
	(void)text;
	if (sv_starts(words, SV("context")))
		return contexts_answer(s, words, out);
	if (sv_eq(words, SV("flush"))) {
		export_queue_flush(s->queue);
		return true;
	}
	sbuf_addf(out, "there is no '" SV_FMT "' here; there are: context, flush. `spanhound serve` has more",
		  SV_ARG(words));
	return false;
}

/* Who gives it on the command line gets it or an error; a file's may be that of the daemon it was written for. */
static int session_open_control(struct session *s, struct sbuf *err)
{
	struct sv of_file = s->options.list->service_of_daemon.control_socket;
	const char *path = s->options.control ? s->options.control : of_file.len ? of_file.data : NULL;
	int rc = path ? control_open(&s->control, path, session_answer, s, err) : 0;
	if (rc < 0 && !s->options.control) {
		log_warn("`spanhound context` will not work: %s", sbuf_str(err));
		sbuf_reset(err);
		rc = 0;
	}
	return rc;
}

/* What the user asked for wrongly fails first. */
static enum session_end session_open_all(struct session *s, struct sbuf *err)
{
	if (s->options.no_http && !s->options.list->probes.cnt && !s->options.serve) {
		sbuf_adds(err, "nothing would be traced: HTTP is switched off, and there are no probes");
		return SESSION_MISTAKE;
	}
	if (!s->options.serve && session_open_control(s, err) < 0)
		return SESSION_MISTAKE;
	if (session_take_signals(s) < 0 || environment_read(&s->environment, err) == -ENOMEM)
		return SESSION_FAILED;
	if (err->len)
		return SESSION_MISTAKE;
	if (session_open_base(s) < 0)
		return SESSION_FAILED;
	confine_choose(s->options.confine);
	if (s->options.serve && probe_list_reserve(s->options.list) < 0)
		return SESSION_FAILED;
	if (health_metrics_open(&s->health, err) < 0 || probe_metrics_open(&s->probe_metrics, s->options.list, err) < 0)
		return SESSION_MISTAKE;
	if (policy_open(&s->policy, s->options.list, false, err) < 0)
		return SESSION_MISTAKE;
	policy_apply(&s->policy, s->options.list);
	functions_measure(s->functions, s->probe_metrics.client ? &s->probe_metrics : NULL);
	if (session_open_recorder(s, err) < 0 || session_open_queue(s, err) < 0 || session_open_pipeline(s, err) < 0)
		return SESSION_MISTAKE;
	if (session_open_kernel(s, err) < 0 || session_open_plan(s, err) < 0 || session_open_flow(s) < 0)
		return SESSION_FAILED;
	if (s->options.serve && service_open(&s->service, s, err) < 0)
		return SESSION_MISTAKE;
	return SESSION_CLEAN;
}

enum session_end session_open(struct session **ret, const struct session_options *options, struct sbuf *err)
{
	struct session *s = calloc(1, sizeof(*s));
	if (!s)
		return SESSION_FAILED;
	s->options = *options;
	s->own = (struct target_spec){.follow_exec = true,
				      .service = options->list->service,
				      .env = options->list->env,
				      .version = options->list->version,
				      .tags = options->list->tags,
				      .settings = options->list->settings,
				      .more_routes = &options->list->routes};
	s->options.no_http |= options->list->capture.no_http;
	s->events[0] = s->events[1] = s->count_fd = s->signal_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	enum session_end end = session_open_all(s, err);
	if (end != SESSION_CLEAN) {
		if (!err->len)
			sbuf_adds(err, strerror(errno));
		session_free(s);
		return end;
	}
	*ret = s;
	return SESSION_CLEAN;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	service_close(s->service);
	control_close(s->control);
	consumer_stop(s);
	plan_free(s->plan);
	flow_free(s->flow);
	recorder_close(s->recorder, NULL, NULL);
	health_metrics_close(&s->health);
	probe_metrics_close(&s->probe_metrics);
	runtime_metrics_close(&s->runtime_metrics);
	if (s->queue)
		export_queue_free(s->queue);
	pipeline_free(s->pipeline);
	agent_link_release(&s->agent);
	sbuf_release(&s->span_rules);
	chunk_pool_free(s->pool);
	early_release(&s->early);
	kernel_close(s->kernel);
	functions_free(s->functions);
	process_info_unref(s->image_info);
	processes_free(s->processes);
	environment_release(&s->environment);
	policy_forget(s->options.list);
	policy_release(&s->policy);
	closep(&s->events[0]);
	closep(&s->events[1]);
	closep(&s->count_fd);
	closep(&s->signal_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void session_account(struct session *s, struct session_account *ret)
{
	struct pipeline_stats pipeline;
	struct export_queue_stats queue;
	struct flow_stats flow;
	const struct sh_shared *shared = kernel_shared(s->kernel);
	uint64_t own;

	*ret = (struct session_account){0};
	for (unsigned i = 0; i < SH_KERNEL_DROPS; i++)
		ret->dropped[i] = shared->drops[i];
	flow_stats(s->flow, &flow);
	flow_account(s->flow, &own, ret->dropped);
	export_queue_stats(s->queue, &queue);
	pipeline_stats(s->pipeline, &pipeline);
	ret->dropped[SH_DROP_unsampled] = pipeline.left_out;
	ret->dropped[SH_DROP_span_rule] = pipeline.ruled_out;
	/* Last: while it runs, what is accounted for was seen before. */
	ret->seen = (s->ended ? s->seen : kernel_seen(s->kernel)) + own;
	ret->dropped[SH_DROP_queue_full] = queue.queue_full;
	ret->dropped[SH_DROP_export_failed] = queue.export_failed;
	ret->dropped[SH_DROP_agent_backpressure] = queue.backpressure;
	ret->exported = queue.exported;
	uint64_t sum = ret->exported;
	for (unsigned i = 0; i < SH_MAX_DROPS; i++)
		sum += ret->dropped[i];
	ret->unaccounted = (int64_t)(ret->seen - sum);
	ret->pending = flow.assembly.open_spans + queue.held;
}

void session_view(struct session *s, struct session_view *ret)
{
	struct pipeline_stats pipeline;
	pipeline_stats(s->pipeline, &pipeline);
	*ret = (struct session_view){
		.list = s->options.list,
		.plan = s->plan,
		.calls = flow_calls(s->flow),
		.flow = s->flow,
		.kernel = s->kernel,
		.metrics = &s->probe_metrics,
		.injection = &s->injection,
		.tcp_option = &s->tcp_option,
		.queue = s->queue,
		.rings = kernel_rings(s->kernel),
		.link = s->link,
		.elapsed_ns = (s->end_ns ? s->end_ns : clock_mono_ns()) - s->start_ns,
		.gap_ns = s->gap_ns,
		.gaps = s->gaps,
		.unlinked = pipeline.unlinked,
		.past = s->past,
		.processes = s->chosen,
		.max_functions = s->options.max_functions,
	};
}
