/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PROPAGATION_SETTINGS_H
#define TRACE_PROPAGATION_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sbuf.h"
#include "base/sv.h"

/* How a traced process wants its trace context handled: what its environment says to ddtrace
 * (internal/settings/_config.py). */

enum propagation_style_id {
#define PROPAGATION_STYLE(id, symbol, word) PROPAGATION_STYLE_##symbol = id,
#include "trace/propagation/propagation.def"
	PROPAGATION_STYLE_CNT
};

enum propagation_header {
#define PROPAGATION_HEADER(SYMBOL, style, name) PROPAGATION_HEADER_##SYMBOL,
#include "trace/propagation/propagation.def"
	PROPAGATION_HEADER_CNT
};

enum propagation_behavior {
	PROPAGATION_CONTINUE, /* the incoming trace */
	PROPAGATION_RESTART,  /* with a trace of our own, linked to the incoming one; baggage is kept */
	PROPAGATION_IGNORE,   /* everything that comes in */
};

#define PROPAGATION_STYLES_MAX	     8 /* in one list; more are cut off */
#define PROPAGATION_BAGGAGE_KEYS_MAX 32

struct propagation_settings {
	uint8_t extract[PROPAGATION_STYLES_MAX]; /* enum propagation_style_id, in the order to try */
	uint8_t extract_cnt;
	uint32_t inject;  /* bit per style */
	uint32_t headers; /* bit per header that extraction reads */
	bool extract_first;
	bool trace_id_128; /* DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED; false: Datadog's _dd.p.tid is no part of the
			      id */
	enum propagation_behavior behavior;
	uint32_t tags_max;    /* DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH; 0: never written */
	bool baggage_tag_all; /* "*" */
	uint8_t baggage_tag_key_cnt;
	struct sv baggage_tag_keys[PROPAGATION_BAGGAGE_KEYS_MAX];
};

/* The value of a variable of the process, or data NULL. */
typedef struct sv (*propagation_getenv)(void *arg, const char *name);

/* ddtrace's defaults: datadog,tracecontext,baggage both ways, continue. */
void propagation_settings_init(struct propagation_settings *s);
/* Defaults, then what the environment says. Mistakes are described in `warn` (may be NULL), one line each, and left
 * at their default. baggage_tag_keys borrows from the environment's value. Variables:
 *   DD_TRACE_PROPAGATION_STYLE_EXTRACT, _INJECT, else DD_TRACE_PROPAGATION_STYLE, else OTEL_PROPAGATORS
 *   DD_TRACE_PROPAGATION_EXTRACT_FIRST, DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT, DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH,
 *   DD_TRACE_BAGGAGE_TAG_KEYS, DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED */
void propagation_settings_read(struct propagation_settings *s, propagation_getenv get, void *arg, struct sbuf *warn);
/* The styles whose headers say whose trace a request belongs to, in the order to try: SH_STYLE_* (spanhound/head.h), as the kernel
 * half takes them. Each once; 0: none, it starts a trace of its own. */
uint16_t propagation_reads(const struct propagation_settings *s);
/* The word for a style, as in the settings and in span links. */
struct sv propagation_style_name(unsigned style);

#endif
