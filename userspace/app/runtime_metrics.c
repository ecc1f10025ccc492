/* SPDX-License-Identifier: Apache-2.0 */
#include "app/runtime_metrics.h"

#include "app/session_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/variables.h"
#include "target/runtime/runtime.h"
#include "trace/settings.h"

#define MAX_TAGS 40

struct runtime_process {
	struct process_info *who; /* a reference */
	struct runtime_facts before;
	int64_t kept[RUNTIME_KEPT];
	bool seen; /* in this round */
};

/* --- who ---------------------------------------------------------------------------------------------------------- */

static bool wanted(const struct process_info *who)
{
	const char *ours = variable_get("DD_RUNTIME_METRICS_ENABLED");
	return ours ? setting_is_true(sv_of(ours)) : who->runtime_metrics;
}

static struct runtime_process *find(struct runtime_metrics *m, const struct process_info *who)
{
	for (uint32_t i = 0; i < m->cnt; i++)
		if (m->processes[i].who == who)
			return &m->processes[i];
	return NULL;
}

static bool make_room(struct runtime_metrics *m)
{
	if (m->cnt < m->cap)
		return true;
	uint32_t cap = m->cap ? m->cap * 2 : 16;
	struct runtime_process *grown =
		m->cnt < RUNTIME_METRICS_MAX ? reallocarray(m->processes, cap, sizeof(*grown)) : NULL;
	if (!grown)
		return false;
	m->processes = grown;
	m->cap = cap;
	return true;
}

/* Under the table's lock: references are taken, nothing is read. */
static int note_process(void *arg, struct process *p)
{
	struct runtime_metrics *m = arg;
	if (p->ended || !p->info || !wanted(p->info))
		return 0;
	struct runtime_process *known = find(m, p->info);
	if (!known && make_room(m)) {
		known = &m->processes[m->cnt++];
		*known = (struct runtime_process){.who = process_info_ref(p->info)};
		for (int i = 0; i < RUNTIME_KEPT; i++)
			known->kept[i] = -1;
	}
	if (known)
		known->seen = true;
	return 0;
}

static void forget_others(struct runtime_metrics *m)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < m->cnt; i++) {
		if (m->processes[i].seen)
			m->processes[kept++] = m->processes[i];
		else
			process_info_unref(m->processes[i].who);
	}
	m->cnt = kept;
}

/* --- reports ------------------------------------------------------------------------------------------------------ */

struct sending {
	struct runtime_metrics *metrics; /* NULL: a first look, of which nothing is sent */
	const struct process_info *who;
	struct tag tags[MAX_TAGS];
	unsigned tag_cnt;
};

static void send_metric(void *arg, const char *name, enum runtime_kind kind, double value)
{
	const struct sending *s = arg;
	if (!s->metrics)
		return;
	dogstatsd_add(s->metrics->client,
		      &(struct dogstatsd_metric){
			      .name = sv_of(name),
			      .type = kind == RUNTIME_GAUGE ? DOGSTATSD_GAUGE : DOGSTATSD_DISTRIBUTION,
			      .values = &value,
			      .value_cnt = 1,
			      .tags = s->tags,
			      .tag_cnt = s->tag_cnt,
			      .origin = s->who,
		      });
}

static void report(struct runtime_metrics *m, struct runtime_process *p, uint64_t now_ns)
{
	struct proc proc = PROC_INIT;
	struct runtime_facts now;
	bool first = !p->before.time_ns;
	if (proc_open(&proc, proc_root(), (int)p->who->pid) < 0)
		return;
	if (runtime_facts_read(&proc, now_ns, &now) == 0 && (first || now.time_ns > p->before.time_ns)) {
		struct sending s = {.metrics = first ? NULL : m, .who = p->who};
		s.tag_cnt = metric_tags(p->who, s.tags, MAX_TAGS - 2);
		s.tags[s.tag_cnt++] = (struct tag){SV("lang"), p->who->language};
		s.tags[s.tag_cnt++] = (struct tag){SV("runtime-id"), p->who->runtime_id};
		const struct runtime_report r = {
			.proc = &proc,
			.version = p->who->language_version,
			.now = &now,
			.before = first ? &now : &p->before,
			.elapsed_s = first ? 1 : (double)(now.time_ns - p->before.time_ns) / NSEC_PER_SEC,
			.kept = p->kept,
			.emit = send_metric,
			.arg = &s,
		};
		runtime_report(p->who->language, &r);
		p->before = now;
	}
	proc_close(&proc);
}

static void open_client(struct runtime_metrics *m)
{
	const struct dogstatsd_options o = {.telemetry = true};
	struct sbuf err = {0};
	if (dogstatsd_open(&m->client, &o, &err) < 0) {
		log_error("no runtime metrics: %s", sbuf_str(&err));
		m->broken = true;
	}
	sbuf_release(&err);
}

void runtime_metrics_tick(struct runtime_metrics *m, struct session *s, uint64_t now_ns, bool end)
{
	unsigned epoch = atomic_load(&s->process_epoch);
	bool due = end || now_ns >= m->due_ns;
	if (m->broken || (!due && epoch == m->epoch))
		return;
	m->epoch = epoch;
	for (uint32_t i = 0; i < m->cnt; i++)
		m->processes[i].seen = false;
	pthread_mutex_lock(&s->lock);
	processes_each(s->processes, note_process, m);
	pthread_mutex_unlock(&s->lock);
	forget_others(m);
	if (m->cnt && !m->client)
		open_client(m);
	if (m->client)
		dogstatsd_agent_port(m->client, session_statsd_port(s));
	if (due)
		m->due_ns = now_ns + RUNTIME_METRICS_INTERVAL_S * NSEC_PER_SEC;
	for (uint32_t i = 0; i < m->cnt && m->client; i++)
		if (due || !m->processes[i].before.time_ns)
			report(m, &m->processes[i], now_ns);
	if (due && m->client)
		dogstatsd_flush(m->client, now_ns);
}

void runtime_metrics_close(struct runtime_metrics *m)
{
	dogstatsd_close(m->client);
	for (uint32_t i = 0; i < m->cnt; i++)
		process_info_unref(m->processes[i].who);
	free(m->processes);
	*m = (struct runtime_metrics){0};
}
