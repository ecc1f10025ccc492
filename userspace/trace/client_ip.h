/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_CLIENT_IP_H
#define TRACE_CLIENT_IP_H

#include "base/sv.h"

/* The address of the client that proxies on the way wrote into a header, as ddtrace finds it
 * (contrib/internal/trace_utils.py of 4.16): the first of these headers that is there decides, whatever is in it. */
extern const struct sv client_ip_headers[];
extern const unsigned client_ip_header_cnt;

/* An IPv4 or IPv6 address that is not private, loopback, link-local, reserved or for documentation (Python's
 * is_global). */
bool ip_is_global(struct sv ip);
bool ip_is_valid(struct sv ip);

/* The first global address in a header's value: "a, b" or "for=a;by=c, for=b". If there is none: `peer` when that is
 * global, else the first address in the value, else `peer`. What has a port, and what is no address, is passed over. */
struct sv client_ip_find(struct sv value, struct sv peer);

#endif
