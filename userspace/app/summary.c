/* SPDX-License-Identifier: Apache-2.0 */
#include "app/summary.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "app/probe_metrics.h"
#include "app/summary_requests.h"
#include "base/clock.h"
#include "base/log.h"

#define SHOWN_FUNCTIONS 30 /* in the text form; the rest is counted */

const char *duration_text(uint64_t ns, char buf[DURATION_LEN])
{
	if (ns < NSEC_PER_USEC)
		snprintf(buf, DURATION_LEN, "%" PRIu64 " ns", ns);
	else if (ns < NSEC_PER_MSEC)
		snprintf(buf, DURATION_LEN, "%.1f us", (double)ns / NSEC_PER_USEC);
	else if (ns < NSEC_PER_SEC)
		snprintf(buf, DURATION_LEN, "%.1f ms", (double)ns / NSEC_PER_MSEC);
	else
		snprintf(buf, DURATION_LEN, "%.2f s", (double)ns / NSEC_PER_SEC);
	return buf;
}

struct row {
	const struct plan_function *function;
	struct function_stats stats;
	uint64_t calls;
};

static int row_compare(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	if (x->calls != y->calls)
		return x->calls < y->calls ? 1 : -1;
	return x->function->index < y->function->index ? -1 : 1;
}

/* The functions that were called, most calls first. The caller frees *ret. */
static size_t summary_rows(const struct session_view *v, struct row **ret)
{
	struct plan_stats plan;
	plan_stats(v->plan, &plan);
	struct row *rows = calloc(plan.known ? plan.known : 1, sizeof(*rows));
	size_t cnt = 0;
	for (uint32_t i = 0; rows && i < plan.known; i++) {
		struct row r = {.function = plan_function(v->plan, i)};
		if (!r.function)
			continue;
		calls_function_stats(v->calls, i, &r.stats);
		r.calls = r.stats.spans + kernel_function(v->kernel, i)->dropped;
		if (r.calls)
			rows[cnt++] = r;
	}
	if (cnt)
		qsort(rows, cnt, sizeof(*rows), row_compare);
	*ret = rows;
	return cnt;
}

static void print_rows(const struct session_view *v, FILE *out)
{
	struct row *rows;
	size_t cnt = summary_rows(v, &rows);
	char p50[DURATION_LEN], p95[DURATION_LEN], max[DURATION_LEN];
	if (cnt)
		fprintf(out, "%12s %12s %8s %10s %10s %10s  function\n", "calls", "spans", "errors", "p50", "p95",
			"max");
	for (size_t i = 0; i < cnt && i < SHOWN_FUNCTIONS; i++) {
		const struct row *r = &rows[i];
		fprintf(out, "%12" PRIu64 " %12" PRIu64 " %8" PRIu64 " %10s %10s %10s  " SV_FMT "%s\n", r->calls,
			r->stats.spans, r->stats.errors, duration_text(r->stats.p50_ns, p50),
			duration_text(r->stats.p95_ns, p95), duration_text(r->stats.max_ns, max),
			SV_ARG(r->function->display), r->function->end == SITE_END_NONE ? " (entry only)" : "");
	}
	if (cnt > SHOWN_FUNCTIONS)
		fprintf(out, "%12s and %zu more functions\n", "", cnt - SHOWN_FUNCTIONS);
	if (v->past.calls)
		fprintf(out, "%12" PRIu64 " %12" PRIu64 " %8" PRIu64 " %34sof programs that nobody runs any more\n",
			v->past.calls, v->past.spans, v->past.errors, "");
	free(rows);
}

static void print_account(const struct session_account *a, FILE *out)
{
	uint64_t dropped = 0;
	for (unsigned i = 0; i < SH_MAX_DROPS; i++)
		dropped += a->dropped[i];
	fprintf(out, "seen %" PRIu64 " = exported %" PRIu64 " + dropped %" PRIu64, a->seen, a->exported, dropped);
	const char *sep = " {";
	for (unsigned i = 0; i < SH_MAX_DROPS; i++) {
		if (!a->dropped[i] || !session_drop_name(i))
			continue;
		fprintf(out, "%s%s %" PRIu64, sep, session_drop_name(i), a->dropped[i]);
		sep = ", ";
	}
	fputs(sep[0] == ',' ? "}" : "", out);
	if (a->pending)
		fprintf(out, " + under way %" PRIu64, a->pending);
	else if (a->unaccounted)
		fprintf(out, " + UNACCOUNTED %" PRId64, a->unaccounted);
	fputc('\n', out);
	for (unsigned i = 0; i < SH_MAX_DROPS; i++)
		if (a->dropped[i] && session_drop_name(i))
			fprintf(out, "  %s: %s\n", session_drop_name(i), session_drop_help(i));
}

