/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/stats/payload.h"

#include <msgpack/pack.h>
#include <stdlib.h>

#include "base/utf8.h"

static int payload_write(void *arg, const char *data, size_t len)
{
	struct sbuf *out = arg;
	sbuf_add(out, data, len);
	return out->failed ? -1 : 0;
}

static void put_bytes(msgpack_packer *p, struct sv s)
{
	msgpack_pack_bin(p, s.len);
	if (s.len)
		msgpack_pack_bin_body(p, s.data, s.len);
}

static void put_str(msgpack_packer *p, struct sv s)
{
	if (s.len && !utf8_valid(s)) {
		struct sbuf text = {0};
		utf8_add_valid(&text, s);
		msgpack_pack_str_with_body(p, sbuf_str(&text), text.len);
		sbuf_release(&text);
		return;
	}
	msgpack_pack_str_with_body(p, s.len ? s.data : "", s.len);
}

static void put_key(msgpack_packer *p, const char *key)
{
	msgpack_pack_str_with_body(p, key, strlen(key));
}

static void put_key_str(msgpack_packer *p, const char *key, struct sv value)
{
	put_key(p, key);
	put_str(p, value);
}

static void put_key_u64(msgpack_packer *p, const char *key, uint64_t value)
{
	put_key(p, key);
	msgpack_pack_uint64(p, value);
}

/* Texts with a NUL behind each. */
static void put_key_list(msgpack_packer *p, const char *key, struct sv list, uint16_t cnt)
{
	const char *at = list.data;
	put_key(p, key);
	msgpack_pack_array(p, cnt);
	for (uint16_t i = 0; i < cnt; i++) {
		struct sv text = sv_of(at);
		put_str(p, text);
		at += text.len + 1;
	}
}

/* --- a group ------------------------------------------------------------------------------------------------------ */

static void put_key_sketch(msgpack_packer *p, const char *key, const struct sketch *s, struct sbuf *scratch)
{
	sbuf_reset(scratch);
	sketch_encode(s, scratch);
	put_key(p, key);
	put_bytes(p, sbuf_sv(scratch));
}

/* In the order of the golden payloads of dd-trace-py. */
static void put_group(msgpack_packer *p, const struct stats_group *g, struct sbuf *scratch)
{
	const struct stats_key *k = &g->key;
	msgpack_pack_map(p, 22);
	put_key_str(p, "Service", k->strings[STATS_SERVICE]);
	put_key_str(p, "Name", k->strings[STATS_NAME]);
	put_key_str(p, "Resource", k->strings[STATS_RESOURCE]);
	put_key_u64(p, "HTTPStatusCode", k->http_status);
	put_key_str(p, "Type", k->strings[STATS_TYPE]);
	put_key_str(p, "DBType", SV(""));
	put_key_u64(p, "Hits", g->hits);
	put_key_u64(p, "Errors", g->errors);
	put_key_u64(p, "Duration", g->duration_ns);
	put_key_sketch(p, "OkSummary", &g->ok, scratch);
	put_key_sketch(p, "ErrorSummary", &g->failed, scratch);
	put_key(p, "Synthetics");
	if (k->synthetics)
		msgpack_pack_true(p);
	else
		msgpack_pack_false(p);
	put_key_u64(p, "TopLevelHits", g->top_level_hits);
	put_key_str(p, "SpanKind", k->strings[STATS_KIND]);
	put_key_list(p, "PeerTags", k->strings[STATS_PEER], k->peer_cnt);
	put_key_u64(p, "IsTraceRoot", k->trace_root);
	put_key_str(p, "GRPCStatusCode", k->strings[STATS_GRPC_CODE]);
	put_key_str(p, "HTTPMethod", k->strings[STATS_HTTP_METHOD]);
	put_key_str(p, "HTTPEndpoint", k->strings[STATS_HTTP_ENDPOINT]);
	put_key_str(p, "srv_src", k->strings[STATS_SOURCE]);
	put_key_list(p, "SpanDerivedPrimaryTags", SV_NULL, 0);
	put_key_list(p, "AdditionalMetricTags", k->strings[STATS_ADDITIONAL], k->additional_cnt);
}

#define GROUP_FIXED 400 /* keys and numbers */

static size_t group_max(const struct stats_group *g)
{
	size_t sz = GROUP_FIXED + sketch_encoded_max(&g->ok) + sketch_encoded_max(&g->failed);
	for (int i = 0; i < STATS_STRINGS; i++)
		sz += g->key.strings[i].len;
	return sz;
}

