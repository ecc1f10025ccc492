/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_BODY_H
#define PROBE_BODY_H

#include "binary/ends.h"
#include "binary/lsda.h"
#include "probe/module.h"

/* All the code of one function, for following its control flow: the function, the pieces that compilers and linkers put
 * elsewhere (.cold, hot-cold splitting, BOLT), and its landing pads.
 *
 * Pieces are found by going where the function's jumps go: what lies there is either the start of a known function (a
 * tail call), or taken for a piece. In a stripped file that may also be another function which has no name: then
 * its ends are taken for ends of this one, which is right as well, for what is jumped to returns to the caller. */
struct body {
	struct graph_range ranges[GRAPH_MAX_RANGES];
	const uint8_t *bytes[GRAPH_MAX_RANGES];
	size_t range_cnt;
	struct landing_pads pads;
};

/* Finds the ends of a function in `ret`; none at all for one that never returns. `ret_why` says why they are not provable
 * (they are not to be used then); NULL:
 * they are all there are. 0 or -ENOMEM. All of b, g and ret is scratch, valid when zeroed, kept by the caller. */
int body_find_ends(struct body *b, struct graph *g, struct module *m, const struct symbol *s,
		   const struct cost_kernel *cost, struct ends *ret, const char **ret_why);
void body_release(struct body *b);

#endif
