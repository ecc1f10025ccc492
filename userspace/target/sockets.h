/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_SOCKETS_H
#define TARGET_SOCKETS_H

#include "target/procfs.h"

/* The sockets a process holds, by its descriptors. One moment's truth: by the time a number is used it may be another file's.
 * The callbacks say true to stop. */

/* Every socket, of whatever family. 0, or -errno as proc_open(). */
int sockets_each(struct proc *p, bool (*found)(void *arg, int fd, uint64_t inode), void *arg);

/* Established TCP connections, IPv4 and IPv6, that it did not accept: nobody in its network namespace listens on their port. (One
 * whose listener is closed already passes for a client's.) Not those to port 443: TLS. 0 or -errno. */
int sockets_clients(struct proc *p, bool (*found)(void *arg, int fd, uint64_t inode), void *arg);
/* Connections of one namespace that are looked at; what is beyond is not found. */
#define SOCKETS_MAX (1u << 20)

#endif
