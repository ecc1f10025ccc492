/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PROPAGATION_B3_H
#define TRACE_PROPAGATION_B3_H

#include "trace/propagation/propagation.h"

/* What the two B3 styles share. */

/* Hex ids as Python's int(text, 16) reads them; data NULL: none. False when one is not a number. */
bool b3_read_ids(struct sv trace_id, struct sv span_id, struct propagation_context *ctx);
/* 32 digits when there is an upper half, else 16. */
void b3_write_trace_id(const struct propagation_context *ctx, struct sbuf *out);

#endif
