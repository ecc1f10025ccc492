/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of the Agent's documentation and tests; tests/crosscheck/texts compares with its code itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "trace/assembly.h"
#include "trace/normalize.h"
#include "trace/obfuscate/obfuscate.h"

struct vector {
	const char *in, *out; /* NULL: refused */
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void same(const struct sbuf *got, const char *in, const char *want)
{
	if (strcmp(sbuf_str(got), want) != 0)
		fail_msg("%s\n became %s\n not    %s", in, sbuf_str(got), want);
}

static void sql(void **state)
{
	(void)state;
	static const struct vector v[] = {
		{"SELECT * FROM t WHERE a IN ('x','y')", "SELECT * FROM t WHERE a IN ( ? )"},
		{"INSERT INTO u (id, n) VALUES ('F','S'), ('J','S');", "INSERT INTO u ( id, n ) VALUES ( ? )"},
		{"SELECT COUNT(*) FROM t", "SELECT COUNT ( * ) FROM t"},
		{"CREATE TABLE s (id INTEGER not NULL, PRIMARY KEY ( id ))",
		 "CREATE TABLE s ( id INTEGER not ? PRIMARY KEY ( id ) )"},
		{"UPDATE t SET a = 1, b = 2", "UPDATE t SET a = ? b = ?"},
		{"SELECT '60'::text", "SELECT ? :: text"},
		{"SELECT 1 - 2", "SELECT ? - ?"},
		{"col > -1e6", "col > ?"},
		{"SELECT 3 AS n, a.id FROM a", "SELECT ?, a.id FROM a"},
		{"a = +255", "a = + ?"},
		{"SELECT a FROM b -- c\nWHERE d = \"e\" # f", "SELECT a FROM b WHERE d = ?"},
		{"SELECT \"a\" FROM `b` WHERE c = :d", "SELECT a FROM b WHERE c = :d"},
		{"SELECT a := b", "SELECT a := b"},
		{"SELECT $1, $$x$$, $t$y$t$, %s, %(n)s", "SELECT ?"},
		{"SELECT a AS [b] FROM c", "SELECT a FROM c"},
		{"SAVEPOINT x1", "SAVEPOINT ?"},
		{"SELECT 'it''s' || 'a\\'b'", "SELECT ? | | ?"},
		{"WHERE d = {d '2001-01-01'}", "WHERE d = ?"},
		{"", NULL},
		{"   ", NULL},
		{"-- nothing", NULL},
		{"SELECT 'open", NULL},
		{"SELECT /* open", NULL},
		{"SELECT \x01", NULL},
		{"SELECT '\xff'", NULL},
	};
	for (size_t i = 0; i < COUNT(v); i++) {
		struct sbuf b = {0};
		int r = obfuscate_sql_once(&b, sv_of(v[i].in));
		assert_int_equal(r, v[i].out ? 0 : -EINVAL);
		same(&b, v[i].in, v[i].out ? v[i].out : "");
		/* And so that nothing changes when it is done again. */
		struct sbuf once = {0}, twice = {0};
		if (v[i].out && obfuscate_sql(&once, sv_of(v[i].in)) == 0) {
			assert_int_equal(obfuscate_sql_once(&twice, sbuf_sv(&once)), 0);
			same(&twice, v[i].in, sbuf_str(&once));
		}
		sbuf_release(&b);
		sbuf_release(&once);
		sbuf_release(&twice);
	}
	struct sbuf b = {0};
	assert_int_equal(obfuscate_sql(&b, SV("SELECT 3 AS n, a.id FROM a")), 0);
	same(&b, "the above", "SELECT ? a.id FROM a");
	sbuf_release(&b);
}

static void redis(void **state)
{
	(void)state;
	static const struct vector commands[] = {
		{"HELLO 3 AUTH u p", "HELLO ?"},
		{"ACL SETUSER a on >p", "ACL SETUSER ?"},
		{"SET k v EX 10", "SET k ? EX 10"},
		{"set k v", "set k ?"},
		{"SETEX k 10 v", "SETEX k 10 ?"},
		{"LINSERT k BEFORE p v", "LINSERT k BEFORE p ?"},
		{"GEOADD k x y m", "GEOADD k x y ?"},
		{"HSET h f1 v1 f2 v2", "HSET h f1 ? f2 ?"},
		{"MSET k1 v1 k2 v2", "MSET k1 ? k2 ?"},
		{"CONFIG SET p v", "CONFIG SET p ?"},
		{"CONFIG GET p", "CONFIG GET p"},
		{"BITFIELD k SET u8 0 7", "BITFIELD k SET u8 0 ?"},
		{"ZADD k NX 1 m", "ZADD k NX 1 ?"},
		{"SET \"a b\" \"c \\\" d\"", "SET \"a b\" ?"},
		{"GET k\nAUTH p", "GET k\nAUTH ?"},
		{"UNKNOWN a b", "UNKNOWN a b"},
		{"", ""},
	};
	static const struct vector resources[] = {
		{"GET k", "GET"},
		{"client list", "CLIENT LIST"},
		{"SET a b\nGET c", "SET GET"},
		{"SET a b\nGET c\nDEL d\nGET e", "SET GET DEL ..."},
		{"GET k\nSE...", "GET ..."},
		{"CLIENT LI...", "..."},
		{"", ""},
	};
	for (size_t i = 0; i < COUNT(commands); i++) {
		struct sbuf b = {0};
		obfuscate_redis_command(&b, sv_of(commands[i].in));
		same(&b, commands[i].in, commands[i].out);
		sbuf_release(&b);
	}
	for (size_t i = 0; i < COUNT(resources); i++) {
		struct sbuf b = {0};
		obfuscate_redis_resource(&b, sv_of(resources[i].in));
		same(&b, resources[i].in, resources[i].out);
		sbuf_release(&b);
	}
}

static void documents(void **state)
{
	(void)state;
	static const struct vector v[] = {
		{"{\"a\": 1, \"b\": [\"x\", null, {\"c\": true}]}", "{\"a\":\"?\",\"b\":[\"?\",\"?\",{\"c\":\"?\"}]}"},
		{"{\"keep\": {\"z\": [1, \"s\"]}, \"y\": 2}", "{\"keep\":{\"z\":[1,\"s\"]},\"y\":\"?\"}"},
		{"{\"a\": \"b", "{\"a\":\"?\"..."},
		{"{\"a\" 1}", "{\"a\"..."},
		{"{}\n[1]", "{}\n[\"?\"]"},
		{"", ""},
		{"{} \"secret\"", "{} \"?\""},
	};
	struct sv keys[] = {SV("keep")};
	struct agent_list keep = {keys, 1};
	for (size_t i = 0; i < COUNT(v); i++) {
		struct sbuf b = {0};
		obfuscate_json(&b, sv_of(v[i].in), &keep);
		same(&b, v[i].in, v[i].out);
		sbuf_release(&b);
	}
	struct sbuf deep = {0}, b = {0};
	for (int i = 0; i < 100000; i++)
		sbuf_addc(&deep, '[');
	obfuscate_json(&b, sbuf_sv(&deep), NULL);
	assert_true(b.len < 1000 && strstr(sbuf_str(&b), "[..."));
	sbuf_release(&deep);
	sbuf_release(&b);
}

static void urls(void **state)
{
	(void)state;
	static const struct {
		const char *in, *plain, *stripped;
	} v[] = {
		{"http://u:p@h/a/1b/c?x=1#f", "http://h/a/1b/c?x=1#f", "http://h/a/?/c?#f"},
		{"/a/b", "/a/b", "/a/b"},
		{"http://h/a b", "http://h/a%20b", "http://h/a%20b"},
		{"http://h/a%2", "http://h/a%2", "?"},
		{"http://u:p@h/a%2", "?", "?"},
	};
	for (size_t i = 0; i < COUNT(v); i++) {
		struct sbuf b = {0};
		obfuscate_url(&b, sv_of(v[i].in), false, false);
		same(&b, v[i].in, v[i].plain);
		sbuf_reset(&b);
		obfuscate_url(&b, sv_of(v[i].in), true, true);
		same(&b, v[i].in, v[i].stripped);
		sbuf_release(&b);
	}
}

static void cards(void **state)
{
	(void)state;
	static const char *const yes[] = {"4111 1111 1111 1111", "378282246310005",  "3714-496353-98431",
					  "5105105105105100",	 "6011000990139424", "30569309025904"};
	static const char *const no[] = {"",
					 "123",
					 "41111111111",
					 "41111111111111111",
					 "4111 1111 1111 111x",
					 "7111111111111111",
					 "0041111111111111"};
	for (size_t i = 0; i < COUNT(yes); i++)
		assert_true(obfuscate_is_card(sv_of(yes[i]), true));
	for (size_t i = 0; i < COUNT(no); i++)
		assert_false(obfuscate_is_card(sv_of(no[i]), false));
	assert_true(obfuscate_is_card(SV("4111111111111112"), false));
	assert_false(obfuscate_is_card(SV("4111111111111112"), true));
	assert_false(obfuscate_card_key(SV("_dd.p.dm")));
	assert_false(obfuscate_card_key(SV("http.status_code")));
	assert_true(obfuscate_card_key(SV("card")));
}

/* --- spans -------------------------------------------------------------------------------------------------------- */

static struct process_info shop = {.refs = 1, .service = SV("shop"), .language = SV("go")};

static void check_span(const char *type, const char *resource, const char *key, const char *value,
		       const char *info_json, const char *want_resource, const char *want_value)
{
	struct sbuf scratch = {0}, err = {0};
	struct agent_info *info = NULL;
	struct tag tags[] = {{sv_of(key), sv_of(value)}};
	struct span s = {.type = sv_of(type), .resource = sv_of(resource), .tags = tags, .tag_cnt = 1};
	struct chunk c = {.process = &shop, .spans = &s, .span_cnt = 1};
	if (info_json)
		assert_int_equal(agent_info_parse(&info, sv_of(info_json), &err), 0);
	/* Twice: what is done is done. */
	for (int i = 0; i < 2; i++) {
		assert_true(obfuscate_span(&c, &s, info, true, &scratch));
		assert_true(sv_eq(s.resource, sv_of(want_resource)));
		assert_true(sv_eq(tags[0].value, sv_of(want_value)));
	}
	agent_info_unref(info);
	arena_release(&c.arena);
	sbuf_release(&scratch);
}

static void spans(void **state)
{
	(void)state;
	check_span("sql", "SELECT 1", "sql.query", "SELECT 1", NULL, "SELECT ?", "SELECT ?");
	check_span("cassandra", "SELECT a", "db.statement", "SELECT 'b'", NULL, "SELECT a", "SELECT ?");
	check_span("redis", "GET k", "redis.raw_command", "SET k v", NULL, "GET", "SET k ?");
	check_span("redis", "GET k", "redis.raw_command", "SET k v",
		   "{\"config\":{\"obfuscation\":{\"redis\":{\"enabled\":true,\"remove_all_args\":true}}}}", "GET",
		   "SET ?");
	check_span("redis", "GET k", "redis.raw_command", "SET k v",
		   "{\"config\":{\"obfuscation\":{\"redis\":{\"enabled\":false}}}}", "GET", "SET k v");
	check_span("memcached", "set", "memcached.command", "set k 0 0 1\r\nv\r\n", NULL, "set", "");
	check_span("mongodb", "find", "mongodb.query", "{\"a\":1}", NULL, "find", "{\"a\":\"?\"}");
	check_span("elasticsearch", "s", "elasticsearch.body", "[1]", NULL, "s", "[\"?\"]");
	check_span("http", "GET /", "http.url", "http://u:p@h/", NULL, "GET /", "http://h/");
	check_span("web", "GET /", "card", "4111111111111111", NULL, "GET /", "?");
	check_span("web", "GET /", "card", "4111111111111111", "{\"config\":{\"obfuscation\":{}}}", "GET /",
		   "4111111111111111");
	check_span("", "SELECT 1", "sql.query", "SELECT 1", NULL, "SELECT 1", "SELECT 1");
	struct sbuf scratch = {0};
	struct span s = {.type = SV("sql"), .resource = SV("SELECT 'open")};
	struct chunk c = {.process = &shop, .spans = &s, .span_cnt = 1};
	assert_true(obfuscate_span(&c, &s, NULL, true, &scratch));
	assert_true(sv_eq(s.resource, OBFUSCATE_SQL_FAILED));
	arena_release(&c.arena);
	sbuf_release(&scratch);
}

static void whole_span(void **state)
{
	(void)state;
	static char longer[30000];
	memset(longer, 'x', sizeof(longer) - 1);
	struct tag tags[] = {{SV("http.status_code"), SV("99")}, {SV("peer.service"), SV("My Peer$")},
			     {{longer, 250}, {longer, 26000}},	 {SV("_dd.x.json"), {longer, 26000}},
			     {SV("env"), SV("Prod Env")},	 {SV("plain"), SV("As Is")}};
	struct metric metrics[] = {{{longer, 250}, 1}};
	struct span s = {.span_id = 7,
			 .parent_id = 7,
			 .service = SV("My Svc$1"),
			 .name = SV("a-b c.d"),
			 .resource = {longer, 6000},
			 .type = {longer, 120},
			 .start_ns = 5,
			 .duration_ns = -3,
			 .tags = tags,
			 .tag_cnt = 6,
			 .metrics = metrics,
			 .metric_cnt = 1};
	struct chunk c = {.trace_lo = 7, .process = &shop, .spans = &s, .span_cnt = 1};
	struct sbuf scratch = {0};
	for (int i = 0; i < 2; i++) {
		assert_true(normalize_span(&c, &s, NORMALIZE_MAX_RESOURCE, 1700000000000000000, &scratch));
		assert_true(sv_eq(s.service, SV("my_svc_1")));
		assert_true(sv_eq(s.name, SV("a_b_c.d")));
		assert_int_equal(s.resource.len, 5000);
		assert_int_equal(s.type.len, 100);
		assert_int_equal(s.parent_id, 0);
		assert_int_equal(s.duration_ns, 0);
		assert_int_equal(s.start_ns, 1700000000000000000);
		assert_int_equal(s.tag_cnt, 5);
		assert_true(sv_eq(tags[0].value, SV("my_peer")));
		assert_int_equal(tags[2].value.len, 26000);
		assert_true(sv_eq(tags[3].value, SV("prod_env")));
		assert_true(sv_eq(tags[4].value, SV("As Is")));
		/* What is cut is three dots longer than the bound, and is cut again by whoever does it again: as there.
		 */
		assert_int_equal(tags[1].key.len, 203);
		assert_int_equal(tags[1].value.len, 25003);
		assert_int_equal(metrics[0].key.len, 203);
	}
	s.resource = SV("");
	assert_true(normalize_span(&c, &s, NORMALIZE_MAX_RESOURCE, 1700000000000000000, &scratch));
	assert_true(sv_eq(s.resource, SV("a_b_c.d")));
	arena_release(&c.arena);
	sbuf_release(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sql),	 cmocka_unit_test(redis), cmocka_unit_test(documents),	cmocka_unit_test(urls),
		cmocka_unit_test(cards), cmocka_unit_test(spans), cmocka_unit_test(whole_span),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
