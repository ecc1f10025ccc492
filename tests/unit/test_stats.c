/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <math.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "trace/assembly.h"
#include "trace/stats/derive.h"
#include "trace/stats/stats.h"

#define S	   NSEC_PER_SEC
#define NOW	   (1700000003ULL * S) /* in the bucket of ...000 */
#define NOW_BUCKET (1700000000ULL * S)

/* --- sketches ----------------------------------------------------------------------------------------------------- */

static void assert_sketch(const struct sketch *s, const char *hex)
{
	struct sbuf bytes = {0}, text = {0};
	sketch_encode(s, &bytes);
	for (size_t i = 0; i < bytes.len; i++)
		sbuf_addx(&text, (unsigned char)bytes.data[i], 2);
	assert_string_equal(sbuf_str(&text), hex);
	assert_true(bytes.len <= sketch_encoded_max(s));
	sbuf_release(&bytes);
	sbuf_release(&text);
}

static void sketch_vectors(void **state)
{
	(void)state;
	static const struct {
		double value;
		int index;
	} indexes[] = {{0.5, -35},   {1, 0},	 {10, 115},   {1000, 345},   {1e6, 690},
		       {1.5e6, 711}, {2e6, 725}, {1e9, 1036}, {3.6e12, 1445}};
	for (size_t i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++)
		assert_int_equal(sketch_index(indexes[i].value), indexes[i].index);
	struct sketch s = {0};
	struct arena arena = {0};
	assert_sketch(&s, "0a0909fd4a815abf52f03f12001a00");
	sketch_add(&s, &arena, 1000000);
	sketch_add(&s, &arena, 1000000);
	assert_sketch(&s, "0a0909fd4a815abf52f03f120d1208000000000000004018e40a1a00");
	sketch_add(&s, &arena, 0);
	assert_sketch(&s, "0a0909fd4a815abf52f03f120d1208000000000000004018e40a1a0021000000000000f03f");
	/* Only zeros. */
	struct sketch zero = {0};
	sketch_add(&zero, &arena, 0);
	assert_sketch(&zero, "0a0909fd4a815abf52f03f12001a0021000000000000f03f");
	/* Index 0: its offset is left out. */
	struct sketch one = {0};
	sketch_add(&one, &arena, 1);
	assert_sketch(&one, "0a0909fd4a815abf52f03f120a1208000000000000f03f1a00");
	arena_release(&arena);
}

/* Against counting in a plain array. */
static void sketch_random(void **state)
{
	(void)state;
	static uint32_t want[4096];
	struct arena arena = {0};
	srandom(7);
	for (int round = 0; round < 300; round++) {
		struct sketch s = {0};
		int low = INT32_MAX, high = -1, zeros = 0, cnt = 1 + (int)(random() % 2000);
		memset(want, 0, sizeof(want));
		for (int i = 0; i < cnt; i++) {
			/* Every magnitude up to 2^63. */
			int64_t v =
				(int64_t)(((uint64_t)random() << 32 ^ (uint64_t)random() << 1) >> (random() % 63 + 1));
			double d = (double)v;
			uint64_t bits;
			memcpy(&bits, &d, 8);
			bits &= 0xfffff80000000000ULL;
			memcpy(&d, &bits, 8);
			assert_int_equal(sketch_add(&s, &arena, v), 0);
			if (v == 0) {
				zeros++;
				continue;
			}
			int index = sketch_index(d);
			want[index]++;
			low = index < low ? index : low;
			high = index > high ? index : high;
		}
		int floor = high - SKETCH_MAX_BINS + 1;
		for (int i = low; i < floor; i++) {
			want[floor] += want[i];
			want[i] = 0;
		}
		low = low < floor ? floor : low;
		assert_int_equal(s.zeros, zeros);
		assert_int_equal(s.cnt, cnt);
		if (cnt == zeros)
			continue;
		assert_int_equal(s.min, low);
		assert_int_equal(s.max, high);
		for (int i = low; i <= high; i++)
			assert_int_equal(s.bins[i - s.offset], want[i]);
		arena_reset(&arena);
	}
	arena_release(&arena);
}

/* --- derived values ----------------------------------------------------------------------------------------------- */

