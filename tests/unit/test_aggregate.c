/* SPDX-License-Identifier: Apache-2.0 */
/* Gathered metrics, as a real socket receives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "export/aggregate.h"

struct world {
	int fd;
	struct dogstatsd *client;
	struct aggregate *aggregate;
	struct process_info who;
};

static void open_world(struct world *w, uint32_t max_series)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);
	char url[64];
	struct sbuf err = {0};
	*w = (struct world){.fd = socket(AF_INET, SOCK_DGRAM, 0), .who = {.refs = 1, .service = SV("shop")}};
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(w->fd, (struct sockaddr *)&in, len), 0);
	getsockname(w->fd, (struct sockaddr *)&in, &len);
	snprintf(url, sizeof(url), "udp://127.0.0.1:%d", ntohs(in.sin_port));
	assert_int_equal(dogstatsd_open(&w->client, &(struct dogstatsd_options){.url = url}, &err), 0);
	w->aggregate = aggregate_new(max_series);
	assert_non_null(w->aggregate);
}

static void close_world(struct world *w)
{
	aggregate_free(w->aggregate);
	dogstatsd_close(w->client);
	close(w->fd);
	assert_int_equal(w->who.refs, 1); /* nobody holds the process any more */
}

static struct dogstatsd_metric metric(struct world *w, const char *name, enum dogstatsd_type type)
{
	return (struct dogstatsd_metric){.name = sv_of(name), .type = type, .value_cnt = 1, .origin = &w->who};
}

static void add(struct world *w, struct dogstatsd_metric m, double v)
{
	m.values = &v;
	aggregate_add(w->aggregate, &m);
}

/* All that comes of a flush, packets joined by newlines. */
static const char *flush(struct world *w)
{
	static char text[1 << 20];
	size_t used = 0;
	struct pollfd p = {.fd = w->fd, .events = POLLIN};
	aggregate_flush(w->aggregate, w->client);
	dogstatsd_flush(w->client, clock_mono_ns());
	while (poll(&p, 1, 0) > 0) {
		ssize_t n = recv(w->fd, text + used, sizeof(text) - used - 2, 0);
		assert_in_range(n, 1, DOGSTATSD_UDP_MAX);
		used += (size_t)n;
		text[used++] = '\n';
	}
	text[used ? used - 1 : 0] = '\0';
	return text;
}

static void types(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 0);
	for (int i = 1; i <= 3; i++)
		add(&w, metric(&w, "c", DOGSTATSD_COUNT), i);
	assert_string_equal(flush(&w), "c:6|c|#service:shop");
	for (int i = 1; i <= 3; i++)
		add(&w, metric(&w, "g", DOGSTATSD_GAUGE), i);
	assert_string_equal(flush(&w), "g:3|g|#service:shop"); /* the count had nothing */
	for (int i = 1; i <= 3; i++)
		add(&w, metric(&w, "d", DOGSTATSD_DISTRIBUTION), i + 0.5);
	assert_string_equal(flush(&w), "d:1.5:2.5:3.5|d|#service:shop");
	add(&w, metric(&w, "h", DOGSTATSD_HISTOGRAM), -1);
	assert_string_equal(flush(&w), "h:-1|h|#service:shop");
	/* A known series begins anew. */
	add(&w, metric(&w, "c", DOGSTATSD_COUNT), 1);
	assert_string_equal(flush(&w), "c:1|c|#service:shop");
	struct dogstatsd_metric sampled = metric(&w, "s", DOGSTATSD_COUNT);
	sampled.rate = 0.25;
	add(&w, sampled, 2);
	assert_string_equal(flush(&w), "s:2|c|@0.25|#service:shop");
	close_world(&w);
}

