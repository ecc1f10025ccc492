/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes on the stream sockets of chosen processes. At a system call's exit the saved registers still hold its arguments, so
 * one hook sees who read or wrote how much of what on which socket; nothing is remembered from entry to exit.
 *
 *   socket_exit    every system call's exit: of chosen processes those that SH_SYS_* knows
 *   socket_state   TCP's state changes: connect, shutdown, reset
 *   socket_destroy TCP's sockets are freed
 */
#include "cause.bpf.h"
#include "guard.bpf.h"
#include "heard.bpf.h"
#include "incoming.bpf.h"
#include "io.bpf.h"
#include "learn.bpf.h"
#include "syscall.bpf.h"
#include "task.bpf.h"

#define MSG_OOB	   0x01
#define MSG_PEEK   0x02
#define MSG_TRUNC  0x20

#define MAX_MISSES 8 /* messages of an unknown protocol, after which a connection is not looked at any more */

/* Each a global function: verified once, on its own, whatever is around it. */
int answer_learned(struct io *io, struct sh_conn *conn, u32 certain);
int socket_io(struct io *io);
int socket_emit(struct io *io);
int socket_ended(struct io *io, u32 error);

/* --- records ------------------------------------------------------------------------------------------------------ */

static __always_inline void data_head(struct sh_ev_data *e, struct io *io, struct sh_conn *conn)
{
	e->hdr.kind = SH_EV_DATA;
	e->hdr.flags = (io->direction == DIR_WRITE ? SH_DATA_WRITE : 0) |
		       (conn->flags & SH_CONN_FLAG_LOST ? SH_DATA_LOST : 0) |
		       (io->form == SH_SYS_FILE ? SH_DATA_UNSEEN : 0);
	e->conn = conn->id;
	e->time_ns = bpf_ktime_get_ns();
	e->tgid = io->key >> 32;
	e->tid = (u32)io->key;
	e->len = io->len;
	e->seq = io_seq(io);
	if (io->direction == DIR_WRITE && conn->inject & SH_CONN_INJECT_PENDING)
		e->seq -= conn->pushed; /* which the system call's result does not count */
	e->copied = 0;
	e->link = 0;
	e->number = ++conn->number;
	e->priority = 0;
	e->decided = e->mechanism = 0;
	e->rate = 0;
	__builtin_memset(e->pad, 0, sizeof(e->pad));
	__builtin_memset(&e->self, 0, sizeof(e->self) + sizeof(e->parent_id));
}

static __always_inline void data_emit(struct data_scratch *s, struct sh_conn *conn)
{
	u32 size = sizeof(s->event) + ((s->event.copied + 7) & ~7u);
	void *ring = ring_here();

	if (size > sizeof(s->event) + SH_MAX_HEAD)
		return;
	if (settings.option && s->event.hdr.flags & SH_DATA_OPTION)
		size += sizeof(struct sh_ev_option);
	s->event.hdr.size = size;
	conn->flags &= ~SH_CONN_FLAG_LOST;
	if (ring && !bpf_ringbuf_output(ring, s, size, wakeup_flags()))
		return;
	conn->flags |= SH_CONN_FLAG_LOST;
	if (s->event.hdr.flags & SH_DATA_REQUEST)
		__sync_fetch_and_add(&shared.drops[SH_DROP_ring_full], 1);
	else
		__sync_fetch_and_add(&shared.data_lost, 1);
}

static __always_inline void io_emit(struct io *io, struct sh_conn *conn, struct data_scratch *s)
{
	if (!(conn->flags & SH_CONN_FLAG_TOLD))
		conn_tell(conn, io->socket.sk, io->key);
	data_emit(s, conn);
	if (io->direction == DIR_WRITE && conn->inject & SH_CONN_INJECT_PENDING)
		conn->inject &= ~(SH_CONN_INJECT_PENDING | SH_CONN_INJECT_ENTERED);
}

