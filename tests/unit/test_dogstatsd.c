/* SPDX-License-Identifier: Apache-2.0 */
/* The client against real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "export/health.h"

#define SOCKET_PATH "/tmp/test_dogstatsd.socket"

static int udp_server(int *ret_port)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

static int unix_server(int type)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = SOCKET_PATH};
	int fd = socket(AF_UNIX, type, 0);
	unlink(SOCKET_PATH);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* The next datagram; "" when none comes. */
static const char *receive(int fd)
{
	static char packet[16384];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n = poll(&p, 1, 300) > 0 ? recv(fd, packet, sizeof(packet) - 1, 0) : 0;
	packet[n > 0 ? n : 0] = '\0';
	return packet;
}

static struct dogstatsd *client(const char *url, const char *tags)
{
	struct dogstatsd *d = NULL;
	struct sbuf err = {0};
	struct dogstatsd_options o = {.url = url, .tags = tags ? sv_of(tags) : SV("")};
	if (dogstatsd_open(&d, &o, &err) < 0)
		fail_msg("%s", sbuf_str(&err));
	sbuf_release(&err);
	return d;
}

static struct dogstatsd *udp_client(int port, const char *tags)
{
	char url[64];
	snprintf(url, sizeof(url), "udp://127.0.0.1:%d", port);
	return client(url, tags);
}

static void send_one(struct dogstatsd *d, struct dogstatsd_metric m, double value)
{
	m.values = &value;
	m.value_cnt = 1;
	dogstatsd_add(d, &m);
	dogstatsd_flush(d, clock_mono_ns());
}

static void check(int fd, const char *want)
{
	assert_string_equal(receive(fd), want);
}

/* The grammar, message by message. */
static void messages(void **state)
{
	(void)state;
	int port, fd = udp_server(&port);
	struct dogstatsd *d = udp_client(port, "env:prod,team:core");
	const struct tag tags[] = {{SV("a"), SV("x,y|z\n")}, {SV("plain"), SV("")}};
	struct process_info who = {.container_id = SV("abc"), .external_env = SV("it-false,cn-a|b\x01")};
	struct process_info in = {.cgroup_inode = 4711};

	dogstatsd_count(d, SV("a.b"), 3);
	dogstatsd_gauge(d, SV("c d-e"), 1.5);
	dogstatsd_flush(d, clock_mono_ns());
	check(fd, "a.b:3|c|#env:prod,team:core\nc_d_e:1.5|g|#env:prod,team:core");
	send_one(d, (struct dogstatsd_metric){.name = SV("t"), .type = DOGSTATSD_TIMING, .tags = tags, .tag_cnt = 2},
		 0.1);
	check(fd, "t:0.1|ms|#env:prod,team:core,a:x_y_z_,plain");
	send_one(d, (struct dogstatsd_metric){.name = SV("h"), .type = DOGSTATSD_HISTOGRAM, .rate = 0.25}, -7);
	check(fd, "h:-7|h|@0.25|#env:prod,team:core");
	send_one(d, (struct dogstatsd_metric){.name = SV("o"), .type = DOGSTATSD_DISTRIBUTION, .origin = &who}, 1e20);
	check(fd, "o:1e+20|d|#env:prod,team:core|c:ci-abc|e:it-false,cn-ab");
	send_one(d,
		 (struct dogstatsd_metric){
			 .name = SV("o"), .type = DOGSTATSD_GAUGE, .origin = &in, .timestamp = 1700000000},
		 0);
	check(fd, "o:0|g|#env:prod,team:core|c:in-4711|T1700000000");
	double many[] = {1, 2.5, 3};
	dogstatsd_add(d, &(struct dogstatsd_metric){
				 .name = SV("m"), .type = DOGSTATSD_DISTRIBUTION, .values = many, .value_cnt = 3});
	dogstatsd_flush(d, clock_mono_ns());
	check(fd, "m:1:2.5:3|d|#env:prod,team:core");
	/* What is no number, or no name, is not sent. */
	struct dogstatsd_stats st;
	send_one(d, (struct dogstatsd_metric){.name = SV("n")}, NAN);
	send_one(d, (struct dogstatsd_metric){.name = SV("n")}, INFINITY);
	send_one(d, (struct dogstatsd_metric){.name = SV("")}, 1);
	dogstatsd_stats(d, &st);
	assert_int_equal(st.refused, 3);
	assert_int_equal(st.metrics, 7);
	check(fd, "");
	dogstatsd_close(d);
	setenv("DD_CARDINALITY", "High", 1);
	setenv("DD_ENTITY_ID", "pod-1", 1);
	d = udp_client(port, NULL);
	dogstatsd_count(d, SV("x"), 1);
	dogstatsd_close(d);
	check(fd, "x:1|c|#dd.internal.entity_id:pod-1|card:high");
	unsetenv("DD_CARDINALITY");
	unsetenv("DD_ENTITY_ID");
	close(fd);
}

