/* SPDX-License-Identifier: Apache-2.0 */
/* The datadog exporter behind its queue, against real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "export/agent_url.h"
#include "export/datadog.h"
#include "http_server.inc.h"
#include "trace/assembly.h"

struct fixture {
	struct http_server server;
	struct chunk_pool *pool;
	struct process_info *process;
	struct export_queue *q;
	struct exporter_stats beside; /* of a second exporter, which must never suffer */
	uint64_t next_id;
	const char *timeout; /* seconds; NULL: 5, so that a busy machine sees no timeouts where none is meant */
};

/* --- what it says ------------------------------------------------------------------------------------------------- */

static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char said[8192];

static void note(void *arg, const char *line)
{
	(void)arg;
	pthread_mutex_lock(&said_lock);
	if (strlen(said) + strlen(line) + 2 < sizeof(said))
		strcat(strcat(said, line), "\n");
	pthread_mutex_unlock(&said_lock);
}

/* How often `text` was said. */
static int times_said(const char *text)
{
	int n = 0;
	pthread_mutex_lock(&said_lock);
	for (const char *at = said; (at = strstr(at, text)); at++)
		n++;
	pthread_mutex_unlock(&said_lock);
	return n;
}

/* --- a second exporter beside it ---------------------------------------------------------------------------------- */

static int beside_write(struct exporter *e, const struct chunk *chunks)
{
	struct exporter_stats *st = (struct exporter_stats *)e;
	for (const struct chunk *c = chunks; c; c = c->next)
		__atomic_fetch_add(&st->exported, c->span_cnt, __ATOMIC_RELAXED);
	return 0;
}
static void beside_stats(const struct exporter *e, struct exporter_stats *ret)
{
	*ret = *(const struct exporter_stats *)e;
}
static void beside_close(struct exporter *e)
{
	(void)e;
}
static const struct exporter_ops beside_ops = {
	.name = "beside", .write = beside_write, .stats = beside_stats, .close = beside_close};

/* --- the fixture -------------------------------------------------------------------------------------------------- */

