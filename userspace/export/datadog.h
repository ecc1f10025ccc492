/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_DATADOG_H
#define EXPORT_DATADOG_H

#include "export/exporter.h"

/* Does a Datadog Agent answer GET /info at `url` (NULL: where agent_url_find() looks)? 0 and its JSON in `ret_info`
 * (NULL: not wanted), else -errno: -ECONNREFUSED nobody is there, -ETIMEDOUT, -EPROTO something else answers, -EINVAL
 * the URL is bad; `err` says so in a sentence that names the place. Blocks for at most `timeout_ms`. */
int datadog_probe(const char *url, unsigned timeout_ms, struct sbuf *ret_info, struct sbuf *err);

/* How the exporter behaves; each can be set by the variable ddtrace uses for it. */
#define DATADOG_BUFFER_SZ   (20 << 20) /* DD_TRACE_WRITER_BUFFER_SIZE_BYTES: all that waits; then the oldest goes */
#define DATADOG_PAYLOAD_MAX 9961472    /* DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES: 9.5 MiB as dd-trace-go; Agent: 25 */
#define DATADOG_PAYLOAD_SZ  (2 << 20)  /* sent without waiting for the interval */
#define DATADOG_INTERVAL_S  1.0	       /* DD_TRACE_WRITER_INTERVAL_SECONDS */
#define DATADOG_TIMEOUT_S   5.0	       /* DD_TRACE_AGENT_TIMEOUT_SECONDS; an overloaded Agent holds a request for 1 s */
#define DATADOG_ATTEMPTS    5	       /* per payload that the Agent could not take or broke off on */
#define DATADOG_MAX_GROUPS  64	       /* payloads in the making; beyond, the oldest is sent early */

#endif
