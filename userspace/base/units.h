/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

#include "base/sv.h"

/* Numbers with units, as people write them. False: the text is not one. */

/* Digits with at most one point; *ret_rest is what follows, without the spaces between. */
bool units_decimal(struct sv text, double *ret, struct sv *ret_rest);
/* Decimal or 0x. */
bool units_integer(struct sv text, int64_t *ret); /* not INT64_MIN */
bool units_unsigned(struct sv text, uint64_t *ret);
bool units_duration(struct sv text, uint64_t *ret_ns); /* 5ms, 1.5s, 10m */
bool units_size(struct sv text, uint64_t *ret);	       /* bytes: 4096, 64k, 8m, 1g */

#endif
