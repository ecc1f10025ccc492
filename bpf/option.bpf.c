/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The trace of requests in TCP options (spanhound/option.h), where both ends run us: nothing of the stream changes, and no socket is
 * in a map.
 *
 *   option_enter   a chosen process is about to write: if that begins a request, its exchange is begun, and what its segment is to
 *                  carry is kept for the connection
 *   option_ops     a connection was made, a segment leaves, one came with an option that the kernel does not know
 *   option_listen  a chosen process listens
 *
 * Which thread writes, and for what, is known in its system call alone; where the bytes go, to the connection alone. What holds both
 * together is the sequence number: the exchange is begun for the byte that is written next, and rides with that byte or not at all.
 *
 * Something on the way may drop what has options that it does not know. So what is sent again goes without; and when that happens to
 * one request after the other, the connection's further ones do, too.
 */
#include "connection.bpf.h"
#include "exchange.bpf.h"
#include "inject.bpf.h"
#include "option.bpf.h"
#include "syscall.bpf.h"
#include "task.bpf.h"

#define PORT_HTTPS 443
#define TCP_LISTEN 10 /* include/net/tcp_states.h */

/* inject.bpf.c, compose.bpf.h, exclude.bpf.h: on the request in inject_scratch. */
extern int inject_head(u32 len);
extern int inject_carried(void);
extern int inject_carried_b3(void);
extern bool inject_exchange(struct sh_conn *conn, u64 key_arg, u32 process);
extern int inject_excluded(u64 sock_key);
extern int compose_decide(u64 key, u32 root);

/* Each a global function: verified once, on its own, whatever is around it. */
u32 option_copy(u64 data, u64 count, u32 form);
u32 option_make(u64 sock_key, u64 key_arg, u32 process);
int option_request(u64 sock_key, u64 key_arg, u32 process);

/* --- a request is about to be written ----------------------------------------------------------------------------- */

#define OPTION_LOSSES 2 /* in a row: then it is no chance */
#define OPTION_IOVECS 8 /* that are looked at: a head is in the first few */

struct option_iovec {
	u64 base, len;
};

/* Copies the beginning of what is to be written; how much of it. */
GLOBAL u32 option_copy(u64 data, u64 count, u32 form)
{
	u32 zero = 0, copied = 0;
	struct inject_scratch *s = bpf_map_lookup_elem(&inject_scratch, &zero);
	struct user_msghdr m;
	struct option_iovec v = {data, count};
	u64 at = data, cnt = count;

	if (!s)
		return 0;
	if (form == SH_SYS_MESSAGE) {
		if (bpf_probe_read_user(&m, sizeof(m), (void *)data))
			return 0;
		at = m.iov;
		cnt = m.iovlen;
	}
	for (u32 i = 0; i < OPTION_IOVECS; i++) {
		if (form == SH_SYS_BUFFER ? i : i >= cnt)
			break;
		if (form != SH_SYS_BUFFER && bpf_probe_read_user(&v, sizeof(v), (void *)(at + i * sizeof(v))))
			break;
		u32 len = at_most(v.len, SH_MAX_HEAD - copied);
		AT_MOST_AGAIN(copied, SH_MAX_HEAD);
		AT_MOST_AGAIN(len, SH_MAX_HEAD);
		if (bpf_probe_read_user(s->bytes + copied, len, (void *)v.base))
			break;
		copied += len;
		if (copied >= SH_MAX_HEAD)
			break;
	}
	return copied;
}

/* Has another thread entered a write that may not be through? From here on this one has. */
static __always_inline bool option_shared(struct option_end *o, const struct sh_conn *conn, u32 tid)
{
	u64 mine = (u64)tid << 32 | conn->number, before = __sync_lock_test_and_set(&o->entered, mine);
	return (u32)before == conn->number && before >> 32 && before >> 32 != tid;
}

/* Its headers say `out`: are they those that the request came with, `in`, which this one is made for? */
static __always_inline bool option_forwards(const struct sh_remote *out, const struct sh_remote *in,
					    const struct sh_conn *conn)
{
	return !out->unsure && !out->differs && out->trace_lo && conn->self.trace_hi & REMOTE_MARK &&
	       out->trace_hi == in->trace_hi && out->trace_lo == in->trace_lo && out->parent_id == in->parent_id;
}

