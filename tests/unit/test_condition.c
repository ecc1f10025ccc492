/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "probe/condition.h"

/* a b c: i32; u: u8; w: u64; p: ptr; f: bool; ch: char; s: string; and `return`, undeclared */
static const struct value_name all_names[] = {
	{{"a", 1}, 0, SH_I32, true, 0},
	{{"b", 1}, 1, SH_I32, true, 0},
	{{"u", 1}, 2, SH_U8, true, 0},
	{{"w", 1}, 3, SH_U64, true, 0},
	{{"p", 1}, 4, SH_PTR, true, 0},
	{{"f", 1}, 5, SH_BOOL, true, 0},
	{{"ch", 2}, 6, SH_CHAR, true, 0},
	{{"s", 1}, 7, SH_STRING, true, 32},
	{{"return", 6}, VALUE_RETURN, SH_I32, false, 0},
};

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
	memcpy(x->names.names, all_names, sizeof(all_names));
	x->names.cnt = sizeof(all_names) / sizeof(all_names[0]);
	for (unsigned i = 0; i < VALUE_CNT; i++)
		x->values.v[i].type = all_names[i].type;
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

static void set(struct fixture *x, const char *name, int64_t number)
{
	const struct value_name *n = value_names_find(&x->names, sv_of(name));
	assert_non_null(n);
	x->values.v[n->index].num = (uint64_t)number;
	if (n->index == VALUE_RETURN)
		x->values.return_raw = (uint64_t)number;
}

static struct condition parse(struct fixture *x, enum condition_use use, const char *text)
{
	struct condition c;
	if (condition_parse(&c, use, sv_of(text), NULL, &x->src, &x->names, &x->arena) < 0) {
		struct sbuf said = {0};
		diagnostics_print(&x->d, &said);
		print_error("%s\n%s", text, sbuf_str(&said));
		sbuf_release(&said);
		fail();
	}
	return c;
}

static bool eval(struct fixture *x, const char *text)
{
	struct condition c = parse(x, CONDITION_ERROR, text);
	return condition_eval(&c, &x->values);
}

/* The kernel half's reading of a spec, by its description in spec.h. */
static bool obey(const struct sh_spec *spec, const struct call_values *values)
{
	bool any = false, all = true;
	for (unsigned i = 0; i < spec->cond_cnt; i++) {
		const struct sh_cond *c = &spec->conds[i];
		const struct call_value *v = &values->v[c->capture];
		int64_t a = (int64_t)v->num, b = (int64_t)c->operand;
		bool is_signed = v->type >= SH_I8 && v->type <= SH_I64;
		bool less = is_signed ? a < b : (uint64_t)a < (uint64_t)b;
		bool begins = v->type == SH_STRING && v->bytes.len >= c->prefix_len &&
			      memcmp(v->bytes.data, c->prefix, c->prefix_len) == 0;
		bool holds = c->op == SH_OP_EQ	     ? a == b
			     : c->op == SH_OP_NE     ? a != b
			     : c->op == SH_OP_LT     ? less
			     : c->op == SH_OP_LE     ? less || a == b
			     : c->op == SH_OP_GT     ? !less && a != b
			     : c->op == SH_OP_GE     ? !less
			     : c->op == SH_OP_MASK   ? (a & b) != 0
			     : c->op == SH_OP_PREFIX ? begins
						     : !begins;
		if (c->or_before) {
			any |= all;
			all = true;
		}
		all &= holds;
	}
	return any || (spec->cond_cnt && all);
}

