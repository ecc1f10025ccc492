/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_PRICES_H
#define APP_PRICES_H

#include "kernel/capabilities.h"
#include "probe/plan.h"

/* What one call of a probed function costs its thread, in ns, by this machine's prices; 0: they are not known. */
double function_price(const struct price_list *prices, const struct plan_function *f);

#endif