/* Takes note of the message's first four bytes as they come. */
static __always_inline u32 message_kind(struct sh_conn *conn, const u8 *bytes, u32 len)
{
	u32 cnt = conn->first_cnt;

	if (!cnt && len >= 4) {
		__builtin_memcpy(&conn->first, bytes, 4);
		conn->first_cnt = 4;
		return looks_like(conn->first);
	}
	for (u32 i = 0; i < 4; i++)
		if (i < len && cnt < 4) {
			conn->first |= (u32)bytes[i] << (8 * cnt & 31);
			cnt++;
		}
	conn->first_cnt = cnt;
	return cnt < 4 ? LOOKS_UNDECIDED : looks_like(conn->first);
}

/* After this response the connection speaks something else: 101, or 2xx to CONNECT (RFC 9110, 15.2.2 and 9.3.6). */
static __always_inline bool leaves_http(const struct sh_conn *conn, const u8 *bytes, u32 copied)
{
	if (copied < 12)
		return false;
	if (conn->flags & SH_CONN_FLAG_TUNNEL && bytes[9] == '2')
		return true;
	return bytes[9] == '1' && bytes[10] == '0' && bytes[11] == '1';
}

/* On a connection one side asks and the other one answers: what looks otherwise is a part of a body. */
static __always_inline u32 fitting(u32 kind, bool http, bool requests)
{
	bool other = http && ((kind == LOOKS_REQUEST && !requests) || (kind == LOOKS_RESPONSE && requests));
	return other ? LOOKS_OTHER : kind;
}

/* On a connection that is older than us. */
GLOBAL int answer_learned(struct io *io, struct sh_conn *conn, u32 certain)
{
	if (io && conn)
		learn_answer(conn, io->socket.sk, certain);
	return 0;
}

/* The empty line is the last thing of what passed. */
static __always_inline bool ends_head(const struct data_scratch *s, u32 copied, u32 len)
{
	u32 end;

	if (copied == len && copied >= 4) {
		u32 at = copied - 4;
		AT_MOST_AGAIN(at, SH_MAX_HEAD);
		__builtin_memcpy(&end, s->bytes + at, 4);
	} else {
		__builtin_memcpy(&end, s->event.tail + SH_TAIL_LEN - 4, 4);
		if (s->event.tail_len != SH_TAIL_LEN)
			return false;
	}
	return end == FOUR('\r', '\n', '\r', '\n');
}

static __always_inline bool request_puts_off(const struct io *io, bool get, const struct data_scratch *s, u32 copied)
{
	return get ? ends_head(s, copied, io->len) : !(io->process & SH_PROCESS_AT_ONCE);
}

