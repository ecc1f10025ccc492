/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_SAID_H
#define FLOW_SAID_H

#include <stdbool.h>
#include <stdint.h>

/* Spans that headers named, of late: for each process those of requests that came to it, and those that its own requests named.
 * A span that a request names which came with another one is not the program's own: its headers were handed on.
 *
 * A table of fixed size that forgets the oldest of few: SAID_SPANS are remembered if nothing falls together, at least the last
 * SAID_WAYS - 1 in any case. Nothing is allocated after said_new(). Used by one thread. */
#define SAID_WAYS 8
#define SAID_SPANS  32768 /* a power of two; 256 KiB */

struct said;
struct said *said_new(void);	/* NULL when out of memory */
void said_free(struct said *s); /* NULL is fine */

/* Span `span_id` (0: any) of trace `trace_lo`, by or to process `tgid`. Returns whether it was there before. */
bool said_add(struct said *s, uint32_t tgid, uint64_t trace_lo, uint64_t span_id);
bool said_has(const struct said *s, uint32_t tgid, uint64_t trace_lo, uint64_t span_id);

#endif