/* What the request that begins in the scratch is to carry, into its remote. Returns an enum sh_option_end. */
GLOBAL u32 option_make(u64 sock_key, u64 key_arg, u32 process)
{
	u32 zero = 0, index = REMOTE_SCRATCH_INJECT;
	u64 key = sock_key;
	struct inject_scratch *s = bpf_map_lookup_elem(&inject_scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	struct sh_conn *conn = bpf_map_lookup_elem(&conns, &key);
	struct option_end *o = bpf_map_lookup_elem(&option_ends, &key);
	struct sh_option made;

	if (!s || !r || !conn || !o)
		return SH_OPTION_busy;
	if (process & SH_PROCESS_URING)
		return SH_OPTION_uring;
	if (o->losses >= OPTION_LOSSES)
		return SH_OPTION_resent;
	if (s->excludes && inject_excluded(sock_key))
		return SH_OPTION_excluded;
	conn->inject &= ~SH_CONN_INJECT_PENDING;
	if (!inject_exchange(conn, key_arg, process))
		return SH_OPTION_threads_full;
	conn->inject |= SH_CONN_INJECT_ENTERED;
	if (!remote_of(&conn->self, &s->remote))
		return SH_OPTION_unsure;
	bool carries = r->head.flags & SH_HEAD_CARRIES, whole = r->head.end && !(r->head.flags & SH_HEAD_STRANGE);
	if (carries && !option_forwards(&r->remote, &s->remote, conn))
		return SH_OPTION_carries;
	s->decision.by = 0;
	if (s->remote.priority == SH_REMOTE_NO_PRIORITY)
		compose_decide(conn->self.trace_lo, root_of(conn, process));
	made = (struct sh_option){
		.trace_hi = s->remote.trace_hi,
		.trace_lo = s->remote.trace_lo,
		.span_id = conn->self.span_id,
		.at = o->option.at,
		.priority = s->remote.priority,
		/* Headers of ours, if there will be any, are right anyway. */
		.sure = whole && !(process & SH_PROCESS_INJECT),
	};
	if (!sh_option_fits(&made))
		return SH_OPTION_long_id;
	option_changes(o);
	o->tid = (u32)key_arg;
	o->told = false;
	o->carried = false;
	o->option = made;
	option_changes(o);
	return SH_OPTION_sent;
}

GLOBAL int option_request(u64 sock_key, u64 key_arg, u32 len)
{
	u32 zero = 0, tgid = key_arg >> 32, what;
	struct inject_scratch *s = bpf_map_lookup_elem(&inject_scratch, &zero);
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (!s || !process)
		return 0;
	s->excludes = process->excludes;
	s->rates = process->rates;
	inject_head(len);
	inject_carried();
	inject_carried_b3();
	what = option_make(sock_key, key_arg, process->flags);
	if (what != SH_OPTION_sent) /* which is counted when it is */
		option_count(what);
	return 0;
}

/* The first four bytes of the message under way, with those that are written now. */
static __always_inline u32 option_first(const struct sh_conn *conn, u32 before, u32 now, u32 len)
{
	u32 shift = before * 8 & 31;
	u32 known = before ? conn->first & ((1U << shift) - 1) : 0;
	return before + len < SH_OPTION_BYTES ? 0 : known | now << shift;
}

/* Nothing is known of the request that may begin here. */
static __always_inline void option_forget(struct option_end *o)
{
	if (!o->option.span_id)
		return;
	option_changes(o);
	o->option.span_id = 0;
	option_changes(o);
	if (o->carried) /* and was not sent again */
		o->losses = 0;
}

static __always_inline int option_write(const struct syscall *call, u64 key, struct sock *sk)
{
	u64 sock_key = (u64)sk;
	u32 zero = 0, form = call->what & SH_SYS_FORM, first = 0, copied;
	struct sh_conn *conn = bpf_map_lookup_elem(&conns, &sock_key);
	struct option_end *o = bpf_map_lookup_elem(&option_ends, &sock_key);
	struct inject_scratch *s = bpf_map_lookup_elem(&inject_scratch, &zero);

	if (!s || (o && (!conn || !o->client)) ||
	    (conn && (conn->protocol == SH_PROTO_OTHER || conn->flags & SH_CONN_FLAG_SERVER)))
		return 0;
	bool shared_write = o && option_shared(o, conn, (u32)key);
	u32 seq = BPF_CORE_READ((struct tcp_sock *)sk, write_seq);
	/* As in inject.bpf.c: the answer may have been read before the request's own call was over. */
	bool goes_on = conn && conn->direction == DIR_WRITE && conn->heard_seq != seq;
	u32 before = goes_on ? conn->first_cnt : 0;
	if (before >= SH_OPTION_BYTES || form > SH_SYS_MESSAGE)
		return 0;
	u32 at = seq - before;
	/* The same once more, or the rest of the first bytes: its exchange is begun. */
	if (o && o->option.span_id && o->option.at == at && o->option.span_id == conn->self.span_id) {
		conn->inject |= SH_CONN_INJECT_PENDING | SH_CONN_INJECT_ENTERED;
		return 0;
	}
	if (__sync_fetch_and_add(&s->users, 1) == 0) {
		copied = option_copy(call->args[1], call->args[2], form);
		__builtin_memcpy(&first, s->bytes, 4);
		first = option_first(conn, before, first, copied);
		if (o)
			option_forget(o);
		if (looks_like(first) != LOOKS_REQUEST) {
			/* none begins */
		} else if (!o) {
			if (!conn || !conn->connect)
				option_count(SH_OPTION_older);
		} else if (shared_write) {
			option_count(SH_OPTION_shared);
		} else {
			o->option.at = at;
			option_request(sock_key, key, before ? 0 : copied);
		}
	} else {
		option_count(SH_OPTION_busy);
	}
	__sync_fetch_and_add(&s->users, -1);
	return 0;
}

/* trace_sys_enter(regs, number). */
SEC("?tp_btf/sys_enter") int option_enter(u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	u64 number = ctx[1];
	struct syscall call = {};
	struct socket_place socket;
	if (number >= SH_MAX_SYSCALLS)
		return 0;
	call.what = settings.syscalls[number];
	if (!(call.what & SH_SYS_WRITE) || shared.winding_up & SH_WINDING_UP)
		return 0;
	u64 key = execution_key();
	u32 tgid = key >> 32;
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process || !(process->flags & SH_PROCESS_OPTION))
		return 0;
	u32 flags = process->flags;
	syscall_args(regs, call.args);
	/* Not by socket_of_fd(): the linker takes what that may call, a function of the kernel's, from one object only. */
	struct file *file = file_of_fd(call.args[0]);
	if (!file || !socket_of_file(file, &socket) || socket.family == AF_UNIX)
		return 0;
	u64 task = flags & SH_PROCESS_TASKS ? goroutine_number(goroutine_of_syscall(regs), flags) : 0;
	if (flags & SH_PROCESS_TASKS)
		task_begin(task, key);
	option_write(&call, key, socket.sk);
	if (flags & SH_PROCESS_TASKS)
		task_end(task, key);
	return 0;
}

