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
/* What bytes of text take at most: each of them may have to become U+FFFD. And a string. */
#define PACKER_TEXT_MAX(len) (3 * (len))
#define PACKER_STR_MAX(s)    (PACKER_HEAD_MAX + PACKER_TEXT_MAX((s).len))

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
#define PACKER_INLINE				   static inline __attribute__((always_inline, unused)) void
#define msgpack_pack_inline_func(name)		   PACKER_INLINE put##name
#define msgpack_pack_inline_func_cint(name)	   PACKER_INLINE put##name
#define msgpack_pack_inline_func_fixint(name)	   PACKER_INLINE put_fix##name
#define msgpack_pack_user			   char **
#define msgpack_pack_append_buffer(user, buf, len) put(user, buf, len)
#include <msgpack/pack_template.h>

/* What follows takes the place to write at and returns the end of what it wrote: a place whose address is taken has to be
 * in memory, and would be read and written for every byte. */

static __attribute__((noinline, unused)) char *pack_small_number(char *at, uint64_t n)
{
	put_uint64(&at, n);
	return at;
}

/* Ids and times are long. */
static inline char *pack_u64(char *at, uint64_t n)
{
	if (n <= UINT32_MAX)
		return pack_small_number(at, n);
	*at = (char)0xcf;
	n = __builtin_bswap64(n);
	memcpy(at + 1, &n, sizeof(n));
	return at + 1 + sizeof(n);
}

static __attribute__((noinline, unused)) char *pack_negative(char *at, int64_t n)
{
	put_int64(&at, n);
	return at;
}

static inline char *pack_i64(char *at, int64_t n)
{
	return n < 0 ? pack_negative(at, n) : pack_u64(at, (uint64_t)n);
}

#define ASCII_MASK 0x8080808080808080ULL

typedef uint64_t words2 __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) words2 copy_words2(char *to, const char *from)
{
	words2 v;
	memcpy(&v, from, sizeof(v));
	memcpy(to, &v, sizeof(v));
	return v;
}

/* Copies what is longer than 16 bytes and tells whether all of it is ASCII. */
static inline bool copy_ascii_long(char *to, const char *from, size_t len)
{
	words2 seen = copy_words2(to + len - 16, from + len - 16);
	for (size_t i = 0; i + 16 < len; i += 16)
		seen |= copy_words2(to + i, from + i);
	return !((seen[0] | seen[1]) & ASCII_MASK);
}

/* What is not ASCII. */
static __attribute__((noinline, unused)) char *pack_mended(char *at, struct sv s, struct sbuf *text)
{
	if (!utf8_valid(s)) {
		sbuf_reset(text);
		utf8_add_valid(text, s);
		s = text->failed ? SV("") : sbuf_sv(text);
	}
	put_str(&at, s.len);
	put(&at, s.data, s.len);
	return at;
}

static __attribute__((noinline, unused)) char *pack_text_long(char *at, struct sv s, struct sbuf *text)
{
	char *to = at;
	put_str(&to, s.len);
	return copy_ascii_long(to, s.data, s.len) ? to + s.len : pack_mended(at, s, text);
}

/* Most strings are short. They are copied and looked at in one go, as two words that may overlap: a loop over bytes is a
 * branch that nothing predicts. */
static inline char *pack_text(char *at, struct sv s, struct sbuf *text)
{
	uint64_t first, last;
	uint32_t four, end;
	if (s.len > 16)
		return pack_text_long(at, s, text);
	*at = (char)(0xa0 | s.len); /* a fixstr (msgpack spec, "str format family") */
	if (s.len >= 8) {
		memcpy(&first, s.data, 8);
		memcpy(&last, s.data + s.len - 8, 8);
		memcpy(at + 1, &first, 8);
		memcpy(at + 1 + s.len - 8, &last, 8);
		first |= last;
	} else if (s.len >= 4) {
		memcpy(&four, s.data, 4);
		memcpy(&end, s.data + s.len - 4, 4);
		memcpy(at + 1, &four, 4);
		memcpy(at + 1 + s.len - 4, &end, 4);
		first = four | end;
	} else if (s.len) {
		first = (unsigned char)(s.data[0] | s.data[s.len / 2] | s.data[s.len - 1]);
		at[1 + s.len / 2] = s.data[s.len / 2];
		at[1] = s.data[0];
		at[s.len] = s.data[s.len - 1];
	} else {
		return at + 1;
	}
	return first & ASCII_MASK ? pack_mended(at, s, text) : at + 1 + s.len;
}

#endif
