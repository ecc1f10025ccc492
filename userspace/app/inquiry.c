/* SPDX-License-Identifier: Apache-2.0 */
#include "app/inquiry.h"

#include <errno.h>
#include <semaphore.h>

#include "app/session_private.h"
#include "base/clock.h"

#define TAKEN_S	  5			/* until the consumer makes a pass; it makes one each 200 ms, loaded or not */
#define SETTLE_NS (300 * NSEC_PER_MSEC) /* requests whose writer is still looked for, or that are not read yet */

struct inquiry {
	struct flow_question *questions;
	size_t cnt;
	uint64_t due_ns;
	sem_t answered;
};

int inquiry_make(struct session *s, struct flow_question *questions, size_t cnt)
{
	struct inquiry q = {.questions = questions, .cnt = cnt, .due_ns = clock_mono_ns() + SETTLE_NS}, *mine = &q;
	struct timespec until;
	int rc = 0;
	sem_init(&q.answered, 0, 0);
	atomic_store(&s->inquiry, &q);
	ring_set_wake(kernel_rings(s->kernel));
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TAKEN_S;
	while (sem_timedwait(&q.answered, &until) < 0) {
		if (errno != ETIMEDOUT)
			continue;
		if (atomic_compare_exchange_strong(&s->inquiry, &mine, NULL)) {
			rc = -ETIMEDOUT;
			break;
		}
		/* It has it, and answers: it may not be taken away from it. */
		mine = &q;
		until.tv_sec += TAKEN_S;
	}
	sem_destroy(&q.answered);
	return rc;
}

struct inquiry *inquiry_take(struct session *s)
{
	if (!atomic_load_explicit(&s->inquiry, memory_order_relaxed))
		return NULL;
	return atomic_exchange(&s->inquiry, NULL);
}

bool inquiry_answer(struct inquiry *q, struct flow *flow, bool all, uint64_t now_ns)
{
	bool due = now_ns >= q->due_ns;
	if (!all && !due)
		return false;
	flow_ask(flow, q->questions, q->cnt, now_ns);
	for (size_t i = 0; i < q->cnt && !due; i++)
		if (!q->questions[i].settled || (q->questions[i].expected && !q->questions[i].request))
			return false;
	sem_post(&q->answered);
	return true;
}
