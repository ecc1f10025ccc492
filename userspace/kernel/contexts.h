/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_CONTEXTS_H
#define KERNEL_CONTEXTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spanhound/context.h"

/* What threads and goroutines do at this moment, read from the kernel half's maps while it goes on writing them: nothing
 * there is changed or locked, and no table's order of use is touched. */

struct context_now {
	struct sh_span_context work; /* the request worked for; span_id 0: none */
	bool answered;		     /* its response has begun: what is asked for now may be for another */
	struct sh_span_context call; /* the innermost probed function that is open in it; span_id 0: none */
	uint32_t func;		     /* which one: an index as in struct sh_ev_call */
	uint64_t call_ns;	     /* when it was entered, monotonic */
	uint64_t goroutine;	     /* its number; 0: of a thread */
};

/* The maps, borrowed: kernel_context_maps(). */
struct context_maps {
	int contexts, tasks; /* descriptors */
	size_t context_sz;   /* bytes of a value of contexts */
};

/* Of thread tids[i] of process tgid into ret[i], zeroed where it is in nothing. 0 or -ENOMEM. */
int contexts_of_threads(const struct context_maps *m, uint32_t tgid, const uint32_t *tids, size_t cnt,
			struct context_now *ret);
/* The goroutines that a request was last seen worked for in, at most `max`, in no order. It may be over: only who knows the
 * requests under way can tell. Their number, or -errno. */
int contexts_of_goroutines(const struct context_maps *m, uint32_t tgid, struct context_now *ret, size_t max);

#endif
