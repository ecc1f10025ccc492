/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_CONTEXT_H
#define SPANHOUND_CONTEXT_H

/* What the kernel half remembers per thread of execution and per function: the values of the maps that the
 * user half fills in before an attach (functions, processes) or reads when it detaches (contexts). */

#include <linux/types.h>

#include "spanhound/limits.h"

/* Cookie of a probe site: the function in the low half, flags of this site above. */
#define SH_COOKIE_FUNC(cookie) ((__u32)(cookie))
#define SH_COOKIE_SPEC	       (1ULL << 32) /* the function has a struct sh_spec; without: nothing to look up */
#define SH_COOKIE_TAIL	       (1ULL << 33) /* an end site that jumps into a probed function: the call goes on there */
#define SH_COOKIE_ENTRY_ONLY   (1ULL << 34) /* no end is observable: one record at entry */
#define SH_COOKIE_RETURN       (1ULL << 35) /* the end is seen by a return probe, which the kernel nests 64 deep at most */
/* In the uppermost 16 bits: the index of that spec. */
#define SH_COOKIE_SPEC_INDEX(cookie) ((__u32)((cookie) >> 48))
#define SH_COOKIE_OF_SPEC(index)     ((__u64)(index) << 48 | SH_COOKIE_SPEC)

#define SH_COOKIE_JUMP		     (1ULL << 36) /* an end site that jumps to where nothing is probed: the span ends here */
#define SH_COOKIE_CONDITION	     (1ULL << 37) /* an end site that jumps only if the condition code in bits 40-43 holds */
#define SH_COOKIE_CC_SHIFT	     40		  /* as in the x86 opcodes 0x70-0x7f */

/* Which span of which trace: what a child needs to know of its parent. No span: span_id 0. */
struct sh_span_context {
	__u64 trace_hi; /* Unix seconds << 32, as Datadog's tracers make it */
	__u64 trace_lo;
	__u64 span_id;
};

/* sh_frame.flags */
#define SH_FRAME_HAD_CHILD (1 << 0) /* a reported span may name this one as its parent */
#define SH_FRAME_TAIL	   (1 << 1) /* jumped into a probed function; ends with it */
#define SH_FRAME_ALTSTACK  (1 << 2) /* pushed on a signal stack that lies above the frames below it */
#define SH_FRAME_RETURN	   (1 << 3) /* holds one of the kernel's return instances */
#define SH_FRAME_SPEC	   (1 << 4) /* its spec asks for something at the end: min_duration, values */
#define SH_FRAME_ROOT	   (1 << 5) /* first span of its trace in this process */
#define SH_FRAME_CONTINUED (1 << 6) /* its parent is a span of the process that forked this one */

struct sh_frame {
	struct sh_span_context self;
	__u64 parent_id;
	__u64 sp; /* stack pointer at the function's first instruction: where the return address lies (amd64) */
	__u64 start_ns;
	__u32 func;
	__u16 record_off; /* into the arena: head and captures of the coming record; only when record_len != 0 */
	__u16 record_len;
	__u32 flags;
	__u32 pad;
};

#define SH_EXC_TYPE_LEN 64

/* An exception on its way: thrown, not yet caught. */
struct sh_exception {
	__u64 object; /* 0: none */
	__u64 thrown_ns;
	__u32 depth; /* frames open when it was thrown */
	__u32 type_len;
	char type[SH_EXC_TYPE_LEN]; /* mangled name */
};

/* What the probes of this session ask for, fixed before the programs are loaded: the verifier leaves out what is for
 * none. */
struct sh_settings {
	__u32 specs;	/* some call is not simply recorded */
	__u32 captures; /* some value is recorded: contexts have a struct sh_arena behind them */
	__u32 inject;	/* some process's requests carry their trace */
	__u32 head;	/* bytes copied of each message on a socket; at most SH_MAX_HEAD */
	__u32 lacks;  /* SH_DOES_*: what sockets do not carry whose writes are seen first, without a verdict program */
	__u32 option; /* some process's requests get TCP options */
	/* The PID namespace whose numbers name processes, by the device (as the kernel writes it) and inode of
	 * /proc/PID/ns/pid; inode 0: the initial one. Processes that are not in that very namespace are not seen. */
	__u64 pid_ns_dev, pid_ns_ino;
	__u8 syscalls[SH_MAX_SYSCALLS]; /* by number: SH_SYS_*, 0 for those that do not matter */
};

