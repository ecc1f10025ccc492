/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_EXCHANGES_H
#define FLOW_EXCHANGES_H

#include "flow/actors.h"
#include "flow/joins.h"
#include "flow/requests.h"
#include "flow/said.h"
#include "trace/assembly.h"
#include "trace/http.h"
#include "trace/propagation/propagation.h"

/* An exchange: a request and its response on one connection, from the request's head to its span. Pure; used by one
 * thread. After warm-up nothing is allocated. */

/* How long the writer of a request may be behind its reader: its system call has yet to return, on a machine that may
 * have other things to do. The longer one, for writers known to be traced, is only waited for when their record was
 * lost. */
#define EXCHANGES_SEARCH_NS 50000000ULL
#define EXCHANGES_TRACED_NS 1000000000ULL

struct exchange {
	struct exchange *next;	     /* of its owner's list */
	struct sh_span_context self; /* as the kernel half made it */
	uint64_t parent_id;	     /* in this process; 0: none here */
	uint64_t start_ns, end_ns;   /* monotonic */
	uint32_t tgid, tid;
	uint8_t link; /* enum sh_link */
	bool root;    /* first span of its trace in this process */
	bool renamed; /* its headers named the caller's span, and name its own where they arrive */
	bool request_over, answered, unfinished;
	bool connect_only;			  /* not even a connection came of it */
	struct joins_decision decision;		  /* of its trace, by the kernel half */
	struct http_facts facts;		  /* strings in `arena` */
	const struct propagation_context *remote; /* what a request read here says of its trace; NULL: nothing */
	const struct propagation_context
		*headers; /* of such a request, where a TCP option knew better than they; NULL: none did */
	const struct propagation_context *named; /* the span that a request written here names; NULL: none */
	bool by_option;				 /* `remote` names the span that a TCP option named */
	bool adopted;				 /* that is its span: the program's own headers, not its caller's */
	uint32_t untold; /* requests behind this one, before the next, for which there was no exchange */
	struct arena arena;
	/* The rest is private. */
	struct sh_span_context writer; /* of a request read here: who wrote it */
	struct exchange_alias *aliases;
	struct join_key key;  /* while it searches, or is considered */
	uint64_t deadline_ns; /* until when the writer may turn up */
	uint32_t slot;
	bool dropped, finished, joined;
	uint8_t searching; /* enum exchange_writer: on that list */
	struct exchange *prev_searching, *next_searching;
	bool considered, has_key; /* whether its headers are the program's own is decided at the end of the pass */
	struct exchange *next_considered;
};

struct exchanges_options {
	struct assembly *assembly;
	struct actors *actors;
	struct joins *joins;
	uint32_t max; /* at one time */
};

struct exchanges;
struct exchanges *exchanges_new(const struct exchanges_options *options); /* NULL when out of memory */
void exchanges_free(struct exchanges *x);				  /* NULL is fine */
void exchanges_set_clock(struct exchanges *x, int64_t unix_minus_mono_ns);

/* Zeroed but for its memory; NULL: there are too many (counted). `own`: the kernel half did not count this one. */
struct exchange *exchanges_make(struct exchanges *x, bool own);
/* The ids for a request that the kernel half did not see begin: pipelined behind another one. */
void exchanges_own_ids(struct exchanges *x, struct exchange *e);
/* Is the writer of a request that was read here traced, too? */
enum exchange_writer { WRITER_STRANGE, WRITER_MAYBE, WRITER_TRACED, WRITERS };
/* Both ends of the request's message, once ids, times and decision are there; key NULL: not by TCP. */
void exchanges_join(struct exchanges *x, struct exchange *e, const struct join_key *key, enum exchange_writer writer,
		    uint64_t now_ns);
/* What the kernel half took for the beginning of a request, and began a trace for, was a part of e's messages: what it
 * saw of process `tgid` under those ids was done under `parent_id` of e's trace. */
void exchanges_mistaken(struct exchanges *x, struct exchange *e, const struct sh_span_context *ids, uint64_t parent_id,
			uint32_t tgid);
/* Its facts are complete: it becomes a span, now or when it is known whose child it is. */
void exchanges_finish(struct exchanges *x, struct exchange *e, uint64_t now_ns);
/* It becomes none: counted as torn. Its children become those of its parent. */
void exchanges_drop(struct exchanges *x, struct exchange *e, uint64_t now_ns);
/* Before assembly_pass(). */
void exchanges_pass(struct exchanges *x, uint64_t now_ns);
/* Everything that still waits, at the end. */
void exchanges_flush(struct exchanges *x, uint64_t now_ns);

/* Those under way, or waiting for the other end, in no order. */
void exchanges_each(const struct exchanges *x, void (*fn)(void *arg, const struct exchange *e), void *arg);

/* How spans came to their parents: the tag spanhound.link. */
enum exchange_link {
	EXCHANGE_LINK_NONE,
	EXCHANGE_LINK_THREAD,
	EXCHANGE_LINK_CONNECTION,
	EXCHANGE_LINK_HANDOFF,
	EXCHANGE_LINK_FORK,
	EXCHANGE_LINK_FUNCTION,
	EXCHANGE_LINK_PEER,
	EXCHANGE_LINK_HEADER,
	EXCHANGE_LINK_ADOPTED,
	EXCHANGE_LINK_OPTION,
	EXCHANGE_LINKS,
};
const char *exchange_link_name(enum exchange_link link);

struct exchanges_stats {
	uint64_t own;  /* exchanges with ids of our own: the kernel half did not count them */
	uint64_t open; /* under way, or waiting for the other end */
	uint64_t spans, errors;
	uint64_t links[EXCHANGE_LINKS]; /* of the spans */
	uint64_t torn;			/* dropped: request or response was lost to a full ring, or was never whole */
	uint64_t too_many, trace_limit, malformed; /* dropped likewise */
};
const struct requests *exchanges_requests(const struct exchanges *x);
void exchanges_stats(const struct exchanges *x, struct exchanges_stats *ret);

#endif
