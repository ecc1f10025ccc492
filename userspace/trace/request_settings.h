/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_REQUEST_SETTINGS_H
#define TRACE_REQUEST_SETTINGS_H

#include "trace/http_settings.h"
#include "trace/propagation/settings.h"

/* How one process wants its requests traced. Who decides, variable by variable: our own environment, else the probe
 * list
 * (`settings:`), else the environment of the process. target/identify.c puts that together, as text of the form of
 * /proc/PID/environ: NAME=value, each ended by a NUL. Used by one thread. */

/* Their names (those of settings.def that are of requests), NULL behind the last. */
extern const char *const request_variables[];

/* Appends one variable to such a text. */
void request_settings_put(struct sbuf *text, const char *name, struct sv value);

/* Immutable, counted, shared by all processes that want the same. */
struct request_settings {
	int refs;
	struct sv text; /* what it was made from */
	struct http_settings *http;
	struct propagation_settings propagation;
	struct arena arena;
};

/* One reference, or NULL when out of memory. Wrong values count as unset and are described in `err` (may be NULL), a
 * line each. `standard` as for http_settings_new(). */
struct request_settings *request_settings_new(struct sv text, struct query_obfuscator *standard, struct sbuf *err);
struct request_settings *request_settings_ref(struct request_settings *s);
void request_settings_unref(struct request_settings *s); /* NULL is fine */

/* All that are in use: equal texts have one object. */
#define REQUEST_SETTINGS_MAX 256 /* further ones are not shared */
struct request_settings_set;
struct request_settings_set *request_settings_set_new(void);	  /* NULL when out of memory */
void request_settings_set_free(struct request_settings_set *set); /* NULL is fine; objects in use stay */
/* A new reference, or NULL when out of memory. *ret_new: it was made just now, and `err` describes its mistakes. */
struct request_settings *request_settings_get(struct request_settings_set *set, struct sv text, bool *ret_new,
					      struct sbuf *err);

#endif
