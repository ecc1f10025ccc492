/* SPDX-License-Identifier: Apache-2.0 */
/* Links and events: made by span rules, on the wire as ddtrace 4.16 writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "export/payload.h"
#include "probe/list.h"
#include "trace/normalize.h"
#include "trace/obfuscate/obfuscate.h"
#include "trace/span_rules.h"

static struct process_info shop = {.refs = 1, .service = SV("shop")};
static struct tag tags[] = {{SV("batch.trace_id"), SV("6b00c44a000000001122334455667788")},
			    {SV("batch.span_id"), SV("0000000000abcdef")},
			    {SV("job"), SV("7 \"x\" \xc3\xbc\n")},
			    {SV("card"), SV("4111 1111 1111 1111")}};
static struct span span;
static struct chunk chunk;
static struct probe_list *list;
static struct span_ruler ruler;
static struct sbuf scratch;

static void begin(const char *yaml)
{
	struct diagnostics d = {0};
	struct sbuf said = {0};
	int rc = probe_list_parse(&list, "rules.yaml", yaml, strlen(yaml), &d);
	diagnostics_print(&d, &said);
	if (rc)
		fail_msg("%s", sbuf_str(&said));
	sbuf_release(&said);
	diagnostics_release(&d);
	span = (struct span){.span_id = 1,
			     .local_root = 1,
			     .start_ns = 1699999999000000000,
			     .duration_ns = 1000000000,
			     .name = SV("op"),
			     .tags = tags,
			     .tag_cnt = 4};
	chunk = (struct chunk){.trace_lo = 1, .process = &shop, .spans = &span, .span_cnt = 1};
	ruler = (struct span_ruler){.rules = &list->span_rules};
	assert_true(span_ruler_chunk(&ruler, &chunk));
	assert_int_equal(ruler.no_memory, 0);
}

static void end(void)
{
	span_ruler_release(&ruler);
	arena_release(&chunk.arena);
	probe_list_free(list);
	sbuf_release(&scratch);
}

static const char rules[] =
	"span_rules:\n"
	"  - add_link:\n"
	"      - {trace_id: \"{batch.trace_id}\", span_id: \"{batch.span_id}\", attributes: {k: v, job: \"{job}\"}}\n"
	"      - {trace_id: \"5\", span_id: \"0xff\"}\n"
	"      - {trace_id: \"{absent}\", span_id: \"1\"}\n"
	"      - {trace_id: zebra, span_id: \"1\"}\n"
	"    add_event:\n"
	"      - {name: \"ev {name}\", attributes: {s: x, i: -5, d: 2.0, e: 0.1, b: true, q: \"5\"}}\n"
	"      - {name: bare}\n"
	"      - {name: \"{absent}\"}\n";

#define LINKS                                                                                       \
	"[{\"trace_id\": \"6b00c44a000000001122334455667788\", \"span_id\": \"0000000000abcdef\", " \
	"\"attributes\": {\"k\": \"v\", \"job\": \"7 \\\"x\\\" \xc3\xbc\\u000a\"}}, "               \
	"{\"trace_id\": \"00000000000000000000000000000005\", \"span_id\": \"00000000000000ff\"}]"
#define EVENTS                                                                                            \
	"[{\"name\": \"ev op\", \"time_unix_nano\": 1700000000000000000, \"attributes\": {\"s\": \"x\", " \
	"\"i\": -5, \"d\": 2.0, \"e\": 0.1, \"b\": true, \"q\": \"5\"}}, "                                \
	"{\"name\": \"bare\", \"time_unix_nano\": 1700000000000000000}]"

static void json(void **state)
{
	(void)state;
	begin(rules);
	assert_int_equal(ruler.unreadable, 1);
	assert_int_equal(span.annex->link_cnt, 2);
	annex_links_json(span.annex, &scratch);
	assert_string_equal(sbuf_str(&scratch), LINKS);
	sbuf_reset(&scratch);
	annex_events_json(span.annex, &scratch);
	assert_string_equal(sbuf_str(&scratch), EVENTS);
	end();
}

/* What of `want` (hex) the bytes end with. */
static void assert_end(struct sv bytes, const char *want)
{
	sbuf_reset(&scratch);
	for (size_t i = 0; i < bytes.len; i++)
		sbuf_addx(&scratch, (unsigned char)bytes.data[i], 2);
	size_t len = strlen(want);
	assert_true(scratch.len >= len);
	assert_string_equal(sbuf_str(&scratch) + scratch.len - len, want);
}

