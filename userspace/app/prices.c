/* SPDX-License-Identifier: Apache-2.0 */
#include "app/prices.h"

static enum price_class price_class_of(enum placement_cost cost)
{
	return cost == COST_OPTIMISED_NOP5 ? PRICE_NOP5 : cost == COST_EMULATED ? PRICE_EMULATED : PRICE_SINGLE_STEP;
}

/* What a call of the function costs the target here, in ns; 0: not measured. */
double function_price(const struct price_list *prices, const struct plan_function *f)
{
	enum price_class c = price_class_of(f->cost);
	if (f->end == SITE_END_RETURN)
		return prices->with_return_ns[c];
	return prices->entry_ns[c] + (f->end == SITE_END_SITES ? prices->entry_ns[PRICE_SINGLE_STEP] : 0);
}
