/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/connections.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <uthash.h>

#include "flow/connection.h"

/* A record that came before one that was made earlier. */
struct stashed {
	struct stashed *next; /* by number */
	uint32_t number;
	struct sh_ev_hdr record[];
};

struct connections {
	struct connections_options options;
	struct connection *all;
	struct connection *dirty; /* with stashed records */
	struct connection_shared shared;
	struct connections_stats stats;
};

struct connections *connections_new(const struct connections_options *options)
{
	struct connections *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->options = *options;
	http1_shared_init(&c->shared.http1, options->head_max, 0);
	c->shared.exchanges = options->exchanges;
	c->shared.stats = &c->stats;
	c->shared.actors = options->actors;
	return c;
}

void connections_want(struct connections *c, const struct request_settings *settings)
{
	connection_want_headers(&c->shared, settings);
}

static void connection_drop_stash(struct connection *n)
{
	struct stashed *s, *next;
	for (s = n->stash; s; s = next) {
		next = s->next;
		free(s);
	}
	n->stash = NULL;
}

static void connections_remove(struct connections *c, struct connection *n)
{
	connection_drop_stash(n);
	connection_release(n);
	HASH_DEL(c->all, n);
	c->stats.open--;
	free(n);
}

void connections_free(struct connections *c)
{
	if (!c)
		return;
	struct connection *n, *next;
	HASH_ITER(hh, c->all, n, next) connections_remove(c, n);
	connection_shared_release(&c->shared);
	free(c);
}

/* --- finding and making them -------------------------------------------------------------------------------------- */

static struct connection *connections_get(struct connections *c, uint64_t id)
{
	struct connection *n;
	HASH_FIND(hh, c->all, &id, sizeof(id), n);
	if (n)
		return n;
	n = c->stats.open < c->options.max ? calloc(1, sizeof(*n)) : NULL;
	if (!n)
		return NULL;
	n->id = id;
	n->next_number = 1;
	connection_init(n, &c->shared);
	HASH_ADD(hh, c->all, id, sizeof(n->id), n);
	c->stats.open++;
	return n;
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

static void connections_told(struct connections *c, const struct sh_ev_conn *e)
{
	struct connection *n = connections_get(c, e->conn);
	if (!n)
		return;
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
}

/* --- order -------------------------------------------------------------------------------------------------------- */

static uint32_t record_number(const struct sh_ev_hdr *h)
{
	return h->kind == SH_EV_DATA ? ((const struct sh_ev_data *)h)->number : ((const struct sh_ev_close *)h)->number;
}

static void connections_stash(struct connections *c, struct connection *n, const struct sh_ev_hdr *h)
{
	struct stashed *s = malloc(sizeof(*s) + h->size), **at = &n->stash;
	if (!s)
		return; /* a gap, noticed at the end of the pass */
	s->number = record_number(h);
	memcpy(s->record, h, h->size);
	while (*at && (*at)->number < s->number)
		at = &(*at)->next;
	s->next = *at;
	*at = s;
	c->stats.reordered++;
	if (n->dirty)
		return;
	n->dirty = true;
	n->next_dirty = c->dirty;
	c->dirty = n;
}

/* False: the connection is gone. */
static bool connections_apply(struct connections *c, struct connection *n, const struct sh_ev_hdr *h, uint64_t now_ns)
{
	n->next_number = record_number(h) + 1;
	if (h->kind == SH_EV_DATA) {
		connection_data(n, (const struct sh_ev_data *)h, now_ns);
		return true;
	}
	const struct sh_ev_close *e = (const void *)h;
	connection_end(n, e, now_ns);
	if (e->state != SH_CONN_CLOSED)
		return true;
	if (n->dirty)
		n->over = true;
	else
		connections_remove(c, n);
	return n->dirty;
}

static void connections_ordered(struct connections *c, const struct sh_ev_hdr *h, uint64_t conn, uint64_t now_ns)
{
	struct connection *n = connections_get(c, conn);
	if (!n) {
		if (h->kind == SH_EV_DATA && h->flags & SH_DATA_REQUEST)
			c->stats.refused++;
		return;
	}
	uint32_t number = record_number(h);
	if (number > n->next_number) {
		connections_stash(c, n, h);
		return;
	}
	if (number < n->next_number) {
		c->stats.malformed++;
		return;
	}
	if (!connections_apply(c, n, h, now_ns))
		return;
	while (n->stash && n->stash->number == n->next_number) {
		struct stashed *s = n->stash;
		n->stash = s->next;
		connections_apply(c, n, s->record, now_ns); /* dirty: it stays */
		free(s);
	}
}

void connections_record(struct connections *c, const struct sh_ev_hdr *h, uint64_t now_ns)
{
	switch (h->kind) {
	case SH_EV_CONN:
		if (h->size >= sizeof(struct sh_ev_conn)) {
			connections_told(c, (const struct sh_ev_conn *)h);
			return;
		}
		break;
	case SH_EV_DATA: {
		const struct sh_ev_data *e = (const void *)h;
		if (h->size >= sizeof(*e) && e->copied <= h->size - sizeof(*e) && e->copied <= e->len &&
		    e->tail_len <= SH_TAIL_LEN) {
			connections_ordered(c, h, e->conn, now_ns);
			return;
		}
		break;
	}
	case SH_EV_CLOSE:
		if (h->size >= sizeof(struct sh_ev_close)) {
			connections_ordered(c, h, ((const struct sh_ev_close *)h)->conn, now_ns);
			return;
		}
		break;
	}
	c->stats.malformed++;
}

static void connections_settle(struct connections *c, struct connection *n, uint64_t now_ns)
{
	while (n->stash) {
		struct stashed *s = n->stash;
		n->stash = s->next;
		if (s->number != n->next_number) {
			c->stats.lost += s->number - n->next_number;
			connection_torn(n);
		}
		connections_apply(c, n, s->record, now_ns);
		free(s);
	}
	n->dirty = false;
	if (n->over)
		connections_remove(c, n);
}

void connections_pass(struct connections *c, uint64_t now_ns)
{
	while (c->dirty) {
		struct connection *n = c->dirty;
		c->dirty = n->next_dirty;
		connections_settle(c, n, now_ns);
	}
}

void connections_flush(struct connections *c, uint64_t now_ns)
{
	struct connection *n, *next;
	connections_pass(c, now_ns);
	HASH_ITER(hh, c->all, n, next) connection_unfinished(n, now_ns);
}

void connections_stats(const struct connections *c, struct connections_stats *ret)
{
	*ret = c->stats;
}