/* False: nothing of these bytes matters. */
static __always_inline bool conn_follow(struct io *io, struct sh_conn *conn, struct data_scratch *s)
{
	bool turn = conn->direction != io->direction;
	bool http = conn->protocol == SH_PROTO_HTTP1;
	bool requests = conn->flags & SH_CONN_FLAG_SERVER ? io->direction == DIR_READ : io->direction == DIR_WRITE;
	u32 want = turn ? settings.head : conn->budget;
	bool begins = turn || (http && conn->first_cnt == 4);

	/* A message may follow another one without an answer between them: pipelined requests, 100 and then 200. */
	bool look = begins && (requests || conn->first_cnt == 4);
	bool few = io->len <= SH_TAIL_LEN; /* all of them, as of longer pieces the end: the last chunk may be alone */
	u32 copied = io_copy(io, s, (few || look) && want < SH_TAIL_LEN ? SH_TAIL_LEN : want);
	u32 kind, before = conn->first_cnt;
	if (begins) {
		u32 first = conn->first;
		conn->first = conn->first_cnt = 0;
		kind = fitting(message_kind(conn, s->bytes, copied), http, requests);
		if (!turn && kind != LOOKS_REQUEST && kind != LOOKS_RESPONSE) { /* more of the same message */
			conn->first = first;
			conn->first_cnt = before;
			kind = LOOKS_OTHER;
			begins = false;
		} else if (!turn && !want) {
			want = settings.head;
			copied = io_copy(io, s, want);
		}
	} else {
		kind = fitting(message_kind(conn, s->bytes, copied), http, requests);
		if (before == 4)
			kind = LOOKS_OTHER;
	}
	conn->direction = io->direction;
	if (settings.inject && io->direction == DIR_READ && io->socket.family != AF_UNIX)
		conn->heard_seq = io_written(io->socket.sk);
	if (begins)
		want = settings.head;
	if (begins && kind == LOOKS_OTHER)
		want = 0; /* a body, after 100 Continue */
	if (copied > want && !few)
		copied = want;
	conn->budget = want > copied ? want - copied : 0;

	if (!http && kind == LOOKS_OTHER) {
		if (++conn->misses >= MAX_MISSES)
			conn->protocol = SH_PROTO_OTHER;
		return false;
	}
	data_head(&s->event, io, conn);
	s->event.copied = copied;
	if (begins)
		s->event.hdr.flags |= SH_DATA_START;
	if (kind == LOOKS_REQUEST) {
		conn->protocol = SH_PROTO_HTTP1;
		conn->flags &= ~SH_CONN_FLAG_TUNNEL;
		if (conn->first == FOUR('C', 'O', 'N', 'N'))
			conn->flags |= SH_CONN_FLAG_TUNNEL;
		io->puts_off = request_puts_off(io, conn->first == FOUR('G', 'E', 'T', ' '), s, copied);
		exchange_begin(io, conn, &s->event);
	} else if (kind == LOOKS_RESPONSE) {
		if (!http && io->direction == DIR_WRITE) /* to a request from before the attach */
			conn->flags |= SH_CONN_FLAG_SERVER;
		conn->protocol = SH_PROTO_HTTP1;
		bool last = copied < 10 || s->bytes[9] != '1'; /* 1xx: there is more to come */
		if (last && io->direction == DIR_READ && io->socket.family == AF_UNIX)
			unix_answer_read(conn);
		if (last && io->direction == DIR_READ && settings.inject)
			answer_learned(io, conn, begins && copied >= 12);
		exchange_goes_on(io, conn, last);
	} else if (http && kind == LOOKS_OTHER && io->direction == DIR_READ) {
		exchange_goes_on(io, conn, false);
	}
	return true;
}

/* The record of a request is made, and may have to name another trace before it is emitted. */
enum { IO_REQUEST = 1, IO_REQUEST_OTHERWISE /* with SH_PROCESS_READS_OTHERWISE */ };

/* 0, or one of these. */
GLOBAL int socket_io(struct io *io)
{
	u32 zero = 0;

	if (!io)
		return 0;
	struct sh_conn *conn = conn_get(&io->socket);
	if (!conn)
		conn = conn_make(io->socket.sk, io->socket.ino, io->socket.family, io->key >> 32);
	if (!conn)
		return 0;
	if (conn->protocol == SH_PROTO_OTHER)
		return talk_goes_on(io, conn);
	if (conn->flags & SH_CONN_FLAG_LEAVES && (conn->direction != io->direction || !conn->budget)) {
		conn->protocol = SH_PROTO_OTHER;
		return 0;
	}
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return 0;
	if (!conn_follow(io, conn, s))
		return talk_goes_on(io, conn);
	if (wants_remote(io, s))
		return io->process & SH_PROCESS_READS_OTHERWISE ? IO_REQUEST_OTHERWISE : IO_REQUEST;
	io_emit(io, conn, s);
	if (conn->first == FOUR('H', 'T', 'T', 'P') && s->event.hdr.flags & SH_DATA_START &&
	    leaves_http(conn, s->bytes, s->event.copied))
		conn->flags |= SH_CONN_FLAG_LEAVES; /* its head may go on */
	return 0;
}

