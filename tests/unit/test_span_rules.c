/* SPDX-License-Identifier: Apache-2.0 */
/* span_rules: from YAML to what becomes of a chunk. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "probe/list.h"
#include "trace/assembly.h"
#include "trace/sampling/sampler.h"

#define TAG_CNT 4

static struct tag process_tags[] = {{SV("team"), SV("cart")}};
static struct process_info shop = {
	.refs = 1, .service = SV("shop"), .env = SV("prod"), .target = 1, .tags = process_tags, .tag_cnt = 1};
static const struct tag shared[] = {{SV("component"), SV("http")}, {SV("span.kind"), SV("client")}};
static struct chunk_pool *pool;
static struct chunk *chunk;
static struct probe_list *list;
static struct span_ruler ruler;

static int setup(void **state)
{
	(void)state;
	pool = chunk_pool_new(1000);
	return pool ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	chunk_pool_free(pool);
	return shop.refs == 1 ? 0 : -1;
}

static struct span *add(uint64_t id, uint64_t parent, const char *name)
{
	static const struct tag tags[TAG_CNT] = {{SV("http.method"), SV("GET")},
						 {SV("http.route"), SV("/users/{id}")},
						 {SV("out.host"), SV("db.internal")},
						 {SV("http.status_code"), SV("503")}};
	static const struct metric metrics[] = {{SV("network.destination.port"), 5432}, {SV("size"), 17.5}};
	struct span *s = chunk_add(chunk);
	s->span_id = id;
	s->parent_id = parent;
	s->local_root = parent == 0;
	s->name = sv_of(name);
	s->normal = 1;
	s->type = SV("http");
	s->shared_tags = shared;
	s->shared_tag_cnt = 2;
	s->tags = arena_alloc(&chunk->arena, sizeof(tags));
	memcpy(s->tags, tags, sizeof(tags));
	s->tag_cnt = TAG_CNT;
	s->metrics = arena_alloc(&chunk->arena, sizeof(metrics));
	memcpy(s->metrics, metrics, sizeof(metrics));
	s->metric_cnt = 2;
	return s;
}

/* A root, its child, and that one's child. */
static void begin(const char *yaml)
{
	struct diagnostics d = {0};
	int rc = probe_list_parse(&list, "rules.yaml", yaml, strlen(yaml), &d);
	struct sbuf said = {0};
	diagnostics_print(&d, &said);
	if (rc)
		fail_msg("%s", sbuf_str(&said));
	sbuf_release(&said);
	diagnostics_release(&d);
	chunk = chunk_pool_get(pool);
	chunk->process = process_info_ref(&shop);
	chunk->trace_lo = 1;
	add(3, 2, "leaf");
	add(2, 1, "middle");
	add(1, 0, "root");
	ruler = (struct span_ruler){.rules = &list->span_rules};
}

static void end(void)
{
	span_ruler_release(&ruler);
	chunk_pool_put(pool, chunk);
	probe_list_free(list);
}

static void assert_sv(struct sv got, const char *want)
{
	if (!sv_eq(got, sv_of(want)))
		fail_msg("'" SV_FMT "' is not '%s'", SV_ARG(got), want);
}

static void assert_tag(unsigned i, const char *key, const char *want)
{
	struct sv value = SV_NULL;
	assert_true(span_tag(chunk, &chunk->spans[i], sv_of(key), &value) == (want != NULL));
	if (want)
		assert_sv(value, want);
}