/* Packets are filled, never beyond their size; each message is in one of them, whole. */
static void packing(int fd, struct dogstatsd *d, size_t max)
{
	unsigned got = 0, packets = 0;
	struct dogstatsd_stats st;
	for (unsigned i = 0; i < 1000; i++) {
		char name[64];
		snprintf(name, sizeof(name), "metric.number.%u", i);
		dogstatsd_count(d, sv_of(name), i);
		if (i % 100 != 99)
			continue;
		dogstatsd_flush(d, clock_mono_ns());
		struct pollfd p = {.fd = fd, .events = POLLIN};
		while (poll(&p, 1, 20) > 0) {
			const char *text = receive(fd);
			assert_true(strlen(text) <= max);
			packets++;
			for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
				char want[64];
				int n = snprintf(want, sizeof(want), "metric.number.%u:%u|c", got, got);
				assert_memory_equal(line, want, (size_t)n);
				got++;
			}
		}
	}
	assert_int_equal(got, 1000);
	dogstatsd_stats(d, &st);
	assert_int_equal(st.packets_sent, packets);
	assert_int_equal(st.packets_dropped, 0);
	assert_true(packets >= 10 && packets <= 40);
}

static void udp_packets(void **state)
{
	(void)state;
	int port, fd = udp_server(&port);
	struct dogstatsd *d = udp_client(port, NULL);
	packing(fd, d, DOGSTATSD_UDP_MAX);
	/* Larger than a packet: refused, alone. */
	static char longer[2000];
	memset(longer, 'x', sizeof(longer) - 1);
	dogstatsd_count(d, sv_of(longer), 1);
	dogstatsd_count(d, SV("small"), 1);
	dogstatsd_close(d);
	check(fd, "small:1|c");
	close(fd);
}

static void unix_datagrams(void **state)
{
	(void)state;
	static const char *const urls[] = {"unix://" SOCKET_PATH, "unixgram://" SOCKET_PATH};
	for (int i = 0; i < 2; i++) {
		int fd = unix_server(SOCK_DGRAM);
		struct dogstatsd *d = client(urls[i], NULL);
		packing(fd, d, DOGSTATSD_UDS_MAX);
		dogstatsd_close(d);
		close(fd);
	}
	unlink(SOCKET_PATH);
}

static void unix_stream(void **state)
{
	(void)state;
	static const char *const urls[] = {"unix://" SOCKET_PATH, "unixstream://" SOCKET_PATH};
	for (int i = 0; i < 2; i++) {
		int listener = unix_server(SOCK_STREAM);
		struct dogstatsd *d = client(urls[i], NULL);
		for (int round = 0; round < 3; round++) {
			dogstatsd_count(d, SV("one"), round);
			dogstatsd_flush(d, clock_mono_ns());
		}
		int fd = accept(listener, NULL, NULL);
		for (int round = 0; round < 3; round++) {
			unsigned char head[4];
			char text[64] = "", want[64];
			assert_int_equal(recv(fd, head, 4, MSG_WAITALL), 4);
			size_t len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
			assert_int_equal(recv(fd, text, len, MSG_WAITALL), len);
			snprintf(want, sizeof(want), "one:%d|c", round);
			assert_string_equal(text, want);
		}
		/* Nobody reads: packets are dropped, nothing waits. */
		uint64_t before = clock_mono_ns();
		struct dogstatsd_stats st;
		for (int n = 0; n < 200000; n++)
			dogstatsd_gauge(d, SV("flood"), n);
		dogstatsd_flush(d, clock_mono_ns());
		dogstatsd_stats(d, &st);
		assert_true(st.packets_dropped > 0);
		assert_true(clock_mono_ns() - before < 5 * NSEC_PER_SEC);
		close(fd);
		dogstatsd_close(d);
		close(listener);
	}
	unlink(SOCKET_PATH);
}

