/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PROPAGATION_STYLE_H
#define TRACE_PROPAGATION_STYLE_H

#include <stdbool.h>
#include <stdint.h>

#include "trace/propagation/propagation.h"

/* What a style is, and what the styles share. Inside this folder only. */

struct propagation_style {
	/* 1: there is a context of this style, *ctx (zeroed, priority none) says which; 0: none; -ENOMEM. */
	int (*extract)(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
		       struct propagation_context *ctx);
	/* Appends the style's headers; ids are there unless the style is baggage. Returns as propagation_inject(). */
	struct sv (*inject)(const struct propagation_settings *s, const struct propagation_context *ctx,
			    uint64_t span_id, struct sbuf *out);
};

#define PROPAGATION_STYLE(id, symbol, word) extern const struct propagation_style propagation_##symbol;
#include "trace/propagation/propagation.def"

/* Python's int(text, base) for ASCII text, which is what decides in ddtrace: blanks around, a sign, "0x" for base 16,
 * single underscores between digits. `big`: more than 128 bits. False where Python raises ValueError. */
struct lenient_int {
	unsigned __int128 magnitude;
	bool negative, big;
};
bool lenient_int(struct sv s, unsigned base, struct lenient_int *ret);
/* The number as a 64-bit id; 0 when it is negative or larger. */
uint64_t lenient_id(const struct lenient_int *n);
/* The number as a sampling priority, held to what an int32_t can say. */
int32_t lenient_priority(const struct lenient_int *n);

/* Exactly s.len (at most 16) lower-case hex digits; false when one of them is not. */
bool hex_parse(struct sv s, uint64_t *ret);
/* 16 digits and a NUL. */
struct sv hex_print(uint64_t n, char out[17]);
/* str.strip() of Python for ASCII. */
struct sv sv_strip(struct sv s);
/* The part of *s before the first `separator`, and *s moved past that; data NULL when *s has no part left. A text ends
 * with a part, if only an empty one: "a," has two. Start with a slice whose data is not NULL. */
struct sv sv_split(struct sv *s, char separator);
bool is_printable(struct sv s); /* 0x20 to 0x7e */
size_t characters(struct sv s); /* of UTF-8 */
void sbuf_cut(struct sbuf *b, size_t len);

/* Sets the value of a key among the `cnt` of `tags`, which has room for `max`. False: no room. */
bool tags_put(struct tag *tags, uint16_t *cnt, unsigned max, struct sv key, struct sv value);

/* Walks the tags that are handed on, *i from 0; the upper half of the trace id is among them when `with_tid`, in its
 * place or last, and its text in `tid`. */
bool next_tag(const struct propagation_context *ctx, bool with_tid, unsigned *i, char tid[17], struct tag *ret);

/* tracestate, made canonical as ddtrace's w3c_tracestate_members_after_limits() does it: blanks around members and
 * empty ones removed, the last dd= first, the last ot= next, then the others in their order; at most 32 members and 512
 * bytes, whole members only, longer ones than 128 going first, the first protected one staying in any case. `dd` and
 * `ot` (NULL: as in `raw`) replace those members; an empty ot removes it. Writes to `out`, which has room for
 * TRACESTATE_ROOM, and returns how many bytes. */
size_t tracestate_build(struct sv raw, const struct sv *dd, const struct sv *ot, char *out);
#define TRACESTATE_ROOM(raw, dd_len, ot_len) ((raw).len + (dd_len) + (ot_len) + 8)
/* The value of the last member of that key ("dd=", "ot="); data NULL: none. */
struct sv tracestate_member(struct sv tracestate, struct sv key_and_equals);

/* OpenTelemetry's ot= member (OTEP 235). `rv` and `th`: the last ones, data NULL when there is none or it is not valid;
 * `all`: the text, for the other fields. */
struct ot_fields {
	struct sv rv, th, all;
};
struct ot_fields ot_parse(struct sv ot);
/* rv and th first, then the fields that are neither, whole ones up to 256 characters; returns how many bytes. */
#define OT_ROOM 256
size_t ot_build(const struct ot_fields *f, char out[OT_ROOM]);

#endif