/* The fields, byte for byte as ddtrace packs them. */
static void fields(void **state)
{
	(void)state;
	struct packer p = {0};
	struct tags t = {0};
	begin("span_rules:\n"
	      "  - add_link: {trace_id: \"{batch.trace_id}\", span_id: \"{batch.span_id}\", attributes: {k: v, n: \"5\", b: \"true\"}}\n"
	      "    add_event:\n"
	      "      - {name: ev, attributes: {s: x, i: 5, d: 2.0, b: true}}\n"
	      "      - {name: bare}\n");
	assert_int_equal(v04_chunk(&p, &t, &chunk), 0);
	assert_end(
		(struct sv){p.data, p.len},
		"aa7370616e5f6c696e6b739184a874726163655f6964cf1122334455667788a77370616e5f6964ce00abcdef"
		"aa6174747269627574657383a16ba176a16ea135a162a474727565ad74726163655f69645f68696768cf6b00c44a00000000"
		"ab7370616e5f6576656e7473"
		"9283a46e616d65a26576ae74696d655f756e69785f6e616e6fcf17979cfe362a0000aa6174747269627574657384"
		"a17382a47479706500ac737472696e675f76616c7565a178"
		"a16982a47479706502a9696e745f76616c756505"
		"a16482a47479706503ac646f75626c655f76616c7565cb4000000000000000"
		"a16282a47479706501aa626f6f6c5f76616c7565c3"
		"82a46e616d65a462617265ae74696d655f756e69785f6e616e6fcf17979cfe362a0000");
	/* One more field in the map: no events. */
	assert_int_equal((unsigned char)p.data[1], 0x8d);
	p.len = 0;
	t.events_as_tag = true;
	assert_int_equal(v04_chunk(&p, &t, &chunk), 0);
	assert_int_equal((unsigned char)p.data[1], 0x8c);
	assert_end((struct sv){p.data, p.len}, "a162a474727565ad74726163655f69645f68696768cf6b00c44a00000000");
	assert_non_null(memmem(p.data, p.len, "[{\"name\": \"ev\", ", 16));
	packer_release(&p);
	tags_release(&t);
	end();
}

static const struct tag *meta(const struct tags *t, struct sv key)
{
	vec_foreach (m, &t->meta)
		if (sv_eq(m->key, key))
			return m;
	return NULL;
}

/* Where there are no such fields. */
static void as_tags(void **state)
{
	(void)state;
	struct tags t = {.links_as_tag = true, .events_as_tag = true};
	begin(rules);
	tags_start(&t, &chunk);
	tags_of(&t, 0);
	assert_false(t.failed);
	const struct tag *links = meta(&t, ANNEX_LINKS_TAG), *events = meta(&t, ANNEX_EVENTS_TAG);
	assert_true(links && sv_eq(links->value, SV(LINKS)));
	assert_true(events && sv_eq(events->value, SV(EVENTS)));
	t.links_as_tag = t.events_as_tag = false;
	tags_of(&t, 0);
	assert_true(!meta(&t, ANNEX_LINKS_TAG) && !meta(&t, ANNEX_EVENTS_TAG));
	tags_release(&t);
	end();
}

