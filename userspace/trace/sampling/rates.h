/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SAMPLING_RATES_H
#define TRACE_SAMPLING_RATES_H

#include "base/arena.h"
#include "base/sbuf.h"
#include "base/vec.h"
#include "trace/hindex.h"

/* The rates an Agent gives in its answer to traces: {"rate_by_service": {"service:shop,env:prod": 0.25, ...}}, the key
 * "service:,env:" for those it does not list (Agent, pkg/trace/sampler/catalog.go). */

struct rate {
	struct sv key; /* "service:S,env:E" */
	double rate;
	uint64_t threshold;
};

#define RATES_MAX_JSON (1 << 20) /* bytes */
#define RATES_MAX      10000	 /* the Agent's own catalogue holds 5000 */

/* Immutable once made. */
struct rates {
	VEC(struct rate) items;
	struct hindex by_key;
	const struct rate *standard; /* of unlisted services; NULL: none */
	uint32_t left_out;	     /* entries that are no rate, or beyond the maximum */
	struct arena arena;
};

/* 1 and a new table; 0 when the answer says that the rates are as before ({}), or says nothing about them; -EINVAL with
 * a sentence in err; -ENOMEM. */
int rates_parse(struct rates **ret, struct sv json, struct sbuf *err);
void rates_free(struct rates *r); /* NULL is fine */
/* Of a service and environment as the Agent normalises them; `key` is scratch. NULL: there is none. */
const struct rate *rates_find(const struct rates *r, struct sv service, struct sv env, struct sbuf *key);

/* Where the thread that talks to the Agent leaves a table for the one that samples, without a lock: each takes the
 * other's by an exchange. Valid when zeroed. */
struct rates_box {
	struct rates *latest; /* atomic; left, not yet taken */
};

/* The body of an answer. As rates_parse(); one that was not taken is replaced. */
int rates_box_answer(struct rates_box *b, struct sv json, struct sbuf *err);
/* A table newer than the last one taken, now the caller's; or NULL. Costs one load when there is none. */
struct rates *rates_box_take(struct rates_box *b);
void rates_box_release(struct rates_box *b);

#endif
