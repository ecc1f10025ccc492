/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/ring.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "spanhound/limits.h"

/* Time that one pass covers at most: what is in flight between it and the next is bounded by time, not by a full ring.
 */
#define PASS_NS (2 * NSEC_PER_MSEC)
/* Room is given back in pieces: producers read this position at every record, and each change takes its cache line from
 * them. */
#define RELEASE_SHARE 32

/* The records were written by another CPU, whose cache they are still in: each line takes a hundred nanoseconds to come,
 * unless it was asked for that much ahead. Bytes. */
#define FETCH_AHEAD 1024
#define CACHE_LINE  64

struct ring {
	int map_fd;
	uint64_t *consumer_pos; /* a page of its own, writable by us */
	uint64_t *producer_pos; /* a page of its own, then the data */
	const uint8_t *data;
};

struct ring_set {
	unsigned cnt;
	size_t size;
	size_t page;
	int epoll_fd;
	int wake_fd;
	struct ring_stats stats;
	uint64_t record[SH_MAX_RECORD / 8]; /* a record that wraps around the end of its ring, in one piece */
	struct ring rings[];
};

static int ring_open(struct ring_set *s, struct ring *r)
{
	r->map_fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, (uint32_t)s->size, NULL);
	if (r->map_fd < 0)
		return -errno;
	void *consumer = mmap(NULL, s->page, PROT_READ | PROT_WRITE, MAP_SHARED, r->map_fd, 0);
	if (consumer == MAP_FAILED)
		return -errno;
	r->consumer_pos = consumer;
	/* The kernel offers the data twice in a row, for records that wrap; once is enough for us and half the memory.
	 */
	void *producer = mmap(NULL, s->page + s->size, PROT_READ, MAP_SHARED, r->map_fd, (off_t)s->page);
	if (producer == MAP_FAILED)
		return -errno;
	r->producer_pos = producer;
	r->data = (const uint8_t *)producer + s->page;
	/* Edge: only a wakeup ends the wait, not the mere presence of records. */
	struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = r->map_fd};
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, r->map_fd, &e) < 0)
		return -errno;
	return 0;
}

int ring_set_open(struct ring_set **ret, unsigned cnt, size_t size, struct sbuf *err)
{
	struct ring_set *s = calloc(1, sizeof(*s) + cnt * sizeof(s->rings[0]));
	if (!s)
		return -ENOMEM;
	s->cnt = cnt;
	s->size = size;
	s->page = (size_t)sysconf(_SC_PAGESIZE);
	for (unsigned i = 0; i < cnt; i++)
		s->rings[i].map_fd = -1;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event e = {.events = EPOLLIN, .data.fd = s->wake_fd};
	int rc = s->epoll_fd < 0 || s->wake_fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->wake_fd, &e) < 0 ? -errno
														: 0;
	for (unsigned i = 0; i < cnt && rc == 0; i++)
		rc = ring_open(s, &s->rings[i]);
	if (rc < 0) {
		sbuf_addf(err, "cannot make a ring buffer of %zu KiB for each of %u CPUs: %s", size / 1024, cnt,
			  strerror(-rc));
		ring_set_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void ring_set_close(struct ring_set *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->cnt; i++) {
		struct ring *r = &s->rings[i];
		if (r->consumer_pos)
			munmap(r->consumer_pos, s->page);
		if (r->producer_pos)
			munmap(r->producer_pos, s->page + s->size);
		closep(&r->map_fd);
	}
	closep(&s->epoll_fd);
	closep(&s->wake_fd);
	free(s);
}

int ring_set_map_fd(const struct ring_set *s, unsigned i)
{
	return s->rings[i].map_fd;
}

static const struct sh_ev_hdr *ring_record(struct ring_set *s, const struct ring *r, uint64_t pos, uint32_t len)
{
	size_t at = pos & (s->size - 1);
	if (at + len <= s->size)
		return (const void *)(r->data + at);
	if (len > sizeof(s->record))
		return NULL;
	size_t first = s->size - at;
	memcpy(s->record, r->data + at, first);
	memcpy((uint8_t *)s->record + first, r->data, len - first);
	return (const void *)s->record;
}