/* A server that is not there yet, goes, and comes back under the same name. */
static void comes_and_goes(void **state)
{
	(void)state;
	struct dogstatsd_stats st;
	unlink(SOCKET_PATH);
	struct dogstatsd *d = client("unix://" SOCKET_PATH, NULL);
	uint64_t now_ns = clock_mono_ns();
	dogstatsd_count(d, SV("lost"), 1);
	dogstatsd_flush(d, now_ns);
	for (int i = 0; i < 3; i++) {
		int fd = unix_server(SOCK_DGRAM);
		now_ns += 2 * NSEC_PER_SEC;
		dogstatsd_count(d, SV("there"), i);
		dogstatsd_flush(d, now_ns);
		char want[32];
		snprintf(want, sizeof(want), "there:%d|c", i);
		check(fd, want);
		close(fd);
		unlink(SOCKET_PATH);
		dogstatsd_count(d, SV("lost"), 1);
		dogstatsd_flush(d, now_ns);
	}
	dogstatsd_stats(d, &st);
	assert_int_equal(st.packets_sent, 3);
	assert_int_equal(st.packets_dropped, 4);
	dogstatsd_close(d);
	/* UDP nobody listens on. */
	int port, fd = udp_server(&port);
	close(fd);
	d = udp_client(port, NULL);
	for (int i = 0; i < 10; i++) {
		dogstatsd_count(d, SV("x"), 1);
		dogstatsd_flush(d, clock_mono_ns());
		usleep(1000);
	}
	dogstatsd_close(d);
}

static void telemetry(void **state)
{
	(void)state;
	int port, fd = udp_server(&port);
	char url[64];
	struct sbuf err = {0};
	struct dogstatsd *d;
	snprintf(url, sizeof(url), "udp://127.0.0.1:%d", port);
	assert_int_equal(dogstatsd_open(&d, &(struct dogstatsd_options){.url = url, .telemetry = true}, &err), 0);
	uint64_t now_ns = clock_mono_ns();
	dogstatsd_count(d, SV("x"), 1);
	dogstatsd_flush(d, now_ns);
	check(fd, "x:1|c");
	for (int i = 1; i <= 2; i++) {
		dogstatsd_flush(d, now_ns + (uint64_t)i * 11 * NSEC_PER_SEC);
		const char *text = receive(fd);
		char want[128];
		snprintf(want, sizeof(want),
			 "datadog.dogstatsd.client.metrics:%d|c|#client:spanhound,client_version:0.1.0,client_"
			 "transport:udp\n",
			 i == 1);
		assert_non_null(strstr(text, want));
		snprintf(want, sizeof(want), "datadog.dogstatsd.client.packets_sent:%d|c|#", 1);
		assert_non_null(strstr(text, want));
		assert_non_null(strstr(text, "datadog.dogstatsd.client.bytes_dropped:0|c|#"));
	}
	dogstatsd_close(d);
	close(fd);
}

static void health(void **state)
{
	(void)state;
	int port, fd = udp_server(&port);
	struct dogstatsd *d = udp_client(port, NULL);
	const char *const reasons[HEALTH_MAX_REASONS] = {[3] = "ring_full", [36] = "agent_backpressure"};
	struct health told = {0},
		      now = {.spans = 10, .held = 4, .dropped = {[3] = 2}, .exporter = {.requests = 1, .bytes = 99}};
	health_report(d, &now, &told, reasons, clock_mono_ns());
	check(fd, "datadog.tracer.spans_finished:10|c\ndatadog.tracer.spans_dropped:2|c|#reason:ring_full\n"
		  "datadog.tracer.queue.length:4|g\ndatadog.tracer.http.requests:1|c\n"
		  "datadog.tracer.http.sent.bytes:99|c\ndatadog.tracer.heartbeat:1|g");
	now.spans = 15;
	now.held = 0;
	now.dropped[36] = 1;
	now.exporter.errors = 1;
	health_report(d, &now, &told, reasons, clock_mono_ns());
	check(fd, "datadog.tracer.spans_finished:5|c\ndatadog.tracer.spans_dropped:1|c|#reason:agent_backpressure\n"
		  "datadog.tracer.queue.length:0|g\ndatadog.tracer.http.errors:1|c\ndatadog.tracer.heartbeat:1|g");
	dogstatsd_close(d);
	close(fd);
}