static void test_spec_is_exact(void **state)
{
	struct fixture *x = *state;
	struct sh_spec spec = {0};
	struct condition c = parse(x, CONDITION_WHEN, "a > -5 && !s starts_with \"GET \" or w & 0x6 and f");
	condition_to_spec(&c, &spec);
	assert_int_equal(spec.cond_cnt, 4);
	assert_int_equal(spec.conds[0].capture, 0);
	assert_int_equal(spec.conds[0].op, SH_OP_GT);
	assert_int_equal(spec.conds[0].operand, (uint64_t)-5);
	assert_int_equal(spec.conds[0].or_before, 0);
	assert_int_equal(spec.conds[1].capture, 7);
	assert_int_equal(spec.conds[1].op, SH_OP_NOT_PREFIX);
	assert_int_equal(spec.conds[1].prefix_len, 4);
	assert_memory_equal(spec.conds[1].prefix, "GET \0\0", 6);
	assert_int_equal(spec.conds[1].or_before, 0);
	assert_int_equal(spec.conds[2].op, SH_OP_MASK);
	assert_int_equal(spec.conds[2].operand, 6);
	assert_int_equal(spec.conds[2].or_before, 1);
	assert_int_equal(spec.conds[3].op, SH_OP_NE);
	assert_int_equal(spec.conds[3].operand, 0);
	assert_int_equal(spec.conds[3].or_before, 0);
	assert_int_equal(x->names.used, 0); /* the kernel reads it before anything is recorded */
}

