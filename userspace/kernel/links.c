/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/links.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/resource.h>
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

/* What a session opens beside its links: modules, /proc, exporters. */
#define FDS_ELSE	    512

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

int link_uprobe_perf(int prog_fd, const struct link_sites *s, uint32_t i)
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
		.link_create =
			{
				.prog_fd = (uint32_t)prog_fd,
				.target_fd = (uint32_t)event,
				.attach_type = LINK_ATTACH_PERF_EVENT,
				.perf_event = {.bpf_cookie = s->cookies[i]},
			},
	};
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof(link));
	int err = fd < 0 ? -errno : 0;
	close(event);
	return fd < 0 ? err : fd;
}

/* The usual soft limit of 1024 is there for programs that call select(2). */
int link_fds_reserve(uint32_t cnt)
{
	struct rlimit l;
	int next = dup(STDERR_FILENO); /* the lowest that is free: so many are open, or a few more */
	if (next < 0 || getrlimit(RLIMIT_NOFILE, &l) < 0)
		return -errno;
	close(next);
	rlim_t want = (rlim_t)next + cnt + FDS_ELSE;
	if (l.rlim_cur >= want)
		return 0;
	l.rlim_cur = want;
	if (l.rlim_max < want)
		l.rlim_max = want; /* root may */
	return setrlimit(RLIMIT_NOFILE, &l) < 0 ? -errno : 0;
}