static void sets(void **state)
{
	(void)state;
	begin("span_rules:\n"
	      "  - match: {name: LEAF, tags: {http.status_code: \"5*\", team: c?rt}, service: shop, type: http, peer: \"db.*:5432\"}\n"
	      "    set:\n"
	      "      service: \"Users {http.method}\"\n"
	      "      name: db.query\n"
	      "      resource: \"{http.method} {http.route} {{{size}}} {nothing}{team}{name}\"\n"
	      "      type: sql\n"
	      "      error: true\n"
	      "      tags: {http.method: POST, tier: \"{out.host}:{network.destination.port}\", team: checkout}\n"
	      "      metrics: {size: -2.5, more: 3}\n"
	      "  - match: {name: db.query, resource: \"GET*\", error: true}\n"
	      "    rename: {http.route: route, size: bytes, absent: there}\n"
	      "    remove: [component, out.host]\n");
	const struct span *s = &chunk->spans[0];
	double number;
	assert_true(span_ruler_chunk(&ruler, chunk));
	assert_int_equal(ruler.matched, 2);
	assert_int_equal(ruler.no_memory, 0);
	assert_sv(s->service, "users_get");
	assert_sv(s->name, "db.query");
	assert_sv(s->resource, "GET /users/{id} {17.5} cartleaf");
	assert_sv(s->type, "sql");
	assert_int_equal(s->error, 1);
	assert_int_equal(s->normal, 0);
	assert_tag(0, "http.method", "POST");
	assert_tag(0, "tier", "db.internal:5432");
	assert_tag(0, "team", "checkout");
	assert_tag(0, "route", "/users/{id}");
	assert_tag(0, "http.route", NULL);
	assert_tag(0, "component", NULL);
	assert_tag(0, "out.host", NULL);
	assert_tag(0, "there", NULL);
	assert_tag(0, "span.kind", "client");
	assert_false(span_metric(s, SV("size"), &number));
	assert_true(span_metric(s, SV("bytes"), &number) && number == -2.5);
	assert_true(span_metric(s, SV("more"), &number) && number == 3);
	/* Nobody else changed, nor what spans share. */
	assert_sv(chunk->spans[1].name, "middle");
	assert_int_equal(chunk->spans[1].shared_tag_cnt, 2);
	assert_tag(1, "component", "http");
	assert_int_equal(chunk->spans[1].normal, 1);
	end();
}

static void drops(void **state)
{
	(void)state;
	begin("span_rules: {match: {name: middle}, drop: true}\n");
	assert_true(span_ruler_chunk(&ruler, chunk));
	assert_int_equal(chunk->span_cnt, 2);
	assert_int_equal(ruler.dropped, 1);
	assert_int_equal(chunk->spans[0].parent_id, 1);
	assert_int_equal(chunk->spans[0].local_root, 0);
	end();

	/* What is below a dropped root is a root. */
	begin("span_rules:\n  - {match: {name: root}, drop: true}\n  - {match: {name: middle}, drop: true}\n");
	assert_true(span_ruler_chunk(&ruler, chunk));
	assert_int_equal(chunk->span_cnt, 1);
	assert_int_equal(chunk->spans[0].parent_id, 0);
	assert_int_equal(chunk->spans[0].local_root, 1);
	end();

	begin("targets:\n  - name: a\n    span_rules: {drop: true}\n");
	assert_false(span_ruler_chunk(&ruler, chunk));
	assert_int_equal(chunk->span_cnt, 0);
	assert_int_equal(ruler.dropped, 3);
	end();

	/* Ids of damaged records: a circle. */
	begin("span_rules: {match: {name: \"*\", peer: \"db.internal\"}, drop: true}\n");
	chunk->spans[2].parent_id = 3;
	chunk->spans[2].local_root = 0;
	assert_false(span_ruler_chunk(&ruler, chunk));
	end();
}

/* A rule of another target, of another peer, and none at all. */
static void leaves_alone(void **state)
{
	(void)state;
	begin("targets:\n  - name: a\n  - name: b\n    span_rules: {drop: true}\n"
	      "span_rules:\n"
	      "  - {match: {peer: other}, drop: true}\n"
	      "  - {match: {error: true}, drop: true}\n"
	      "  - {match: {type: web}, drop: true}\n"
	      "  - {match: {tags: {size: \"17\"}}, drop: true}\n");
	assert_true(span_ruler_chunk(&ruler, chunk));
	assert_int_equal(chunk->span_cnt, 3);
	assert_int_equal(ruler.matched, 0);
	ruler.rules = NULL;
	assert_true(span_ruler_chunk(&ruler, chunk));
	end();
}

