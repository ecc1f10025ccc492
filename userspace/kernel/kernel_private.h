/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_KERNEL_PRIVATE_H
#define KERNEL_KERNEL_PRIVATE_H

#include <bpf/libbpf.h>
#include <pthread.h>

#include "base/vec.h"
#include "kernel/kernel.h"
#include "spanhound.skel.h"

/* kernel.c: loads, links, and what is chosen; kernel_inject.c: the programs that put headers into requests; kernel_option.c: those that
 * put TCP options beside them. */

#define MAX_PROCESS_LINKS 3
#define MAX_SOCKET_LINKS  4
#define DETACHERS	  8

struct kernel {
	struct spanhound *skel;
	struct ring_set *rings;
	struct kernel_options options;
	struct sh_func *functions; /* mapped */
	size_t functions_sz;
	struct sh_rates *rates; /* mapped; NULL: nothing is injected */
	int muted_cnt;
	struct bpf_link *process_links[MAX_PROCESS_LINKS], *socket_links[MAX_SOCKET_LINKS];
	pthread_t detachers[DETACHERS];
	unsigned detacher_cnt;
	pthread_mutex_t detach_lock;
	pthread_cond_t detach_more;
	VEC(struct kernel_attachment *) detach; /* for the detachers */
	unsigned detaching;			/* taken by a detacher, and not done */
	bool detach_stop;
	struct inject_status inject;
	struct bpf_link *inject_link;
	uint64_t inject_left; /* sockets taken out */
	uint32_t inject_unread;
	struct option_status option;
	struct bpf_link *option_links[2]; /* connections and segments; who listens */
	struct sbuf log;		  /* libbpf's words while loading, for the error message */
};

struct kernel_attachment {
	int multi_fd;
	VEC(int) perf_fds;
};

/* What all the rest works without. */
struct kernel_part {
	bool *on;
	char *why_not;	      /* WHY_NOT_SZ */
	const char *programs; /* "that ..." */
};
struct kernel_part kernel_part_inject(struct kernel *k);
struct kernel_part kernel_part_option(struct kernel *k);
/* It is off from here on: what failed, and how. */
void kernel_part_off(struct kernel_part p, const char *what, int rc);
/* Likewise when loading failed with its programs: why, from what libbpf said. */
void kernel_part_not_loaded(struct kernel *k, struct kernel_part p, int rc);

/* In this order. Before anything is loaded: does it work on a connection of our own? */
void kernel_inject_prepare(struct kernel *k);
void kernel_inject_attach(struct kernel *k);
/* No further header, and no socket of the targets' in our maps. */
void kernel_inject_quiesce(struct kernel *k);

/* Likewise. */
void kernel_option_prepare(struct kernel *k);
void kernel_option_attach(struct kernel *k);
void kernel_option_quiesce(struct kernel *k);

#endif
