/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "export/payload.h"
#include "msgpack_reader.h"
#include "export/v04.h"

/* --- tests -------------------------------------------------------------------------------------------------------- */

/* The body in one piece; valid until the next call. */
static struct sv joined(struct payload *p)
{
	static struct sbuf whole;
	struct sv parts[PAYLOAD_MAX_PARTS];
	sbuf_reset(&whole);
	unsigned cnt = payload_body(p, parts);
	for (unsigned i = 0; i < cnt; i++)
		sbuf_addsv(&whole, parts[i]);
	return sbuf_sv(&whole);
}

static struct process_info web = {.refs = 1, .service = SV("web"), .env = SV("prod")};

static const char *unhex(const char *hex, size_t *ret_len)
{
	static char out[1024];
	size_t n = strlen(hex) / 2;
	assert_true(n <= sizeof(out));
	for (size_t i = 0; i < n; i++) {
		unsigned v;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		out[i] = (char)v;
	}
	*ret_len = n;
	return out;
}

/* The reference span of the v0.4 format; a sender adds to it _dd.p.dm in meta and _dd.top_level in metrics, nothing
 * else: every other byte is that of the reference. */
static void reference_bytes(void **state)
{
	(void)state;
	struct span s = {.span_id = 2,
			 .start_ns = 1700000000000000000,
			 .duration_ns = 1000000,
			 .name = SV("http.request"),
			 .resource = SV("GET /"),
			 .type = SV("web")};
	struct chunk c = {.trace_lo = 1, .process = &web, .spans = &s, .span_cnt = 1};
	struct payload *p = payload_new(&web, false, PAYLOAD_V04);
	struct tags t = {0};
	assert_int_equal(payload_add(p, &t, &c, 0), 0);
	size_t len;
	const char *want = unhex("91918ca773657276696365a3776562a46e616d65ac687474702e72657175657374a87265736f75726365a"
				 "5474554202fa874726163"
				 "655f696401a77370616e5f696402a9706172656e745f696400a57374617274cf17979cfe362a0000a8647"
				 "5726174696f6ece000f42"
				 "40a56572726f7200a46d657461"
				 "82a3656e76a470726f64"
				 "a85f64642e702e646da22d30" /* _dd.p.dm: -0 */
				 "a76d657472696373"
				 "82ad5f64642e746f705f6c6576656ccb3ff0000000000000" /* _dd.top_level: 1 */
				 "b55f73616d706c696e675f7072696f726974795f7631cb3ff0000000000000a474797065a3776562",
				 &len);
	struct sv body = joined(p);
	assert_int_equal(body.len, len);
	assert_memory_equal(body.data, want, len);
	payload_free(p);
	tags_release(&t);
}

