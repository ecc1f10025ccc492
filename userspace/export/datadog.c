/* SPDX-License-Identifier: Apache-2.0 */
/* datadog[:URL]: chunks to a Datadog Agent, v0.4 msgpack over HTTP, one request per group of processes (payload.h).
 *
 * While nobody answers, payloads wait, without a limit to attempts but with one to memory: beyond it the oldest are
 * dropped. A payload that the Agent was reached with is tried DATADOG_ATTEMPTS times. What the Agent refuses is
 * dropped with its words. Each of these changes is said once, and its end as well. */
#include "export/datadog.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "export/http.h"
#include "export/payload.h"
#include "version.h"

#define USER_AGENT	 "spanhound/" SPANHOUND_VERSION
#define BACKOFF_FIRST_NS (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX_NS	 (5 * NSEC_PER_SEC)
#define REFUSED_EVERY_NS (60 * NSEC_PER_SEC) /* how often the words of a refusal are repeated */
#define MAX_HEADERS	 16

enum health {
	HEALTH_UNKNOWN, /* nothing was sent yet */
	HEALTH_GOOD,
	HEALTH_ABSENT, /* nobody answers, or answers do not come */
	HEALTH_BUSY,   /* answers 429 or 5xx */
};

struct flight {
	struct http_request request;
	struct payload *payload; /* NULL: free */
	char lines[MAX_HEADERS][160];
	const char *headers[MAX_HEADERS + 1];
};

struct exporter {
	struct agent_url url;
	struct http *http;
	struct tags tags;
	struct payload *groups[DATADOG_MAX_GROUPS]; /* in the making */
	unsigned group_cnt;
	struct payload *first, *last; /* waiting or under way, oldest first */
	struct flight flights[HTTP_MAX_ACTIVE];
	uint64_t bytes; /* of all payloads */
	size_t buffer_sz, payload_max, payload_sz;
	uint64_t interval_ns, timeout_ns;

	enum health health;
	unsigned failures;     /* in a row */
	uint64_t quiet_until;  /* backoff: nothing is sent before */
	char reason[160];      /* of the last failure */
	uint64_t dropped_then; /* stats.dropped when health was lost */
	uint64_t refused_said_ns;
	bool overflow_said;
	bool leaving; /* in flush: an absent Agent is not waited for */
	uint32_t random;
	struct exporter_stats stats;
	void (*notice)(void *arg, const char *line);
	void *notice_arg;
};

