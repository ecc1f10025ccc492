/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel half's reader of heads, alone, to be run by BPF_PROG_TEST_RUN: see test_head_kernel.c. */
#include "kernel.bpf.h"

#include "head_case.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct head_case);
} cases SEC(".maps");

SEC("syscall") int head_read(void *ctx)
{
	u32 zero = 0;
	struct head_case *c = bpf_map_lookup_elem(&cases, &zero);
	if (!c || c->head.len > SH_MAX_HEAD)
		return 1;
	sh_head_read(&c->head, c->bytes);
	if (c->reads != SH_READS_USUAL)
		sh_head_read_b3(&c->head, c->bytes, SH_STYLE_B3MULTI | SH_STYLE_B3);
	sh_head_remote(&c->head, c->bytes, c->reads, &c->remote);
	sh_carry_read(&c->carry, &c->head, c->bytes, &c->remote);
	return 0;
}

/* As a head that is handed on. */
SEC("syscall") int head_forward(void *ctx)
{
	u32 zero = 0;
	struct head_case *c = bpf_map_lookup_elem(&cases, &zero);
	if (!c || c->head.len > SH_MAX_HEAD)
		return 1;
	sh_head_read(&c->head, c->bytes);
	sh_forward_read(&c->forward, &c->head, c->bytes, &c->remote);
	return 0;
}

/* Copying takes a helper that asks for it. */
char _license[] SEC("license") = "Dual BSD/GPL";
