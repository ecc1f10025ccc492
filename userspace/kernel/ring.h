/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_RING_H
#define KERNEL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sbuf.h"
#include "spanhound/events.h"

/* The ring buffers, one per CPU, and their one consumer. Not libbpf's ring_buffer: a pass over all rings has to end
 * even while producers are faster than we are, and the data pages are mapped once, not twice. */
struct ring_set;

/* `size` bytes for each of `cnt` rings: a power of two and a multiple of the page size. */
int ring_set_open(struct ring_set **ret, unsigned cnt, size_t size, struct sbuf *err);
void ring_set_close(struct ring_set *r); /* NULL is fine */
int ring_set_map_fd(const struct ring_set *r, unsigned i);

typedef void (*ring_record_fn)(void *arg, const struct sh_ev_hdr *record);
struct ring_pass {
	bool whole; /* false: a record under way held up those behind it; the pass says nothing about order */
	bool more;  /* what waited covers more time than one pass takes: the next one is due at once */
};
/* One pass: hands over the oldest records, made before some moment, and returns their number. What happened before a
 * record of one pass is in the same pass or an earlier one, whichever ring it is in: a fork comes no later than the calls
 * of the child, a child no later than its parent. */
size_t ring_set_drain(struct ring_set *r, ring_record_fn fn, void *arg, struct ring_pass *ret);
size_t ring_set_size(const struct ring_set *r); /* bytes of one ring */
/* Bytes waiting in the fullest ring. */
size_t ring_set_backlog(const struct ring_set *r);
/* Until a producer wakes us or `timeout_ns` passed. */
void ring_set_wait(struct ring_set *r, uint64_t timeout_ns);
/* Ends a ring_set_wait() of another thread. Async-signal-safe. */
void ring_set_wake(struct ring_set *r);

struct ring_stats {
	uint64_t records, bytes, wakeups, malformed;
};
void ring_set_stats(const struct ring_set *r, struct ring_stats *ret);

#endif
