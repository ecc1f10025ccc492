/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_NAME_H
#define BINARY_NAME_H

#include <stdint.h>

#include "base/sv.h"

/* The text of function names: suffixes compilers add, parts of demangled names. */

enum name_suffix {
	NAME_COLD = 1 << 0,	 /* .cold, .warm: the unlikely part of a function, reached by a jump; no function */
	NAME_PART = 1 << 1,	 /* .part.N: split off; the rest was inlined into callers or still calls it */
	NAME_CONSTPROP = 1 << 2, /* .constprop.N: a copy for some constant arguments, which are not passed */
	NAME_ISRA = 1 << 3,	 /* .isra.N: arguments replaced or removed */
	NAME_CLONE = 1 << 4,	 /* others: .lto_priv.N .llvm.N .localalias .N (a static or nested function's number) */
};

/* `name` without clone suffixes and symbol version ("f.isra.0.cold" -> "f", "f@@V2" -> "f"); `ret_suffixes` is
 * a mask of enum name_suffix, may be NULL. Only suffixes GCC and LLVM are known to write are taken off: dots are
 * ordinary in Go names, which are better not passed at all. */
struct sv name_base(struct sv name, uint32_t *ret_suffixes);

/* Where the parts of a demangled name are, as offsets into it. For "a::B<int>::f<char>(int) const":
 * unqualified at f, name_end at <char>, args_end after it, params_end after ")". Without parameter list
 * args_end == params_end. Every way to write the name is a prefix that ends at one of the three, or whole. */
struct name_parts {
	size_t unqualified;
	size_t name_end;
	size_t args_end;
	size_t params_end;
};
struct name_parts name_parse(struct sv demangled);

/* What a person calls the function: "ns::Class<T>::method(int) const" -> "method", "operator<<", "~Class". Closures and
 * lambdas have no name of their own and keep their function's: "run::{closure#0}", "main::{lambda()#1}::operator()". */
struct sv name_unqualified(struct sv demangled);

#endif