static void check_where(const char *url, uint16_t agent_port, const char *want)
{
	struct dogstatsd *d;
	struct sbuf err = {0};
	assert_int_equal(dogstatsd_open(&d, &(struct dogstatsd_options){.url = url, .agent_port = agent_port}, &err),
			 0);
	assert_string_equal(dogstatsd_shown(d), want);
	dogstatsd_close(d);
}

/* What the Agent says counts where nobody said anything, and nowhere else. */
static void agent_port(void **state)
{
	(void)state;
	struct sbuf err = {0};
	struct dogstatsd *d;
	int port, fd = udp_server(&port);
	char want[64];
	setenv("DD_DOGSTATSD_HOST", "127.0.0.1", 1);
	assert_int_equal(dogstatsd_open(&d, &(struct dogstatsd_options){0}, &err), 0);
	dogstatsd_agent_port(d, 0);
	assert_string_equal(dogstatsd_shown(d), "udp://127.0.0.1:8125");
	dogstatsd_agent_port(d, (uint16_t)port);
	snprintf(want, sizeof(want), "udp://127.0.0.1:%d", port);
	assert_string_equal(dogstatsd_shown(d), want);
	dogstatsd_count(d, SV("there"), 1);
	dogstatsd_close(d);
	check(fd, "there:1|c");
	setenv("DD_DOGSTATSD_PORT", "9", 1);
	assert_int_equal(dogstatsd_open(&d, &(struct dogstatsd_options){0}, &err), 0);
	dogstatsd_agent_port(d, (uint16_t)port);
	assert_string_equal(dogstatsd_shown(d), "udp://127.0.0.1:9");
	dogstatsd_close(d);
	unsetenv("DD_DOGSTATSD_HOST");
	unsetenv("DD_DOGSTATSD_PORT");
	d = client("unix://" SOCKET_PATH, NULL);
	dogstatsd_agent_port(d, (uint16_t)port);
	assert_string_equal(dogstatsd_shown(d), "unix://" SOCKET_PATH);
	dogstatsd_close(d);
	close(fd);
}

static void where(void **state)
{
	(void)state;
	static const char *const bad[] = {"",	       "localhost:8125", "udp://",  "udp://:8125",
					  "udp://h:0", "udp://h:x",	 "unix://", "unix://relative",
					  "http://h",  "udp://h:65536"};
	struct dogstatsd *d;
	struct sbuf err = {0};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		sbuf_reset(&err);
		assert_int_equal(dogstatsd_open(&d, &(struct dogstatsd_options){.url = bad[i]}, &err), -EINVAL);
		assert_non_null(strstr(sbuf_str(&err), "is not the URL of a DogStatsD server"));
	}
	sbuf_release(&err);
	setenv("DD_DOGSTATSD_HOST", "127.0.0.2", 1);
	check_where(NULL, 0, "udp://127.0.0.2:8125");
	check_where(NULL, 9125, "udp://127.0.0.2:9125");
	setenv("DD_DOGSTATSD_PORT", "7125", 1);
	check_where(NULL, 9125, "udp://127.0.0.2:7125");
	setenv("DD_DOGSTATSD_HOST", "::1", 1);
	check_where(NULL, 0, "udp://[::1]:7125");
	unsetenv("DD_DOGSTATSD_HOST");
	setenv("DD_AGENT_HOST", "127.0.0.3", 1);
	check_where(NULL, 0, "udp://127.0.0.3:7125");
	setenv("DD_DOGSTATSD_URL", "unixgram:///tmp/x", 1);
	check_where(NULL, 0, "unixgram:///tmp/x");
	check_where("udp://127.0.0.1", 0, "udp://127.0.0.1");
	unsetenv("DD_DOGSTATSD_URL");
	unsetenv("DD_DOGSTATSD_PORT");
	unsetenv("DD_AGENT_HOST");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages),    cmocka_unit_test(udp_packets),	 cmocka_unit_test(unix_datagrams),
		cmocka_unit_test(unix_stream), cmocka_unit_test(comes_and_goes), cmocka_unit_test(telemetry),
		cmocka_unit_test(health),      cmocka_unit_test(agent_port),	 cmocka_unit_test(where),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
