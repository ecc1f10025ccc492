/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_DEMANGLE_H
#define BINARY_DEMANGLE_H

#include "base/sbuf.h"
#include "base/sv.h"

/* Longer names are shown as they are: libiberty's own recursion guard (DEMANGLE_RECURSION_LIMIT, 2048 components, two
 * for each byte) refuses C++ names beyond 1024 bytes; Rust's v0 mangling has no such guard. */
#define DEMANGLE_IN_MAX 4096
/* Names that would print longer are left alone: a few hundred bytes of substitutions can ask for gigabytes. */
#define DEMANGLE_OUT_MAX 65536

/* Itanium C++ ("_Z...") and Rust (legacy and v0); anything else is not mangled. */
bool demangle_is_mangled(struct sv name);

/* Appends the readable name: C++ with its parameter list and without its return type, as nm -C writes both; Rust
 * without its hash, and <T>::method of v0 as T::method. `name` carries no clone suffix (see name_base()). False, with
 * nothing appended, when it is not mangled, or mangled badly, or out of bounds. */
bool demangle(struct sv name, struct sbuf *out);

#endif
