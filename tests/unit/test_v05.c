/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "export/trace_buffer.h"
#include "msgpack_reader.h"

static struct process_info web = {.refs = 1, .service = SV("web"), .env = SV("prod")};

static struct sbuf joined(struct payload *p)
{
	struct sbuf whole = {0};
	struct sv parts[PAYLOAD_MAX_PARTS];
	for (unsigned i = 0, cnt = payload_body(p, parts); i < cnt; i++)
		sbuf_addsv(&whole, parts[i]);
	return whole;
}

/* The reference span of the format, with _dd.p.dm and _dd.top_level added, and strings in the order of use. */
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
	struct payload *p = payload_new(&web, false, PAYLOAD_V05);
	struct tags t = {0};
	assert_int_equal(payload_add(p, &t, &c, 0), 0);
	struct sbuf body = joined(p);
	static const char want[] =
		"\x92\x9a\xa0\xa3"
		"web\xachttp.request\xa5GET /\xa3"
		"env\xa4prod\xa8_dd.p.dm\xa2-0\xad_dd.top_level\xb5_sampling_priority_v1"
		"\x91\x91\x9c\x01\x02\x03\x01\x02\x00\xcf\x17\x97\x9c\xfe\x36\x2a\x00\x00\xce\x00\x0f\x42\x40"
		"\x00\x82\x04\x05\x06\x07\x82\x08\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"
		"\x09\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x01";
	assert_int_equal(body.len, sizeof(want) - 1);
	assert_memory_equal(body.data, want, body.len);
	sbuf_release(&body);
	payload_free(p);
	tags_release(&t);
}

static struct sbuf encoded(struct span *spans, uint32_t cnt, enum payload_format format)
{
	struct chunk c = {.trace_lo = 1, .process = &web, .spans = spans, .span_cnt = cnt};
	struct tags t = {0};
	struct payload *p = payload_new(&web, false, format);
	assert_int_equal(payload_add(p, &t, &c, 0), 0);
	struct sbuf body = joined(p);
	payload_free(p);
	tags_release(&t);
	return body;
}

/* Tags that spans have in common are encoded once. The bytes are those of spans of which each has them from elsewhere. */
static void common_tags(void **state)
{
	(void)state;
	static const struct tag shared[] = {{SV("component"), SV("caf\xe9")},
					    {SV("kind"), SV("a longer value than most")}};
	struct tag copies[40][2], own[] = {{SV("id"), SV("1")}, {SV("kind"), SV("mine")}};
	struct span spans[40] = {0}, apart[40];
	srand(5);
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 40; i++) {
			spans[i] = (struct span){.span_id = (uint64_t)i + 1,
						 .name = SV("n"),
						 .shared_tags = shared,
						 .shared_tag_cnt = 2,
						 .tags = own,
						 .tag_cnt = (uint16_t)(rand() % 3),
						 .service = rand() % 4 ? SV("") : SV("other")};
			apart[i] = spans[i];
			memcpy(copies[i], shared, sizeof(shared));
			apart[i].shared_tags = copies[i];
		}
		for (int f = 0; f < 2; f++) {
			struct sbuf a = encoded(spans, 40, f ? PAYLOAD_V05 : PAYLOAD_V04),
				    b = encoded(apart, 40, f ? PAYLOAD_V05 : PAYLOAD_V04);
			assert_int_equal(a.len, b.len);
			assert_memory_equal(a.data, b.data, a.len);
			sbuf_release(&a);
			sbuf_release(&b);
		}
	}
}

/* A string is told by what it is, not by where it lies. */
static void other_text_in_the_same_place(void **state)
{
	(void)state;
	struct tags t = {0};
	struct packer body = {0};
	struct v05_strings strings = {0};
	char name[40] = "";
	for (size_t len = 1; len < sizeof(name); len++) {
		for (size_t i = 0; i < 3 * len; i++) {
			memset(name, 'x', len);
			name[i % len] = i < len ? 'a' : i < 2 * len ? 'b' : 'a';
			struct span s = {.span_id = 1, .name = {name, len}};
			struct chunk c = {.trace_lo = 1, .process = &web, .spans = &s, .span_cnt = 1};
			body.len = 0;
			assert_int_equal(v05_chunk(&body, &strings, &t, &c), 0);
			/* An array of one, of twelve; the service; its name. */
			struct reader r = {(const unsigned char *)body.data + 2,
					   (const unsigned char *)body.data + body.len};
			pass_over(&r);
			const struct v05_string *e = &strings.list.data[expect(&r, 'i')];
			assert_int_equal(e->len, len);
			assert_memory_equal(strings.text.data + e->at, name, len);
		}
	}
	packer_release(&body);
	v05_strings_release(&strings);
	tags_release(&t);
}

/* Random spans, in three payloads: v0.4, v0.5, and v0.5 that becomes v0.4. The first and the last are the same bytes.
 */
