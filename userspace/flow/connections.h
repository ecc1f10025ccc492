/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_CONNECTIONS_H
#define FLOW_CONNECTIONS_H

#include "flow/exchanges.h"
#include "protocol/http1.h"
#include "spanhound/events.h"

/* From the bytes of connections to exchanges. Records of one connection may come from several rings and out of order
 * within a pass: they are put in order by their numbers. Pure; used by one thread. */

struct connections_options {
	struct exchanges *exchanges;
	struct actors *actors; /* how each process wants it */
	uint32_t max;	       /* connections at one time */
	uint32_t head_max;     /* bytes of a head that are looked at; 0: default */
};

struct connections;
struct connections *connections_new(const struct connections_options *options); /* NULL when out of memory */
void connections_free(struct connections *c);					/* NULL is fine */

/* From here on the headers these settings ask for are looked at, in everybody's messages. */
void connections_want(struct connections *c, const struct request_settings *settings);
/* SH_EV_CONN, SH_EV_DATA, SH_EV_CLOSE. */
void connections_record(struct connections *c, const struct sh_ev_hdr *record, uint64_t now_ns);
/* After a whole pass: a record that is still missing is lost. */
void connections_pass(struct connections *c, uint64_t now_ns);
/* What is under way becomes unfinished spans, at the end. */
void connections_flush(struct connections *c, uint64_t now_ns);

struct connections_stats {
	uint64_t open;
	uint64_t not_http;  /* requests the kernel half saw begin that were none: dropped */
	uint64_t torn;	    /* requests whose head never came: dropped */
	uint64_t unasked;   /* responses to requests from before the attach */
	uint64_t reordered; /* records that came before one that was made earlier */
	uint64_t lost;	    /* records that never came */
	uint64_t refused;   /* requests of connections beyond the maximum: dropped */
	uint64_t evicted;   /* connections forgotten after long silence, because there was no room */
	uint64_t malformed;
	uint64_t headers_full; /* header names that are not looked at: too many processes wanted too many different ones
				*/
};
void connections_stats(const struct connections *c, struct connections_stats *ret);

#endif