GLOBAL int socket_emit(struct io *io)
{
	u32 zero = 0;

	if (!io)
		return 0;
	struct sh_conn *conn = conn_get(&io->socket);
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	if (conn && s)
		io_emit(io, conn, s);
	return 0;
}

/* Calls one beside the other: one within the other they would not fit the stack. */
static __always_inline int socket_pass(struct io *io)
{
	int what = socket_io(io);
	if (!what)
		return 0;
	request_head();
	if (what == IO_REQUEST_OTHERWISE)
		request_otherwise();
	request_remote();
	request_carry();
	request_carry_more();
	if (settings.option)
		option_take(io);
	request_keep(io);
	return socket_emit(io);
}

/* End of file, or an error that ends the connection. */
GLOBAL int socket_ended(struct io *io, u32 error)
{
	u32 zero = 0;

	if (!io)
		return 0;
	struct sh_conn *conn = conn_get(&io->socket);
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!conn || !s || conn->protocol != SH_PROTO_HTTP1)
		return 0;
	if (conn->reader && io->socket.family == AF_UNIX) /* of which no other end is seen */
		conn_answered(conn);
	io->len = 0;
	s->event.tail_len = 0;
	data_head(&s->event, io, conn);
	s->event.hdr.flags |= error ? SH_DATA_ERROR : SH_DATA_END;
	s->event.len = error;
	data_emit(s, conn);
	return 0;
}

/* --- hooks -------------------------------------------------------------------------------------------------------- */

static __always_inline bool ends_connection(s64 ret)
{
	return ret == -ECONNRESET || ret == -EPIPE || ret == -ETIMEDOUT || ret == -EHOSTUNREACH || ret == -ENETUNREACH;
}

/* One struct msghdr: where its bytes are. */
static __always_inline bool io_message(struct io *io, u64 msghdr)
{
	struct user_msghdr m;
	if (bpf_probe_read_user(&m, sizeof(m), (void *)msghdr))
		return false;
	io->form = SH_SYS_VECTOR;
	io->data = m.iov;
	io->count = m.iovlen;
	return true;
}

#define MMSGHDR_SZ  64 /* struct mmsghdr: a struct msghdr of 56 bytes, then the length */
#define MMSGHDR_LEN 56
#define MAX_MMSG    4

static __always_inline int socket_messages(struct io *io, const struct syscall *call)
{
	for (u32 i = 0; i < MAX_MMSG; i++) {
		u64 at = call->args[1] + i * MMSGHDR_SZ;
		u32 len = 0;
		if (i >= call->ret || bpf_probe_read_user(&len, sizeof(len), (void *)(at + MMSGHDR_LEN)) || !len ||
		    !io_message(io, at))
			break;
		io->len = len;
		socket_pass(io);
	}
	return 0;
}

static __always_inline struct io *io_make(const struct syscall *call, u64 key)
{
	u32 zero = 0;
	struct data_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return NULL;
	__builtin_memset(&s->io, 0, sizeof(s->io));
	s->io.key = key;
	s->io.process = call->process;
	return &s->io;
}

static __always_inline int socket_call(const struct syscall *call, u64 key)
{
	struct io *io = io_make(call, key);
	u32 form = call->what & SH_SYS_FORM;
	u32 flags = call->what & SH_SYS_FLAGS ? call->args[3] : form == SH_SYS_MESSAGE ? call->args[2] : 0;

	if (flags & MSG_WAITALL && !(call->what & SH_SYS_WRITE))
		guard_look(call, key, SH_DOES_WAIT);
	if (!io || flags & (MSG_PEEK | MSG_OOB))
		return 0;
	io->data = call->args[1];
	io->count = call->args[2];
	io->form = form;
	io->direction = call->what & SH_SYS_WRITE ? DIR_WRITE : DIR_READ;
	if (!socket_of_fd(call->args[0], &io->socket)) {
		/* An event loop hears of what other threads finished, a lookup of a name, and goes on with that. */
		if (io->socket.event && io->direction == DIR_READ)
			context_idle(key, false);
		return 0;
	}
	if (call->ret <= 0) {
		if (call->ret < 0 || (io->direction == DIR_READ && form == SH_SYS_BUFFER && io->count))
			return socket_ended(io, -call->ret);
		return 0;
	}
	if (form == SH_SYS_MESSAGES)
		return socket_messages(io, call);
	io->len = call->ret;
	if (flags & MSG_TRUNC)
		io->form = SH_SYS_FILE;
	else if (form == SH_SYS_MESSAGE && !io_message(io, call->args[1]))
		return 0;
	socket_pass(io);
	return call->process & SH_PROCESS_WATCH && io->direction == DIR_READ ? guard_watch(io) : 0;
}

