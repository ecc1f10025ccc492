/* SPDX-License-Identifier: Apache-2.0 */
/* Good probe lists, and exactly what they mean. The bad ones: test_probe_list_errors.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "probe/list.h"

static struct probe_list *load(const char *text)
{
	struct diagnostics d = {0};
	struct probe_list *list;
	int err = probe_list_parse(&list, "good.yaml", text, strlen(text), &d);
	if (err || d.error_cnt || d.warning_cnt) {
		struct sbuf said = {0};
		diagnostics_print(&d, &said);
		print_error("%s", sbuf_str(&said));
		sbuf_release(&said);
		fail_msg("%d", err);
	}
	diagnostics_release(&d); /* the list does not lean on it */
	return list;
}

static void assert_sv(struct sv got, const char *expected)
{
	if (!sv_eq(got, sv_of(expected)))
		fail_msg("'" SV_FMT "' is not '%s'", SV_ARG(got), expected);
}

static void assert_capture(const struct sh_capture_spec *got, struct sh_capture_spec expected)
{
	assert_memory_equal(got, &expected, sizeof(expected));
}

static void assert_template(const struct template *t, const char *expected)
{
	struct call_values values = {.function = SV("FN")};
	char text[TEMPLATE_MAX_SZ];
	for (unsigned i = 0; i < VALUE_CNT; i++)
		values.v[i] = (struct call_value){.type = SH_U8, .num = i};
	size_t len = template_render(t, &values, text);
	assert_sv((struct sv){text, len}, expected);
}

/* The sketch that the documentation opens with. */
static void test_documented_example(void **state)
{
	(void)state;
	struct probe_list *list = load("targets:\n"
				       "  - name: checkout\n"
				       "    service: shop\n"
				       "probes:\n"
				       "  - function: charge_card\n"
				       "    span: {name: payment.charge, resource: \"{currency}\", type: worker}\n"
				       "    args: {amount: {at: 1, type: i64}, currency: {at: 2, type: string}}\n"
				       "    error: return < 0\n"
				       "    when: amount > 100\n");
	assert_int_equal(list->targets.cnt, 1);
	assert_int_equal(list->targets.data[0].names.cnt, 1);
	assert_sv(list->targets.data[0].names.data[0], "checkout");
	assert_sv(list->targets.data[0].service, "shop");
	assert_int_equal(list->targets.data[0].pos.line, 2);
	assert_int_equal(list->probes.cnt, 1);

	const struct probe *p = &list->probes.data[0];
	assert_int_equal(p->target, -1);
	assert_false(p->broken);
	assert_false(p->optional);
	assert_int_equal(p->functions.cnt, 1);
	assert_sv(p->functions.data[0].text, "charge_card");
	assert_int_equal(p->functions.data[0].pos.line, 5);
	assert_int_equal(p->functions.data[0].pos.column, 15);
	assert_sv(p->library.text, "");

	const struct sh_spec *s = &p->spec;
	assert_int_equal(s->capture_cnt, 2);
	assert_int_equal(s->ret_from, 2);
	assert_capture(&s->captures[0], (struct sh_capture_spec){.arg = 1, .type = SH_I64});
	assert_capture(&s->captures[1],
		       (struct sh_capture_spec){.arg = 2, .type = SH_STRING, .max_len = PROBE_DEFAULT_STRING_SZ});
	assert_sv(p->capture_names[0], "amount");
	assert_sv(p->capture_names[1], "currency");
	assert_int_equal(s->cond_cnt, 1);
	assert_int_equal(s->conds[0].capture, 0);
	assert_int_equal(s->conds[0].op, SH_OP_GT);
	assert_int_equal(s->conds[0].operand, 100);
	assert_int_equal(s->min_duration_ns, 0);
	assert_int_equal(s->sample_below, 0);
	assert_int_equal(s->rate_per_sec, 0);

	assert_template(&p->span.name, "payment.charge");
	assert_template(&p->span.resource, "1");
	assert_sv(p->span.type, "worker");
	assert_int_equal(p->span.tag_cnt, 2); /* the arguments */
	assert_sv(p->span.tags[0].key, "amount");
	assert_template(&p->span.tags[0].value, "0");
	assert_sv(p->span.tags[1].key, "currency");
	assert_int_equal(p->error.when.cnt, 1);
	assert_int_equal(p->error.when.terms[0].value, VALUE_RETURN);
	assert_int_equal(p->return_type, SH_I32);
	assert_sv(p->error.type, "return < 0");
	assert_template(&p->error.message, "FN returned 8");
	probe_list_free(list);
}

