/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_DATADOG_PRIVATE_H
#define EXPORT_DATADOG_PRIVATE_H

#include "base/clock.h"
#include "export/datadog.h"
#include "export/http.h"
#include "export/trace_buffer.h"
#include "version.h"

/* What the parts of the exporter share: datadog.c its life, datadog_send.c requests and what comes of them,
 * datadog_headers.c who they are about, datadog_info.c what the Agent says about itself. */

#define DATADOG_MAX_HEADERS 16
#define DATADOG_USER_AGENT  "spanhound/" SPANHOUND_VERSION

struct header_lines {
	char lines[DATADOG_MAX_HEADERS][256];
	const char *lines_at[DATADOG_MAX_HEADERS + 1]; /* as http_request.headers */
	unsigned cnt;
};

enum health {
	HEALTH_UNKNOWN, /* nothing was sent yet */
	HEALTH_GOOD,
	HEALTH_ABSENT, /* nobody answers, or answers do not come */
	HEALTH_BUSY,   /* answers 429 or 5xx */
};

struct exporter {
	struct agent_url url;
	struct http *http;
	const struct datadog_listener *listener;
	struct trace_buffer buffer;
	size_t payload_limit; /* as configured; the Agent may want less */
	uint64_t interval_ns, timeout_ns;
	bool want_v05;

	/* The three requests that can be under way, each at most once: spans follow each other on one connection. */
	struct http_request traces, info_request, stats_request;
	struct header_lines traces_headers, stats_headers;
	struct payload *flying; /* in `traces`; NULL: none */
	bool info_flying, stats_flying;
	struct datadog_stats stats_body; /* in `stats_request` */

	/* What the Agent said. */
	struct agent_info *info;	 /* NULL: nothing yet, or it has no /info */
	bool info_due;			 /* to be asked for */
	bool no_info;			 /* it answered, but not with what we can read */
	char info_state[HTTP_MAX_FIELD]; /* Datadog-Agent-State of the last answer, readable or not */
	bool refused_v05;
	char rates_version[HTTP_MAX_FIELD];

	enum health health;
	unsigned failures;     /* in a row */
	uint64_t quiet_until;  /* backoff: nothing is sent before */
	char reason[160];      /* of the last failure */
	uint64_t dropped_then; /* what was dropped when health was lost */
	uint64_t refused_said_ns, stats_said_ns;
	bool overflow_said, info_said;
	bool leaving; /* in flush: an absent Agent is not waited for */
	uint32_t random;
	struct exporter_stats stats;
	void (*notice)(void *arg, const char *line);
	void *notice_arg;
};

void datadog_say(struct exporter *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline uint64_t datadog_lost(const struct exporter *e)
{
	return e->stats.dropped + e->stats.backpressure;
}
/* Takes it off the list and forgets it; its spans go to *counter. */
void datadog_finish(struct exporter *e, struct payload *p, uint64_t *counter);

/* Starts what can be started now. */
void datadog_send(struct exporter *e, uint64_t now_ns);
/* One of the three requests is done. */
void datadog_landed(struct exporter *e, struct http_request *r, uint64_t now_ns);
/* The Agent's own words, on one line. */
void datadog_words(const struct http_request *r, char *out, size_t cap);

/* Both begin anew. */
void headers_of_traces(struct header_lines *h, const struct payload *p, const char *rates_version);
void headers_of_stats(struct header_lines *h, const struct datadog_stats *s);

void datadog_ask_info(struct exporter *e);
void datadog_info_landed(struct exporter *e);
/* A reply came with this state: is what we know still what the Agent says? */
void datadog_state_seen(struct exporter *e, const char *state);
/* May v0.5 be sent, as far as is known? */
bool datadog_may_v05(const struct exporter *e);

#endif
