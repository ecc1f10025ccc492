/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_INQUIRY_H
#define APP_INQUIRY_H

#include "flow/flow.h"

/* What the supervisor wants to know of what belongs to the consumer: it asks, and waits for the end of one of its passes.
 * One question at a time. */

struct session;
struct inquiry;

/* The supervisor's: flow_ask(), once all that the kernel half had written by now is read. Waits a fraction of a second for
 * what is under way: questions may be left unsettled. 0, or -ETIMEDOUT: the consumer makes no progress. */
int inquiry_make(struct session *s, struct flow_question *questions, size_t cnt);

/* The consumer's: at the beginning of a pass, and, when that was not NULL, at its end. */
struct inquiry *inquiry_take(struct session *s);
/* `all`: what had been written when the pass began is read. False: it stays with the consumer until a later pass. */
bool inquiry_answer(struct inquiry *q, struct flow *flow, bool all, uint64_t now_ns);

#endif
