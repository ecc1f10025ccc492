/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel half's writer of headers, and its decisions, alone, to be run by BPF_PROG_TEST_RUN: see test_compose_kernel.c. */
#include "maps.bpf.c"
#include "compose.bpf.h"

#include "compose_case.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct compose_case);
} cases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct sampling_batch);
} batches SEC(".maps");

/* As exchange_make() leaves one. */
struct conn_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct sh_conn);
} conn_scratch SEC(".maps");

SEC("syscall") int compose(void *ctx)
{
	u32 zero = 0;
	struct compose_case *c = bpf_map_lookup_elem(&cases, &zero);
	struct sh_conn *conn = bpf_map_lookup_elem(&conn_scratch, &zero);
	struct inject_scratch *s = scratch_get();
	if (!c || !conn || !s)
		return 1;
	u64 key = c->trace_lo;
	conn->self.trace_lo = key;
	conn->self.span_id = c->span_id;
	conn->parent_id = c->parent_id;
	conn->link = c->link;
	if (c->remote.carries)
		bpf_map_update_elem(&carried, &key, &c->carried, BPF_ANY);
	s->rates = c->rates;
	s->remote = c->remote;
	compose_block(s, conn, c->process, 0);
	c->block_len = s->block_len;
	c->remote.priority = s->remote.priority;
	c->decision = s->decision;
	bpf_probe_read_kernel(c->block, INJECT_BLOCK_ROOM, s->block);
	return 0;
}

static long batch_step(u32 i, void *arg)
{
	struct sampling_batch *b = *(struct sampling_batch **)arg;
	u64 id = sh_next_id(&b->rng);
	if (sh_sampling_keeps(id, b->threshold)) {
		b->kept++;
		b->sum += sh_mix64(id);
	}
	return 0;
}

SEC("syscall") int decide_many(void *ctx)
{
	u32 zero = 0;
	struct sampling_batch *b = bpf_map_lookup_elem(&batches, &zero);
	if (!b)
		return 1;
	bpf_loop(b->cnt, batch_step, &b, 0);
	return 0;
}
