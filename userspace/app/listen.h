/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_LISTEN_H
#define APP_LISTEN_H

#include "base/sbuf.h"

/* Sockets a daemon listens on. Each returns a descriptor that does not block, or -errno with a sentence in err. */

/* A Unix socket of mode 0600; its folder is made (0755) if it is the last one that is missing. What an earlier run left
 * there is replaced; where somebody answers, that one is left alone (-EADDRINUSE). */
int listen_unix(const char *path, struct sbuf *err);
/* "127.0.0.1:PORT", "[::1]:PORT" or "localhost:PORT"; other addresses are refused. */
int listen_loopback(const char *address, struct sbuf *err);

#endif
