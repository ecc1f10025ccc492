/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_CONTEXTS_H
#define APP_CONTEXTS_H

#include "base/sbuf.h"

struct session;

/* The answer to "context PID" on the control socket: what each thread of a traced process is in at this moment, and each
 * goroutine that serves a request, under the ids it will be reported with. On the supervisor. One JSON object:
 *
 *	{"pid":N,"name":T,"service":T,"contexts":[C...]}
 *
 * C is {"tid":N,"name":T}, or {"goroutine":N}; and where it is in a trace
 *
 *	"trace_id":"32 hex digits","span_id":"16 of them",
 *	"dd_trace_id":"decimal, the lower 64 bits","dd_span_id":"decimal",
 *	"settled":false     it may still turn out to be part of another trace
 *	"function":T        the innermost probed function that is open, whose span it is; absent: the request's
 *	"start":N           Unix ns, of that span; 0: not known
 *	"elapsed":N         ns since
 *	"request":{"method":T,"path":T,"start":N,"answered":B}     being served; absent: none, or it is not known
 *
 * False: a sentence in `out` about why not, and what to do. */
bool contexts_answer(struct session *s, struct sv words, struct sbuf *out);

#endif
