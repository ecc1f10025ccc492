/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Trace context into the requests that chosen processes write: before the bytes pass, within their system call.
 *
 *   inject_enrol    a connection was made: its socket's writes are to be seen first
 *   inject_message  one write of it
 *   inject_pass     what such sockets receive, in the mode that has it: it passes
 *
 * Connections that are older than us are enrolled by the user half, or by enrol.bpf.c; learn.bpf.h is what they have before them.
 *
 * A byte is changed only where everything about the message is known: that a request begins here (nothing was written since
 * the last read, and the sequence number is where the last request ended), that its head is whole and understood, and that the
 * kernel will take all of it or nothing. Everything else passes untouched and is counted under its reason.
 */
#include "compose.bpf.h"
#include "exchange.bpf.h"
#include "exclude.bpf.h"
#include "inject.bpf.h"
#include "learn.bpf.h"
#include "remote.bpf.h"
#include "syscall.bpf.h"
#include "task.bpf.h"

#define PORT_HTTPS 443

/* Each a global function: verified once, on its own, whatever is around it. */
int inject_head(u32 len);
int inject_carried(void);
int inject_carried_b3(void);
int inject_carried_state(void);
bool inject_exchange(struct sh_conn *conn, u64 key_arg, u32 process);
int inject_meet(u64 sock_key, u32 tgid);

/* --- what is known of the message --------------------------------------------------------------------------------- */

/* Everything is sent or nothing is: no memory is lacking, nothing unsent is before it. A message of which a part was sent is
 * reported to the program without what was put in, and the program would send that part again. */
static __always_inline bool fits(struct sock *sk, u32 size)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	if (BPF_CORE_READ(tp, write_seq) != BPF_CORE_READ(tp, snd_nxt))
		return false;
	if (size <= BPF_CORE_READ(tp, mss_cache))
		return true;
	s64 room = (s64)BPF_CORE_READ(sk, sk_sndbuf) - BPF_CORE_READ(sk, sk_wmem_queued);
	u32 unsent = BPF_CORE_READ(tp, notsent_lowat);
	if (!unsent)
		unsent = BPF_CORE_READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_notsent_lowat);
	return unsent >= 4 * size && room >= 4 * (s64)size;
}

/* Is this where a request may begin: nothing was written since the last read? Where one thread reads what another one asked
 * for, the answer may be read before the exit of the system call that wrote the request: conn->direction is that one's then. */
static __always_inline bool begins_here(struct sh_conn *conn, u32 seq)
{
	bool sent = conn->inject & SH_CONN_INJECT_SENT;
	/* The same once more: the kernel had taken nothing of it. */
	bool again = sent && conn->sent_seq == seq;
	bool begins = (sent && conn->heard_seq == seq) || ((!sent || again) && conn->direction != DIR_WRITE);
	conn->inject |= SH_CONN_INJECT_SENT;
	conn->sent_seq = seq;
	if (begins && !again && !(conn->inject & SH_CONN_INJECT_ENTERED))
		conn->inject &= ~(SH_CONN_INJECT_PENDING | SH_CONN_INJECT_RENAMED);
	return begins;
}

/* Where the next request begins, if that can be told. */
static __always_inline void expect_next(struct sh_conn *conn, const struct sh_head *h, u32 seq, u32 pushed)
{
	conn->inject &= ~SH_CONN_INJECT_NEXT;
	if (!h->end || h->flags & (SH_HEAD_CHUNKED | SH_HEAD_STRANGE) || h->length > 0x7fffffff) {
		conn->inject |= SH_CONN_INJECT_LOST;
		return;
	}
	conn->next_seq = seq + pushed + h->end + (u32)h->length;
	conn->inject |= SH_CONN_INJECT_NEXT;
}

/* The reason why nothing is put into this head; SH_INJECT_done: none. */
static __always_inline u32 head_reason(const struct sh_head *h, const u8 *bytes, u32 size)
{
	u32 version = h->first_end - 11; /* " HTTP/1.1\r\n" */
	if (!h->end)
		return size > SH_MAX_INJECTED ? SH_INJECT_large : SH_INJECT_partial;
	if (h->flags & SH_HEAD_UPGRADE || (u32)sh_word(bytes) == FOUR('C', 'O', 'N', 'N'))
		return SH_INJECT_upgrade;
	if (h->flags & SH_HEAD_STRANGE || h->first_end < 16 || version >= SH_MAX_HEAD ||
	    sh_word(bytes + sh_within(version)) != SH_EIGHT(" HTTP/1."))
		return SH_INJECT_strange;
	if (size > SH_MAX_INJECTED)
		return SH_INJECT_large;
	if (!(h->flags & SH_HEAD_CHUNKED) && size - h->end > h->length)
		return SH_INJECT_pipelined;
	return SH_INJECT_done;
}

