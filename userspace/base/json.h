/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/sbuf.h"

/* A reader of JSON (RFC 8259) that walks the text once and builds nothing: the caller asks for what it expects.
 *
 *	struct json j = json_start(text);
 *	for (json_enter(&j, '{'); json_key(&j, &key);)
 *		if (sv_eq(sbuf_sv(&key), SV("rate")))
 *			json_number(&j, &rate);
 *		else
 *			json_skip(&j);
 *	bool good = json_end(&j);
 *
 * What does not fit sets `failed`, which is sticky: every further question is answered with false, so a loop ends and
 * one look at the end is enough. Nothing is allocated but in the sbufs of the caller. */

#define JSON_MAX_DEPTH 64

struct json {
	struct sv text;
	size_t at;
	unsigned depth;
	uint64_t filled; /* bit d: the container at depth d has had an element */
	bool failed;
};

struct json json_start(struct sv text);
/* The first character of the next value: { [ " t f n - or a digit; 0 at the end or after a failure. */
char json_peek(struct json *j);
/* Enters an object ('{') or an array ('['). False (and failed) when the next value is something else. */
bool json_enter(struct json *j, char bracket);
/* The next key of the object, in *key, whose value comes next; false when the object is over. */
bool json_key(struct json *j, struct sbuf *key);
/* True when another element of the array comes next; false when the array is over. */
bool json_item(struct json *j);
/* One value each; false (and failed) when it is of another kind. `out` is replaced; escapes are resolved, lone
 * surrogates become U+FFFD, the bytes of the text are otherwise kept as they are. */
bool json_string(struct json *j, struct sbuf *out);
bool json_number(struct json *j, double *ret);
bool json_bool(struct json *j, bool *ret);
/* Any value, with all it contains. */
bool json_skip(struct json *j);
/* True when nothing failed and nothing but space is left. */
bool json_end(struct json *j);

/* For readers that forgive: the value if it is of that kind, else it is skipped and *ret stays as it is. */
void json_maybe_number(struct json *j, double *ret);
void json_maybe_bool(struct json *j, bool *ret);
void json_maybe_string(struct json *j, struct sbuf *out);

#endif