/* --- the payload -------------------------------------------------------------------------------------------------- */

/* Names and versions that go in headers are empty here, as dd-trace-py leaves them; so is the host's name: the Agent
 * knows its own, and spans do not carry another. */
static void put_payload(msgpack_packer *p, const struct stats_bucket *b, size_t first, size_t end,
			const struct stats_payload_options *o, struct sbuf *scratch)
{
	msgpack_pack_map(p, 16);
	put_key_str(p, "Hostname", SV(""));
	put_key_str(p, "Env", o->who->env.len ? o->who->env : o->env);
	put_key_str(p, "Version", o->who->version);
	put_key(p, "Stats");
	msgpack_pack_array(p, 1);
	msgpack_pack_map(p, 4);
	put_key_u64(p, "Start", b->start_ns);
	put_key_u64(p, "Duration", o->duration_ns);
	put_key(p, "Stats");
	msgpack_pack_array(p, end - first);
	for (size_t i = first; i < end; i++)
		put_group(p, &b->groups.data[i], scratch);
	put_key_u64(p, "AgentTimeShift", 0);
	put_key_str(p, "Lang", SV(""));
	put_key_str(p, "TracerVersion", SV(""));
	put_key_str(p, "RuntimeID", o->who->runtime_id);
	put_key_u64(p, "Sequence", o->sequence);
	put_key_str(p, "AgentAggregation", SV(""));
	put_key_str(p, "Service", o->who->service);
	put_key_str(p, "ContainerID", SV(""));
	put_key_list(p, "Tags", SV_NULL, 0);
	put_key_str(p, "GitCommitSha", SV(""));
	put_key_str(p, "ImageTag", SV(""));
	put_key_u64(p, "ProcessTagsHash", 0);
	put_key_str(p, "ProcessTags", o->who->process_tags);
}

struct stats_payload *stats_payload_new(const struct stats_bucket *b, size_t *first,
					const struct stats_payload_options *o)
{
	struct stats_payload *p = calloc(1, sizeof(*p));
	struct sbuf scratch = {0};
	size_t end = *first, sz = 0;
	if (!p)
		return NULL;
	while (end < b->groups.cnt && (end == *first || sz + group_max(&b->groups.data[end]) <= STATS_PAYLOAD_SZ)) {
		sz += group_max(&b->groups.data[end]);
		p->hits += b->groups.data[end].hits;
		end++;
	}
	msgpack_packer packer;
	msgpack_packer_init(&packer, &p->body, payload_write);
	put_payload(&packer, b, *first, end, o, &scratch);
	p->groups = (uint32_t)(end - *first);
	bool failed = p->body.failed || scratch.failed;
	sbuf_release(&scratch);
	if (failed) {
		stats_payload_free(p);
		return NULL;
	}
	p->who = process_info_ref(o->who);
	*first = end;
	return p;
}

void stats_payload_free(struct stats_payload *p)
{
	if (!p)
		return;
	process_info_unref(p->who);
	sbuf_release(&p->body);
	free(p);
}

/* --- the box ------------------------------------------------------------------------------------------------------ */

bool stats_box_put(struct stats_box *b, struct stats_payload *p)
{
	if (__atomic_add_fetch(&b->cnt, 1, __ATOMIC_RELAXED) > STATS_BOX_MAX) {
		__atomic_fetch_sub(&b->cnt, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&b->lost, 1, __ATOMIC_RELAXED);
		stats_payload_free(p);
		return false;
	}
	p->next = __atomic_load_n(&b->latest, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&b->latest, &p->next, p, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return true;
}

struct stats_payload *stats_box_take(struct stats_box *b)
{
	if (!__atomic_load_n(&b->latest, __ATOMIC_RELAXED))
		return NULL;
	struct stats_payload *p = __atomic_exchange_n(&b->latest, NULL, __ATOMIC_ACQUIRE), *first = NULL;
	while (p) {
		struct stats_payload *next = p->next;
		p->next = first;
		first = p;
		p = next;
		__atomic_fetch_sub(&b->cnt, 1, __ATOMIC_RELAXED);
	}
	return first;
}

void stats_box_release(struct stats_box *b)
{
	struct stats_payload *p = stats_box_take(b);
	while (p) {
		struct stats_payload *next = p->next;
		stats_payload_free(p);
		p = next;
	}
}
