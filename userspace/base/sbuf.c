/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sbuf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/put.h"

char *sbuf_reserve(struct sbuf *b, size_t len)
{
	size_t need = b->len + len + 1;
	if (b->failed || need < len) {
		b->failed = true;
		return NULL;
	}
	if (need > b->cap) {
		size_t cap = b->cap ? b->cap : 64;
		while (cap < need)
			cap += cap / 2;
		char *data = realloc(b->data, cap);
		if (!data) {
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->cap = cap;
	}
	return b->data + b->len;
}

void sbuf_adds(struct sbuf *b, const char *s)
{
	sbuf_add(b, s, strlen(s));
}

void sbuf_addu(struct sbuf *b, uint64_t n)
{
	char digits[PUT_U64_MAX];
	sbuf_add(b, digits, (size_t)(put_u64(digits, n) - digits));
}

void sbuf_addi(struct sbuf *b, int64_t n)
{
	if (n < 0)
		sbuf_addc(b, '-');
	sbuf_addu(b, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

void sbuf_addx(struct sbuf *b, uint64_t n, unsigned digits)
{
	char text[16];
	for (unsigned i = digits; i-- > 0; n >>= 4)
		text[i] = "0123456789abcdef"[n & 15];
	sbuf_add(b, text, digits);
}

void sbuf_vaddf(struct sbuf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	char *at = n < 0 ? NULL : sbuf_reserve(b, (size_t)n);
	if (!at)
		return;
	vsnprintf(at, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
}

void sbuf_addf(struct sbuf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	sbuf_vaddf(b, fmt, ap);
	va_end(ap);
}

void sbuf_add_json(struct sbuf *b, struct sv s)
{
	char *at = s.len < SIZE_MAX / 8 ? sbuf_reserve(b, PUT_JSON_MAX(s.len)) : NULL;
	if (!at) {
		b->failed = true;
		return;
	}
	char *end = put_json(at, s);
	*end = '\0';
	b->len += (size_t)(end - at);
}

void sbuf_reset(struct sbuf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

void sbuf_release(struct sbuf *b)
{
	free(b->data);
	*b = (struct sbuf){0};
}

char *sbuf_detach(struct sbuf *b)
{
	if (!b->data)
		sbuf_add(b, "", 0);
	char *data = b->failed ? NULL : b->data;
	if (!data)
		free(b->data);
	*b = (struct sbuf){0};
	return data;
}