static void grpc_codes(void **state)
{
	(void)state;
	static const char *const cases[][2] = {{"0", "0"},
					       {"16", "16"},
					       {"007", "7"},
					       {"4294967295", "4294967295"},
					       {"4294967296", ""},
					       {"-1", ""},
					       {"", ""},
					       {"OK", "0"},
					       {"ok", "0"},
					       {"NOT_FOUND", "5"},
					       {"NotFound", "5"},
					       {"StatusCode.NOT_FOUND", "5"},
					       {"StatusCode.InvalidArgument", "3"},
					       {"Canceled", "1"},
					       {"CANCELLED", "1"},
					       {"DEADLINE_EXCEEDED", "4"},
					       {"UNAUTHENTICATED", "16"},
					       {"N_OTFOUND", ""},
					       {"1x", ""},
					       {"nonsense", ""},
					       {"DataLoss", "15"}};
	char room[11];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sv got = derive_grpc_code(sv_of(cases[i][0]), room);
		if (!sv_eq(got, sv_of(cases[i][1])))
			fail_msg("%s: " SV_FMT, cases[i][0], SV_ARG(got));
	}
}

static void peer_values(void **state)
{
	(void)state;
	/* The first part: pkg/obfuscate/ip_address_test.go of the Agent. */
	static const char *const cases[][2] = {
		{"", ""},
		{"noop", "noop"},
		{"foo.dog", "foo.dog"},
		{"192.168.1.1", "blocked-ip-address"},
		{"192.168.1.1.foo", "blocked-ip-address.foo"},
		{"192.168.1.1.2.3.4.5", "blocked-ip-address.2.3.4.5"},
		{"192_168_1_1", "blocked-ip-address"},
		{"192-168-1-1", "blocked-ip-address"},
		{"192-168-1-1.foo", "blocked-ip-address.foo"},
		{"192-168-1-1-foo", "blocked-ip-address-foo"},
		{"2001:db8:3c4d:15::1a2f:1a2b", "blocked-ip-address"},
		{"[2001:db8:3c4d:15::1a2f:1a2b]", "[2001:db8:3c4d:15::1a2f:1a2b]"},
		{"[fe80::1ff:fe23:4567:890a%eth2]:8080", "blocked-ip-address:8080"},
		{"192.168.1.1:1234,10.23.1.1:53,10.23.1.1,fe80::1ff:fe23:4567:890a,foo.dog",
		 "blocked-ip-address:1234,blocked-ip-address:53,blocked-ip-address,foo.dog"},
		{"http://"
		 "172.24.160.151:8091,172.24.163.33:8091,172.24.164.111:8091,172.24.165.203:8091,172.24.168.235:8091,"
		 "172.24.170.130:8091",
		 "http://blocked-ip-address:8091,blocked-ip-address:8091"},
		{"10-60-160-172.my-service.namespace.svc.abc.cluster.local",
		 "blocked-ip-address.my-service.namespace.svc.abc.cluster.local"},
		{"ip-10-152-4-129.ec2.internal", "ip-blocked-ip-address.ec2.internal"},
		{"1-foo", "1-foo"},
		{"1-2-foo", "1-2-foo"},
		{"1-2-3-foo", "1-2-3-foo"},
		{"1-2-3-999", "1-2-3-999"},
		{"1-2-999-foo", "1-2-999-foo"},
		{"1-2-3-999-foo", "1-2-3-999-foo"},
		{"1-2-3-4-foo", "blocked-ip-address-foo"},
		{"7-55-2-app.agent.datadoghq.com", "7-55-2-app.agent.datadoghq.com"},
		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.1:8126", "127.0.0.1:8126"},
		{"::1", "::1"},
		{"169.254.169.254", "169.254.169.254"},
		{"fd00:ec2::254", "fd00:ec2::254"},
		{"169.254.170.2", "169.254.170.2"},
		{"a,b,a", "a,b"},
		{"a,", "a,"},
		{",", ""},
		{"0.0.0.0", "blocked-ip-address"},
		{"01.2.3.4", "01.2.3.4"},
		{"dnspoll:///10.21.120.145:6400", "dnspoll:///blocked-ip-address:6400"},
		{"dnspoll:///abc.cluster.local:50051", "dnspoll:///abc.cluster.local:50051"},
		{"http://10.21.120.145:6400", "http://blocked-ip-address:6400"},
		{"https://10.21.120.145:6400", "https://blocked-ip-address:6400"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sbuf out = {0};
		sbuf_adds(&out, "k:");
		derive_peer_value(&out, sv_of(cases[i][0]));
		if (strcmp(out.data + 2, cases[i][1]) != 0)
			fail_msg("%s: %s, not %s", cases[i][0], out.data + 2, cases[i][1]);
		sbuf_release(&out);
	}
}

/* --- counting ----------------------------------------------------------------------------------------------------- */

static struct process_info shop = {.refs = 1,
				   .service = SV("shop"),
				   .env = SV("prod"),
				   .version = SV("1.2.3"),
				   .language = SV("cpp"),
				   .runtime_id = SV("0f2b6f6e-6b0a-4a54-9a59-3f1f9a7c2d11")};
static struct chunk_pool *pool;
static struct stats_box box;

static int setup(void **state)
{
	(void)state;
	pool = chunk_pool_new(100000);
	return pool ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	chunk_pool_free(pool);
	return 0;
}

static struct stats *make(void)
{
	box = (struct stats_box){0};
	struct stats *s = stats_new(&(struct stats_options){.box = &box});
	assert_non_null(s);
	return s;
}

struct made {
	const char *service, *name, *resource, *type;
	uint64_t parent;
	uint64_t end_ns;
	int64_t duration_ns;
	uint8_t error, local_root;
	struct tag *tags;
	uint16_t tag_cnt;
	struct metric *metrics;
	uint16_t metric_cnt;
};

static struct chunk *chunk_with(struct process_info *p, const struct made *spans, unsigned cnt)
{
	struct chunk *c = chunk_pool_get(pool);
	c->trace_lo = 1;
	c->process = process_info_ref(p);
	for (unsigned i = 0; i < cnt; i++) {
		const struct made *m = &spans[i];
		struct span *s = chunk_add(c);
		s->span_id = i + 1;
		s->parent_id = m->parent;
		s->start_ns = (int64_t)(m->end_ns ? m->end_ns : NOW) - m->duration_ns;
		s->duration_ns = m->duration_ns;
		s->service = sv_of(m->service);
		s->name = m->name ? sv_of(m->name) : SV("n");
		s->resource = sv_of(m->resource);
		s->type = sv_of(m->type);
		s->error = m->error;
		s->local_root = m->local_root;
		s->tags = m->tags;
		s->tag_cnt = m->tag_cnt;
		s->metrics = m->metrics;
		s->metric_cnt = m->metric_cnt;
	}
	return c;
}

static void count(struct stats *s, struct process_info *p, const struct made *spans, unsigned cnt, uint64_t now)
{
	struct chunk *c = chunk_with(p, spans, cnt);
	stats_chunk(s, c, now);
	assert_true(c->counted);
	chunk_pool_put(pool, c);
}

/* What a payload says, decoded by msgpack-c. */
struct got {
	msgpack_unpacked message;
	struct stats_payload *payload;
	const msgpack_object *bucket, *groups; /* of the only bucket */
};

static const msgpack_object *field(const msgpack_object *map, const char *key)
{
	const msgpack_object *found = NULL;
	assert_int_equal(map->type, MSGPACK_OBJECT_MAP);
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];
		if (kv->key.via.str.size == strlen(key) && memcmp(kv->key.via.str.ptr, key, strlen(key)) == 0) {
			assert_null(found);
			found = &kv->val;
		}
	}
	if (!found)
		fail_msg("no %s", key);
	return found;
}

