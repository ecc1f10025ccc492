/* SPDX-License-Identifier: Apache-2.0 */
/* Templates, and the values of a call record that they show. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "probe/template.h"

struct fixture {
	struct arena arena;
	struct diagnostics d;
	struct yaml_source src;
	struct value_names names;
	struct call_values values;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	x->src.d = &x->d;
	x->names = (struct value_names){
		.names = {{SV("amount"), 0, SH_I64, true, 0},
			  {SV("name"), 1, SH_STRING, true, 64},
			  {SV("return"), VALUE_RETURN, SH_I32, false, 0}},
		.cnt = 3,
	};
	x->values.v[0] = (struct call_value){.type = SH_I64, .num = (uint64_t)-42};
	x->values.v[1] = (struct call_value){.type = SH_STRING, .bytes = SV("EUR")};
	x->values.v[VALUE_RETURN] = (struct call_value){.type = SH_I32, .num = 7};
	x->values.function = SV("charge_card");
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	arena_release(&x->arena);
	diagnostics_release(&x->d);
	free(x);
	return 0;
}

static struct template parse(struct fixture *x, const char *text)
{
	struct template t;
	assert_int_equal(template_parse(&t, sv_of(text), NULL, &x->src, &x->names, &x->arena), 0);
	return t;
}

static void renders(struct fixture *x, const char *text, const char *expected)
{
	struct template t = parse(x, text);
	struct sv got = template_render_arena(&t, &x->values, &x->arena);
	assert_int_equal(got.len, strlen(expected));
	assert_memory_equal(got.data, expected, got.len);
}

static void test_render(void **state)
{
	struct fixture *x = *state;
	renders(x, "plain", "plain");
	renders(x, "{name}", "EUR");
	renders(x, "pay {amount} {name}!", "pay -42 EUR!");
	renders(x, "{{{name}}}", "{EUR}");
	renders(x, "{{name}}", "{name}");
	renders(x, "{{}}", "{}");
	renders(x, "{ name }", "EUR");
	renders(x, "{function} returned {return}", "charge_card returned 7");
	renders(x, "{name}{name}{amount}", "EUREUR-42");
	assert_int_equal(x->names.used, 1 << 0 | 1 << 1 | 1 << VALUE_RETURN);
}

static void test_constant(void **state)
{
	struct fixture *x = *state;
	struct sv text;
	struct template t = parse(x, "a {{b}} c");
	assert_true(template_is_constant(&t, &text));
	assert_true(sv_eq(text, SV("a {b} c")));
	/* Nothing to render: the template's own text. */
	assert_ptr_equal(template_render_arena(&t, &x->values, &x->arena).data, text.data);
	t = parse(x, "{function}");
	assert_false(template_is_constant(&t, &text));
	t = (struct template){0};
	assert_false(template_is_constant(&t, &text));
}