/* What a system call does to a socket: one of the forms, and flags. The socket is its first argument, but for SPLICE.
 */
#define SH_SYS_FORM	0x0f
#define SH_SYS_BUFFER	1  /* (fd, buffer, size) */
#define SH_SYS_VECTOR	2  /* (fd, struct iovec *, count) */
#define SH_SYS_MESSAGE	3  /* (fd, struct msghdr *, flags) */
#define SH_SYS_MESSAGES 4  /* (fd, struct mmsghdr *, count, flags) */
#define SH_SYS_FILE	5  /* (fd, ...): the bytes come from a file */
#define SH_SYS_SPLICE	6  /* (fd, offset, fd): either may be the socket */
#define SH_SYS_WAIT	7  /* (fd, events, count, ms): an event loop waits: what comes is not for what it did before */
#define SH_SYS_POLL	8  /* (fds, count, timeout): a wait, if for several descriptors */
#define SH_SYS_OPTION	10 /* (fd, level, option): asked for SO_ERROR, how a connect() went that was not waited for */
#define SH_SYS_URING	9  /* io_uring_enter: what it moves is not seen */
#define SH_SYS_CONNECT	11 /* (fd, ...) */
#define SH_SYS_PAIR	12 /* socketpair: (family, type, protocol, int[2]) */
#define SH_SYS_WAIT_TS	13 /* as WAIT, with a struct timespec */
#define SH_SYS_IOCTL	14 /* (fd, request, ...): FIONREAD, FIONBIO */
#define SH_SYS_FCNTL	15 /* (fd, command, flags): F_SETFL */
#define SH_SYS_WRITE	0x10
#define SH_SYS_FLAGS	0x20 /* MSG_* in the fourth argument */
#define SH_SYS_MOVES	0x40 /* moves bytes: nothing happened when it failed for the moment */

/* sh_context.base_flags; above them, from bit 8, the enum sh_link that made it. */
#define SH_BASE_FORKED	   (1 << 0) /* taken over from the process that forked this one */
#define SH_BASE_ANSWERED   (1 << 1) /* its response has begun: what is asked for now may be for another */
#define SH_BASE_LINK(link) ((link) << 8)

/* Key: execution key, the pid_tgid of the thread. */
struct sh_context {
	struct sh_span_context base; /* the exchange this thread works for: parent of its outermost calls */
	__u32 base_depth;	     /* frames open when it began: they are not its children */
	__u32 base_flags;
	__u64 base_sock;   /* key of the connection it was read from, while nothing was done for it; 0: none */
	__u64 deferred_ns; /* when a request was put off last */
	__u32 open;	   /* requests that it read, not answered */
	__u32 deferred;	   /* of those, put off */
	__u32 loops;	   /* it waits for several descriptors: what it does, it does for who was read from last */
	__u32 pad;
	__u64 rng;	    /* state of the id generator (splitmix64), seeded from the kernel's */
	__u64 seen;	    /* calls entered; added to the global sum when the thread ends */
	__u32 depth;	    /* open frames */
	__u32 inherited;    /* frames below this index were entered by the parent process, before the fork */
	__u32 return_depth; /* open frames that hold a return instance */
	__u32 arena_top;
	struct sh_exception exc;
	struct sh_exception exc_outer; /* the one under way when exc was thrown (by a destructor) */
	struct sh_frame frames[SH_MAX_FRAMES];
};

/* Captured values of a thread's open calls: a stack like the frames. Lies behind the context, in the same map value. */
struct sh_arena {
	__u8 data[SH_ARENA_SZ + SH_MAX_RECORD];
};

/* Index: the function. Written by the user half before the attach; counters by the kernel half. */
struct sh_func {
	__u32 spec; /* index into specs */
	__u32 muted; /* looked at while SH_SOME_MUTED: calls that begin now are not seen, those that are open end as usual */
	__u64 dropped;	   /* calls of this function that became no record, all kernel reasons together */
	__u64 rate_window; /* second in which rate_used counts */
	__u64 rate_used;
};

