/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_DOGSTATSD_SOCKET_H
#define EXPORT_DOGSTATSD_SOCKET_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/sbuf.h"

/* Where packets go. Never waits; connects again by itself, at most once a second. */
struct dogstatsd_socket {
	int fd;			      /* -1: not connected */
	bool is_unix, stream, either; /* `either`: datagrams first, a stream when it is one */
	struct sockaddr_storage address;
	socklen_t address_len;
	bool port_assumed; /* nobody said which */
	uint64_t retry_ns; /* no connection is tried before */
	char shown[160];
};

/* See dogstatsd.h. */
int dogstatsd_socket_init(struct dogstatsd_socket *s, const char *url, uint16_t agent_port, struct sbuf *err);
/* What the Agent says of itself, where nobody else said: from now on there. */
void dogstatsd_socket_agent_port(struct dogstatsd_socket *s, uint16_t port);
/* 0, or -errno: the packet is lost. A stream gets its length in front. */
int dogstatsd_socket_send(struct dogstatsd_socket *s, const char *packet, size_t len, uint64_t now_ns);
void dogstatsd_socket_release(struct dogstatsd_socket *s);

#endif
