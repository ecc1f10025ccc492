/* SPDX-License-Identifier: Apache-2.0 */
#include "target/runtime/hsperfdata.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>

enum { HEAD_SZ = 32, ENTRY_SZ = 20, TYPE_LONG = 'J' };

struct reader {
	const unsigned char *data;
	size_t len;
	bool big;
};

/* The caller has checked that they are there. */
static uint32_t get32(const struct reader *r, size_t at)
{
	uint32_t v;
	memcpy(&v, r->data + at, sizeof(v));
	return r->big ? be32toh(v) : le32toh(v);
}

static int64_t get64(const struct reader *r, size_t at)
{
	uint64_t v;
	memcpy(&v, r->data + at, sizeof(v));
	return (int64_t)(r->big ? be64toh(v) : le64toh(v));
}

/* The NUL-terminated name within the entry; false: there is none. */
static bool entry_name(const struct reader *r, size_t at, uint32_t len, uint32_t offset, struct sv *ret)
{
	if (offset < ENTRY_SZ || offset >= len)
		return false;
	const char *name = (const char *)r->data + at + offset;
	size_t n = strnlen(name, len - offset);
	*ret = (struct sv){name, n};
	return n > 0 && n < len - offset;
}

int hsperfdata_each(const void *data, size_t len, void (*number)(void *arg, struct sv name, int64_t value), void *arg)
{
	struct reader r = {.data = data, .len = len};
	int told = 0;
	if (len < HEAD_SZ || memcmp(data, "\xca\xfe\xc0\xc0", 4) != 0 || r.data[4] > 1 || r.data[5] != 2)
		return -EBADMSG;
	r.big = r.data[4] == 0;
	if (!r.data[7])
		return -EAGAIN;
	size_t at = get32(&r, 24);
	uint32_t cnt = get32(&r, 28);
	for (uint32_t i = 0; i < cnt && i < HSPERFDATA_MAX_ENTRIES; i++) {
		struct sv name;
		if (at > len || len - at < ENTRY_SZ)
			return -EBADMSG;
		uint32_t size = get32(&r, at), elements = get32(&r, at + 8), value = get32(&r, at + 16);
		if (size < ENTRY_SZ || size > len - at)
			return -EBADMSG;
		bool is_number = elements == 0 && r.data[at + 12] == TYPE_LONG && value >= ENTRY_SZ && value < size &&
				 size - value >= 8;
		if (is_number && entry_name(&r, at, size, get32(&r, at + 4), &name)) {
			number(arg, name, get64(&r, at + value));
			told++;
		}
		at += size;
	}
	return told;
}
