/* SPDX-License-Identifier: Apache-2.0 */
#include "base/put.h"

#include "base/utf8.h"

/* --- numbers ------------------------------------------------------------------------------------------------------ */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first character is in the lowest byte");

/* Eight digits, with leading zeros, the first in the lowest byte: halves of four, pairs, then single ones, each step for
 * all of them in one multiplication. The factors are 2^20 / 100 and 2^10 / 10, rounded up: exact in these ranges. */
static inline uint64_t digits8(uint32_t n)
{
	uint64_t v = n / 10000 | (uint64_t)(n % 10000) << 32;
	uint64_t t = (v * 10486 >> 20) & 0x0000007f0000007fULL;
	v = t | (v - t * 100) << 16;
	t = (v * 103 >> 10) & 0x000f000f000f000fULL;
	return (t | (v - t * 10) << 8) + 0x3030303030303030ULL;
}

static inline char *put_digits8(char *at, uint32_t n)
{
	uint64_t text = digits8(n);
	memcpy(at, &text, sizeof(text));
	return at + sizeof(text);
}

/* Without leading zeros; writes eight bytes. */
static inline char *put_first_digits(char *at, uint32_t n)
{
	uint64_t text = digits8(n);
	unsigned zeros = n ? (unsigned)__builtin_ctzll(text ^ 0x3030303030303030ULL) / 8 : 7;
	text >>= zeros * 8;
	memcpy(at, &text, sizeof(text));
	return at + sizeof(text) - zeros;
}

char *put_u64(char *at, uint64_t n)
{
	const uint64_t e8 = 100000000;
	if (n < e8)
		return put_first_digits(at, (uint32_t)n);
	if (n < e8 * e8)
		at = put_first_digits(at, (uint32_t)(n / e8));
	else
		at = put_digits8(put_first_digits(at, (uint32_t)(n / (e8 * e8))), (uint32_t)(n / e8 % e8));
	return put_digits8(at, (uint32_t)(n % e8));
}

static inline uint64_t hex8(uint32_t n)
{
	uint64_t v = __builtin_bswap32(n);
	v = (v | v << 16) & 0x0000ffff0000ffffULL;
	v = (v | v << 8) & 0x00ff00ff00ff00ffULL;
	v = (v >> 4 | v << 8) & 0x0f0f0f0f0f0f0f0fULL;
	/* 39: from behind '9' to 'a'. */
	return v + 0x3030303030303030ULL + ((v + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL) * 39;
}

char *put_hex64(char *at, uint64_t n)
{
	uint64_t text[2] = {hex8((uint32_t)(n >> 32)), hex8((uint32_t)n)};
	memcpy(at, text, sizeof(text));
	return at + sizeof(text);
}

/* --- JSON strings ------------------------------------------------------------------------------------------------- */

typedef int8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

/* They stand for themselves in a JSON string: printable ASCII but for the quote and the backslash. As signed numbers,
 * control characters and all beyond ASCII are those below the blank. */
static inline bool are_plain(bytes16 v)
{
	words2 odd = (words2)((v < 0x20) | (v == 0x7f) | (v == '"') | (v == '\\'));
	return !(odd[0] | odd[1]);
}

/* Copies bytes at the front of `s` that are plain, and returns how many: all, or fewer than there are. Sixteen at a
 * time; what is left at the end is taken with some that were had already. */
static size_t copy_plain_long(char *to, struct sv s)
{
	bytes16 v;
	for (size_t i = 0;; i += sizeof(v)) {
		if (i + sizeof(v) > s.len)
			i = s.len - sizeof(v);
		memcpy(&v, s.data + i, sizeof(v));
		if (!are_plain(v))
			return i;
		memcpy(to + i, &v, sizeof(v));
		if (i + sizeof(v) == s.len)
			return s.len;
	}
}

static size_t copy_plain_8(char *to, struct sv s)
{
	uint64_t first, last;
	memcpy(&first, s.data, sizeof(first));
	memcpy(&last, s.data + s.len - sizeof(last), sizeof(last));
	if (!are_plain((bytes16)(words2){first, last}))
		return 0;
	memcpy(to, &first, sizeof(first));
	memcpy(to + s.len - sizeof(last), &last, sizeof(last));
	return s.len;
}

static size_t copy_plain_4(char *to, struct sv s)
{
	uint32_t first, last;
	memcpy(&first, s.data, sizeof(first));
	memcpy(&last, s.data + s.len - sizeof(last), sizeof(last));
	if (!are_plain((bytes16)(words2){first | (uint64_t)first << 32, last | (uint64_t)last << 32}))
		return 0;
	memcpy(to, &first, sizeof(first));
	memcpy(to + s.len - sizeof(last), &last, sizeof(last));
	return s.len;
}

/* All plain bytes at the front. */
static size_t copy_plain(char *to, struct sv s)
{
	size_t i = s.len >= 16	? copy_plain_long(to, s)
		   : s.len >= 8 ? copy_plain_8(to, s)
		   : s.len >= 4 ? copy_plain_4(to, s)
				: 0;
	for (; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];
		if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			break;
		to[i] = (char)c;
	}
	return i;
}

/* The one character that `s` begins with; its length in *ret_len. */
static char *put_json_character(char *at, struct sv s, size_t *ret_len)
{
	unsigned char c = (unsigned char)s.data[0];
	size_t n = utf8_len(s);
	*ret_len = n ? n : 1;
	if (n == 0)
		return put_sv(at, SV("\xef\xbf\xbd"));
	if (c == '"' || c == '\\')
		*at++ = '\\';
	if (c >= 0x20 && c != 0x7f)
		return put_sv(at, (struct sv){s.data, n});
	at = put_sv(at, SV("\\u00"));
	*at++ = (char)('0' + (c >> 4));
	*at++ = "0123456789abcdef"[c & 15];
	return at;
}

char *put_json(char *at, struct sv s)
{
	*at++ = '"';
	while (s.len) {
		size_t n = copy_plain(at, s);
		at += n;
		if (n == s.len)
			break;
		s = (struct sv){s.data + n, s.len - n};
		at = put_json_character(at, s, &n);
		s = (struct sv){s.data + n, s.len - n};
	}
	*at++ = '"';
	return at;
}
