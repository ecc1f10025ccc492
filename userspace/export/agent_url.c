/* SPDX-License-Identifier: Apache-2.0 */
#include "export/agent_url.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/confine.h"
#include "base/variables.h"
#include "trace/settings.h"

#define AGENT_SOCKET "/var/run/datadog/apm.socket"
#define AGENT_PORT   "8126"

void agent_url_release(struct agent_url *u)
{
	free(u->base);
	free(u->socket);
	free(u->shown);
	*u = (struct agent_url){0};
}

static int agent_url_set(struct agent_url *u, struct sv base, const char *socket, const char *shown)
{
	struct sbuf masked = {0};
	setting_show_urls(sv_of(shown), &masked);
	u->base = strndup(base.data, base.len);
	u->socket = socket ? strdup(socket) : NULL;
	u->shown = sbuf_detach(&masked);
	if (u->base && u->shown && (u->socket || !socket))
		return 0;
	agent_url_release(u);
	return -ENOMEM;
}

static bool has_control(struct sv s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.data[i] <= ' ' || s.data[i] == 0x7f)
			return true;
	return false;
}

/* True when `s` is a port number. */
static bool is_port(struct sv s)
{
	unsigned port = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9' || s.len > 5)
			return false;
		port = port * 10 + (unsigned)(s.data[i] - '0');
	}
	return port > 0 && port < 65536;
}

/* HOST, HOST:PORT, [V6]:PORT before any path. */
static bool authority_is_good(struct sv s)
{
	const char *slash = memchr(s.data, '/', s.len);
	if (slash)
		s.len = (size_t)(slash - s.data);
	const char *bracket = s.len && s.data[0] == '[' ? memchr(s.data, ']', s.len) : NULL;
	if (s.len && s.data[0] == '[' && !bracket)
		return false;
	size_t from = bracket ? (size_t)(bracket - s.data) : 0;
	const char *colon = s.len ? memrchr(s.data + from, ':', s.len - from) : NULL;
	size_t host = colon ? (size_t)(colon - s.data) : s.len;
	return host > 0 && (!colon || is_port((struct sv){colon + 1, s.len - host - 1}));
}

int agent_url_parse(struct agent_url *ret, const char *text, struct sbuf *err)
{
	*ret = (struct agent_url){0};
	struct sv s = sv_of(text);
	if (!has_control(s) && sv_starts(s, SV("unix:///")) && s.len > 8) {
		confine_will_use(text + 7);
		return agent_url_set(ret, SV("http://localhost"), text + 7, text);
	}
	size_t scheme = sv_starts(s, SV("http://")) ? 7 : sv_starts(s, SV("https://")) ? 8 : 0;
	while (s.len > scheme && s.data[s.len - 1] == '/')
		s.len--;
	if (!has_control(s) && scheme && authority_is_good((struct sv){s.data + scheme, s.len - scheme}))
		return agent_url_set(ret, s, NULL, text);
	sbuf_addc(err, '\'');
	setting_show_urls(s, err);
	sbuf_adds(err, "' is not the URL of an Agent: write http://HOST:PORT, https://HOST:PORT or unix:///PATH");
	if (text[0] == '/')
		sbuf_addf(err, "; did you mean unix://%s?", text);
	else if (!scheme && strchr(text, ':') && !strstr(text, "//"))
		sbuf_addf(err, "; did you mean http://%s?", text);
	return -EINVAL;
}

static int agent_url_from(struct agent_url *ret, const char *text, const char *source, struct sbuf *err)
{
	size_t before = err->len;
	int r = agent_url_parse(ret, text, err);
	if (r == -EINVAL && strcmp(source, "argument") != 0 && err->len > before) {
		struct sbuf why = {0};
		sbuf_addf(&why, "%s: %s", source, err->data + before);
		err->len = before;
		sbuf_addsv(err, sbuf_sv(&why));
		sbuf_release(&why);
	}
	ret->source = source;
	return r;
}

int agent_url_find(struct agent_url *ret, const char *argument, struct sbuf *err)
{
	if (argument && *argument)
		return agent_url_from(ret, argument, "argument", err);
	if (variable_get("DD_TRACE_AGENT_URL"))
		return agent_url_from(ret, variable_get("DD_TRACE_AGENT_URL"), "DD_TRACE_AGENT_URL", err);
	const char *host = variable_get("DD_AGENT_HOST"), *port = variable_get("DD_TRACE_AGENT_PORT");
	const char *source = host ? "DD_AGENT_HOST" : "DD_TRACE_AGENT_HOSTNAME";
	if (!host)
		host = variable_get("DD_TRACE_AGENT_HOSTNAME");
	struct stat st;
	char text[512];
	if (!host && !port && variable_get("DD_APM_RECEIVER_SOCKET")) {
		snprintf(text, sizeof(text), "unix://%s", variable_get("DD_APM_RECEIVER_SOCKET"));
		return agent_url_from(ret, text, "DD_APM_RECEIVER_SOCKET", err);
	}
	if (!host && !port && stat(AGENT_SOCKET, &st) == 0 && S_ISSOCK(st.st_mode))
		return agent_url_from(ret, "unix://" AGENT_SOCKET, "default socket", err);
	/* A bare IPv6 address needs brackets in a URL. */
	bool v6 = host && host[0] != '[' && strchr(host, ':') != strrchr(host, ':');
	snprintf(text, sizeof(text), v6 ? "http://[%s]:%s" : "http://%s:%s", host ? host : "localhost",
		 port ? port : AGENT_PORT);
	return agent_url_from(ret, text, host ? source : port ? "DD_TRACE_AGENT_PORT" : "default", err);
}
