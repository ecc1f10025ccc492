/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sbuf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

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
	char digits[20], *at = digits + sizeof(digits);
	do
		*--at = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	sbuf_add(b, at, (size_t)(digits + sizeof(digits) - at));
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

#define EACH_BYTE(c) ((c)*0x0101010101010101ULL)

/* Sets the top bit of the lowest byte of `w` that is zero; bytes above it may be marked wrongly. */
static inline uint64_t zero_byte(uint64_t w)
{
	return (w - EACH_BYTE(0x01)) & ~w & EACH_BYTE(0x80);
}

/* Bytes from `from` on that stand for themselves in a JSON string: printable ASCII but for the quote and the backslash. */
static size_t json_plain(struct sv s, size_t from)
{
	size_t i = from;
	for (uint64_t w; i + sizeof(w) <= s.len; i += sizeof(w)) {
		memcpy(&w, s.data + i, sizeof(w));
		if ((w | ((w - EACH_BYTE(0x20)) & ~w)) & EACH_BYTE(0x80) ||
		    zero_byte(w ^ EACH_BYTE('"')) | zero_byte(w ^ EACH_BYTE('\\')) | zero_byte(w ^ EACH_BYTE(0x7f)))
			break;
	}
	while (i < s.len) {
		unsigned char c = (unsigned char)s.data[i];
		if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			break;
		i++;
	}
	return i - from;
}

void sbuf_add_json(struct sbuf *b, struct sv s)
{
	sbuf_addc(b, '"');
	for (size_t i = 0; i < s.len;) {
		size_t plain = json_plain(s, i);
		sbuf_add(b, s.data + i, plain);
		i += plain;
		if (i == s.len)
			break;
		const unsigned char *p = (const unsigned char *)s.data + i;
		size_t n = utf8_len((struct sv){s.data + i, s.len - i});
		if (n == 0) {
			sbuf_adds(b, "\xef\xbf\xbd");
			n = 1;
		} else if (*p == '"' || *p == '\\') {
			sbuf_addc(b, '\\');
			sbuf_addc(b, (char)*p);
		} else if (*p < 0x20 || *p == 0x7f) {
			sbuf_addf(b, "\\u%04x", *p);
		} else {
			sbuf_add(b, p, n);
		}
		i += n;
	}
	sbuf_addc(b, '"');
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