static void test_mistakes(void **state)
{
	struct fixture *x = *state;
	struct template t;
	static const char text[] = "{nmae} {} } {amount} {never {x}";
	static const unsigned columns[] = {2, 8, 11, 23};
	assert_int_equal(template_parse(&t, sv_of(text), NULL, &x->src, &x->names, &x->arena), -EINVAL);
	assert_int_equal(t.cnt, 0);
	assert_int_equal(x->d.items.cnt, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(x->d.items.data[i].pos.column, columns[i]);
	assert_int_equal(template_parse(&t, SV("{"), NULL, &x->src, &x->names, &x->arena), -EINVAL);
}

static void shows(struct call_value v, const char *expected)
{
	char text[256];
	size_t len = call_value_write(&v, text, sizeof(text));
	assert_int_equal(len, strlen(expected));
	assert_memory_equal(text, expected, len);
}

static void test_values(void **state)
{
	(void)state;
	shows((struct call_value){.type = SH_I64, .num = 1ULL << 63}, "-9223372036854775808");
	shows((struct call_value){.type = SH_U64, .num = UINT64_MAX}, "18446744073709551615");
	shows((struct call_value){.type = SH_I8, .num = (uint64_t)-128}, "-128");
	shows((struct call_value){.type = SH_U8, .num = 0}, "0");
	shows((struct call_value){.type = SH_BOOL, .num = 1}, "true");
	shows((struct call_value){.type = SH_BOOL, .num = 0}, "false");
	shows((struct call_value){.type = SH_PTR, .num = 0x7ffd00001000}, "0x7ffd00001000");
	shows((struct call_value){.type = SH_PTR, .num = 0}, "0x0");
	shows((struct call_value){.type = SH_CHAR, .num = 'x'}, "x");
	shows((struct call_value){.type = SH_CHAR, .num = '\n'}, "0xa");
	shows((struct call_value){.type = SH_BYTES, .bytes = SV("\x00\x7f\xff")}, "007fff");
	shows((struct call_value){.type = SH_STRING, .bytes = SV_NULL}, "");
	shows((struct call_value){.type = SH_STRING,
				  .bytes = SV("gr\xc3\xb6\xc3\x9f"
					      "e")},
	      "größe");
	shows((struct call_value){.type = SH_STRING, .bytes = SV("a\xff\xc3(z")}, "a\xef\xbf\xbd\xef\xbf\xbd(z");
	shows((struct call_value){.type = SH_STRING, .bytes = SV("abc"), .truncated = true}, "abc…");
	/* cut through a character: its half is part of what is missing */
	shows((struct call_value){.type = SH_STRING, .bytes = SV("ab\xe2\x82"), .truncated = true}, "ab…");
	shows((struct call_value){.type = SH_STRING, .bytes = SV("ab\xe2\x82")}, "ab\xef\xbf\xbd\xef\xbf\xbd");
	shows((struct call_value){.type = SH_BYTES, .bytes = SV("a"), .truncated = true}, "61…");
	shows((struct call_value){.type = SH_STRING, .err = -EFAULT}, "<unreadable: EFAULT>");
	shows((struct call_value){.type = SH_I32, .err = -EPERM}, "<unreadable: 1>");
	shows((struct call_value){0}, "<none>");
}

/* Whatever the room, no byte beyond it and no half character. */
static void test_room(void **state)
{
	struct call_value v = {.type = SH_STRING, .bytes = SV("aé→😀\xffz"), .truncated = true};
	(void)state;
	for (size_t cap = 0; cap < 24; cap++) {
		char *text = malloc(cap ? cap : 1);
		size_t len = call_value_write(&v, text, cap);
		assert_true(len <= cap);
		struct call_value again = {.type = SH_STRING, .bytes = {text, len}};
		char out[64];
		assert_int_equal(call_value_write(&again, out, sizeof(out)), len); /* valid: nothing to replace */
		free(text);
	}
}

static void test_long_output(void **state)
{
	struct fixture *x = *state;
	static char big[8192];
	char out[TEMPLATE_MAX_SZ];
	memset(big, 'x', sizeof(big));
	struct template t = parse(x, "{function}{function}{name}");
	x->values.function = (struct sv){big, TEMPLATE_MAX_SZ - 2};
	assert_int_equal(template_render(&t, &x->values, out), TEMPLATE_MAX_SZ);
	x->values.function = (struct sv){big, sizeof(big)};
	assert_int_equal(template_render(&t, &x->values, out), TEMPLATE_MAX_SZ);
}

/* --- records -------------------------------------------------------------------------------------------------------
 */

struct record {
	struct sh_ev_call call;
	char captures[512];
};

static size_t add_capture(char *at, uint8_t index, uint8_t type, uint16_t flags, int32_t len, const void *data)
{
	struct sh_capture c = {.index = index, .type = type, .flags = flags, .len = len};
	memcpy(at, &c, sizeof(c));
	if (len > 0)
		memcpy(at + sizeof(c), data, (size_t)len);
	return sizeof(c) + (len > 0 ? ((size_t)len + 7) / 8 * 8 : 0);
}

static struct sh_spec spec_of(const uint8_t *types, unsigned cnt)
{
	struct sh_spec spec = {.capture_cnt = (uint8_t)cnt, .ret_from = (uint8_t)cnt};
	for (unsigned i = 0; i < cnt; i++)
		spec.captures[i].type = types[i];
	return spec;
}

static void test_record(void **state)
{
	struct fixture *x = *state;
	struct call_values *v = &x->values;
	struct sh_spec spec = spec_of((uint8_t[]){SH_I32, SH_STRING, SH_BYTES, SH_U16, SH_STRING}, 5);
	struct record r = {.call = {.hdr.flags = SH_CALL_RET, .ret = 0xfffffffeULL}};
	int64_t number = -3;
	uint64_t small = 0xffff0007;
	size_t len = 0;
	len += add_capture(r.captures + len, 0, SH_I32, 0, 8, &number);
	len += add_capture(r.captures + len, 1, SH_STRING, SH_CAPTURE_TRUNCATED, 5, "abcde");
	len += add_capture(r.captures + len, 2, SH_BYTES, 0, 3, "a\0b");
	len += add_capture(r.captures + len, 3, SH_U16, 0, 8, &small);
	len += add_capture(r.captures + len, SH_CAPTURE_EXCEPTION, SH_STRING, 0, 8, "St9bad\0xx");
	size_t size = sizeof(r.call) + len;
	assert_int_equal(call_values_read(v, &spec, SH_I32, &r.call, size), 0);
	assert_int_equal((int64_t)v->v[0].num, -3);
	assert_true(sv_eq(v->v[1].bytes, SV("abcde")));
	assert_true(v->v[1].truncated);
	assert_int_equal(v->v[2].bytes.len, 3);
	assert_int_equal(v->v[3].num, 7); /* only 16 bits of it are the argument */
	assert_int_equal(v->v[4].type, 0);
	assert_int_equal((int64_t)v->v[VALUE_RETURN].num, -2);
	assert_int_equal(v->return_raw, 0xfffffffe);
	assert_true(sv_eq(v->exception, SV("St9bad")));
	double n;
	assert_true(call_value_number(&v->v[0], &n));
	assert_true(n == -3);
	assert_false(call_value_number(&v->v[1], &n));
	assert_false(call_value_number(&v->v[4], &n));

	/* cut anywhere: nothing is read beyond the record (under the address sanitizer) */
	for (size_t cut = 0; cut < size; cut++) {
		char *copy = malloc(cut ? cut : 1);
		memcpy(copy, &r, cut);
		call_values_read(v, &spec, SH_I32, (const struct sh_ev_call *)(void *)copy, cut);
		free(copy);
	}
}

static void test_bad_records(void **state)
{
	struct fixture *x = *state;
	struct call_values *v = &x->values;
	struct sh_spec spec = spec_of((uint8_t[]){SH_I32, SH_STRING}, 2);
	struct record r = {0};
	size_t len = add_capture(r.captures, 1, SH_STRING, 0, -EFAULT, NULL);
	assert_int_equal(call_values_read(v, &spec, SH_I32, &r.call, sizeof(r.call) + len), 0);
	assert_int_equal(v->v[1].err, -EFAULT);
	assert_int_equal(v->v[1].type, SH_STRING);
	assert_int_equal(v->v[VALUE_RETURN].type, 0);
	len = add_capture(r.captures, 2, SH_STRING, 0, 8, "abcdefgh"); /* an index the spec does not have */
	assert_int_equal(call_values_read(v, &spec, SH_I32, &r.call, sizeof(r.call) + len), -EBADMSG);
	len = add_capture(r.captures, 0, SH_STRING, 0, 8, "abcdefgh"); /* another type */
	assert_int_equal(call_values_read(v, &spec, SH_I32, &r.call, sizeof(r.call) + len), -EBADMSG);
	len = add_capture(r.captures, 1, SH_STRING, 0, 8, "abcdefgh");
	assert_int_equal(call_values_read(v, &spec, SH_I32, &r.call, sizeof(r.call) + len - 1), -EBADMSG);
	assert_int_equal(call_values_read(v, &spec, SH_I32, &r.call, sizeof(r.call) - 1), -EBADMSG);
	len = add_capture(r.captures, 1, SH_STRING, 0, 5, "abcde"); /* the padding is part of it */
	assert_int_equal(call_values_read(v, &spec, SH_I32, &r.call, sizeof(r.call) + len - 1), -EBADMSG);
	/* a returned string's register is an address, not a string */
	r.call.hdr.flags = SH_CALL_RET;
	assert_int_equal(call_values_read(v, &spec, SH_STRING, &r.call, sizeof(r.call)), 0);
	assert_int_equal(v->v[VALUE_RETURN].type, SH_PTR);
}

static void test_extend(void **state)
{
	(void)state;
	assert_int_equal((int64_t)value_extend(SH_I8, 0x1ff), -1);
	assert_int_equal(value_extend(SH_U8, 0x1ff), 0xff);
	assert_int_equal((int64_t)value_extend(SH_I32, 0x80000000), INT32_MIN);
	assert_int_equal(value_extend(SH_U32, 0x180000000), 0x80000000);
	assert_int_equal(value_extend(SH_I64, UINT64_MAX), UINT64_MAX);
	assert_int_equal(value_extend(SH_PTR, UINT64_MAX), UINT64_MAX);
	assert_int_equal(value_extend(SH_BOOL, 0x100), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_render),	TEST(test_constant), TEST(test_mistakes),    TEST(test_values), TEST(test_room),
		TEST(test_long_output), TEST(test_record),   TEST(test_bad_records), TEST(test_extend),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
