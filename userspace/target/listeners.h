/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_LISTENERS_H
#define TARGET_LISTENERS_H

#include "target/procfs.h"
#include "target/spec.h"

/* Who listens on which TCP port, IPv4 and IPv6: the sockets of each network namespace are read once, then every
 * process's descriptors are compared with them. One moment's truth: make one for a scan and release it. */
struct listeners {
	struct listen_ns *ns;
	size_t cnt, cap;
	size_t overflow; /* sockets beyond LISTENERS_MAX of one namespace: not seen */
};
#define LISTENERS_MAX 65536

void listeners_release(struct listeners *l);

/* Whether the process holds a socket that listens on one of `ports`. Without permission to see its descriptors:
 * false, and p->denied is set. */
bool listeners_match(struct listeners *l, struct proc *p, const struct int_vec *ports);
/* Whether it holds any listening TCP socket; as above. */
bool listeners_any(struct listeners *l, struct proc *p);
/* Every port it listens on is added once; 0 or -errno. */
int listeners_ports(struct listeners *l, struct proc *p, struct int_vec *ret_ports);

#endif
