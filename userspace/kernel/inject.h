/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_INJECT_H
#define KERNEL_INJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sbuf.h"

/* Trace context into requests (bpf/inject.bpf.c): sockets whose writes are seen first are in a sockmap, and that changes what
 * they do when they are read. What exactly differs from kernel to kernel, and is found out by trying it on a connection of our
 * own. Two ways to be in such a map: */
enum inject_mode {
	INJECT_PLAIN, /* with a program for what is written alone. Some kernels (6.6.128, 6.12.75, 6.18.14 and newer) then
			 * answer FIONREAD with 0, and who asks it waits for ever for bytes that are there */
	INJECT_VERDICT, /* with one for what is received, too: then FIONREAD is right, but splice() from the socket waits for
			 * ever, and MSG_WAITALL returns early */
	INJECT_MODES
};
const char *inject_mode_name(enum inject_mode mode);

/* What a reader does that not every mode carries. */
#define INJECT_READS   (1u << 0) /* read, recv, peek, end of file, many bytes both ways: what everybody does */
#define INJECT_ASKS    (1u << 1) /* FIONREAD */
#define INJECT_SPLICES (1u << 2)
#define INJECT_WAITS   (1u << 3) /* MSG_WAITALL */
#define INJECT_ALL     (INJECT_READS | INJECT_ASKS | INJECT_SPLICES | INJECT_WAITS)

/* Of a mode, not of a reader: a connection may be enrolled while a part of what came on it is read, and the rest is not. Else that
 * part comes twice (kernel/enrol.h). */
#define INJECT_JOINS (1u << 4)

/* Of a connection: it may be read by calls that wait (no O_NONBLOCK). Else what interrupts the wait, a signal or a reset, is told as
 * EAGAIN, which no program expects there (tcp_msg_wait_data() of net/ipv4/tcp_bpf.c). */
#define INJECT_BLOCKS (1u << 5)

#define WHY_NOT_SZ    512

/* Found out at start. */
struct inject_status {
	bool on;
	bool tried[INJECT_MODES];
	uint32_t carries
		[INJECT_MODES]; /* INJECT_*, INJECT_JOINS and INJECT_BLOCKS too; of a mode that was not tried nothing */
	char why_not[WHY_NOT_SZ]; /* if not on */
};

/* Tries one mode on a loopback connection: returns INJECT_* of what works, or -errno if the kernel has no such maps. Takes some
 * 50 ms. */
int inject_try(enum inject_mode mode);

/* Tries the plain mode and, if wanted, the other one; not on when none is read as other sockets are. */
void inject_probe(struct inject_status *ret, bool verdict);
/* "on", "why_not", and for each mode "MODE_lacks"; null: it was not tried. */
void inject_json(const struct inject_status *s, struct sbuf *out);
/* What a mode does not carry, in words; empty: nothing. */
void inject_explain(const struct inject_status *s, enum inject_mode mode, struct sbuf *out);

/* The mode for a process that does `does` (INJECT_*); -1: it is to be left alone. Never INJECT_VERDICT, which a user has to ask
 * for: received bytes wait in a queue of the map's then, and those that wait when the map goes, since we are killed, are lost to the
 * program. (kernel/withdraw.h: when we end.) */
int inject_choose(const struct inject_status *s, uint32_t does);

/* The root of the cgroup v2 hierarchy, an open directory (the caller closes it), wherever it is mounted; or -errno. */
int inject_open_cgroup(struct sbuf *err);

#endif
