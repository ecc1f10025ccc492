/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/links.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

const char *const link_kind_names[LINK_KINDS] = {"session", "multi", "perf"};

/* The start of union bpf_attr for BPF_LINK_CREATE with uprobe_multi (Linux 6.6, include/uapi/linux/bpf.h). */
struct link_create_uprobe_multi {
	uint32_t prog_fd;
	uint32_t target_fd;
	uint32_t attach_type;
	uint32_t flags;
	uint64_t path;
	uint64_t offsets;
	uint64_t ref_ctr_offsets;
	uint64_t cookies;
	uint32_t cnt;
	uint32_t multi_flags;
	uint32_t pid;
	uint32_t pad;
};

#define UPROBE_MULTI_RETURN (1U << 0) /* BPF_F_UPROBE_MULTI_RETURN */

int link_uprobe_multi(int prog_fd, const struct link_sites *s)
{
	struct link_create_uprobe_multi attr = {
		.prog_fd = (uint32_t)prog_fd,
		.attach_type = s->session ? LINK_ATTACH_UPROBE_SESSION : LINK_ATTACH_UPROBE_MULTI,
		.path = (uintptr_t)s->path,
		.offsets = (uintptr_t)s->offsets,
		.cookies = (uintptr_t)s->cookies,
		.cnt = s->cnt,
		.multi_flags = s->at_return ? UPROBE_MULTI_RETURN : 0,
		.pid = (uint32_t)s->pid,
	};
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	return fd < 0 ? -errno : fd;
}

/* The dynamic PMU "uprobe": its type, and which config bit asks for a return probe. */
static int uprobe_pmu_type(void)
{
	__cleanup(fclosep) FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int type;
	if (!f || fscanf(f, "%d", &type) != 1)
		return -ENOENT;
	return type;
}

int link_uprobe_perf(int prog_fd, const struct link_sites *s, uint32_t i, struct perf_link *ret)
{
	static int type;
	if (type <= 0)
		type = uprobe_pmu_type();
	if (type < 0)
		return type;
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = (uint32_t)type,
		.config = s->at_return ? 1 : 0, /* format/retprobe is config:0 since the PMU exists (4.17) */
		.config1 = (uintptr_t)s->path,
		.config2 = s->offsets[i],
	};
	int event = (int)syscall(SYS_perf_event_open, &attr, s->pid ? s->pid : -1, s->pid ? -1 : 0, -1,
				 PERF_FLAG_FD_CLOEXEC);
	if (event < 0)
		return -errno;
	union bpf_attr link = {
		.link_create = {
			.prog_fd = (uint32_t)prog_fd,
			.target_fd = (uint32_t)event,
			.attach_type = LINK_ATTACH_PERF_EVENT,
			.perf_event = {.bpf_cookie = s->cookies[i]},
		},
	};
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof(link));
	if (fd < 0) {
		int err = -errno;
		close(event);
		return err;
	}
	*ret = (struct perf_link){.link_fd = fd, .event_fd = event};
	return 0;
}

void perf_link_close(struct perf_link *l)
{
	closep(&l->link_fd);
	closep(&l->event_fd);
}
