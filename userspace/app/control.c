/* SPDX-License-Identifier: Apache-2.0 */
#include "app/control.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/listen.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define PATIENCE_NS (10 * NSEC_PER_SEC) /* with a client that neither asks nor reads */
#define ASK_S	    60			/* the client's own: a change may attach thousands of probes */

struct client {
	int fd; /* -1: free */
	uint64_t since_ns;
	struct sbuf in, out;
	size_t sent;
	bool asked;
};

struct control {
	int fd;
	char *path;
	control_answer_fn answer;
	void *arg;
	struct client clients[CONTROL_CLIENTS];
};

int control_open(struct control **ret, const char *path, control_answer_fn answer, void *arg, struct sbuf *err)
{
	int fd = listen_unix(path, err);
	if (fd < 0)
		return fd;
	struct control *c = calloc(1, sizeof(*c));
	char *copy = strdup(path);
	if (!c || !copy) {
		free(c);
		free(copy);
		close(fd);
		return -ENOMEM;
	}
	*c = (struct control){.fd = fd, .path = copy, .answer = answer, .arg = arg};
	for (int i = 0; i < CONTROL_CLIENTS; i++)
		c->clients[i].fd = -1;
	*ret = c;
	return 0;
}

static void client_end(struct client *cl)
{
	closep(&cl->fd);
	sbuf_release(&cl->in);
	sbuf_release(&cl->out);
	*cl = (struct client){.fd = -1};
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (int i = 0; i < CONTROL_CLIENTS; i++)
		client_end(&c->clients[i]);
	closep(&c->fd);
	unlink(c->path);
	free(c->path);
	free(c);
}

static struct client *free_client(struct control *c)
{
	for (int i = 0; i < CONTROL_CLIENTS; i++)
		if (c->clients[i].fd < 0)
			return &c->clients[i];
	return NULL;
}

/* Nobody is accepted while all places are taken. */
unsigned control_pollfds(const struct control *c, struct pollfd *fds, unsigned cap)
{
	unsigned cnt = 0;
	bool room = false;
	for (int i = 0; i < CONTROL_CLIENTS && cnt < cap; i++) {
		const struct client *cl = &c->clients[i];
		room |= cl->fd < 0;
		if (cl->fd >= 0)
			fds[cnt++] = (struct pollfd){.fd = cl->fd, .events = cl->asked ? POLLOUT : POLLIN};
	}
	if (room && cnt < cap)
		fds[cnt++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
	return cnt;
}

static void control_accept(struct control *c, uint64_t now_ns)
{
	struct ucred who = {0};
	socklen_t len = sizeof(who);
	struct client *cl = free_client(c);
	int fd = cl ? accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || (who.uid != 0 && who.uid != geteuid())) {
		log_warn("control: user %u (process %d) was turned away", who.uid, (int)who.pid);
		close(fd);
		return;
	}
	*cl = (struct client){.fd = fd, .since_ns = now_ns};
}

static void client_answer(struct control *c, struct client *cl)
{
	struct sbuf text = {0};
	struct sv words = sbuf_sv(&cl->in), rest = SV("");
	const char *end = words.len ? memchr(words.data, '\n', words.len) : NULL;
	if (end) {
		rest = (struct sv){end + 1, words.len - (size_t)(end + 1 - words.data)};
		words.len = (size_t)(end - words.data);
	}
	cl->asked = true;
	bool ok = c->answer(c->arg, words, rest, &text);
	sbuf_adds(&cl->out, ok ? "ok\n" : "error\n");
	sbuf_addsv(&cl->out, sbuf_sv(&text));
	sbuf_release(&text);
}

/* False: this client is done with. */
static bool client_read(struct control *c, struct client *cl)
{
	while (cl->in.len <= CONTROL_MAX_REQUEST) {
		char *at = sbuf_reserve(&cl->in, 4096);
		ssize_t n = at ? read(cl->fd, at, 4096) : -1;
		if (n > 0) {
			cl->in.len += (size_t)n;
			continue;
		}
		if (n == 0)
			client_answer(c, cl);
		return n == 0 || (at && (errno == EAGAIN || errno == EINTR));
	}
	return false;
}

static bool client_write(struct client *cl)
{
	while (cl->sent < cl->out.len) {
		ssize_t n = send(cl->fd, cl->out.data + cl->sent, cl->out.len - cl->sent, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		cl->sent += (size_t)n;
	}
	return false;
}

void control_polled(struct control *c, const struct pollfd *fds, unsigned cnt, uint64_t now_ns)
{
	for (unsigned f = 0; f < cnt; f++) {
		if (fds[f].revents && fds[f].fd == c->fd)
			control_accept(c, now_ns);
		for (int i = 0; i < CONTROL_CLIENTS && fds[f].revents; i++) {
			struct client *cl = &c->clients[i];
			if (cl->fd != fds[f].fd || cl->fd < 0)
				continue;
			bool go_on = cl->asked || client_read(c, cl);
			if (go_on && cl->asked)
				go_on = client_write(cl);
			if (!go_on)
				client_end(cl);
			break;
		}
	}
}

void control_tick(struct control *c, uint64_t now_ns)
{
	for (int i = 0; i < CONTROL_CLIENTS; i++)
		if (c->clients[i].fd >= 0 && now_ns - c->clients[i].since_ns > PATIENCE_NS)
			client_end(&c->clients[i]);
}

static int ask_failed(const char *what, const char *path, struct sbuf *out)
{
	int rc = -errno;
	sbuf_reset(out);
	sbuf_addf(out, "%s %s: %s%s", what, path, strerror(-rc),
		  rc == -ENOENT || rc == -ECONNREFUSED ? " (does `spanhound serve` run?)"
		  : rc == -EACCES		       ? " (are you root?)"
						       : "");
	return rc;
}

int control_ask(const char *path, struct sv request, struct sbuf *out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ASK_S};
	if (strlen(path) >= sizeof(address.sun_path)) {
		sbuf_addf(out, "the path of the socket %s is too long", path);
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path));
	__cleanup(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return ask_failed("cannot ask", path, out);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (size_t at = 0; at < request.len;) {
		ssize_t n = send(fd, request.data + at, request.len - at, MSG_NOSIGNAL);
		if (n < 0)
			return ask_failed("cannot ask", path, out);
		at += (size_t)n;
	}
	shutdown(fd, SHUT_WR);
	for (;;) {
		char *at = sbuf_reserve(out, 4096);
		ssize_t n = at ? read(fd, at, 4096) : -1;
		if (n < 0)
			return ask_failed("no answer of", path, out);
		if (n == 0)
			break;
		out->len += (size_t)n;
	}
	struct sv said = sbuf_sv(out);
	bool ok = sv_starts(said, SV("ok\n")), error = sv_starts(said, SV("error\n"));
	if (!ok && !error) {
		errno = ECONNRESET;
		return ask_failed("turned away by", path, out);
	}
	size_t head = ok ? 3 : 6;
	memmove(out->data, out->data + head, out->len - head);
	out->len -= head;
	out->data[out->len] = '\0';
	return ok;
}
