/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_REDACT_H
#define TRACE_REDACT_H

#include <stdbool.h>

#include "base/sv.h"

/* Does the name of a value say that it is a secret? Names are compared without letter case and without _ - $ @ . and
 * spaces, with the list of Datadog's Dynamic Instrumentation; DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS adds to it,
 * DD_DYNAMIC_INSTRUMENTATION_REDACTION_EXCLUDED_IDENTIFIERS takes from it (both comma-separated). */
bool redact_name(struct sv name);

/* What a span shows in place of such a value. */
#define REDACTED SV("{redacted}")

#endif