static void print_notes(const struct session_view *v, FILE *out)
{
	const struct sh_shared *shared = kernel_shared(v->kernel);
	char text[DURATION_LEN];
	if (shared->read_faults)
		fprintf(out, "%llu captured values could not be read: their memory was not resident or not mapped\n",
			(unsigned long long)shared->read_faults);
	if (v->gaps)
		fprintf(out, "%" PRIu64 " forked processes ran unprobed in shared libraries for %s in all\n", v->gaps,
			duration_text(v->gap_ns, text));
	uint64_t missed = kernel_missed(v->kernel);
	if (missed)
		fprintf(out, "%" PRIu64 " probe hits were skipped by the kernel (a probe inside a probe)\n", missed);
	if (shared->unseen_uring)
		fprintf(out, "%llu calls of io_uring_enter(): what they read and wrote is not seen\n",
			(unsigned long long)shared->unseen_uring);
	if (shared->conns_full)
		fprintf(out, "%llu sockets were not followed: there are too many (%d)\n",
			(unsigned long long)shared->conns_full, SH_MAX_CONNS);
	if (shared->handoffs_full)
		fprintf(out, "%llu times work was given and never linked: too much of it waits (%d)\n",
			(unsigned long long)shared->handoffs_full, SH_MAX_HANDOFFS);
	if (shared->data_lost)
		fprintf(out, "%llu pieces of messages were lost to a full ring: what was in them may be missing\n",
			(unsigned long long)shared->data_lost);
	if (v->unlinked)
		fprintf(out,
			"%" PRIu64
			" links and events were not added to spans: no id could be read, or there were too many\n",
			v->unlinked);
	if (shared->process_events_lost)
		fprintf(out, "%llu process events were lost to a full ring\n",
			(unsigned long long)shared->process_events_lost);
}

static void print_metrics(const struct session_view *v, FILE *out)
{
	struct aggregate_stats a;
	struct dogstatsd_stats d;
	if (!v->metrics->client)
		return;
	aggregate_stats(v->metrics->aggregate, &a);
	dogstatsd_stats(v->metrics->client, &d);
	fprintf(out, "metrics: %" PRIu64 " values, %" PRIu64 " packets to %s", a.added, d.packets_sent,
		dogstatsd_shown(v->metrics->client));
	if (d.packets_dropped)
		fprintf(out, ", %" PRIu64 " that it did not take", d.packets_dropped);
	if (a.thinned)
		fprintf(out, "; %" PRIu64 " values stand for others, too (%d of a series are sent)", a.thinned,
			AGGREGATE_MAX_VALUES);
	if (a.refused)
		fprintf(out, "; %" PRIu64 " values of series beyond %d were left out: their tags are too many",
			a.refused, AGGREGATE_MAX_SERIES);
	fputc('\n', out);
}

static void json_metrics(const struct session_view *v, struct sbuf *out)
{
	struct aggregate_stats a = {0};
	struct dogstatsd_stats d = {0};
	if (v->metrics->client) {
		aggregate_stats(v->metrics->aggregate, &a);
		dogstatsd_stats(v->metrics->client, &d);
	}
	sbuf_addf(out,
		  "\"metrics\":{\"values\":%" PRIu64 ",\"series\":%u,\"refused\":%" PRIu64 ",\"thinned\":%" PRIu64
		  ",\"packets_sent\":%" PRIu64 ",\"packets_dropped\":%" PRIu64 "},",
		  a.added, a.series, a.refused, a.thinned, d.packets_sent, d.packets_dropped);
}

void summary_print(struct session *s, FILE *out)
{
	struct session_view v;
	struct session_account a;
	struct plan_stats plan;
	char text[DURATION_LEN];

	session_view(s, &v);
	session_account(s, &a);
	plan_stats(v.plan, &plan);
	fprintf(out, "spanhound: %u process%s, %u function%s in %s by %s links", v.processes,
		v.processes == 1 ? "" : "es", plan.functions, plan.functions == 1 ? "" : "s",
		duration_text(v.elapsed_ns, text), link_kind_names[v.link]);
	uint32_t pages = plan_pages(v.plan);
	fprintf(out,
		"; ends seen by return %u, by end sites %u, not at all %u; %u page%s of code private (%u KiB a "
		"process)\n",
		plan.by_return, plan.by_sites, plan.entry_only, pages, pages == 1 ? "" : "s",
		pages * (PLAN_PAGE_SZ / 1024));
	print_rows(&v, out);
	summary_requests_print(v.flow, out);
	print_metrics(&v, out);
	injection_print(v.injection, v.kernel, out);
	tcp_option_print(v.tcp_option, v.kernel, out);
	print_account(&a, out);
	print_notes(&v, out);
	fflush(out);
}

static void json_rows(const struct session_view *v, struct sbuf *out)
{
	struct row *rows;
	size_t cnt = summary_rows(v, &rows);
	sbuf_adds(out, "\"probes\":[");
	for (size_t i = 0; i < cnt; i++) {
		const struct row *r = &rows[i];
		sbuf_adds(out, i ? ",{\"function\":" : "{\"function\":");
		sbuf_add_json(out, r->function->display);
		sbuf_adds(out, ",\"symbol\":");
		sbuf_add_json(out, r->function->raw);
		sbuf_addf(out,
			  ",\"end\":\"%s\",\"cost\":\"%s\",\"calls\":%" PRIu64 ",\"spans\":%" PRIu64
			  ",\"errors\":%" PRIu64 ",\"p50_ns\":%" PRIu64 ",\"p95_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64
			  "}",
			  site_end_name(r->function->end), cost_name(r->function->cost), r->calls, r->stats.spans,
			  r->stats.errors, r->stats.p50_ns, r->stats.p95_ns, r->stats.max_ns);
	}
	sbuf_adds(out, "]");
	free(rows);
}

