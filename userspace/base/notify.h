/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdint.h>

/* Telling a service manager how we are: sd_notify(3), whose protocol is a datagram of "NAME=value" lines to the socket that
 * $NOTIFY_SOCKET names. libsystemd is not taken for that: its documentation says the protocol is stable and meant to be
 * spoken without it, and the binary is to need nothing beside it. */

/* 1 sent, 0 nobody asked (no $NOTIFY_SOCKET), or -errno. Never blocks. */
int notify_send(const char *lines);

/* How often "WATCHDOG=1" is wanted, in ns; 0: not at all. As sd_watchdog_enabled(3): $WATCHDOG_USEC, if $WATCHDOG_PID is
 * absent or us. */
uint64_t notify_watchdog_ns(void);

#endif
