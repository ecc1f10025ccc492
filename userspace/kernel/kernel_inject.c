/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "kernel/kernel_private.h"
#include "kernel/withdraw.h"

struct kernel_part kernel_part_inject(struct kernel *k)
{
	return (struct kernel_part){&k->inject.on, k->inject.why_not, "that inject"};
}

void kernel_inject_prepare(struct kernel *k)
{
	if (!k->options.inject || !k->options.sockets) {
		snprintf(k->inject.why_not, sizeof(k->inject.why_not), "it was not asked for (--inject)");
		return;
	}
	inject_probe(&k->inject, k->options.inject_verdict);
	if (k->inject.on && k->options.inject_useful && !k->options.inject_useful(k->options.arg, &k->inject)) {
		k->inject.on = false;
		snprintf(k->inject.why_not, sizeof(k->inject.why_not),
			 "no process that was chosen could get any on this kernel (--inject: whoever comes later)");
	}
}

static int inject_attach_maps(struct kernel *k)
{
	int message = bpf_program__fd(k->skel->progs.inject_message),
	    pass = bpf_program__fd(k->skel->progs.inject_pass);
	int plain = bpf_map__fd(k->skel->maps.inject_plain), verdict = bpf_map__fd(k->skel->maps.inject_verdict);
	if (bpf_prog_attach(message, plain, BPF_SK_MSG_VERDICT, 0) < 0 ||
	    bpf_prog_attach(message, verdict, BPF_SK_MSG_VERDICT, 0) < 0 ||
	    bpf_prog_attach(pass, verdict, BPF_SK_SKB_VERDICT, 0) < 0)
		return -errno;
	return 0;
}

void kernel_inject_attach(struct kernel *k)
{
	struct sbuf err = {0};
	if (!k->inject.on)
		return;
	int rc = inject_attach_maps(k);
	if (rc < 0) {
		kernel_part_off(kernel_part_inject(k), "a program for a map of sockets", rc);
		return;
	}
	__cleanup(closep) int cgroup = inject_open_cgroup(&err);
	if (cgroup >= 0) {
		k->inject_link = bpf_program__attach_cgroup(k->skel->progs.inject_enrol, cgroup);
		if (!k->inject_link)
			kernel_part_off(kernel_part_inject(k), "a program for connections (sockops)", -errno);
	} else {
		kernel_part_off(kernel_part_inject(k), sbuf_str(&err), cgroup);
	}
	sbuf_release(&err);
}

const struct inject_status *kernel_inject(const struct kernel *k)
{
	return &k->inject;
}

struct sh_rates *kernel_rates(struct kernel *k)
{
	return k->rates;
}

static struct bpf_program *loaded(struct bpf_program *p)
{
	return bpf_program__fd(p) < 0 ? NULL : p;
}

struct inject_maps kernel_inject_maps(const struct kernel *k)
{
	const struct spanhound *s = k->skel;
	return (struct inject_maps){bpf_map__fd(s->maps.inject_plain), bpf_map__fd(s->maps.inject_wanted),
				    loaded(s->progs.enrol_older)};
}

int kernel_set_exclude(struct kernel *k, uint32_t index, const struct sh_exclude *x)
{
	return bpf_map_update_elem(bpf_map__fd(k->skel->maps.excludes), &index, x, BPF_ANY) < 0 ? -errno : 0;
}

void kernel_inject_pass(struct kernel *k)
{
	const volatile struct sh_shared *shared = kernel_shared(k);
	uint64_t key;
	while (k->inject_left < shared->inject_leaving &&
	       bpf_map_lookup_and_delete_elem(bpf_map__fd(k->skel->maps.inject_leaving), NULL, &key) == 0) {
		k->inject_left++;
		bpf_map_delete_elem(bpf_map__fd(k->skel->maps.inject_plain), &key);
		bpf_map_delete_elem(bpf_map__fd(k->skel->maps.inject_verdict), &key);
	}
}

uint32_t kernel_inject_unread(const struct kernel *k)
{
	return k->inject_unread;
}

void kernel_inject_quiesce(struct kernel *k)
{
	bpf_link__destroy(k->inject_link);
	k->inject_link = NULL;
	if (k->inject.on)
		k->inject_unread =
			withdraw_idle(bpf_map__fd(k->skel->maps.inject_verdict), loaded(k->skel->progs.withdraw_idle));
}
