/* SPDX-License-Identifier: Apache-2.0 */
/* Asks an HTTP server over keepalive connections and measures.
 *
 *	requests PORT CONNECTIONS RATE SECONDS	at a fixed rate (requests a second over all connections): each is timed from
 *						when it was due, so a stall counts for all that it delayed
 *	requests PORT CONNECTIONS 0 COUNT	as fast as they are answered
 *	requests PORT CONNECTIONS hold 0	opens them, asks once on each, says "ready" and waits for end of input
 *
 * Prints: requests, ns in all, the response times' p50, p99 and maximum in ns, and p50 and p99 of them as they are from when each
 * request was written: where the machine itself stands still now and then, that counts for those that were under way alone. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct connection {
	int fd;
	bool busy;
	uint64_t due_ns, written_ns;
};

struct times {
	uint32_t *ns;
	size_t cnt, cap;
};

static const char request[] = "GET /bench HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: requests\r\nAccept: */*\r\n\r\n";
static struct connection *connections;
static int epoll_fd, cnt;
static struct times since_due, since_written;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void open_all(int port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	epoll_fd = epoll_create1(0);
	for (int i = 0; i < cnt; i++) {
		int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
		if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
			die("connect");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		fcntl(fd, F_SETFL, O_NONBLOCK);
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
		connections[i].fd = fd;
	}
}

static void ask(struct connection *c, uint64_t due)
{
	c->written_ns = now_ns();
	if (write(c->fd, request, sizeof(request) - 1) != sizeof(request) - 1)
		die("write");
	c->busy = true;
	c->due_ns = due;
}

static void note(struct times *t, uint64_t ns)
{
	if (t->cnt < t->cap)
		t->ns[t->cnt++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

/* Answers are small: one read each. Returns how many came. */
static int take(uint64_t timeout_ns)
{
	struct epoll_event e[256];
	char buf[65536];
	struct timespec timeout = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
	int n = epoll_pwait2(epoll_fd, e, 256, &timeout, NULL);
	for (int i = 0; i < n; i++) {
		struct connection *c = &connections[e[i].data.u32];
		if (read(c->fd, buf, sizeof(buf)) <= 0)
			die("read");
		c->busy = false;
		uint64_t now = now_ns();
		note(&since_due, now - c->due_ns);
		note(&since_written, now - c->written_ns);
	}
	return n;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static uint32_t share(const struct times *sorted, unsigned percent)
{
	return sorted->ns[sorted->cnt * percent / 100];
}

static void at_rate(uint64_t rate, double seconds)
{
	uint64_t start = now_ns(), total = (uint64_t)((double)rate * seconds), sent = 0;
	int next = 0;
	while (since_due.cnt < total) {
		uint64_t now = now_ns();
		while (sent < total && start + sent * 1000000000ULL / rate <= now) {
			int tries = 0;
			while (connections[next].busy && tries++ < cnt)
				next = (next + 1) % cnt;
			if (connections[next].busy)
				break; /* all wait: it is late, and will be timed from when it was due */
			ask(&connections[next], start + sent++ * 1000000000ULL / rate);
			next = (next + 1) % cnt;
		}
		/* Asleep until the next one is due: who measures leaves the core to those who are measured. */
		uint64_t due = start + sent * 1000000000ULL / rate;
		now = now_ns();
		take(sent == total ? 1000000000 : due > now ? due - now : 0);
	}
}

static void at_full_speed(uint64_t total)
{
	uint64_t sent = 0;
	while (since_due.cnt < total) {
		for (int i = 0; i < cnt && sent < total; i++)
			if (!connections[i].busy) {
				ask(&connections[i], now_ns());
				sent++;
			}
		take(1000000000);
	}
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	cnt = atoi(argv[2]);
	connections = calloc((size_t)cnt, sizeof(*connections));
	bool hold = !strcmp(argv[3], "hold");
	uint64_t rate = hold ? 0 : strtoull(argv[3], NULL, 10);
	double amount = atof(argv[4]);
	size_t most = hold ? (size_t)cnt : (size_t)(rate ? (double)rate * amount : amount);
	since_due = (struct times){calloc(most + 1, sizeof(uint32_t)), 0, most};
	since_written = (struct times){calloc(most + 1, sizeof(uint32_t)), 0, most};
	open_all(atoi(argv[1]));
	uint64_t start = now_ns();
	if (hold)
		at_full_speed((uint64_t)cnt);
	else if (rate)
		at_rate(rate, amount);
	else
		at_full_speed((uint64_t)amount);
	uint64_t took = now_ns() - start;
	if (hold) {
		puts("ready");
		fflush(stdout);
		while (getchar() != EOF)
			;
		return 0;
	}
	qsort(since_due.ns, since_due.cnt, sizeof(uint32_t), by_size);
	qsort(since_written.ns, since_written.cnt, sizeof(uint32_t), by_size);
	printf("%zu %llu %u %u %u %u %u\n", since_due.cnt, (unsigned long long)took, share(&since_due, 50),
	       share(&since_due, 99), since_due.ns[since_due.cnt - 1], share(&since_written, 50),
	       share(&since_written, 99));
	return 0;
}
