/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_CAPTURE_H
#define FLOW_CAPTURE_H

#include "base/sbuf.h"
#include "spanhound/events.h"
#include "spanhound/limits.h"

/* A file with everything the user half got from the kernel half, for `spanhound replay`.
 *
 * Layout, in the byte order of the machine that wrote it: struct capture_header, then entries. An entry is a struct
 * capture_entry and `size` bytes; sizes are multiples of 8. Texts are key, NUL, value, NUL, ... padded with NULs. */

#define CAPTURE_MAGIC	"SPANHND"
#define CAPTURE_VERSION 2

struct capture_header {
	char magic[8];
	__u32 version;
	__u32 byte_order; /* 0x01020304 as the writer has it */
	__s64 unix_minus_mono_ns;
};

enum capture_kind {
	CAPTURE_RECORD = 1,   /* a record, as it came from a ring */
	CAPTURE_PASS = 2,     /* the end of a whole pass over the rings; body: __u64 monotonic ns */
	CAPTURE_FUNCTION = 3, /* before its first record; id: index; body: texts */
	CAPTURE_PROCESS = 4,  /* before its first record; id: tgid; body: texts */
	CAPTURE_PROBES = 5,   /* the probe list as YAML */
	CAPTURE_CLOCK = 6,    /* body: __s64 unix_minus_mono_ns from here on */
	CAPTURE_ACCOUNT = 7,  /* at the end; body: struct capture_account */
};

struct capture_entry {
	__u32 size;
	__u32 kind;
	__u64 id;
};

struct capture_account {
	__u64 seen;
	__u64 dropped[SH_KERNEL_DROPS];
};

struct capture_writer;
int capture_writer_open(struct capture_writer **ret, const char *path, __s64 unix_minus_mono_ns, struct sbuf *err);
/* `body` need not be padded. Errors are sticky and told by close. */
void capture_write(struct capture_writer *w, enum capture_kind kind, __u64 id, const void *body, size_t len);
/* 0, or -errno of the first write that failed, with a sentence in err. NULL is fine. */
int capture_writer_close(struct capture_writer *w, struct sbuf *err);

/* A whole file in memory: NULL is never read through, whatever the bytes are. */
struct capture_reader {
	const unsigned char *data;
	size_t len;
	size_t at;
	struct capture_header header;
};
/* 0; -EINVAL when it is no capture of this version and byte order, with the end of a sentence in err. */
int capture_reader_init(struct capture_reader *r, const void *data, size_t len, struct sbuf *err);
/* 1: *ret_entry and *ret_body are the next entry; 0: the end; -EBADMSG: the file is damaged from here on. */
int capture_next(struct capture_reader *r, struct capture_entry *ret_entry, const void **ret_body);

/* Texts: building and reading. */
void capture_add_text(struct sbuf *b, const char *key, struct sv value);
struct sv capture_text(const void *body, size_t len, const char *key); /* SV_NULL when absent */

#endif