static void fields(void **state)
{
	(void)state;
	char longer[300];
	memset(longer, 'x', sizeof(longer));
	struct tag own[] = {{SV("latin"), SV("caf\xe9")},
			    {SV("nul"), {"a\0b", 3}},
			    {SV("long"), {longer, sizeof(longer)}},
			    {SV("empty"), SV("")},
			    {SV("k\xff"), SV("v")}};
	struct metric metrics[] = {{SV("n"), -2.5}};
	struct span spans[] = {
		{.span_id = UINT64_MAX,
		 .parent_id = 9,
		 .start_ns = -5,
		 .duration_ns = INT64_MAX,
		 .name = SV("n\xc3"),
		 .error = 1,
		 .tags = own,
		 .tag_cnt = 5,
		 .metrics = metrics,
		 .metric_cnt = 1},
		{.span_id = 9, .local_root = 1, .name = SV("root"), .type = SV("worker"), .service = SV("other")},
	};
	struct chunk c = {.trace_hi = 0xabcdef0000000000,
			  .trace_lo = 0x8000000000000001,
			  .process = &web,
			  .spans = spans,
			  .span_cnt = 2};
	struct packer v = {0};
	struct tags t = {0};
	assert_int_equal(v04_chunk(&v, &t, &c), 0);
	struct reader chunk = reader_of((struct sv){v.data, v.len}), end = chunk;
	pass_over(&end);
	assert_ptr_equal(end.at, end.end);
	/* The local root comes first: it is the head. */
	struct reader root = element(chunk, 0), leaf = element(chunk, 1);
	assert_int_equal(get_int(root, "span_id"), 9);
	assert_int_equal((uint64_t)get_int(root, "trace_id"), 0x8000000000000001);
	check_str(root, "type", "worker");
	check_str(root, "service", "other");
	check_str(root, "resource", "root");
	check_str(get(root, "meta"), "_dd.p.tid", "abcdef0000000000");
	check_str(get(root, "meta"), "_dd.base_service", "web");
	assert_true(get_float(get(root, "metrics"), "_sampling_priority_v1") == 1);

	assert_int_equal((uint64_t)get_int(leaf, "span_id"), UINT64_MAX);
	assert_int_equal(get_int(leaf, "parent_id"), 9);
	assert_int_equal(get_int(leaf, "start"), -5);
	assert_int_equal(get_int(leaf, "duration"), INT64_MAX);
	assert_int_equal(get_int(leaf, "error"), 1);
	check_str(leaf, "service", "web");
	check_str(leaf, "name", "n\xef\xbf\xbd");
	check_str(leaf, "resource", "n\xef\xbf\xbd");
	struct reader meta = get(leaf, "meta");
	check_str(meta, "latin", "caf\xef\xbf\xbd");
	check_str(meta, "empty", "");
	check_str(meta, "k\xef\xbf\xbd", "v");
	struct reader r = get(meta, "nul");
	assert_memory_equal(expect_str(&r).data, "a\0b", 3);
	r = get(meta, "long");
	assert_int_equal(expect_str(&r).len, 300);
	assert_true(get_float(get(leaf, "metrics"), "n") == -2.5);
	assert_true(get_float(get(leaf, "metrics"), "_dd.top_level") == 1); /* web under other */
	assert_false(lookup(leaf, "type", &r));
	assert_false(lookup(meta, "_dd.p.tid", &r));
	packer_release(&v);
	tags_release(&t);
}

static void empty_maps_are_left_out(void **state)
{
	(void)state;
	struct process_info bare = {.refs = 1, .service = SV("s")};
	struct span spans[] = {{.span_id = 2, .parent_id = 1, .name = SV("a")},
			       {.span_id = 3, .parent_id = 2, .name = SV("b")}};
	struct chunk c = {.trace_lo = 1, .process = &bare, .spans = spans, .span_cnt = 2};
	struct packer v = {0};
	struct tags t = {0};
	struct reader r;
	assert_int_equal(v04_chunk(&v, &t, &c), 0);
	struct reader leaf = element(reader_of((struct sv){v.data, v.len}), 1);
	assert_false(lookup(leaf, "meta", &r));
	assert_false(lookup(leaf, "metrics", &r));
	packer_release(&v);
	tags_release(&t);
}

static struct payload *payload_of(unsigned chunks, struct tags *t)
{
	struct payload *p = payload_new(&web, false, PAYLOAD_V04);
	for (unsigned i = 0; i < chunks; i++) {
		struct span spans[3] = {{.span_id = i + 1, .name = SV("x")}, {.span_id = 7}, {.span_id = 8}};
		struct chunk c = {.trace_lo = i + 1, .process = &web, .spans = spans, .span_cnt = 1 + i % 3};
		assert_int_equal(payload_add(p, t, &c, 5 + i), 0);
	}
	return p;
}

static void check_payload(struct payload *p, unsigned first, unsigned cnt)
{
	struct reader r = reader_of(joined(p)), end = r;
	pass_over(&end);
	assert_ptr_equal(end.at, end.end);
	assert_int_equal(p->chunks.cnt, cnt);
	uint64_t spans = 0;
	for (unsigned i = 0; i < cnt; i++) {
		struct reader chunk = element(r, i), n = chunk;
		assert_int_equal(get_int(element(chunk, 0), "trace_id"), first + i + 1);
		spans += expect(&n, 'a');
	}
	assert_int_equal(p->spans, spans);
}

