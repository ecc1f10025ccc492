/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "export/datadog_private.h"

#define BACKOFF_FIRST_NS (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX_NS	 (5 * NSEC_PER_SEC)
#define REFUSED_EVERY_NS (60 * NSEC_PER_SEC) /* how often the words of a refusal are repeated */

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

static bool launch_traces(struct exporter *e, struct payload *p)
{
	struct http_request *r = &e->traces;
	if (p->format == PAYLOAD_V05 && !datadog_may_v05(e) && !trace_buffer_downgrade(&e->buffer, p))
		return false;
	bool rates = e->listener && e->listener->rates;
	/* Any version makes the Agent tell its own; an equal one, that there is no news. */
	headers_of_traces(&e->traces_headers, p, !rates ? "" : e->rates_version[0] ? e->rates_version : "0");
	r->path = p->format == PAYLOAD_V05 ? "/v0.5/traces" : "/v0.4/traces";
	r->headers = e->traces_headers.lines_at;
	r->timeout_ns = e->timeout_ns;
	_Static_assert(PAYLOAD_MAX_PARTS <= HTTP_MAX_PARTS, "a payload fits into a request");
	r->part_cnt = payload_body(p, r->parts);
	if (http_start(e->http, r) < 0)
		return false;
	e->stats.requests++;
	e->flying = p;
	p->sent = true;
	return true;
}

static void send_traces(struct exporter *e, uint64_t now_ns)
{
	if (e->flying || (now_ns < e->quiet_until && !(e->leaving && e->failures == 0)))
		return;
	for (struct payload *p = e->buffer.first; p; p = p->next) {
		if (p->due_ns > now_ns)
			continue;
		if (!launch_traces(e, p))
			p->due_ns = now_ns + BACKOFF_FIRST_NS; /* out of memory */
		return;
	}
}

static void send_stats(struct exporter *e, uint64_t now_ns)
{
	const struct datadog_listener *l = e->listener;
	struct http_request *r = &e->stats_request;
	if (e->stats_flying || !l || !l->next_stats || !e->info || !agent_info_takes_stats(e->info))
		return;
	if (!l->next_stats(l->arg, now_ns, e->leaving, &e->stats_body))
		return;
	headers_of_stats(&e->stats_headers, &e->stats_body);
	r->path = "/v0.6/stats";
	r->headers = e->stats_headers.lines_at;
	r->timeout_ns = e->timeout_ns;
	r->parts[0] = sbuf_sv(&e->stats_body.body);
	r->part_cnt = 1;
	e->stats_flying = http_start(e->http, r) == 0;
	if (!e->stats_flying) {
		sbuf_release(&e->stats_body.body);
		process_info_unref(e->stats_body.who);
	}
}

void datadog_send(struct exporter *e, uint64_t now_ns)
{
	datadog_ask_info(e);
	send_traces(e, now_ns);
	send_stats(e, now_ns);
}

/* --- what comes back ---------------------------------------------------------------------------------------------- */

static void health_lost(struct exporter *e, enum health health, const char *reason, uint64_t now_ns)
{
	bool news = e->health != health;
	size_t mib = (e->buffer.max_sz + (1 << 20) - 1) >> 20;
	if (e->health == HEALTH_GOOD || e->health == HEALTH_UNKNOWN)
		e->dropped_then = datadog_lost(e);
	e->health = health;
	e->stats.errors++;
	e->quiet_until = now_ns + backoff_ns(e, ++e->failures);
	snprintf(e->reason, sizeof(e->reason), "%s", reason);
	if (!news || e->leaving)
		return;
	if (health == HEALTH_BUSY)
		datadog_say(
			e, "the Datadog Agent at %s cannot keep up (%s): spans wait, up to %zu MiB, and are sent again",
			e->url.shown, reason, mib);
	else
		datadog_say(
			e,
			"no Datadog Agent answers at %s (%s): spans are kept, up to %zu MiB, then traces are dropped "
			"and counted; start the Agent, set DD_TRACE_AGENT_URL, or choose --export console",
			e->url.shown, reason, mib);
}

static void health_found(struct exporter *e)
{
	if (e->health == HEALTH_ABSENT || e->health == HEALTH_BUSY)
		datadog_say(e, "the Datadog Agent at %s takes spans again; %llu were dropped meanwhile", e->url.shown,
			    (unsigned long long)(datadog_lost(e) - e->dropped_then));
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
	datadog_finish(e, p, &e->stats.dropped);
}

