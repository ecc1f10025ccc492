/* SPDX-License-Identifier: Apache-2.0 */
/* Who is connected with whom. */
#include <string.h>
#include <sys/socket.h>

#include "flow/connection.h"

static bool connection_is_tcp(const struct connection *n)
{
	return n->family == AF_INET || n->family == AF_INET6;
}

bool connection_has_ends(const struct connection *n)
{
	static const uint8_t unknown[16];
	return connection_is_tcp(n) ||
	       (n->family == AF_UNIX && memcmp(n->server ? n->remote : n->local, unknown, sizeof(unknown)));
}

struct join_key connection_ends(const struct connection *n, uint32_t seq)
{
	struct join_key k = {.seq = seq};
	memcpy(k.client, n->server ? n->remote : n->local, 16);
	/* One socket names a pair of them. The asking end is there from the first request on; the other one may not be
	 * accepted yet. */
	if (n->family == AF_UNIX)
		return k;
	memcpy(k.server, n->server ? n->local : n->remote, 16);
	k.client_port = n->server ? n->remote_port : n->local_port;
	k.server_port = n->server ? n->local_port : n->remote_port;
	return k;
}

static struct connection *connection_asker(const struct connection *n)
{
	struct join_key ends = connection_ends(n, 0), other;
	uint32_t ref;
	for (uint32_t i = n->ends_hash; (ref = hindex_at(&n->shared->askers, &i, n->ends_hash)) != HINDEX_NONE; i++) {
		other = connection_ends(&n->shared->slots[ref], 0);
		if (!memcmp(&ends, &other, sizeof(ends)))
			return &n->shared->slots[ref];
	}
	return NULL;
}

static void connection_register(struct connection *n)
{
	struct join_key ends = connection_ends(n, 0);
	n->ends_hash = join_key_hash(&ends);
	/* The table's other one of the same ends is gone, its end unseen; or it is in another network. */
	if (n->server || !connection_has_ends(n))
		return;
	n->is_asker = hindex_put(&n->shared->askers, n->ends_hash, n->slot) == 0;
}

void connection_unregister(struct connection *n)
{
	if (n->is_asker)
		hindex_del(&n->shared->askers, n->ends_hash, n->slot);
	n->is_asker = false;
}

void connection_set_role(struct connection *n, bool server)
{
	n->has_role = true;
	n->server = server;
	connection_register(n);
}

/* As an IPv6 address: a server that listens on both sees its IPv4 clients so. */
static void address_copy(uint8_t to[16], const uint8_t from[16], uint16_t family)
{
	memcpy(to, from, 16);
	if (family != AF_INET)
		return;
	memset(to, 0, 10);
	to[10] = to[11] = 0xff;
	memcpy(to + 12, from, 4);
}

void connection_told(struct connection *n, const struct sh_ev_conn *e)
{
	connection_unregister(n);
	n->told = true;
	n->family = e->family;
	n->local_port = e->local_port;
	n->remote_port = e->remote_port;
	n->connect_us = e->connect_us;
	n->tgid = e->tgid;
	n->tid = e->tid;
	n->connecting = e->hdr.flags & SH_CONN_CONNECT;
	n->connect_parent = e->parent;
	n->told_ns = e->time_ns;
	address_copy(n->local, e->local, e->family);
	address_copy(n->remote, e->remote, e->family);
	if (n->has_role)
		connection_register(n);
}

/* Of this host, or of the containers on it? */
static bool address_is_near(const uint8_t a[16])
{
	static const uint8_t loopback6[16] = {[15] = 1}, mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (memcmp(a, mapped, sizeof(mapped)))
		return !memcmp(a, loopback6, 16) || (a[0] & 0xfe) == 0xfc || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
	const uint8_t *v4 = a + 12; /* RFC 1918, 6598, 3927 */
	return v4[0] == 127 || v4[0] == 10 || (v4[0] == 172 && (v4[1] & 0xf0) == 16) ||
	       (v4[0] == 192 && v4[1] == 168) || (v4[0] == 100 && (v4[1] & 0xc0) == 64) ||
	       (v4[0] == 169 && v4[1] == 254);
}

/* May whoever wrote this request be traced, too, and just not be seen yet? */
enum exchange_writer connection_writer(const struct connection *n, uint64_t now_ns)
{
	if (n->family == AF_UNIX || connection_asker(n)) /* the kernel half numbers requests of traced ones alone */
		return WRITER_TRACED;
	if (n->asked_ns && now_ns - n->asked_ns > EXCHANGES_SEARCH_NS) /* it would have been seen by now */
		return WRITER_STRANGE;
	return !memcmp(n->local, n->remote, 16) || address_is_near(n->remote) ? WRITER_MAYBE : WRITER_STRANGE;
}
