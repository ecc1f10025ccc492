/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_AGENT_URL_H
#define EXPORT_AGENT_URL_H

#include "base/sbuf.h"

/* Where the Datadog Agent listens. */
struct agent_url {
	char *base;   /* http://host:port or https://..., without a slash at its end; for a socket http://localhost */
	char *socket; /* path of a Unix socket, or NULL */
	char *shown;  /* as a person would write it, without a password */
	const char *source; /* what decided: "argument", "DD_TRACE_AGENT_URL", ..., "default socket", "default" */
};

/* http://HOST[:PORT], https://..., unix:///PATH. 0, or -EINVAL with a sentence in err. */
int agent_url_parse(struct agent_url *ret, const char *text, struct sbuf *err);
/* The argument if there is one; else DD_TRACE_AGENT_URL; else DD_AGENT_HOST (DD_TRACE_AGENT_HOSTNAME) and
 * DD_TRACE_AGENT_PORT; else the socket DD_APM_RECEIVER_SOCKET names; else /var/run/datadog/apm.socket if it exists;
 * else http://localhost:8126: ddtrace's order. An empty variable is an unset one. */
int agent_url_find(struct agent_url *ret, const char *argument, struct sbuf *err);
void agent_url_release(struct agent_url *u);

#endif
