/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef GUARD_BPF_H
#define GUARD_BPF_H

#include "connection.bpf.h"
#include "io.bpf.h"
#include "syscall.bpf.h"

/* What processes do on their sockets that those in the map, whose writes are seen first, do not carry on this kernel.
 *
 * Who begins to do it with sockets there gets no more headers from here on, and the user half takes them out (app/injection.h). Of
 * whom it is not known is watched before any is there (SH_PROCESS_WATCH). */

#define FIONREAD    0x541b /* asm-generic/ioctls.h */
#define FIONBIO	    0x5421
#define F_SETFL	    4 /* asm-generic/fcntl.h */
#define MSG_WAITALL 0x100

int guard_turned(u64 key, u32 fd, u32 does);
int guard_watch(struct io *io);
int guard_waits(u64 key, u32 fd);

/* On its own, and seldom called. */
GLOBAL int guard_turned(u64 key, u32 fd, u32 does)
{
	struct socket_place socket = {};
	u32 tgid = key >> 32;

	if (!socket_of_fd(fd, &socket) || socket.family == AF_UNIX)
		return 0;
	struct sh_conn *conn = conn_get(&socket);
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process || !(process->flags & (SH_PROCESS_INJECT | SH_PROCESS_WATCH)) ||
	    (conn && (conn->flags & SH_CONN_FLAG_SERVER || conn->inject & SH_CONN_INJECT_OFF)))
		return 0;
	bool watched = process->flags & SH_PROCESS_WATCH;
	if (!conn && !watched)
		return 0;
	__sync_fetch_and_and(&process->flags, ~(SH_PROCESS_INJECT | SH_PROCESS_WATCH));
	process->watched.does |= does;
	emit_process(SH_EV_TURN, tgid, (u32)key, does | (watched ? SH_DOES_WATCHED : 0));
	return 0;
}

/* Did it take as much as the caller had room for? */
static __always_inline bool is_filled(const struct io *io)
{
	u64 room = 0;
	if (io->form == SH_SYS_BUFFER)
		return io->len == io->count;
	for (u32 i = 0; i < SH_MAX_IOVECS; i++) {
		struct user_iovec v;
		if (i >= io->count || room > io->len ||
		    bpf_probe_read_user(&v, sizeof(v), (void *)(io->data + i * sizeof(v))))
			break;
		room += v.len;
	}
	return room == io->len;
}

/* A read of a process that is watched. */
GLOBAL int guard_watch(struct io *io)
{
	if (!io || io->socket.family == AF_UNIX || io->form == SH_SYS_FILE)
		return 0;
	u32 tgid = io->key >> 32;
	struct sh_conn *conn = conn_get(&io->socket);
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!conn || conn->protocol != SH_PROTO_HTTP1 || conn->flags & SH_CONN_FLAG_SERVER || !process)
		return 0;
	__sync_fetch_and_add(&process->watched.reads, 1);
	if (is_filled(io))
		__sync_fetch_and_add(&process->watched.filled, 1);
	if (process->watched.reads < SH_WATCH_READS || process->watched.filled < SH_WATCH_FILLED ||
	    !(__sync_fetch_and_and(&process->flags, ~SH_PROCESS_WATCH) & SH_PROCESS_WATCH))
		return 0;
	__sync_fetch_and_or(&process->flags, SH_PROCESS_INJECT);
	emit_process(SH_EV_TURN, tgid, (u32)io->key, SH_DOES_WATCHED);
	return 0;
}

/* A socket that may be in the map was told to wait from now on when it is read. The next ones of its process will be, too, once they
 * are there. */
GLOBAL int guard_waits(u64 key, u32 fd)
{
	struct socket_place socket = {};
	u32 tgid = key >> 32;

	if (!socket_of_fd(fd, &socket) || socket.family == AF_UNIX || !socket_waits(socket.sk))
		return 0;
	struct sh_conn *conn = conn_get(&socket);
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (conn && conn->flags & SH_CONN_FLAG_CONNECT && process && !process->may_wait)
		guard_turned(key, fd, SH_DOES_BLOCK);
	return 0;
}

static __always_inline void guard_look_waits(const struct syscall *call, u64 key)
{
	if (settings.lacks & SH_DOES_BLOCK && call->process & (SH_PROCESS_INJECT | SH_PROCESS_WATCH))
		guard_waits(key, call->args[0]);
}

/* Is a connection that is begun not to be enrolled? In connect(2). */
static __always_inline bool guard_leaves_out(const struct sh_process *process, struct sock *sk)
{
	if (!(settings.lacks & SH_DOES_BLOCK) || !(process->flags & SH_PROCESS_INJECT) || process->may_wait ||
	    !socket_waits(sk))
		return false;
	__sync_fetch_and_add(&shared.injects[SH_INJECT_blocking], 1);
	return true;
}

static __always_inline void guard_look(const struct syscall *call, u64 key, u32 does)
{
	u32 who = call->process & (SH_PROCESS_INJECT | SH_PROCESS_INJECT_VERDICT | SH_PROCESS_WATCH);
	if (settings.lacks & does && (who == SH_PROCESS_INJECT || who == SH_PROCESS_WATCH))
		guard_turned(key, call->args[0], does);
}

#endif
