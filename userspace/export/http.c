/* SPDX-License-Identifier: Apache-2.0 */
#include "export/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <strings.h>

#include "base/clock.h"
#include "base/cleanup.h"

#define HTTP_MAX_FDS  (HTTP_MAX_ACTIVE * 3) /* an address family each while connecting, and idle connections */
#define HTTP_MAX_BODY (1 << 20)

struct http_slot {
	CURL *easy;
	struct http_request *request; /* NULL: free */
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
};

struct http {
	const struct agent_url *where;
	char *user_agent;
	CURLM *multi;
	struct http_slot slots[HTTP_MAX_ACTIVE];
	unsigned active;
	struct pollfd fds[HTTP_MAX_FDS];
	unsigned fd_cnt;
	uint64_t due_ns; /* UINT64_MAX: no timer runs */
};

static void global_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void http_global(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, global_init);
}

/* --- what libcurl tells us ---------------------------------------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	struct http *h = arg;
	unsigned i = 0;
	(void)easy;
	(void)unused;
	while (i < h->fd_cnt && h->fds[i].fd != fd)
		i++;
	if (what == CURL_POLL_REMOVE) {
		if (i < h->fd_cnt)
			h->fds[i] = h->fds[--h->fd_cnt];
		return 0;
	}
	/* Beyond the table a socket is served by the timers alone: slowly, not wrongly. */
	if (i == HTTP_MAX_FDS)
		return 0;
	if (i == h->fd_cnt)
		h->fd_cnt++;
	h->fds[i] = (struct pollfd){
		.fd = fd, .events = (short)((what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0))};
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http *h = arg;
	(void)multi;
	h->due_ns = timeout_ms < 0 ? UINT64_MAX : clock_mono_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
	return 0;
}

static size_t on_reply(char *data, size_t one, size_t len, void *arg)
{
	struct http_request *r = arg;
	(void)one;
	size_t room = HTTP_MAX_REPLY - r->reply.len;
	sbuf_add(&r->reply, data, len < room ? len : room);
	return len;
}

/* Keeps the value of header `name` if this line is it. */
static void keep_field(char out[HTTP_MAX_FIELD], const char *name, struct sv line)
{
	size_t len = strlen(name);
	if (line.len <= len || line.data[len] != ':' || strncasecmp(line.data, name, len) != 0)
		return;
	struct sv v = {line.data + len + 1, line.len - len - 1};
	while (v.len && (v.data[0] == ' ' || v.data[0] == '\t'))
		v = (struct sv){v.data + 1, v.len - 1};
	while (v.len && (unsigned char)v.data[v.len - 1] <= ' ')
		v.len--;
	if (v.len < HTTP_MAX_FIELD)
		snprintf(out, HTTP_MAX_FIELD, SV_FMT, SV_ARG(v));
}

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct http_request *r = arg;
	(void)one;
	keep_field(r->agent_state, "Datadog-Agent-State", (struct sv){data, len});
	keep_field(r->rates_version, "Datadog-Rates-Payload-Version", (struct sv){data, len});
	return len;
}

size_t http_body_sz(const struct http_request *r)
{
	size_t sz = 0;
	for (unsigned i = 0; i < r->part_cnt; i++)
		sz += r->parts[i].len;
	return sz;
}

static size_t on_send(char *out, size_t one, size_t cap, void *arg)
{
	struct http_request *r = arg;
	size_t n = 0, skip = r->sent;
	cap *= one;
	for (unsigned i = 0; i < r->part_cnt && n < cap; i++) {
		struct sv part = r->parts[i];
		if (skip >= part.len) {
			skip -= part.len;
			continue;
		}
		size_t take = part.len - skip < cap - n ? part.len - skip : cap - n;
		memcpy(out + n, part.data + skip, take);
		n += take;
		skip = 0;
	}
	r->sent += n;
	return n;
}