static __always_inline int splice_call(const struct syscall *call, u64 key)
{
	struct io *io = io_make(call, key);

	if (!io || call->ret <= 0)
		return 0;
	io->form = SH_SYS_FILE;
	io->len = call->ret;
	io->direction = DIR_READ;
	if (!socket_of_fd(call->args[0], &io->socket)) {
		io->direction = DIR_WRITE;
		if (!socket_of_fd(call->args[2], &io->socket))
			return 0;
	}
	return socket_pass(io);
}

#define SOL_SOCKET 1 /* asm-generic/socket.h */
#define SO_ERROR   4

/* An event loop learns that the connect() it had begun is through, and goes on with what that was for. */
static __always_inline int option_call(const struct syscall *call, u64 key)
{
	struct socket_place socket;

	if (call->ret || call->args[1] != SOL_SOCKET || call->args[2] != SO_ERROR ||
	    !socket_of_fd(call->args[0], &socket))
		return 0;
	struct sh_conn *conn = conn_get(&socket);
	struct sh_context *c = bpf_map_lookup_elem(&contexts, &key);
	if (!conn || !c || !(conn->flags & SH_CONN_FLAG_CONNECT))
		return 0;
	if (c->base_sock)
		base_left(c, key);
	go_back(c, conn);
	return 0;
}

/* A Unix socket, known before its first request: whoever reads that may be faster than the system call that writes it. */
static __always_inline struct sh_conn *unix_begins(u32 fd, u64 key)
{
	struct socket_place socket;

	if (!socket_of_fd(fd, &socket) || socket.family != AF_UNIX || conn_get(&socket))
		return NULL;
	return conn_make(socket.sk, socket.ino, AF_UNIX, key >> 32);
}

static __always_inline int connect_call(const struct syscall *call, u64 key)
{
	struct sh_conn *conn = call->ret ? NULL : unix_begins(call->args[0], key);
	if (conn && !(call->process & SH_PROCESS_TASKS)) /* others, which the same thread runs, may use it */
		conn_connects(conn, key);
	return 0;
}

static __always_inline int pair_call(const struct syscall *call, u64 key)
{
	u32 fds[2];

	if (call->ret || bpf_probe_read_user(fds, sizeof(fds), (void *)call->args[3]))
		return 0;
	unix_begins(fds[0], key);
	unix_begins(fds[1], key);
	return 0;
}

static __always_inline void process_uses_uring(u64 key)
{
	u32 tgid = key >> 32;
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (process)
		__sync_fetch_and_or(&process->flags, SH_PROCESS_URING);
}

