/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_STATS_KEY_H
#define TRACE_STATS_KEY_H

#include "base/sbuf.h"
#include "trace/tags.h"

/* Which spans are counted and what they are counted under: struct ClientGroupedStats of the Agent
 * (pkg/proto/datadog/trace/stats.proto, pkg/trace/stats/span_concentrator.go). */

#define STATS_MAX_PEER_TAGS	  128
#define STATS_MAX_ADDITIONAL_TAGS 4 /* DD_TRACE_STATS_ADDITIONAL_TAGS */
#define STATS_MAX_ADDITIONAL_LEN  200
#define STATS_BLOCKED		  SV("tracer_blocked_value")

/* Keys that mean something, open-addressed by a hash. */
#define STATS_SLOTS 512
struct stats_slot {
	struct sv key;	/* empty: free */
	int16_t fixed;	/* what it means whatever is configured; -1: nothing */
	int16_t wanted; /* its number in `peer`; -1: none */
	int16_t also;	/* its number in `additional`, from 1; 0: none */
};

/* The tags whose values are part of the key: the Agent's peer_tags, and the user's own. */
struct stats_tags {
	struct sv peer[STATS_MAX_PEER_TAGS]; /* ordered by the text "key:" */
	uint32_t peer_cnt;
	struct sv additional[STATS_MAX_ADDITIONAL_TAGS];
	uint32_t additional_cnt;
	struct stats_slot slots[STATS_SLOTS];
	struct arena arena;
};
void stats_tags_init(struct stats_tags *t);
/* Replace what was there; what is beyond the maximum is left out. 0 or -ENOMEM (then there are none). */
int stats_tags_set_peer(struct stats_tags *t, const struct sv *keys, uint32_t cnt);
int stats_tags_set_additional(struct stats_tags *t, const struct sv *keys, uint32_t cnt);
void stats_tags_release(struct stats_tags *t);

enum stats_string {
	STATS_SERVICE,
	STATS_NAME,
	STATS_RESOURCE,
	STATS_TYPE,
	STATS_KIND,
	STATS_GRPC_CODE,
	STATS_HTTP_METHOD,
	STATS_HTTP_ENDPOINT,
	STATS_SOURCE, /* srv_src */
	STATS_PEER,   /* "key:value" each with a NUL behind it, `peer_cnt` of them */
	STATS_ADDITIONAL,
	STATS_STRINGS,
};

struct stats_key {
	struct sv strings[STATS_STRINGS];
	uint32_t http_status; /* 0: none */
	uint16_t peer_cnt, additional_cnt;
	uint8_t trace_root; /* 1 yes, 2 no, 0 not said */
	uint8_t synthetics;
	uint64_t hash;
};

/* What a key borrows besides the span's own strings; one per thread. Valid when zeroed. */
struct stats_scratch {
	struct sbuf text;
	char grpc[11];
};

/* False: the span is not counted: neither top level, nor measured, nor of kind server, client, producer or consumer; or
 * out of memory. The key is valid until the next call. */
bool stats_key_of(struct stats_key *ret, const struct tags *t, uint32_t i, const struct stats_tags *tags,
		  struct stats_scratch *scratch, bool *ret_top_level);
void stats_key_hash(struct stats_key *k);
bool stats_key_eq(const struct stats_key *a, const struct stats_key *b);

#endif