static uint64_t number(const msgpack_object *map, const char *key)
{
	const msgpack_object *v = field(map, key);
	assert_int_equal(v->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
	return v->via.u64;
}

static struct sv text(const msgpack_object *map, const char *key)
{
	const msgpack_object *v = field(map, key);
	assert_int_equal(v->type, MSGPACK_OBJECT_STR);
	return (struct sv){v->via.str.ptr, v->via.str.size};
}

static void assert_text(const msgpack_object *map, const char *key, const char *want)
{
	struct sv got = text(map, key);
	if (!sv_eq(got, sv_of(want)))
		fail_msg("%s: '" SV_FMT "', not '%s'", key, SV_ARG(got), want);
}

/* The next payload; false: none. */
static bool take(struct got *g)
{
	static struct stats_payload *rest;
	if (!rest)
		rest = stats_box_take(&box);
	if (!rest)
		return false;
	g->payload = rest;
	rest = rest->next;
	msgpack_unpacked_init(&g->message);
	size_t off = 0;
	assert_int_equal(msgpack_unpack_next(&g->message, g->payload->body.data, g->payload->body.len, &off),
			 MSGPACK_UNPACK_SUCCESS);
	assert_int_equal(off, g->payload->body.len);
	const msgpack_object *buckets = field(&g->message.data, "Stats");
	assert_int_equal(buckets->via.array.size, 1);
	g->bucket = &buckets->via.array.ptr[0];
	g->groups = field(g->bucket, "Stats");
	assert_int_equal(g->groups->via.array.size, g->payload->groups);
	return true;
}

static void drop(struct got *g)
{
	msgpack_unpacked_destroy(&g->message);
	stats_payload_free(g->payload);
}

static const msgpack_object *group(const struct got *g, const char *resource)
{
	const msgpack_object *found = NULL;
	for (uint32_t i = 0; i < g->groups->via.array.size; i++) {
		const msgpack_object *x = &g->groups->via.array.ptr[i];
		if (!sv_eq(text(x, "Resource"), sv_of(resource)))
			continue;
		assert_null(found);
		found = x;
	}
	if (!found)
		fail_msg("no group %s", resource);
	return found;
}

/* The keys of a map, one a line. */
static void keys_of(const msgpack_object *map, struct sbuf *out)
{
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_str *s = &map->via.map.ptr[i].key.via.str;
		sbuf_add(out, s->ptr, s->size);
		sbuf_addc(out, ' ');
	}
}

