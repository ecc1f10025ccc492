/* SPDX-License-Identifier: Apache-2.0 */
#include "export/v04.h"

#include <errno.h>
#include <limits.h>
#include <msgpack/sysdep.h>
#include <msgpack/timestamp.h>
#include <stdlib.h>

#include "base/utf8.h"

#define V04_FIRST_CAP (64 << 10)

/* Room for `len` more bytes. */
static char *v04_reserve(struct v04 *v, size_t len)
{
	if (v->cap - v->len >= len)
		return v->data + v->len;
	size_t cap = v->cap ? v->cap : V04_FIRST_CAP;
	while (cap - v->len < len)
		cap += cap / 2;
	char *data = realloc(v->data, cap);
	if (!data)
		return NULL;
	v->data = data;
	v->cap = cap;
	return data + v->len;
}

/* msgpack-c's packers, instantiated over a bare pointer into reserved room: the library's msgpack_packer calls a
 * function pointer for every byte or two, which doubles the time of a span. */
static inline __attribute__((always_inline)) void put(char **at, const void *data, size_t len)
{
	memcpy(*at, data, len);
	*at += len;
}

#define msgpack_pack_inline_func(name)		   static inline void put##name
#define msgpack_pack_inline_func_cint(name)	   static inline void put##name
#define msgpack_pack_inline_func_fixint(name)	   static inline void put_fix##name
#define msgpack_pack_user			   char **
#define msgpack_pack_append_buffer(user, buf, len) put(user, buf, len)
#include <msgpack/pack_template.h>

/* What a string takes at most: each byte of it may have to become U+FFFD. */
#define STR_MAX(s) (5 + 3 * (s).len)
#define NUMBER_MAX 9
#define SPAN_FIXED 256 /* the keys of a span's fields, heads of its maps, and its numbers */

/* Copies `size` bytes, 8, 4 or 1, and returns them. */
static inline __attribute__((always_inline)) uint64_t copy_word(char *to, const char *from, size_t size)
{
	uint64_t w = 0;
	memcpy(&w, from, size);
	memcpy(to, &w, size);
	return w;
}

/* Copies and tells whether all of it is ASCII, in one go; most strings are short. The last word overlaps the one before it:
 * a loop over the bytes that are left is a branch that nothing predicts. */
static inline bool copy_ascii(char *to, const char *from, size_t len)
{
	uint64_t seen = 0;
	if (len >= 8) {
		for (size_t i = 0; i + 8 < len; i += 8)
			seen |= copy_word(to + i, from + i, 8);
		seen |= copy_word(to + len - 8, from + len - 8, 8);
	} else if (len >= 4) {
		seen = copy_word(to, from, 4) | copy_word(to + len - 4, from + len - 4, 4);
	} else {
		for (size_t i = 0; i < len; i++)
			seen |= copy_word(to + i, from + i, 1);
	}
	return !(seen & 0x8080808080808080ULL);
}

static void put_mended(char **at, struct sv s, struct sbuf *text)
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

/* Literals of less than 32 bytes: a fixstr (msgpack spec, "str format family"). */
#define put_key(at, literal)                                        \
	do {                                                        \
		_Static_assert(sizeof(literal) - 1 < 32, "fixstr"); \
		*(*(at))++ = (char)(0xa0 | (sizeof(literal) - 1));  \
		put(at, literal, sizeof(literal) - 1);              \
	} while (0)

static size_t span_max(struct tags *t, const struct span *s)
{
	size_t sz = SPAN_FIXED + STR_MAX(span_service(t->chunk, s)) + STR_MAX(s->name) + STR_MAX(span_resource(s)) +
		    STR_MAX(s->type);
	vec_foreach (m, &t->meta)
		sz += STR_MAX(m->key) + STR_MAX(m->value);
	vec_foreach (m, &t->metrics)
		sz += STR_MAX(m->key) + NUMBER_MAX;
	return sz;
}

static char *put_maps(char *at, struct tags *t, struct sbuf *text)
{
	if (t->meta.cnt) {
		put_key(&at, "meta");
		put_map(&at, t->meta.cnt);
		vec_foreach (m, &t->meta) {
			put_sv(&at, m->key, text);
			put_sv(&at, m->value, text);
		}
	}
	if (t->metrics.cnt) {
		put_key(&at, "metrics");
		put_map(&at, t->metrics.cnt);
		vec_foreach (m, &t->metrics) {
			put_sv(&at, m->key, text);
			put_double(&at, m->value);
		}
	}
	return at;
}

static bool v04_span(struct v04 *v, struct tags *t, uint32_t i)
{
	const struct chunk *c = t->chunk;
	const struct span *s = &c->spans[i];
	tags_of(t, i);
	char *at = v04_reserve(v, span_max(t, s));
	if (!at || t->failed)
		return false;
	put_map(&at, 9 + (t->meta.cnt > 0) + (t->metrics.cnt > 0) + (s->type.len > 0));
	put_key(&at, "service");
	put_sv(&at, span_service(c, s), &v->text);
	put_key(&at, "name");
	put_sv(&at, s->name, &v->text);
	put_key(&at, "resource");
	put_sv(&at, span_resource(s), &v->text);
	put_key(&at, "trace_id");
	put_uint64(&at, c->trace_lo);
	put_key(&at, "span_id");
	put_uint64(&at, s->span_id);
	put_key(&at, "parent_id");
	put_uint64(&at, s->parent_id);
	put_key(&at, "start");
	put_int64(&at, s->start_ns);
	put_key(&at, "duration");
	put_int64(&at, s->duration_ns);
	put_key(&at, "error");
	put_uint8(&at, s->error);
	at = put_maps(at, t, &v->text);
	if (s->type.len) {
		put_key(&at, "type");
		put_sv(&at, s->type, &v->text);
	}
	v->len = (size_t)(at - v->data);
	return true;
}

int v04_append(struct v04 *v, const void *data, size_t len)
{
	char *at = v04_reserve(v, len);
	if (!at)
		return -ENOMEM;
	memcpy(at, data, len);
	v->len += len;
	return 0;
}

int v04_begin(struct v04 *v)
{
	return v->len ? 0 : v04_append(v, "\0\0\0\0\0", V04_HEAD_MAX);
}

int v04_chunk(struct v04 *v, struct tags *t, const struct chunk *c)
{
	size_t before = v->len;
	tags_start(t, c);
	char *at = v04_reserve(v, V04_HEAD_MAX);
	if (!at)
		return -ENOMEM;
	put_array(&at, c->span_cnt);
	v->len = (size_t)(at - v->data);
	bool ok = v04_span(v, t, t->head);
	for (uint32_t i = 0; ok && i < c->span_cnt; i++)
		if (i != t->head)
			ok = v04_span(v, t, i);
	if (ok)
		return 0;
	v->len = before;
	return -ENOMEM;
}

size_t v04_head(char out[V04_HEAD_MAX], uint32_t chunks)
{
	char *at = out;
	put_array(&at, chunks);
	return (size_t)(at - out);
}

void v04_trim(struct v04 *v)
{
	char *data = v->len ? realloc(v->data, v->len) : NULL;
	if (data) {
		v->data = data;
		v->cap = v->len;
	}
	sbuf_release(&v->text);
}

void v04_release(struct v04 *v)
{
	free(v->data);
	sbuf_release(&v->text);
	*v = (struct v04){0};
}
