/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef OPTION_BPF_H
#define OPTION_BPF_H

#include "connection.bpf.h"
#include "remote.bpf.h"
#include "spanhound/option.h"

/* A request's trace in a TCP option (spanhound/option.h). Here is what the hooks that write and hear it (option.bpf.c) share with
 * those that see the requests. */

/* One of a connection's two ends: a client's writes one, a server's hears one. Key: address of the struct sock, as in `conns`; from
 * the handshake on, until it is closed. */
struct option_end {
	struct sh_option option; /* of the request under way; span_id 0: none */
	u32 version;		 /* odd: it is being changed */
	u32 tid;		 /* who wrote the request */
	u64 entered;		 /* who entered a write last: tid, and number of the connection's last record then */
	bool client;
	bool told;    /* that there was no room is counted */
	bool carried; /* a segment has left with it */
	u8 losses;    /* requests, one after the other, whose segment was sent again */
};

struct option_ends_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SH_MAX_CONNS);
	__type(key, u64);
	__type(value, struct option_end);
};

/* Where chosen processes listen, to whose connections it is listened. A port stays until the table forgets it. */
struct option_ports_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SH_MAX_PORTS);
	__type(key, struct sh_option_port);
	__type(value, u8);
};

extern struct option_ends_map option_ends SEC(".maps");
extern struct option_ports_map option_ports SEC(".maps");

static __always_inline void option_count(u32 what)
{
	__sync_fetch_and_add(&shared.options[what & (SH_OPTIONS - 1)], 1);
}

/* Atomics are full barriers. */
static __always_inline void option_changes(struct option_end *o)
{
	__sync_fetch_and_add(&o->version, 1);
}

#endif
