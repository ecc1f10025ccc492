/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_ENVIRONMENT_H
#define APP_ENVIRONMENT_H

#include <pthread.h>

#include "base/sbuf.h"
#include "trace/span.h"

/* What Datadog's variables say, in our own environment and in those of the traced processes. */
struct environment {
	struct sbuf requests; /* ours about requests: identify_options.environment */
	pthread_mutex_t lock; /* of what follows: supervisor and consumer speak */
	struct sbuf said;     /* mistakes and what is not supported, a line each: nothing is said twice */
};

/* Reads our own, and says which of its variables are not obeyed. 0; -EINVAL with a line for each mistake in err;
 * -ENOMEM. */
int environment_read(struct environment *e, struct sbuf *err);
/* Says of a process that was just chosen which of its variables are wrong or not obeyed. */
void environment_of_process(struct environment *e, uint32_t pid, struct sv name, struct sv vars);
void environment_release(struct environment *e);
/* Says what is wrong with the settings of a traced process, as actors_options.mistakes tells it. */
void environment_mistakes(struct environment *e, const struct process_info *process, struct sv lines);

#endif