void datadog_words(const struct http_request *r, char *out, size_t cap)
{
	size_t n = 0;
	for (size_t i = 0; i < r->reply.len && n + 1 < cap; i++) {
		unsigned char c = (unsigned char)r->reply.data[i];
		out[n++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static void payload_refused(struct exporter *e, struct payload *p, const struct http_request *r, uint64_t now_ns)
{
	char words[200];
	datadog_words(r, words, sizeof(words));
	e->stats.errors++;
	snprintf(e->reason, sizeof(e->reason), "HTTP %ld", r->status);
	if (!e->refused_said_ns || now_ns - e->refused_said_ns > REFUSED_EVERY_NS) {
		e->refused_said_ns = now_ns;
		datadog_say(
			e,
			"the Datadog Agent at %s refused %llu spans: HTTP %ld%s%s: dropped; further ones are counted",
			e->url.shown, (unsigned long long)p->spans, r->status, words[0] ? " " : "", words);
	}
	datadog_finish(e, p, &e->stats.dropped);
}

static void rates_landed(struct exporter *e, const struct http_request *r)
{
	const struct datadog_listener *l = e->listener;
	if (!l || !l->rates || r->reply.len == 0)
		return;
	bool same = r->rates_version[0] && strcmp(r->rates_version, e->rates_version) == 0;
	memcpy(e->rates_version, r->rates_version, sizeof(e->rates_version));
	if (!same)
		l->rates(l->arg, sbuf_str(&r->reply), r->reply.len);
}

static void v05_refused(struct exporter *e, long status)
{
	e->refused_v05 = true;
	e->buffer.format = PAYLOAD_V04;
	datadog_say(e, "the Datadog Agent at %s does not take v0.5 (HTTP %ld): spans are sent as v0.4", e->url.shown,
		    status);
}

static void traces_landed(struct exporter *e, uint64_t now_ns)
{
	const struct http_request *r = &e->traces;
	struct payload *p = e->flying;
	char reason[64];
	e->flying = NULL;
	p->sent = false;
	if (r->outcome == HTTP_REPLIED)
		datadog_state_seen(e, r->agent_state);
	if (r->outcome != HTTP_REPLIED) {
		health_lost(e, HEALTH_ABSENT, r->reason, now_ns);
		if (r->outcome == HTTP_BROKEN)
			payload_retry(e, p, now_ns);
	} else if (r->status >= 200 && r->status < 300) {
		health_found(e);
		e->stats.bytes += http_body_sz(r);
		rates_landed(e, r);
		datadog_finish(e, p, &e->stats.exported);
	} else if (r->status == 429 || r->status == 408 || r->status >= 500) {
		snprintf(reason, sizeof(reason), "HTTP %ld", r->status);
		health_lost(e, HEALTH_BUSY, reason, now_ns);
		payload_retry(e, p, now_ns);
	} else if ((r->status == 404 || r->status == 415) && p->format == PAYLOAD_V05) {
		v05_refused(e, r->status);
	} else if (r->status != 413 || !trace_buffer_halve(&e->buffer, p)) {
		payload_refused(e, p, r, now_ns);
	}
}

static void stats_landed(struct exporter *e, uint64_t now_ns)
{
	const struct http_request *r = &e->stats_request;
	char words[200];
	e->stats_flying = false;
	sbuf_release(&e->stats_body.body);
	process_info_unref(e->stats_body.who);
	e->stats_body = (struct datadog_stats){0};
	if (r->outcome == HTTP_REPLIED && r->status >= 200 && r->status < 300)
		return;
	e->stats.errors++;
	if (e->stats_said_ns && now_ns - e->stats_said_ns < REFUSED_EVERY_NS)
		return;
	e->stats_said_ns = now_ns;
	datadog_words(r, words, sizeof(words));
	if (r->outcome == HTTP_REPLIED)
		datadog_say(e, "the Datadog Agent at %s refused statistics: HTTP %ld%s%s", e->url.shown, r->status,
			    words[0] ? " " : "", words);
	else
		datadog_say(e, "statistics for the Datadog Agent at %s are lost (%s)", e->url.shown, r->reason);
}

void datadog_landed(struct exporter *e, struct http_request *r, uint64_t now_ns)
{
	if (r == &e->info_request)
		datadog_info_landed(e);
	else if (r == &e->stats_request)
		stats_landed(e, now_ns);
	else
		traces_landed(e, now_ns);
}
