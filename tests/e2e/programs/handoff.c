/* SPDX-License-Identifier: Apache-2.0 */
/* A service that reads requests on one thread and serves them on others, with a queue between:
 *
 *	handoff UPSTREAM_PORT WORKERS
 *
 * GET /r/ID asks the upstream for /up/ID and hands on its answer. Says "pid N port P" and runs until it is killed. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXPORTED __attribute__((noinline, noclone))
#define HEAD_SZ	 2048

struct job {
	struct job *next;
	int fd;
	char id[64];
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **end;
};

static struct queue queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &queue.first};
static int poller, upstream_port;

EXPORTED void give_job(struct queue *q, struct job *job)
{
	pthread_mutex_lock(&q->lock);
	job->next = NULL;
	*q->end = job;
	q->end = &job->next;
	pthread_cond_signal(&q->more);
	pthread_mutex_unlock(&q->lock);
}

EXPORTED struct job *take_job(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	while (!q->first)
		pthread_cond_wait(&q->more, &q->lock);
	struct job *job = q->first;
	q->first = job->next;
	if (!q->first)
		q->end = &q->first;
	pthread_mutex_unlock(&q->lock);
	return job;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int connect_upstream(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)upstream_port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* The answer's body, which is short. */
EXPORTED void ask_upstream(int fd, const char *id, char *body, size_t sz)
{
	char text[HEAD_SZ];
	int len = snprintf(text, sizeof(text), "GET /up/%s HTTP/1.1\r\nHost: upstream\r\n\r\n", id);
	if (write(fd, text, (size_t)len) != len)
		fail("upstream");
	size_t got = 0;
	char *end = NULL;
	long body_len = -1;
	while (!end || got < (size_t)(end + 4 - text) + (size_t)body_len) {
		ssize_t n = read(fd, text + got, sizeof(text) - 1 - got);
		if (n <= 0)
			fail("upstream");
		got += (size_t)n;
		text[got] = '\0';
		end = strstr(text, "\r\n\r\n");
		char *length = end ? strcasestr(text, "content-length:") : NULL;
		body_len = length ? strtol(length + 15, NULL, 10) : 0;
	}
	snprintf(body, sz, "%s", end + 4);
}

EXPORTED void run_job(struct queue *q, struct job *job, int upstream)
{
	char body[512], answer[1024];
	(void)q;
	usleep((useconds_t)(random() % 500));
	ask_upstream(upstream, job->id, body, sizeof(body));
	int len = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
			   body);
	struct epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = job->fd};
	int fd = job->fd;
	free(job);
	if (write(fd, answer, (size_t)len) != len || epoll_ctl(poller, EPOLL_CTL_MOD, fd, &again) < 0)
		close(fd);
}

static void *worker(void *arg)
{
	int upstream = connect_upstream();
	(void)arg;
	for (;;)
		run_job(&queue, take_job(&queue), upstream);
	return NULL;
}

static void read_request(int fd)
{
	char text[HEAD_SZ];
	size_t got = 0;
	text[0] = '\0';
	while (!strstr(text, "\r\n\r\n")) {
		ssize_t n = read(fd, text + got, sizeof(text) - 1 - got);
		if (n <= 0) {
			close(fd);
			return;
		}
		got += (size_t)n;
		text[got] = '\0';
	}
	struct job *job = calloc(1, sizeof(*job));
	job->fd = fd;
	sscanf(text, "GET /r/%63s", job->id);
	give_job(&queue, job);
}

static int listen_somewhere(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, 512) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		fail("listen");
	printf("pid %d port %d\n", getpid(), ntohs(at.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	int workers = argc > 2 ? atoi(argv[2]) : 4, one = 1;
	pthread_t thread;
	upstream_port = argc > 1 ? atoi(argv[1]) : 0;
	poller = epoll_create1(0);
	int listener = listen_somewhere();
	struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
	epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
	for (int i = 0; i < workers; i++)
		pthread_create(&thread, NULL, worker, NULL);
	for (;;) {
		struct epoll_event events[16];
		int cnt = epoll_wait(poller, events, 16, -1);
		for (int i = 0; i < cnt; i++) {
			if (events[i].data.fd != listener) {
				read_request(events[i].data.fd);
				continue;
			}
			int fd = accept(listener, NULL, NULL);
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			struct epoll_event add = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = fd};
			epoll_ctl(poller, EPOLL_CTL_ADD, fd, &add);
		}
	}
}
