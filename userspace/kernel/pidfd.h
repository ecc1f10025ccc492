/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_PIDFD_H
#define KERNEL_PIDFD_H

#include <sys/syscall.h>
#include <unistd.h>

/* asm-generic/unistd.h, for C libraries that are older than the calls */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* A descriptor of the process; -1: see errno. */
static inline int pidfd_of(int pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* One of ours for what its descriptor `fd` is; -1, without a process, too. */
static inline int pidfd_fetch(int pidfd, int fd)
{
	return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

#endif