/* Bytes of a file or a pipe: they are in no memory of the process, and its request will not be seen. */
static __always_inline bool is_spliced(void)
{
	u64 number = syscall_number(syscall_under_way());
	u32 form = number < SH_MAX_SYSCALLS ? settings.syscalls[number] & SH_SYS_FORM : 0;
	return form == SH_SYS_FILE || form == SH_SYS_SPLICE;
}

/* --- changing it -------------------------------------------------------------------------------------------------- */

/* Writes s->block, of 8 to `max` bytes, at `at`. The message lies in one piece. */
static __always_inline bool block_write(struct sk_msg_md *m, struct inject_scratch *s, u32 at, u32 max)
{
	u8 *data = m->data, *end = m->data_end;
	u32 len = s->block_len, i = 0;
	/* A mask holds where a comparison is forgotten: 6.1 remembers it of the register alone, not of where that was kept. */
	at = sh_within(at);
	AT_MOST_AGAIN(len, max);
	u8 *to = data + at;
	if (len < 8 || to + len > end)
		return false;
	for (; i + 8 <= max; i += 8) {
		if (i + 8 > len || to + i + 8 > end)
			break;
		*(u64 *)(to + i) = *(u64 *)(s->block + i);
	}
	/* The last eight, some of them once more. */
	len -= 8;
	AT_MOST_AGAIN(len, max);
	to += len;
	if (to + 8 > end)
		return false;
	*(u64 *)to = *(u64 *)(s->block + len);
	return true;
}

/* Between the request line and the first header. */
static __always_inline bool block_push(struct sk_msg_md *m, struct inject_scratch *s, u32 at)
{
	if (bpf_msg_push_data(m, at, s->block_len, 0))
		return false;
	/* In one piece: several leave as several segments, of which Nagle's algorithm holds the last back. It is not optional:
	 * what was pushed has to be written. */
	if (bpf_msg_pull_data(m, 0, m->size, 0)) {
		bpf_msg_pop_data(m, at, s->block_len, 0);
		return false;
	}
	if (!block_write(m, s, at, INJECT_BLOCK_MAX)) {
		bpf_msg_pop_data(m, at, s->block_len, 0);
		return false;
	}
	return true;
}

/* The exchange, before its bytes pass. False when there is no room. */
GLOBAL bool inject_exchange(struct sh_conn *conn, u64 key_arg, u32 process)
{
	struct inject_scratch *s = scratch_get();
	u32 reason = 0;
	u64 key = key_arg;
	if (!s || !conn)
		return false;
	if (conn->inject & SH_CONN_INJECT_PENDING)
		return true;
	s->event.time_ns = bpf_ktime_get_ns();
	s->event.tid = (u32)key;
	if (!exchange_make(key, DIR_WRITE, process, NULL, conn, &s->event, &reason))
		return false;
	conn->parent_id = s->event.parent_id;
	conn->link = s->event.link;
	conn->inject |= SH_CONN_INJECT_PENDING;
	return true;
}

/* Reads the head of what message_copy() copied. */
GLOBAL int inject_head(u32 len)
{
	u32 index = REMOTE_SCRATCH_INJECT;
	struct inject_scratch *s = scratch_get();
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	if (!s || !r)
		return 0;
	r->head.len = at_most(len, SH_MAX_HEAD);
	sh_head_read(&r->head, s->bytes);
	return 0;
}

#define SHORTEST_ID 15 /* digits: of so many ids none comes twice */

/* A span id of exactly `digits` decimal digits, made of `id`. */
static __always_inline u64 id_of_length(u64 id, u32 digits)
{
	u64 least = 1;
	for (u32 i = 1; i < 20; i++)
		if (i < digits)
			least *= 10;
	return least + id % (digits == 20 ? 0 - least : 9 * least);
}

/* Reads what the head says of its trace: three steps, for the stack's sake. */
GLOBAL int inject_carried(void)
{
	u32 index = REMOTE_SCRATCH_INJECT;
	struct inject_scratch *s = scratch_get();
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	if (s && r)
		sh_forward_usual(&s->forward, &r->head, s->bytes, &r->remote);
	return 0;
}

