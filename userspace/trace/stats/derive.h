/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_STATS_DERIVE_H
#define TRACE_STATS_DERIVE_H

#include <stdint.h>

#include "base/sbuf.h"

/* Values of statistics that are not simply the value of a tag, as the Agent derives them. */

/* The number of a gRPC status ("5", "NOT_FOUND", "NotFound", "StatusCode.NOT_FOUND"), in decimal; empty when it is
 * none. (pkg/trace/stats/aggregation.go). `room` is used for numbers without a name. */
struct sv derive_grpc_code(struct sv text, char room[11]);

/* Appends the value of a peer tag: addresses in a comma-separated list become blocked-ip-address, equal parts one;
 * those of the machine itself and of a cloud's metadata servers stay, and so does what is no address
 * (pkg/obfuscate/ip_address.go). Nearly all values have none and are told at a glance. */
void derive_peer_value(struct sbuf *out, struct sv value);

#define DERIVE_MAX_PARTS 64 /* of such a list; what follows stays as it is */

#endif