static void test_operands(void **state)
{
	struct fixture *x = *state;
	static const struct {
		const char *text;
		uint8_t op;
		uint64_t operand;
	} cases[] = {
		{"a == 2147483647", SH_OP_EQ, 2147483647},
		{"a == -2147483648", SH_OP_EQ, (uint64_t)-2147483648LL},
		{"u <= 0xFF", SH_OP_LE, 255},
		{"w < 18446744073709551615", SH_OP_LT, UINT64_MAX},
		{"a >= -0", SH_OP_GE, 0},
		{"a & 0x80000000", SH_OP_MASK, 0x80000000},
		{"a & 4 != 0", SH_OP_MASK, 4},
		{"ch == 'x'", SH_OP_EQ, 'x'},
		{"ch != '\\n'", SH_OP_NE, '\n'},
		{"ch == '\\0'", SH_OP_EQ, 0},
		{"ch == '\\xff'", SH_OP_EQ, 0xff},
		{"ch == '\\''", SH_OP_EQ, '\''},
		{"ch == 65", SH_OP_EQ, 65},
		{"a == 'x'", SH_OP_EQ, 'x'},
		{"f", SH_OP_NE, 0},
		{"!f", SH_OP_EQ, 0},
		{"not not f", SH_OP_NE, 0},
		{"f == true", SH_OP_NE, 0},
		{"f != true", SH_OP_EQ, 0},
		{"f == false", SH_OP_EQ, 0},
		{"f == 1", SH_OP_NE, 0},
		{"f != 1", SH_OP_EQ, 0},
		{"f == 0", SH_OP_EQ, 0},
		{"p", SH_OP_NE, 0},
		{"!p", SH_OP_EQ, 0},
		{"p == NULL", SH_OP_EQ, 0},
		{"p != nullptr", SH_OP_NE, 0},
		{"p == 0x7fffdeadbeef", SH_OP_EQ, 0x7fffdeadbeef},
		{"!(a < 3)", SH_OP_GE, 3},
		{"!(a <= 3)", SH_OP_GT, 3},
		{"! a == 3", SH_OP_NE, 3},
		{"s starts_with 'it\\'s'", SH_OP_PREFIX, 0},
		{"s !starts_with \"x\"", SH_OP_NOT_PREFIX, 0},
		{"s not starts_with \"x\"", SH_OP_NOT_PREFIX, 0},
		{"not s not starts_with \"1234567890123456\"", SH_OP_PREFIX, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct condition c = parse(x, CONDITION_WHEN, cases[i].text);
		assert_int_equal(c.cnt, 1);
		if (c.terms[0].op != cases[i].op || c.terms[0].operand != cases[i].operand)
			fail_msg("%s: op %u operand %llu", cases[i].text, c.terms[0].op,
				 (unsigned long long)c.terms[0].operand);
	}
}

/* Any nesting of the connectives means the same flat: checked against C for all truth values. */
static void test_flattening(void **state)
{
	struct fixture *x = *state;
#define A (a == 1)
#define B (b == 1)
#define F f
#define P p
#define CASE(expression, text)                                                                             \
	do {                                                                                               \
		struct condition c = parse(x, CONDITION_WHEN, text);                                       \
		struct sh_spec spec = {0};                                                                 \
		condition_to_spec(&c, &spec);                                                              \
		for (int bits = 0; bits < 16; bits++) {                                                    \
			int a = bits & 1, b = bits >> 1 & 1, f = bits >> 2 & 1, p = bits >> 3;             \
			set(x, "a", a), set(x, "b", b), set(x, "f", f), set(x, "p", p);                    \
			bool wanted = (expression);                                                        \
			if (condition_eval(&c, &x->values) != wanted || obey(&spec, &x->values) != wanted) \
				fail_msg("%s with a=%d b=%d f=%d p=%d", text, a, b, f, p);                 \
		}                                                                                          \
	} while (0)
	CASE(A, "a == 1");
	CASE(A || B, "a == 1 || b == 1");
	CASE(A && B, "a == 1 && b == 1");
	CASE((A && B) || F, "a == 1 && b == 1 || f");
	CASE(A || (B && F), "a == 1 or b == 1 and f");
	CASE((A || B) && F, "(a == 1 || b == 1) && f");
	CASE(F && (A || B), "f && (a == 1 || b == 1)");
	CASE((A || B) && (F || P), "(a == 1 || b == 1) && (f || p)");
	CASE(!(A && B), "!(a == 1 && b == 1)");
	CASE(!(A || B), "not (a == 1 or b == 1)");
	CASE(!(A && (B || !F)), "!(a == 1 && (b == 1 || !f))");
	CASE(!(!(A || B) && !(F && P)), "!(!(a == 1 || b == 1) && !(f && p))");
	CASE((A && B) || (F && P), "((a == 1) && (b == 1)) || ((f) && p)");
	CASE(A || B || F || P, "a == 1 || b == 1 || f || p");
	CASE(A && B && F && P, "a == 1 && b == 1 && f && p");
	CASE(((A || B) && F) || P, "((a == 1 || b == 1) && f) || p");
	CASE(!((A || B) && F), "!((a == 1 || b == 1) && f)");
#undef CASE
}

static void test_comparisons(void **state)
{
	struct fixture *x = *state;
	static const int64_t numbers[] = {INT32_MIN, -101, -1, 0, 1, 99, 100, 101, INT32_MAX};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		int64_t n = numbers[i];
		set(x, "a", n);
		assert_int_equal(eval(x, "a > 100"), n > 100);
		assert_int_equal(eval(x, "a >= 100"), n >= 100);
		assert_int_equal(eval(x, "a < -1"), n < -1);
		assert_int_equal(eval(x, "a <= -1"), n <= -1);
		assert_int_equal(eval(x, "a == 100"), n == 100);
		assert_int_equal(eval(x, "a != 100"), n != 100);
		assert_int_equal(eval(x, "a & 1"), (n & 1) != 0);
		assert_int_equal(eval(x, "a & 1 == 0"), (n & 1) == 0);
		assert_int_equal(eval(x, "!(a & 6)"), (n & 6) == 0);
		assert_int_equal(eval(x, "a"), n != 0);
	}
	set(x, "w", -1); /* unsigned: the largest */
	assert_true(eval(x, "w > 9223372036854775807"));
	assert_false(eval(x, "w < 5"));
}

static void test_strings(void **state)
{
	struct fixture *x = *state;
	struct call_value *s = &x->values.v[7];
	s->bytes = SV("GET /");
	assert_true(eval(x, "s starts_with \"GET \""));
	assert_true(eval(x, "s == \"GET /\""));
	assert_false(eval(x, "s == \"GET \""));
	assert_true(eval(x, "s != \"GET \""));
	assert_false(eval(x, "s starts_with \"GET /x\""));
	s->truncated = true; /* what was cut off may differ */
	assert_false(eval(x, "s == \"GET /\""));
	assert_true(eval(x, "s != \"GET /\""));
	s->truncated = false;
	s->bytes = SV_NULL;
	assert_true(eval(x, "s == \"\""));
	assert_false(eval(x, "s starts_with \"G\""));
	assert_true(eval(x, "s !starts_with \"G\""));
	assert_int_equal(x->names.used, 1 << 7);
}

