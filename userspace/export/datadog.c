/* SPDX-License-Identifier: Apache-2.0 */
/* datadog[:URL]: chunks to a Datadog Agent, v0.4 or v0.5 msgpack over HTTP, one request per group of processes
 * (payload.h).
 *
 * While nobody answers, payloads wait, without a limit to attempts but with one to memory (trace_buffer.h). A payload
 * that the Agent was reached with is tried DATADOG_ATTEMPTS times. What the Agent refuses is dropped with its words.
 * Each of these changes is said once, and its end as well. */
#include "export/datadog.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/variables.h"
#include "export/datadog_private.h"

static const struct datadog_listener *listener_now;

void datadog_listen(const struct datadog_listener *listener)
{
	listener_now = listener;
}

void datadog_say(struct exporter *e, const char *fmt, ...)
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
	const char *text = variable_get(name);
	char *end = NULL;
	double v = text ? strtod(text, &end) : fallback;
	if (end && *end)
		return fallback;
	return v >= min && v <= max ? v : fallback;
}

/* DD_TRACE_API_VERSION: the formats we speak, and none that we do not. */
static int env_format(struct exporter *e, struct sbuf *err)
{
	const char *text = variable_get("DD_TRACE_API_VERSION");
	e->want_v05 = text && strcmp(text, "v0.5") == 0;
	if (!text || e->want_v05 || strcmp(text, "v0.4") == 0)
		return 0;
	sbuf_addf(err, "DD_TRACE_API_VERSION: '%s' is not a version of the trace API spoken here: write v0.4 or v0.5",
		  text);
	return -EINVAL;
}

static void datadog_settings(struct exporter *e)
{
	struct trace_buffer *b = &e->buffer;
	b->max_sz = (size_t)env_number("DD_TRACE_WRITER_BUFFER_SIZE_BYTES", DATADOG_BUFFER_SZ, 1024, 1e9);
	e->payload_limit =
		(size_t)env_number("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES", DATADOG_PAYLOAD_MAX, 1024, 25 << 20);
	b->payload_max = e->payload_limit;
	b->payload_sz = b->payload_max < DATADOG_PAYLOAD_SZ ? b->payload_max : DATADOG_PAYLOAD_SZ;
	b->format = e->want_v05 ? PAYLOAD_V05 : PAYLOAD_V04;
	e->interval_ns =
		(uint64_t)(env_number("DD_TRACE_WRITER_INTERVAL_SECONDS", DATADOG_INTERVAL_S, 0.001, 60) * 1e9);
	e->timeout_ns = (uint64_t)(env_number("DD_TRACE_AGENT_TIMEOUT_SECONDS", DATADOG_TIMEOUT_S, 0.01, 60) * 1e9);
	/* Only spreads retries of several collectors: a weak seed is good enough when there is no better one. */
	if (getrandom(&e->random, sizeof(e->random), GRND_NONBLOCK) < 0)
		e->random = (uint32_t)clock_mono_ns();
	e->random |= 1;
}

static void datadog_close(struct exporter *e)
{
	http_free(e->http);
	sbuf_release(&e->traces.reply);
	sbuf_release(&e->info_request.reply);
	sbuf_release(&e->stats_request.reply);
	sbuf_release(&e->stats_body.body);
	process_info_unref(e->stats_body.who);
	trace_buffer_release(&e->buffer);
	agent_info_unref(e->info);
	agent_url_release(&e->url);
	free(e);
}

static int datadog_open(struct exporter **ret, const char *argument, struct sbuf *err)
{
	struct exporter *e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	int r = env_format(e, err);
	if (r == 0)
		r = agent_url_find(&e->url, argument, err);
	if (r == 0) {
		e->http = http_new(&e->url, DATADOG_USER_AGENT);
		r = e->http ? 0 : -ENOMEM;
	}
	if (r < 0) {
		datadog_close(e);
		return r;
	}
	datadog_settings(e);
	e->listener = listener_now;
	e->info_due = true;
	*ret = e;
	return 0;
}

static void datadog_set_notice(struct exporter *e, void (*notice)(void *arg, const char *line), void *arg)
{
	e->notice = notice;
	e->notice_arg = arg;
}

/* --- spans come --------------------------------------------------------------------------------------------------- */

static void datadog_add(struct exporter *e, const struct chunk *c, uint64_t now_ns)
{
	int r = trace_buffer_add(&e->buffer, c, now_ns);
	if (r == -E2BIG)
		datadog_say(e, "a trace of %u spans is larger than a request may be (%zu KiB): dropped", c->span_cnt,
			    e->buffer.payload_max >> 10);
	if (r < 0)
		e->stats.dropped += c->span_cnt;
}