/* Nothing of it is altered by an Agent. */
static void clean(void **state)
{
	(void)state;
	begin("span_rules:\n"
	      "  - add_link: {trace_id: \"1\", span_id: \"1\", attributes: {link.name: \"a b-\", card: \"{card}\"}}\n"
	      "    add_event: {name: e, attributes: {card: \"{card}\", n: 4111111111111111, d: 4111111111111111.0, env: \"{card}\"}}\n");
	struct span *s = &span;
	s->tag_cnt = 0;
	assert_true(obfuscate_span(&chunk, s, NULL, true, &scratch));
	assert_true(normalize_span(&chunk, s, 5000, 1800000000000000000, &scratch));
	sbuf_reset(&scratch);
	annex_links_json(s->annex, &scratch);
	assert_non_null(strstr(sbuf_str(&scratch), "{\"link.name\": \"a_b\", \"card\": \"4111 1111 1111 1111\"}"));
	sbuf_reset(&scratch);
	annex_events_json(s->annex, &scratch);
	assert_non_null(strstr(sbuf_str(&scratch),
			       "{\"card\": \"?\", \"n\": \"?\", \"d\": \"?\", \"env\": \"4111 1111 1111 1111\"}"));
	end();
}

/* As a tag it stays below what an Agent cuts. */
static void bounds(void **state)
{
	(void)state;
	begin("span_rules: {add_event: {name: e, attributes: {t: \"{big}\"}}}\n");
	static char big[6000];
	memset(big, 1, sizeof(big)); /* six bytes each in JSON */
	struct tag tag = {SV("big"), {big, 3000}};
	span.tags = &tag;
	span.tag_cnt = 1;
	assert_true(span_ruler_chunk(&ruler, &chunk));
	assert_int_equal(ruler.crowded, 0);
	assert_true(span_ruler_chunk(&ruler, &chunk));
	assert_int_equal(ruler.crowded, 1);
	annex_events_json(span.annex, &scratch);
	assert_true(scratch.len > 18000 && scratch.len <= ANNEX_MAX_SZ);
	end();

	begin("span_rules: {add_link: {trace_id: \"1\", span_id: \"1\"}}\n");
	for (unsigned i = 1; i < ANNEX_MAX + 3; i++)
		assert_true(span_ruler_chunk(&ruler, &chunk));
	assert_int_equal(span.annex->link_cnt, ANNEX_MAX);
	assert_int_equal(ruler.crowded, 3);
	end();
}

static void ids(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool trace, span;
		uint64_t hi, lo;
	} v[] = {
		{"6b00c44a000000001122334455667788", true, false, 0x6b00c44a00000000, 0x1122334455667788},
		{"00000000000000000000000000000010", true, false, 0, 16},
		{"FFEEDDCCBBAA9988", true, true, 0, 0xffeeddccbbaa9988},
		{"18446744073709551615", true, true, 0, UINT64_MAX},
		{"1", true, true, 0, 1},
		{"0xAb", true, true, 0, 0xab},
		{"0x1234567890123456", true, true, 0, 0x1234567890123456},
		{"0x00000000000000001234567890123456", true, false, 0, 0x1234567890123456},
		{"1234567890123456", false, false, 0, 0}, /* decimal or hex? */
		{"18446744073709551616", false, false, 0, 0},
		{"0", false, false, 0, 0},
		{"", false, false, 0, 0},
		{"0x", false, false, 0, 0},
		{"ab", false, false, 0, 0},
		{"-1", false, false, 0, 0},
		{"+1", false, false, 0, 0},
		{"1 ", false, false, 0, 0},
		{"00000000000000000000000000000000", false, false, 0, 0},
		{"zb00c44a000000001122334455667788", false, false, 0, 0},
		{"6b00c44a0000000011223344556677889", false, false, 0, 0},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		uint64_t hi, lo;
		if (annex_read_trace_id(sv_of(v[i].text), &hi, &lo) != v[i].trace ||
		    (v[i].trace && (hi != v[i].hi || lo != v[i].lo)))
			fail_msg("trace %s: %llx %llx", v[i].text, (unsigned long long)hi, (unsigned long long)lo);
		if (annex_read_span_id(sv_of(v[i].text), &lo) != v[i].span || (v[i].span && lo != v[i].lo))
			fail_msg("span %s: %llx", v[i].text, (unsigned long long)lo);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(json),  cmocka_unit_test(fields), cmocka_unit_test(as_tags),
					   cmocka_unit_test(clean), cmocka_unit_test(bounds), cmocka_unit_test(ids)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