/* What a process was seen to do on connections it made (guard.bpf.h). */
struct sh_watched {
	__u32 does;   /* SH_DOES_*: what its sockets do not carry, in the map; from then on none of them is in it */
	__u32 reads;  /* of answers, as long as it is watched */
	__u32 filled; /* of these, those that filled their buffer: there may have been more, which is when programs ask how much */
};
#define SH_WATCH_READS	256
#define SH_WATCH_FILLED 16

/* Key: tgid of a chosen process. */
struct sh_process {
	__u32 flags;
	__u16 rates;	/* index of its struct sh_rates */
	__u16 reads;	/* SH_STYLE_* in the order in which it reads them (head.h), with SH_PROCESS_READS_OTHERWISE */
	__u64 excludes; /* which of the table's struct sh_exclude are for it */
	struct sh_watched watched;
	__u32 may_wait; /* its connections may be enrolled although reads from them wait (SH_DOES_BLOCK): somebody gave his word */
};

#define SH_PROCESS_KEEP_EXEC (1 << 0) /* chosen by pid: stays chosen when it executes another program */
#define SH_PROCESS_TASKS     (1 << 1) /* its threads run any task that comes (goroutines) */
/* In the upper half: where a goroutine's struct has its number; 0: not known, and nothing is known of its goroutines. */
#define SH_PROCESS_GOID(flags)	   ((flags) >> 16)
#define SH_PROCESS_OF_GOID(offset) ((__u32)(offset) << 16)

/* Key of option_ports. */
struct sh_option_port {
	__u32 netns; /* inode number of the network namespace */
	__u16 port;  /* in host order */
	__u16 pad;
};

/* Key of tasks. */
struct sh_task {
	__u64 id; /* number of a goroutine, or what names the work given */
	__u32 tgid;
	__u32 space; /* of the address space: after an exec numbers begin anew. And SH_TASK_GIVEN */
};

#define SH_TASK_GIVEN 1 /* no goroutine's, but on its way from one to another */

/* What a goroutine works for. */
struct sh_task_work {
	struct sh_span_context base;
	__u32 flags; /* SH_BASE_* */
	__u32 pad;
};
/* Of those without TASKS: a request that it read whole it acts upon before it reads another one (nginx). */
#define SH_PROCESS_AT_ONCE (1 << 16)
/* Its requests get headers, and those it reads are read for theirs. How its sockets are enrolled, and in which styles: */
#define SH_PROCESS_INJECT	       (1 << 2)
#define SH_PROCESS_INJECT_VERDICT      (1 << 3) /* the sockets have a verdict program, too */
#define SH_PROCESS_INJECT_DATADOG      (1 << 4)
#define SH_PROCESS_INJECT_TRACECONTEXT (1 << 5)
#define SH_PROCESS_URING	       (1 << 6) /* was seen to use io_uring */
#define SH_PROCESS_INJECT_B3MULTI      (1 << 7)
#define SH_PROCESS_INJECT_B3	       (1 << 8)
#define SH_PROCESS_INJECT_BAGGAGE      (1 << 9)
/* Which headers of those it reads mean something to it: Datadog's before W3C's, or, OTHERWISE, those of sh_process.reads. */
#define SH_PROCESS_READS_DATADOG      (1 << 10)
#define SH_PROCESS_READS_TRACECONTEXT (1 << 11)
#define SH_PROCESS_READS_BAGGAGE      (1 << 12)
#define SH_PROCESS_READS_OTHERWISE    (1 << 13)
#define SH_PROCESS_OPTION	      (1 << 14) /* its requests get TCP options, and those it reads are heard with theirs */
/* It is not known what it does on its sockets: INJECT takes this one's place once as many reads were seen as SH_WATCH_* say, and
 * nothing with them that sockets in the map do not carry. */
#define SH_PROCESS_WATCH	      (1 << 15)

/* What a process does on a socket that being in a map may change. */
#define SH_DOES_ASK    (1 << 1) /* FIONREAD */
#define SH_DOES_SPLICE (1 << 2) /* from it */
#define SH_DOES_WAIT   (1 << 3) /* MSG_WAITALL */
#define SH_DOES_BLOCK  (1 << 5) /* of a socket, not of a process: reads from it wait in the kernel */
/* Of SH_EV_TURN: none of its sockets was in the map yet. Without another one: it does nothing of that, and from now on they are. */
#define SH_DOES_WATCHED (1u << 31)

