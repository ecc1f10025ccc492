/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/span.h"

#include <stdlib.h>

#include "trace/route.h"

struct process_info *process_info_new(void)
{
	struct process_info *p = calloc(1, sizeof(*p));
	if (p)
		p->refs = 1;
	return p;
}

struct process_info *process_info_ref(struct process_info *p)
{
	__atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
	return p;
}

void process_info_unref(struct process_info *p)
{
	/* Release our reads before the last owner frees; acquire those of the others when that is us. */
	if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	const struct routes *held = p->routes[0];
	arena_release(&p->arena);
	free(p);
	routes_let_go(held);
}
