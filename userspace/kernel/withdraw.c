/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/withdraw.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/vec.h"
#include "kernel/enrol.h"
#include "kernel/pidfd.h"

#define WITHDRAW_NS 1000000000ULL /* a program that does not read what it has received may never */
#define PAUSE_MS    2		  /* between two looks: it reads meanwhile */

uint32_t withdraw_idle(int map, struct bpf_program *idle)
{
	uint64_t key, deadline_ns = clock_mono_ns() + WITHDRAW_NS;
	uint32_t left = 0;
	if (bpf_map_get_next_key(map, NULL, &key) < 0)
		return 0;
	struct bpf_link *link = idle ? bpf_program__attach_iter(idle, NULL) : NULL;
	while (link && clock_mono_ns() < deadline_ns) {
		enrol_walk(link);
		if (bpf_map_get_next_key(map, NULL, &key) < 0)
			break;
		poll(NULL, 0, PAUSE_MS);
	}
	bpf_link__destroy(link);
	for (void *at = NULL; bpf_map_get_next_key(map, at, &key) == 0 && left < SH_MAX_CONNS; at = &key)
		left++;
	return left;
}

/* --- one process's ------------------------------------------------------------------------------------------------ */

void withdraw_begin(struct withdraw *w, struct kernel *k, int pid)
{
	*w = (struct withdraw){.kernel = k, .pidfd = pidfd_of(pid)};
}

/* Its socket's cookie, with a descriptor of ours for it; -1: it is none, or may not be had. */
static int fetch(const struct withdraw *w, int fd, uint64_t *ret_cookie)
{
	socklen_t len = sizeof(*ret_cookie);
	int ours = pidfd_fetch(w->pidfd, fd);
	if (ours >= 0 && getsockopt(ours, SOL_SOCKET, SO_COOKIE, ret_cookie, &len) < 0)
		closep(&ours);
	return ours;
}

void withdraw_add(struct withdraw *w, int fd)
{
	uint64_t cookie;
	__cleanup(closep) int ours = fetch(w, fd, &cookie);
	if (ours >= 0)
		(void)!vec_push(&w->cookies, cookie); /* one more, or not */
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static bool is_noted(const struct withdraw *w, uint64_t cookie)
{
	return w->cookies.cnt && bsearch(&cookie, w->cookies.data, w->cookies.cnt, sizeof(cookie), by_number);
}

/* By the socket's address or its cookie they are in the map, and asked for their value all say their cookie
 * (sock_hash_lookup_sys()). */
void withdraw_take(struct withdraw *w)
{
	int map = kernel_inject_maps(w->kernel).plain;
	uint64_t key, next, cookie;
	if (w->cookies.cnt)
		qsort(w->cookies.data, w->cookies.cnt, sizeof(cookie), by_number);
	int rc = bpf_map_get_next_key(map, NULL, &key);
	for (uint32_t i = 0; rc == 0 && i < 2 * SH_MAX_CONNS; i++, key = next) {
		rc = bpf_map_get_next_key(map, &key, &next); /* before this one is gone */
		if (bpf_map_lookup_elem(map, &key, &cookie) == 0 && is_noted(w, cookie))
			w->taken += bpf_map_delete_elem(map, &key) == 0;
	}
}

void withdraw_wake(struct withdraw *w, int fd)
{
	uint64_t cookie;
	int low = 0;
	socklen_t len = sizeof(low);
	__cleanup(closep) int ours = fetch(w, fd, &cookie);
	if (ours >= 0 && is_noted(w, cookie) && getsockopt(ours, SOL_SOCKET, SO_RCVLOWAT, &low, &len) == 0)
		w->woken += setsockopt(ours, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) == 0;
}

void withdraw_end(struct withdraw *w)
{
	closep(&w->pidfd);
	vec_release(&w->cookies);
}
