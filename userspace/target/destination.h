/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_DESTINATION_H
#define TARGET_DESTINATION_H

#include "base/sv.h"
#include "spanhound/exclude.h"

/* Where requests go, as a text of `propagation: {exclude:}`: each may end in a colon and the port of the connection.
 *
 *   api.example.com    the host that the request names (Host), in any case
 *   *.example.com      one that ends so: not example.com itself
 *   10.0.0.0/8, ::1    where the connection goes; an IPv6 address before a port is in brackets
 *   *                  anywhere: *:9200 for a port alone
 *
 * Through a proxy the connection goes to the proxy, and Host names whom it is for. 0, or -EINVAL. */
int destination_parse(struct sv text, struct sh_exclude *ret);

#endif
