/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_DATADOG_H
#define EXPORT_DATADOG_H

#include "export/exporter.h"
#include "trace/agent_info.h"

/* Does a Datadog Agent answer GET /info at `url` (NULL: where agent_url_find() looks)? 0 and its JSON in `ret_info`
 * (NULL: not wanted), else -errno: -ECONNREFUSED nobody is there, -ETIMEDOUT, -EPROTO something else answers, -EINVAL
 * the URL is bad; `err` says so in a sentence that names the place. Blocks for at most `timeout_ms`. */
int datadog_probe(const char *url, unsigned timeout_ms, struct sbuf *ret_info, struct sbuf *err);

/* One body for POST /v0.6/stats. */
struct datadog_stats {
	struct process_info *who; /* whose headers it is sent with; the exporter takes the reference */
	struct sbuf body;	  /* msgpack; the exporter releases it */
	bool obfuscated;	  /* resources are, as obfuscation_version 1 says: Datadog-Obfuscation-Version: 1 */
};

/* Who wants to know what the Agent says. All functions are called on the exporter thread, any may be NULL. */
struct datadog_listener {
	void *arg;
	/* A new answer to GET /info; take a reference to keep it. NULL: the Agent that is there now has none. */
	void (*info)(void *arg, struct agent_info *info);
	/* A reply's body with new rates: {"rate_by_service":{...}}, JSON. Not called for a reply without news. */
	void (*rates)(void *arg, const char *json, size_t len);
	/* The next body of statistics that is due, `leaving`: whatever is left, the end has come. False: none. Asked
	 * only while the Agent takes statistics. A body is sent once: sent twice it would count twice. */
	bool (*next_stats)(void *arg, uint64_t now_ns, bool leaving, struct datadog_stats *ret);
};
/* For the exporters that are opened from now on; NULL: nobody. Not copied. */
void datadog_listen(const struct datadog_listener *listener);

/* How the exporter behaves; each can be set by the variable ddtrace uses for it. */
#define DATADOG_BUFFER_SZ   (20 << 20) /* DD_TRACE_WRITER_BUFFER_SIZE_BYTES: all that waits; see trace_buffer.h */
#define DATADOG_PAYLOAD_MAX 9961472    /* DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES: 9.5 MiB as dd-trace-go; Agent: 25 */
#define DATADOG_PAYLOAD_SZ  (2 << 20)  /* sent without waiting for the interval */
#define DATADOG_INTERVAL_S  1.0	       /* DD_TRACE_WRITER_INTERVAL_SECONDS */
#define DATADOG_TIMEOUT_S   5.0	       /* DD_TRACE_AGENT_TIMEOUT_SECONDS; an overloaded Agent holds a request for 1 s */
#define DATADOG_ATTEMPTS    5	       /* per payload that the Agent could not take or broke off on */
/* DD_TRACE_API_VERSION: v0.4 (default) or v0.5; with v0.5, v0.4 is used as long as the Agent does not know better. */

#endif