static void fixture_start(struct fixture *f, const char *url)
{
	char text[128];
	struct exporter *e = NULL;
	struct sbuf err = {0};
	said[0] = '\0';
	setenv("DD_TRACE_WRITER_INTERVAL_SECONDS", "0.02", 1);
	setenv("DD_TRACE_AGENT_TIMEOUT_SECONDS", f->timeout ? f->timeout : "5", 1);
	snprintf(text, sizeof(text), "http://127.0.0.1:%d", f->server.port);
	const struct exporter_ops *datadog = exporter_find(SV("datadog"));
	if (datadog->open(&e, url ? url : text, &err) < 0)
		fail_msg("%s", sbuf_str(&err));
	f->pool = chunk_pool_new(1000);
	f->process = process_info_new();
	f->process->service = SV("shop");
	f->process->language = SV("cpp");
	f->process->container_id = SV("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	struct export_sink sinks[] = {{datadog, e}, {&beside_ops, (struct exporter *)&f->beside}};
	struct export_queue_options o = {.max_spans = 1000000, .pool = f->pool, .notice = note};
	assert_int_equal(export_queue_start(&f->q, sinks, 2, &o, &err), 0);
	sbuf_release(&err);
}

static void push_decided(struct fixture *f, struct process_info *process, uint32_t spans, int priority)
{
	struct chunk *c = chunk_pool_get(f->pool);
	c->process = process_info_ref(process);
	c->trace_lo = ++f->next_id;
	c->decided = DECIDED_HERE;
	c->priority = (int8_t)priority;
	for (uint32_t i = 0; i < spans; i++) {
		struct span *s = chunk_add(c);
		s->span_id = ++f->next_id;
		s->name = priority > PRIORITY_AUTO_KEEP ? SV("keep") : SV("work");
	}
	assert_true(export_queue_push(f->q, c));
}

static void push_for(struct fixture *f, struct process_info *process, uint32_t spans)
{
	push_decided(f, process, spans, PRIORITY_AUTO_KEEP);
}

static void push(struct fixture *f, int chunks, uint32_t spans)
{
	while (chunks-- > 0)
		push_for(f, f->process, spans);
}

static struct export_queue_stats stats(struct fixture *f)
{
	struct export_queue_stats st;
	export_queue_stats(f->q, &st);
	assert_int_equal(st.pushed, st.exported + st.export_failed + st.backpressure + st.held);
	return st;
}

static void wait_settled(struct fixture *f)
{
	for (int i = 0; i < 8000 && stats(f).held; i++)
		usleep(1000);
	assert_int_equal(stats(f).held, 0);
}

static void fixture_end(struct fixture *f)
{
	export_queue_stop(f->q, 500 * NSEC_PER_MSEC);
	assert_int_equal(stats(f).held, 0);
	assert_int_equal(f->beside.exported, stats(f).pushed);
	export_queue_free(f->q);
	assert_int_equal(f->process->refs, 1);
	process_info_unref(f->process);
	chunk_pool_free(f->pool);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void delivers(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 100, 3);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 300);
	assert_int_equal(f.server.chunks, 100);
	static const char *const lines[] = {
		"POST /v0.4/traces HTTP/1.1\r\n",
		"\r\nContent-Type: application/msgpack\r\n",
		"\r\nX-Datadog-Trace-Count: ",
		"\r\nDatadog-Meta-Lang: cpp\r\n",
		"\r\nDatadog-Meta-Tracer-Version: 0.1.0\r\n",
		"\r\nDatadog-Send-Real-Http-Status: 1\r\n",
		"\r\nDatadog-Client-Computed-Top-Level: yes\r\n",
		"\r\nDatadog-Container-ID: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n",
		"\r\nDatadog-Entity-ID: ci-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n",
		"\r\nContent-Length: ",
		"\r\nUser-Agent: spanhound/0.1.0\r\n",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!strstr(f.server.head, lines[i]))
			fail_msg("no %s in %s", lines[i], f.server.head);
	assert_null(strstr(f.server.head, "Expect:"));
	struct exporter_stats st;
	struct sbuf text = {0};
	export_queue_sink(f.q, 0, &st, &text);
	assert_int_equal(st.bytes, f.server.bytes);
	assert_int_equal(st.requests, f.server.requests);
	assert_non_null(strstr(sbuf_str(&text), ": connected"));
	sbuf_release(&text);
	fixture_end(&f);
	http_server_stop(&f.server);
	assert_string_equal(said, "");
}

static void over_a_unix_socket(void **state)
{
	(void)state;
	struct fixture f = {.server.socket_path = "/tmp/test_http.socket"};
	http_server_start(&f.server, 0);
	fixture_start(&f, "unix:///tmp/test_http.socket");
	push(&f, 10, 3);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 30);
	fixture_end(&f);
	http_server_stop(&f.server);
	unlink("/tmp/test_http.socket");
}

/* One payload has one environment, language, container: a request each. */
static void one_request_per_group(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	struct process_info *other = process_info_new();
	other->service = SV("other");
	other->language = SV("python");
	for (int i = 0; i < 20; i++)
		push_for(&f, i % 2 ? other : f.process, 1);
	wait_settled(&f);
	assert_int_equal(f.server.chunks, 20);
	assert_true(f.server.requests >= 2);
	fixture_end(&f);
	process_info_unref(other);
	http_server_stop(&f.server);
}

/* A megabyte at a time. */
static void large_payloads(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 400, 300);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 120000);
	assert_int_equal(f.server.chunks, 400);
	assert_true(f.server.bytes > 5 << 20);
	fixture_end(&f);
	http_server_stop(&f.server);
}

static void slow_agent(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_SLOWLY, .delay_ms = 100}};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 50, 2);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 100);
	fixture_end(&f);
	http_server_stop(&f.server);
	assert_string_equal(said, "");
}

