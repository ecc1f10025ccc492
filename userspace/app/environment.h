/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_ENVIRONMENT_H
#define APP_ENVIRONMENT_H

#include "base/sbuf.h"
#include "trace/span.h"

/* What Datadog's variables say about requests, in our own environment and in those of the traced processes. */
struct environment {
	struct sbuf requests; /* ours: identify_options.environment */
	struct sbuf said;     /* mistakes, a line each: none is said twice */
};

/* Reads our own; mistakes are said and count as unset. 0 or -ENOMEM. */
int environment_read(struct environment *e);
void environment_release(struct environment *e);
/* Says what is wrong with the settings of a traced process, as actors_options.mistakes tells it. */
void environment_mistakes(struct environment *e, const struct process_info *process, struct sv lines);

#endif
