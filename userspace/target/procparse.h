/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_PROCPARSE_H
#define TARGET_PROCPARSE_H

#include <stdint.h>

#include "base/sv.h"

/* The text files of /proc/PID as facts (proc(5), proc_pid_*(5)). Pure: bytes in, slices of those bytes out.
 * 0, or -EINVAL when the text is not what the kernel writes. */

struct proc_stat {
	struct sv comm;	    /* may contain anything but NUL: spaces, newlines, parentheses */
	char state;	    /* R S D T t Z X I */
	bool kernel_thread; /* PF_KTHREAD */
	int ppid;
	int threads;
	uint64_t start_ticks; /* since boot, in clock ticks: with the pid it names one process for ever */
};
int proc_stat_parse(struct sv text, struct proc_stat *ret);

struct proc_status {
	int tgid;
	int ppid;
	int ns_pid;   /* in the innermost PID namespace: as the process sees itself */
	uint32_t uid; /* real */
	uint32_t euid;
	int threads;
	int seccomp;  /* 0 none, 1 strict, 2 filter; -1 when the kernel does not say */
	int ns_depth; /* PID namespaces below the one /proc shows; 0: the same */
};
int proc_status_parse(struct sv text, struct proc_status *ret);

/* The value of a variable in NUL-separated environ text; the first one wins, as in getenv(3). */
bool environ_get(struct sv vars, const char *name, struct sv *ret);

/* The next argument of NUL-separated cmdline text; false at the end. Arguments may be empty. */
bool cmdline_next(struct sv *rest, struct sv *ret);

/* A line of /proc/PID/net/tcp{,6}: 1, 0 when it is none (the heading). */
struct tcp_line {
	uint8_t state; /* as below, or another one */
	uint16_t port, peer_port;
	uint64_t inode; /* 0: no file's: half open, or closed by its process */
};
enum { TCP_LINE_ESTABLISHED = 1, TCP_LINE_LISTENS = 10 }; /* include/net/tcp_states.h */
int tcp_parse(struct sv line, struct tcp_line *ret);

/* A listening socket in a line of /proc/PID/net/tcp{,6}: 1, 0 when the line is something else. */
int listen_parse(struct sv line, uint64_t *ret_inode, uint16_t *ret_port);

#endif
