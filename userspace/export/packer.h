/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_PACKER_H
#define EXPORT_PACKER_H

#include <limits.h>
#include <msgpack/sysdep.h>
#include <msgpack/timestamp.h>
#include <stdlib.h>

#include "base/sbuf.h"
#include "base/utf8.h"

/* msgpack into memory that was reserved for the whole of a span before its first byte: a packer_put is a store and an
 * addition. Strings leave as valid UTF-8 whatever they were. Valid when zeroed. */
struct packer {
	char *data;
	size_t len, cap;
	struct sbuf text; /* a string that had to be mended */
};

#define PACKER_FIRST_CAP  (64 << 10)
#define PACKER_HEAD_MAX	  5 /* of an array, a map or a string */
#define PACKER_NUMBER_MAX 9
/* What a string takes at most: each byte of it may have to become U+FFFD. */
#define PACKER_STR_MAX(s) (PACKER_HEAD_MAX + 3 * (s).len)

/* Room for `len` more bytes, or NULL. */
static inline char *packer_reserve(struct packer *p, size_t len)
{
	if (p->cap - p->len >= len)
		return p->data + p->len;
	size_t cap = p->cap ? p->cap : PACKER_FIRST_CAP;
	while (cap - p->len < len)
		cap += cap / 2;
	char *data = (char *)realloc(p->data, cap);
	if (!data)
		return NULL;
	p->data = data;
	p->cap = cap;
	return data + p->len;
}

static inline void packer_release(struct packer *p)
{
	free(p->data);
	sbuf_release(&p->text);
	*p = (struct packer){0};
}

/* Gives memory beyond the content back. */
static inline void packer_trim(struct packer *p)
{
	char *data = p->len ? (char *)realloc(p->data, p->len) : NULL;
	if (data) {
		p->data = data;
		p->cap = p->len;
	}
	sbuf_release(&p->text);
}

static inline __attribute__((always_inline)) void put(char **at, const void *data, size_t len)
{
	memcpy(*at, data, len);
	*at += len;
}

/* msgpack-c's packers, instantiated over a bare pointer into reserved room: the library's msgpack_packer calls a
 * function pointer for every byte or two, which doubles the time of a span. */
#define msgpack_pack_inline_func(name)		   static inline void put##name
#define msgpack_pack_inline_func_cint(name)	   static inline void put##name
#define msgpack_pack_inline_func_fixint(name)	   static inline void put_fix##name
#define msgpack_pack_user			   char **
#define msgpack_pack_append_buffer(user, buf, len) put(user, buf, len)
#include <msgpack/pack_template.h>

/* Copies `size` bytes, 8, 4 or 1, and returns them. */
static inline __attribute__((always_inline)) uint64_t copy_word(char *to, const char *from, size_t size)
{
	uint64_t w = 0;
	memcpy(&w, from, size);
	memcpy(to, &w, size);
	return w;
}

typedef uint64_t words2 __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) words2 copy_words2(char *to, const char *from)
{
	words2 v;
	memcpy(&v, from, sizeof(v));
	memcpy(to, &v, sizeof(v));
	return v;
}

static inline bool copy_ascii_long(char *to, const char *from, size_t len)
{
	words2 seen = copy_words2(to + len - 16, from + len - 16);
	for (size_t i = 0; i + 16 < len; i += 16)
		seen |= copy_words2(to + i, from + i);
	return !((seen[0] | seen[1]) & 0x8080808080808080ULL);
}

/* Copies and tells whether all of it is ASCII, in one go; most strings are short. The last word overlaps the one before
 * it: a loop over the bytes that are left is a branch that nothing predicts. */
static inline bool copy_ascii(char *to, const char *from, size_t len)
{
	uint64_t seen = 0;
	if (len > 16)
		return copy_ascii_long(to, from, len);
	if (len >= 8) {
		seen = copy_word(to, from, 8) | copy_word(to + len - 8, from + len - 8, 8);
	} else if (len >= 4) {
		seen = copy_word(to, from, 4) | copy_word(to + len - 4, from + len - 4, 4);
	} else {
		for (size_t i = 0; i < len; i++)
			seen |= copy_word(to + i, from + i, 1);
	}
	return !(seen & 0x8080808080808080ULL);
}

static inline void put_mended(char **at, struct sv s, struct sbuf *text)
{
	if (!utf8_valid(s)) {
		sbuf_reset(text);
		utf8_add_valid(text, s);
		s = text->failed ? SV("") : sbuf_sv(text);
	}
	put_str(at, s.len);
	put(at, s.data, s.len);
}

static inline void put_sv(char **at, struct sv s, struct sbuf *text)
{
	char *start = *at;
	put_str(at, s.len);
	if (s.len && !copy_ascii(*at, s.data, s.len)) {
		*at = start;
		put_mended(at, s, text);
		return;
	}
	*at += s.len;
}

#endif
