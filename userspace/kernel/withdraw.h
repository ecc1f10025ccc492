/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_WITHDRAW_H
#define KERNEL_WITHDRAW_H

#include "kernel/kernel.h"

struct bpf_program;

/* Sockets out of the maps of those whose writes are seen first (kernel/inject.h), before their time. */

/* When we end: of `map`, whose sockets have a verdict program, by `idle` (bpf/enrol.bpf.c; NULL: not loaded), each at a moment
 * when nothing it received waits in the map's queue, where it would be lost. Nothing may be enrolled any more. Waits for programs
 * that do not read, but not for ever. Returns how many are left; those of other network namespaces are. */
uint32_t withdraw_idle(int map, struct bpf_program *idle);

/*
 * One process's, from the map without a verdict program, while it runs: it began to do what sockets there do not carry. Twice over
 * its descriptors, between them withdraw_take():
 *
 *   withdraw_add()   notes which sockets they are
 *   withdraw_wake()  makes those that were taken out say once more that they are readable: a program that was told there is
 *                    nothing to read may wait for bytes that are there (by SO_RCVLOWAT set to what it is: tcp_set_rcvlowat())
 *
 * By descriptors that pidfd_getfd() makes for us, as kernel/enrol.h has it.
 */
struct withdraw {
	struct kernel *kernel;
	int pidfd;
	struct {
		uint64_t *data;
		size_t cnt, cap;
	} cookies; /* sorted by withdraw_take() */
	uint32_t taken, woken;
};

void withdraw_begin(struct withdraw *w, struct kernel *k, int pid);
void withdraw_add(struct withdraw *w, int fd);
void withdraw_take(struct withdraw *w);
void withdraw_wake(struct withdraw *w, int fd);
void withdraw_end(struct withdraw *w);

#endif
