/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_NORMALIZE_H
#define TRACE_NORMALIZE_H

#include "base/sbuf.h"

/* What the Datadog Agent makes of the strings of a span (pkg/trace/traceutil/normalize, agent/normalizer.go of
 * Agent 7.85). Spans are sent as they are; whatever must agree with the Agent's view (rates by service, statistics)
 * goes through these. Functions that take `out` append to it. */

#define NORMALIZE_MAX_NAME     100  /* bytes: service, name, type */
#define NORMALIZE_MAX_RESOURCE 5000 /* bytes */
#define NORMALIZE_MAX_TAG      200  /* characters */

/* `lang` is Datadog's word for the language or empty: it names the service of a span that has none. */
void normalize_service(struct sbuf *out, struct sv service, struct sv lang);
/* peer.service and _dd.base_service: nothing stays nothing. */
void normalize_peer_service(struct sbuf *out, struct sv service);
void normalize_name(struct sbuf *out, struct sv name);
/* Slices of what they were given. */
struct sv normalize_resource(struct sv resource, struct sv name);
struct sv normalize_type(struct sv type);
/* A value: lower case, runs of anything but letters, digits and ./-: become one _, none at the end. */
void normalize_tag_value(struct sbuf *out, struct sv value);
/* A whole key:value tag: the same, and what precedes the first letter or colon goes. */
void normalize_tag(struct sbuf *out, struct sv tag);

#endif
