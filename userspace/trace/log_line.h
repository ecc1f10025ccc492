/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_LOG_LINE_H
#define TRACE_LOG_LINE_H

#include <stdint.h>

#include "base/sbuf.h"

/* What one line of somebody's log says of itself: when, which process and thread, which request. Lines are text of any
 * shape, or one JSON object each. Nothing is invented: what a line does not say is zero or empty. */

/* A longer line says nothing. */
#define LOG_LINE_MAX (1u << 20)

struct log_line {
	/* The time it was written lies in [from_ns, to_ns), since 1970; a time in whole seconds is a second wide. Both 0:
	 * it has none. */
	int64_t from_ns, to_ns;
	uint32_t pid, tid; /* a number in a place where such ones stand */
	bool pid_said;	   /* it is called so; else it only looks like one */
	struct sv method;  /* of a request; borrowed from the line or the reader */
	struct sv path;	   /* without the query string */
	bool json;	   /* one object */
	bool correlated;   /* names a trace already */
	bool empty;	   /* JSON: the object has no members */
};

/* Holds what is needed to read lines; one thread. */
struct log_reader;

/* `now_ns`: since 1970; for times without a year. Times without a zone are in this process's (TZ).
 * 0, -ENOMEM, or -EINVAL, described (a regular expression library without what is needed). */
int log_reader_new(struct log_reader **ret, int64_t now_ns, struct sbuf *err);
void log_reader_free(struct log_reader *r); /* NULL is fine */

/* `line` without its end of line. What *ret borrows is valid until the next call. */
void log_reader_line(struct log_reader *r, struct sv line, struct log_line *ret);

/* The path of a URL, whole or without its host, without the query string; borrowed from it. */
struct sv log_url_path(struct sv url);

#endif