GLOBAL int inject_carried_b3(void)
{
	u32 index = REMOTE_SCRATCH_INJECT;
	struct inject_scratch *s = scratch_get();
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	if (!s || !r)
		return 0;
	sh_forward_b3multi(&s->forward, &r->head, s->bytes, &r->remote);
	sh_forward_b3(&s->forward, &r->head, s->bytes, &r->remote);
	return 0;
}

GLOBAL int inject_carried_state(void)
{
	u32 index = REMOTE_SCRATCH_INJECT;
	struct inject_scratch *s = scratch_get();
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	if (s && r)
		sh_forward_state(&s->forward, &r->head, s->bytes);
	return 0;
}

/* Of the message, of which so much lies in one piece. */
static __always_inline bool digits_write(struct sk_msg_md *m, u32 at, u64 id)
{
	u8 *to = m->data, *end = m->data_end;
	to += sh_within(at);
	if (to + 16 > end)
		return false;
	*(u64 *)to = sh_hex_print8(id >> 32);
	*(u64 *)(to + 8) = sh_hex_print8(id);
	return true;
}

static __always_inline bool forward_write(struct sk_msg_md *m, struct inject_scratch *s, const struct sh_conn *conn)
{
	const struct sh_forward *f = &s->forward;
	if (f->decimal) {
		s->block_len = 0;
		block_decimal(s, conn->self.span_id);
		if (!block_write(m, s, f->decimal, 20))
			return false;
	}
	for (u32 i = 0; i < SH_FORWARD_SPOTS; i++)
		if (f->at[i] && !digits_write(m, f->at[i], i < SH_FORWARD_SPANS ? conn->self.span_id : conn->parent_id))
			return false;
	return true;
}

/* A proxy hands on the headers of its caller. They come to name its own span instead: of the same length, in the same place.
 * Of a program that names a span of its own nothing is changed. Returns an enum sh_inject. */
static __always_inline u32 request_replace(struct sk_msg_md *m, struct inject_scratch *s, struct remote_scratch *r,
					   struct sh_conn *conn, u64 key, u32 process)
{
	const struct sh_forward *f = &s->forward;
	const struct sh_remote *out = &r->remote;
	inject_carried();
	inject_carried_b3();
	if (f->bad || !out->trace_lo || (f->decimal && (f->decimal_len < SHORTEST_ID || f->decimal_len > 20)))
		return SH_INJECT_carries;
	if (!inject_exchange(conn, key, process))
		return SH_INJECT_threads_full;
	if (!(conn->self.trace_hi & REMOTE_MARK) || !remote_of(&conn->self, &s->remote) ||
	    s->remote.trace_hi != out->trace_hi || s->remote.trace_lo != out->trace_lo ||
	    s->remote.parent_id != out->parent_id)
		return SH_INJECT_carries;
	inject_carried_state();
	if (bpf_msg_pull_data(m, 0, at_most(r->head.end, SH_MAX_HEAD), 0))
		return SH_INJECT_refused;
	if (f->decimal)
		conn->self.span_id = id_of_length(conn->self.span_id, f->decimal_len);
	if (!forward_write(m, s, conn))
		return SH_INJECT_refused;
	conn->inject |= SH_CONN_INJECT_RENAMED;
	return SH_INJECT_replaced;
}

/* Returns an enum sh_inject. */
static __always_inline u32 request_inject(struct sk_msg_md *m, struct inject_scratch *s, struct remote_scratch *r,
					  struct sh_conn *conn, struct sock *sk, u64 key, u32 process)
{
	u32 reason = head_reason(&r->head, s->bytes, m->size);
	if (reason)
		return reason;
	if (process & SH_PROCESS_URING)
		return SH_INJECT_uring;
	if (is_spliced())
		return SH_INJECT_spliced;
	if (s->excludes && inject_excluded((u64)sk))
		return SH_INJECT_excluded;
	if (r->head.flags & SH_HEAD_CARRIES)
		return request_replace(m, s, r, conn, key, process);
	if (!inject_exchange(conn, key, process))
		return SH_INJECT_threads_full;
	if (!remote_of(&conn->self, &s->remote))
		return SH_INJECT_unsure;
	compose_block(s, conn, process, r->head.at[SH_HEAD_BAGGAGE] | r->head.odd);
	if (!fits(sk, m->size + s->block_len))
		return SH_INJECT_room;
	if (!block_push(m, s, r->head.first_end))
		return SH_INJECT_refused;
	conn->pushed = s->block_len;
	return SH_INJECT_done;
}

