/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_EVENTS_H
#define SPANHOUND_EVENTS_H

/* The records the kernel half writes into its ring buffers and the user half reads.
 * Widths are fixed, padding is explicit, sizes are asserted; byte order is the machine's.
 * A record is a struct sh_ev_hdr, then the body of its kind, then (calls only) captures.
 * pids and tids are those of the initial PID namespace; times are CLOCK_MONOTONIC nanoseconds. */

#include <linux/types.h>

enum sh_ev_kind {
	SH_EV_CALL = 1,   /* struct sh_ev_call: one function call, at its end */
	SH_EV_GONE = 2,   /* struct sh_ev_gone: a call that is not reported although its children are */
	SH_EV_THREAD = 3, /* struct sh_ev_proc: first event of a thread; comm is the thread's name */
	SH_EV_FORK = 4,   /* struct sh_ev_proc: a chosen process forked; tgid is the child, other the parent */
	SH_EV_EXEC = 5,   /* struct sh_ev_proc: any process of the host executed a new image */
	SH_EV_EXIT = 6,   /* struct sh_ev_proc: the last thread of a chosen process ended */
	SH_EV_MAP = 7,    /* struct sh_ev_proc: a chosen process mapped a file as code (dlopen) */
};

struct sh_ev_hdr {
	__u32 size; /* of the whole record, a multiple of 8 */
	__u16 kind; /* enum sh_ev_kind */
	__u16 flags;
};

/* sh_ev_hdr.flags of SH_EV_CALL */
#define SH_CALL_ROOT       (1 << 0)  /* first span of its trace in this process */
#define SH_CALL_UNFINISHED (1 << 1)  /* the thread ended, executed or was detached inside */
#define SH_CALL_UNWOUND    (1 << 2)  /* left by longjmp or an exception; end_ns is when that was noticed */
#define SH_CALL_EXCEPTION  (1 << 3)  /* with UNWOUND: by an exception; its type is capture SH_CAPTURE_EXCEPTION */
#define SH_CALL_ENTRY_ONLY (1 << 4)  /* the end of this function cannot be observed: end_ns == start_ns */
#define SH_CALL_TAIL       (1 << 5)  /* ended by a jump into an unprobed function */
#define SH_CALL_RET        (1 << 6)  /* `ret` holds the return value register */
#define SH_CALL_CONTINUED  (1 << 7)  /* parent_id lives in another process (forked while it was open) */

struct sh_ev_call {
	struct sh_ev_hdr hdr;
	__u32 func; /* index the user half gave this function */
	__u32 depth; /* open calls of the thread below this one */
	__u32 tgid;
	__u32 tid;
	__u64 trace_hi; /* Unix seconds << 32, as Datadog's tracers make it */
	__u64 trace_lo;
	__u64 span_id;
	__u64 parent_id; /* 0: the trace starts here */
	__u64 start_ns;
	__u64 end_ns;
	__u64 ret;
};

struct sh_ev_gone {
	struct sh_ev_hdr hdr; /* flags: SH_CALL_ROOT when it was its trace's first span */
	__u32 func;
	__u32 tgid;
	__u64 trace_hi;
	__u64 trace_lo;
	__u64 span_id;
	__u64 parent_id; /* whose children the orphans become */
	__u64 time_ns;
};

#define SH_COMM_LEN 16 /* TASK_COMM_LEN of the kernel */

struct sh_ev_proc {
	struct sh_ev_hdr hdr;
	__u32 tgid;
	__u32 tid;
	__u32 other; /* FORK: parent's tgid; EXIT: exit code as wait() gives it; MAP, EXEC: 0 */
	__u32 pad;
	__u64 time_ns;
	char comm[SH_COMM_LEN];
};

/* One captured value, behind sh_ev_call, each padded to 8 bytes. */
struct sh_capture {
	__u8 index; /* into the function's sh_spec.captures, or SH_CAPTURE_EXCEPTION */
	__u8 type;  /* enum sh_type */
	__u16 flags;
	__s32 len; /* bytes that follow; -errno: the value could not be read */
};

#define SH_CAPTURE_EXCEPTION 0xff /* index of the thrown type's (mangled) name */
#define SH_CAPTURE_TRUNCATED (1 << 0)

_Static_assert(sizeof(struct sh_ev_hdr) == 8, "ABI");
_Static_assert(sizeof(struct sh_ev_call) == 80, "ABI");
_Static_assert(sizeof(struct sh_ev_gone) == 56, "ABI");
_Static_assert(sizeof(struct sh_ev_proc) == 48, "ABI");
_Static_assert(sizeof(struct sh_capture) == 8, "ABI");

#endif