static void datadog_shrink(struct exporter *e)
{
	uint64_t spans = trace_buffer_shrink(&e->buffer);
	if (spans == 0)
		return;
	e->stats.backpressure += spans;
	if (e->overflow_said)
		return;
	e->overflow_said = true;
	datadog_say(e,
		    "%zu MiB of spans wait for the Datadog Agent at %s: from now on traces are dropped, of the lowest "
		    "priority first, then the oldest, and counted as agent_backpressure",
		    (e->buffer.max_sz + (1 << 20) - 1) >> 20, e->url.shown);
}

static int datadog_write(struct exporter *e, const struct chunk *chunks)
{
	uint64_t now_ns = clock_mono_ns();
	for (const struct chunk *c = chunks; c; c = c->next) {
		datadog_add(e, c, now_ns);
		/* A batch may be larger than what may wait. */
		datadog_shrink(e);
	}
	return 0;
}

void datadog_finish(struct exporter *e, struct payload *p, uint64_t *counter)
{
	*counter += p->spans;
	trace_buffer_remove(&e->buffer, p);
}

/* --- time goes by ------------------------------------------------------------------------------------------------- */

/* While earlier ones wait for an Agent that is not well, small payloads grow instead of becoming many. */
static bool may_seal(const struct exporter *e)
{
	return e->health == HEALTH_GOOD || !e->buffer.first;
}

static int datadog_tick(struct exporter *e, uint64_t now_ns)
{
	if (now_ns > e->interval_ns && may_seal(e))
		trace_buffer_seal(&e->buffer, now_ns - e->interval_ns);
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
	for (const struct payload *p = e->buffer.first; p && !e->flying; p = p->next) {
		uint64_t due = p->due_ns > e->quiet_until ? p->due_ns : e->quiet_until;
		if (due > 0 && due < *ret_due_ns)
			*ret_due_ns = due;
	}
	uint64_t born = may_seal(e) ? trace_buffer_oldest(&e->buffer) : UINT64_MAX;
	if (born != UINT64_MAX && born + e->interval_ns < *ret_due_ns)
		*ret_due_ns = born + e->interval_ns;
	return http_pollfds(e->http, fds, cap, ret_due_ns);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* Everything that is held, until it is gone, time is out, or nobody is there to take it. */
static void flush_wait(struct exporter *e, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t now_ns = clock_mono_ns();
		datadog_tick(e, now_ns);
		bool hopeless = e->health == HEALTH_ABSENT && e->failures > 0;
		bool busy = e->buffer.first || (e->stats_flying && !hopeless);
		if (!busy || now_ns >= deadline_ns || hopeless)
			break;
		struct pollfd fds[16];
		uint64_t due = deadline_ns;
		unsigned cnt = datadog_pollfds(e, fds, 16, &due);
		uint64_t left = due > now_ns ? (due - now_ns) / NSEC_PER_MSEC + 1 : 1;
		poll(fds, cnt, left < 50 ? (int)left : 50);
	}
}

static void datadog_hasten(struct exporter *e)
{
	trace_buffer_seal(&e->buffer, UINT64_MAX);
	for (struct payload *p = e->buffer.first; p; p = p->next)
		p->due_ns = 0;
}

static void datadog_flush(struct exporter *e, uint64_t deadline_ns)
{
	e->leaving = true;
	e->failures = 0; /* one more try, now */
	datadog_hasten(e);
	flush_wait(e, deadline_ns);
	if (!e->buffer.first)
		return;
	uint64_t before = e->stats.dropped;
	http_free(e->http);
	e->http = http_new(&e->url, DATADOG_USER_AGENT);
	e->flying = NULL;
	e->info_flying = e->stats_flying = false;
	while (e->buffer.first)
		datadog_finish(e, e->buffer.first, &e->stats.dropped);
	datadog_say(e, "%llu spans could not be delivered to the Datadog Agent at %s (%s) before the end: dropped",
		    (unsigned long long)(e->stats.dropped - before), e->url.shown,
		    e->health == HEALTH_GOOD || e->health == HEALTH_UNKNOWN ? "no time left" : e->reason);
}

static void datadog_stats(const struct exporter *e, struct exporter_stats *ret)
{
	*ret = e->stats;
	ret->held = e->buffer.spans;
}

static void datadog_describe(const struct exporter *e, struct sbuf *out)
{
	static const char *const words[] = {"not tried yet", "connected", "absent", "overloaded"};
	sbuf_addf(out, "Datadog Agent at %s: %s", e->url.shown, words[e->health]);
	if (e->health == HEALTH_ABSENT || e->health == HEALTH_BUSY)
		sbuf_addf(out, " (%s)", e->reason);
}

const struct exporter_ops datadog_exporter = {
	.name = "datadog",
	.help = "datadog[:URL], a Datadog Agent (default: where DD_TRACE_AGENT_URL or DD_AGENT_HOST say)",
	.open = datadog_open,
	.set_notice = datadog_set_notice,
	.write = datadog_write,
	.tick = datadog_tick,
	.pollfds = datadog_pollfds,
	.hasten = datadog_hasten,
	.flush = datadog_flush,
	.stats = datadog_stats,
	.describe = datadog_describe,
	.close = datadog_close,
};