/* Nothing else waits for an Agent that hangs, and when it lives again the spans are there. */
static void hanging_agent(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_NOTHING}, .timeout = "0.3"};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 5, 2);
	for (int i = 0; i < 30; i++) {
		uint64_t want = stats(&f).pushed + 2, before = clock_mono_ns();
		push(&f, 1, 2);
		while (__atomic_load_n(&f.beside.exported, __ATOMIC_RELAXED) < want)
			usleep(500);
		assert_true(clock_mono_ns() - before < 200 * NSEC_PER_MSEC);
		usleep(15000);
	}
	usleep(200000);
	assert_int_equal(times_said("no Datadog Agent answers at http://127.0.0.1:"), 1);
	assert_int_equal(times_said("(no answer within 0.3 s): spans are kept, up to 20 MiB, then traces are dropped"),
			 1);
	ATOMIC_SET(f.server.manner, SERVE_OK);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 70);
	assert_int_equal(times_said("takes spans again; 0 were dropped meanwhile"), 1);
	fixture_end(&f);
	http_server_stop(&f.server);
}

/* An Agent that never answers costs the end of the program no more than the time it was given. */
static void end_beside_a_hanging_agent(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_NOTHING}};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 5, 2);
	usleep(100000);
	uint64_t before = clock_mono_ns();
	fixture_end(&f);
	assert_true(clock_mono_ns() - before < 900 * NSEC_PER_MSEC);
	assert_int_equal(times_said("10 spans could not be delivered"), 1);
	http_server_stop(&f.server);
}

static void dying_in_the_middle(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_HALF}};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 3, 2);
	usleep(150000);
	assert_int_equal(stats(&f).exported, 0);
	ATOMIC_SET(f.server.manner, SERVE_OK);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 6);
	assert_int_equal(times_said("no Datadog Agent answers"), 1);
	assert_int_equal(times_said("takes spans again"), 1);
	fixture_end(&f);
	http_server_stop(&f.server);
}

/* Tried a bounded number of times, then counted. */
static void never_recovers(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_DEAF}};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 3, 2);
	wait_settled(&f);
	assert_int_equal(stats(&f).export_failed, 6);
	assert_int_equal(times_said("6 spans were offered to the Datadog Agent at "), 1);
	assert_int_equal(times_said(" 5 times ("), 1);
	fixture_end(&f);
	http_server_stop(&f.server);
}

static void absent_then_there(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	http_server_stop(&f.server);
	fixture_start(&f, NULL);
	for (int i = 0; i < 40; i++) {
		push(&f, 2, 5);
		usleep(20000);
	}
	assert_int_equal(stats(&f).held, 400);
	assert_int_equal(times_said("(Connection refused): spans are kept, up to 20 MiB, then traces are dropped and "
				    "counted; start the Agent, set DD_TRACE_AGENT_URL, or choose --export console"),
			 1);
	struct sbuf text = {0};
	export_queue_sink(f.q, 0, NULL, &text);
	assert_non_null(strstr(sbuf_str(&text), ": absent (Connection refused)"));
	sbuf_release(&text);
	http_server_start(&f.server, f.server.port);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 400);
	assert_int_equal(f.server.chunks, 80);
	assert_true(f.server.requests < 10); /* they were gathered meanwhile */
	assert_int_equal(times_said("takes spans again; 0 were dropped meanwhile"), 1);
	/* Gone once more: said once more. */
	http_server_stop(&f.server);
	push(&f, 1, 1);
	for (int i = 0; i < 2000 && times_said("no Datadog Agent answers") < 2; i++)
		usleep(1000);
	assert_int_equal(times_said("no Datadog Agent answers"), 2);
	uint64_t before = clock_mono_ns();
	fixture_end(&f);
	assert_true(clock_mono_ns() - before < 400 * NSEC_PER_MSEC); /* nobody is waited for */
	assert_int_equal(times_said("1 spans could not be delivered"), 1);
}

/* Memory is bounded while nobody answers: the oldest go, and are counted. */
static void absent_for_long(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	http_server_stop(&f.server);
	setenv("DD_TRACE_WRITER_BUFFER_SIZE_BYTES", "1000000", 1);
	setenv("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES", "100000", 1);
	fixture_start(&f, NULL);
	push(&f, 300, 100);
	for (int i = 0; i < 8000 && stats(&f).held > 15000; i++)
		usleep(1000);
	struct export_queue_stats st = stats(&f);
	assert_true(st.backpressure > 10000);
	assert_int_equal(st.export_failed, 0);
	assert_in_range(st.held, 5000, 15000);
	assert_int_equal(times_said("1 MiB of spans wait for the Datadog Agent at"), 1);
	http_server_start(&f.server, f.server.port);
	wait_settled(&f);
	st = stats(&f);
	assert_int_equal(st.exported + st.backpressure, 30000);
	assert_int_equal(f.server.chunks * 100, st.exported);
	fixture_end(&f);
	http_server_stop(&f.server);
	unsetenv("DD_TRACE_WRITER_BUFFER_SIZE_BYTES");
	unsetenv("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES");
}

