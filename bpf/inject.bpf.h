/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef INJECT_BPF_H
#define INJECT_BPF_H

#include "maps.bpf.h"
#include "spanhound/carry.h"
#include "spanhound/exclude.h"
#include "spanhound/forward.h"
#include "spanhound/sampling.h"

/* The sockets whose writes pass inject_message() first. Key: address of the struct sock, as in `conns`. The program must not
 * refer to these maps itself: each would hold the other, and both would outlive spanhound. */
struct inject_sockets_map {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, SH_MAX_CONNS);
	__type(key, u64);
	__type(value, u64);
};

/* Sockets that the user half is to take out, by the same key: only it may. */
struct inject_leaving_map {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, SH_MAX_CONNS);
	__type(value, u64);
};

/* Sockets that the user half wants in inject_verdict, by their cookie, and what became of them: 0 nothing yet, an enum
 * sh_wanted, or -errno. */
struct inject_wanted_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SH_MAX_CONNS);
	__type(key, u64);
	__type(value, s64);
};

#define INJECT_BLOCK_MAX  1792 /* bytes of the longest block of headers, all styles and everything that is carried */
#define INJECT_BLOCK_ROOM (INJECT_BLOCK_MAX + 512) /* the verifier bounds offset and length apart */

struct inject_scratch {
	u32 users; /* more than one: a task was put off within the program, and another one runs it on this CPU */
	u32 block_len;
	u64 sock;
	u8 digits[64]; /* of a number, and room behind them */
	u32 rates;     /* index of the process's */
	u32 pad;
	struct sh_remote remote;
	struct sh_forward forward;
	struct sh_decision decision; /* by 0: upstream's stands, or nobody decides */
	struct sh_carried carried;
	struct sh_ev_data event;
	/* Where the request goes. */
	u64 excludes; /* sh_process.excludes */
	u64 to[2];    /* as sh_exclude.address */
	u32 host_at, host_len;
	u16 port;
	u16 excluded;
	u32 pad2;
	u8 block[INJECT_BLOCK_ROOM];
	u8 bytes[2 * SH_MAX_HEAD];
};

struct inject_scratch_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct inject_scratch);
};

struct excludes_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SH_MAX_EXCLUDES);
	__type(key, u32);
	__type(value, struct sh_exclude);
};

extern struct excludes_map excludes SEC(".maps");
extern struct inject_sockets_map inject_plain SEC(".maps");
extern struct inject_sockets_map inject_verdict SEC(".maps");
extern struct inject_leaving_map inject_leaving SEC(".maps");
extern struct inject_wanted_map inject_wanted SEC(".maps");
extern struct inject_scratch_map inject_scratch SEC(".maps");

/* For good: the user half is to take it out. */
static __always_inline void conn_leaves_map(struct sh_conn *conn, struct sock *sk)
{
	u64 key = (u64)sk;
	if (!(conn->inject & SH_CONN_INJECT_ENROLLED)) /* the user half knows no addresses */
		key = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	conn->inject |= SH_CONN_INJECT_OFF;
	if (!bpf_map_push_elem(&inject_leaving, &key, 0))
		__sync_fetch_and_add(&shared.inject_leaving, 1);
}

#endif
