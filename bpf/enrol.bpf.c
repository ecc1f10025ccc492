/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections that are older than us into the map of those that have a verdict program. The user half could do that with a
 * descriptor of them (as it does for the other map); but what lies unread on such a socket is taken in whole segments from then
 * on, also one of which a part was read already: that part would come twice. So it is looked whether anything is unread, and
 * enrolled, while nobody else has the socket.
 *
 * The other way round, when we end: what waits in the map's own queue is lost with it. So each socket is taken out at a moment when
 * nothing does, while nobody else has it.
 */
#include "exchange.bpf.h"
#include "inject.bpf.h"

/* include/net/sock.h, of the pointer's lowest bits */
#define SK_USER_DATA_FLAGS 7UL
#define SK_USER_DATA_PSOCK 4UL

/* include/net/tcp_states.h: no full sockets */
#define TCP_TIME_WAIT	 6
#define TCP_NEW_SYN_RECV 12

/* Came with the kernel (6.5) from which on the iterator takes each socket as its owner does: neither does a system call of its
 * process run on it meanwhile, nor can enrolling it wait for a lock that the iterator has. Not called. */
extern int bpf_sock_destroy(struct sock_common *sk) __ksym __weak;

SEC("?iter/tcp") int enrol_older(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;

	if (!common || !bpf_sock_destroy || common->skc_state != TCP_ESTABLISHED)
		return 0;
	u64 cookie = common->skc_cookie.counter;
	s64 *wanted = bpf_map_lookup_elem(&inject_wanted, &cookie);
	if (!wanted || *wanted)
		return 0;
	/* Who sleeps in a read already waits for the queue that bytes will pass by. */
	if (socket_waits((struct sock *)common)) {
		*wanted = SH_WANTED_WAITS;
		return 0;
	}
	struct tcp_sock *tp = (struct tcp_sock *)common;
	if (BPF_CORE_READ(tp, copied_seq) != BPF_CORE_READ(tp, rcv_nxt)) {
		*wanted = SH_WANTED_UNREAD;
		return 0;
	}
	long err = bpf_map_update_elem(&inject_verdict, &cookie, common, BPF_NOEXIST);
	*wanted = err ? err : SH_WANTED_ENROLLED;
	return 0;
}

SEC("?iter/tcp") int withdraw_idle(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;

	if (!common || common->skc_state == TCP_TIME_WAIT || common->skc_state == TCP_NEW_SYN_RECV)
		return 0;
	u64 data = (u64)BPF_CORE_READ((struct sock *)common, sk_user_data);
	if (!(data & SK_USER_DATA_PSOCK))
		return 0;
	struct sk_psock *psock = (struct sk_psock *)(data & ~SK_USER_DATA_FLAGS);
	if (BPF_CORE_READ(psock, ingress_skb.qlen) || BPF_CORE_READ(psock, ingress_msg.next) != &psock->ingress_msg)
		return 0;
	u64 address = (u64)common, cookie = common->skc_cookie.counter; /* under either it may be there */
	if (bpf_map_delete_elem(&inject_verdict, &address))
		bpf_map_delete_elem(&inject_verdict, &cookie);
	return 0;
}