static void larger_than_a_request(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	setenv("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES", "20000", 1);
	fixture_start(&f, NULL);
	push(&f, 1, 1000);
	for (int i = 0; i < 20; i++)
		push(&f, 1, 60); /* two do not fit into one */
	wait_settled(&f);
	assert_int_equal(stats(&f).export_failed, 1000);
	assert_int_equal(stats(&f).exported, 1200);
	assert_int_equal(times_said("a trace of 1000 spans is larger than a request may be (19 KiB): dropped"), 1);
	fixture_end(&f);
	http_server_stop(&f.server);
	unsetenv("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES");
}

static void refused(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_STATUS, .status = 400, .words = "msgp: too few\nbytes left\n"}};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 3, 2);
	wait_settled(&f);
	push(&f, 3, 2);
	wait_settled(&f);
	assert_int_equal(stats(&f).export_failed, 12);
	assert_int_equal(times_said(": HTTP 400 msgp: too few bytes left: dropped; further ones are counted"), 1);
	assert_int_equal(times_said("refused"), 1);
	ATOMIC_SET(f.server.manner, SERVE_OK);
	push(&f, 3, 2);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 6);
	fixture_end(&f);
	http_server_stop(&f.server);
}

static void too_large_is_split(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_OK_BELOW, .limit = 3}};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 50, 2);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 100);
	assert_int_equal(f.server.chunks, 50);
	/* What cannot be split is dropped with a word. */
	ATOMIC_SET(f.server.limit, 0);
	push(&f, 4, 2);
	wait_settled(&f);
	assert_int_equal(stats(&f).export_failed, 8);
	assert_int_equal(times_said("HTTP 413 payload-too-large: dropped"), 1);
	fixture_end(&f);
	http_server_stop(&f.server);
}

static void overloaded(void **state, int status)
{
	(void)state;
	char text[32];
	struct fixture f = {.server = {.manner = SERVE_STATUS, .status = status, .words = "{}"}};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	push(&f, 5, 2);
	usleep(120000);
	assert_int_equal(stats(&f).held, 10);
	snprintf(text, sizeof(text), "cannot keep up (HTTP %d)", status);
	assert_int_equal(times_said(text), 1);
	ATOMIC_SET(f.server.manner, SERVE_OK);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 10);
	assert_int_equal(times_said("takes spans again"), 1);
	fixture_end(&f);
	http_server_stop(&f.server);
}

static void status_429(void **state)
{
	overloaded(state, 429);
}

static void status_500(void **state)
{
	overloaded(state, 500);
}

/* What waits too long goes by priority: all that is not kept before anything that is. */
static void lowest_priority_first(void **state)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_OK}};
	http_server_start(&f.server, 0);
	http_server_stop(&f.server);
	setenv("DD_TRACE_WRITER_BUFFER_SIZE_BYTES", "1000000", 1);
	setenv("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES", "100000", 1);
	fixture_start(&f, NULL);
	for (int i = 0; i < 100; i++)
		push_decided(&f, f.process, 100, i % 4 == 0 ? PRIORITY_USER_KEEP : PRIORITY_AUTO_DROP);
	for (int i = 0; i < 8000 && stats(&f).held > 8000; i++)
		usleep(1000);
	http_server_start(&f.server, f.server.port);
	wait_settled(&f);
	struct export_queue_stats st = stats(&f);
	assert_true(st.backpressure >= 2000);
	assert_int_equal(st.exported + st.backpressure, 10000);
	/* The 25 traces that are to be kept are there. */
	assert_int_equal(ATOMIC(f.server.kept), 2500);
	fixture_end(&f);
	http_server_stop(&f.server);
	unsetenv("DD_TRACE_WRITER_BUFFER_SIZE_BYTES");
	unsetenv("DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES");
}

