/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "base/sbuf.h"

/* What memory we may take, and take: by our own count (limits: memory:), or by that of the cgroup we run in, which the
 * kernel enforces by killing. There BPF maps count, too, and pages of files that nobody else has read. */
struct memory_limit {
	uint64_t bytes;	    /* 0: none */
	char *usage, *stat; /* files of the cgroup that sets it; NULL: resident memory is what counts */
};

/* `wanted` bytes; 0: as much as the cgroup lets us, the tightest of it and those above it. `proc_self` and `root` are
 * /proc/self/cgroup and /sys/fs/cgroup; v1 and v2 (cgroups(7)). 0 or -ENOMEM. */
int memory_limit_init(struct memory_limit *m, uint64_t wanted, const char *proc_self, const char *root);
void memory_limit_release(struct memory_limit *m);
/* Bytes that count towards the limit now; of a cgroup without what the kernel drops first (inactive_file). */
uint64_t memory_used(const struct memory_limit *m);

#endif
