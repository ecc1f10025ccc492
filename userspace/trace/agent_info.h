/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_AGENT_INFO_H
#define TRACE_AGENT_INFO_H

#include <stdint.h>

#include "base/arena.h"
#include "base/sbuf.h"

/* What an Agent said about itself at GET /info (pkg/trace/api/info.go of Agent 7.85). Immutable once parsed, counted,
 * shared between threads; its strings live as long as it. A field the Agent did not send has the value of an Agent
 * that does not know it: zero, false, empty. */

#define AGENT_INFO_MAX	    (1 << 20) /* bytes of JSON; a real answer has 3 KB */
#define AGENT_INFO_MAX_LIST 512	      /* elements kept of each list */

struct agent_list {
	struct sv *data;
	uint32_t cnt;
};

struct agent_filter {
	struct agent_list require, reject; /* "key" or "key:value" */
};

struct agent_info {
	int refs;		     /* atomic */
	struct sv json;		     /* as it came */
	struct sv version;	     /* of the Agent */
	struct agent_list endpoints; /* without the slash they begin with: "v0.4/traces" */

	/* What spans may contain, and which may stay away. */
	bool client_drop_p0s; /* chunks of priority <= 0 need not be sent, when their statistics are */
	bool span_meta_structs, span_events, long_running_spans;
	bool big_resource;	    /* feature flag: resources of 15000 bytes, not 5000 */
	uint64_t max_request_bytes; /* 0: not said */
	struct sv default_env;	    /* what the Agent takes when a payload has none */

	/* Statistics. */
	struct agent_list peer_tags;
	struct agent_list span_kinds_stats_computed;
	uint32_t obfuscation_version; /* 0: not said; a client obfuscates for statistics only up to what it knows */
	struct agent_filter filter_tags, filter_tags_regex; /* on the root span; rejected chunks are not counted */
	struct agent_list ignore_resources;		    /* regular expressions, on the root's resource */

	/* config.obfuscation, where it departs from the defaults; see trace/obfuscate/obfuscate.h. */
	struct {
		bool said; /* there was such an object */
		bool http_remove_query, http_remove_path_digits;
		bool redis, redis_remove_all_args, valkey, valkey_remove_all_args;
		bool memcached, memcached_keep_command;
		bool credit_cards, credit_cards_luhn;
		bool mongodb, elasticsearch, opensearch;
		bool sql_replace_digits, sql_keep_alias, sql_dollar_quoted_func;
		struct sv sql_mode;
		struct agent_list credit_cards_keep, mongodb_keep, elasticsearch_keep, opensearch_keep;
	} obfuscation;

	uint16_t statsd_port; /* 0: not said, or DogStatsD is off */
	struct arena arena;
};

/* One reference in *ret. 0, -ENOMEM, or -EINVAL: not a JSON object, `err` says what is wrong. Known fields of an
 * unexpected kind are left at zero. */
int agent_info_parse(struct agent_info **ret, struct sv json, struct sbuf *err);
struct agent_info *agent_info_ref(struct agent_info *i);
void agent_info_unref(struct agent_info *i); /* NULL is fine */

/* Does the Agent serve this path ("/v0.6/stats")? Patterns of the list that end with a slash serve what is below. */
bool agent_info_serves(const struct agent_info *i, struct sv path);
bool agent_list_has(const struct agent_list *l, struct sv text);
/* Statistics are ours to compute: /v0.6/stats is served and client_drop_p0s is true. */
bool agent_info_takes_stats(const struct agent_info *i);

#endif