/* --- what the Agent says ------------------------------------------------------------------------------------------ */

struct heard {
	int infos, rates;
	char rates_text[256];
	bool v05, drops;
	int stats_left;
	struct process_info *who;
};

static void on_info(void *arg, struct agent_info *info)
{
	struct heard *h = arg;
	h->v05 = info && agent_info_serves(info, SV("/v0.5/traces"));
	h->drops = info && info->client_drop_p0s;
	ATOMIC_ADD(h->infos, 1);
}

static void on_rates(void *arg, const char *json, size_t len)
{
	struct heard *h = arg;
	snprintf(h->rates_text, sizeof(h->rates_text), "%.*s", (int)len, json);
	ATOMIC_ADD(h->rates, 1);
}

static bool on_stats(void *arg, uint64_t now_ns, bool leaving, struct datadog_stats *ret)
{
	struct heard *h = arg;
	(void)now_ns;
	(void)leaving;
	if (ATOMIC(h->stats_left) == 0)
		return false;
	ATOMIC_ADD(h->stats_left, -1);
	*ret = (struct datadog_stats){.who = process_info_ref(h->who), .obfuscated = true};
	sbuf_adds(&ret->body, "\x80");
	return true;
}

static void wait_for(int *what, int at_least)
{
	for (int i = 0; i < 4000 && __atomic_load_n(what, __ATOMIC_ACQUIRE) < at_least; i++)
		usleep(1000);
	assert_true(__atomic_load_n(what, __ATOMIC_ACQUIRE) >= at_least);
}

static void info_and_rates(void **state)
{
	(void)state;
	struct heard h = {0};
	const struct datadog_listener l = {.arg = &h, .info = on_info, .rates = on_rates};
	struct fixture f = {.server = {.info = "{\"endpoints\":[\"/v0.4/traces\"],\"client_drop_p0s\":true}",
				       .extra = "Datadog-Agent-State: one\r\nDatadog-Rates-Payload-Version: r1\r\n"}};
	http_server_start(&f.server, 0);
	datadog_listen(&l);
	fixture_start(&f, NULL);
	wait_for(&h.infos, 1);
	assert_true(h.drops && !h.v05);
	push(&f, 1, 1);
	wait_settled(&f);
	assert_non_null(strstr(f.server.head, "\r\nDatadog-Rates-Payload-Version: 0\r\n"));
	assert_int_equal(h.rates, 1);
	assert_string_equal(h.rates_text, "{\"rate_by_service\":{\"service:,env:\":1}}");
	/* No news: not told again, and neither is the Agent asked again. */
	push(&f, 1, 1);
	wait_settled(&f);
	assert_non_null(strstr(f.server.head, "\r\nDatadog-Rates-Payload-Version: r1\r\n"));
	assert_int_equal(h.rates, 1);
	assert_int_equal(ATOMIC(f.server.infos), 1);
	ATOMIC_SET(f.server.info, "{\"endpoints\":[\"/v0.4/traces\",\"/v0.5/traces\"]}");
	ATOMIC_SET(f.server.extra, "Datadog-Agent-State: two\r\nDatadog-Rates-Payload-Version: r2\r\n");
	push(&f, 1, 1);
	wait_settled(&f);
	wait_for(&h.infos, 2);
	assert_true(h.v05 && !h.drops);
	assert_int_equal(h.rates, 2);
	fixture_end(&f);
	datadog_listen(NULL);
	http_server_stop(&f.server);
}

static void info_is_nonsense(void **state)
{
	(void)state;
	struct heard h = {0};
	const struct datadog_listener l = {.arg = &h, .info = on_info};
	struct fixture f = {.server = {.info = "{\"endpoints\":[", .extra = "Datadog-Agent-State: one\r\n"}};
	http_server_start(&f.server, 0);
	datadog_listen(&l);
	fixture_start(&f, NULL);
	wait_for(&h.infos, 1);
	for (int i = 0; i < 3; i++) {
		push(&f, 1, 1);
		wait_settled(&f);
	}
	assert_int_equal(ATOMIC(f.server.infos), 1);
	assert_int_equal(times_said("does not say what it can do (GET /info: /info is no JSON"), 1);
	assert_int_equal(stats(&f).exported, 3);
	fixture_end(&f);
	datadog_listen(NULL);
	http_server_stop(&f.server);
}