void summary_json_account(const struct session_account *a, struct sbuf *out)
{
	const char *sep = "";
	sbuf_addf(out, "\"seen\":%" PRIu64 ",\"exported\":%" PRIu64 ",\"dropped\":{", a->seen, a->exported);
	for (unsigned i = 0; i < SH_MAX_DROPS; i++) {
		if (!a->dropped[i] || !session_drop_name(i))
			continue;
		sbuf_addf(out, "%s\"%s\":%" PRIu64, sep, session_drop_name(i), a->dropped[i]);
		sep = ",";
	}
	sbuf_addf(out, "},\"unaccounted\":%" PRId64 ",\"under_way\":%" PRIu64, a->unaccounted, a->pending);
}

int summary_write(const struct sbuf *text, const char *path)
{
	bool to_stdout = strcmp(path, "-") == 0;
	FILE *f = to_stdout ? stdout : fopen(path, "we");
	bool ok = f && fwrite(sbuf_str(text), 1, text->len, f) == text->len;
	if (f && (to_stdout ? fflush(f) : fclose(f)) != 0)
		ok = false;
	if (!ok)
		log_error("cannot write the summary %s: %s", path, strerror(errno));
	return ok ? 0 : -EIO;
}

void summary_json(struct session *s, struct sbuf *out)
{
	struct session_view v;
	struct session_account a;
	struct plan_stats plan;
	struct ring_stats rings;

	session_view(s, &v);
	session_account(s, &a);
	plan_stats(v.plan, &plan);
	ring_set_stats(v.rings, &rings);
	const struct sh_shared *shared = kernel_shared(v.kernel);
	sbuf_addc(out, '{');
	summary_json_account(&a, out);
	sbuf_addf(out, ",\"processes\":%u,\"functions\":%u,\"skipped\":%u,\"sites\":%u,\"link\":\"%s\"", v.processes,
		  plan.functions, plan.skipped, plan.sites, link_kind_names[v.link]);
	sbuf_addf(out, ",\"pages\":%u", plan_pages(v.plan));
	sbuf_addf(out, ",\"max_functions\":%u,\"limited\":%u", v.max_functions, plan.limited);
	sbuf_addf(out, ",\"ends\":{\"return\":%u,\"sites\":%u,\"none\":%u},\"fast_entries\":%u", plan.by_return,
		  plan.by_sites, plan.entry_only, plan.fast_entries);
	sbuf_addf(out, ",\"resolve_ns\":%" PRIu64 ",\"attach_ns\":%" PRIu64 ",\"detach_ns\":%" PRIu64, plan.resolve_ns,
		  plan.attach_ns, plan.detach_ns);
	sbuf_addf(out,
		  ",\"elapsed_ns\":%" PRIu64 ",\"records\":%" PRIu64 ",\"ring_bytes\":%" PRIu64 ",\"wakeups\":%" PRIu64,
		  v.elapsed_ns, rings.records, rings.bytes, rings.wakeups);
	sbuf_addf(out, ",\"read_faults\":%llu,\"strange_ends\":%llu,\"inherited_ends\":%llu,\"kernel_missed\":%" PRIu64,
		  (unsigned long long)shared->read_faults, (unsigned long long)shared->strange_ends,
		  (unsigned long long)shared->inherited_ends, kernel_missed(v.kernel));
	sbuf_addf(out, ",\"process_events_lost\":%llu,\"gaps\":%" PRIu64 ",\"gap_ns\":%" PRIu64 ",",
		  (unsigned long long)shared->process_events_lost, v.gaps, v.gap_ns);
	sbuf_addf(out, "\"unseen_uring\":%llu,\"conns_full\":%llu,\"handoffs_full\":%llu,\"data_lost\":%llu,",
		  (unsigned long long)shared->unseen_uring, (unsigned long long)shared->conns_full,
		  (unsigned long long)shared->handoffs_full, (unsigned long long)shared->data_lost);
	json_metrics(&v, out);
	sbuf_addf(out,
		  "\"past\":{\"functions\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"spans\":%" PRIu64 ",\"errors\":%" PRIu64
		  "},",
		  v.past.functions, v.past.calls, v.past.spans, v.past.errors);
	json_rows(&v, out);
	sbuf_addc(out, ',');
	summary_requests_json(v.flow, out);
	sbuf_addc(out, ',');
	injection_json(v.injection, v.kernel, out);
	sbuf_addc(out, ',');
	tcp_option_json(v.tcp_option, v.kernel, out);
	sbuf_adds(out, "}\n");
}