static void same_as_v04(void **state)
{
	(void)state;
	static const char *const nasty[] = {"caf\xe9", "\xff\xfe", "\xed\xa0\x80", "", "\xf0\x9f\x98\x80", "a\xc3"};
	struct tags t = {0};
	srand(7);
	struct payload *v04 = payload_new(&web, false, PAYLOAD_V04), *v05 = payload_new(&web, false, PAYLOAD_V05);
	for (int round = 0; round < 3000; round++) {
		struct tag tags[30];
		struct metric metrics[5];
		char bytes[30][64], keys[30][16];
		struct span spans[4];
		uint16_t cnt = (uint16_t)(rand() % 30), numbers = (uint16_t)(rand() % 5);
		for (uint16_t i = 0; i < cnt; i++) {
			size_t len = (size_t)(rand() % 63);
			for (size_t k = 0; k < len; k++)
				bytes[i][k] = (char)(rand() % 200 ? 'a' + rand() % 3 : rand());
			bytes[i][len] = '\0';
			snprintf(keys[i], sizeof(keys[i]), "k%d", i);
			tags[i] = (struct tag){sv_of(keys[i]),
					       rand() % 9 ? (struct sv){bytes[i], len} : sv_of(nasty[rand() % 6])};
		}
		for (uint16_t i = 0; i < numbers; i++)
			metrics[i] = (struct metric){sv_of(nasty[i]), (double)rand() / 3};
		for (int i = 0; i < 4; i++)
			spans[i] = (struct span){.span_id = (uint64_t)rand() << (rand() % 33),
						 .parent_id = (uint64_t)rand(),
						 .start_ns = rand() % 2 ? -rand() : (int64_t)rand() << 30,
						 .duration_ns = rand(),
						 .error = rand() % 2,
						 .name = sv_of(nasty[rand() % 6]),
						 .type = rand() % 2 ? SV("") : SV("web"),
						 .tags = tags,
						 .tag_cnt = cnt,
						 .metrics = metrics,
						 .metric_cnt = numbers};
		struct chunk c = {.trace_lo = UINT64_MAX - (uint64_t)round,
				  .trace_hi = (uint64_t)rand(),
				  .process = &web,
				  .spans = spans,
				  .span_cnt = 1 + (uint32_t)(rand() % 4)};
		assert_int_equal(payload_add(v04, &t, &c, 0), 0);
		assert_int_equal(payload_add(v05, &t, &c, 0), 0);
	}
	assert_true(payload_wire_sz(v05) < payload_wire_sz(v04));
	struct payload *tail = payload_split(v05, 1234);
	assert_non_null(tail);
	assert_int_equal(payload_downgrade(v05), 0);
	assert_int_equal(payload_downgrade(tail), 0);
	assert_int_equal(v05->body.len + tail->body.len, v04->body.len);
	assert_memory_equal(v05->body.data, v04->body.data, v05->body.len);
	assert_memory_equal(tail->body.data, v04->body.data + v05->body.len, tail->body.len);
	payload_free(tail);
	payload_free(v05);
	payload_free(v04);
	tags_release(&t);
}

/* The dictionary: each string once, valid UTF-8, "" first; an index stands for the string it was made from. */
static void many_strings(void **state)
{
	(void)state;
	struct tags t = {0};
	struct payload *p = payload_new(&web, false, PAYLOAD_V05);
	char name[32];
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "n%d", i % 70000);
		struct span s = {.span_id = 1, .parent_id = 2, .name = sv_of(name)};
		struct chunk c = {.trace_lo = 1, .process = &web, .spans = &s, .span_cnt = 1};
		assert_int_equal(payload_add(p, &t, &c, 0), 0);
	}
	struct sbuf body = joined(p);
	struct reader r = {(const unsigned char *)body.data, (const unsigned char *)body.data + body.len};
	assert_int_equal(expect(&r, 'a'), 2);
	uint64_t cnt = expect(&r, 'a');
	struct sv *strings = calloc(cnt, sizeof(*strings));
	for (uint64_t i = 0; i < cnt; i++)
		strings[i] = expect_str(&r);
	assert_true(cnt > 70000 && cnt < 70020);
	assert_int_equal(strings[0].len, 0);
	assert_int_equal(expect(&r, 'a'), 100000);
	for (int i = 0; i < 100000; i++) {
		assert_int_equal(expect(&r, 'a'), 1);
		struct reader span = r;
		assert_int_equal(expect(&span, 'a'), 12);
		pass_over(&span);
		snprintf(name, sizeof(name), "n%d", i % 70000);
		assert_true(sv_eq(strings[expect(&span, 'i')], sv_of(name)));
		pass_over(&r);
	}
	free(strings);
	sbuf_release(&body);
	payload_free(p);
	tags_release(&t);
}

