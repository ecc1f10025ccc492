/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_ENROL_H
#define KERNEL_ENROL_H

#include "kernel/kernel.h"

/*
 * Connections of a process that are older than us, into the map of sockets whose writes are seen first (kernel/inject.h).
 *
 * By a descriptor of the socket that pidfd_getfd() makes for us: which socket it is is asked of it (fstat, SO_COOKIE), it is
 * put into the map and closed at once. It is not read from, written to, or set. The process is not stopped. Should it close its own
 * descriptor in that instant, ours is the last one: the connection ends some microseconds later, and its SO_LINGER is ours to
 * wait for.
 *
 * In the mode with a verdict program bytes that lie unread on a socket, a part of a segment, would come twice: there the socket is
 * enrolled by the kernel half (bpf/enrol.bpf.c), when nothing is unread. And a read that waits already would wait for ever: only
 * sockets with O_NONBLOCK are enrolled. From Linux 6.5 on; the kernels before have no need of that mode.
 *
 * What may be done with the connection then: bpf/learn.bpf.h.
 */
struct enrol {
	struct kernel *kernel;
	enum inject_mode mode;
	bool may_wait;	  /* a read that waits in the kernel is no reason against it: somebody gave his word */
	int pidfd, netns; /* netns: -1: our own */
	uint64_t start_ns;
	uint32_t wanted; /* left to the kernel half */

	/* The account, of connections. Those that went meanwhile, or are enrolled already, are in none of these. */
	uint32_t enrolled;
	uint32_t withheld; /* we may not have its descriptors, */
	int why_withheld;  /* of the last one: -errno */
	uint32_t unread;   /* bytes lay unread on them, in a mode that garbles them */
	uint32_t blocking; /* reads from them wait in the kernel, which this mode does not carry */
	uint32_t waits;	   /* a read may be waiting on them, in a mode in which it would for ever */
	uint32_t unfit;	   /* the kernel lets them into no such map: kTLS, MPTCP, not established */
	uint32_t full;	   /* it is full */
	uint64_t took_ns;
};

/* Process `pid`, of which `proc_dir` is open: /proc/PID. An -errno is remembered: every connection is withheld then. */
void enrol_begin(struct enrol *e, struct kernel *k, int pid, int proc_dir, enum inject_mode mode);
/* Its descriptor, if it is still this socket's. */
void enrol_add(struct enrol *e, int fd, uint64_t inode);
/* Runs a program of the kind iter/tcp over the sockets of our network namespace. */
struct bpf_link;
void enrol_walk(struct bpf_link *link);
/* Does what is left, and completes the account. */
void enrol_end(struct enrol *e);

#endif
