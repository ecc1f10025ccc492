/* SPDX-License-Identifier: Apache-2.0 */
#include "app/status.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/confinement.h"
#include "app/session_private.h"
#include "app/summary.h"
#include "base/clock.h"
#include "base/resident.h"
#include "version.h"

int status_health(const struct status *st, struct sbuf *out)
{
	if (!st->alive)
		sbuf_adds(out, "the consumer of the kernel's records makes no progress\n");
	if (st->session->failure == SESSION_FAILED)
		sbuf_adds(out, "something broke; the log says what\n");
	return out->len ? -EIO : 0;
}

/* --- OpenMetrics ---------------------------------------------------------------------------------------------------
 */

/* Names as https://prometheus.io/docs/practices/naming/ wants them; `process_*` as client libraries call them. */
static void family(struct sbuf *out, const char *name, const char *type, const char *help)
{
	sbuf_addf(out, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void counter(struct sbuf *out, const char *name, const char *help, uint64_t value)
{
	family(out, name, "counter", help);
	sbuf_addf(out, "%s_total %" PRIu64 "\n", name, value);
}

static void gauge(struct sbuf *out, const char *name, const char *help, uint64_t value)
{
	family(out, name, "gauge", help);
	sbuf_addf(out, "%s %" PRIu64 "\n", name, value);
}

static void metrics_account(struct session *s, struct sbuf *out)
{
	struct session_account a;
	session_account(s, &a);
	counter(out, "spanhound_spans_seen", "Calls and requests seen.", a.seen);
	counter(out, "spanhound_spans_exported", "Of these, delivered to the receiver.", a.exported);
	family(out, "spanhound_spans_dropped", "counter", "Of these, not delivered, by reason.");
	for (unsigned i = 0; i < SH_MAX_DROPS; i++)
		if (session_drop_name(i))
			sbuf_addf(out, "spanhound_spans_dropped_total{reason=\"%s\"} %" PRIu64 "\n",
				  session_drop_name(i), a.dropped[i]);
	family(out, "spanhound_spans_in_flight", "gauge", "Of these, neither yet.");
	sbuf_addf(out, "spanhound_spans_in_flight %" PRId64 "\n", a.unaccounted);
}

static void metrics_rings(struct session *s, struct sbuf *out)
{
	struct ring_stats rings;
	const struct sh_shared *shared = kernel_shared(s->kernel);
	ring_set_stats(kernel_rings(s->kernel), &rings);
	counter(out, "spanhound_ring_records", "Records read from the kernel.", rings.records);
	counter(out, "spanhound_ring_read_bytes", "Bytes of these records.", rings.bytes);
	counter(out, "spanhound_ring_wakeups", "Times the kernel half woke us.", rings.wakeups);
	gauge(out, "spanhound_ring_size_bytes", "Size of each CPU's ring.", ring_set_size(kernel_rings(s->kernel)));
	gauge(out, "spanhound_ring_backlog_bytes", "Bytes waiting in the fullest ring.",
	      ring_set_backlog(kernel_rings(s->kernel)));
	counter(out, "spanhound_process_events_lost", "Forks, executions and exits lost to a full ring.",
		shared->process_events_lost);
	counter(out, "spanhound_read_faults", "Captured values whose memory was not there.", shared->read_faults);
	counter(out, "spanhound_probe_misses", "Probe hits the kernel skipped.", kernel_missed(s->kernel));
}

static void metrics_probes(const struct status *st, struct sbuf *out)
{
	struct session *s = st->session;
	struct plan_stats plan;
	struct processes_stats processes;
	plan_stats(s->plan, &plan);
	processes_stats(s->processes, &processes);
	gauge(out, "spanhound_processes", "Processes traced now.", processes.live);
	counter(out, "spanhound_processes_chosen", "Processes traced since the start.", s->chosen);
	gauge(out, "spanhound_probes", "Probes of the configuration, and those added at run time.",
	      s->options.list->order.cnt);
	gauge(out, "spanhound_probes_off", "Of these, taken off because they cost too much.", st->off);
	counter(out, "spanhound_probes_taken_off", "Times a probe was taken off.", st->taken_off);
	counter(out, "spanhound_memory_shed", "Times the queue was made smaller for want of memory.", st->shed);
	gauge(out, "spanhound_probed_functions", "Functions probed now.", plan.functions);
	counter(out, "spanhound_files_released", "Executables and libraries let go of since nobody runs them.",
		plan.released);
	gauge(out, "spanhound_probe_sites", "Places in code with a probe on them.", plan.sites);
	counter(out, "spanhound_functions_skipped", "Functions that were asked for and cannot be probed.",
		plan.skipped);
	family(out, "spanhound_probe_cost_seconds", "counter",
	       "Time that probed calls cost the traced threads, estimated: calls times this machine's price.");
	sbuf_addf(out, "spanhound_probe_cost_seconds_total %.6f\n", (double)st->probe_cost_ns / NSEC_PER_SEC);
}

static void metrics_injection(struct session *s, struct sbuf *out)
{
	const struct sh_shared *shared = kernel_shared(s->kernel);
	if (!kernel_inject(s->kernel)->on)
		return;
	family(out, "spanhound_injection_requests", "counter",
	       "Requests of processes that get headers, by what became of that.");
	for (unsigned r = 0; r < SH_INJECTS; r++)
		if (injection_reason_name(r))
			sbuf_addf(out, "spanhound_injection_requests_total{result=\"%s\"} %llu\n",
				  injection_reason_name(r), (unsigned long long)shared->injects[r]);
	counter(out, "spanhound_injection_connections", "Connections enrolled for that.",
		shared->inject_enrolled + s->injection.older);
	counter(out, "spanhound_injection_processes_watched",
		"Processes that were watched before any header, since it was not known what they do on their sockets.",
		s->injection.watched);
	counter(out, "spanhound_injection_processes_passed", "Of these, those that got headers then.", s->injection.passed);
	counter(out, "spanhound_injection_processes_failed", "Of these, those that do what such connections do not carry.",
		s->injection.failed);
	counter(out, "spanhound_injection_processes_turned",
		"Processes let go of since they began to do what such connections do not carry.", s->injection.turned);
}

static void metrics_exporters(struct session *s, struct sbuf *out)
{
	static const struct {
		const char *name, *type, *help;
	} families[] = {
		{"spanhound_exporter_requests", "counter", "Requests sent to the receiver."},
		{"spanhound_exporter_errors", "counter", "Requests that failed."},
		{"spanhound_exporter_sent_bytes", "counter", "Bytes sent to the receiver."},
		{"spanhound_exporter_held_spans", "gauge", "Spans waiting for the receiver."},
	};
	struct exporter_stats stats;
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		family(out, families[f].name, families[f].type, families[f].help);
		for (unsigned i = 0; export_queue_sink(s->queue, i, &stats, NULL) >= 0; i++) {
			uint64_t values[] = {stats.requests, stats.errors, stats.bytes, stats.held};
			sbuf_addf(out, "%s%s{exporter=\"%u\"} %" PRIu64 "\n", families[f].name,
				  families[f].type[0] == 'c' ? "_total" : "", i, values[f]);
		}
	}
}

static uint64_t open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t cnt = 0;
	while (d && readdir(d))
		cnt++;
	if (d)
		closedir(d);
	return cnt > 3 ? cnt - 3 : 0; /* ".", ".." and this one */
}