static void payload_layout(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	struct sbuf keys = {0};
	count(s, &shop, &(struct made){.resource = "r", .local_root = 1, .duration_ns = 1000000}, 1, NOW);
	stats_flush(s);
	assert_true(take(&g));
	/* As in the golden payloads of dd-trace-py. */
	keys_of(&g.message.data, &keys);
	assert_string_equal(keys.data,
			    "Hostname Env Version Stats Lang TracerVersion RuntimeID Sequence AgentAggregation Service "
			    "ContainerID Tags GitCommitSha ImageTag ProcessTagsHash ProcessTags ");
	sbuf_reset(&keys);
	keys_of(g.bucket, &keys);
	assert_string_equal(keys.data, "Start Duration Stats AgentTimeShift ");
	sbuf_reset(&keys);
	keys_of(group(&g, "r"), &keys);
	assert_string_equal(keys.data,
			    "Service Name Resource HTTPStatusCode Type DBType Hits Errors Duration OkSummary "
			    "ErrorSummary Synthetics "
			    "TopLevelHits SpanKind PeerTags IsTraceRoot GRPCStatusCode HTTPMethod HTTPEndpoint srv_src "
			    "SpanDerivedPrimaryTags AdditionalMetricTags ");
	assert_text(&g.message.data, "Env", "prod");
	assert_text(&g.message.data, "Version", "1.2.3");
	assert_text(&g.message.data, "Service", "shop");
	assert_text(&g.message.data, "Hostname", "");
	assert_text(&g.message.data, "RuntimeID", "0f2b6f6e-6b0a-4a54-9a59-3f1f9a7c2d11");
	assert_int_equal(number(&g.message.data, "Sequence"), 0);
	assert_true(number(g.bucket, "Start") == NOW_BUCKET);
	assert_true(number(g.bucket, "Duration") == 10 * S);
	const msgpack_object *x = group(&g, "r"), *ok = field(x, "OkSummary");
	assert_int_equal(ok->type, MSGPACK_OBJECT_BIN);
	assert_int_equal(ok->via.bin.size, 28 - 1 + 1);
	assert_int_equal(field(x, "Synthetics")->type, MSGPACK_OBJECT_BOOLEAN);
	assert_int_equal(field(x, "PeerTags")->type, MSGPACK_OBJECT_ARRAY);
	assert_ptr_equal(g.payload->who, &shop);
	drop(&g);
	assert_false(take(&g));
	sbuf_release(&keys);
	stats_free(s);
	assert_int_equal(shop.refs, 1);
}