/* Sampling obeys. */
static void orders(void **state)
{
	(void)state;
	struct sampler_options o = {.vars = {.rules = SV("[{\"sample_rate\":0}]")}};
	struct sampler *s = sampler_new(&o);
	begin("span_rules: {match: {name: leaf}, keep: true}\n");
	assert_true(span_ruler_chunk(&ruler, chunk));
	sampler_chunk(s, chunk, 1);
	assert_int_equal(chunk->priority, PRIORITY_USER_KEEP);
	assert_int_equal(chunk->mechanism, MECHANISM_MANUAL);
	end();
	begin("span_rules: {match: {name: middle}, reject: true}\n");
	chunk->decided = DECIDED_UPSTREAM;
	chunk->priority = PRIORITY_AUTO_KEEP;
	assert_true(span_ruler_chunk(&ruler, chunk));
	sampler_chunk(s, chunk, 1);
	assert_int_equal(chunk->priority, PRIORITY_USER_DROP);
	end();
	sampler_free(s);
}

static void cuts(void **state)
{
	(void)state;
	begin("span_rules: {match: {name: leaf}, set: {resource: \"{big}{big}x\"}}\n");
	char *big = arena_alloc(&chunk->arena, 3001);
	memset(big, 'a', 3000);
	chunk->spans[0].tags[0] = (struct tag){SV("big"), {big, 3000}};
	assert_true(span_ruler_chunk(&ruler, chunk));
	assert_int_equal(chunk->spans[0].resource.len, SPAN_TEXT_MAX_SZ);
	end();
}

static void mistakes(void **state)
{
	(void)state;
	static const struct {
		const char *yaml;
		unsigned line, column;
		const char *says;
	} v[] = {
		{"span_rules:\n  - match: {nmae: x}\n    drop: true\n", 2, 13, "did you mean 'name'"},
		{"span_rules:\n  - match: {name: x}\n", 2, 5, "needs one of set"},
		{"span_rules:\n  - drop: true\n", 2, 5, "every span"},
		{"span_rules:\n  - {match: {name: x}, drop: true, keep: true}\n", 2, 5, "nothing else"},
		{"span_rules:\n  - {keep: true, reject: true}\n", 2, 5, "contradict"},
		{"span_rules:\n  - {keep: false}\n", 2, 12, "keep: expected true"},
		{"span_rules:\n  - set: {name: \"a{b\"}\n", 2, 19, "never closed"},
		{"span_rules:\n  - set: {tags: {t: \"a}b\"}}\n", 2, 23, "'}' without '{'"},
		{"span_rules:\n  - set: {tags: {t: \"{}\"}}\n", 2, 22, "nothing between"},
		{"span_rules:\n  - set: {metrics: {m: many}}\n", 2, 24, "m: expected a number"},
		{"span_rules:\n  - set: {error: maybe}\n", 2, 18, "error: expected true or false"},
		{"span_rules:\n  - {match: {error: 1}, drop: true}\n", 2, 21, "error: expected true or false"},
		{"span_rules:\n  - rename: {a: }\n", 2, 14, "no value"},
		{"span_rules:\n  - remvoe: a\n", 2, 5, "did you mean 'remove'"},
		{"span_rules:\n  - add_link: {trace_id: a}\n", 2, 15, "needs trace_id and span_id"},
		{"span_rules:\n  - add_event: {attributes: {a: 1}}\n", 2, 16, "add_event: needs a name"},
		{"span_rules:\n  - add_event: {name: e, attributes: {a: \"{\"}}\n", 2, 43, "never closed"},
		{"span_rules:\n  - {match: {name: x}, drop: true, add_event: {name: e}}\n", 2, 5, "nothing else"},
		{"span_rules: 5\n", 1, 13, "a span rule or a list of them"},
		{"span_rules: []\n", 1, 13, "a span rule or a list of them"},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct diagnostics d = {0};
		struct probe_list *bad = NULL;
		assert_int_equal(probe_list_parse(&bad, "b", v[i].yaml, strlen(v[i].yaml), &d), -EINVAL);
		struct sbuf said = {0};
		diagnostics_print(&d, &said);
		if (d.error_cnt != 1 || d.items.data[0].pos.line != v[i].line ||
		    d.items.data[0].pos.column != v[i].column || !strstr(sbuf_str(&said), v[i].says))
			fail_msg("%s", sbuf_str(&said));
		sbuf_release(&said);
		diagnostics_release(&d);
		probe_list_free(bad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(sets),	   cmocka_unit_test(drops),
					   cmocka_unit_test(leaves_alone), cmocka_unit_test(orders),
					   cmocka_unit_test(cuts),	   cmocka_unit_test(mistakes)};
	return cmocka_run_group_tests(tests, setup, teardown);
}