static void statistics(void **state)
{
	(void)state;
	struct heard h = {.stats_left = 3};
	const struct datadog_listener l = {.arg = &h, .next_stats = on_stats};
	struct fixture f = {.server = {.info = "{\"endpoints\":[\"/v0.6/stats\"],\"client_drop_p0s\":true}"}};
	http_server_start(&f.server, 0);
	h.who = process_info_new();
	h.who->language = SV("go");
	datadog_listen(&l);
	fixture_start(&f, NULL);
	for (int i = 0; i < 4000 && ATOMIC(f.server.requests) < 3; i++)
		usleep(1000);
	assert_int_equal(ATOMIC(f.server.requests), 3);
	assert_non_null(strstr(f.server.head, "POST /v0.6/stats HTTP/1.1"));
	assert_non_null(strstr(f.server.head, "\r\nDatadog-Obfuscation-Version: 1\r\n"));
	assert_non_null(strstr(f.server.head, "\r\nDatadog-Meta-Lang: go\r\n"));
	assert_null(strstr(f.server.head, "X-Datadog-Trace-Count"));
	fixture_end(&f);
	assert_int_equal(h.who->refs, 1);
	process_info_unref(h.who);
	datadog_listen(NULL);
	http_server_stop(&f.server);
}

/* --- v0.5 --------------------------------------------------------------------------------------------------------- */

static void v05_delivers(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	setenv("DD_TRACE_API_VERSION", "v0.5", 1);
	fixture_start(&f, NULL);
	push(&f, 100, 3);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 300);
	assert_int_equal(f.server.chunks, 100);
	assert_non_null(strstr(f.server.head, "POST /v0.5/traces HTTP/1.1"));
	fixture_end(&f);
	http_server_stop(&f.server);
	unsetenv("DD_TRACE_API_VERSION");
	assert_string_equal(said, "");
}

/* An Agent that does not take v0.5: what was encoded for it arrives as v0.4. */
static void v05_downgrade(void **state, int status, const char *info)
{
	(void)state;
	struct fixture f = {.server = {.manner = SERVE_NO_V05, .status = status, .words = "", .info = info}};
	http_server_start(&f.server, 0);
	setenv("DD_TRACE_API_VERSION", "v0.5", 1);
	fixture_start(&f, NULL);
	push(&f, 100, 3);
	wait_settled(&f);
	push(&f, 100, 3);
	wait_settled(&f);
	assert_int_equal(stats(&f).exported, 600);
	assert_int_equal(f.server.chunks, 200);
	assert_non_null(strstr(f.server.head, "POST /v0.4/traces HTTP/1.1"));
	if (!info)
		assert_int_equal(times_said("does not take v0.5 (HTTP 4"), 1);
	fixture_end(&f);
	http_server_stop(&f.server);
	unsetenv("DD_TRACE_API_VERSION");
}

static void v05_404(void **state)
{
	v05_downgrade(state, 404, NULL);
}

static void v05_415(void **state)
{
	v05_downgrade(state, 415, NULL);
}

static void v05_not_listed(void **state)
{
	v05_downgrade(state, 404, "{\"endpoints\":[\"/v0.4/traces\"]}");
}

static void bad_api_version(void **state)
{
	(void)state;
	struct exporter *e = NULL;
	struct sbuf err = {0};
	setenv("DD_TRACE_API_VERSION", "v0.9", 1);
	assert_int_equal(exporter_find(SV("datadog"))->open(&e, NULL, &err), -EINVAL);
	assert_string_equal(sbuf_str(&err),
			    "DD_TRACE_API_VERSION: 'v0.9' is not a version of the trace API spoken here: "
			    "write v0.4 or v0.5");
	sbuf_release(&err);
	unsetenv("DD_TRACE_API_VERSION");
}