/* --- hooks -------------------------------------------------------------------------------------------------------- */

/* Copies the beginning of the message; how much of it is known. */
static __always_inline u32 message_copy(struct sk_msg_md *m, struct inject_scratch *s)
{
	u32 want = at_most(m->size, SH_MAX_HEAD);
	if ((u64)m->data_end - (u64)m->data < want && bpf_msg_pull_data(m, 0, want, 0))
		return 0;
	u32 have = at_most((u64)m->data_end - (u64)m->data, SH_MAX_HEAD);
	AT_MOST_AGAIN(have, SH_MAX_HEAD);
	if (have < 16 || bpf_probe_read_kernel(s->bytes, have, m->data))
		return 0;
	return have;
}

/* A request that begins here, or nowhere. Returns an enum sh_inject. */
static __always_inline u32 request(struct sk_msg_md *m, struct inject_scratch *s, struct remote_scratch *r,
				   struct sh_conn *conn, struct sock *sk, u64 key, u32 process)
{
	u32 seq = conn->sent_seq;
	if (conn->inject & SH_CONN_INJECT_LOST || (conn->inject & SH_CONN_INJECT_NEXT && conn->next_seq != seq))
		return SH_INJECT_body;
	conn->pushed = 0;
	inject_head(message_copy(m, s));
	u32 reason = request_inject(m, s, r, conn, sk, key, process);
	expect_next(conn, &r->head, seq, conn->pushed);
	return reason;
}

/* A write on a connection of which it is not known where requests begin. */
static __always_inline void message_learn(struct sk_msg_md *m, struct inject_scratch *s, const struct sh_head *h,
					  struct sh_conn *conn, struct sock *sk, bool begins, bool is_request)
{
	u32 seq = conn->sent_seq;
	if (learn_more(conn, seq, m->size))
		return;
	if (!is_request) {
		conn->learned = SH_LEARNED_NOTHING;
		return;
	}
	__sync_fetch_and_add(&shared.injects[SH_INJECT_older], 1);
	if (!learn_may_begin(conn, seq, begins))
		return;
	inject_head(message_copy(m, s));
	u32 reason = head_reason(h, s->bytes, m->size);
	if (reason == SH_INJECT_upgrade)
		conn_leaves_map(conn, sk);
	bool known = !reason && !(h->flags & SH_HEAD_CHUNKED) && h->length <= 0x7fffffff;
	learn_request(conn, seq, known ? h->end + (u32)h->length : 0);
}

static __always_inline int message(struct sk_msg_md *m, struct inject_scratch *s, struct sh_conn *conn, u64 key,
				   u32 process)
{
	struct sock *sk = (struct sock *)*(volatile u64 *)&s->sock;
	u32 index = REMOTE_SCRATCH_INJECT, seq = BPF_CORE_READ((struct tcp_sock *)sk, write_seq), reason;
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	u8 *data = m->data;
	u32 first = 0;

	if (!r)
		return 0;
	if (conn->protocol == SH_PROTO_OTHER || conn->flags & (SH_CONN_FLAG_SERVER | SH_CONN_FLAG_LEAVES)) {
		conn_leaves_map(conn, sk);
		return 0;
	}
	bool begins = begins_here(conn, seq);
	bool knew = conn->inject & (SH_CONN_INJECT_NEXT | SH_CONN_INJECT_LOST);
	s32 left = conn->inject & SH_CONN_INJECT_NEXT ? conn->next_seq - seq : 0;
	bool next = conn->inject & SH_CONN_INJECT_NEXT && !left;
	if (data + 4 <= (u8 *)m->data_end)
		__builtin_memcpy(&first, data, 4);
	if (learn_wanted(conn) && !conn->learned && learn_is_fresh(sk))
		conn->learned = SH_LEARNED_KNOWN;
	if (learn_wanted(conn)) {
		message_learn(m, s, &r->head, conn, sk, begins, looks_like(first) == LOOKS_REQUEST);
		return 0;
	}
	if (!begins && left > 0)
		return 0; /* of a body, whatever it looks like */
	if (looks_like(first) == LOOKS_REQUEST) {
		reason = begins ? request(m, s, r, conn, sk, key, process)
			 : next ? SH_INJECT_pipelined
				: SH_INJECT_body;
		if (reason == SH_INJECT_upgrade)
			conn_leaves_map(conn, sk);
	} else if (begins && (next || !knew)) {
		reason = SH_INJECT_partial;
		/* The first bytes of a request, or of something else. */
		if (m->size >= 4 && !knew) {
			conn_leaves_map(conn, sk);
			return 0;
		}
	} else {
		return 0; /* of a body */
	}
	if (next && !begins)
		conn->inject |= SH_CONN_INJECT_LOST; /* its head was not looked at */
	if (reason == SH_INJECT_partial)
		conn->inject |= SH_CONN_INJECT_LOST;
	__sync_fetch_and_add(&shared.injects[reason & (SH_INJECTS - 1)], 1);
	return 0;
}

