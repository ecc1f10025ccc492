/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_EVENTS_H
#define SPANHOUND_EVENTS_H

/* The records the kernel half writes into its ring buffers and the user half reads.
 * Widths are fixed, padding is explicit, sizes are asserted; byte order is the machine's.
 * A record is a struct sh_ev_hdr, then the body of its kind, then (calls only) captures.
 * pids and tids are those of the initial PID namespace; times are CLOCK_MONOTONIC nanoseconds. */

#include <linux/types.h>

#include "spanhound/context.h"

enum sh_ev_kind {
	SH_EV_CALL = 1,	  /* struct sh_ev_call: one function call, at its end */
	SH_EV_GONE = 2,	  /* struct sh_ev_gone: a call that is not reported although its children are */
	SH_EV_THREAD = 3, /* struct sh_ev_proc: first event of a thread; comm is the thread's name */
	SH_EV_FORK = 4,	  /* struct sh_ev_proc: a chosen process forked; tgid is the child, other the parent */
	SH_EV_EXEC = 5,	  /* struct sh_ev_proc: any process of the host executed a new image */
	SH_EV_EXIT = 6,	  /* struct sh_ev_proc: the last thread of a chosen process ended */
	SH_EV_MAP = 7,	  /* struct sh_ev_proc: a chosen process mapped a file as code (dlopen) */
	SH_EV_CONN = 8,	  /* struct sh_ev_conn: a connection of a chosen process that speaks a protocol we know */
	SH_EV_DATA = 9,	  /* struct sh_ev_data: one system call that moved bytes of it, or failed */
	SH_EV_CLOSE = 10, /* struct sh_ev_close: it was shut down, closed or reset */
	SH_EV_TURN = 11, /* struct sh_ev_proc: what a process does on its sockets is known now: other is SH_DOES_* */
};

struct sh_ev_hdr {
	__u32 size; /* of the whole record, a multiple of 8 */
	__u16 kind; /* enum sh_ev_kind */
	__u16 flags;
};

/* sh_ev_hdr.flags of SH_EV_CALL */
#define SH_CALL_ROOT	   (1 << 0) /* first span of its trace in this process */
#define SH_CALL_UNFINISHED (1 << 1) /* the thread ended, executed or was detached inside */
#define SH_CALL_UNWOUND	   (1 << 2) /* left by longjmp or an exception; end_ns is when that was noticed */
#define SH_CALL_EXCEPTION  (1 << 3) /* with UNWOUND: by an exception; its type is capture SH_CAPTURE_EXCEPTION */
#define SH_CALL_ENTRY_ONLY (1 << 4) /* the end of this function cannot be observed: end_ns == start_ns */
#define SH_CALL_TAIL	   (1 << 5) /* ended by a jump into an unprobed function */
#define SH_CALL_RET	   (1 << 6) /* `ret` holds the return value register */
#define SH_CALL_CONTINUED  (1 << 7) /* parent_id lives in another process (forked while it was open) */