/* The headers are those of the process the spans are of. */
static void whose_headers(void **state)
{
	(void)state;
	struct fixture f = {0};
	http_server_start(&f.server, 0);
	fixture_start(&f, NULL);
	f.process->container_id = SV("");
	f.process->cgroup_inode = 4711;
	f.process->external_env = SV("it-false,cn-web,pu-1234");
	push(&f, 1, 1);
	wait_settled(&f);
	assert_null(strstr(f.server.head, "Datadog-Container-ID"));
	assert_non_null(strstr(f.server.head, "\r\nDatadog-Entity-ID: in-4711\r\n"));
	assert_non_null(strstr(f.server.head, "\r\nDatadog-External-Env: it-false,cn-web,pu-1234\r\n"));
	f.process->external_env = SV("x\r\nX-Evil: 1");
	push(&f, 1, 1);
	wait_settled(&f);
	assert_null(strstr(f.server.head, "X-Evil"));
	fixture_end(&f);
	http_server_stop(&f.server);
}

static void probe(void **state)
{
	(void)state;
	char url[64];
	struct http_server s = {.info_counts = true,
				.manner = SERVE_STATUS,
				.status = 200,
				.words = "{\"version\":\"7\",\"endpoints\":[]}"};
	struct sbuf info = {0}, err = {0};
	http_server_start(&s, 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", s.port);
	assert_int_equal(datadog_probe(url, 500, &info, &err), 0);
	assert_string_equal(sbuf_str(&info), s.words);
	assert_int_equal(datadog_probe(url, 500, NULL, &err), 0);
	assert_non_null(strstr(s.head, "GET /info HTTP/1.1"));
	s.status = 404;
	assert_int_equal(datadog_probe(url, 500, NULL, &err), -EPROTO);
	assert_non_null(strstr(sbuf_str(&err), "is not a Datadog Agent (HTTP 404 on /info)"));
	s.status = 200;
	s.words = "<html>";
	assert_int_equal(datadog_probe(url, 500, NULL, &err), -EPROTO);
	ATOMIC_SET(s.manner, SERVE_NOTHING);
	uint64_t before = clock_mono_ns();
	assert_int_equal(datadog_probe(url, 200, NULL, &err), -ETIMEDOUT);
	assert_in_range((clock_mono_ns() - before) / NSEC_PER_MSEC, 150, 600);
	ATOMIC_SET(s.manner, SERVE_HALF);
	assert_int_equal(datadog_probe(url, 500, NULL, &err), -EPROTO);
	http_server_stop(&s);
	sbuf_reset(&err);
	assert_int_equal(datadog_probe(url, 500, NULL, &err), -ECONNREFUSED);
	assert_non_null(strstr(sbuf_str(&err), ": Connection refused"));
	assert_int_equal(datadog_probe("unix:///nonexistent", 500, NULL, &err), -ECONNREFUSED);
	assert_int_equal(datadog_probe("ftp://x", 500, NULL, &err), -EINVAL);
	sbuf_release(&info);
	sbuf_release(&err);
}

static void urls(void **state)
{
	(void)state;
	static const struct {
		const char *in, *base, *socket;
	} good[] = {
		{"http://localhost:8126", "http://localhost:8126", NULL},
		{"http://agent/", "http://agent", NULL},
		{"https://a.example:443/prefix/", "https://a.example:443/prefix", NULL},
		{"http://[::1]:8126", "http://[::1]:8126", NULL},
		{"unix:///var/run/x.sock", "http://localhost", "/var/run/x.sock"},
	};
	static const char *const bad[] = {"",		"localhost:8126", "/x.sock",	  "http://",  "http://:8126",
					  "http://h:0", "http://h:65536", "http://h:80a", "unix://x", "unix:///",
					  "http://a b", "http://[::1",	  "ftp://h",	  "http://h:"};
	struct agent_url u;
	struct sbuf err = {0};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(agent_url_parse(&u, good[i].in, &err), 0);
		assert_string_equal(u.base, good[i].base);
		assert_string_equal(u.shown, good[i].in);
		if (good[i].socket)
			assert_string_equal(u.socket, good[i].socket);
		else
			assert_null(u.socket);
		agent_url_release(&u);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		sbuf_reset(&err);
		if (agent_url_parse(&u, bad[i], &err) != -EINVAL)
			fail_msg("%s was taken", bad[i]);
		assert_non_null(strstr(sbuf_str(&err), "is not the URL of an Agent"));
	}
	sbuf_reset(&err);
	agent_url_parse(&u, "localhost:8126", &err);
	assert_non_null(strstr(sbuf_str(&err), "did you mean http://localhost:8126?"));
	sbuf_release(&err);
}