/* Key of handoffs: work on its way from thread to thread. The value is a struct sh_span_context. */
struct sh_handoff {
	__u64 value; /* what names it in the process: a pointer to it, mostly */
	__u32 tgid;
	__u32 pad;
};

enum sh_protocol {
	SH_PROTO_UNKNOWN = 0, /* so far */
	SH_PROTO_HTTP1 = 1,
	SH_PROTO_OTHER = 2, /* nothing for us: only passed by */
};

/* A stream socket of a chosen process. Key: address of its struct sock. */
struct sh_conn {
	__u64 id;
	union {
		__u64 ino;		/* of a Unix socket's file: tells a new socket at an old one's address */
		struct {		/* of TCP */
			__u32 sent_seq; /* where the last write began */
			__u32 next_seq; /* where the next request begins */
		};
	};
	struct sh_span_context self;   /* exchange under way */
	struct sh_span_context resume; /* what its request was written under, or its connect() called */
	__u64 connect;	   /* ns when connect() was called; since it is through, the us it took, at least 1 */
	__u64 reader;	   /* thread that read its request, which is not answered; 0: there is none */
	__u32 connect_tid; /* who called connect() */
	__u32 tgid;
	__u32 number; /* records written of it */
	__u32 first;  /* first bytes of the message under way */
	__u32 budget; /* bytes of it still to be copied */
	union {
		__u32 asked;	 /* of Unix sockets: SH_ASKED; where requests are read: the number of the last one */
		__u32 heard_seq; /* of TCP: what was written when something was read last, up to here */
	};
	__u16 family;
	__u8 protocol;
	__u8 direction;	 /* of the message under way: 1 read, 2 written, 0 none yet */
	__u8 first_cnt;	 /* valid bytes of `first` */
	__u8 misses;	 /* messages of no protocol we know */
	__u8 flags;	 /* SH_CONN_FLAG_* */
	__u8 inject;	 /* SH_CONN_INJECT_* */
	__u8 link;	 /* of the exchange that was begun before its bytes passed */
	__u8 learned;	 /* SH_LEARNED_*, of a connection that is older than us */
	__u8 talk;	 /* SH_TALK_* */
	__u32 pushed;	 /* bytes that were put into the message under way */
	__u64 parent_id; /* of that exchange */
};

/* sh_conn.inject */
#define SH_CONN_INJECT_ENROLLED (1 << 0) /* is in the map of sockets whose writes we see first */
#define SH_CONN_INJECT_OFF	(1 << 1) /* for good; to be taken out */
#define SH_CONN_INJECT_SENT	(1 << 2) /* something was written: the last of it at sent_seq */
#define SH_CONN_INJECT_PENDING	(1 << 3) /* an exchange was begun for the write under way */
#define SH_CONN_INJECT_NEXT	(1 << 4) /* next_seq is known */
#define SH_CONN_INJECT_LOST	(1 << 5) /* where the next request begins will never be known */
#define SH_CONN_INJECT_RENAMED	(1 << 6) /* of the write under way the headers were changed, not added */
#define SH_CONN_INJECT_ENTERED	(1 << 7) /* that exchange was begun as its system call was entered (option.bpf.c) */

/* sh_conn.talk: what is read goes on with what was written last, if that was for one piece of work at a time. UNKNOWN is of
 * those that speak HTTP, too. */
#define SH_TALK_HEARD	(1 << 0) /* was read from: who writes waits for an answer */
#define SH_TALK_ASKED	(1 << 1) /* was written to, and not read from since */
#define SH_TALK_SHARED	(1 << 2) /* was written to for two things at a time: whose answer is read is never known */
#define SH_TALK_UNKNOWN (1 << 3) /* connected by an event loop that serves requests, for which of them is not known */

/* sh_conn.learned: what was seen on a socket that was enrolled in mid-life (without SH_CONN_INJECT_ENROLLED). Each step but the
 * last is one of requests and answers in turn: odd is a request, ending at next_seq, that has no answer yet. */