/* When the record was made, on the monotonic clock; 0 when it is malformed. */
static uint64_t record_time(const struct sh_ev_hdr *h)
{
	switch (h->kind) {
	case SH_EV_CALL:
		return h->size >= sizeof(struct sh_ev_call) ? ((const struct sh_ev_call *)h)->end_ns : 0;
	case SH_EV_GONE:
		return h->size >= sizeof(struct sh_ev_gone) ? ((const struct sh_ev_gone *)h)->time_ns : 0;
	case SH_EV_CONN:
	case SH_EV_DATA:
	case SH_EV_CLOSE: /* all three: header, connection, time */
		return h->size >= sizeof(struct sh_ev_close) ? ((const struct sh_ev_close *)h)->time_ns : 0;
	default:
		return h->size >= sizeof(struct sh_ev_proc) ? ((const struct sh_ev_proc *)h)->time_ns : 0;
	}
}

/* Layout: kernel/bpf/ringbuf.c, struct bpf_ringbuf_hdr. */
static uint32_t ring_length(const struct ring_set *s, const struct ring *r, uint64_t pos)
{
	return __atomic_load_n((const uint32_t *)(r->data + (pos & (s->size - 1))), __ATOMIC_ACQUIRE);
}

static uint32_t ring_body(uint32_t length)
{
	return length & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
}

static uint64_t ring_step(uint32_t length)
{
	return (ring_body(length) + BPF_RINGBUF_HDR_SZ + 7) & ~7ULL;
}

/* NULL when it is none that our kernel half writes. */
static const struct sh_ev_hdr *ring_checked(struct ring_set *s, const struct ring *r, uint64_t pos, uint32_t length)
{
	uint32_t body = ring_body(length);
	const struct sh_ev_hdr *h = ring_record(s, r, pos + BPF_RINGBUF_HDR_SZ, body);
	return h && body >= sizeof(*h) && h->size <= body ? h : NULL;
}

/* Asks for `sz` bytes that lie FETCH_AHEAD of `pos`, but not for what is yet to be written. */
static void ring_fetch(const struct ring_set *s, const struct ring *r, uint64_t pos, uint64_t sz, uint64_t end)
{
	uint64_t from = pos + FETCH_AHEAD;
	for (uint64_t at = from; at < from + sz && at < end; at += CACHE_LINE)
		__builtin_prefetch(r->data + (at & (s->size - 1)));
}

/* One drain, up to a position per ring and to records as old as cut_ns. */
struct drain {
	uint64_t cut_ns;
	ring_record_fn fn;
	void *arg;
	size_t cnt;
	bool whole;
};

/* The forks first: the child's calls may lie in a ring that is drained before its parent's. Returns how far this pass
 * goes in the ring: to a record that is younger, or still being written. */
static uint64_t ring_drain_forks(struct ring_set *s, const struct ring *r, uint64_t end, struct drain *d)
{
	uint64_t pos = *r->consumer_pos;
	ring_fetch(s, r, pos - FETCH_AHEAD, FETCH_AHEAD, end);
	while (pos < end) {
		uint32_t length = ring_length(s, r, pos);
		ring_fetch(s, r, pos, ring_step(length), end);
		if (length & BPF_RINGBUF_BUSY_BIT) {
			d->whole = false;
			break;
		}
		const struct sh_ev_hdr *h = length & BPF_RINGBUF_DISCARD_BIT ? NULL : ring_checked(s, r, pos, length);
		if (h && record_time(h) > d->cut_ns)
			break;
		if (h && h->kind == SH_EV_FORK)
			d->fn(d->arg, h);
		pos += ring_step(length);
	}
	return pos;
}

static void ring_release(struct ring *r, uint64_t pos)
{
	__atomic_store_n(r->consumer_pos, pos, __ATOMIC_RELEASE);
}

