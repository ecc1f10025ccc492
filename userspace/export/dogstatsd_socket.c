/* SPDX-License-Identifier: Apache-2.0 */
#include "export/dogstatsd_socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/confine.h"
#include "base/variables.h"

#define DEFAULT_SOCKET "/var/run/datadog/dsd.socket"
#define DEFAULT_PORT   "8125"
#define RETRY_NS       (1 * NSEC_PER_SEC)

/* --- where -------------------------------------------------------------------------------------------------------- */

static int resolve(struct dogstatsd_socket *s, const char *host, const char *port, struct sbuf *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV}, *found;
	int r = getaddrinfo(host, port, &hints, &found);
	if (r) {
		sbuf_addf(err, "no DogStatsD server can be at %s:%s: %s", host, port, gai_strerror(r));
		return -EHOSTUNREACH;
	}
	/* Of localhost the older one: the Agent listens on 127.0.0.1. */
	const struct addrinfo *a = found;
	for (const struct addrinfo *i = found; i; i = i->ai_next)
		if (i->ai_family == AF_INET && a->ai_family != AF_INET)
			a = i;
	memcpy(&s->address, a->ai_addr, a->ai_addrlen);
	s->address_len = a->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static int set_path(struct dogstatsd_socket *s, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&s->address;
	if (path[0] != '/' || !path[1] || strlen(path) >= sizeof(un->sun_path))
		return -EINVAL;
	confine_will_use(path);
	un->sun_family = AF_UNIX;
	snprintf(un->sun_path, sizeof(un->sun_path), "%s", path);
	s->address_len = sizeof(*un);
	s->is_unix = true;
	return 0;
}

/* HOST, HOST:PORT, [V6]:PORT */
static int set_host(struct dogstatsd_socket *s, const char *text, struct sbuf *err)
{
	char host[128];
	const char *port = DEFAULT_PORT, *bracket = text[0] == '[' ? strchr(text, ']') : NULL;
	const char *colon = strrchr(bracket ? bracket : text, ':');
	size_t len = bracket ? (size_t)(bracket - text - 1) : colon ? (size_t)(colon - text) : strlen(text);
	if (colon)
		port = colon + 1;
	char *end = NULL;
	long number = strtol(port, &end, 10);
	if (len == 0 || len >= sizeof(host) || *end || number <= 0 || number > UINT16_MAX)
		return -EINVAL;
	snprintf(host, sizeof(host), "%.*s", (int)len, text + (bracket != NULL));
	return resolve(s, host, port, err);
}

static int set_url(struct dogstatsd_socket *s, const char *url, struct sbuf *err)
{
	static const struct {
		const char *scheme;
		bool stream, either;
	} unix_schemes[] = {{"unix://", false, true}, {"unixgram://", false, false}, {"unixstream://", true, false}};
	size_t before = err->len;
	int r = -EINVAL;
	snprintf(s->shown, sizeof(s->shown), "%s", url);
	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(unix_schemes[i].scheme);
		if (strncmp(url, unix_schemes[i].scheme, len) != 0)
			continue;
		s->stream = unix_schemes[i].stream;
		s->either = unix_schemes[i].either;
		r = set_path(s, url + len);
	}
	if (strncmp(url, "udp://", 6) == 0)
		r = set_host(s, url + 6, err);
	if (r == -EINVAL && err->len == before)
		sbuf_addf(err,
			  "'%s' is not the URL of a DogStatsD server: write udp://HOST:PORT, unix:///PATH, "
			  "unixgram:///PATH or unixstream:///PATH",
			  url);
	return r;
}

int dogstatsd_socket_init(struct dogstatsd_socket *s, const char *url, uint16_t agent_port, struct sbuf *err)
{
	*s = (struct dogstatsd_socket){.fd = -1};
	char text[160], number[8];
	struct stat st;
	if (!url)
		url = variable_get("DD_DOGSTATSD_URL");
	if (url)
		return set_url(s, url, err);
	const char *host = variable_get("DD_DOGSTATSD_HOST"), *port = variable_get("DD_DOGSTATSD_PORT");
	if (!host)
		host = variable_get("DD_AGENT_HOST");
	if (!host && !port && stat(DEFAULT_SOCKET, &st) == 0 && S_ISSOCK(st.st_mode))
		return set_url(s, "unix://" DEFAULT_SOCKET, err);
	snprintf(number, sizeof(number), "%u", agent_port);
	bool v6 = host && host[0] != '[' && strchr(host, ':') != strrchr(host, ':');
	snprintf(text, sizeof(text), v6 ? "udp://[%s]:%s" : "udp://%s:%s", host ? host : "localhost",
		 port	      ? port
		 : agent_port ? number
			      : DEFAULT_PORT);
	int r = set_url(s, text, err);
	s->port_assumed = !port;
	return r;
}

void dogstatsd_socket_agent_port(struct dogstatsd_socket *s, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&s->address;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&s->address;
	in_port_t *at = s->address.ss_family == AF_INET6 ? &in6->sin6_port : &in->sin_port;
	char *colon = strrchr(s->shown, ':');
	if (!s->port_assumed || !port || *at == htons(port) || !colon)
		return;
	*at = htons(port);
	snprintf(colon, sizeof(s->shown) - (size_t)(colon - s->shown), ":%u", port);
	dogstatsd_socket_release(s);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static int try_connect(struct dogstatsd_socket *s, int type)
{
	int fd = socket(s->address.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&s->address, s->address_len) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	s->fd = fd;
	return 0;
}

static int socket_connect(struct dogstatsd_socket *s, uint64_t now_ns)
{
	if (s->fd >= 0)
		return 0;
	if (now_ns < s->retry_ns)
		return -ENOTCONN;
	int r = try_connect(s, s->stream ? SOCK_STREAM : SOCK_DGRAM);
	if (r == -EPROTOTYPE && s->either) {
		s->stream = !s->stream;
		r = try_connect(s, s->stream ? SOCK_STREAM : SOCK_DGRAM);
	}
	if (r < 0)
		s->retry_ns = now_ns + RETRY_NS;
	return r;
}

void dogstatsd_socket_release(struct dogstatsd_socket *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* 0: all of it. A part of it on a stream would put everything behind it out of step: then the connection is over. */
static int socket_write(struct dogstatsd_socket *s, const char *packet, size_t len)
{
	unsigned char head[4] = {(unsigned char)len, (unsigned char)(len >> 8), (unsigned char)(len >> 16),
				 (unsigned char)(len >> 24)};
	struct iovec parts[2] = {{head, 4}, {(void *)(uintptr_t)packet, len}};
	struct msghdr msg = {.msg_iov = s->stream ? parts : parts + 1, .msg_iovlen = s->stream ? 2 : 1};
	ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n == (ssize_t)(len + (s->stream ? 4 : 0)))
		return 0;
	return n < 0 ? -errno : -EPIPE;
}

int dogstatsd_socket_send(struct dogstatsd_socket *s, const char *packet, size_t len, uint64_t now_ns)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		int r = socket_connect(s, now_ns);
		if (r == 0)
			r = socket_write(s, packet, len);
		/* Full, for now. */
		if (r == 0 || r == -EAGAIN || r == -ENOBUFS || r == -EMSGSIZE)
			return r;
		/* UDP tells of the packet before this one that nobody took it. A server that came back has another
		 * socket of the same name. */
		if (s->is_unix)
			dogstatsd_socket_release(s);
		else if (r != -ECONNREFUSED)
			return r;
		if (attempt)
			return r;
	}
	return -ENOTCONN;
}
