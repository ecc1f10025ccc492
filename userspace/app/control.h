/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_CONTROL_H
#define APP_CONTROL_H

#include <poll.h>

#include "base/sbuf.h"

/* The socket on which a daemon is told what to do (`spanhound ctl`), and any session is asked (`spanhound context`). Mode 0600, and whoever connects must be root or the
 * daemon's own user (SO_PEERCRED): others are turned away before anything they say is read.
 *
 * Protocol: one request for each connection. The client sends one line of words, "probe add" a text behind it, and shuts down
 * its side. The daemon answers with a line "ok" or "error", then text until it closes:
 *
 *	status              JSON
 *	flush               sends what waits for the receivers now
 *	reload              as SIGHUP
 *	probe list          JSON: the probes in force, each with the number that names it
 *	probe add\nYAML     adds `probes:` until the end of the daemon, or
 *	probe remove N      until this
 *	context PID         JSON: what its threads are in (app/contexts.h)
 *
 * Of attach and run: flush and context alone. */
#define CONTROL_SOCKET	    "/run/spanhound/control.sock"
#define CONTROL_MAX_REQUEST (1 << 20)
#define CONTROL_CLIENTS	    4

struct control;

/* Answers one request: the text into `out`; false: it is an error. */
typedef bool (*control_answer_fn)(void *arg, struct sv words, struct sv text, struct sbuf *out);

int control_open(struct control **ret, const char *path, control_answer_fn answer, void *arg, struct sbuf *err);
void control_close(struct control *c); /* NULL is fine; removes the socket */

#define CONTROL_POLLFDS (1 + CONTROL_CLIENTS)
unsigned control_pollfds(const struct control *c, struct pollfd *fds, unsigned cap);
void control_polled(struct control *c, const struct pollfd *fds, unsigned cnt, uint64_t now_ns);
/* Ends those who say nothing. */
void control_tick(struct control *c, uint64_t now_ns);

/* The client's side: sends, waits for all of the answer. 1 ok, 0 the daemon says error; -errno with a sentence in out. */
int control_ask(const char *path, struct sv request, struct sbuf *out);

#endif
