/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/syscalls.h"

#include <string.h>
#include <sys/syscall.h>

static const struct {
	unsigned number;
	__u8 what; /* SH_SYS_MOVES is added to those with a form up to SPLICE */
} syscalls[] = {
	{__NR_read, SH_SYS_BUFFER},
	{__NR_write, SH_SYS_BUFFER | SH_SYS_WRITE},
	{__NR_readv, SH_SYS_VECTOR},
	{__NR_writev, SH_SYS_VECTOR | SH_SYS_WRITE},
	{__NR_recvfrom, SH_SYS_BUFFER | SH_SYS_FLAGS},
	{__NR_sendto, SH_SYS_BUFFER | SH_SYS_FLAGS | SH_SYS_WRITE},
	{__NR_recvmsg, SH_SYS_MESSAGE},
	{__NR_sendmsg, SH_SYS_MESSAGE | SH_SYS_WRITE},
	{__NR_recvmmsg, SH_SYS_MESSAGES | SH_SYS_FLAGS},
	{__NR_sendmmsg, SH_SYS_MESSAGES | SH_SYS_FLAGS | SH_SYS_WRITE},
	{__NR_sendfile, SH_SYS_FILE | SH_SYS_WRITE},
	{__NR_splice, SH_SYS_SPLICE},
	{__NR_io_uring_enter, SH_SYS_URING},
	{__NR_getsockopt, SH_SYS_OPTION},
	{__NR_connect, SH_SYS_CONNECT},
	{__NR_socketpair, SH_SYS_PAIR},
	{__NR_ioctl, SH_SYS_IOCTL},
	{__NR_fcntl, SH_SYS_FCNTL},
	{__NR_epoll_pwait, SH_SYS_WAIT},
	{__NR_epoll_pwait2, SH_SYS_WAIT_TS},
	{__NR_ppoll, SH_SYS_POLL},
/* select's first argument is a descriptor, not a count: whether it waits for one or for many cannot be told. */
#ifdef __NR_epoll_wait /* the older calls, which newer architectures left out */
	{__NR_epoll_wait, SH_SYS_WAIT},
	{__NR_poll, SH_SYS_POLL},
#endif
};

void syscalls_fill(__u8 table[SH_MAX_SYSCALLS])
{
	memset(table, 0, SH_MAX_SYSCALLS);
	for (size_t i = 0; i < sizeof(syscalls) / sizeof(syscalls[0]); i++)
		if (syscalls[i].number < SH_MAX_SYSCALLS)
			table[syscalls[i].number] =
				syscalls[i].what |
				((syscalls[i].what & SH_SYS_FORM) <= SH_SYS_SPLICE ? SH_SYS_MOVES : 0);
}
