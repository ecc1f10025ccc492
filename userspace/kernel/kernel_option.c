/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "kernel/kernel_private.h"

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
