/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef GUARD_BPF_H
#define GUARD_BPF_H

#include "connection.bpf.h"
#include "syscall.bpf.h"

/* A process whose sockets are in the map of those whose writes are seen first begins to do what such sockets do not carry on this
 * kernel. It gets no more headers from here on, and the user half takes its sockets out (app/injection.h). */

#define FIONREAD    0x541b /* asm-generic/ioctls.h */
#define MSG_WAITALL 0x100

int guard_turned(u64 key, u32 fd, u32 does);

/* On its own, and seldom called. */
GLOBAL int guard_turned(u64 key, u32 fd, u32 does)
{
	struct socket_place socket = {};
	u32 tgid = key >> 32;

	if (!socket_of_fd(fd, &socket) || socket.family == AF_UNIX)
		return 0;
	struct sh_conn *conn = conn_get(&socket);
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!conn || conn->flags & SH_CONN_FLAG_SERVER || conn->inject & SH_CONN_INJECT_OFF || !process ||
	    !(process->flags & SH_PROCESS_INJECT))
		return 0;
	process->flags &= ~SH_PROCESS_INJECT;
	emit_process(SH_EV_TURN, tgid, (u32)key, does);
	return 0;
}

static __always_inline void guard_look(const struct syscall *call, u64 key, u32 does)
{
	u32 injects = call->process & (SH_PROCESS_INJECT | SH_PROCESS_INJECT_VERDICT);
	if (settings.lacks & does && injects == SH_PROCESS_INJECT)
		guard_turned(key, call->args[0], does);
}

#endif