static void test_metrics(void **state)
{
	(void)state;
	struct probe_list *list =
		load("probes:\n"
		     "  - function: a\n"
		     "    args: {n: {at: 1, type: i64}, who: {at: 2, type: string}, unused: {at: 3, type: i32}}\n"
		     "    span: false\n"
		     "    metric:\n"
		     "      - {name: m.calls}\n"
		     "      - {name: \"m.{who}\", value: n, tags: {x: y, w: \"{who}\"}}\n"
		     "      - {name: m.last, type: gauge, value: return}\n"
		     "      - {name: m.sum, type: count, value: duration}\n"
		     "  - function: b\n"
		     "    metric: {name: m.h, type: histogram, value: duration}\n"
		     "  - function: c\n");
	const struct probe *p = &list->probes.data[0];
	assert_true(p->no_span);
	assert_int_equal(p->measure_cnt, 4);
	assert_int_equal(p->span.tag_cnt, 0);
	const struct probe_measure *m = p->measures;
	assert_int_equal(m[0].type, MEASURE_COUNT);
	assert_int_equal(m[0].value, MEASURE_ONE);
	assert_int_equal(m[1].type, MEASURE_DISTRIBUTION);
	assert_int_equal(m[1].value, 0);
	assert_template(&m[1].name, "m.1");
	assert_int_equal(m[1].tag_cnt, 2);
	assert_template(&m[1].tags[0].value, "y");
	assert_template(&m[1].tags[1].value, "1");
	assert_int_equal(m[2].type, MEASURE_GAUGE);
	assert_int_equal(m[2].value, VALUE_RETURN);
	assert_int_equal(m[3].type, MEASURE_COUNT);
	assert_int_equal(m[3].value, MEASURE_DURATION);
	/* Only what is used leaves the kernel. */
	assert_false(p->spec.captures[0].flags & SH_CAP_HIDDEN);
	assert_false(p->spec.captures[1].flags & SH_CAP_HIDDEN);
	assert_true(p->spec.captures[2].flags & SH_CAP_HIDDEN);
	assert_false(list->probes.data[1].no_span);
	assert_int_equal(list->probes.data[1].measures[0].type, MEASURE_HISTOGRAM);
	assert_int_equal(list->probes.data[2].measure_cnt, 0);
	assert_true(probe_list_measures(list));
	probe_list_free(list);
}

static void test_targets(void **state)
{
	(void)state;
	struct probe_list *list =
		load("service: all\nenv: prod\nversion: \"1.10\"\ntags: {team: pay, 1: 2}\n"
		     "export: [console, \"json:out.json\"]\n"
		     "agent: {host: 10.0.0.1, port: 8126}\n"
		     "limits: {max_functions: 500, ring_size: 8m, max_traces: 7, max_spans: 9, queue_spans: 11}\n"
		     "targets:\n"
		     "  - name: [nginx, \"redis*\"]\n"
		     "    exe: /usr/sbin/*\n"
		     "    cmdline: \"*--prod*\"\n"
		     "    pid: 12\n"
		     "    port: [80, 0x1bb]\n"
		     "    container: 'abc*'\n"
		     "    env: stage\n"
		     "    version: v2\n"
		     "    tags: {a: b}\n"
		     "    probes: [{function: inner}]\n"
		     "  - port: 6379\n"
		     "probes:\n"
		     "- function: outer\n");
	assert_sv(list->service, "all");
	assert_sv(list->env, "prod");
	assert_sv(list->version, "1.10");
	assert_int_equal(list->tags.cnt, 2);
	assert_sv(list->tags.data[1].key, "1");
	assert_sv(list->tags.data[1].value, "2");
	assert_int_equal(list->exports.cnt, 2);
	assert_sv(list->exports.data[1].text, "json:out.json");
	assert_int_equal(list->exports.data[1].pos.line, 5);
	assert_sv(list->agent.host, "10.0.0.1");
	assert_int_equal(list->agent.port, 8126);
	assert_int_equal(list->limits.max_functions, 500);
	assert_int_equal(list->limits.ring_size, 8 << 20);
	assert_int_equal(list->limits.max_traces, 7);
	assert_int_equal(list->limits.max_spans, 9);
	assert_int_equal(list->limits.queue_spans, 11);

	assert_int_equal(list->targets.cnt, 2);
	const struct target_spec *t = &list->targets.data[0];
	assert_int_equal(t->names.cnt, 2);
	assert_sv(t->names.data[1], "redis*");
	assert_sv(t->exes.data[0], "/usr/sbin/*");
	assert_sv(t->cmdlines.data[0], "*--prod*");
	assert_sv(t->containers.data[0], "abc*");
	assert_int_equal(t->pids.data[0], 12);
	assert_int_equal(t->ports.cnt, 2);
	assert_int_equal(t->ports.data[1], 443);
	assert_sv(t->service, "");
	assert_sv(t->env, "stage");
	assert_sv(t->version, "v2");
	assert_sv(t->tags.data[0].value, "b");
	assert_int_equal(list->targets.data[1].ports.data[0], 6379);

	assert_int_equal(list->probes.cnt, 2);
	assert_sv(list->probes.data[0].functions.data[0].text, "inner");
	assert_int_equal(list->probes.data[0].target, 0);
	assert_int_equal(list->probes.data[1].target, -1);
	probe_list_free(list);
}