/* --- connections -------------------------------------------------------------------------------------------------- */

/* The verifier lets nobody reckon with its own pointers; copied by a helper it is a number to it. */
static __always_inline u64 number_of(const void *pointer)
{
	u64 from = (u64)pointer, number = 0;
	bpf_probe_read_kernel(&number, sizeof(number), &from);
	return number;
}

static __always_inline void option_begin(struct bpf_sock_ops *ops, u64 sock_key, bool client)
{
	u64 key = sock_key;
	struct option_end new = {.client = client};
	u32 flags = client ? BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG : BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG;

	if (bpf_map_update_elem(&option_ends, &key, &new, BPF_ANY)) {
		option_count(SH_OPTION_left_out);
		return;
	}
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* Made by a chosen process, within its connect(). */
static __always_inline bool option_is_ours(struct bpf_sock_ops *ops, u64 sock_key)
{
	u64 key = sock_key;
	struct sh_conn *conn = bpf_map_lookup_elem(&conns, &key);
	if (!conn || !(conn->flags & SH_CONN_FLAG_CONNECT) || ops->remote_port == bpf_htonl(PORT_HTTPS))
		return false;
	u32 tgid = conn->tgid;
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	return process && process->flags & SH_PROCESS_OPTION;
}

static __always_inline struct sh_option_port option_port_of(struct sock *sk)
{
	return (struct sh_option_port){
		.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum),
		.port = BPF_CORE_READ(sk, __sk_common.skc_num),
	};
}

/* trace_inet_sock_set_state(sk, old, new). */
SEC("?raw_tp/inet_sock_set_state") int option_listen(struct bpf_raw_tracepoint_args *ctx)
{
	u64 key = execution_key();
	u32 tgid = key >> 32;
	u8 one = 1;

	if (ctx->args[2] != TCP_LISTEN) /* in listen(2) */
		return 0;
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process || !(process->flags & SH_PROCESS_OPTION))
		return 0;
	struct sh_option_port port = option_port_of((struct sock *)ctx->args[0]);
	bpf_map_update_elem(&option_ports, &port, &one, BPF_ANY);
	return 0;
}

/* --- segments ----------------------------------------------------------------------------------------------------- */

/* Is the segment that leaves the one that the option is for? Its place in the stream is nowhere in `ops`. */
static __always_inline bool option_leaves(struct bpf_sock_ops *ops, const struct option_end *o)
{
	struct sk_buff *skb = BPF_CORE_READ((struct bpf_sock_ops_kern *)number_of(ops), skb);
	struct tcp_skb_cb *cb = skb ? (struct tcp_skb_cb *)skb->cb : NULL;
	return cb && sh_option_rides(o->option.at, BPF_CORE_READ(cb, seq), BPF_CORE_READ(cb, end_seq));
}

