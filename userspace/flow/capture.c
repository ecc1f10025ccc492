/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTE_ORDER_MARK 0x01020304u

struct capture_writer {
	FILE *f;
	int err;
	char path[];
};

static void writer_put(struct capture_writer *w, const void *data, size_t len)
{
	if (!w->err && len && fwrite(data, 1, len, w->f) != len)
		w->err = errno ? -errno : -EIO;
}

int capture_writer_open(struct capture_writer **ret, const char *path, __s64 unix_minus_mono_ns, struct sbuf *err)
{
	struct capture_writer *w = calloc(1, sizeof(*w) + strlen(path) + 1);
	if (!w)
		return -ENOMEM;
	memcpy(w->path, path, strlen(path) + 1);
	w->f = fopen(path, "we");
	if (!w->f) {
		int rc = -errno;
		sbuf_addf(err, "cannot write the capture %s: %s", path, strerror(-rc));
		free(w);
		return rc;
	}
	struct capture_header h = {.magic = CAPTURE_MAGIC,
				   .version = CAPTURE_VERSION,
				   .byte_order = BYTE_ORDER_MARK,
				   .unix_minus_mono_ns = unix_minus_mono_ns};
	writer_put(w, &h, sizeof(h));
	*ret = w;
	return 0;
}

void capture_write(struct capture_writer *w, enum capture_kind kind, __u64 id, const void *body, size_t len)
{
	static const char pad[8];
	size_t size = (len + 7) & ~(size_t)7;
	struct capture_entry e = {.size = (__u32)size, .kind = kind, .id = id};
	writer_put(w, &e, sizeof(e));
	writer_put(w, body, len);
	writer_put(w, pad, size - len);
}

int capture_writer_close(struct capture_writer *w, struct sbuf *err)
{
	if (!w)
		return 0;
	if (fclose(w->f) != 0 && !w->err)
		w->err = -errno;
	int rc = w->err;
	if (rc < 0 && err)
		sbuf_addf(err, "the capture %s is incomplete: %s", w->path, strerror(-rc));
	free(w);
	return rc;
}

int capture_reader_init(struct capture_reader *r, const void *data, size_t len, struct sbuf *err)
{
	*r = (struct capture_reader){.data = data, .len = len, .at = sizeof(r->header)};
	if (len < sizeof(r->header) || memcmp(data, CAPTURE_MAGIC, sizeof(CAPTURE_MAGIC)) != 0) {
		sbuf_adds(err, "is not a capture made by `--export capture:FILE`");
		return -EINVAL;
	}
	memcpy(&r->header, data, sizeof(r->header));
	if (r->header.byte_order != BYTE_ORDER_MARK) {
		sbuf_adds(err, "was made on a machine of the other byte order");
		return -EINVAL;
	}
	if (r->header.version != CAPTURE_VERSION) {
		sbuf_addf(err, "has format version %u; this spanhound reads version %u", r->header.version,
			  CAPTURE_VERSION);
		return -EINVAL;
	}
	return 0;
}

int capture_next(struct capture_reader *r, struct capture_entry *ret_entry, const void **ret_body)
{
	if (r->at == r->len)
		return 0;
	if (r->len - r->at < sizeof(*ret_entry))
		return -EBADMSG;
	memcpy(ret_entry, r->data + r->at, sizeof(*ret_entry));
	if (ret_entry->size % 8 || ret_entry->size > r->len - r->at - sizeof(*ret_entry))
		return -EBADMSG;
	*ret_body = r->data + r->at + sizeof(*ret_entry);
	r->at += sizeof(*ret_entry) + ret_entry->size;
	return 1;
}

void capture_add_text(struct sbuf *b, const char *key, struct sv value)
{
	sbuf_add(b, key, strlen(key) + 1);
	sbuf_addsv(b, value);
	sbuf_addc(b, '\0');
}

struct sv capture_text(const void *body, size_t len, const char *key)
{
	const char *at = body, *end = at + len;
	while (at < end) {
		const char *stop = memchr(at, '\0', (size_t)(end - at));
		const char *value = stop ? stop + 1 : end;
		const char *value_stop = value < end ? memchr(value, '\0', (size_t)(end - value)) : NULL;
		if (!value_stop || stop == at)
			break;
		if (strcmp(at, key) == 0)
			return (struct sv){value, (size_t)(value_stop - value)};
		at = value_stop + 1;
	}
	return SV_NULL;
}
