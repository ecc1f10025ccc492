/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Births, deaths and changes of image of the chosen processes, as the kernel reports them: nothing is polled. */
#include "frames.bpf.h"

#define SIGSTOP 19 /* asm-generic/signal.h; x86 and arm64 alike */

static __always_inline void context_retire(u64 key)
{
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c)
		return;
	frames_leave(c, key, 0, SH_CALL_UNFINISHED);
	__sync_fetch_and_add(&shared.seen, c->seen);
	bpf_map_delete_elem(&contexts, &key);
}

/* The number of a new process as execution_key() will say it; 0: it is in another PID namespace. */
static __always_inline u32 child_tgid(struct task_struct *child)
{
	if (!settings.pid_ns_ino)
		return BPF_CORE_READ(child, tgid);
	struct pid *pid = BPF_CORE_READ(child, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	struct upid number = {};
	if (level > 32) /* MAX_PID_NS_LEVEL, include/linux/pid_namespace.h */
		return 0;
	void *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * sizeof(number);
	if (bpf_probe_read_kernel(&number, sizeof(number), at) ||
	    BPF_CORE_READ(number.ns, ns.inum) != settings.pid_ns_ino)
		return 0;
	return number.nr;
}

/* trace_sched_process_fork(parent, child): in the parent, before the child runs for the first time. A child process is
 * chosen with its parent, and goes on inside the calls that were open at the fork. */
SEC("?raw_tp/sched_process_fork") int process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *child = (void *)ctx->args[1];
	u64 key = execution_key();
	u32 parent = key >> 32;

	if (BPF_CORE_READ(child, tgid) == bpf_get_current_pid_tgid() >> 32) /* a thread */
		return 0;
	struct sh_process *p = bpf_map_lookup_elem(&processes, &parent);
	u32 tgid = p ? child_tgid(child) : 0;
	if (!tgid)
		return 0;
	u32 pid = tgid; /* its first thread's */
	struct sh_process copy = *p;
	bpf_map_update_elem(&processes, &tgid, &copy, BPF_ANY);
	emit_process(SH_EV_FORK, tgid, pid, parent);

	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!c || (!c->depth && !c->base.span_id))
		return 0;
	u64 child_key = (u64)tgid << 32 | pid;
	bpf_map_update_elem(&contexts, &child_key, c, BPF_ANY);
	c = bpf_map_lookup_elem(&contexts, &child_key);
	if (!c)
		return 0;
	c->seen = 0;
	c->rng = random_u64();
	c->base_sock = c->open = c->deferred = 0;
	c->inherited = c->depth;
	c->base_flags |= SH_BASE_FORKED;
	/* What the arena holds values of are the parent's calls, and its to report. */
	c->arena_top = 0;
	return 0;
}

/* Is the program that was just executed one of those whose processes are all chosen? */
static __always_inline struct sh_process *image_chosen(void)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct inode *inode = BPF_CORE_READ(t, mm, exe_file, f_inode);
	struct sh_image key = {.ino = BPF_CORE_READ(inode, i_ino), .dev = BPF_CORE_READ(inode, i_sb, s_dev)};
	return bpf_map_lookup_elem(&images, &key);
}

/* trace_sched_process_exec(task, old_pid, bprm): the thread that executed is the only one left and has the leader's pid. */
SEC("?raw_tp/sched_process_exec") int process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = execution_key();
	u32 tgid = key >> 32;
	/* What another thread than the first was called in an inner PID namespace is not known any more: what was open in
	 * it is then reported at the end. */
	u64 old_key = !settings.pid_ns_ino ? (u64)tgid << 32 | (u32)ctx->args[1] : key;

	if (shared.stop_at_exec && shared.stop_at_exec == tgid) {
		shared.stop_at_exec = 0;
		bpf_send_signal(SIGSTOP);
	}
	struct sh_process *p = bpf_map_lookup_elem(&processes, &tgid);
	if (p) {
		context_retire(old_key);
		/* Of the other program it is not known what it does on its sockets. */
		__sync_fetch_and_and(&p->flags, ~(SH_PROCESS_INJECT | SH_PROCESS_WATCH));
		p->watched = (struct sh_watched){};
		if (!(p->flags & SH_PROCESS_KEEP_EXEC))
			bpf_map_delete_elem(&processes, &tgid);
	}
	if (p || (shared.watch_exec && tgid))
		emit_process(SH_EV_EXEC, tgid, (u32)key, 0);
	/* At once, for its first calls; user space looks at it in its own time and may decide otherwise. */
	struct sh_process *image = image_chosen();
	if (image) {
		struct sh_process copy = *image;
		bpf_map_update_elem(&processes, &tgid, &copy, BPF_NOEXIST);
	}
	return 0;
}

/* trace_sched_process_exit(task): each thread, however it ends. */
SEC("?raw_tp/sched_process_exit") int process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *t = (void *)ctx->args[0];
	u64 key = execution_key();
	u32 tgid = key >> 32;

	if (!process_chosen(tgid))
		return 0;
	context_retire(key);
	if (BPF_CORE_READ(t, signal, live.counter) > 0)
		return 0;
	bpf_map_delete_elem(&processes, &tgid);
	emit_process(SH_EV_EXIT, tgid, (u32)key, BPF_CORE_READ(t, exit_code));
	return 0;
}

/* _dl_debug_state() of the dynamic loader, which it calls for debuggers whenever the set of libraries changed. */
SEC("?uprobe") int process_map(struct pt_regs *regs)
{
	u64 key = execution_key();
	if (process_chosen(key >> 32))
		emit_process(SH_EV_MAP, key >> 32, (u32)key, 0);
	return 0;
}