static void datadog_say(struct exporter *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void datadog_say(struct exporter *e, const char *fmt, ...)
{
	if (!e->notice)
		return;
	struct sbuf line = {0};
	va_list ap;
	va_start(ap, fmt);
	sbuf_vaddf(&line, fmt, ap);
	va_end(ap);
	e->notice(e->notice_arg, sbuf_str(&line));
	sbuf_release(&line);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* A number from the environment within [min, max], else the default. */
static double env_number(const char *name, double fallback, double min, double max)
{
	const char *text = getenv(name);
	char *end = NULL;
	double v = text && *text ? strtod(text, &end) : fallback;
	if (end && *end)
		return fallback;
	return v >= min && v <= max ? v : fallback;
}

static int datadog_open(struct exporter **ret, const char *argument, struct sbuf *err)
{
	struct agent_url url;
	int r = agent_url_find(&url, argument, err);
	if (r < 0)
		return r;
	struct exporter *e = calloc(1, sizeof(*e));
	if (!e) {
		agent_url_release(&url);
		return -ENOMEM;
	}
	e->url = url;
	e->http = http_new(&e->url, USER_AGENT);
	if (!e->http) {
		agent_url_release(&e->url);
		free(e);
		return -ENOMEM;
	}
	e->buffer_sz = (size_t)env_number("DD_TRACE_WRITER_BUFFER_SIZE_BYTES", DATADOG_BUFFER_SZ, 1024, 1e9);
	e->payload_max =
		(size_t)env_number("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES", DATADOG_PAYLOAD_MAX, 1024, 25 << 20);
	e->payload_sz = e->payload_max < DATADOG_PAYLOAD_SZ ? e->payload_max : DATADOG_PAYLOAD_SZ;
	e->interval_ns =
		(uint64_t)(env_number("DD_TRACE_WRITER_INTERVAL_SECONDS", DATADOG_INTERVAL_S, 0.001, 60) * 1e9);
	e->timeout_ns = (uint64_t)(env_number("DD_TRACE_AGENT_TIMEOUT_SECONDS", DATADOG_TIMEOUT_S, 0.01, 60) * 1e9);
	/* Only spreads retries of several collectors: a weak seed is good enough when there is no better one. */
	if (getrandom(&e->random, sizeof(e->random), GRND_NONBLOCK) < 0)
		e->random = (uint32_t)clock_mono_ns();
	e->random |= 1;
	*ret = e;
	return 0;
}

static void datadog_set_notice(struct exporter *e, void (*notice)(void *arg, const char *line), void *arg)
{
	e->notice = notice;
	e->notice_arg = arg;
}

/* --- the list of payloads ----------------------------------------------------------------------------------------- */

static void list_append(struct exporter *e, struct payload *p)
{
	p->next = NULL;
	if (e->first)
		e->last->next = p;
	else
		e->first = p;
	e->last = p;
}

static void list_remove(struct exporter *e, struct payload *p)
{
	struct payload *before = NULL;
	for (struct payload *at = e->first; at != p; at = at->next)
		before = at;
	if (before)
		before->next = p->next;
	else
		e->first = p->next;
	if (e->last == p)
		e->last = before;
}

/* Takes it off the list and forgets it; its spans go to *counter. */
static void payload_finish(struct exporter *e, struct payload *p, uint64_t *counter)
{
	*counter += p->spans;
	e->stats.held -= p->spans;
	e->bytes -= payload_sz(p);
	list_remove(e, p);
	payload_free(p);
}

/* Ready to be sent from now on. */
static void group_seal(struct exporter *e, unsigned i)
{
	struct payload *p = e->groups[i];
	e->groups[i] = e->groups[--e->group_cnt];
	if (p->chunks.cnt == 0) {
		payload_free(p);
		return;
	}
	payload_trim(p);
	list_append(e, p);
}

static unsigned group_oldest(const struct exporter *e)
{
	unsigned oldest = 0;
	for (unsigned i = 1; i < e->group_cnt; i++)
		if (e->groups[i]->born_ns < e->groups[oldest]->born_ns)
			oldest = i;
	return oldest;
}

/* The oldest payload that is not under way goes, until the buffer is within its bound. */
static void datadog_shrink(struct exporter *e)
{
	while (e->bytes > e->buffer_sz) {
		struct payload *p = e->first;
		while (p && p->sent)
			p = p->next;
		if (!p) {
			if (e->group_cnt == 0)
				return;
			group_seal(e, group_oldest(e));
			continue;
		}
		if (!e->overflow_said) {
			e->overflow_said = true;
			datadog_say(e,
				    "%zu MiB of spans wait for the Datadog Agent at %s: from now on the oldest are "
				    "dropped and counted as export_failed",
				    (e->buffer_sz + (1 << 20) - 1) >> 20, e->url.shown);
		}
		payload_finish(e, p, &e->stats.dropped);
	}
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static struct payload *group_of(struct exporter *e, struct process_info *who, unsigned *ret_index)
{
	for (unsigned i = 0; i < e->group_cnt; i++) {
		if (!payload_is_about(e->groups[i], who))
			continue;
		*ret_index = i;
		return e->groups[i];
	}
	if (e->group_cnt == DATADOG_MAX_GROUPS)
		group_seal(e, group_oldest(e));
	struct payload *p = payload_new(who);
	if (p) {
		*ret_index = e->group_cnt;
		e->groups[e->group_cnt++] = p;
	}
	return p;
}

static void datadog_add(struct exporter *e, const struct chunk *c, uint64_t now_ns)
{
	unsigned group;
	struct payload *p = group_of(e, c->process, &group);
	if (!p || payload_add(p, &e->tags, c, now_ns) < 0) {
		e->stats.dropped += c->span_cnt;
		return;
	}
	size_t sz = payload_last_sz(p);
	if (sz > e->payload_max) {
		datadog_say(e, "a trace of %u spans (%zu MiB) is larger than a request may be: dropped", c->span_cnt,
			    sz >> 20);
		payload_pop(p);
		e->stats.dropped += c->span_cnt;
		return;
	}
	e->bytes += sz;
	e->stats.held += c->span_cnt;
	if (p->body.len > e->payload_max) {
		/* It fits, but not together with the others. */
		struct payload *tail = payload_split(p, p->chunks.cnt - 1);
		if (tail) {
			list_append(e, p);
			e->groups[group] = p = tail;
		}
	}
	if (p->body.len >= e->payload_sz)
		group_seal(e, group);
}

static int datadog_write(struct exporter *e, const struct chunk *chunks)
{
	uint64_t now_ns = clock_mono_ns();
	for (const struct chunk *c = chunks; c; c = c->next)
		datadog_add(e, c, now_ns);
	datadog_shrink(e);
	return 0;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

/* Between half and the whole of 100 ms, 200 ms, ... 5 s: collectors that lost one Agent do not return as one. */
static uint64_t backoff_ns(struct exporter *e, unsigned failures)
{
	uint64_t most = failures > 6 ? BACKOFF_MAX_NS : BACKOFF_FIRST_NS << (failures - 1);
	if (most > BACKOFF_MAX_NS)
		most = BACKOFF_MAX_NS;
	e->random ^= e->random << 13;
	e->random ^= e->random >> 17;
	e->random ^= e->random << 5;
	return most / 2 + (uint64_t)((double)(most / 2) * (e->random / 4294967296.0));
}

static void header(struct flight *f, unsigned *cnt, const char *name, struct sv value)
{
	/* What does not fit or could end the line is left out: none of it is needed to take the spans. */
	if (value.len == 0 || value.len > 100 || *cnt == MAX_HEADERS)
		return;
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f)
			return;
	snprintf(f->lines[*cnt], sizeof(f->lines[0]), "%s: " SV_FMT, name, SV_ARG(value));
	f->headers[*cnt] = f->lines[*cnt];
	f->headers[++*cnt] = NULL;
}

static void flight_headers(struct flight *f, const struct payload *p)
{
	unsigned cnt = 0;
	char text[128];
	const struct process_info *who = p->who;
	header(f, &cnt, "Content-Type", SV("application/msgpack"));
	snprintf(text, sizeof(text), "%zu", p->chunks.cnt);
	header(f, &cnt, "X-Datadog-Trace-Count", sv_of(text));
	header(f, &cnt, "Datadog-Meta-Lang", who->language);
	header(f, &cnt, "Datadog-Meta-Tracer-Version", SV(SPANHOUND_VERSION));
	header(f, &cnt, "Datadog-Send-Real-Http-Status", SV("1"));
	header(f, &cnt, "Datadog-Client-Computed-Top-Level", SV("yes"));
	if (who->container_id.len && who->container_id.len < 100) {
		snprintf(text, sizeof(text), "ci-" SV_FMT, SV_ARG(who->container_id));
		header(f, &cnt, "Datadog-Container-ID", who->container_id);
		header(f, &cnt, "Datadog-Entity-ID", sv_of(text));
	}
}

static bool datadog_launch(struct exporter *e, struct payload *p)
{
	struct flight *f = e->flights;
	while (f < e->flights + HTTP_MAX_ACTIVE && f->payload)
		f++;
	if (f == e->flights + HTTP_MAX_ACTIVE)
		return false;
	struct sv body = payload_body(p);
	flight_headers(f, p);
	f->request = (struct http_request){.path = "/v0.4/traces",
					   .headers = f->headers,
					   .body = body.data,
					   .body_len = body.len,
					   .timeout_ns = e->timeout_ns,
					   .arg = f};
	if (http_start(e->http, &f->request) < 0)
		return false;
	e->stats.requests++;
	f->payload = p;
	p->sent = true;
	return true;
}

/* While it is not known whether the Agent is well, one payload finds out for all. */
static void datadog_send(struct exporter *e, uint64_t now_ns)
{
	if (now_ns < e->quiet_until && !(e->leaving && e->failures == 0))
		return;
	unsigned most = e->health == HEALTH_GOOD ? HTTP_MAX_ACTIVE : 1;
	for (struct payload *p = e->first; p && http_active(e->http) < most; p = p->next) {
		if (p->sent || p->due_ns > now_ns || datadog_launch(e, p))
			continue;
		p->due_ns = now_ns + BACKOFF_FIRST_NS; /* out of memory */
		return;
	}
}

/* --- what comes back ---------------------------------------------------------------------------------------------- */

static void health_lost(struct exporter *e, enum health health, const char *reason, uint64_t now_ns)
{
	bool news = e->health != health;
	if (e->health == HEALTH_GOOD || e->health == HEALTH_UNKNOWN)
		e->dropped_then = e->stats.dropped;
	e->health = health;
	e->stats.errors++;
	e->quiet_until = now_ns + backoff_ns(e, ++e->failures);
	snprintf(e->reason, sizeof(e->reason), "%s", reason);
	if (!news || e->leaving)
		return;
	if (health == HEALTH_BUSY)
		datadog_say(
			e, "the Datadog Agent at %s cannot keep up (%s): spans wait, up to %zu MiB, and are sent again",
			e->url.shown, reason, (e->buffer_sz + (1 << 20) - 1) >> 20);
	else
		datadog_say(e,
			    "no Datadog Agent answers at %s (%s): spans are kept, up to %zu MiB, then the oldest are "
			    "dropped and counted; start the Agent, set DD_TRACE_AGENT_URL, or choose --export console",
			    e->url.shown, reason, (e->buffer_sz + (1 << 20) - 1) >> 20);
}

static void health_found(struct exporter *e)
{
	if (e->health == HEALTH_ABSENT || e->health == HEALTH_BUSY)
		datadog_say(e, "the Datadog Agent at %s takes spans again; %llu were dropped meanwhile", e->url.shown,
			    (unsigned long long)(e->stats.dropped - e->dropped_then));
	e->health = HEALTH_GOOD;
	e->failures = 0;
	e->quiet_until = 0;
	e->overflow_said = false;
}

/* To be tried again, unless it was tried often enough. */
static void payload_retry(struct exporter *e, struct payload *p, uint64_t now_ns)
{
	if (++p->attempts < DATADOG_ATTEMPTS) {
		p->due_ns = now_ns + backoff_ns(e, p->attempts);
		return;
	}
	datadog_say(e, "%llu spans were offered to the Datadog Agent at %s %u times (%s): dropped",
		    (unsigned long long)p->spans, e->url.shown, p->attempts, e->reason);
	payload_finish(e, p, &e->stats.dropped);
}

/* The Agent's own words, on one line. */
static void reply_words(const struct http_request *r, char *out, size_t cap)
{
	size_t n = 0;
	for (size_t i = 0; i < r->reply_len && n + 1 < cap; i++) {
		unsigned char c = (unsigned char)r->reply[i];
		out[n++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static void payload_refused(struct exporter *e, struct payload *p, const struct http_request *r, uint64_t now_ns)
{
	char words[200];
	reply_words(r, words, sizeof(words));
	e->stats.errors++;
	snprintf(e->reason, sizeof(e->reason), "HTTP %ld", r->status);
	if (!e->refused_said_ns || now_ns - e->refused_said_ns > REFUSED_EVERY_NS) {
		e->refused_said_ns = now_ns;
		datadog_say(
			e,
			"the Datadog Agent at %s refused %llu spans: HTTP %ld%s%s: dropped; further ones are counted",
			e->url.shown, (unsigned long long)p->spans, r->status, words[0] ? " " : "", words);
	}
	payload_finish(e, p, &e->stats.dropped);
}

/* Too large for this Agent: in halves. */
static void payload_too_large(struct exporter *e, struct payload *p, const struct http_request *r, uint64_t now_ns)
{
	struct payload *tail = p->chunks.cnt > 1 ? payload_split(p, p->chunks.cnt / 2) : NULL;
	if (!tail) {
		payload_refused(e, p, r, now_ns);
		return;
	}
	list_append(e, tail);
}

static void datadog_landed(struct exporter *e, struct http_request *r, uint64_t now_ns)
{
	struct flight *f = r->arg;
	struct payload *p = f->payload;
	f->payload = NULL;
	p->sent = false;
	char reason[64];
	if (r->outcome != HTTP_REPLIED) {
		health_lost(e, HEALTH_ABSENT, r->reason, now_ns);
		if (r->outcome == HTTP_BROKEN)
			payload_retry(e, p, now_ns);
	} else if (r->status >= 200 && r->status < 300) {
		health_found(e);
		e->stats.bytes += r->body_len;
		payload_finish(e, p, &e->stats.exported);
	} else if (r->status == 429 || r->status == 408 || r->status >= 500) {
		snprintf(reason, sizeof(reason), "HTTP %ld", r->status);
		health_lost(e, HEALTH_BUSY, reason, now_ns);
		payload_retry(e, p, now_ns);
	} else if (r->status == 413) {
		payload_too_large(e, p, r, now_ns);
	} else {
		payload_refused(e, p, r, now_ns);
	}
}

/* While earlier ones wait for an Agent that is not well, small payloads grow instead of becoming many. */
static bool may_seal(const struct exporter *e)
{
	return e->health == HEALTH_GOOD || !e->first;
}

static int datadog_tick(struct exporter *e, uint64_t now_ns)
{
	for (unsigned i = e->group_cnt; i-- > 0 && may_seal(e);)
		if (e->groups[i]->chunks.cnt && now_ns >= e->groups[i]->born_ns + e->interval_ns)
			group_seal(e, i);
	http_run(e->http, now_ns);
	struct http_request *r;
	while ((r = http_done(e->http)))
		datadog_landed(e, r, now_ns);
	datadog_send(e, now_ns);
	return 0;
}

static unsigned datadog_pollfds(const struct exporter *e, struct pollfd *fds, unsigned cap, uint64_t *ret_due_ns)
{
	/* One that could go but did not waits for another to land. */
	for (const struct payload *p = e->first; p && http_active(e->http) == 0; p = p->next) {
		uint64_t due = p->due_ns > e->quiet_until ? p->due_ns : e->quiet_until;
		if (due > 0 && due < *ret_due_ns)
			*ret_due_ns = due;
	}
	for (unsigned i = 0; i < e->group_cnt && may_seal(e); i++)
		if (e->groups[i]->chunks.cnt && e->groups[i]->born_ns + e->interval_ns < *ret_due_ns)
			*ret_due_ns = e->groups[i]->born_ns + e->interval_ns;
	return http_pollfds(e->http, fds, cap, ret_due_ns);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void datadog_flush(struct exporter *e, uint64_t deadline_ns)
{
	e->leaving = true;
	e->failures = 0; /* one more try, now */
	while (e->group_cnt)
		group_seal(e, 0);
	for (struct payload *p = e->first; p; p = p->next)
		p->due_ns = 0;
	for (;;) {
		uint64_t now_ns = clock_mono_ns();
		datadog_tick(e, now_ns);
		bool hopeless = e->health == HEALTH_ABSENT && e->failures > 0;
		if (!e->first || now_ns >= deadline_ns || hopeless)
			break;
		struct pollfd fds[16];
		uint64_t due = deadline_ns;
		unsigned cnt = datadog_pollfds(e, fds, 16, &due);
		uint64_t left = due > now_ns ? (due - now_ns) / NSEC_PER_MSEC + 1 : 1;
		poll(fds, cnt, left < 50 ? (int)left : 50);
	}
	if (!e->first)
		return;
	uint64_t before = e->stats.dropped;
	http_free(e->http);
	e->http = http_new(&e->url, USER_AGENT);
	for (unsigned i = 0; i < HTTP_MAX_ACTIVE; i++)
		e->flights[i].payload = NULL;
	while (e->first)
		payload_finish(e, e->first, &e->stats.dropped);
	datadog_say(e, "%llu spans could not be delivered to the Datadog Agent at %s (%s) before the end: dropped",
		    (unsigned long long)(e->stats.dropped - before), e->url.shown,
		    e->health == HEALTH_GOOD || e->health == HEALTH_UNKNOWN ? "no time left" : e->reason);
}

static void datadog_stats(const struct exporter *e, struct exporter_stats *ret)
{
	*ret = e->stats;
}

static void datadog_describe(const struct exporter *e, struct sbuf *out)
{
	static const char *const words[] = {"not tried yet", "connected", "absent", "overloaded"};
	sbuf_addf(out, "Datadog Agent at %s: %s", e->url.shown, words[e->health]);
	if (e->health == HEALTH_ABSENT || e->health == HEALTH_BUSY)
		sbuf_addf(out, " (%s)", e->reason);
}

static void datadog_close(struct exporter *e)
{
	http_free(e->http);
	for (unsigned i = 0; i < e->group_cnt; i++)
		payload_free(e->groups[i]);
	while (e->first) {
		struct payload *p = e->first;
		e->first = p->next;
		payload_free(p);
	}
	tags_release(&e->tags);
	agent_url_release(&e->url);
	free(e);
}

int datadog_probe(const char *url, unsigned timeout_ms, struct sbuf *ret_info, struct sbuf *err)
{
	struct agent_url where;
	int r = agent_url_find(&where, url, err);
	if (r < 0)
		return r;
	struct sbuf body = {0}, why = {0};
	r = http_get(&where, "/info", (uint64_t)timeout_ms * NSEC_PER_MSEC, &body, &why);
	/* Anything may listen on 8126; what answers /info with an object that names endpoints is an Agent. */
	bool agent = r == 200 && body.len && body.data[0] == '{' && strstr(body.data, "\"endpoints\"");
	if (agent) {
		if (ret_info)
			sbuf_addsv(ret_info, sbuf_sv(&body));
		r = 0;
	} else if (r < 0) {
		sbuf_addf(err, "no Datadog Agent answers at %s: %s", where.shown, sbuf_str(&why));
	} else {
		sbuf_addf(err, "what answers at %s is not a Datadog Agent (HTTP %d on /info)", where.shown, r);
		r = -EPROTO;
	}
	sbuf_release(&body);
	sbuf_release(&why);
	agent_url_release(&where);
	return r;
}

const struct exporter_ops datadog_exporter = {
	.name = "datadog",
	.help = "datadog[:URL], a Datadog Agent (default: where DD_TRACE_AGENT_URL or DD_AGENT_HOST say)",
	.open = datadog_open,
	.set_notice = datadog_set_notice,
	.write = datadog_write,
	.tick = datadog_tick,
	.pollfds = datadog_pollfds,
	.flush = datadog_flush,
	.stats = datadog_stats,
	.describe = datadog_describe,
	.close = datadog_close,
};