/* Whatever the bytes are, they are refused or read, never run past. */
static void damaged(void **state)
{
	(void)state;
	struct tags t = {0};
	struct tag own[] = {{SV("a"), SV("b")}};
	struct metric m[] = {{SV("n"), 1.5}};
	struct span s = {.span_id = 300, .name = SV("x"), .tags = own, .tag_cnt = 1, .metrics = m, .metric_cnt = 1};
	struct chunk c = {.trace_lo = 1, .process = &web, .spans = &s, .span_cnt = 1};
	struct packer body = {0}, out = {0};
	struct v05_strings strings = {0};
	assert_int_equal(v05_chunk(&body, &strings, &t, &c), 0);
	assert_int_equal(v05_to_v04(&out, &strings, (struct sv){body.data, body.len}), body.len);
	for (size_t n = 0; n < body.len; n++) {
		char *copy = malloc(n ? n : 1);
		memcpy(copy, body.data, n);
		out.len = 0;
		assert_int_equal(v05_to_v04(&out, &strings, (struct sv){copy, n}), -EINVAL);
		assert_int_equal(out.len, 0);
		free(copy);
		for (int v = 0; v < 256; v++) {
			char was = body.data[n];
			body.data[n] = (char)v;
			ssize_t r = v05_to_v04(&out, &strings, (struct sv){body.data, body.len});
			assert_true(r == -EINVAL || (r > 0 && (size_t)r <= body.len));
			body.data[n] = was;
			out.len = 0;
		}
	}
	packer_release(&body);
	packer_release(&out);
	v05_strings_release(&strings);
	tags_release(&t);
}

/* --- the buffer --------------------------------------------------------------------------------------------------- */

static uint64_t add(struct trace_buffer *b, int priority, uint32_t spans, uint64_t now_ns)
{
	static struct span many[100];
	for (uint32_t i = 0; i < spans; i++)
		many[i] = (struct span){.span_id = i + 1, .name = SV("x"), .parent_id = i};
	struct chunk c = {.trace_lo = now_ns,
			  .process = &web,
			  .spans = many,
			  .span_cnt = spans,
			  .decided = DECIDED_HERE,
			  .priority = (int8_t)priority};
	assert_int_equal(trace_buffer_add(b, &c, now_ns), 0);
	return trace_buffer_shrink(b);
}

/* The sum of what the parts have is what the whole says it has. */
static void check_sums(const struct trace_buffer *b, int *ret_lowest)
{
	uint64_t bytes = 0, spans = 0;
	*ret_lowest = INT_MAX;
	for (const struct payload *p = b->first; p; p = p->next) {
		bytes += payload_sz(p);
		spans += p->spans;
		*ret_lowest = payload_lowest(p) < *ret_lowest ? payload_lowest(p) : *ret_lowest;
	}
	for (unsigned i = 0; i < b->group_cnt; i++) {
		bytes += payload_sz(b->groups[i]);
		spans += b->groups[i]->spans;
		*ret_lowest = payload_lowest(b->groups[i]) < *ret_lowest ? payload_lowest(b->groups[i]) : *ret_lowest;
	}
	assert_int_equal(bytes, b->bytes);
	assert_int_equal(spans, b->spans);
	assert_true(b->bytes <= b->max_sz);
}

static void bounded(void **state, enum payload_format format)
{
	(void)state;
	struct trace_buffer b = {.max_sz = 200000, .payload_max = 50000, .payload_sz = 40000, .format = format};
	uint64_t added = 0, dropped = 0;
	int lowest;
	srand(3);
	for (unsigned i = 1; i < 3000; i++) {
		uint32_t spans = 1 + (uint32_t)(rand() % 20);
		int priority = rand() % 4 - 1;
		dropped += add(&b, priority, spans, i);
		added += spans;
		if (i % 100 == 0)
			trace_buffer_seal(&b, UINT64_MAX);
		check_sums(&b, &lowest);
		assert_int_equal(added, dropped + b.spans);
	}
	assert_true(dropped > added / 2);
	/* A quarter were user keep, more than there is room for: nothing less is left when room gets scarce. */
	b.max_sz /= 2;
	dropped += trace_buffer_shrink(&b);
	check_sums(&b, &lowest);
	assert_int_equal(lowest, PRIORITY_USER_KEEP);
	assert_int_equal(added, dropped + b.spans);
	b.max_sz = SIZE_MAX;
	for (struct payload *p = b.first; p; p = p->next) {
		struct sbuf body = joined(p);
		struct reader r = {(const unsigned char *)body.data, (const unsigned char *)body.data + body.len};
		pass_over(&r);
		assert_ptr_equal(r.at, r.end);
		sbuf_release(&body);
	}
	while (b.first) {
		assert_true(trace_buffer_downgrade(&b, b.first));
		trace_buffer_halve(&b, b.first);
		check_sums(&b, &lowest);
		trace_buffer_remove(&b, b.first);
	}
	trace_buffer_release(&b);
}

static void bounded_v04(void **state)
{
	bounded(state, PAYLOAD_V04);
}

static void bounded_v05(void **state)
{
	bounded(state, PAYLOAD_V05);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reference_bytes), cmocka_unit_test(same_as_v04),
		cmocka_unit_test(common_tags),	   cmocka_unit_test(other_text_in_the_same_place),
		cmocka_unit_test(many_strings),	   cmocka_unit_test(damaged),
		cmocka_unit_test(bounded_v04),	   cmocka_unit_test(bounded_v05),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
