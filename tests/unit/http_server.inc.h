/* SPDX-License-Identifier: Apache-2.0 */
/* The body of http_server.h: one test binary per file, so it is included where it is needed. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http_server.h"

#define ATOMIC(x)	 __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define ATOMIC_SET(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELEASE)
#define ATOMIC_ADD(x, v) __atomic_fetch_add(&(x), v, __ATOMIC_ACQ_REL)

struct served {
	struct http_server *server;
	int fd;
	uint64_t kept; /* of the request in hand */
};

/* A whole request: its head in `head`; returns the length of its body, -1 at the end of the connection. */
static long served_read(struct served *c, char *head, size_t cap)
{
	size_t len = 0;
	char *end = NULL;
	while (!end && len + 1 < cap) {
		ssize_t n = read(c->fd, head + len, cap - 1 - len);
		if (n <= 0)
			return -1;
		len += (size_t)n;
		head[len] = '\0';
		end = strstr(head, "\r\n\r\n");
	}
	if (!end)
		return -1;
	char *field = strcasestr(head, "\r\nContent-Length:");
	long body = field ? atol(field + 17) : 0, have = (long)(len - (size_t)(end + 4 - head));
	end[2] = '\0';
	static const char keep[] = "\xa4name\xa4keep";
	char *whole = malloc((size_t)(body > have ? body : have) + 1);
	memcpy(whole, end + 4, (size_t)have);
	while (have < body) {
		ssize_t n = read(c->fd, whole + have, (size_t)(body - have));
		if (n <= 0)
			break;
		have += n;
	}
	c->kept = 0;
	for (char *at = whole; (at = memmem(at, (size_t)(whole + have - at), keep, sizeof(keep) - 1)); at++)
		c->kept++;
	free(whole);
	return have < body ? -1 : body;
}

static void served_reply(struct served *c, int status, const char *words)
{
	char text[8192];
	const char *extra = ATOMIC(c->server->extra);
	int n = snprintf(text, sizeof(text), "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", status,
			 extra ? extra : "", strlen(words), words);
	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) < 0)
		return;
}

/* False when the connection is to end. */
static bool served_answer(struct served *c, long chunks, long body)
{
	struct http_server *s = c->server;
	static const char rates[] = "{\"rate_by_service\":{\"service:,env:\":1}}";
	switch (ATOMIC(s->manner)) {
	case SERVE_SLOWLY:
		usleep((unsigned)ATOMIC(s->delay_ms) * 1000);
		/* fallthrough */
	case SERVE_OK:
		break;
	case SERVE_STATUS:
		served_reply(c, ATOMIC(s->status), ATOMIC(s->words));
		return true;
	case SERVE_NOTHING:
		while (!ATOMIC(s->stop) && ATOMIC(s->manner) == SERVE_NOTHING)
			usleep(5000);
		return false;
	case SERVE_HALF:
		send(c->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ra", 45, MSG_NOSIGNAL);
		return false;
	case SERVE_OK_BELOW:
		if (chunks > ATOMIC(s->limit)) {
			served_reply(c, 413, "payload-too-large");
			return true;
		}
		break;
	case SERVE_NO_V05:
		if (strstr(s->head, "/v0.5/traces")) {
			served_reply(c, ATOMIC(s->status), ATOMIC(s->words));
			return true;
		}
		break;
	case SERVE_DEAF:
		return false;
	}
	ATOMIC_ADD(s->kept, c->kept);
	ATOMIC_ADD(s->chunks, (uint64_t)chunks);
	ATOMIC_ADD(s->bytes, (uint64_t)body);
	served_reply(c, 200, ATOMIC(s->rates) ? ATOMIC(s->rates) : rates);
	return true;
}

static void *served_run(void *arg)
{
	struct served *c = arg;
	struct http_server *s = c->server;
	char head[4096];
	while (ATOMIC(s->manner) != SERVE_DEAF && !ATOMIC(s->stop)) {
		long body = served_read(c, head, sizeof(head));
		if (body < 0)
			break;
		/* What a client asks on its own account; a test that is about it sets `info` or `info_counts`. */
		if (!ATOMIC(s->info_counts) && strncmp(head, "GET /info ", 10) == 0 &&
		    ATOMIC(s->manner) != SERVE_NOTHING) {
			ATOMIC_ADD(s->infos, 1);
			served_reply(c, ATOMIC(s->info) ? 200 : 404, ATOMIC(s->info) ? ATOMIC(s->info) : "");
			continue;
		}
		ATOMIC_ADD(s->requests, 1);
		pthread_mutex_lock(&s->lock);
		strcpy(s->head, head);
		pthread_mutex_unlock(&s->lock);
		char *count = strcasestr(head, "\r\nX-Datadog-Trace-Count:");
		if (!served_answer(c, count ? atol(count + 24) : 0, body))
			break;
	}
	close(c->fd);
	free(c);
	ATOMIC_ADD(s->connections, (uint64_t)-1);
	return NULL;
}

static void *server_run(void *arg)
{
	struct http_server *s = arg;
	while (!ATOMIC(s->stop)) {
		struct pollfd fd = {.fd = s->listen_fd, .events = POLLIN};
		if (poll(&fd, 1, 10) <= 0)
			continue;
		struct served *c = malloc(sizeof(*c));
		*c = (struct served){.server = s, .fd = accept(s->listen_fd, NULL, NULL)};
		struct timeval second = {.tv_sec = 0, .tv_usec = 100000};
		setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
		pthread_t t;
		ATOMIC_ADD(s->connections, 1);
		pthread_create(&t, NULL, served_run, c);
		pthread_detach(t);
	}
	return NULL;
}

void http_server_start(struct http_server *s, int port)
{
	int one = 1;
	pthread_mutex_init(&s->lock, NULL);
	s->stop = false;
	if (s->socket_path) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};
		strncpy(un.sun_path, s->socket_path, sizeof(un.sun_path) - 1);
		unlink(s->socket_path);
		s->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(bind(s->listen_fd, (struct sockaddr *)&un, sizeof(un)), 0);
	} else {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
		socklen_t len = sizeof(in);
		in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		s->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		assert_int_equal(bind(s->listen_fd, (struct sockaddr *)&in, sizeof(in)), 0);
		getsockname(s->listen_fd, (struct sockaddr *)&in, &len);
		s->port = ntohs(in.sin_port);
	}
	assert_int_equal(listen(s->listen_fd, 64), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, server_run, s), 0);
}

void http_server_stop(struct http_server *s)
{
	ATOMIC_SET(s->stop, true);
	pthread_join(s->thread, NULL);
	close(s->listen_fd);
	while (ATOMIC(s->connections))
		usleep(1000);
	pthread_mutex_destroy(&s->lock);
}
