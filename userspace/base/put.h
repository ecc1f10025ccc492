/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PUT_H
#define BASE_PUT_H

#include <stdint.h>

#include "base/sv.h"

/* Text written where there surely is room for it, without looking: whoever knows how long a line can become reserves
 * that once (sbuf_reserve()) and then pays for the bytes alone. Each returns the place behind what it wrote; nothing is
 * NUL-terminated. */

#define PUT_U64_MAX 20 /* bytes; one more with a sign */
/* A JSON string of `len` bytes with its quotes: at worst each byte becomes "\u00xx". The room must be there even when
 * less comes of it: copying overshoots. */
#define PUT_JSON_MAX(len) (6 * (len) + 2)

char *put_u64(char *at, uint64_t n);   /* decimal */
char *put_hex64(char *at, uint64_t n); /* 16 digits */
/* Well-formed UTF-8 stays; what is not becomes U+FFFD. */
char *put_json(char *at, struct sv s);

static inline char *put_i64(char *at, int64_t n)
{
	if (n < 0)
		*at++ = '-';
	return put_u64(at, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

static inline char *put_sv(char *at, struct sv s)
{
	if (s.len)
		memcpy(at, s.data, s.len);
	return at + s.len;
}

#endif