static double cpu_seconds(void)
{
	struct rusage u = {0};
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void metrics_self(const struct status *st, struct sbuf *out)
{
	struct session *s = st->session;
	counter(out, "spanhound_reloads", "Changes of the configuration that were put in force.", st->reload->done);
	counter(out, "spanhound_reloads_refused", "Changes that were refused whole.", st->reload->refused);
	gauge(out, "spanhound_config_good", "0: the file, as it is now, was refused; an earlier one is in force.",
	      !st->reload->bad);
	gauge(out, "spanhound_ready", "1: all that was there at the start is attached.", st->ready);
	family(out, "spanhound_uptime_seconds", "gauge", "Time since the start.");
	sbuf_addf(out, "spanhound_uptime_seconds %.3f\n", (double)(clock_mono_ns() - s->start_ns) / NSEC_PER_SEC);
	family(out, "spanhound_build", "info", "What runs here.");
	sbuf_addf(out, "spanhound_build_info{version=\"%s\",commit=\"%s\"} 1\n", SPANHOUND_VERSION, SPANHOUND_COMMIT);
	family(out, "process_cpu_seconds", "counter", "CPU time of all threads, user and system.");
	sbuf_addf(out, "process_cpu_seconds_total %.6f\n", cpu_seconds());
	gauge(out, "process_resident_memory_bytes", "Resident memory.", resident_bytes());
	gauge(out, "process_open_fds", "Open file descriptors.", open_fds());
}

void status_metrics(const struct status *st, struct sbuf *out)
{
	metrics_account(st->session, out);
	metrics_rings(st->session, out);
	metrics_probes(st, out);
	metrics_injection(st->session, out);
	metrics_exporters(st->session, out);
	metrics_self(st, out);
	sbuf_adds(out, "# EOF\n");
}

/* --- JSON ----------------------------------------------------------------------------------------------------------
 */

static void json_exporters(struct session *s, struct sbuf *out)
{
	struct exporter_stats stats;
	struct sbuf text = {0};
	sbuf_adds(out, ",\"exporters\":[");
	for (unsigned i = 0; export_queue_sink(s->queue, i, &stats, &text) >= 0; i++) {
		sbuf_addf(out, "%s{\"state\":", i ? "," : "");
		sbuf_add_json(out, sbuf_sv(&text));
		sbuf_addf(out, ",\"exported\":%" PRIu64 ",\"held\":%" PRIu64 ",\"errors\":%" PRIu64 "}", stats.exported,
			  stats.held, stats.errors);
		sbuf_reset(&text);
	}
	sbuf_adds(out, "]");
	sbuf_release(&text);
}

/* What stands in a probe's place: its functions, or its address. */
static void json_probe(const struct probe_list *list, uint32_t index, uint32_t functions, struct sbuf *out)
{
	const struct probe *p = &list->probes.data[index];
	sbuf_addf(out, "{\"number\":%u,\"at_run_time\":%s,\"off\":%s,\"probed_functions\":%u,\"functions\":[", index,
		  p->at_run_time ? "true" : "false", p->off ? "true" : "false", functions);
	for (size_t i = 0; i < p->functions.cnt; i++) {
		if (i)
			sbuf_addc(out, ',');
		sbuf_add_json(out, p->functions.data[i].text);
	}
	sbuf_addc(out, ']');
	if (!p->functions.cnt)
		sbuf_addf(out, ",\"address\":\"0x%" PRIx64 "\"", p->address);
	if (p->library.text.len) {
		sbuf_adds(out, ",\"library\":");
		sbuf_add_json(out, p->library.text);
	}
	if (p->target >= 0)
		sbuf_addf(out, ",\"target\":%d", p->target);
	sbuf_addc(out, '}');
}

static uint32_t functions_of(const struct plan *plan, uint32_t known, uint32_t probe)
{
	uint32_t cnt = 0;
	for (uint32_t i = 0; i < known; i++) {
		const struct plan_function *f = plan_function(plan, i);
		cnt += f && f->probe == probe && !f->retired;
	}
	return cnt;
}

void status_probes(const struct status *st, struct sbuf *out)
{
	const struct probe_list *list = st->session->options.list;
	struct session_view v;
	struct plan_stats plan;
	session_view(st->session, &v);
	plan_stats(v.plan, &plan);
	sbuf_addc(out, '[');
	for (size_t i = 0; i < list->order.cnt; i++) {
		uint32_t index = list->order.data[i];
		if (i)
			sbuf_addc(out, ',');
		json_probe(list, index, functions_of(v.plan, plan.known, index), out);
	}
	sbuf_adds(out, "]\n");
}

void status_json(const struct status *st, struct sbuf *out)
{
	struct session *s = st->session;
	struct session_account a;
	struct plan_stats plan;
	struct processes_stats processes;
	struct sbuf wrong = {0};
	session_account(s, &a);
	plan_stats(s->plan, &plan);
	processes_stats(s->processes, &processes);
	sbuf_addf(out, "{\"version\":\"%s\",\"pid\":%d,\"ready\":%s,\"healthy\":%s,\"uptime_s\":%.3f,",
		  SPANHOUND_VERSION, (int)getpid(), st->ready ? "true" : "false",
		  status_health(st, &wrong) == 0 ? "true" : "false",
		  (double)(clock_mono_ns() - s->start_ns) / NSEC_PER_SEC);
	summary_json_account(&a, out);
	sbuf_addf(out,
		  ",\"in_flight\":%" PRId64 ",\"processes\":%u,\"probes\":%zu,\"probed_functions\":%u,"
		  "\"known_functions\":%u,\"skipped\":%u,"
		  "\"probes_off\":%u,\"probe_cost_ms\":%.3f,\"link\":\"%s\"",
		  a.unaccounted, processes.live, s->options.list->order.cnt, plan.functions, plan.held, plan.skipped,
		  st->off, (double)st->probe_cost_ns / NSEC_PER_MSEC, link_kind_names[s->link]);
	json_exporters(s, out);
	sbuf_addc(out, ',');
	injection_json(&s->injection, s->kernel, out);
	sbuf_addc(out, ',');
	confinement_status_json(out);
	sbuf_addf(out, ",\"config\":{\"file\":");
	sbuf_add_json(out, sv_of(s->options.config));
	sbuf_addf(out, ",\"good\":%s,\"reloads\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"error\":",
		  st->reload->bad ? "false" : "true", st->reload->done, st->reload->refused);
	sbuf_add_json(out, st->reload->bad ? sbuf_sv(&st->reload->error) : SV(""));
	sbuf_adds(out, "}}\n");
	sbuf_release(&wrong);
}