static void series(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 0);
	struct process_info other = {
		.refs = 1, .service = SV("other"), .env = SV("prod"), .container_id = SV("c0ffee")};
	const struct tag ab[] = {{SV("a"), SV("bc")}}, abc[] = {{SV("ab"), SV("c")}},
			 named[] = {{SV("service"), SV("own")}};
	struct dogstatsd_metric m = metric(&w, "m", DOGSTATSD_COUNT);
	add(&w, m, 1);
	m.tag_cnt = 1;
	m.tags = ab;
	add(&w, m, 2);
	m.tags = abc;
	add(&w, m, 3);
	m.tags = named;
	add(&w, m, 4);
	m.tag_cnt = 0;
	m.origin = &other;
	add(&w, m, 5);
	m.type = DOGSTATSD_GAUGE;
	add(&w, m, 6);
	const char *got = flush(&w);
	static const char *const want[] = {"m:1|c|#service:shop",
					   "m:2|c|#service:shop,a:bc",
					   "m:3|c|#service:shop,ab:c",
					   "m:4|c|#service:own",
					   "m:5|c|#service:other,env:prod|c:ci-c0ffee",
					   "m:6|g|#service:other,env:prod|c:ci-c0ffee"};
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		if (!strstr(got, want[i]))
			fail_msg("%s is not in\n%s", want[i], got);
	struct aggregate_stats st;
	aggregate_stats(w.aggregate, &st);
	assert_int_equal(st.series, 6);
	assert_int_equal(other.refs, 3);
	close_world(&w);
	assert_int_equal(other.refs, 1);
}

static void limits(void **state)
{
	(void)state;
	struct world w;
	struct aggregate_stats st;
	open_world(&w, 10);
	for (int i = 0; i < 25; i++) {
		char name[8];
		snprintf(name, sizeof(name), "m%d", i);
		add(&w, metric(&w, name, DOGSTATSD_COUNT), 1);
	}
	aggregate_stats(w.aggregate, &st);
	assert_int_equal(st.series, 10);
	assert_int_equal(st.added, 10);
	assert_int_equal(st.refused, 15);
	/* Those that are used stay, the others make room. */
	for (int i = 0; i <= AGGREGATE_IDLE_FLUSHES; i++) {
		add(&w, metric(&w, "m3", DOGSTATSD_COUNT), 1);
		flush(&w);
	}
	aggregate_stats(w.aggregate, &st);
	assert_int_equal(st.series, 1);
	add(&w, metric(&w, "m24", DOGSTATSD_COUNT), 7);
	assert_string_equal(flush(&w), "m24:7|c|#service:shop");
	close_world(&w);
}

/* Every value of a large distribution arrives, over packets; of one that is too large a share with its rate. */
static void many_values(void **state)
{
	(void)state;
	struct world w;
	struct aggregate_stats st;
	open_world(&w, 0);
	double sum = 0, got_sum = 0;
	unsigned got = 0;
	for (int i = 0; i < AGGREGATE_MAX_VALUES; i++) {
		add(&w, metric(&w, "d", DOGSTATSD_DISTRIBUTION), 1e15 / 7 + i);
		sum += i;
	}
	for (const char *line = flush(&w); line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		assert_memory_equal(line, "d:", 2);
		for (const char *at = line + 1; *at == ':'; got++) {
			char *end;
			got_sum += strtod(at + 1, &end) - 1e15 / 7;
			at = end;
			assert_true(*at == ':' || sv_starts(sv_of(at), SV("|d|#service:shop")));
		}
	}
	assert_int_equal(got, AGGREGATE_MAX_VALUES);
	assert_true(got_sum == sum);
	for (int i = 0; i < 4 * AGGREGATE_MAX_VALUES; i++)
		add(&w, metric(&w, "d", DOGSTATSD_DISTRIBUTION), i % 2);
	const char *text = flush(&w);
	assert_non_null(strstr(text, "|d|@0.25|#service:shop"));
	unsigned ones = 0, zeros = 0;
	for (const char *at = text; (at = strchr(at, ':')); at++) {
		ones += at[1] == '1' && (at[2] == ':' || at[2] == '|');
		zeros += at[1] == '0' && (at[2] == ':' || at[2] == '|');
	}
	assert_int_equal(ones + zeros, AGGREGATE_MAX_VALUES);
	assert_in_range(ones, AGGREGATE_MAX_VALUES * 2 / 5, AGGREGATE_MAX_VALUES * 3 / 5);
	aggregate_stats(w.aggregate, &st);
	assert_int_equal(st.thinned, 3 * AGGREGATE_MAX_VALUES);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types),
		cmocka_unit_test(series),
		cmocka_unit_test(limits),
		cmocka_unit_test(many_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
