/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/enrol.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kernel/pidfd.h"

#define WALKS 3 /* what is unread now may be read a moment later */

/* -1 for our own; what cannot be told is taken for that, and the sockets are not met there. */
static int foreign_netns(int proc_dir)
{
	struct stat own, its;
	__cleanup(closep) int fd = openat(proc_dir, "ns/net", O_RDONLY | O_CLOEXEC);
	bool foreign = fd >= 0 && fstat(fd, &its) == 0 && stat("/proc/self/ns/net", &own) == 0 &&
		       (its.st_ino != own.st_ino || its.st_dev != own.st_dev);
	return foreign ? move_fd(fd) : -1;
}

void enrol_begin(struct enrol *e, struct kernel *k, int pid, int proc_dir, enum inject_mode mode)
{
	*e = (struct enrol){.kernel = k, .mode = mode, .netns = -1, .start_ns = clock_mono_ns()};
	e->pidfd = pidfd_of(pid);
	if (e->pidfd < 0)
		e->why_withheld = -errno;
	if (mode == INJECT_VERDICT)
		e->netns = foreign_netns(proc_dir);
}

static void note(struct enrol *e, int err)
{
	switch (err) {
	case 0:
		e->enrolled++;
		break;
	case EEXIST: /* in the map; */
	case EBUSY:  /* in the other one */
	case ENOENT: /* closed meanwhile */
		break;
	case E2BIG: /* the table is full */
	case ENOSPC:
		e->full++;
		break;
	default:
		e->unfit++;
	}
}

/* Left to the kernel half. */
static void want(struct enrol *e, int map, uint64_t cookie)
{
	int64_t nothing = 0;
	if (bpf_map_update_elem(map, &cookie, &nothing, BPF_NOEXIST) < 0)
		note(e, errno);
	else
		e->wanted++;
}

void enrol_add(struct enrol *e, int fd, uint64_t inode)
{
	struct inject_maps maps = kernel_inject_maps(e->kernel);
	uint32_t carries = kernel_inject(e->kernel)->carries[e->mode];
	uint64_t cookie = 0, value;
	socklen_t len = sizeof(cookie);
	struct stat st;
	__cleanup(closep) int ours = pidfd_fetch(e->pidfd, fd);
	if (ours < 0) {
		int err = e->pidfd < 0 ? -e->why_withheld : errno;
		if (err == EBADF || (e->pidfd >= 0 && err == ESRCH))
			return; /* it is gone */
		e->why_withheld = -err;
		e->withheld++;
		return;
	}
	if (fstat(ours, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_ino != inode)
		return;
	if (getsockopt(ours, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0) {
		note(e, errno);
	} else if (e->mode == INJECT_VERDICT) {
		want(e, maps.wanted, cookie);
	} else if (!(carries & INJECT_JOINS)) {
		e->unfit++;
	} else if (!(carries & INJECT_BLOCKS) && !e->may_wait && !(fcntl(ours, F_GETFL) & O_NONBLOCK)) {
		e->blocking++;
	} else {
		value = (uint64_t)ours;
		note(e, bpf_map_update_elem(maps.plain, &cookie, &value, BPF_NOEXIST) < 0 ? errno : 0);
	}
}

/* --- by the kernel half ------------------------------------------------------------------------------------------- */

void enrol_walk(struct bpf_link *link)
{
	__cleanup(closep) int fd = bpf_iter_create(bpf_link__fd(link));
	char nothing[64];
	ssize_t n = 1;
	while (fd >= 0 && (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))))
		n = read(fd, nothing, sizeof(nothing));
}

struct walker {
	struct bpf_link *link;
	int netns;
};

static void *walk_there(void *arg)
{
	struct walker *w = arg;
	if (setns(w->netns, CLONE_NEWNET) == 0)
		enrol_walk(w->link);
	return NULL;
}

/* The iterator sees the network namespace of the thread that opens it: another one is entered by a thread that ends there. */
static void walk_sockets(struct bpf_link *link, int netns)
{
	struct walker w = {link, netns};
	pthread_t thread;
	if (netns < 0)
		enrol_walk(link);
	else if (pthread_create(&thread, NULL, walk_there, &w) == 0)
		pthread_join(thread, NULL);
}

/* Those with unread bytes are to be looked at again: how many they are. */
static unsigned try_again(int map)
{
	uint64_t key, *previous = NULL;
	int64_t state, nothing = 0;
	unsigned cnt = 0;
	while (bpf_map_get_next_key(map, previous, &key) == 0) {
		previous = &key;
		if (bpf_map_lookup_elem(map, &key, &state) == 0 && state == SH_WANTED_UNREAD)
			cnt += bpf_map_update_elem(map, &key, &nothing, BPF_EXIST) == 0;
	}
	return cnt;
}

static void take_results(struct enrol *e, int map)
{
	uint64_t key, next;
	int64_t state;
	/* A key is deleted once the one behind it is known: from a key that is gone the search begins anew. */
	for (int rc = bpf_map_get_next_key(map, NULL, &key); rc == 0; key = next) {
		rc = bpf_map_get_next_key(map, &key, &next);
		if (bpf_map_lookup_elem(map, &key, &state) < 0)
			state = 0;
		bpf_map_delete_elem(map, &key);
		if (state == SH_WANTED_UNREAD)
			e->unread++;
		else if (state == SH_WANTED_WAITS)
			e->waits++;
		else
			note(e, state == SH_WANTED_ENROLLED ? 0 : state < 0 ? (int)-state : EINVAL);
	}
}

static void enrol_wanted(struct enrol *e)
{
	struct inject_maps maps = kernel_inject_maps(e->kernel);
	struct bpf_link *link = maps.older ? bpf_program__attach_iter(maps.older, NULL) : NULL;
	for (int i = 0; link && i < WALKS; i++) {
		if (i && !try_again(maps.wanted))
			break;
		walk_sockets(link, e->netns);
	}
	bpf_link__destroy(link);
	take_results(e, maps.wanted);
}

void enrol_end(struct enrol *e)
{
	if (e->wanted)
		enrol_wanted(e);
	closep(&e->pidfd);
	closep(&e->netns);
	e->took_ns = clock_mono_ns() - e->start_ns;
}