static void check_found(const char *argument, const char *want, const char *source)
{
	struct agent_url u;
	struct sbuf err = {0};
	assert_int_equal(agent_url_find(&u, argument, &err), 0);
	assert_string_equal(u.shown, want);
	assert_string_equal(u.source, source);
	agent_url_release(&u);
}

static void where_it_looks(void **state)
{
	(void)state;
	struct agent_url u;
	struct sbuf err = {0};
	setenv("DD_TRACE_AGENT_PORT", "8127", 1);
	check_found(NULL, "http://localhost:8127", "DD_TRACE_AGENT_PORT");
	setenv("DD_AGENT_HOST", "node", 1);
	check_found("", "http://node:8127", "DD_AGENT_HOST");
	unsetenv("DD_TRACE_AGENT_PORT");
	check_found(NULL, "http://node:8126", "DD_AGENT_HOST");
	setenv("DD_AGENT_HOST", "fe80::1", 1);
	check_found(NULL, "http://[fe80::1]:8126", "DD_AGENT_HOST");
	setenv("DD_TRACE_AGENT_URL", "http://url:1", 1);
	check_found(NULL, "http://url:1", "DD_TRACE_AGENT_URL");
	check_found("http://arg:2", "http://arg:2", "argument");
	setenv("DD_TRACE_AGENT_URL", "nonsense", 1);
	assert_int_equal(agent_url_find(&u, NULL, &err), -EINVAL);
	assert_true(sv_starts(sbuf_sv(&err), SV("DD_TRACE_AGENT_URL: 'nonsense' is not")));
	sbuf_release(&err);
	unsetenv("DD_TRACE_AGENT_URL");
	setenv("DD_AGENT_HOST", "", 1);
	setenv("DD_APM_RECEIVER_SOCKET", "/run/x.sock", 1);
	check_found(NULL, "unix:///run/x.sock", "DD_APM_RECEIVER_SOCKET");
	setenv("DD_TRACE_AGENT_PORT", "8127", 1);
	check_found(NULL, "http://localhost:8127", "DD_TRACE_AGENT_PORT");
	unsetenv("DD_TRACE_AGENT_PORT");
	unsetenv("DD_APM_RECEIVER_SOCKET");
	if (access("/var/run/datadog/apm.socket", F_OK) != 0)
		check_found(NULL, "http://localhost:8126", "default");
	unsetenv("DD_AGENT_HOST");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delivers),
		cmocka_unit_test(over_a_unix_socket),
		cmocka_unit_test(one_request_per_group),
		cmocka_unit_test(large_payloads),
		cmocka_unit_test(slow_agent),
		cmocka_unit_test(hanging_agent),
		cmocka_unit_test(end_beside_a_hanging_agent),
		cmocka_unit_test(dying_in_the_middle),
		cmocka_unit_test(never_recovers),
		cmocka_unit_test(absent_then_there),
		cmocka_unit_test(absent_for_long),
		cmocka_unit_test(larger_than_a_request),
		cmocka_unit_test(refused),
		cmocka_unit_test(too_large_is_split),
		cmocka_unit_test(status_429),
		cmocka_unit_test(status_500),
		cmocka_unit_test(lowest_priority_first),
		cmocka_unit_test(info_and_rates),
		cmocka_unit_test(info_is_nonsense),
		cmocka_unit_test(statistics),
		cmocka_unit_test(v05_delivers),
		cmocka_unit_test(v05_404),
		cmocka_unit_test(v05_415),
		cmocka_unit_test(v05_not_listed),
		cmocka_unit_test(bad_api_version),
		cmocka_unit_test(whose_headers),
		cmocka_unit_test(probe),
		cmocka_unit_test(urls),
		cmocka_unit_test(where_it_looks),
	};
	if (getenv("TEST"))
		cmocka_set_test_filter(getenv("TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
