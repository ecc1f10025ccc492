/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_FLOW_H
#define FLOW_FLOW_H

#include "flow/actors.h"
#include "flow/calls.h"
#include "flow/connections.h"
#include "flow/exchanges.h"
#include "flow/joins.h"
#include "trace/assembly.h"

/* The way from records of the kernel half to finished chunks: who acts (actors), what functions were called (calls),
 * what was asked over connections (connections, exchanges), what of it belongs together (joins, assembly). Pure: works
 * the same on a live ring and on a replayed file. Used by one thread, the consumer. */

struct flow_options {
	struct assembly_options assembly; /* its sink gets chunks whose trace is the real one */
	struct actors_options actors;
	const struct function_info *(*function)(void *arg, uint32_t index); /* as calls_options */
	void *function_arg;
	uint32_t max_functions;
	uint32_t max_connections, max_exchanges, max_joins; /* 0: a default each */
	uint32_t head_max; /* bytes of a message's head that are looked at: no fewer than are captured */
};

struct flow;
struct flow *flow_new(const struct flow_options *options); /* NULL when out of memory */
void flow_free(struct flow *f);				   /* NULL is fine; open chunks are discarded: flush first */

/* What to add to a record's times for Unix time. */
void flow_set_clock(struct flow *f, int64_t unix_minus_mono_ns);
/* Forgets who the processes are; they are asked for again. */
void flow_refresh(struct flow *f);
void flow_record(struct flow *f, const struct sh_ev_hdr *record, uint64_t now_ns);
/* After a whole pass over all rings. */
void flow_pass(struct flow *f, uint64_t now_ns);
/* Everything, finished or not: at the end. */
void flow_flush(struct flow *f, uint64_t now_ns);

/* What is known of a span that something works for at this moment. */
#define FLOW_METHOD_MAX 24
#define FLOW_PATH_MAX	256
struct flow_question {
	struct sh_span_context
		span;  /* as the kernel half has it; in the answer the trace is the one it is reported in */
	void *user;    /* the asker's */
	bool expected; /* the asker's: it is a request under way, or will be known to be soon */
	bool settled;  /* that trace is final */
	bool request;  /* the span is a request under way, of which what follows is known */
	bool server;
	uint64_t start_ns;				   /* monotonic */
	char method[FLOW_METHOD_MAX], path[FLOW_PATH_MAX]; /* cut off where they are longer; no query */
};
/* Answers all of them, and leaves them in the order of their span ids. Some may have more to say after the next pass: those
 * that are not settled, and requests that are expected and not there yet. */
void flow_ask(struct flow *f, struct flow_question *questions, size_t cnt, uint64_t now_ns);

/* For every exchange: exchanges (kernel half) + own = spans + those dropped. */
struct flow_stats {
	struct calls_stats calls;
	struct exchanges_stats exchanges;
	struct connections_stats connections;
	struct joins_stats joins;
	struct assembly_stats assembly;
	uint64_t malformed;  /* records of no known kind */
	uint64_t unresolved; /* chunks that left before it was known whose trace theirs is: too many waited */
};
void flow_stats(const struct flow *f, struct flow_stats *ret);
const struct calls *flow_calls(const struct flow *f);
void flow_forget_function(struct flow *f, uint32_t index); /* calls_forget() */
const struct requests *flow_requests(const struct flow *f);
/* Spans and calls that became none, by drop reason, added to `dropped`; and exchanges the kernel half did not count. */
void flow_account(const struct flow *f, uint64_t *ret_own, uint64_t dropped[]);

#endif
