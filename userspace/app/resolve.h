/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_RESOLVE_H
#define APP_RESOLVE_H

#include "app/options.h"

/* What a probe list would attach to, without attaching: for `check` and `functions`. */
struct resolve {
	struct plan *plan;
	int processes;	     /* matched */
	struct sbuf skipped; /* JSON objects or lines, as the caller's skipped hook writes them */
};

/* 0; SESSION_MISTAKE when nothing matches although it must (said); SESSION_FAILED. `skipped` may be NULL. */
int resolve_targets(struct resolve *ret, const struct options *o,
		    void (*skipped)(void *arg, struct sv display, struct sv module, const char *why, bool by_name),
		    void *arg, bool must_match);
void resolve_release(struct resolve *r);

#endif