#define SH_LEARNED_NOTHING  0
#define SH_LEARNED_ANSWERED 2
#define SH_LEARNED_KNOWN    4 /* where requests begin: from here on it is like any other */

/* What became of a socket that is to be enrolled (enrol.bpf.c). */
enum sh_wanted {
	SH_WANTED_ENROLLED = 1,
	SH_WANTED_UNREAD = 2, /* bytes lie unread on it: not now */
	SH_WANTED_WAITS = 3   /* it is read by calls that wait: perhaps one does */
};

#define SH_CONN_FLAG_TOLD     (1 << 0) /* SH_EV_CONN was written */
#define SH_CONN_FLAG_LOST     (1 << 1) /* a record was lost since the last one */
#define SH_CONN_FLAG_TUNNEL   (1 << 2) /* a CONNECT is under way */
#define SH_CONN_FLAG_SERVER   (1 << 3) /* the exchange under way is served here */
#define SH_CONN_FLAG_CONNECT  (1 << 4) /* its connect() was seen */
#define SH_CONN_FLAG_DEFERRED (1 << 5) /* the request was put off: sh_context.deferred counts it */
#define SH_CONN_FLAG_ANSWERED (1 << 6) /* the response of the exchange served here has begun */
#define SH_CONN_FLAG_LEAVES   (1 << 7) /* the response under way is the last of HTTP: 101, or 2xx to CONNECT */

/* sh_conn.asked: requests written, and what is known of the last one. In one word, since the other end reads it. */
#define SH_ASKED(number)       ((number) << 2)
#define SH_ASKED_NUMBER(asked) ((asked) >> 2)
#define SH_ASKED_UNANSWERED    (1 << 0)
#define SH_ASKED_AMBIGUOUS     (1 << 1) /* several were under way at one time: whoever reads them cannot tell them apart */

/* Key of images: an executable file whose every process is to be chosen, from its exec on. */
struct sh_image {
	__u64 ino;
	__u32 dev; /* the kernel's own encoding: major << 20 | minor */
	__u32 pad;
};

/* Bits of sh_shared.winding_up: all functions, or those that say so; their ends may not be seen any more. */
enum { SH_WINDING_UP = 1, SH_SOME_MUTED = 2 };

/* The one struct of settings and counters both halves share by memory. */
struct sh_shared {
	__u64 unix_minus_mono_ns;  /* kept by the user half */
	__u32 watch_exec;	   /* report every exec of the host, not only those of chosen processes */
	__u32 consumer_asleep;	   /* the next record is to wake the consumer */
	__u32 stop_at_exec;	   /* tgid that gets SIGSTOP when it executes a program; 0: none */
	__u32 winding_up;	   /* SH_WINDING_UP, SH_SOME_MUTED: calls that begin now may be nobody's */
	__u64 seen;		   /* calls of threads that are gone */
	__u64 process_events_lost; /* events about processes (not calls) lost to a full ring */
	__u64 drops[SH_KERNEL_DROPS];
	__u64 inherited_ends; /* ends of calls that the parent process had entered before a fork */
	__u64 strange_ends;   /* ends without an entry: called before the attach */
	__u64 exchanges;      /* requests begun on sockets of chosen processes */
	__u64 next_conn;      /* id of the last connection */
	__u64 conns_full;     /* sockets not followed: the table was full */
	__u64 data_lost; /* SH_EV_DATA records lost to a full ring, those of requests (drops[ring_full]) not among them
			  */
	__u64 handoffs_full;	   /* work given whose cause was not kept: the table was full */
	__u64 unseen_uring;	   /* io_uring_enter() calls of chosen processes: their bytes are not seen */
	__u64 injects[SH_INJECTS]; /* requests begun on enrolled sockets, by enum sh_inject */
	__u64 options[SH_OPTIONS]; /* requests, by enum sh_option_end */
	__u64 inject_enrolled;	   /* sockets whose writes were seen first */
	__u64 inject_leaving;	   /* sockets to be taken out, so far */
	__u64 inject_left_out;	   /* not enrolled: the table is full */
	__u64 read_faults;	   /* captured values whose memory was not resident or not mapped */
};

_Static_assert(sizeof(struct sh_frame) == 64, "ABI");
_Static_assert(sizeof(struct sh_func) == 32, "ABI");

#endif
