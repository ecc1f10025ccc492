/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "kernel/kernel_private.h"
#include "spanhound/option.h"

enum { LINK_OPS, LINK_LISTEN };

struct kernel_part kernel_part_option(struct kernel *k)
{
	return (struct kernel_part){&k->option.on, k->option.why_not, "of TCP options"};
}

void kernel_option_prepare(struct kernel *k)
{
	k->option.on = k->options.option && k->options.sockets;
	if (!k->option.on)
		snprintf(k->option.why_not, sizeof(k->option.why_not), "it was not asked for (--tcp-option)");
}

void kernel_option_attach(struct kernel *k)
{
	struct sbuf err = {0};
	if (!k->option.on)
		return;
	__cleanup(closep) int cgroup = inject_open_cgroup(&err);
	if (cgroup >= 0) {
		k->option_links[LINK_LISTEN] = bpf_program__attach(k->skel->progs.option_listen);
		if (!k->option_links[LINK_LISTEN])
			kernel_part_off(kernel_part_option(k), "a program for who listens", -errno);
		k->option_links[LINK_OPS] = bpf_program__attach_cgroup(k->skel->progs.option_ops, cgroup);
		if (!k->option_links[LINK_OPS])
			kernel_part_off(kernel_part_option(k), "a program for segments (sockops)", -errno);
	} else {
		kernel_part_off(kernel_part_option(k), sbuf_str(&err), cgroup);
	}
	sbuf_release(&err);
}

/* Writes no option, since no event has that number: whether it could is found out when it is loaded. */
static int load_trial(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_LDX | BPF_MEM | BPF_W,
		 .dst_reg = BPF_REG_2,
		 .src_reg = BPF_REG_1,
		 .off = offsetof(struct bpf_sock_ops, op)},
		{.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_2, .off = 3, .imm = INT32_MAX},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = SH_OPTION_LEN},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = 0},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_reserve_hdr_opt},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SOCK_OPS, "option_try", "GPL", insns, sizeof(insns) / sizeof(insns[0]),
			       NULL);
	return fd < 0 ? -errno : fd;
}

void kernel_option_probe(struct option_status *ret)
{
	struct kernel_part part = {&ret->on, ret->why_not, ""};
	struct sbuf err = {0};
	__cleanup(closep) int program = load_trial();
	__cleanup(closep) int cgroup = inject_open_cgroup(&err);
	__cleanup(closep) int link = -1;
	*ret = (struct option_status){.on = true};
	if (program >= 0 && cgroup >= 0)
		link = bpf_link_create(program, cgroup, BPF_CGROUP_SOCK_OPS, NULL);
	if (cgroup < 0)
		kernel_part_off(part, sbuf_str(&err), cgroup);
	else if (program < 0)
		kernel_part_off(part, "a program for segments (sockops)", program);
	else if (link < 0)
		kernel_part_off(part, "a program for segments (sockops)", link);
	sbuf_release(&err);
}

const struct option_status *kernel_option(const struct kernel *k)
{
	return &k->option;
}

int kernel_option_port(struct kernel *k, ino_t netns, uint16_t port)
{
	struct sh_option_port key = {.netns = (uint32_t)netns, .port = port};
	uint8_t one = 1;
	return bpf_map_update_elem(bpf_map__fd(k->skel->maps.option_ports), &key, &one, BPF_ANY) < 0 ? -errno : 0;
}

void kernel_option_quiesce(struct kernel *k)
{
	for (int i = 0; i < 2; i++) {
		bpf_link__destroy(k->option_links[i]);
		k->option_links[i] = NULL;
	}
}
