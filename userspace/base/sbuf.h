/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SBUF_H
#define BASE_SBUF_H

#include <stdarg.h>
#include <stdint.h>

#include "base/sv.h"

/* An owned, growing string. Valid when zeroed; `data` is NUL-terminated once anything
 * was added and NULL before, so print it with sbuf_str(). Running out of memory is sticky: the
 * buffer keeps what it had and `failed` is set; check it once, at the end. */
struct sbuf {
	char *data;
	size_t len;
	size_t cap;
	bool failed;
};

void sbuf_adds(struct sbuf *b, const char *s);
void sbuf_addu(struct sbuf *b, uint64_t n); /* decimal */
void sbuf_addi(struct sbuf *b, int64_t n);
void sbuf_addx(struct sbuf *b, uint64_t n, unsigned digits); /* so many hex digits, leading zeros included */
void sbuf_addf(struct sbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sbuf_vaddf(struct sbuf *b, const char *fmt, va_list ap);
/* JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void sbuf_add_json(struct sbuf *b, struct sv s);
/* Makes room for `len` more bytes and returns where they go, or NULL. The caller then adds to `len`. */
char *sbuf_reserve(struct sbuf *b, size_t len);
void sbuf_reset(struct sbuf *b);
void sbuf_release(struct sbuf *b);
/* The text, owned by the caller from now on; NULL when out of memory. The buffer is empty again. */
char *sbuf_detach(struct sbuf *b);

/* Small pieces are added by the million: the common case is no call. */
static inline void sbuf_add(struct sbuf *b, const void *data, size_t len)
{
	char *at = b->cap - b->len > len && !b->failed ? b->data + b->len : sbuf_reserve(b, len);
	if (!at)
		return;
	if (len)
		memcpy(at, data, len);
	at[len] = '\0';
	b->len += len;
}

static inline void sbuf_addsv(struct sbuf *b, struct sv s)
{
	sbuf_add(b, s.data, s.len);
}

static inline void sbuf_addc(struct sbuf *b, char c)
{
	sbuf_add(b, &c, 1);
}

static inline const char *sbuf_str(const struct sbuf *b)
{
	return b->data ? b->data : "";
}

static inline struct sv sbuf_sv(const struct sbuf *b)
{
	return (struct sv){b->data, b->len};
}

#endif
