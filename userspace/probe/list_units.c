/* SPDX-License-Identifier: Apache-2.0 */
/* Keys whose values have units. */
#include <math.h>

#include "base/clock.h"
#include "probe/list_read.h"

/* --- as keys -------------------------------------------------------------------------------------------------------
 */
LIST_READER(list_read_duration)
{
	uint64_t ns;
	if (value->kind != YAML_SCALAR || !units_duration(value->text, &ns))
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
	if (value->kind != YAML_SCALAR || !units_decimal(value->text, &share, &unit) ||
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
	if (value->kind != YAML_SCALAR || !units_decimal(value->text, &number, &unit) || unit.len < 2 ||
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
	if (value->kind != YAML_SCALAR || value->quoted || !units_size(value->text, &n))
		list_expected(r, key, value);
	else if (n < key->min || n > key->max || (n & (n - 1)))
		yaml_error(&r->src, value, "%s: expected %s, found " SV_FMT, key->name, key->form, SV_ARG(value->text));
	else
		*(uint32_t *)field = (uint32_t)n;
}