static void test_places(void **state)
{
	(void)state;
	struct probe_list *list = load("probes:\n"
				       "  - function: [\"shop::Cart::add(int, std::string const&)\", '*_handler']\n"
				       "    exclude: [\"*debug*\", noisy_handler]\n"
				       "    library: \"libshop.so*\"\n"
				       "    optional: true\n"
				       "  - address: 0x401136\n"
				       "    library: libc.so.6\n"
				       "  - address: 4198710\n"
				       "  - function: \"<core::str as Display>::fmt\"\n"
				       "  - function: net/http.(*Server).Serve\n");
	const struct probe *p = list->probes.data;
	assert_sv(p[0].functions.data[0].text, "shop::Cart::add(int, std::string const&)");
	assert_sv(p[0].functions.data[1].text, "*_handler");
	assert_int_equal(p[0].functions.data[1].pos.column, 60);
	assert_int_equal(p[0].excludes.cnt, 2);
	assert_sv(p[0].library.text, "libshop.so*");
	assert_int_equal(p[0].library.pos.line, 4);
	assert_true(p[0].optional);
	assert_int_equal(p[1].functions.cnt, 0);
	assert_int_equal(p[1].address, 0x401136);
	assert_int_equal(p[1].address_pos.line, 6);
	assert_int_equal(p[1].address_pos.column, 14);
	assert_int_equal(p[2].address, 4198710);
	assert_sv(p[3].functions.data[0].text, "<core::str as Display>::fmt");
	assert_sv(p[4].functions.data[0].text, "net/http.(*Server).Serve");
	probe_list_free(list);
}

