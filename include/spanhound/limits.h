/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_LIMITS_H
#define SPANHOUND_LIMITS_H

/* The sizes both halves must agree on, and the drop reasons they count. */

#define SH_MAX_FRAMES	 128   /* open probed calls of one thread */
#define SH_ARENA_SZ	 4096  /* captured values of a thread's open calls, bytes; a power of two */
#define SH_MAX_THREADS	 32768 /* execution contexts; memory is taken only for those in use */
#define SH_MAX_PROCESSES 8192  /* chosen processes, children included */
#define SH_KERNEL_NEST	 64    /* MAX_URETPROBE_DEPTH of kernel/events/uprobes.c */
#define SH_MAX_RECORD	 2560  /* bound of one call record with all its captures */
#define SH_MAX_HANDOFFS	 65536 /* work on its way between threads */
#define SH_MAX_TASKS	 3584  /* goroutines that serve, and work on its way to one; the longest unused gives way */
#define SH_MAX_CONNS	 65536 /* sockets of chosen processes; memory is taken only for those in use */
#define SH_MAX_HEAD	 4096  /* most bytes copied of one message */
#define SH_HEAD_DEFAULT	 1024
#define SH_MAX_IOVECS	 64    /* of one vectored call, looked at */
#define SH_MAX_INJECTED	 16384 /* bytes of one write into which a header is put */
#define SH_MAX_REMOTES	 65536 /* traces that came with requests, remembered */
#define SH_MAX_CARRIED	 4096  /* requests that came with more than ids: what that was, remembered */
#define SH_MAX_DECIDED	 16384 /* traces that were decided about as their context left */
#define SH_MAX_RATES	 1024  /* processes that are sampled differently */
#define SH_MAX_SYSCALLS	 512   /* system call numbers looked at */
#define SH_MAX_PORTS	 1024  /* that chosen processes listen on, where TCP options are heard */

enum sh_drop {
#define DROP(id, name, help) SH_DROP_##name = id,
#include "spanhound/counters.def"
#undef DROP
};
enum sh_inject {
#define INJECT(id, name, help) SH_INJECT_##name = id,
#include "spanhound/inject.def"
#undef INJECT
};
#define SH_INJECTS 32 /* a power of two */
enum sh_option_end {
#define OPTION(id, name, help) SH_OPTION_##name = id,
#include "spanhound/option.def"
#undef OPTION
};
#define SH_OPTIONS	32 /* a power of two */

#define SH_KERNEL_DROPS 32 /* ids below are counted by the kernel half */
#define SH_MAX_DROPS	64

#endif
