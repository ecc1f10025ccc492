/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SV_H
#define BASE_SV_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A borrowed slice of bytes, passed by value. Not NUL-terminated; the owner is
 * whoever the function that returned it says it is. */
struct sv {
	const char *data;
	size_t len;
};

#define SV(literal) ((struct sv){(literal), sizeof(literal) - 1})
#define SV_NULL	    ((struct sv){NULL, 0})
/* For printf's "%.*s". */
#define SV_FMT	  "%.*s"
#define SV_ARG(s) (int)(s).len, (s).data

static inline struct sv sv_of(const char *cstr)
{
	return (struct sv){cstr, cstr ? strlen(cstr) : 0};
}

static inline bool sv_eq(struct sv a, struct sv b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool sv_starts(struct sv s, struct sv prefix)
{
	return s.len >= prefix.len && memcmp(s.data, prefix.data, prefix.len) == 0;
}

#endif
