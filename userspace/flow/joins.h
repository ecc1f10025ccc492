/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_JOINS_H
#define FLOW_JOINS_H

#include <stdbool.h>
#include <stdint.h>

#include "spanhound/context.h"

/* Which trace a request read here really belongs to. The kernel half begins a trace for every request that is read;
 * whose it is says its header, or the process that wrote it, when that is traced, too: (4-tuple, TCP sequence number)
 * of a message is the same at both ends, and so is a request's number on a Unix socket. Everything that was made under the trace begun here then belongs to the other
 * one: the consumer asks before it hands a chunk on.
 *
 * On one host the reader may be done before the writer's system call has returned, so either end may come first. Tables
 * are bounded; what falls out is counted. After warm-up nothing is allocated. Used by one thread. */
struct joins;

struct joins *joins_new(uint32_t max); /* messages and traces remembered; NULL when out of memory */
void joins_free(struct joins *j);      /* NULL is fine */

/* The decision to keep a trace or not: what a request that was read said of it, made before us; or the kernel half's, which
 * is on the wire. */
#define JOINS_ORIGIN_MAX 40 /* longer ones are cut off; Datadog's are words: synthetics, rum, lambda */
struct joins_decision {
	bool decided;
	bool here; /* by the kernel half */
	int8_t priority;
	uint8_t rates; /* RATE_*, when it was decided here */
	int16_t mechanism;
	double rate;
	char origin[JOINS_ORIGIN_MAX]; /* NUL-terminated */
};

/* Two ends of one message. Addresses as IPv6 (IPv4-mapped); of Unix sockets the asker's inode number, and nothing else but
 * which request it is, as the kernel half numbers them (bpf/unix.bpf.h). */
struct join_key {
	uint8_t client[16], server[16];
	uint16_t client_port, server_port;
	uint32_t seq;
};

uint32_t join_key_hash(const struct join_key *key);

#define JOINS_NONE UINT64_MAX

/* Who wrote a request: the span that it was written for, and its process. */
struct join_writer {
	struct sh_span_context self;
	uint32_t tgid;
};

/* Returns the token of the reader that waited for it, or JOINS_NONE. */
uint64_t joins_written(struct joins *j, const struct join_key *key, const struct join_writer *writer);
/* A request was read. True: *ret_writer wrote it; else `token` waits for the writer, unless it is JOINS_NONE. */
bool joins_read(struct joins *j, const struct join_key *key, uint64_t token, struct join_writer *ret_writer);
/* Nobody waits for this writer any more. */
void joins_give_up(struct joins *j, const struct join_key *key, uint64_t token);

/* Trace `lo` was begun for a request that was read; until `deadline_ns` its writer may turn up. Traces that were not
 * begun here are their own. */
void joins_begin(struct joins *j, uint64_t lo, uint64_t deadline_ns);
/* It is part of another one: of a process on this host, or (tgid 0) nobody knows whose. */
void joins_same(struct joins *j, uint64_t lo, uint64_t real_hi, uint64_t real_lo, uint32_t tgid);
/* What was said of trace `lo`, for all processes it goes through. */
void joins_decide(struct joins *j, uint64_t lo, const struct joins_decision *decision);
/* It is one of its own, as far as will ever be known. */
void joins_settle(struct joins *j, uint64_t lo);
/* Its request is answered: from now on it may be forgotten when there is no room, the longest ended one first. */
void joins_end(struct joins *j, uint64_t lo);

/* Follows the trace to the one it is part of. *ret_tgid: the process it came from here, the first one of those it went
 * through; 0: none is known. False: what that is may still change, at the latest at a deadline; *hi and *lo are
 * untouched. */
bool joins_resolve(struct joins *j, uint64_t *hi, uint64_t *lo, uint64_t now_ns, uint32_t *ret_tgid);
/* NULL: nothing was said of the trace. Valid until the next call. */
const struct joins_decision *joins_decision(struct joins *j, uint64_t lo);

struct joins_stats {
	uint64_t joined;    /* messages of which both ends were seen */
	uint64_t waiting;   /* messages of which one end was seen */
	uint64_t traces;    /* remembered */
	uint64_t forgotten; /* traces that fell out of the table, or found no room in it, before their request was
			       answered */
};
void joins_stats(const struct joins *j, struct joins_stats *ret);

#endif