/* Asked for when a connection that was kept turns out to be closed and curl begins again on a new one. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_request *r = arg;
	if (origin != SEEK_SET || offset < 0)
		return CURL_SEEKFUNC_FAIL;
	r->sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct sbuf *b = arg;
	(void)one;
	if (b->len + len > HTTP_MAX_BODY)
		return 0;
	sbuf_add(b, data, len);
	return b->failed ? 0 : len;
}

/* --- one request -------------------------------------------------------------------------------------------------- */

static const char *env_path(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

static void easy_setup(CURL *easy, const struct agent_url *where, const char *path, uint64_t timeout_ns, char *error)
{
	struct sbuf url = {0};
	sbuf_addf(&url, "%s%s", where->base, path);
	curl_easy_setopt(easy, CURLOPT_URL, sbuf_str(&url));
	sbuf_release(&url);
	if (where->socket)
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, where->socket);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
	/* What OpenSSL's own programs look at; else the system's certificates. */
	if (env_path("SSL_CERT_FILE"))
		curl_easy_setopt(easy, CURLOPT_CAINFO, env_path("SSL_CERT_FILE"));
	if (env_path("SSL_CERT_DIR"))
		curl_easy_setopt(easy, CURLOPT_CAPATH, env_path("SSL_CERT_DIR"));
	long ms = (long)(timeout_ns / NSEC_PER_MSEC);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, ms ? ms : 1L);
}

static enum http_outcome outcome_of(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_REPLIED;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return HTTP_ABSENT;
	default:
		return HTTP_BROKEN;
	}
}

/* The system's word for it where there is one: "Connection refused" says more than curl's sentence. */
static void reason_of(char *out, size_t cap, CURL *easy, CURLcode code, const char *error, uint64_t timeout_ns)
{
	long os = 0;
	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os);
	if (code == CURLE_OPERATION_TIMEDOUT)
		snprintf(out, cap, "no answer within %.3g s", (double)timeout_ns / (double)NSEC_PER_SEC);
	else if (code == CURLE_COULDNT_CONNECT && os)
		snprintf(out, cap, "%s", strerror((int)os));
	else
		snprintf(out, cap, "%s", error[0] ? error : curl_easy_strerror(code));
}

int http_get(const struct agent_url *where, const char *path, uint64_t timeout_ns, struct sbuf *ret_body,
	     struct sbuf *err)
{
	char error[CURL_ERROR_SIZE] = "";
	struct sbuf body = {0};
	http_global();
	CURL *easy = curl_easy_init();
	if (!easy)
		return -ENOMEM;
	easy_setup(easy, where, path, timeout_ns, error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
	CURLcode code = curl_easy_perform(easy);
	long status = 0;
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK) {
		char reason[128];
		reason_of(reason, sizeof(reason), easy, code, error, timeout_ns);
		sbuf_adds(err, reason);
	} else if (ret_body) {
		sbuf_addsv(ret_body, sbuf_sv(&body));
	}
	curl_easy_cleanup(easy);
	sbuf_release(&body);
	switch (outcome_of(code)) {
	case HTTP_REPLIED:
		return (int)status;
	case HTTP_ABSENT:
		return -ECONNREFUSED;
	default:
		return code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EPROTO;
	}
}

/* --- several ------------------------------------------------------------------------------------------------------ */

struct http *http_new(const struct agent_url *where, const char *user_agent)
{
	http_global();
	struct http *h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->where = where;
	h->due_ns = UINT64_MAX;
	h->user_agent = strdup(user_agent);
	h->multi = curl_multi_init();
	if (!h->multi || !h->user_agent) {
		http_free(h);
		return NULL;
	}
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS,
			  1L); /* kept open; one is enough, as requests follow each other */
	return h;
}