static void test_captures(void **state)
{
	(void)state;
	struct probe_list *list = load("probes:\n"
				       "  - function: f\n"
				       "    args:\n"
				       "      buffer: {at: 1, type: bytes, len: size, max: 200}\n"
				       "      size: {at: 2, type: u64}\n"
				       "      field: {at: 3, type: i32, offset: 16}\n"
				       "      deep: {at: 3, type: u16, deref: [8, -4]}\n"
				       "      deeper: {at: 3, type: ptr, deref: 24, offset: 4}\n"
				       "      text: {at: 4, type: string, deref: [8, 16], offset: 2, max: 256}\n"
				       "      fixed: bytes(16)@5\n"
				       "    return: {type: string(32), deref: 8, tag: answer}\n");
	const struct probe *p = &list->probes.data[0];
	const struct sh_capture_spec *c = p->spec.captures;
	assert_int_equal(p->spec.capture_cnt, 8);
	assert_int_equal(p->spec.ret_from, 7);
	/* Lengths come before the bytes they measure; for the rest the order is the file's. */
	assert_capture(&c[0], (struct sh_capture_spec){.arg = 2, .type = SH_U64});
	assert_capture(&c[1], (struct sh_capture_spec){.arg = 3, .type = SH_I32, .flags = SH_CAP_LOAD, .offset = 16});
	/* The last step to an integer reads no more than the integer. */
	assert_capture(
		&c[2],
		(struct sh_capture_spec){
			.arg = 3, .type = SH_U16, .flags = SH_CAP_LOAD, .offset = -4, .deref_cnt = 1, .deref = {8}});
	assert_capture(
		&c[3],
		(struct sh_capture_spec){
			.arg = 3, .type = SH_PTR, .flags = SH_CAP_LOAD, .offset = 4, .deref_cnt = 1, .deref = {24}});
	assert_capture(
		&c[4],
		(struct sh_capture_spec){
			.arg = 4, .type = SH_STRING, .offset = 2, .max_len = 256, .deref_cnt = 2, .deref = {8, 16}});
	assert_capture(&c[5], (struct sh_capture_spec){.arg = 1, .type = SH_BYTES, .max_len = 200, .len_from = 1});
	assert_capture(&c[6], (struct sh_capture_spec){.arg = 5, .type = SH_BYTES, .max_len = 16});
	assert_capture(&c[7], (struct sh_capture_spec){
				      .arg = 0, .type = SH_STRING, .max_len = 32, .deref_cnt = 1, .deref = {8}});
	assert_sv(p->capture_names[5], "buffer");
	assert_sv(p->capture_names[7], "return");
	assert_int_equal(p->span.tag_cnt, 8);
	assert_sv(p->span.tags[7].key, "answer");
	assert_template(&p->span.tags[7].value, "7");
	probe_list_free(list);
}

/* Each kind of use keeps a value in the record; a condition or a length alone does not. */
static void test_hidden(void **state)
{
	(void)state;
	struct probe_list *list =
		load("probes:\n"
		     "  - function: f\n"
		     "    args:\n"
		     "      cond: {at: 1, type: i32, tag: false}\n"
		     "      size: {at: 2, type: i32, tag: false}\n"
		     "      shown: {at: 3, type: i32, tag: false}\n"
		     "      measured: {at: 4, type: i32}\n"
		     "      failed: {at: 5, type: i32, tag: false}\n"
		     "      tagged: {at: 6, type: i32, tag: other.name}\n"
		     "      data: {at: 1, type: bytes(size)}\n"
		     "    when: cond > 1 && shown != 2\n"
		     "    error: failed != 0\n"
		     "    span: {resource: \"{shown}\", metrics: {measured: measured, again: measured}}\n");
	const struct probe *p = &list->probes.data[0];
	static const char *const hidden[] = {"cond", "size"};
	for (unsigned i = 0; i < p->spec.capture_cnt; i++) {
		bool is_hidden = false;
		for (unsigned h = 0; h < 2; h++)
			is_hidden |= sv_eq(p->capture_names[i], sv_of(hidden[h]));
		assert_int_equal((p->spec.captures[i].flags & SH_CAP_HIDDEN) != 0, is_hidden);
	}
	assert_int_equal(p->span.tag_cnt, 2);
	assert_sv(p->span.tags[0].key, "other.name");
	assert_sv(p->span.tags[1].key, "data");
	assert_int_equal(p->span.metric_cnt, 2);
	assert_sv(p->span.metrics[1].key, "again");
	assert_int_equal(p->span.metrics[1].value, 3);
	assert_template(&p->error.message, "failed != 0");
	probe_list_free(list);
}

