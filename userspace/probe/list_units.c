/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <math.h>

#include "base/clock.h"
#include "probe/list_read.h"

/* Numbers with units, as people write them. By hand, because strtod() also takes hex, "inf" and the locale's comma. */

/* Digits with at most one point; *rest is what follows, without the spaces between. */
static bool parse_decimal(struct sv text, double *ret, struct sv *rest)
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

bool list_parse_duration(struct sv text, uint64_t *ret_ns)
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
	if (!parse_decimal(text, &number, &unit))
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

bool list_parse_unsigned(struct sv text, uint64_t *ret)
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

bool list_parse_integer(const struct yaml_node *value, int64_t *ret)
{
	struct sv text = value->text;
	uint64_t n;
	if (value->kind != YAML_SCALAR || value->quoted || !text.len)
		return false;
	bool negative = text.data[0] == '-';
	if (!list_parse_unsigned((struct sv){text.data + negative, text.len - negative}, &n) || n > INT64_MAX)
		return false;
	*ret = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

bool list_parse_size(struct sv text, uint64_t *ret)
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
	if (!list_parse_unsigned(text, &n) || n > UINT64_MAX >> shift)
		return false;
	*ret = n << shift;
	return true;
}

/* --- as keys -------------------------------------------------------------------------------------------------------
 */

LIST_READER(list_read_duration)
{
	uint64_t ns;
	if (value->kind != YAML_SCALAR || !list_parse_duration(value->text, &ns))
		list_expected(r, key, value);
	else if (ns > 24 * 3600 * NSEC_PER_SEC)
		yaml_error(&r->src, value, "%s: " SV_FMT " is longer than a day", key->name, SV_ARG(value->text));
	else
		*(uint64_t *)field = ns;
}

LIST_READER(list_read_share)
{
	double share;
	struct sv unit;
	if (value->kind != YAML_SCALAR || !parse_decimal(value->text, &share, &unit) ||
	    (unit.len && !sv_eq(unit, SV("%")))) {
		list_expected(r, key, value);
		return;
	}
	if (unit.len)
		share /= 100;
	if (share > 1 || share <= 0) {
		yaml_error(&r->src, value, "%s: expected a share above 0 and up to 1, found " SV_FMT "%s", key->name,
			   SV_ARG(value->text),
			   share > 1 && share <= 100 ? " (a percentage is written with its %)" : "");
		return;
	}
	double below = round(share * 4294967296.0);
	/* 0 is sh_spec's word for "no sampling", so all calls is 0 and the least share is 1. */
	*(uint32_t *)field = below >= 4294967296.0 ? 0 : below < 1 ? 1 : (uint32_t)below;
}

LIST_READER(list_read_rate)
{
	double number;
	struct sv unit;
	if (value->kind != YAML_SCALAR || !parse_decimal(value->text, &number, &unit) || unit.len < 2 ||
	    unit.data[0] != '/') {
		list_expected(r, key, value);
		return;
	}
	unit = (struct sv){unit.data + 1, unit.len - 1};
	while (unit.len && unit.data[0] == ' ')
		unit = (struct sv){unit.data + 1, unit.len - 1};
	double seconds = sv_eq(unit, SV("s")) ? 1 : sv_eq(unit, SV("m")) ? 60 : sv_eq(unit, SV("h")) ? 3600 : 0;
	double rate = seconds > 0 ? round(number / seconds) : 0;
	if (seconds == 0)
		list_expected(r, key, value);
	else if (rate < 1 || number / seconds < 1)
		yaml_error(&r->src, value,
			   "%s: " SV_FMT " is less than one call a second, the least that can be kept; "
			   "sample: thins out further",
			   key->name, SV_ARG(value->text));
	else if (rate > 1e9)
		yaml_error(&r->src, value, "%s: " SV_FMT " is more than 1000000000 calls a second", key->name,
			   SV_ARG(value->text));
	else
		*(uint32_t *)field = (uint32_t)rate;
}

LIST_READER(list_read_size)
{
	uint64_t n;
	if (value->kind != YAML_SCALAR || value->quoted || !list_parse_size(value->text, &n))
		list_expected(r, key, value);
	else if (n < key->min || n > key->max || (n & (n - 1)))
		yaml_error(&r->src, value, "%s: expected %s, found " SV_FMT, key->name, key->form, SV_ARG(value->text));
	else
		*(uint32_t *)field = (uint32_t)n;
}
