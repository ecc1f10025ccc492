/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_LINKS_H
#define KERNEL_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/sbuf.h"

/* Raw links: Debian 12's libbpf 1.1 knows neither uprobe_multi nor session links. */

/* Values of enum bpf_attach_type in include/uapi/linux/bpf.h since Linux 6.6 and 6.13; older headers lack them. */
#define LINK_ATTACH_PERF_EVENT	   41
#define LINK_ATTACH_UPROBE_MULTI   48
#define LINK_ATTACH_UPROBE_SESSION 57

enum link_kind {
	LINK_SESSION, /* one uprobe_multi link, one program for entry and return (>= 6.13) */
	LINK_MULTI,   /* one uprobe_multi link per program (>= 6.6) */
	LINK_PERF,    /* one perf event and link per site */
	LINK_KINDS,
};
extern const char *const link_kind_names[LINK_KINDS];

/* Probe sites of one file. */
struct link_sites {
	const char *path;	 /* as the kernel should open it: /proc/self/fd/N finds files that have no path here */
	const uint64_t *offsets; /* in the file */
	const uint64_t *cookies;
	uint32_t cnt;
	pid_t pid;	/* only this process pays and is seen; 0: everyone who maps the file */
	bool at_return; /* a return probe at each site */
	bool session;
};

/* One uprobe_multi link: a new fd, or -errno. */
int link_uprobe_multi(int prog_fd, const struct link_sites *sites);
/* One site: a new fd, or -errno. The perf event behind it lives as long as the link, which holds it. Closing takes the
 * kernel about a tenth of a second (perf_trace_event_unreg() waits for every CPU), and one after the other (event_mutex). */
int link_uprobe_perf(int prog_fd, const struct link_sites *sites, uint32_t i);
/* Room for so many links more, which perf links need: one fd each. */
int link_fds_reserve(uint32_t cnt);

#endif
