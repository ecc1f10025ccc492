/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_CONNECTION_H
#define FLOW_CONNECTION_H

#include "flow/connections.h"
#include "trace/hindex.h"

/* One connection of a chosen process: its records, in order, to exchanges. Inside flow/ only. */

struct dialogue;
struct stashed;
struct connection;

/* What connections share. */
struct connection_shared {
	struct http1_shared http1;
	struct exchanges *exchanges;
	struct connections_stats *stats;
	struct connection *slots; /* by number; those without `shared` are free */
	struct hindex askers;	  /* of those of chosen processes that ask: by their ends */
	struct dialogue *spare;
	uint32_t spare_cnt;
	struct actors *actors;
	uint8_t context_header[HTTP1_MAX_WANTED]; /* of each wanted one: enum propagation_header + 1; 0: none of them */
};

/* Most connections are idle most of the time: what a message under way needs is in the dialogue. */
struct connection {
	uint64_t id;
	uint64_t last_ns;  /* of its last record */
	uint64_t asked_ns; /* when its first request was, by the consumer's clock; 0: none yet */
	uint32_t slot;
	uint32_t next_number; /* of its records */
	struct connection_shared *shared;
	struct stashed *stash, *stash_at;
	struct connection *next_dirty;
	struct dialogue *dialogue; /* NULL: between messages */

	bool dirty, over, told;
	bool connecting, has_role, server;
	bool peer_left; /* it sends no more */
	bool is_asker;
	uint8_t moved; /* which way bytes went last */
	uint16_t family, local_port, remote_port;
	uint8_t local[16], remote[16]; /* IPv4-mapped; of a Unix socket as of struct sh_ev_conn */
	uint32_t ends_hash;
	uint32_t connect_us, tgid, tid;
	int error;	   /* errno of what ended it */
	uint64_t error_ns; /* when it was last heard of */
	uint64_t told_ns;
	struct sh_span_context connect_parent;
};

void connection_init(struct connection *n, struct connection_shared *shared);
/* Gives up what is under way without counting it: see connection_unfinished() and connection_torn(). */
void connection_release(struct connection *n);
void connection_want_headers(struct connection_shared *s, const struct request_settings *settings);
void connection_shared_release(struct connection_shared *s);

/* Who it connects; may come late, when the first one was lost. */
void connection_told(struct connection *n, const struct sh_ev_conn *e);
void connection_data(struct connection *n, const struct sh_ev_data *e, uint64_t now_ns);
void connection_end(struct connection *n, const struct sh_ev_close *e, uint64_t now_ns);
/* Some of its records were lost: what is under way is dropped. */
void connection_torn(struct connection *n, uint64_t now_ns);
/* The session ends: what is under way becomes spans that say so. */
void connection_unfinished(struct connection *n, uint64_t now_ns);

/* --- connection_ends.c -------------------------------------------------------------------------------------------- */

/* False: connection_ends() would not tell it from others. */
bool connection_has_ends(const struct connection *n);
/* Its ends and a message: the sequence number of its first byte, or the request's own number. 0: the connection. */
struct join_key connection_ends(const struct connection *n, uint32_t seq);
void connection_set_role(struct connection *n, bool server);
void connection_unregister(struct connection *n);
/* May whoever wrote the request just read be traced, too, and just not be seen yet? */
enum exchange_writer connection_writer(const struct connection *n, uint64_t now_ns);

/* --- connection_facts.c ------------------------------------------------------------------------------------------- */

void connection_keep_addresses(const struct connection *n, struct exchange *x);
void connection_keep_request(const struct connection *n, struct exchange *x, const struct http1_head *head);
/* After its head. */
void connection_keep_option(struct exchange *x, const struct sh_ev_option *o);
void connection_keep_response(const struct connection *n, struct exchange *x, const struct http1_head *head);

#endif
