/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef REMOTE_BPF_H
#define REMOTE_BPF_H

#include "maps.bpf.h"
#include "spanhound/carry.h"
#include "spanhound/sampling.h"

/* Traces that came with requests. In this half a request that is read begins a trace of its own, which the user half joins to
 * the one its headers name; what goes out on the wire must name that one at once. */

/* Set in trace_hi of a trace that is in `remotes`. The table forgets the oldest: then it is not known what to write. */
#define REMOTE_MARK 1ULL

struct remote_scratch {
	struct sh_head head;
	struct sh_remote remote;
	u32 reads; /* SH_STYLE_* in the order in which the process reads them, where that is not the usual one */
	struct sh_carry carry;
};

enum { REMOTE_SCRATCH_EXIT, REMOTE_SCRATCH_INJECT, REMOTE_SCRATCHES };

struct remotes_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SH_MAX_REMOTES);
	__type(key, u64); /* trace_lo */
	__type(value, struct sh_remote);
};

struct remote_scratch_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REMOTE_SCRATCHES);
	__type(key, u32);
	__type(value, struct remote_scratch);
};

/* What came along with the ids. Key: trace_lo, as of `remotes`. */
struct carried_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SH_MAX_CARRIED);
	__type(key, u64);
	__type(value, struct sh_carried);
};

/* Traces that were decided about here. Key: trace_lo of the trace as this half began it. What fell out is decided about
 * once more, which gives the same unless the rates have changed. */
struct decisions_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SH_MAX_DECIDED);
	__type(key, u64);
	__type(value, struct sh_decision);
};

struct rates_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SH_MAX_RATES);
	__type(key, u32);
	__type(value, struct sh_rates);
};

extern struct remotes_map remotes SEC(".maps");
extern struct carried_map carried SEC(".maps");
extern struct decisions_map decisions SEC(".maps");
extern struct rates_map rates SEC(".maps");
extern struct remote_scratch_map remote_scratch SEC(".maps");

/* False: it is not known which trace is to be named. */
static __always_inline bool remote_of(const struct sh_span_context *span, struct sh_remote *ret)
{
	u64 key = span->trace_lo;
	ret->trace_hi = span->trace_hi;
	ret->trace_lo = key;
	ret->parent_id = 0;
	ret->priority = SH_REMOTE_NO_PRIORITY;
	ret->sampled = 1;
	ret->flags = ret->stated = ret->carries = ret->differs = 0;
	if (!(span->trace_hi & REMOTE_MARK))
		return true;
	struct sh_remote *r = bpf_map_lookup_elem(&remotes, &key);
	if (!r || r->unsure)
		return false;
	*ret = *r;
	return true;
}

/* What the trace of a request that was begun before its bytes pass began with: an enum sh_root. */
static __always_inline u32 root_of(const struct sh_conn *conn, u32 process)
{
	/* One goroutine hands another what it serves, one thread another whatever a probe list says. */
	bool handed = conn->link == SH_LINK_HANDOFF && process & SH_PROCESS_TASKS;
	if (!conn->parent_id)
		return SH_ROOT_CLIENT;
	return handed || conn->link == SH_LINK_THREAD || conn->link == SH_LINK_CONNECTION ? SH_ROOT_SERVER
											  : SH_ROOT_OTHER;
}

#endif
