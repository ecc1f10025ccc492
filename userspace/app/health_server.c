/* SPDX-License-Identifier: Apache-2.0 */
#include "app/health_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/listen.h"

#define MAX_CONNECTIONS 16
#define TIMEOUT_S	10
#define MEMORY_EACH	8192 /* for the head of a request */

struct health_server {
	struct MHD_Daemon *daemon;
	int fd;
	char *unlink_path;
	void (*status)(void *arg, struct status *ret_status);
	void *arg;
};

static unsigned answer_health(const struct status *st, struct sbuf *out)
{
	if (status_health(st, out) < 0)
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	sbuf_adds(out, "ok\n");
	if (st->reload->bad)
		sbuf_addf(out, "the configuration was refused, an earlier one is in force:\n%s\n",
			  sbuf_str(&st->reload->error));
	return MHD_HTTP_OK;
}

static unsigned answer_ready(const struct status *st, struct sbuf *out)
{
	sbuf_adds(out, st->ready ? "ready\n" : "not all is attached yet\n");
	return st->ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned answer_metrics(const struct status *st, struct sbuf *out)
{
	status_metrics(st, out);
	return MHD_HTTP_OK;
}

static unsigned answer_status(const struct status *st, struct sbuf *out)
{
	status_json(st, out);
	return MHD_HTTP_OK;
}

#define TEXT "text/plain; charset=utf-8"
static const struct page {
	const char *path, *type;
	unsigned (*answer)(const struct status *st, struct sbuf *out);
} pages[] = {
	{"/healthz", TEXT, answer_health},
	{"/readyz", TEXT, answer_ready},
	{"/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", answer_metrics},
	{"/status", "application/json", answer_status},
};

/* The text is the response's from here on. */
static enum MHD_Result send_text(struct MHD_Connection *c, unsigned code, const char *type, struct sbuf *text)
{
	size_t len = text->len;
	char *data = text->failed ? NULL : sbuf_detach(text);
	sbuf_release(text);
	struct MHD_Response *r = data ? MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE) : NULL;
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	enum MHD_Result rc = MHD_queue_response(c, code, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_sz, void **state)
{
	struct health_server *h = arg;
	struct sbuf text = {0};
	struct status st = {0};
	static int begun;
	(void)version;
	(void)upload;
	if (!*state) {
		*state = &begun; /* answered when the request is whole */
		return MHD_YES;
	}
	*upload_sz = 0;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		sbuf_adds(&text, "GET alone\n");
		return send_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, TEXT, &text);
	}
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (strcmp(url, pages[i].path) != 0)
			continue;
		h->status(h->arg, &st);
		unsigned code = pages[i].answer(&st, &text);
		return send_text(c, code, pages[i].type, &text);
	}
	sbuf_adds(&text, "there are /healthz, /readyz, /metrics and /status\n");
	return send_text(c, MHD_HTTP_NOT_FOUND, TEXT, &text);
}

int health_server_open(struct health_server **ret, const char *listen,
		       void (*status)(void *arg, struct status *ret_status), void *arg, struct sbuf *err)
{
	bool is_path = strncmp(listen, "unix://", 7) == 0;
	int fd = is_path ? listen_unix(listen + 7, err) : listen_loopback(listen, err);
	if (fd < 0)
		return fd;
	struct health_server *h = calloc(1, sizeof(*h));
	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	h->status = status;
	h->arg = arg;
	h->fd = -1;
	h->unlink_path = is_path ? strdup(listen + 7) : NULL;
	h->daemon =
		MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, h, MHD_OPTION_LISTEN_SOCKET, fd,
				 MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S,
				 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_EACH, MHD_OPTION_END);
	const union MHD_DaemonInfo *info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		sbuf_addf(err, "cannot serve HTTP on %s", listen);
		if (!h->daemon)
			close(fd);
		health_server_close(h);
		return -EIO;
	}
	h->fd = info->epoll_fd;
	*ret = h;
	return 0;
}

void health_server_close(struct health_server *h)
{
	if (!h)
		return;
	if (h->daemon)
		MHD_stop_daemon(h->daemon); /* closes the socket, too */
	if (h->unlink_path)
		unlink(h->unlink_path);
	free(h->unlink_path);
	free(h);
}

int health_server_fd(const struct health_server *h)
{
	return h->fd;
}

void health_server_run(struct health_server *h)
{
	MHD_run(h->daemon);
}