static void ring_drain(struct ring_set *s, struct ring *r, uint64_t end, struct drain *d)
{
	uint64_t pos = *r->consumer_pos, released = pos;
	while (pos < end) {
		uint32_t length = ring_length(s, r, pos);
		if (!(length & BPF_RINGBUF_DISCARD_BIT)) {
			const struct sh_ev_hdr *h = ring_checked(s, r, pos, length);
			if (h && h->kind != SH_EV_FORK)
				d->fn(d->arg, h);
			s->stats.malformed += !h;
			d->cnt += h != NULL;
		}
		s->stats.bytes += ring_step(length);
		pos += ring_step(length);
		if (pos - released < s->size / RELEASE_SHARE)
			continue;
		ring_release(r, pos);
		released = pos;
	}
	ring_release(r, pos);
}

/* The oldest record that waits, as far as can be told without walking; UINT64_MAX: there is none. */
static uint64_t ring_set_oldest(struct ring_set *s, const uint64_t *end)
{
	uint64_t oldest = UINT64_MAX;
	for (unsigned i = 0; i < s->cnt; i++) {
		const struct ring *r = &s->rings[i];
		uint64_t pos = *r->consumer_pos;
		uint32_t length = pos < end[i] ? ring_length(s, r, pos) : BPF_RINGBUF_BUSY_BIT;
		const struct sh_ev_hdr *h = length & (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)
						    ? NULL
						    : ring_checked(s, r, pos, length);
		if (h && record_time(h) < oldest)
			oldest = record_time(h);
	}
	return oldest;
}

size_t ring_set_drain(struct ring_set *s, ring_record_fn fn, void *arg, struct ring_pass *ret)
{
	uint64_t end[s->cnt ? s->cnt : 1];
	/* A consistent cut: whatever led to a record made before now was in its ring before now. */
	struct drain d = {.cut_ns = clock_mono_ns(), .fn = fn, .arg = arg, .whole = true};

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < s->cnt; i++)
		end[i] = __atomic_load_n(s->rings[i].producer_pos, __ATOMIC_ACQUIRE);
	uint64_t oldest = ring_set_oldest(s, end);
	ret->more = oldest < d.cut_ns && d.cut_ns - oldest > PASS_NS;
	if (ret->more)
		d.cut_ns = oldest + PASS_NS;
	for (unsigned i = 0; i < s->cnt; i++)
		end[i] = ring_drain_forks(s, &s->rings[i], end[i], &d);
	for (unsigned i = 0; i < s->cnt; i++)
		ring_drain(s, &s->rings[i], end[i], &d);
	s->stats.records += d.cnt;
	ret->whole = d.whole;
	return d.cnt;
}

size_t ring_set_backlog(const struct ring_set *s)
{
	size_t most = 0;
	for (unsigned i = 0; i < s->cnt; i++) {
		size_t n = __atomic_load_n(s->rings[i].producer_pos, __ATOMIC_ACQUIRE) - *s->rings[i].consumer_pos;
		if (n > most)
			most = n;
	}
	return most;
}

void ring_set_wait(struct ring_set *s, uint64_t timeout_ns)
{
	struct epoll_event e[8];
	uint64_t n;
	struct timespec t = {(time_t)(timeout_ns / NSEC_PER_SEC), (long)(timeout_ns % NSEC_PER_SEC)};
	/* glibc has a function for it since 2.35, and distributions that are in use have 2.34. */
	int cnt = (int)syscall(SYS_epoll_pwait2, s->epoll_fd, e, 8, &t, NULL, 0);
	s->stats.wakeups += cnt > 0;
	for (int i = 0; i < cnt; i++)
		if (e[i].data.fd == s->wake_fd && read(s->wake_fd, &n, sizeof(n)) < 0)
			return; /* EAGAIN: it was read before */
}

void ring_set_wake(struct ring_set *s)
{
	uint64_t one = 1;
	ssize_t done = write(s->wake_fd, &one, sizeof(one));
	(void)done;
}

void ring_set_stats(const struct ring_set *s, struct ring_stats *ret)
{
	*ret = s->stats;
}

size_t ring_set_size(const struct ring_set *s)
{
	return s->size;
}
