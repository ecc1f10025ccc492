/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_OUTFILE_H
#define EXPORT_OUTFILE_H

#include "base/vec.h"
#include "export/exporter.h"

/* A file, pipe or terminal that spans are written to as text, without ever blocking on a slow reader: what cannot be
 * written waits in memory up to OUTFILE_MAX_BYTES, then spans are dropped and counted. Every span is counted as
 * exported only when its last byte was written. */
#define OUTFILE_MAX_BYTES (4 << 20)

struct outfile_mark {
	size_t end; /* in `pending` */
	uint32_t spans;
};

struct outfile {
	int fd;
	bool own;	    /* to be closed */
	bool slow;	    /* pipe, terminal, socket: ask before writing */
	bool torn;	    /* a line was cut off by an error: the next one starts afresh */
	bool gone;	    /* the reader closed its end: nothing can be written ever again */
	bool failing, full; /* said to a person, until it can be written again */
	char *name;
	struct sbuf pending;
	size_t sent; /* of pending */
	VEC(struct outfile_mark) marks;
	size_t mark;	       /* the first that is not written yet */
	uint64_t dropped_said; /* stats.dropped when it began to fail */
	struct exporter_stats stats;
	void (*notice)(void *arg, const char *line);
	void *notice_arg;
};

/* `path` "-" is standard output. Truncates a file. 0 or -errno with a sentence in err. */
int outfile_open(struct outfile *o, const char *path, struct sbuf *err);
/* For a text in the making: the buffer to append to; outfile_commit() then ends it. */
struct sbuf *outfile_begin(struct outfile *o);
/* What was appended since outfile_begin() is the text of `spans` spans and ends in a newline. */
void outfile_commit(struct outfile *o, uint32_t spans);
/* Writes what can be written without waiting beyond `deadline_ns` (monotonic; 0: not at all). */
void outfile_pump(struct outfile *o, uint64_t deadline_ns);
/* As the exporter hook: wakes when a slow reader has taken something. */
unsigned outfile_pollfds(const struct outfile *o, struct pollfd *fds, unsigned cap);
/* Everything pending counts as dropped from now on. */
void outfile_discard(struct outfile *o);
void outfile_close(struct outfile *o);

#endif
