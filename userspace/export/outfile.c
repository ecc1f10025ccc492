/* SPDX-License-Identifier: Apache-2.0 */
#include "export/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

/* A pipe that poll() calls writable takes PIPE_BUF bytes without blocking (pipe(7)). */
#define OUTFILE_SLOW_WRITE 4096

int outfile_open(struct outfile *o, const char *path, struct sbuf *err)
{
	*o = (struct outfile){.fd = -1};
	bool standard = strcmp(path, "-") == 0;
	int fd = standard ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		int e = errno;
		sbuf_addf(err, "cannot write to %s: %s", standard ? "standard output" : path, strerror(e));
		if (fd >= 0 && !standard)
			close(fd);
		return -e;
	}
	o->fd = fd;
	o->own = !standard;
	o->slow = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || isatty(fd);
	o->name = strdup(standard ? "standard output" : path);
	if (!o->name) {
		outfile_close(o);
		return -ENOMEM;
	}
	return 0;
}

static void outfile_say(struct outfile *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void outfile_say(struct outfile *o, const char *fmt, ...)
{
	if (!o->notice)
		return;
	struct sbuf line = {0};
	va_list ap;
	va_start(ap, fmt);
	sbuf_vaddf(&line, fmt, ap);
	va_end(ap);
	o->notice(o->notice_arg, sbuf_str(&line));
	sbuf_release(&line);
}

struct sbuf *outfile_begin(struct outfile *o)
{
	if (o->torn && o->pending.len == 0) {
		sbuf_addc(&o->pending, '\n');
		o->torn = false;
	}
	return &o->pending;
}

void outfile_commit(struct outfile *o, uint32_t spans)
{
	size_t start = o->marks.cnt ? o->marks.data[o->marks.cnt - 1].end : 0;
	bool over = o->pending.len - o->sent > OUTFILE_MAX_BYTES;
	if (!o->gone && !o->pending.failed && !over &&
	    vec_push(&o->marks, ((struct outfile_mark){o->pending.len, spans})) == 0) {
		o->stats.held += spans;
		return;
	}
	/* The text is taken back. */
	o->pending.failed = false;
	o->pending.len = start;
	if (over && !o->full && !o->gone) {
		o->full = true;
		o->dropped_said = o->stats.dropped;
		outfile_say(o,
			    "%s is read too slowly: %d MiB of spans wait, further ones are dropped and counted; "
			    "write to a file instead, or trace less",
			    o->name, OUTFILE_MAX_BYTES >> 20);
	}
	o->stats.dropped += spans;
}

void outfile_discard(struct outfile *o)
{
	if (o->sent > 0 && o->sent < o->pending.len && o->pending.data[o->sent - 1] != '\n')
		o->torn = true;
	o->stats.dropped += o->stats.held;
	o->stats.held = 0;
	o->marks.cnt = o->mark = 0;
	o->sent = 0;
	sbuf_reset(&o->pending);
}

static void outfile_failed(struct outfile *o, int e)
{
	o->stats.errors++;
	o->gone = e == EPIPE;
	uint64_t before = o->stats.dropped;
	outfile_discard(o);
	if (o->failing)
		return;
	o->failing = true;
	o->dropped_said = before;
	if (o->gone)
		outfile_say(o, "%s was closed by its reader: spans for it are dropped and counted from now on",
			    o->name);
	else
		outfile_say(o, "cannot write to %s: %s: spans are dropped and counted until that works again", o->name,
			    strerror(e));
}

/* A reader that is always a little behind must not make the buffer grow for ever. */
static void outfile_compact(struct outfile *o)
{
	if (o->sent < OUTFILE_MAX_BYTES / 4 || o->sent < o->pending.len / 2)
		return;
	o->pending.len -= o->sent;
	memmove(o->pending.data, o->pending.data + o->sent, o->pending.len + 1);
	o->marks.cnt -= o->mark;
	memmove(o->marks.data, o->marks.data + o->mark, o->marks.cnt * sizeof(o->marks.data[0]));
	vec_foreach (m, &o->marks)
		m->end -= o->sent;
	o->sent = 0;
	o->mark = 0;
}

/* `n` more bytes are out. */
static void outfile_wrote(struct outfile *o, size_t n)
{
	o->stats.bytes += n;
	o->sent += n;
	while (o->mark < o->marks.cnt && o->marks.data[o->mark].end <= o->sent) {
		uint32_t spans = o->marks.data[o->mark++].spans;
		o->stats.exported += spans;
		o->stats.held -= spans;
	}
	if (o->sent < o->pending.len) {
		outfile_compact(o);
		return;
	}
	o->sent = 0;
	o->marks.cnt = o->mark = 0;
	sbuf_reset(&o->pending);
	if (o->failing || o->full)
		outfile_say(o, "%s can be written again; %llu spans were dropped meanwhile", o->name,
			    (unsigned long long)(o->stats.dropped - o->dropped_said));
	o->failing = o->full = false;
}

static bool outfile_ready(const struct outfile *o, uint64_t deadline_ns)
{
	if (!o->slow)
		return true;
	uint64_t now = clock_mono_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
	struct pollfd fd = {.fd = o->fd, .events = POLLOUT};
	return poll(&fd, 1, (int)(left / NSEC_PER_MSEC)) > 0;
}

/* How much to write at once: all, or what a slow reader surely takes, in whole lines if it can be. */
static size_t outfile_portion(const struct outfile *o)
{
	size_t left = o->pending.len - o->sent;
	if (!o->slow || left <= OUTFILE_SLOW_WRITE)
		return left;
	const char *from = o->pending.data + o->sent;
	const char *end = memrchr(from, '\n', OUTFILE_SLOW_WRITE);
	return end ? (size_t)(end - from) + 1 : OUTFILE_SLOW_WRITE;
}

void outfile_pump(struct outfile *o, uint64_t deadline_ns)
{
	while (o->sent < o->pending.len) {
		if (!outfile_ready(o, deadline_ns))
			return;
		ssize_t n = write(o->fd, o->pending.data + o->sent, outfile_portion(o));
		o->stats.requests++;
		if (n >= 0)
			outfile_wrote(o, (size_t)n);
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			outfile_failed(o, errno);
	}
}

unsigned outfile_pollfds(const struct outfile *o, struct pollfd *fds, unsigned cap)
{
	if (!o->slow || o->sent == o->pending.len || cap == 0)
		return 0;
	fds[0] = (struct pollfd){.fd = o->fd, .events = POLLOUT};
	return 1;
}

void outfile_close(struct outfile *o)
{
	if (o->own && o->fd >= 0)
		close(o->fd);
	free(o->name);
	sbuf_release(&o->pending);
	vec_release(&o->marks);
	*o = (struct outfile){.fd = -1};
}