/* A thread works for what its goroutine does, for the time of its system call. */
static __always_inline u64 task_enter(u64 key, u32 process)
{
	if (!(process & SH_PROCESS_TASKS))
		return 0;
	u64 task = goroutine_number(goroutine_of_syscall(syscall_under_way()), process);
	task_begin(task, key);
	return task;
}

/* The first that is seen of a connection is a write. */
GLOBAL int inject_meet(u64 sock_key, u32 tgid)
{
	struct sock *sk = (struct sock *)sock_key;
	return !conn_make(sk, 0, BPF_CORE_READ(sk, __sk_common.skc_family), tgid);
}

SEC("?sk_msg") int inject_message(struct sk_msg_md *m)
{
	struct bpf_sock *bpf_sk = m->sk;
	u64 key = execution_key();
	u32 tgid = key >> 32;

	if (!bpf_sk)
		return SK_PASS;
	u64 sock_key = (u64)bpf_sk;
	struct sh_conn *conn = bpf_map_lookup_elem(&conns, &sock_key);
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	struct inject_scratch *s = scratch_get();
	if (!s || !process || !(process->flags & SH_PROCESS_INJECT) || (conn && conn->inject & SH_CONN_INJECT_OFF) ||
	    shared.winding_up)
		return SK_PASS;
	if (__sync_fetch_and_add(&s->users, 1) == 0) {
		/* Written and read back it is a number to the verifier, which lets nobody reckon with its own pointers. */
		*(volatile u64 *)&s->sock = sock_key;
		s->excludes = process->excludes;
		if (!conn && !inject_meet(*(volatile u64 *)&s->sock, tgid))
			conn = bpf_map_lookup_elem(&conns, &sock_key);
		s->rates = process->rates;
		/* It was not so when it was enrolled: guard.bpf.h saw nothing of it. */
		if (conn && settings.lacks & SH_DOES_BLOCK && !process->may_wait &&
		    socket_waits((struct sock *)*(volatile u64 *)&s->sock)) {
			__sync_fetch_and_add(&shared.injects[SH_INJECT_blocking], 1);
			conn_leaves_map(conn, (struct sock *)*(volatile u64 *)&s->sock);
		} else if (conn) {
			u32 flags = process->flags;
			u64 task = task_enter(key, flags);
			message(m, s, conn, key, flags);
			if (flags & SH_PROCESS_TASKS)
				task_end(task, key);
		}
	} else {
		__sync_fetch_and_add(&shared.injects[SH_INJECT_busy], 1);
	}
	__sync_fetch_and_add(&s->users, -1);
	return SK_PASS;
}

SEC("?sk_skb") int inject_pass(struct __sk_buff *skb)
{
	return SK_PASS;
}

SEC("?sockops") int inject_enrol(struct bpf_sock_ops *ops)
{
	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return 1;
	struct bpf_sock *sk = ops->sk;
	if (!sk || ops->remote_port == bpf_htonl(PORT_HTTPS))
		return 1;
	u64 key = (u64)sk;
	struct sh_conn *conn = bpf_map_lookup_elem(&conns, &key);
	if (!conn || !(conn->flags & SH_CONN_FLAG_CONNECT) || conn->direction || conn->inject & SH_CONN_INJECT_OFF)
		return 1;
	u32 tgid = conn->tgid;
	struct sh_process *process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process || !(process->flags & SH_PROCESS_INJECT))
		return 1;
	long err = process->flags & SH_PROCESS_INJECT_VERDICT
			   ? bpf_sock_hash_update(ops, &inject_verdict, &key, BPF_NOEXIST)
			   : bpf_sock_hash_update(ops, &inject_plain, &key, BPF_NOEXIST);
	if (err) {
		__sync_fetch_and_add(&shared.inject_left_out, 1);
		return 1;
	}
	conn->inject |= SH_CONN_INJECT_ENROLLED;
	__sync_fetch_and_add(&shared.inject_enrolled, 1);
	return 1;
}