static void slot_reset(struct http *h, struct http_slot *s)
{
	curl_multi_remove_handle(h->multi, s->easy);
	curl_easy_reset(s->easy);
	curl_slist_free_all(s->headers);
	s->headers = NULL;
	s->request = NULL;
	h->active--;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < HTTP_MAX_ACTIVE; i++) {
		if (h->slots[i].request)
			slot_reset(h, &h->slots[i]);
		curl_easy_cleanup(h->slots[i].easy);
	}
	curl_multi_cleanup(h->multi);
	free(h->user_agent);
	free(h);
}

static bool slot_headers(struct http_slot *s, const char *const *headers)
{
	/* "Expect:" with nothing behind it keeps curl from asking before it sends a large body. */
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");
	for (; list && *headers; headers++) {
		struct curl_slist *longer = curl_slist_append(list, *headers);
		if (!longer)
			curl_slist_free_all(list);
		list = longer;
	}
	s->headers = list;
	return list != NULL;
}

static void easy_body(CURL *easy, struct http_request *r)
{
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)http_body_sz(r));
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_READDATA, r);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, r);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
}

int http_start(struct http *h, struct http_request *r)
{
	struct http_slot *s = h->slots;
	while (s < h->slots + HTTP_MAX_ACTIVE && s->request)
		s++;
	if (s == h->slots + HTTP_MAX_ACTIVE)
		return -EAGAIN;
	if (!s->easy)
		s->easy = curl_easy_init();
	if (!s->easy || !slot_headers(s, r->headers))
		return -ENOMEM;
	sbuf_reset(&r->reply);
	r->agent_state[0] = r->rates_version[0] = r->reason[0] = s->error[0] = '\0';
	r->status = 0;
	r->sent = 0;
	easy_setup(s->easy, h->where, r->path, r->timeout_ns, s->error);
	curl_easy_setopt(s->easy, CURLOPT_USERAGENT, h->user_agent);
	curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers);
	curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_reply);
	curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
	curl_easy_setopt(s->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(s->easy, CURLOPT_HEADERDATA, r);
	if (r->part_cnt)
		easy_body(s->easy, r);
	s->request = r;
	h->active++;
	if (curl_multi_add_handle(h->multi, s->easy) == CURLM_OK)
		return 0;
	slot_reset(h, s);
	return -ENOMEM;
}

void http_run(struct http *h, uint64_t now_ns)
{
	int running;
	if (h->due_ns <= now_ns) {
		h->due_ns = UINT64_MAX;
		curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	struct pollfd fds[HTTP_MAX_FDS];
	unsigned cnt = h->fd_cnt; /* the callbacks change the table */
	memcpy(fds, h->fds, cnt * sizeof(fds[0]));
	if (cnt == 0 || poll(fds, cnt, 0) <= 0)
		return;
	for (unsigned i = 0; i < cnt; i++) {
		int events = (fds[i].revents & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) |
			     (fds[i].revents & POLLOUT ? CURL_CSELECT_OUT : 0) |
			     (fds[i].revents & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0);
		if (events)
			curl_multi_socket_action(h->multi, fds[i].fd, events, &running);
	}
}

struct http_request *http_done(struct http *h)
{
	CURLMsg *msg;
	int left;
	while ((msg = curl_multi_info_read(h->multi, &left))) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		CURLcode code = msg->data.result;
		CURL *easy = msg->easy_handle;
		struct http_slot *s = NULL;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&s);
		struct http_request *r = s->request;
		r->outcome = outcome_of(code);
		if (code == CURLE_OK)
			curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &r->status);
		else
			reason_of(r->reason, sizeof(r->reason), easy, code, s->error, r->timeout_ns);
		slot_reset(h, s);
		return r;
	}
	return NULL;
}

unsigned http_pollfds(const struct http *h, struct pollfd *fds, unsigned cap, uint64_t *ret_due_ns)
{
	unsigned cnt = h->fd_cnt < cap ? h->fd_cnt : cap;
	memcpy(fds, h->fds, cnt * sizeof(fds[0]));
	if (h->due_ns < *ret_due_ns)
		*ret_due_ns = h->due_ns;
	return cnt;
}