static void which_spans(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	static struct tag client[] = {{SV("span.kind"), SV("client")}},
			  internal[] = {{SV("span.kind"), SV("internal")}}, loud[] = {{SV("span.kind"), SV("SERVER")}};
	static struct metric measured[] = {{SV("_dd.measured"), 1}}, unmeasured[] = {{SV("_dd.measured"), 0}},
			     snapshot[] = {{SV("_dd.partial_version"), 3}};
	const struct made spans[] = {
		{.resource = "root", .local_root = 1, .duration_ns = 100},
		{.resource = "plain", .parent = 1},
		{.resource = "other service", .parent = 1, .service = "db", .duration_ns = 5, .error = 1},
		{.resource = "below it", .parent = 3, .service = "db"},
		{.resource = "client", .parent = 1, .tags = client, .tag_cnt = 1},
		{.resource = "internal", .parent = 1, .tags = internal, .tag_cnt = 1},
		{.resource = "server", .parent = 1, .tags = loud, .tag_cnt = 1},
		{.resource = "measured", .parent = 1, .metrics = measured, .metric_cnt = 1},
		{.resource = "unmeasured", .parent = 1, .metrics = unmeasured, .metric_cnt = 1},
		{.resource = "snapshot",
		 .parent = 1,
		 .tags = client,
		 .tag_cnt = 1,
		 .metrics = snapshot,
		 .metric_cnt = 1},
	};
	count(s, &shop, spans, 10, NOW);
	stats_flush(s);
	assert_true(take(&g));
	assert_int_equal(g.groups->via.array.size, 5);
	assert_int_equal(g.payload->hits, 5);
	const msgpack_object *x = group(&g, "root");
	assert_int_equal(number(x, "TopLevelHits"), 1);
	assert_int_equal(number(x, "IsTraceRoot"), 1);
	assert_int_equal(number(x, "Duration"), 100);
	x = group(&g, "other service");
	assert_text(x, "Service", "db");
	assert_text(x, "srv_src", "m");
	assert_int_equal(number(x, "TopLevelHits"), 1);
	assert_int_equal(number(x, "IsTraceRoot"), 2);
	assert_int_equal(number(x, "Errors"), 1);
	assert_int_equal(number(group(&g, "client"), "TopLevelHits"), 0);
	assert_text(group(&g, "server"), "SpanKind", "SERVER");
	group(&g, "measured");
	drop(&g);
	stats_free(s);
}