/* What was not read is neither this nor that. */
static void test_unreadable(void **state)
{
	struct fixture *x = *state;
	x->values.v[0].err = -EFAULT;
	x->values.v[7].err = -EFAULT;
	x->values.v[VALUE_RETURN].type = 0;
	assert_false(eval(x, "a == 0"));
	assert_false(eval(x, "a != 0"));
	assert_false(eval(x, "!(a == 0)"));
	assert_false(eval(x, "s starts_with \"x\""));
	assert_false(eval(x, "s !starts_with \"x\""));
	assert_false(eval(x, "return == 0"));
	assert_false(eval(x, "return != 0"));
	assert_true(eval(x, "a == 0 || b == 0"));
}

/* A C function's int comes in the lower half of the register, with rubbish or zeros above. */
static void test_return(void **state)
{
	struct fixture *x = *state;
	set(x, "return", 0xffffffff);
	assert_true(eval(x, "return < 0"));
	assert_true(eval(x, "return == -1"));
	assert_false(eval(x, "return == NULL"));
	set(x, "return", 0x7f0000000000);
	assert_false(eval(x, "return == NULL"));
	assert_true(eval(x, "return == 0"));
	set(x, "return", 0);
	assert_true(eval(x, "return == NULL || a == 5"));
	assert_true(eval(x, "!return"));
	set(x, "return", 0x100);
	assert_true(eval(x, "return == false")); /* a bool is one byte */
	assert_true(eval(x, "return != NULL"));
	assert_true(x->names.used & (1 << VALUE_RETURN));
}

static void test_empty(void **state)
{
	struct fixture *x = *state;
	struct condition none = {0}, c;
	assert_false(condition_eval(&none, &x->values));
	assert_int_equal(condition_parse(&c, CONDITION_WHEN, SV("  "), NULL, &x->src, &x->names, &x->arena), -EINVAL);
	assert_int_equal(c.cnt, 0);
	assert_int_equal(x->d.error_cnt, 1);
	assert_int_equal(x->d.items.data[0].pos.column, 3);
}

static void test_limits(void **state)
{
	struct fixture *x = *state;
	struct sbuf text = {0};
	struct condition c;
	for (int i = 0; i < 8; i++)
		sbuf_addf(&text, "%sa == %d", i ? " || " : "", i);
	parse(x, CONDITION_WHEN, text.data);
	for (int i = 0; i < 8; i++)
		sbuf_addf(&text, " || a == %d", i);
	assert_int_equal(condition_parse(&c, CONDITION_WHEN, sbuf_sv(&text), NULL, &x->src, &x->names, &x->arena),
			 -EINVAL);
	parse(x, CONDITION_ERROR, text.data);
	sbuf_adds(&text, " || a == 1");
	assert_int_equal(condition_parse(&c, CONDITION_ERROR, sbuf_sv(&text), NULL, &x->src, &x->names, &x->arena),
			 -EINVAL);
	/* 2^12 conjunctions when multiplied out: refused, not computed. */
	sbuf_reset(&text);
	for (int i = 0; i < 12; i++)
		sbuf_addf(&text, "%s(a==%d||b==%d)", i ? "&&" : "", i, i);
	assert_int_equal(condition_parse(&c, CONDITION_ERROR, sbuf_sv(&text), NULL, &x->src, &x->names, &x->arena),
			 -EINVAL);
	sbuf_release(&text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_spec_is_exact), TEST(test_operands), TEST(test_flattening),
		TEST(test_comparisons),	  TEST(test_strings),  TEST(test_unreadable),
		TEST(test_return),	  TEST(test_empty),    TEST(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
