/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Go's own HTTP client: net/http's Transport has each connection's requests written by a goroutine of the connection's.
 *
 *   goroutine_give  (*persistConn).roundTrip, in the goroutine that asks
 *   goroutine_take  persistConnWriter.Write, in the one that writes
 *
 * Both have the connection as their first argument, and a connection has one request at a time. Where Go grows a stack it
 * calls the function anew: either may be seen twice.
 */
#include "task.bpf.h"

/* False: no goroutine that can be told from others. */
static __always_inline bool task_here(struct pt_regs *regs, struct sh_task *ret, struct sh_task *ret_given)
{
	u32 tgid = execution_key() >> 32, space = task_space();
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (!process)
		return false;
	*ret = (struct sh_task){
		.id = goroutine_number(goroutine_of_call(regs), process->flags), .tgid = tgid, .space = space};
	*ret_given = (struct sh_task){.id = goroutine_argument(regs), .tgid = tgid, .space = space | SH_TASK_GIVEN};
	return ret->id != 0;
}

SEC("?uprobe") int goroutine_give(struct pt_regs *regs)
{
	struct sh_task task, given;
	struct sh_task_work nothing = {};

	if (!task_here(regs, &task, &given))
		return 0;
	struct sh_task_work *work = bpf_map_lookup_elem(&tasks, &task);
	/* Nothing is given, too: the writer has to hear of it. */
	bpf_map_update_elem(&tasks, &given, work ? work : &nothing, BPF_ANY);
	return 0;
}

SEC("?uprobe") int goroutine_take(struct pt_regs *regs)
{
	struct sh_task task, given;

	if (!task_here(regs, &task, &given))
		return 0;
	struct sh_task_work *work = bpf_map_lookup_elem(&tasks, &given);
	if (!work) /* more of the same request */
		return 0;
	struct sh_task_work taken = {.base = work->base, .flags = SH_BASE_LINK(SH_LINK_HANDOFF)};
	bpf_map_delete_elem(&tasks, &given);
	if (taken.base.span_id)
		bpf_map_update_elem(&tasks, &task, &taken, BPF_ANY);
	else
		bpf_map_delete_elem(&tasks, &task);
	return 0;
}