static void keys(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	struct sv peers[] = {SV("peer.service"), SV("db.system"), SV("db.system.name"), SV("out.host"),
			     SV("_dd.base_service")};
	struct sv additional[] = {SV("tier"), SV("region")};
	static struct tag http[] = {
		{SV("http.method"), SV("GET")},	 {SV("http.route"), SV("/a/:id")}, {SV("http.status_code"), SV("404")},
		{SV("span.kind"), SV("server")}, {SV("tier"), SV("gold")},	   {SV("out.host"), SV("x")}};
	static struct tag db[] = {{SV("span.kind"), SV("client")},
				  {SV("out.host"), SV("10.1.2.3")},
				  {SV("db.system"), SV("pg")},
				  {SV("db.system.name"), SV("postgresql")},
				  {SV("peer.service"), SV("")}};
	static struct tag grpc[] = {{SV("span.kind"), SV("client")},
				    {SV("grpc.status.code"), SV("NOT_FOUND")},
				    {SV("http.endpoint"), SV("/e")},
				    {SV("http.route"), SV("/r")}};
	static struct metric status[] = {{SV("http.status_code"), 503}, {SV("rpc.grpc.status_code"), 14}};
	const struct made spans[] = {
		{.resource = "http", .type = "web", .local_root = 1, .tags = http, .tag_cnt = 6},
		{.resource = "db", .parent = 1, .service = "pg", .tags = db, .tag_cnt = 5},
		{.resource = "grpc", .parent = 1, .tags = grpc, .tag_cnt = 4, .metrics = status, .metric_cnt = 2},
		{.resource = "foreign", .parent = 1, .service = "inner"},
	};
	stats_set_peer_tags(s, peers, 5);
	stats_set_additional_tags(s, additional, 2);
	struct chunk *c = chunk_with(&shop, spans, 4);
	c->origin = SV("synthetics-browser");
	stats_chunk(s, c, NOW);
	chunk_pool_put(pool, c);
	stats_flush(s);
	assert_true(take(&g));
	const msgpack_object *x = group(&g, "http"), *list;
	assert_int_equal(number(x, "HTTPStatusCode"), 404);
	assert_text(x, "HTTPMethod", "GET");
	assert_text(x, "HTTPEndpoint", "/a/:id");
	assert_text(x, "Type", "web");
	assert_true(field(x, "Synthetics")->via.boolean);
	assert_int_equal(field(x, "PeerTags")->via.array.size, 0);
	list = field(x, "AdditionalMetricTags");
	assert_int_equal(list->via.array.size, 1);
	assert_memory_equal(list->via.array.ptr[0].via.str.ptr, "tier:gold", 9);
	x = group(&g, "db");
	list = field(x, "PeerTags");
	static const char *const want[] = {"_dd.base_service:shop", "db.system.name:postgresql", "db.system:pg",
					   "out.host:blocked-ip-address"};
	assert_int_equal(list->via.array.size, 4);
	for (int i = 0; i < 4; i++) {
		struct sv tag = {list->via.array.ptr[i].via.str.ptr, list->via.array.ptr[i].via.str.size};
		assert_true(sv_eq(tag, sv_of(want[i])));
	}
	x = group(&g, "grpc");
	assert_text(x, "GRPCStatusCode", "14");
	assert_int_equal(number(x, "HTTPStatusCode"), 503);
	assert_text(x, "HTTPEndpoint", "/e");
	x = group(&g, "foreign");
	assert_int_equal(field(x, "PeerTags")->via.array.size, 1);
	drop(&g);
	stats_free(s);
}

static void buckets_by_time(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	const struct made spans[] = {
		{.resource = "now", .local_root = 1, .end_ns = NOW},
		{.resource = "before", .local_root = 1, .end_ns = NOW - 4 * S},
		{.resource = "long ago", .local_root = 1, .end_ns = NOW - 400 * S},
		{.resource = "in the future", .local_root = 1, .end_ns = NOW + 400 * S},
		/* Began before, ended now. */
		{.resource = "long", .local_root = 1, .end_ns = NOW, .duration_ns = 60 * (int64_t)S},
		{.resource = "negative", .local_root = 1, .end_ns = NOW, .duration_ns = -5},
	};
	count(s, &shop, spans, 6, NOW);
	/* Open for twenty seconds. */
	stats_pass(s, NOW_BUCKET + 10 * S - 1);
	assert_false(take(&g));
	stats_pass(s, NOW_BUCKET + 10 * S);
	assert_true(take(&g));
	assert_true(number(g.bucket, "Start") == NOW_BUCKET - 10 * S);
	assert_int_equal(g.groups->via.array.size, 2);
	group(&g, "before");
	group(&g, "long ago");
	drop(&g);
	assert_false(take(&g));
	/* One that comes late goes where the oldest open one is. */
	count(s, &shop, &(struct made){.resource = "late", .local_root = 1, .end_ns = NOW - 4 * S}, 1,
	      NOW_BUCKET + 12 * S);
	stats_pass(s, NOW_BUCKET + 20 * S);
	assert_true(take(&g));
	assert_true(number(g.bucket, "Start") == NOW_BUCKET);
	assert_int_equal(g.groups->via.array.size, 5);
	assert_int_equal(number(group(&g, "negative"), "Duration"), 0);
	group(&g, "late");
	assert_int_equal(number(&g.message.data, "Sequence"), 1);
	drop(&g);
	assert_false(take(&g));
	stats_flush(s);
	assert_false(take(&g));
	stats_free(s);
}