static __always_inline bool option_stands(const struct option_end *o)
{
	return o->option.span_id && !(o->version & 1) && o->entered >> 32 == o->tid;
}

/* How long will the header be? Asked before data is cut into segments, too. */
static __always_inline void option_reserve(struct bpf_sock_ops *ops, struct option_end *o)
{
	if (!option_stands(o))
		return;
	bool cutting = ops->args[0] == BPF_WRITE_HDR_TCP_CURRENT_MSS;
	s32 unsent = o->option.at + SH_OPTION_BYTES - ops->snd_una;
	if (cutting ? o->carried || unsent <= 0 : !option_leaves(ops, o))
		return;
	if (o->carried) { /* once more */
		o->option.span_id = 0;
		o->losses++;
		return;
	}
	if (!bpf_reserve_hdr_opt(ops, SH_OPTION_LEN, 0) || cutting || o->told)
		return;
	o->told = true;
	option_count(SH_OPTION_no_room);
}

static __always_inline void option_store(struct bpf_sock_ops *ops, struct option_end *o)
{
	u8 bytes[SH_OPTION_LEN];
	u32 version = __sync_fetch_and_add(&o->version, 0);
	if (!option_stands(o) || !option_leaves(ops, o))
		return;
	struct sh_option option = o->option;
	if (version & 1 || __sync_fetch_and_add(&o->version, 0) != version || !option.span_id)
		return;
	sh_option_write(&option, bytes);
	if (bpf_store_hdr_opt(ops, bytes, sizeof(bytes), 0))
		return;
	o->carried = true;
	option_count(SH_OPTION_sent);
}

static __always_inline void option_parse(struct bpf_sock_ops *ops, struct option_end *o)
{
	u8 bytes[SH_OPTION_LEN] = {SH_OPTION_KIND, 4, SH_OPTION_EXID >> 8, SH_OPTION_EXID & 0xff};
	u8 *header = ops->skb_data, *end = ops->skb_data_end;
	struct sh_option option;

	long len = bpf_load_hdr_opt(ops, bytes, sizeof(bytes), 0);
	if (len == -ENOMSG || header + 20 > end)
		return;
	u32 seq = bpf_ntohl(*(u32 *)(header + 4)), size = (header[12] >> 4) * 4;
	if (len != SH_OPTION_LEN || !sh_option_read(&option, bytes, seq)) {
		option_count(SH_OPTION_malformed);
		return;
	}
	/* One of several pieces, of which another has the request's beginning. */
	if (ops->skb_len < size || !sh_option_rides(option.at, seq, seq + ops->skb_len - size))
		return;
	option_changes(o);
	o->option = option;
	option_changes(o);
}

SEC("?sockops") int option_ops(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	u64 key = (u64)sk;
	struct sh_option_port port;

	if (!sk)
		return 1;
	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
		if (option_is_ours(ops, key))
			option_begin(ops, key, true);
		return 1;
	}
	if (ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		port = option_port_of((struct sock *)number_of(sk));
		if (!bpf_map_lookup_elem(&option_ports, &port))
			return 1;
		option_begin(ops, key, false);
		/* What ends the handshake may be the first request's segment: its ACK alone was lost, or not waited for. */
		struct option_end *made = bpf_map_lookup_elem(&option_ends, &key);
		if (made)
			option_parse(ops, made);
		return 1;
	}
	if (ops->op == BPF_SOCK_OPS_STATE_CB) {
		if (ops->args[1] == BPF_TCP_CLOSE)
			bpf_map_delete_elem(&option_ends, &key);
		return 1;
	}
	if (ops->op != BPF_SOCK_OPS_HDR_OPT_LEN_CB && ops->op != BPF_SOCK_OPS_WRITE_HDR_OPT_CB &&
	    ops->op != BPF_SOCK_OPS_PARSE_HDR_OPT_CB)
		return 1;
	struct option_end *o = bpf_map_lookup_elem(&option_ends, &key);
	if (!o || o->client == (ops->op == BPF_SOCK_OPS_PARSE_HDR_OPT_CB))
		return 1;
	if (ops->op == BPF_SOCK_OPS_HDR_OPT_LEN_CB)
		option_reserve(ops, o);
	else if (ops->op == BPF_SOCK_OPS_WRITE_HDR_OPT_CB)
		option_store(ops, o);
	else
		option_parse(ops, o);
	return 1;
}