static void test_span(void **state)
{
	(void)state;
	struct probe_list *list = load("probes:\n"
				       "  - function: f\n"
				       "    args: {n: {at: 1, type: u8}}\n"
				       "    return: i64\n"
				       "    span:\n"
				       "      name: db.{function}\n"
				       "      resource: 'SELECT {n}'\n"
				       "      service: ledger\n"
				       "      type: db\n"
				       "      kind: client\n"
				       "      tags: {component: postgres, mixed: \"{n}/{return}\", n: mine, x: 5}\n"
				       "      metrics: {answer: return}\n"
				       "    error: {when: return == -1, type: DbError, message: \"n was {n}\"}\n"
				       "  - function: g\n");
	const struct probe *p = list->probes.data;
	assert_template(&p->span.name, "db.FN");
	assert_template(&p->span.resource, "SELECT 0");
	assert_sv(p->span.service, "ledger");
	assert_sv(p->span.type, "db");
	assert_sv(p->span.kind, "client");
	assert_int_equal(p->span.constant_tag_cnt, 3);
	assert_sv(p->span.constant_tags[0].key, "component");
	assert_sv(p->span.constant_tags[0].value, "postgres");
	assert_sv(p->span.constant_tags[1].value, "mine"); /* the argument's own tag gave way */
	assert_sv(p->span.constant_tags[2].value, "5");
	assert_int_equal(p->span.tag_cnt, 1); /* return is a metric */
	assert_sv(p->span.tags[0].key, "mixed");
	assert_template(&p->span.tags[0].value, "0/8");
	assert_int_equal(p->span.metrics[0].value, VALUE_RETURN);
	assert_int_equal(p->return_type, SH_I64);
	assert_int_equal(p->spec.capture_cnt, 1); /* a returned integer is in every record */
	assert_sv(p->error.type, "DbError");
	assert_template(&p->error.message, "n was 0");
	/* nothing given, nothing there */
	assert_int_equal(p[1].span.name.cnt + p[1].span.resource.cnt + p[1].span.tag_cnt + p[1].span.metric_cnt, 0);
	assert_int_equal(p[1].error.when.cnt, 0);
	probe_list_free(list);
}

static void test_return_types(void **state)
{
	static const struct {
		const char *text;
		uint8_t return_type;
		uint8_t term_type;
	} cases[] = {
		{"error: return < 0", SH_I32, SH_I32},
		{"error: return == NULL", SH_PTR, SH_PTR},
		{"error: return == false", SH_BOOL, SH_BOOL},
		{"error: return < 0\n    return: i64", SH_I64, SH_I64},
		{"error: return == NULL\n    return: string", SH_PTR, SH_PTR},
		{"error: return == NULL\n    return: ptr", SH_PTR, SH_PTR},
		{"error: return == 0\n    return: {type: i32, offset: 4}", SH_PTR, SH_I32},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256];
		snprintf(text, sizeof(text), "probes:\n  - function: f\n    %s\n", cases[i].text);
		struct probe_list *list = load(text);
		assert_int_equal(list->probes.data[0].return_type, cases[i].return_type);
		assert_int_equal(list->probes.data[0].error.when.terms[0].type, cases[i].term_type);
		probe_list_free(list);
	}
}

static uint64_t min_duration(const char *value)
{
	char text[128];
	snprintf(text, sizeof(text), "probes: [{function: f, min_duration: %s}]", value);
	struct probe_list *list = load(text);
	uint64_t ns = list->probes.data[0].spec.min_duration_ns;
	probe_list_free(list);
	return ns;
}

static const struct sh_spec *spec_with(struct sh_spec *ret, const char *key, const char *value)
{
	char text[128];
	snprintf(text, sizeof(text), "probes: [{function: f, %s: %s}]", key, value);
	struct probe_list *list = load(text);
	*ret = list->probes.data[0].spec;
	probe_list_free(list);
	return ret;
}

static void test_units(void **state)
{
	struct sh_spec s;
	(void)state;
	assert_int_equal(min_duration("5ms"), 5000000);
	assert_int_equal(min_duration("1.5s"), 1500000000);
	assert_int_equal(min_duration("0.1us"), 100);
	assert_int_equal(min_duration("1.1us"), 1100);
	assert_int_equal(min_duration("250µs"), 250000);
	assert_int_equal(min_duration("7 ns"), 7);
	assert_int_equal(min_duration("2m"), 120000000000);
	assert_int_equal(min_duration("24h"), 86400000000000);
	assert_int_equal(min_duration("0s"), 0);
	assert_int_equal(spec_with(&s, "sample", "0.5")->sample_below, 0x80000000);
	assert_int_equal(spec_with(&s, "sample", "25%")->sample_below, 0x40000000);
	assert_int_equal(spec_with(&s, "sample", "1")->sample_below, 0);
	assert_int_equal(spec_with(&s, "sample", "100%")->sample_below, 0);
	assert_int_equal(spec_with(&s, "sample", "1.0")->sample_below, 0);
	assert_int_equal(spec_with(&s, "sample", "0.000000000001")->sample_below, 1);
	assert_int_equal(spec_with(&s, "rate", "100/s")->rate_per_sec, 100);
	assert_int_equal(spec_with(&s, "rate", "600/m")->rate_per_sec, 10);
	assert_int_equal(spec_with(&s, "rate", "7200 / h")->rate_per_sec, 2);
	assert_int_equal(spec_with(&s, "rate", "60/m")->rate_per_sec, 1);
	assert_int_equal(spec_with(&s, "rate", "1.5/s")->rate_per_sec, 2);
}