/* What was counted before the clock was set back leaves at once, and what comes then is of the time that it is now. */
static void clock_set_back(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	uint64_t back = NOW - 3600 * S, back_bucket = NOW_BUCKET - 3600 * S;
	count(s, &shop, &(struct made){.resource = "before", .local_root = 1, .end_ns = NOW}, 1, NOW);
	stats_pass(s, back);
	assert_true(take(&g));
	assert_true(number(g.bucket, "Start") == NOW_BUCKET);
	group(&g, "before");
	drop(&g);
	count(s, &shop, &(struct made){.resource = "then", .local_root = 1, .end_ns = back}, 1, back);
	stats_pass(s, back_bucket + 20 * S);
	assert_true(take(&g));
	assert_true(number(g.bucket, "Start") == back_bucket);
	group(&g, "then");
	drop(&g);
	/* Some seconds are no step: buckets are open for as long. */
	count(s, &shop, &(struct made){.resource = "slow", .local_root = 1, .end_ns = back_bucket + 21 * S}, 1,
	      back_bucket + 21 * S);
	stats_pass(s, back_bucket + 19 * S);
	assert_false(take(&g));
	stats_free(s);
}

static void sets_of_processes(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	struct process_info twin = shop, dev = shop, bare = {.refs = 1, .service = SV("bare")};
	struct stats_stats stats;
	dev.env = SV("dev");
	stats_set_default_env(s, SV("none"));
	const struct made root = {.resource = "r", .local_root = 1, .duration_ns = 1000};
	count(s, &shop, &root, 1, NOW);
	count(s, &twin, &root, 1, NOW);
	count(s, &dev, &root, 1, NOW);
	count(s, &bare, &root, 1, NOW);
	stats_flush(s);
	static const char *const envs[] = {"prod", "dev", "none"};
	int seen = 0;
	while (take(&g)) {
		for (int i = 0; i < 3; i++) {
			if (!sv_eq(text(&g.message.data, "Env"), sv_of(envs[i])))
				continue;
			seen |= 1 << i;
			assert_int_equal(number(group(&g, "r"), "Hits"), i == 0 ? 2 : 1);
		}
		drop(&g);
	}
	assert_int_equal(seen, 7);
	/* Silent ones are forgotten. */
	stats_stats(s, &stats);
	assert_int_equal(stats.groups, 3);
	stats_pass(s, NOW + 59 * S);
	stats_stats(s, &stats);
	assert_int_equal(stats.groups, 3);
	stats_pass(s, NOW + 61 * S);
	stats_stats(s, &stats);
	assert_int_equal(stats.groups, 0);
	assert_int_equal(twin.refs, 1);
	assert_int_equal(bare.refs, 1);
	stats_free(s);
	assert_int_equal(shop.refs, 1);
}

static void too_many_sets(void **state)
{
	(void)state;
	struct stats *s = make();
	static struct process_info many[STATS_MAX_GROUPS + 1];
	static char names[STATS_MAX_GROUPS + 1][16];
	const struct made root = {.resource = "r", .local_root = 1};
	for (int i = 0; i <= STATS_MAX_GROUPS; i++) {
		snprintf(names[i], sizeof(names[i]), "s%d", i);
		many[i] = (struct process_info){.refs = 1, .service = sv_of(names[i])};
		struct chunk *c = chunk_with(&many[i], &root, 1);
		stats_chunk(s, c, NOW);
		/* The Agent counts those that we do not. */
		assert_int_equal(c->counted, i < STATS_MAX_GROUPS);
		chunk_pool_put(pool, c);
	}
	/* And payloads that nobody takes do not pile up. */
	stats_flush(s);
	struct stats_stats stats;
	stats_stats(s, &stats);
	assert_int_equal(stats.left_to_agent, 1);
	assert_int_equal(stats.payloads, STATS_BOX_MAX);
	assert_int_equal(stats.lost, STATS_MAX_GROUPS - STATS_BOX_MAX);
	stats_box_release(&box);
	stats_free(s);
	for (int i = 0; i <= STATS_MAX_GROUPS; i++)
		assert_int_equal(many[i].refs, 1);
}

