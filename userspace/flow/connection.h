/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_CONNECTION_H
#define FLOW_CONNECTION_H

#include <uthash.h>

#include "flow/connections.h"

/* One connection of a chosen process: its records, in order, to exchanges. Inside flow/ only. */

/* Names a connection's parser of heads is asked for, and whose values an exchange keeps. */
struct connection_shared {
	struct http1_shared http1;
	struct exchanges *exchanges;
	struct connections_stats *stats;
	struct connection *askers; /* those of chosen processes that ask, by their ends */
	struct actors *actors;
	uint8_t context_header[HTTP1_MAX_WANTED]; /* of each wanted one: enum propagation_header + 1; 0: none of them */
};

struct stashed;

/* Who is connected with whom, the one that asks first. */
struct connection_ends {
	uint8_t client[16], server[16];
	uint16_t client_port, server_port;
};

struct connection {
	uint64_t id;
	uint32_t next_number; /* of its records */
	struct stashed *stash;
	struct connection *next_dirty;
	bool dirty, over;

	bool connecting, has_role, server;
	bool peer_left;	 /* it sends no more */
	uint16_t family, local_port, remote_port;
	uint8_t local[16], remote[16]; /* IPv4-mapped */
	uint32_t connect_us, tgid, tid;
	struct sh_span_context connect_parent;
	uint64_t told_ns;
	uint64_t asked_ns; /* when its first request was, by the consumer's clock */
	int error; /* errno of what ended it */
	uint64_t error_ns; /* when it was last heard of */

	struct connection_shared *shared;
	struct http1 requests, responses;
	struct exchange *first, *last;	  /* asked, in order; the first is answered next */
	struct exchange *asking;	  /* whose request is under way */
	struct exchange *answering;	  /* whose response is under way */
	struct sh_ev_data pending;	  /* ids for the request whose head is under way */
	bool has_pending;
	char early[16]; /* first bytes, too few to tell who asks whom; "HTTP/1.1 200" are enough */
	uint8_t early_cnt;
	uint64_t early_ns;
	struct connection_ends ends; /* once it has a role */
	UT_hash_handle hh, by_ends;
	bool is_asker;
};

void connection_init(struct connection *n, struct connection_shared *shared);
/* Gives up what is under way without counting it: see connection_unfinished() and connection_torn(). */
void connection_release(struct connection *n);
void connection_want_headers(struct connection_shared *s, const struct request_settings *settings);
void connection_shared_release(struct connection_shared *s);

void connection_data(struct connection *n, const struct sh_ev_data *e, uint64_t now_ns);
void connection_end(struct connection *n, const struct sh_ev_close *e, uint64_t now_ns);
/* Some of its records were lost: what is under way is dropped. */
void connection_torn(struct connection *n);
/* The session ends: what is under way becomes spans that say so. */
void connection_unfinished(struct connection *n, uint64_t now_ns);

#endif