static void test_file_forms(void **state)
{
	(void)state;
	probe_list_free(load("\xef\xbb\xbfprobes: [{function: f}]"));
	probe_list_free(load("---\nprobes:\r\n- function: f\r\n...\n"));
	probe_list_free(load("{\"probes\": [{\"function\": \"f\", \"optional\": true}]}"));
	probe_list_free(load("targets: [{pid: 1}]"));
	struct probe_list *list =
		load("probes:\n  - function: f\n    args: {a: i32@1}\n    when: |\n      a > 1\n      and a < 9\n");
	assert_int_equal(list->probes.data[0].spec.cond_cnt, 2);
	probe_list_free(list);
}

static void test_add_function(void **state)
{
	static const struct {
		const char *text, *library, *function;
	} good[] = {
		{"zset*", "", "zset*"},	    {"libssl.so*:SSL_read", "libssl.so*", "SSL_read"},
		{"ns::fn", "", "ns::fn"},   {"lib.so:ns::fn(a::b)", "lib.so", "ns::fn(a::b)"},
		{"a::b::c", "", "a::b::c"},
	};
	static const char *const bad[] = {"", ":", ":f", "lib.so:"};
	struct probe_list *list = probe_list_new();
	struct sbuf err = {0};
	(void)state;
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(probe_list_add_function(list, good[i].text, &err), 0);
		const struct probe *p = &list->probes.data[i];
		assert_sv(p->library.text, good[i].library);
		assert_sv(p->functions.data[0].text, good[i].function);
		assert_int_equal(p->target, -1);
		assert_int_equal(p->pos.line, 0);
		assert_int_equal(p->return_type, SH_I32);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		sbuf_reset(&err);
		assert_int_equal(probe_list_add_function(list, bad[i], &err), -EINVAL);
		assert_true(err.len > 0);
	}
	assert_int_equal(list->probes.cnt, 5);
	sbuf_release(&err);
	probe_list_free(list);
	probe_list_free(NULL);
}

/* After mistakes the rest is there for further checks, and what was wrong is marked. */
static void test_partial(void **state)
{
	static const char text[] =
		"probes:\n  - function: good\n  - function: bad\n    sample: 7\n  - function: fine\n";
	struct diagnostics d = {0};
	struct probe_list *list;
	(void)state;
	assert_int_equal(probe_list_parse(&list, "f", text, strlen(text), &d), -EINVAL);
	assert_non_null(list);
	assert_int_equal(list->probes.cnt, 3);
	assert_false(list->probes.data[0].broken);
	assert_true(list->probes.data[1].broken);
	assert_false(list->probes.data[2].broken);
	probe_list_free(list);
	diagnostics_release(&d);
	assert_int_equal(probe_list_parse(&list, "f", "a: [", 4, &d), -EINVAL);
	assert_null(list);
	diagnostics_release(&d);
}

/* Every key that the manual names is accepted as a key, and it names those of the example. */
static void test_schema(void **state)
{
	struct sbuf out = {0};
	(void)state;
	probe_list_schema(&out);
	static const char *const keys[] = {"targets:", "  name:",	"  container:", "probes:", "  min_duration:",
					   "    at:",  "    resource:", "agent:",	"limits:", "  ring_size:"};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_non_null(strstr(out.data, keys[i]));
	assert_non_null(strstr(out.data, "routes:"));
	assert_null(strstr(out.data, "zebra"));
	sbuf_release(&out);
}

