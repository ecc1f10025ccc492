/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/propagation/style.h"

/* sys.int_info.str_digits_check_threshold's default limit; for bases that are no power of two. */
#define PYTHON_MAX_DIGITS 4300

static const uint8_t digit_values[256] = {
	['0'] = 1,  ['1'] = 2,	['2'] = 3,  ['3'] = 4,	['4'] = 5,  ['5'] = 6,	['6'] = 7,  ['7'] = 8,
	['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
	['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* 0 to 15, or more than that. */
static unsigned digit_value(char c)
{
	return (uint8_t)(digit_values[(uint8_t)c] - 1);
}

/* isspace() of the C locale, which is what int() strips from ASCII; str.strip() takes 0x1c to 0x1f, too. */
static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_strippable(char c)
{
	return is_blank(c) || (c >= 0x1c && c <= 0x1f);
}

static struct sv strip(struct sv s, bool (*is)(char))
{
	while (s.len && is(s.data[0]))
		s.data++, s.len--;
	while (s.len && is(s.data[s.len - 1]))
		s.len--;
	return s;
}

struct sv sv_strip(struct sv s)
{
	return strip(s, is_strippable);
}

/* What nearly all numbers are: digits, as many as surely fit. */
static bool plain_int(struct sv s, unsigned base, struct lenient_int *ret)
{
	if (!s.len || s.len > (base == 10 ? 19 : 16))
		return false;
	uint64_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		unsigned value = digit_value(s.data[i]);
		if (value >= base)
			return false;
		n = n * base + value;
	}
	*ret = (struct lenient_int){.magnitude = n};
	return true;
}

bool lenient_int(struct sv s, unsigned base, struct lenient_int *ret)
{
	if (plain_int(s, base, ret))
		return true;
	*ret = (struct lenient_int){0};
	s = strip(s, is_blank);
	if (s.len && (s.data[0] == '-' || s.data[0] == '+')) {
		ret->negative = s.data[0] == '-';
		s.data++, s.len--;
	}
	bool underscore_fits = false;
	if (base == 16 && s.len > 1 && s.data[0] == '0' && (s.data[1] | 0x20) == 'x') {
		s.data += 2, s.len -= 2;
		underscore_fits = true;
	}
	size_t digits = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] == '_' && underscore_fits) {
			underscore_fits = false;
			continue;
		}
		unsigned value = digit_value(s.data[i]);
		if (value >= base)
			return false;
		underscore_fits = true;
		digits++;
		/* What has room for another digit of 16 overflows in no base. */
		if (ret->magnitude >> 124 && ret->magnitude > (~(unsigned __int128)0 - value) / base)
			ret->big = true;
		ret->magnitude = ret->magnitude * base + value;
	}
	/* The last thing must be a digit, not an underscore nor a prefix. */
	return digits && underscore_fits && (base != 10 || digits <= PYTHON_MAX_DIGITS);
}

uint64_t lenient_id(const struct lenient_int *n)
{
	return n->negative || n->big || n->magnitude > UINT64_MAX ? 0 : (uint64_t)n->magnitude;
}

bool hex_parse(struct sv s, uint64_t *ret)
{
	uint64_t n = 0;
	unsigned bad = 0;
	for (size_t i = 0; i < s.len; i++) {
		unsigned value = digit_value(s.data[i]);
		/* Of the digits only upper-case ones lie between '@' and '_'. */
		bad |= (value > 15) | ((s.data[i] & 0x60) == 0x40);
		n = n << 4 | (value & 15);
	}
	*ret = n;
	return !bad;
}

int32_t lenient_priority(const struct lenient_int *n)
{
	int32_t size = n->big || n->magnitude > INT32_MAX ? INT32_MAX : (int32_t)n->magnitude;
	return n->negative ? -size : size;
}

struct sv hex_print(uint64_t n, char out[17])
{
	for (unsigned i = 16; i-- > 0; n >>= 4)
		out[i] = "0123456789abcdef"[n & 15];
	out[16] = '\0';
	return (struct sv){out, 16};
}

struct sv sv_split(struct sv *s, char separator)
{
	if (!s->data)
		return SV_NULL;
	const char *at = memchr(s->data, separator, s->len);
	struct sv part = {s->data, at ? (size_t)(at - s->data) : s->len};
	*s = at ? (struct sv){at + 1, s->len - part.len - 1} : SV_NULL;
	return part;
}

bool is_printable(struct sv s)
{
	const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
	uint64_t bad = 0;
	size_t i = 0;
	for (; i + 8 <= s.len; i += 8) {
		uint64_t w;
		memcpy(&w, s.data + i, 8);
		/* The high bit of a byte: set there, below 0x20, or 0x7f (which 1 more sets). Borrows and carries only
		 * leave bytes that are bad themselves. */
		bad |= (w | (w - 0x20 * ones) | (w + ones)) & high;
	}
	for (; i < s.len; i++)
		bad |= (uint8_t)s.data[i] < 0x20 || (uint8_t)s.data[i] >= 0x7f;
	return !bad;
}

size_t characters(struct sv s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.len; i++)
		n += ((uint8_t)s.data[i] & 0xc0) != 0x80;
	return n;
}

void sbuf_cut(struct sbuf *b, size_t len)
{
	if (b->len <= len)
		return;
	b->len = len;
	b->data[len] = '\0';
}

bool tags_put(struct tag *tags, uint16_t *cnt, unsigned max, struct sv key, struct sv value)
{
	for (unsigned i = 0; i < *cnt; i++) {
		if (sv_eq(tags[i].key, key)) {
			tags[i].value = value;
			return true;
		}
	}
	if (*cnt >= max)
		return false;
	tags[(*cnt)++] = (struct tag){key, value};
	return true;
}

bool next_tag(const struct propagation_context *ctx, bool with_tid, unsigned *i, char tid[17], struct tag *ret)
{
	struct sv key = SV("_dd.p.tid");
	if (*i < ctx->tag_cnt) {
		*ret = ctx->tags[(*i)++];
		if (with_tid && sv_eq(ret->key, key))
			ret->value = hex_print(ctx->trace_hi, tid);
		return true;
	}
	if (*i > ctx->tag_cnt || !with_tid || propagation_tag(ctx, key).data)
		return false;
	++*i;
	*ret = (struct tag){key, hex_print(ctx->trace_hi, tid)};
	return true;
}
