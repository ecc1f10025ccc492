/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_HEALTH_SERVER_H
#define APP_HEALTH_SERVER_H

#include "app/status.h"

/* HTTP for those who watch a daemon, on a Unix socket or this host's own address (libmicrohttpd). Runs on the supervisor, so
 * that an answer needs no lock; who reads it slowly holds up nobody.
 *
 *	GET /healthz   200, or 503 with what is wrong: for a liveness probe
 *	GET /readyz    200 once all that was there is attached, else 503
 *	GET /metrics   OpenMetrics
 *	GET /status    JSON; with the reason why a configuration was refused */
struct health_server;

/* `listen`: unix:///PATH or ADDRESS:PORT. `status` fills in the state to tell. 0 or -errno with a sentence in err. */
int health_server_open(struct health_server **ret, const char *listen,
		       void (*status)(void *arg, struct status *ret_status), void *arg, struct sbuf *err);
void health_server_close(struct health_server *h); /* NULL is fine */
int health_server_fd(const struct health_server *h);
/* When the descriptor is readable, and now and then, for those who never end a request. */
void health_server_run(struct health_server *h);

#endif
