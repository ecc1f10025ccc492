/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fnmatch.h>
#include <stdio.h>

#include "base/nearest.h"
#include "base/glob.h"
#include "base/clock.h"
#include "binary/demangle.h"
#include "binary/name.h"

#define assert_sv(got, want)                                                                   \
	do {                                                                                   \
		struct sv got_ = (got);                                                        \
		if (!sv_eq(got_, sv_of(want)))                                                 \
			fail_msg("got \"" SV_FMT "\", expected \"%s\"", SV_ARG(got_), (want)); \
	} while (0)

static void test_base(void **state)
{
	(void)state;
	static const struct {
		const char *name, *base;
		uint32_t suffixes;
	} cases[] = {
		{"f", "f", 0},
		{"f.cold", "f", NAME_COLD},
		{"f.cold.12", "f", NAME_COLD},
		{"f.part.0", "f", NAME_PART},
		{"f.part.0.cold", "f", NAME_PART | NAME_COLD},
		{"f.constprop.0.isra.0", "f", NAME_CONSTPROP | NAME_ISRA},
		{"_ZN1a1fEv.isra.3", "_ZN1a1fEv", NAME_ISRA},
		{"f.llvm.1234567890", "f", NAME_CLONE},
		{"f.lto_priv.0", "f", NAME_CLONE},
		{"inner.0", "inner", NAME_CLONE},
		{"f@@V2", "f", 0},
		{"f@V1", "f", 0},
		{"f.cold@@V2", "f", NAME_COLD},
		{"main.main.func1", "main.main.func1", 0},
		{"main.cold.other", "main.cold.other", 0},
		{".cold", ".cold", 0},
		{".text.cold", ".text", NAME_COLD},
		{"f.", "f.", 0},
		{"f..cold", "f.", NAME_COLD},
		{"@x", "@x", 0},
		{"", "", 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t suffixes = 99;
		assert_sv(name_base(sv_of(cases[i].name), &suffixes), cases[i].base);
		assert_int_equal(suffixes, cases[i].suffixes);
	}
}

/* The text up to each of the ends, and the unqualified name. */
static void test_parts(void **state)
{
	(void)state;
	static const struct {
		const char *whole, *params, *args, *name, *unqualified;
	} cases[] = {
		{"f", "f", "f", "f", "f"},
		{"f(int)", "f(int)", "f", "f", "f"},
		{"ns::Class<T>::method(int) const", "ns::Class<T>::method(int)", "ns::Class<T>::method",
		 "ns::Class<T>::method", "method"},
		{"a::f<char, (b)3>(a::b<int> (*)(int))", "a::f<char, (b)3>(a::b<int> (*)(int))", "a::f<char, (b)3>",
		 "a::f", "f"},
		{"(anonymous namespace)::f(int)", "(anonymous namespace)::f(int)", "(anonymous namespace)::f",
		 "(anonymous namespace)::f", "f"},
		{"a::(anonymous namespace)::B::f()", "a::(anonymous namespace)::B::f()",
		 "a::(anonymous namespace)::B::f", "a::(anonymous namespace)::B::f", "f"},
		{"A::~A()", "A::~A()", "A::~A", "A::~A", "~A"},
		{"A<int>::A(A<int>&&)", "A<int>::A(A<int>&&)", "A<int>::A", "A<int>::A", "A"},
		{"A::operator()(int) const", "A::operator()(int)", "A::operator()", "A::operator()", "operator()"},
		{"A::operator[](int)", "A::operator[](int)", "A::operator[]", "A::operator[]", "operator[]"},
		{"operator<< <char>(A&)", "operator<< <char>(A&)", "operator<< <char>", "operator<<", "operator<<"},
		{"a::operator<(a::B, a::B)", "a::operator<(a::B, a::B)", "a::operator<", "a::operator<", "operator<"},
		{"a::operator<=>(a::B, a::B)", "a::operator<=>(a::B, a::B)", "a::operator<=>", "a::operator<=>",
		 "operator<=>"},
		{"A::operator->() const", "A::operator->()", "A::operator->", "A::operator->", "operator->"},
		{"operator new(unsigned long)", "operator new(unsigned long)", "operator new", "operator new",
		 "operator new"},
		{"operator delete[](void*)", "operator delete[](void*)", "operator delete[]", "operator delete[]",
		 "operator delete[]"},
		{"A::operator std::vector<int, b::c>()", "A::operator std::vector<int, b::c>()",
		 "A::operator std::vector<int, b::c>", "A::operator std::vector<int, b::c>",
		 "operator std::vector<int, b::c>"},
		{"operator\"\" _km(long double)", "operator\"\" _km(long double)", "operator\"\" _km",
		 "operator\"\" _km", "operator\"\" _km"},
		{"a::operators(int)", "a::operators(int)", "a::operators", "a::operators", "operators"},
		{"f[abi:cxx11](int)", "f[abi:cxx11](int)", "f[abi:cxx11]", "f", "f"},
		{"main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()(int)",
		 "main::{lambda(int)#1}::operator()", "main::{lambda(int)#1}::operator()",
		 "main::{lambda(int)#1}::operator()"},
		{"a::f(int) const::{lambda()#1}::operator()() const", "a::f(int) const::{lambda()#1}::operator()()",
		 "a::f(int) const::{lambda()#1}::operator()", "a::f(int) const::{lambda()#1}::operator()",
		 "f(int) const::{lambda()#1}::operator()"},
		{"f(int)::Local::g(char)", "f(int)::Local::g(char)", "f(int)::Local::g", "f(int)::Local::g", "g"},
		{"f(int) [clone .cold]", "f(int)", "f", "f", "f"},
		{"non-virtual thunk to A::f(int)", "non-virtual thunk to A::f(int)", "non-virtual thunk to A::f",
		 "non-virtual thunk to A::f", "f"},
		{"a<&(b::operator< (c))>::f()", "a<&(b::operator< (c))>::f()", "a<&(b::operator< (c))>::f",
		 "a<&(b::operator< (c))>::f", "f"},
		{"app::run::{closure#0}", "app::run::{closure#0}", "app::run::{closure#0}", "app::run::{closure#0}",
		 "run::{closure#0}"},
		{"app::run::{{closure}}::{{closure}}", "app::run::{{closure}}::{{closure}}",
		 "app::run::{{closure}}::{{closure}}", "app::run::{{closure}}::{{closure}}",
		 "run::{{closure}}::{{closure}}"},
		{"app::run::{closure#0}::inner", "app::run::{closure#0}::inner", "app::run::{closure#0}::inner",
		 "app::run::{closure#0}::inner", "inner"},
		{"<app::T as core::fmt::Debug>::fmt", "<app::T as core::fmt::Debug>::fmt",
		 "<app::T as core::fmt::Debug>::fmt", "<app::T as core::fmt::Debug>::fmt", "fmt"},
		{"core::fmt::num::<impl core::fmt::Debug for u32>::fmt",
		 "core::fmt::num::<impl core::fmt::Debug for u32>::fmt",
		 "core::fmt::num::<impl core::fmt::Debug for u32>::fmt",
		 "core::fmt::num::<impl core::fmt::Debug for u32>::fmt", "fmt"},
		{"app::apply::<i32, fn(u8) -> u8>", "app::apply::<i32, fn(u8) -> u8>",
		 "app::apply::<i32, fn(u8) -> u8>", "app::apply", "apply"},
		{"core::ptr::drop_in_place<alloc::string::String>", "core::ptr::drop_in_place<alloc::string::String>",
		 "core::ptr::drop_in_place<alloc::string::String>", "core::ptr::drop_in_place", "drop_in_place"},
		{"", "", "", "", ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *s = cases[i].whole;
		struct name_parts p = name_parse(sv_of(s));
		assert_sv(((struct sv){s, p.params_end}), cases[i].params);
		assert_sv(((struct sv){s, p.args_end}), cases[i].args);
		assert_sv(((struct sv){s, p.name_end}), cases[i].name);
		assert_sv(name_unqualified(sv_of(s)), cases[i].unqualified);
	}
}

static void test_parts_of_broken_names(void **state)
{
	(void)state;
	static const char *const broken[] = {
		"<",	    ">",	   "(",		")",	"::",	 "a::", "::a",	"f(", "f<", "a<b(c", "{",   "}",
		"operator", "a::operator", "operator(", "f() ", "f() c", "~",	"a::~", "[",  "f[", " ",     "a  b"};
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct name_parts p = name_parse(sv_of(broken[i]));
		assert_true(p.unqualified <= p.name_end && p.name_end <= p.args_end && p.args_end <= p.params_end);
		assert_true(p.params_end <= strlen(broken[i]));
	}
}

static void test_demangle(void **state)
{
	(void)state;
	static const struct {
		const char *mangled, *plain;
	} cases[] = {
		{"_ZNK2ns5ClassIiE6methodEi", "ns::Class<int>::method(int) const"},
		{"_Z5applyIiET_S0_", "apply<int>(int)"},
		{"_ZlsRSo1A", "operator<<(std::ostream&, A)"},
		{"_ZN12_GLOBAL__N_11fEv", "(anonymous namespace)::f()"},
		{"_ZN4core3fmt9Formatter9write_fmt17h0123456789abcdefE", "core::fmt::Formatter::write_fmt"},
		{"_ZN3app3run28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", "app::run::{{closure}}"},
		{"_RNCNvCs1234_7mycrate3run0B3_", "mycrate::run::{closure#0}"},
		{"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
		{"_RNvMs0_NtCs1234_7mycrate4shopNtB5_4Cart5total", "mycrate::shop::Cart::total"},
		{"_RNvMs0_NtCs1234_7mycrate4shopINtB5_4CartNtB5_4ItemE5total",
		 "mycrate::shop::Cart<mycrate::shop::Item>::total"},
		{"_RNvMs0_NtCs1234_7mycrate4shopSh3len", "<[u8]>::len"},
		{"_RNvXs_NtCs1234_7mycrate4shopNtB4_4CartNtB4_5Price3get",
		 "<mycrate::shop::Cart as mycrate::shop::Price>::get"},
		{"_RNCNvMs0_NtCs1234_7mycrate4shopNtB7_4Cart5total0B7_", "mycrate::shop::Cart::total::{closure#0}"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sbuf out = {0};
		sbuf_adds(&out, "> ");
		assert_true(demangle(sv_of(cases[i].mangled), &out));
		assert_sv(((struct sv){out.data + 2, out.len - 2}), cases[i].plain);
		sbuf_release(&out);
	}
}

static void test_demangle_leaves_alone(void **state)
{
	(void)state;
	static const char *const names[] = {"",	       "_",   "_Z",	     "_R",    "main",
					    "_Zxyzzy", "_RQ", "__cxa_throw", "_Z3fo", "_ZN3foo3ba"};
	struct sbuf out = {0};
	sbuf_adds(&out, "kept");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_false(demangle(sv_of(names[i]), &out));
		assert_string_equal(out.data, "kept");
	}
	sbuf_release(&out);
}

/* Every template argument names the one before twice: the text doubles with each, the mangled name grows by 12 bytes.
 */
static void test_demangle_bomb(void **state)
{
	(void)state;
	struct sbuf name = {0}, out = {0};
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	sbuf_adds(&name, "_Z1f1PIiiE");
	for (unsigned i = 0; i < 34; i++)
		sbuf_addf(&name, "S_IS%c_S%c_E", digits[i], digits[i]);
	uint64_t start = clock_mono_ns();
	assert_false(demangle(sbuf_sv(&name), &out));
	assert_true(clock_mono_ns() - start < NSEC_PER_SEC);
	assert_true(out.len == 0);
	/* Eight of them are an ordinary name: it is the size of the text that is refused. */
	sbuf_reset(&name);
	sbuf_adds(&name, "_Z1f1PIiiE");
	for (unsigned i = 0; i < 8; i++)
		sbuf_addf(&name, "S_IS%c_S%c_E", digits[i], digits[i]);
	assert_true(demangle(sbuf_sv(&name), &out));
	sbuf_release(&name);
	sbuf_release(&out);
}

/* nm prints the return type that is dropped here, so its text ends with ours. */
static void test_demangle_like_nm(void **state)
{
	(void)state;
	FILE *p = popen("d=$(mktemp -d) && f=$(gcc -print-file-name=libstdc++.so.6) && "
			"nm -Dp --defined-only \"$f\" | sed 's/@.*//; s/^[0-9a-f]* . //' >$d/raw; "
			"nm -DCp --defined-only \"$f\" | sed 's/@.*//; s/^[0-9a-f]* . //' >$d/plain; "
			"paste $d/raw $d/plain; rm -r $d",
			"r");
	assert_non_null(p);
	char line[16384];
	size_t cnt = 0;
	while (fgets(line, sizeof(line), p)) {
		char *plain = strchr(line, '\t');
		if (!plain)
			continue;
		*plain++ = '\0';
		plain[strcspn(plain, "\n")] = '\0';
		struct sbuf out = {0};
		bool done = demangle(sv_of(line), &out);
		size_t len = strlen(plain);
		if (done != (strcmp(plain, line) != 0))
			fail_msg("%s: nm says %s", line, plain);
		if (done && (out.len > len || strcmp(plain + len - out.len, out.data) != 0))
			fail_msg("%s: %s, but nm %s", line, out.data, plain);
		cnt += done;
		sbuf_release(&out);
	}
	pclose(p);
	assert_true(cnt > 1000);
}

static uint32_t random_next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static void test_glob_like_fnmatch(void **state)
{
	(void)state;
	static const char letters[] = "ab*?[]!-\\c", plain[] = "abc-]";
	uint32_t seed = 12345;
	size_t matches = 0;
	for (unsigned i = 0; i < 300000; i++) {
		char pattern[10] = "", text[10] = "";
		size_t n = random_next(&seed) % 8, m = random_next(&seed) % 7;
		for (size_t k = 0; k < n; k++)
			pattern[k] = letters[random_next(&seed) % (sizeof(letters) - 1)];
		for (size_t k = 0; k < m; k++)
			text[k] = plain[random_next(&seed) % (sizeof(plain) - 1)];
		/* What POSIX leaves open: a backslash at the end, and ranges, sets and escapes that are not closed. */
		size_t len = strlen(pattern);
		if ((len && pattern[len - 1] == '\\') || strstr(pattern, "\\]") ||
		    (strchr(pattern, '[') && strpbrk(pattern, "-\\")))
			continue;
		bool want = fnmatch(pattern, text, 0) == 0;
		if (glob_match(sv_of(pattern), sv_of(text)) != want)
			fail_msg("\"%s\" on \"%s\": fnmatch says %d", pattern, text, want);
		matches += want;
	}
	assert_true(matches > 5000);
}

static void test_glob(void **state)
{
	(void)state;
	assert_true(glob_match(SV("zset*"), SV("zsetAdd")));
	assert_true(glob_match(SV("[a-c]x[!0-9]"), SV("bxy")));
	assert_false(glob_match(SV("[a-c]x[!0-9]"), SV("bx7")));
	assert_true(glob_match(SV("A::operator\\[\\]*"), SV("A::operator[](int)")));
	assert_true(glob_match(SV("f(char\\*)"), SV("f(char*)")));
	assert_true(glob_is_pattern(SV("a?")) && glob_is_pattern(SV("[")) && !glob_is_pattern(SV("a::b(int)")));
	/* fnmatch() needs minutes for this one. */
	char text[2001];
	memset(text, 'a', 2000);
	text[2000] = '\0';
	uint64_t start = clock_mono_ns();
	assert_false(glob_match(SV("a*a*a*a*a*a*a*a*a*a*a*a*b"), sv_of(text)));
	assert_true(clock_mono_ns() - start < NSEC_PER_SEC);
}

/* The textbook's table, to compare with. */
static unsigned plain_distance(const char *a, const char *b)
{
	unsigned d[16][16];
	size_t n = strlen(a), m = strlen(b);
	for (size_t i = 0; i <= n; i++)
		for (size_t j = 0; j <= m; j++) {
			unsigned best = i == 0 ? (unsigned)j : j == 0 ? (unsigned)i : 99;
			if (i && j) {
				unsigned change = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
				best = d[i - 1][j] + 1 < d[i][j - 1] + 1 ? d[i - 1][j] + 1 : d[i][j - 1] + 1;
				best = change < best ? change : best;
			}
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	return d[n][m];
}

static void test_distance(void **state)
{
	(void)state;
	assert_int_equal(edit_distance(SV("chrage_card"), SV("charge_card"), 3), 1);
	assert_int_equal(edit_distance(SV("SSL_Read"), SV("ssl_read"), 3), 0);
	assert_int_equal(edit_distance(SV(""), SV("abc"), 3), 3);
	assert_int_equal(edit_distance(SV(""), SV(""), 0), 0);
	assert_int_equal(edit_distance(SV("abc"), SV("xyz"), 2), 3);
	uint32_t seed = 99;
	for (unsigned i = 0; i < 100000; i++) {
		char a[13] = "", b[13] = "";
		size_t n = random_next(&seed) % 12, m = random_next(&seed) % 12;
		for (size_t k = 0; k < n; k++)
			a[k] = "abc"[random_next(&seed) % 3];
		for (size_t k = 0; k < m; k++)
			b[k] = "abc"[random_next(&seed) % 3];
		unsigned max = random_next(&seed) % (EDIT_DISTANCE_MAX + 1), want = plain_distance(a, b);
		assert_int_equal(edit_distance(sv_of(a), sv_of(b), max), want > max ? max + 1 : want);
	}
	char huge[2 * NEAREST_MAX_LEN];
	memset(huge, 'a', sizeof(huge));
	struct sv whole = {huge, NEAREST_MAX_LEN}, over = {huge, NEAREST_MAX_LEN + 1};
	assert_int_equal(edit_distance(whole, whole, EDIT_DISTANCE_MAX), 0);
	assert_int_equal(edit_distance(over, over, EDIT_DISTANCE_MAX), EDIT_DISTANCE_MAX + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_parts_of_broken_names),
		cmocka_unit_test(test_demangle),
		cmocka_unit_test(test_demangle_leaves_alone),
		cmocka_unit_test(test_demangle_bomb),
		cmocka_unit_test(test_demangle_like_nm),
		cmocka_unit_test(test_glob_like_fnmatch),
		cmocka_unit_test(test_glob),
		cmocka_unit_test(test_distance),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
