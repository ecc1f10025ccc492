/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SERVICE_H
#define APP_SERVICE_H

#include <poll.h>

#include "app/control.h"
#include "app/session.h"

/* What a session has that runs as a daemon (`spanhound serve`): it tells the service manager how it is (sd_notify),
 * looks for processes that began to listen,
 * reads its configuration again when it changed,
 * obeys `spanhound ctl` and answers who watches it. All of it runs on the supervisor. */
struct service;

/* 0 or -errno with a sentence in err. */
int service_open(struct service **ret, struct session *s, struct sbuf *err);
void service_close(struct service *v); /* NULL is fine */

/* Everything is attached. */
void service_ready(struct service *v);
void service_stopping(struct service *v);

/* Fills in up to `cap` descriptors to wait for; then takes what poll() said of them. */
#define SERVICE_POLLFDS (2 + CONTROL_POLLFDS)
/* SIGHUP. */
void service_reload(struct service *v);
unsigned service_pollfds(struct service *v, struct pollfd *fds, unsigned cap);
void service_polled(struct service *v, const struct pollfd *fds, unsigned cnt);
/* At least once a second, and at service_due(). */
void service_tick(struct service *v, uint64_t now_ns);
uint64_t service_due(const struct service *v);

/* Of the plan: see plan_options. */
void service_unpublish(struct service *v, const struct plan_function *f);

/* A process that was not chosen executed a program: it may listen soon. */
void service_executed(struct service *v, uint64_t now_ns);

#endif