static void heads_of_every_width(void **state)
{
	(void)state;
	static const unsigned counts[] = {1, 15, 16, 65535, 65536};
	struct tags t = {0};
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct payload *p = payload_of(counts[i], &t);
		if (counts[i] < 100)
			check_payload(p, 0, counts[i]);
		struct reader r = reader_of(joined(p));
		assert_int_equal(expect(&r, 'a'), counts[i]);
		payload_free(p);
	}
	tags_release(&t);
}

static void split_and_pop(void **state)
{
	(void)state;
	struct tags t = {0};
	for (unsigned cut = 1; cut < 20; cut++) {
		struct payload *p = payload_of(20, &t);
		size_t sz = payload_sz(p);
		struct payload *tail = payload_split(p, cut);
		check_payload(p, 0, cut);
		check_payload(tail, cut, 20 - cut);
		assert_int_equal(payload_sz(p) + payload_sz(tail), sz);
		size_t last = payload_last_sz(tail), before = payload_sz(tail);
		payload_pop(tail);
		assert_int_equal(payload_sz(tail), before - last);
		check_payload(tail, cut, 20 - cut - 1);
		payload_trim(p);
		check_payload(p, 0, cut);
		payload_free(p);
		payload_free(tail);
	}
	tags_release(&t);
}

static void one_group_each(void **state)
{
	(void)state;
	struct process_info a = {.refs = 1, .env = SV("e"), .version = SV("1"), .language = SV("cpp")}, b = a;
	b.pid = 5;
	struct payload *p = payload_new(&a, false, PAYLOAD_V04);
	assert_true(payload_is_about(p, &b, false));
	struct sv *const fields[] = {&b.env,	     &b.version,      &b.language, &b.language_version,
				     &b.interpreter, &b.container_id, &b.hostname};
	for (size_t i = 0; i < 5; i++) {
		struct sv was = *fields[i];
		*fields[i] = SV("else");
		assert_false(payload_is_about(p, &b, false));
		*fields[i] = was;
	}
	payload_free(p);
	assert_int_equal(a.refs, 1);
}

/* Random spans decode to what went in. */
static void random_content(void **state)
{
	(void)state;
	srand(5);
	struct packer v = {0};
	struct tags t = {0};
	for (int round = 0; round < 3000; round++) {
		char bytes[2000];
		struct tag tags[40];
		char keys[40][8];
		uint16_t cnt = (uint16_t)(rand() % 40);
		size_t used = 0;
		for (uint16_t i = 0; i < cnt; i++) {
			size_t len = (size_t)(rand() % (rand() % 5 ? 40 : 400));
			if (used + len > sizeof(bytes))
				len = 0;
			for (size_t k = 0; k < len; k++)
				bytes[used + k] = (char)(32 + rand() % 95);
			snprintf(keys[i], sizeof(keys[i]), "k%d", i);
			tags[i] = (struct tag){sv_of(keys[i]), {bytes + used, len}};
			used += len;
		}
		struct span s = {.span_id = (uint64_t)rand() + 1,
				 .parent_id = 1,
				 .name = SV("x"),
				 .tags = tags,
				 .tag_cnt = cnt,
				 .duration_ns = (int64_t)rand() << (rand() % 32)};
		struct chunk c = {.trace_lo = 1, .process = &web, .spans = &s, .span_cnt = 1};
		v.len = 0;
		assert_int_equal(v04_chunk(&v, &t, &c), 0);
		struct reader span = element(reader_of((struct sv){v.data, v.len}), 0), meta = get(span, "meta"), r;
		assert_int_equal(get_int(span, "span_id"), s.span_id);
		assert_int_equal(get_int(span, "duration"), s.duration_ns);
		for (uint16_t i = 0; i < cnt; i++) {
			r = get(meta, keys[i]);
			assert_true(sv_eq(expect_str(&r), tags[i].value));
		}
	}
	packer_release(&v);
	tags_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reference_bytes),	   cmocka_unit_test(fields),
		cmocka_unit_test(empty_maps_are_left_out), cmocka_unit_test(heads_of_every_width),
		cmocka_unit_test(split_and_pop),	   cmocka_unit_test(one_group_each),
		cmocka_unit_test(random_content),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
