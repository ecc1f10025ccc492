/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <math.h>

#include "base/units.h"
#include "base/clock.h"

/* Numbers with units, as people write them. By hand, because strtod() also takes hex, "inf" and the locale's comma. */

/* Digits with at most one point; *rest is what follows, without the spaces between. */
bool units_decimal(struct sv text, double *ret, struct sv *rest)
{
	size_t i = 0, digits = 0;
	double number = 0, place = 1;
	bool fraction = false;
	for (; i < text.len && (isdigit((unsigned char)text.data[i]) || (text.data[i] == '.' && !fraction)); i++) {
		if (text.data[i] == '.') {
			fraction = true;
			continue;
		}
		number = number * 10 + (text.data[i] - '0');
		place *= fraction ? 10 : 1;
		digits++;
	}
	while (i < text.len && text.data[i] == ' ')
		i++;
	*ret = number / place;
	*rest = (struct sv){text.data + i, text.len - i};
	return digits > 0 && digits <= 18;
}

bool units_duration(struct sv text, uint64_t *ret_ns)
{
	static const struct {
		struct sv unit;
		double ns;
	} units[] = {
		{{"ns", 2}, 1},
		{{"us", 2}, NSEC_PER_USEC},
		{{"\xc2\xb5s", 3}, NSEC_PER_USEC}, /* micro sign */
		{{"\xce\xbcs", 3}, NSEC_PER_USEC}, /* Greek mu */
		{{"ms", 2}, NSEC_PER_MSEC},
		{{"s", 1}, NSEC_PER_SEC},
		{{"m", 1}, 60.0 * NSEC_PER_SEC},
		{{"h", 1}, 3600.0 * NSEC_PER_SEC},
	};
	double number;
	struct sv unit;
	if (!units_decimal(text, &number, &unit))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!sv_eq(unit, units[i].unit))
			continue;
		double ns = round(number * units[i].ns);
		*ret_ns = ns < 1e18 ? (uint64_t)ns : UINT64_MAX;
		return true;
	}
	return false;
}

bool units_unsigned(struct sv text, uint64_t *ret)
{
	bool hex = text.len > 2 && text.data[0] == '0' && (text.data[1] | 0x20) == 'x';
	uint64_t n = 0;
	for (size_t i = hex ? 2 : 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];
		if (!(hex ? isxdigit(c) : isdigit(c)))
			return false;
		unsigned digit = (unsigned)(isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
		if (__builtin_mul_overflow(n, hex ? 16 : 10, &n) || __builtin_add_overflow(n, digit, &n))
			return false;
	}
	*ret = n;
	return text.len > 0;
}

bool units_integer(struct sv text, int64_t *ret)
{
	uint64_t n;
	if (!text.len)
		return false;
	bool negative = text.data[0] == '-';
	if (!units_unsigned((struct sv){text.data + negative, text.len - negative}, &n) || n > INT64_MAX)
		return false;
	*ret = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

bool units_size(struct sv text, uint64_t *ret)
{
	unsigned shift = 0;
	if (text.len && isalpha((unsigned char)text.data[text.len - 1])) {
		static const char units[] = "kmg";
		const char *unit = strchr(units, text.data[text.len - 1] | 0x20);
		if (!unit)
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
		text.len--;
	}
	uint64_t n;
	if (!units_unsigned(text, &n) || n > UINT64_MAX >> shift)
		return false;
	*ret = n << shift;
	return true;
}