static void too_many_keys(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	char resource[32], name[32];
	/* A resource for every span: 1024 of them, then one for the rest. */
	for (int i = 0; i < 3000; i++) {
		snprintf(resource, sizeof(resource), "GET /%d", i);
		count(s, &shop, &(struct made){.resource = resource, .local_root = 1, .duration_ns = 1}, 1, NOW);
	}
	stats_flush(s);
	uint64_t hits = 0, groups = 0;
	while (take(&g)) {
		hits += g.payload->hits;
		groups += g.payload->groups;
		assert_int_equal(number(group(&g, "tracer_blocked_value"), "Hits"), 3000 - STATS_MAX_RESOURCES);
		drop(&g);
	}
	assert_int_equal(hits, 3000);
	assert_int_equal(groups, STATS_MAX_RESOURCES + 1);
	/* Names have no limit of their own, but all keys together do. */
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "name.%d", i);
		count(s, &shop, &(struct made){.name = name, .resource = "r", .local_root = 1, .duration_ns = i}, 1,
		      NOW);
	}
	stats_flush(s);
	hits = groups = 0;
	uint64_t blocked = 0, payloads = 0;
	while (take(&g)) {
		hits += g.payload->hits;
		groups += g.payload->groups;
		payloads++;
		assert_true(g.payload->body.len < STATS_PAYLOAD_SZ + 65536);
		for (uint32_t i = 0; i < g.groups->via.array.size; i++)
			if (sv_eq(text(&g.groups->via.array.ptr[i], "Name"), STATS_BLOCKED))
				blocked += number(&g.groups->via.array.ptr[i], "Hits");
		drop(&g);
	}
	assert_int_equal(hits, 20000);
	assert_int_equal(groups, STATS_MAX_KEYS + 1);
	assert_int_equal(blocked, 20000 - STATS_MAX_KEYS);
	struct stats_stats stats;
	stats_stats(s, &stats);
	assert_int_equal(stats.collapsed, 3000 - STATS_MAX_RESOURCES + 20000 - STATS_MAX_KEYS);
	assert_int_equal(stats.lost, 0);
	stats_free(s);
}

/* Payloads that are too large become several; nothing is lost. */
static void large_payloads(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	char name[32];
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		const struct made wide[] = {{.name = name, .resource = "r", .local_root = 1, .duration_ns = 1},
					    {.name = name, .resource = "r", .local_root = 1, .duration_ns = 1000000}};
		count(s, &shop, wide, 2, NOW);
	}
	stats_flush(s);
	uint64_t hits = 0, payloads = 0;
	while (take(&g)) {
		assert_int_equal(number(&g.message.data, "Sequence"), payloads++);
		assert_true(g.payload->body.len <= STATS_PAYLOAD_SZ + 4096);
		hits += g.payload->hits;
		drop(&g);
	}
	assert_int_equal(hits, 6000);
	assert_true(payloads > 3);
	stats_free(s);
}

static void no_memory_after_warm_up(void **state)
{
	(void)state;
	struct stats *s = make();
	struct got g;
	static const char *const resources[] = {"a", "b", "c", "d"};
	size_t used = 0;
	for (int round = 0; round < 300; round++) {
		uint64_t now = NOW + (uint64_t)round * S;
		for (int i = 0; i < 400; i++) {
			const struct made m = {.resource = resources[i % 4],
					       .local_root = 1,
					       .end_ns = now,
					       .duration_ns = 1000 + i * 997};
			count(s, &shop, &m, 1, now);
		}
		stats_pass(s, now);
		while (take(&g))
			drop(&g);
		if (round == 100)
			used = mallinfo2().uordblks;
	}
	assert_true(mallinfo2().uordblks <= used + 4096);
	stats_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sketch_vectors),
		cmocka_unit_test(sketch_random),
		cmocka_unit_test(grpc_codes),
		cmocka_unit_test(peer_values),
		cmocka_unit_test(payload_layout),
		cmocka_unit_test(which_spans),
		cmocka_unit_test(keys),
		cmocka_unit_test(buckets_by_time),
		cmocka_unit_test(clock_set_back),
		cmocka_unit_test(sets_of_processes),
		cmocka_unit_test(too_many_sets),
		cmocka_unit_test(too_many_keys),
		cmocka_unit_test(large_payloads),
		cmocka_unit_test(no_memory_after_warm_up),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
