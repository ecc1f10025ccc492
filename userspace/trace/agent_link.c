/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/agent_link.h"

bool agent_link_info(struct agent_link *l, struct agent_info *info)
{
	struct sbuf err = {0};
	if (info)
		agent_info_ref(info);
	else if (agent_info_parse(&info, SV("{}"), &err) < 0)
		info = NULL;
	sbuf_release(&err);
	if (!info)
		return false;
	__atomic_store_n(&l->statsd_port, info->statsd_port, __ATOMIC_RELAXED);
	agent_info_unref(__atomic_exchange_n(&l->info, info, __ATOMIC_ACQ_REL));
	return true;
}

struct agent_info *agent_link_take_info(struct agent_link *l)
{
	if (!__atomic_load_n(&l->info, __ATOMIC_RELAXED))
		return NULL;
	return __atomic_exchange_n(&l->info, NULL, __ATOMIC_ACQ_REL);
}

struct stats_payload *agent_link_next_stats(struct agent_link *l)
{
	if (!l->taken)
		l->taken = stats_box_take(&l->stats);
	struct stats_payload *p = l->taken;
	if (p)
		l->taken = p->next;
	return p;
}

void agent_link_release(struct agent_link *l)
{
	struct stats_payload *p;
	while ((p = agent_link_next_stats(l)))
		stats_payload_free(p);
	rates_box_release(&l->rates);
	stats_box_release(&l->stats);
	agent_info_unref(l->info);
	*l = (struct agent_link){0};
}
