/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_ASSEMBLY_H
#define TRACE_ASSEMBLY_H

#include "trace/span.h"

/* Gathers finished spans into chunks, one per (trace, process). Spans arrive children first, but over several
 * rings: a child may be read after its root. So a chunk whose local root ended is flushed by the next assembly_pass(),
 * each pass being the end of a consistent cut: what happened before a record was read in the same pass or an earlier
 * one. What comes after its root was flushed, lately, makes a chunk that is flushed by the next pass, too. A chunk that
 * is flushed before its local root ended keeps its place and its forgotten calls: only spans that already left cannot
 * be re-parented any more. Used by one thread. After warm-up nothing is allocated: chunks come from a pool. */
struct assembly;

struct assembly_options {
	uint32_t max_chunks;	    /* open (trace, process) pairs; beyond: the new span is dropped{trace_limit} */
	uint32_t max_spans;	    /* spans held in open chunks; beyond: the same */
	uint32_t partial_min_spans; /* flush an open chunk when it holds that many; 0: never (DD_TRACE_PARTIAL_FLUSH_*)
				     */
	uint64_t max_idle_ns;	    /* an open chunk that got nothing for so long is flushed: its root was lost */
	/* Takes ownership of the chunk; it gives it back with chunk_pool_put() when done, from any thread. */
	void (*sink)(void *arg, struct chunk *chunk);
	void *sink_arg;
	struct chunk_pool *pool;
};

/* NULL when out of memory. */
struct assembly *assembly_new(const struct assembly_options *options);
void assembly_free(struct assembly *a); /* NULL is fine; open chunks are discarded: flush first */

/* The zeroed span to fill in, valid until the next call, and its chunk (for the arena); NULL when a limit was hit.
 * `now_ns` is monotonic. */
struct span *assembly_add(struct assembly *a, uint64_t trace_hi, uint64_t trace_lo, struct process_info *process,
			  uint64_t now_ns, struct chunk **ret_chunk);
/* The local root of this chunk is among its spans now. */
void assembly_close(struct assembly *a, struct chunk *chunk);
/* Call `span_id` is not reported: spans already or later seen with it as parent get `parent_id` instead. With
 * `local_root` they become local roots themselves, and the chunk closes as by assembly_close(). */
void assembly_forget(struct assembly *a, uint64_t trace_hi, uint64_t trace_lo, struct process_info *process,
		     uint64_t span_id, uint64_t parent_id, bool local_root, uint64_t now_ns);
void assembly_pass(struct assembly *a, uint64_t now_ns);
/* Everything, closed or not: at the end. */
void assembly_flush(struct assembly *a);

/* added = open_spans + flushed_spans; limit_spans were refused by assembly_add(). */
struct assembly_stats {
	uint64_t open_chunks, open_spans, flushed_chunks, flushed_spans, partial_chunks, idle_chunks;
	uint64_t limit_spans;
	uint64_t reparented;	  /* spans whose parent was forgotten */
	uint64_t open_tombstones; /* forgotten calls of open chunks; at most max_spans */
	uint64_t lost_tombstones; /* beyond the limits: the children keep a parent that is never seen */
};
void assembly_stats(const struct assembly *a, struct assembly_stats *ret_stats);

/* Chunks at rest. One thread gets; any thread puts. They keep their memory, but not for more than
 * about `max_idle` spans all together, each chunk counting for one besides; beyond that they are freed. */
struct chunk_pool;
struct chunk_pool *chunk_pool_new(uint32_t max_idle);
void chunk_pool_free(struct chunk_pool *p);
struct chunk *chunk_pool_get(struct chunk_pool *p); /* empty; NULL when out of memory */
/* In a quiet moment: after a burst of which much was freed, that memory goes back to the system. */
void chunk_pool_trim(struct chunk_pool *p);
/* What spans point to, and no chunk owns, may be freed two ages after the last chunk that may point to it was got: the pool
 * comes of age when all chunks of the age before are back. For the thread that gets. */
uint32_t chunk_pool_age(const struct chunk_pool *p);
/* Begins the next age if it can. */
void chunk_pool_turn(struct chunk_pool *p);
/* The next span of the chunk, zeroed; NULL when out of memory. Moves the others: keep indexes. */
struct span *chunk_add(struct chunk *chunk);
void chunk_pool_put(struct chunk_pool *p, struct chunk *chunk); /* drops its process reference and contents */

#endif
