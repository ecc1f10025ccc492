/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SPAN_TEXT_H
#define TRACE_SPAN_TEXT_H

#include "base/sbuf.h"
#include "trace/span.h"

/* Text with values of a finished span in it: "{http.method} {http.route}". Between braces stands service, name,
 * resource, type or the key of a tag or metric; what the span does not have is nothing. "{{" and "}}" are braces. */

#define SPAN_TEXT_MAX	    1024 /* bytes, as written */
#define SPAN_TEXT_MAX_PARTS 16
#define SPAN_TEXT_MAX_SZ    5000 /* bytes, made; what goes beyond is cut: no more is kept of a resource */

struct span_text_part {
	struct sv text; /* itself, or the key of a value */
	bool is_key;
};

/* Valid when zeroed: not given. */
struct span_text {
	struct span_text_part *parts;
	uint32_t cnt;
};

/* 0; -EINVAL with a sentence in `err`, and in *ret_at where in the text; -ENOMEM. Strings go to the arena. */
int span_text_parse(struct span_text *ret, struct sv text, struct arena *arena, struct sbuf *err, size_t *ret_at);
/* Nothing in it changes from span to span; then *ret is its text. */
bool span_text_is_constant(const struct span_text *t, struct sv *ret);
/* Appends it. */
void span_text_add(const struct span_text *t, const struct chunk *c, const struct span *s, struct sbuf *out);

/* What the span is told to have under this key, as tags.h puts it together; false: nothing. */
bool span_tag(const struct chunk *c, const struct span *s, struct sv key, struct sv *ret);
bool process_tag(const struct process_info *p, struct sv key, struct sv *ret); /* what every span of it has */
bool span_metric(const struct span *s, struct sv key, double *ret);

#endif
