/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_NORMALIZE_H
#define TRACE_NORMALIZE_H

#include "base/sbuf.h"

#include "trace/span.h"

/* What the Datadog Agent makes of the strings of a span (pkg/trace/traceutil/normalize, agent/normalizer.go and
 * agent/truncator.go of Agent 7.85): done here, nothing is altered after us, and what must agree with the Agent's view
 * (rates by service, statistics) does. Functions that take `out` append to it. */

#define NORMALIZE_MAX_NAME     100   /* bytes: service, name, type */
#define NORMALIZE_MAX_RESOURCE 5000  /* bytes */
#define NORMALIZE_MAX_TAG      200   /* characters */
#define NORMALIZE_MAX_KEY      200   /* bytes, of a tag's or metric's name */
#define NORMALIZE_MAX_VALUE    25000 /* bytes, of a tag's value */
#define NORMALIZE_BIG_RESOURCE 15000 /* with the Agent's feature flag big_resource */

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

/* The first `max` bytes at most, cut as the Agent cuts: no sequence in two, and no bytes at the end that are none. */
struct sv normalize_cut(struct sv s, size_t max);

/* Is this what it would become? */
bool normalize_is_service(struct sv service);
bool normalize_is_name(struct sv name);

/* The same for tags that many spans share: what has to change points into the arena, what an Agent would not take goes.
 * False: memory is out. */
bool normalize_tags(struct tag *tags, uint32_t *cnt, struct arena *arena);

/* All of it, and cuts, on one span of the chunk (after obfuscation, as there): service and name unless `normal` says
 * that they need none, resource, type, times, http.status_code, peer.service, and names and values of its own tags that
 * are too long. Where something has to change it points into the chunk's arena afterwards. `max_resource`: NORMALIZE_MAX_RESOURCE or _BIG_RESOURCE. Uses
 * `scratch`. False: memory is out; the span is as good as it could be made. */
bool normalize_span(struct chunk *c, struct span *s, size_t max_resource, int64_t now_ns, struct sbuf *scratch);

#endif
