// SPDX-License-Identifier: Apache-2.0
// C++ exceptions that pass probed functions. Probed: everything in namespace `probed`, named in the log as demangled.
#include "truth.h"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

extern "C" long p_c_apply(long (*f)(long), long x); // throws_c.c: C code between C++ frames
extern "C" long u_c_apply(long (*f)(long), long x);

namespace shop {
struct Declined : std::runtime_error {
	using std::runtime_error::runtime_error;
};
struct Plain {
	long code;
};
// Its destructor runs while the exception passes, in the frame that owns it.
struct Guard {
	long owner;
	bool throws;
	__attribute__((noinline)) ~Guard();
};
} // namespace shop

static long u_wide(long (*f)(long), long x) __attribute__((noinline));
static long u_wide(long (*f)(long), long x)
{
	volatile char room[512];
	room[x & 511] = 0;
	return f(x) + room[x & 511];
}

namespace probed {

PROBED long leaf(long x)
{
	ENTER("probed::leaf(long)");
	RETURN(x + 1);
}

PROBED long pair(long x)
{
	ENTER("probed::pair(long)");
	long r = leaf(x);
	r += leaf(r);
	RETURN(r);
}

// x % 5 chooses what is thrown; 4: nothing
PROBED long thrower(long x)
{
	ENTER("probed::thrower(long)");
	leaf(x);
	switch (x % 5) {
	case 0: throw std::runtime_error("declined");
	case 1: throw shop::Declined("card " + std::to_string(x));
	case 2: throw 42;
	case 3: throw shop::Plain{x};
	}
	RETURN(x);
}

PROBED long middle(long x)
{
	ENTER("probed::middle(long)");
	long r = pair(x);
	r += thrower(x);
	RETURN(r);
}

PROBED long upper(long x)
{
	ENTER("probed::upper(long)");
	long r = u_wide(middle, x);
	r += leaf(r);
	RETURN(r);
}

PROBED long catch_near(long x)
{
	ENTER("probed::catch_near(long)");
	long r = 0;
	try {
		r = thrower(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
		r = leaf(x);
	}
	r += pair(x);
	RETURN(r);
}

PROBED long catch_far(long x)
{
	ENTER("probed::catch_far(long)");
	long r = 0;
	try {
		r = upper(x);
	} catch (const std::exception &e) {
		truth_unwind(truth_id, "exception");
		r = pair(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
		// Deeper in the stack than what was thrown over.
		r = u_wide(pair, x);
	}
	r += leaf(x);
	RETURN(r);
}

PROBED long rethrower(long x)
{
	ENTER("probed::rethrower(long)");
	try {
		upper(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
		pair(x);
		throw;
	}
	RETURN(x);
}

PROBED long replacer(long x)
{
	ENTER("probed::replacer(long)");
	try {
		rethrower(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
		leaf(x);
		throw std::logic_error("another");
	}
	RETURN(x);
}

PROBED long catch_replaced(long x)
{
	ENTER("probed::catch_replaced(long)");
	try {
		replacer(x);
	} catch (const std::exception &) {
		truth_unwind(truth_id, "exception");
	} catch (...) {
		truth_unwind(truth_id, "exception");
	}
	RETURN(pair(x));
}

PROBED long clean_up(long x)
{
	ENTER("probed::clean_up(long)");
	long r = u_wide(pair, x);
	RETURN(r);
}

PROBED long guarded(long x)
{
	ENTER("probed::guarded(long)");
	long r = 0;
	{
		shop::Guard guard{truth_id, false};
		r = middle(x);
	}
	RETURN(r);
}

PROBED long guarded_twice(long x)
{
	ENTER("probed::guarded_twice(long)");
	long r = 0;
	{
		shop::Guard guard{truth_id, true};
		r = u_wide(guarded, x);
	}
	RETURN(r);
}

PROBED long catch_guarded(long x)
{
	ENTER("probed::catch_guarded(long)");
	long r = 0;
	try {
		r = guarded_twice(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
	}
	r += leaf(x);
	RETURN(r);
}

PROBED long recurse(long n)
{
	ENTER("probed::recurse(long)");
	long r = 0;
	if (!n)
		throw shop::Plain{n};
	if (n == 5) {
		try {
			r = recurse(n - 1);
		} catch (const shop::Plain &) {
			truth_unwind(truth_id, "exception");
			r = pair(n);
		}
	} else {
		r = recurse(n - 1);
	}
	RETURN(r);
}

PROBED long through_c(long x)
{
	ENTER("probed::through_c(long)");
	long r = p_c_apply(middle, x);
	r += u_c_apply(upper, x);
	RETURN(r);
}

PROBED long catch_through_c(long x)
{
	ENTER("probed::catch_through_c(long)");
	try {
		through_c(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
	}
	RETURN(pair(x));
}

PROBED int compare(const void *a, const void *b)
{
	ENTER("probed::compare(void const*, void const*)");
	int x = *(const int *)a, y = *(const int *)b;
	leaf(x);
	if (x == 7 || y == 7)
		throw std::invalid_argument("seven");
	RETURN(x - y);
}

PROBED long sorts(long seven)
{
	ENTER("probed::sorts(long)");
	int values[] = {5, 3, seven ? 7 : 8, 1, 9, 2};
	try {
		qsort(values, 6, sizeof(int), compare);
	} catch (const std::invalid_argument &) {
		truth_unwind(truth_id, "exception");
	}
	leaf(seven);
	RETURN(seven);
}

struct Made {
	long x;
	PROBED explicit Made(long v) : x(v)
	{
		ENTER("probed::Made::Made(long)");
		leaf(v);
		if (v % 2)
			throw shop::Declined("odd");
		LEAVE();
	}
	PROBED long use() const
	{
		ENTER("probed::Made::use() const");
		RETURN(leaf(x));
	}
};

PROBED long makes(long x)
{
	ENTER("probed::makes(long)");
	long r = 0;
	try {
		Made m(x);
		r = m.use();
	} catch (const shop::Declined &) {
		truth_unwind(truth_id, "exception");
		r = leaf(x);
	}
	RETURN(r);
}

PROBED long within_handler(long x)
{
	ENTER("probed::within_handler(long)");
	try {
		thrower(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
		try {
			upper(x + 1);
		} catch (...) {
			truth_unwind(truth_id, "exception");
			pair(x);
		}
		leaf(x);
	}
	RETURN(x);
}

// A library's own throw.
PROBED long out_of_range(long x)
{
	ENTER("probed::out_of_range(long)");
	std::vector<long> v(3);
	long r = v.at(x);
	RETURN(r);
}

PROBED long catch_library(long x)
{
	ENTER("probed::catch_library(long)");
	long r = 0;
	try {
		r = out_of_range(x);
	} catch (const std::out_of_range &) {
		truth_unwind(truth_id, "exception");
		r = leaf(x);
	}
	RETURN(r);
}

PROBED long kept(long x)
{
	ENTER("probed::kept(long)");
	std::exception_ptr p;
	try {
		thrower(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
		p = std::current_exception();
	}
	leaf(x);
	if (p)
		std::rethrow_exception(p);
	RETURN(x);
}

PROBED long catch_kept(long x)
{
	ENTER("probed::catch_kept(long)");
	try {
		kept(x);
	} catch (...) {
		truth_unwind(truth_id, "exception");
	}
	RETURN(leaf(x));
}

PROBED long uncaught(long x)
{
	ENTER("probed::uncaught(long)");
	long r = middle(x);
	RETURN(r);
}

} // namespace probed

shop::Guard::~Guard()
{
	// On the way of an exception the frames below the owner are gone; on a normal end there are none.
	if (truth_top() != owner)
		truth_unwind(owner, "exception");
	probed::clean_up(owner);
	if (throws) {
		try {
			probed::upper(1);
		} catch (...) {
			truth_unwind(owner, "exception");
			probed::leaf(2);
		}
	}
}

static void catch_outside(long (*f)(long), long x)
{
	try {
		f(x);
	} catch (...) {
		truth_unwind(0, "exception");
	}
}

#define EACH(name, call)                                                                                               \
	static void case_##name(int, char **)                                                                         \
	{                                                                                                              \
		for (long x = 0; x < 10; x++) {                                                                        \
			call;                                                                                          \
		}                                                                                                      \
	}

EACH(near, probed::catch_near(x))
EACH(far, probed::catch_far(x))
EACH(outside, catch_outside(probed::upper, x); probed::pair(x))
EACH(rethrow, probed::catch_replaced(x))
EACH(destructor, probed::catch_guarded(x))
EACH(recursion, probed::recurse(10))
EACH(through_c, probed::catch_through_c(x))
EACH(qsort, probed::sorts(x & 1))
EACH(constructor, probed::makes(x))
EACH(within_handler, probed::within_handler(x))
EACH(library, probed::catch_library(x))
EACH(kept, probed::catch_kept(x))
EACH(normal, probed::upper(4); probed::catch_far(4))

static void case_threads(int, char **)
{
	std::vector<std::thread> all;

	for (long t = 0; t < 16; t++)
		all.emplace_back([t] {
			for (long x = 0; x < 20; x++) {
				probed::catch_far(x + t);
				probed::catch_near(x);
				catch_outside(probed::upper, x);
			}
		});
	for (auto &t : all)
		t.join();
}

static void case_uncaught(int, char **)
{
	probed::uncaught(1);
}

static const struct truth_case cases[] = {
	{"near", case_near}, {"far", case_far}, {"outside", case_outside}, {"rethrow", case_rethrow},
	{"destructor", case_destructor}, {"recursion", case_recursion}, {"through_c", case_through_c},
	{"qsort", case_qsort}, {"constructor", case_constructor}, {"within_handler", case_within_handler},
	{"library", case_library}, {"kept", case_kept}, {"normal", case_normal}, {"threads", case_threads},
	{"uncaught", case_uncaught}, {nullptr, nullptr},
};

int main(int argc, char **argv)
{
	return truth_main(argc, argv, cases);
}