struct sh_ev_call {
	struct sh_ev_hdr hdr;
	__u32 func;  /* index the user half gave this function */
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

/* Before the first SH_EV_DATA of the connection; a connect that fails has no data, only this and SH_EV_CLOSE. */
struct sh_ev_conn {
	struct sh_ev_hdr hdr; /* flags: SH_CONN_* */
	__u64 conn;	      /* never used again */
	__u64 time_ns;
	__u32 tgid;
	__u32 tid;	  /* 0: not known */
	__u16 family;	  /* AF_INET, AF_INET6, AF_UNIX */
	__u16 local_port; /* of TCP, in host order */
	__u16 remote_port;
	__u16 pad;
	__u32 netns;	  /* inode number of its network namespace */
	__u32 connect_us; /* how long the handshake took; 0: it was not seen */
	__u8 local[16]; /* IPv4: in the first 4 bytes; Unix: inode number of the socket in the first 8, 0: not known */
	__u8 remote[16];
	struct sh_span_context parent; /* SH_CONN_CONNECT: under which span it was called */
};

#define SH_CONN_CONNECT (1 << 0) /* its connect() was seen */

/* sh_ev_hdr.flags of SH_EV_DATA */
#define SH_DATA_WRITE	(1 << 0) /* from the process to the socket; else read */
#define SH_DATA_START	(1 << 1) /* the first bytes of this call begin a message, as far as the kernel half can tell */
#define SH_DATA_REQUEST (1 << 2) /* a request began: the ids of its exchange are in the record */
#define SH_DATA_LOST	(1 << 3) /* a record of this connection before this one was lost to a full ring */
#define SH_DATA_END	(1 << 4) /* end of file was read; len is 0 */
#define SH_DATA_ERROR	(1 << 5) /* the call failed; len is the errno */
#define SH_DATA_ROOT	(1 << 6) /* with REQUEST: its span is the first of its trace in this process */
#define SH_DATA_UNSEEN	(1 << 7) /* the bytes never were in the process's memory (sendfile, splice) */
#define SH_DATA_RENAMED \
	(1 << 8) /* with REQUEST: the span that its headers name was the caller's, on the wire they name its own */
#define SH_DATA_OPTION \
	(1 << 9) /* with REQUEST, read: a struct sh_ev_option lies behind the copied bytes, padded to 8 */

/* How the parent of an exchange was found. */
enum sh_link {
	SH_LINK_NONE = 0,
	SH_LINK_THREAD = 1, /* this thread had read the request it serves */
	SH_LINK_CONNECTION =
		2, /* the thread had just read the response to what was asked for that request, or connected for it */
	SH_LINK_HANDOFF = 3,  /* given from thread to thread by a declared hand-off */
	SH_LINK_FORK = 4,     /* taken over from the parent process */
	SH_LINK_FUNCTION = 5, /* a probed function, itself the first of its trace */
};

#define SH_TAIL_LEN 8

struct sh_ev_data {
	struct sh_ev_hdr hdr;
	__u64 conn;
	__u64 time_ns; /* at the system call's end */
	__u32 tgid;
	__u32 tid;
	__u32 len;    /* bytes that passed */
	__u32 copied; /* the first of them, behind this struct */
	__u32 seq;    /* TCP sequence number of the first; of a Unix socket: with REQUEST its number, 0: not known */
	__u32 number; /* among the records of this connection, from 1: those of one pass may come from several rings */
	__u8 link;    /* enum sh_link */
	__u8 tail_len;
	__s8 priority;	/* with `decided`: of the trace, as it is on the wire */
	__u8 decided;	/* SH_BY_*, of the decision that was made when the trace's context left; 0: none of ours */
	__u8 mechanism; /* of it: N of _dd.p.dm=-N */
	__u8 pad[3];
	struct sh_span_context self; /* of the exchange's span */
	__u64 parent_id;
	__u8 tail[SH_TAIL_LEN]; /* the last tail_len bytes, when not all were copied */
	__u64 rate;		/* that was decided by: a double, bit by bit */
};

/* Who wrote the request, as a TCP option says that came with it (spanhound/option.h). */
struct sh_ev_option {
	struct sh_span_context span;
	__s8 priority; /* or SH_OPTION_NO_PRIORITY */
	__u8 sure;     /* it knows better than the request's headers */
	__u8 pad[6];
};

struct sh_ev_close {
	struct sh_ev_hdr hdr;
	__u64 conn;
	__u64 time_ns;
	__u32 state;  /* enum sh_conn_end */
	__u32 error;  /* errno; 0: none */
	__u32 number; /* as of sh_ev_data */
	__u32 pad;
};

enum sh_conn_end {
	SH_CONN_SHUT = 1,      /* this side sends no more */
	SH_CONN_CLOSED = 2,    /* gone */
	SH_CONN_SHUT_LAST = 3, /* this side sends no more, and the other one had said so before */
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
_Static_assert(sizeof(struct sh_ev_conn) == 104, "ABI");
_Static_assert(sizeof(struct sh_ev_data) == 104, "ABI");
_Static_assert(sizeof(struct sh_ev_close) == 40, "ABI");
_Static_assert(sizeof(struct sh_ev_option) == 32, "ABI");

#endif