static __always_inline int syscall_done(const struct syscall *call, u64 key)
{
	switch (call->what & SH_SYS_FORM) {
	case SH_SYS_WAIT:
		context_idle(key, !call->args[3]);
		return 0;
	case SH_SYS_WAIT_TS:
		context_idle(key, false);
		return 0;
	case SH_SYS_POLL: /* one descriptor, or no waiting: a blocking call of a thread that serves one request */
		if (call->args[1] > 1 && call->args[2])
			context_idle(key, false);
		return 0;
	case SH_SYS_URING:
		__sync_fetch_and_add(&shared.unseen_uring, 1);
		process_uses_uring(key);
		return 0;
	case SH_SYS_SPLICE:
		guard_look(call, key, SH_DOES_SPLICE);
		return splice_call(call, key);
	case SH_SYS_IOCTL:
		if ((u32)call->args[1] == FIONREAD)
			guard_look(call, key, SH_DOES_ASK);
		else if ((u32)call->args[1] == FIONBIO)
			guard_look_waits(call, key);
		return 0;
	case SH_SYS_FCNTL:
		if ((u32)call->args[1] == F_SETFL)
			guard_look_waits(call, key);
		return 0;
	case SH_SYS_OPTION:
		return option_call(call, key);
	case SH_SYS_CONNECT:
		return connect_call(call, key);
	case SH_SYS_PAIR:
		return pair_call(call, key);
	}
	return socket_call(call, key);
}

/* trace_sys_exit(regs, ret). */
SEC("?tp_btf/sys_exit") int socket_exit(u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	struct syscall call = {.ret = ctx[1]};
	u64 number = syscall_number(regs);
	if (number >= SH_MAX_SYSCALLS)
		return 0;
	call.what = settings.syscalls[number];
	if (!call.what || (call.ret < 0 && call.what & SH_SYS_MOVES && !ends_connection(call.ret)))
		return 0;
	u64 key = execution_key();
	u32 tgid = key >> 32;
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process)
		return 0;
	call.process = process->flags;
	syscall_args(regs, call.args);
	if (!(call.process & SH_PROCESS_TASKS))
		return syscall_done(&call, key);
	u64 task = goroutine_number(goroutine_of_syscall(regs), call.process);
	task_begin(task, key);
	syscall_done(&call, key);
	task_end(task, key);
	return 0;
}

/* trace_inet_sock_set_state(sk, old, new). */
SEC("?raw_tp/inet_sock_set_state") int socket_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (void *)ctx->args[0];
	int old = ctx->args[1], new = ctx->args[2];
	u64 sock_key = (u64)sk;

	struct sh_conn *conn = bpf_map_lookup_elem(&conns, &sock_key);
	if (new == TCP_SYN_SENT) { /* in connect(2) */
		u64 key = execution_key();
		u32 tgid = key >> 32;
		struct sh_process *process = conn ? NULL : bpf_map_lookup_elem(&processes, &tgid);
		if (!process)
			return 0;
		conn = conn_make(sk, 0, BPF_CORE_READ(sk, __sk_common.skc_family), tgid);
		if (!conn)
			return 0;
		if (guard_leaves_out(process, sk))
			conn->inject |= SH_CONN_INJECT_OFF;
		conn_connects(conn, key);
		return 0;
	}
	if (!conn)
		return 0;
	if (old == TCP_SYN_SENT) {
		u64 us = (bpf_ktime_get_ns() - conn->connect) / 1000;
		conn->connect = us ? us : 1;
		if (new == TCP_ESTABLISHED)
			return 0;
	}
	u32 error = BPF_CORE_READ(sk, sk_err);
	if (new == TCP_CLOSE && old == TCP_SYN_SENT) {
		if (error)
			conn_tell(conn, sk, 0);
		conn_end(conn, sk, error);
	} else if ((error || new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK) && conn->flags & SH_CONN_FLAG_TOLD) {
		conn_tell_end(conn, new == TCP_LAST_ACK ? SH_CONN_SHUT_LAST : SH_CONN_SHUT, error);
	}
	return 0;
}

/* trace_tcp_destroy_sock(sk). A closed one may still have bytes to be read: this is its end. */
SEC("?raw_tp/tcp_destroy_sock") int socket_destroy(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (void *)ctx->args[0];
	u64 sock_key = (u64)sk;

	struct sh_conn *conn = bpf_map_lookup_elem(&conns, &sock_key);
	if (conn && conn->reader)
		conn_answered(conn);
	if (conn)
		conn_end(conn, sk, 0); /* the peer's errors were told; what is there now may be this side's own abort */
	return 0;
}
