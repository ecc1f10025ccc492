/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_AGENT_LINK_H
#define TRACE_AGENT_LINK_H

#include "trace/agent_info.h"
#include "trace/sampling/early.h"
#include "trace/stats/payload.h"

/* What the thread that samples and counts and the one that talks to an Agent leave for each other; neither ever waits.
 * Valid when zeroed. */
struct agent_link {
	struct rates_box rates; /* from the Agent */
	struct early *early; /* who is to hear them, too; NULL: nobody. Set before the second thread's first answer */
	struct stats_box stats;	     /* for the Agent */
	struct stats_payload *taken; /* out of the box, not yet sent: the second thread's */
	bool obfuscated;	     /* atomic; the Agent obfuscates as we do: what is counted is ready */
	uint16_t statsd_port;	     /* atomic; of the last answer; 0: not said */
	struct agent_info *info;     /* atomic; from the Agent, left and not yet taken: a reference */
};

/* A new answer to GET /info, or what stands for an Agent that gives none. False: no memory for that. */
bool agent_link_info(struct agent_link *l, struct agent_info *info);
/* The latest one, once: the caller's reference; NULL: nothing new. Costs one load then. An Agent that gives none has no
 * endpoints. */
struct agent_info *agent_link_take_info(struct agent_link *l);
/* The next body for the Agent, now the caller's; NULL: none. */
struct stats_payload *agent_link_next_stats(struct agent_link *l);
void agent_link_release(struct agent_link *l);

#endif