static void test_requests(void **state)
{
	(void)state;
	struct probe_list *list = load("routes: /orders/{id}\n"
				       "settings: {DD_TRACE_CLIENT_IP_ENABLED: true, OTEL_PROPAGATORS: b3,\n"
				       "  DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP: \"\"}\n"
				       "capture: {http: false, head: 4k}\n"
				       "propagation: {inject: true, exclude: \"*.internal\"}\n"
				       "targets:\n"
				       "  - name: a\n"
				       "    routes: [\"/users/{id}\", /static/*]\n"
				       "    settings: {DD_TRACE_HEADER_TAGS: \"x-id:id\"}\n"
				       "    propagation: {inject: off}\n"
				       "  - name: b\n"
				       "  - name: c\n"
				       "    propagation: {inject: verdict, exclude: [a.com:80, 10.0.0.0/8]}\n");
	assert_sv(routes_match(&list->routes, SV("/orders/7")), "/orders/{id}");
	assert_true(list->capture.no_http);
	assert_int_equal(list->capture.head, 4096);
	assert_int_equal(list->settings.cnt, 3);
	assert_sv(list->settings.data[0].key, "DD_TRACE_CLIENT_IP_ENABLED");
	assert_sv(list->settings.data[0].value, "true");
	assert_sv(list->settings.data[2].value, "");
	const struct target_spec *t = list->targets.data;
	assert_sv(routes_match(&t[0].routes, SV("/users/7")), "/users/{id}");
	assert_sv(routes_match(&t[0].routes, SV("/static/a/b")), "/static/*");
	assert_null(routes_match(&t[0].routes, SV("/orders/7")).data);
	assert_sv(t[0].settings.data[0].value, "x-id:id");
	assert_null(routes_match(&t[1].routes, SV("/users/7")).data);
	assert_int_equal(list->propagation.inject, TARGET_INJECT_AUTO);
	assert_int_equal(t[0].propagation.inject, TARGET_INJECT_OFF);
	assert_int_equal(t[1].propagation.inject, TARGET_INJECT_UNSAID);
	assert_int_equal(t[2].propagation.inject, TARGET_INJECT_VERDICT);
	assert_int_equal(list->propagation.excludes.cnt, 1);
	assert_int_equal(list->propagation.excludes.data[0].suffix, 1);
	assert_int_equal(t[1].propagation.excludes.cnt, 0);
	assert_int_equal(t[2].propagation.excludes.cnt, 2);
	assert_int_equal(t[2].propagation.excludes.data[0].port, 80);
	probe_list_free(list);
}

static void test_handoffs(void **state)
{
	(void)state;
	struct probe_list *list = load("handoff: {from: enqueue, to: dequeue, key: {at: 1}}\n"
				       "handoffs:\n"
				       "  - from: [\"Queue::push\", 'put_*']\n"
				       "    to: Queue::pop\n"
				       "    key: {from: 2, to: return}\n"
				       "    library: libq.so*\n"
				       "    optional: true\n"
				       "targets:\n"
				       "  - name: a\n"
				       "  - name: b\n"
				       "    handoff: {key: {to: 6, from: return}, from: c, to: d}\n");
	assert_int_equal(list->handoffs.cnt, 3);
	const struct probe_handoff *h = list->handoffs.data;
	assert_int_equal(h[0].target, -1);
	assert_sv(h[0].give.functions.data[0].text, "enqueue");
	assert_sv(h[0].take.functions.data[0].text, "dequeue");
	assert_int_equal(h[0].give.arg, 1);
	assert_int_equal(h[0].take.arg, 1);
	assert_false(h[0].optional);
	assert_false(h[0].broken);
	assert_int_equal(h[1].give.functions.cnt, 2);
	assert_sv(h[1].give.functions.data[1].text, "put_*");
	assert_int_equal(h[1].give.functions.data[1].pos.line, 3);
	assert_int_equal(h[1].give.arg, 2);
	assert_int_equal(h[1].take.arg, 0);
	assert_sv(h[1].library.text, "libq.so*");
	assert_true(h[1].optional);
	assert_int_equal(h[2].target, 1);
	assert_int_equal(h[2].give.arg, 0);
	assert_int_equal(h[2].take.arg, 6);
	assert_int_equal(list->probes.cnt, 0);
	probe_list_free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documented_example),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_handoffs),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_captures),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_span),
		cmocka_unit_test(test_return_types),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_file_forms),
		cmocka_unit_test(test_add_function),
		cmocka_unit_test(test_partial),
		cmocka_unit_test(test_schema),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
