/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include "base/sbuf.h"
#include "base/unicode_table.h"

#define ARRAY_CNT(a) (sizeof(a) / sizeof((a)[0]))

size_t utf8_len(struct sv sv)
{
	const unsigned char *s = (const unsigned char *)sv.data;
	if (s[0] < 0x80)
		return 1;
	size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || n > sv.len)
		return 0;
	unsigned char lo = 0x80, hi = 0xbf;
	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	if (s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

uint32_t utf8_decode(struct sv sv, size_t *ret_len)
{
	const unsigned char *s = (const unsigned char *)sv.data;
	size_t n = utf8_len(sv);
	*ret_len = n ? n : 1;
	switch (n) {
	case 1:
		return s[0];
	case 2:
		return (s[0] & 0x1fU) << 6 | (s[1] & 0x3fU);
	case 3:
		return (s[0] & 0x0fU) << 12 | (s[1] & 0x3fU) << 6 | (s[2] & 0x3fU);
	case 4:
		return (s[0] & 0x07U) << 18 | (s[1] & 0x3fU) << 12 | (s[2] & 0x3fU) << 6 | (s[3] & 0x3fU);
	default:
		return UTF8_REPLACEMENT;
	}
}

size_t utf8_encode(uint32_t cp, char out[4])
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, cp >>= 6)
		out[i] = (char)(0x80 | (cp & 0x3f));
	out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | cp);
	return n;
}

/* Length of the prefix that is ASCII, eight bytes a step. */
static size_t ascii_len(struct sv s)
{
	size_t i = 0;
	for (uint64_t w; i + sizeof(w) <= s.len; i += sizeof(w)) {
		memcpy(&w, s.data + i, sizeof(w));
		if (w & 0x8080808080808080ULL)
			break;
	}
	while (i < s.len && !(s.data[i] & 0x80))
		i++;
	return i;
}

/* Length of the prefix that is well-formed. */
static size_t valid_len(struct sv s)
{
	size_t i = ascii_len(s);
	while (i < s.len) {
		size_t n = utf8_len((struct sv){s.data + i, s.len - i});
		if (n == 0)
			break;
		i += n;
	}
	return i;
}

bool utf8_valid(struct sv s)
{
	return valid_len(s) == s.len;
}

void utf8_add_valid(struct sbuf *b, struct sv s)
{
	for (;;) {
		size_t n = valid_len(s);
		sbuf_add(b, s.data, n);
		if (n == s.len)
			return;
		sbuf_adds(b, "\xef\xbf\xbd");
		s = (struct sv){s.data + n + 1, s.len - n - 1};
	}
}

struct sv utf8_cut(struct sv s, size_t max)
{
	if (s.len <= max)
		return s;
	size_t n = max;
	/* At most three steps back, to the start of the sequence that would be cut. */
	while (n > 0 && max - n < 3 && (s.data[n] & 0xc0) == 0x80)
		n--;
	return (struct sv){s.data, n};
}

static bool in_ranges(const struct unicode_range *ranges, size_t cnt, uint32_t cp)
{
	size_t lo = 0, hi = cnt;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (cp > ranges[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < cnt && cp >= ranges[lo].first;
}

int utf8_width(uint32_t cp)
{
	/* The blocks that matter, not the whole of Unicode: a column too many only moves a bar. */
	static const struct unicode_range zero[] = {
		{0x300, 0x36f},	  {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
		{0x64b, 0x65f},	  {0x200b, 0x200f}, {0x202a, 0x202e}, {0x2060, 0x206f},
		{0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff},
	};
	static const struct unicode_range wide[] = {
		{0x1100, 0x115f},   {0x231a, 0x231b},	{0x2e80, 0x303e},   {0x3041, 0x33ff},	{0x3400, 0x4dbf},
		{0x4e00, 0x9fff},   {0xa000, 0xa4cf},	{0xac00, 0xd7a3},   {0xf900, 0xfaff},	{0xfe30, 0xfe6f},
		{0xff00, 0xff60},   {0xffe0, 0xffe6},	{0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
		{0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
	};
	if (cp < 0x300)
		return 1;
	if (in_ranges(zero, ARRAY_CNT(zero), cp))
		return 0;
	return in_ranges(wide, ARRAY_CNT(wide), cp) ? 2 : 1;
}

bool unicode_is_letter(uint32_t cp)
{
	if (cp < 0x80)
		return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
	return in_ranges(unicode_letters, ARRAY_CNT(unicode_letters), cp);
}

bool unicode_is_digit(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= '0' && cp <= '9';
	return in_ranges(unicode_digits, ARRAY_CNT(unicode_digits), cp);
}

uint32_t unicode_lower(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
	for (size_t i = 0; i < ARRAY_CNT(unicode_lowers) && cp >= unicode_lowers[i].first; i++) {
		const struct unicode_lower *l = &unicode_lowers[i];
		if (cp <= l->last)
			return (cp - l->first) % l->stride ? cp : (uint32_t)((int32_t)cp + l->delta);
	}
	return cp;
}
