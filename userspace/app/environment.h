/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_ENVIRONMENT_H
#define APP_ENVIRONMENT_H

#include "trace/http_settings.h"
#include "trace/propagation/settings.h"

/* What Datadog's variables in our own environment say about HTTP spans and trace context; mistakes are said and left at their
 * default. 0 or -ENOMEM. */
int http_environment(struct http_settings **ret_http, struct propagation_settings *ret_propagation);

#endif
