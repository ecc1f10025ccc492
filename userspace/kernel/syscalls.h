/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_SYSCALLS_H
#define KERNEL_SYSCALLS_H

#include "spanhound/context.h"

/* What each system call does to a socket (SH_SYS_*), by its number on this architecture. */
void syscalls_fill(__u8 table[SH_MAX_SYSCALLS]);

#endif
