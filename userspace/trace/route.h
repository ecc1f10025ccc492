/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_ROUTE_H
#define TRACE_ROUTE_H

#include "base/arena.h"
#include "base/sbuf.h"
#include "base/vec.h"
#include "trace/hindex.h"

/* From the path of a request to a name that many requests share: the second half of a resource ("GET /users/{id}").
 * Paths are what precedes '?' and '#', as sent: still percent-encoded. */

/* --- configured routes -------------------------------------------------------------------------------------------- */

#define ROUTES_MAX	   1000
#define ROUTE_MAX_LEN	   1024 /* bytes */
#define ROUTE_MAX_SEGMENTS 64

/* Routes of one target, tried in their order. A segment of a route is
 *   users	 itself
 *   {id}	 any one segment; :id and <id> mean the same
 *   *		 any one segment; as the last one: all the rest, however many
 *   v{n}, *.js	 text with gaps in one segment
 * Empty segments do not count: "/users" is "/users/" and "//users". Valid when zeroed; immutable when in use. */
struct route;
struct routes {
	VEC(struct route) list;
	struct arena arena;
	uint32_t holders; /* atomic */
};

/* 0 or -errno; what is wrong with the route goes into `err`. */
int routes_add(struct routes *r, struct sv route, struct sbuf *err);
/* The route that the path belongs to, as it was written; SV_NULL when there is none. Lives as long as `r`. */
struct sv routes_match(const struct routes *r, struct sv path);
void routes_release(struct routes *r);

/* Who keeps a pointer to routes that may be given back one day holds them. Any thread. NULL is fine. */
void routes_hold(const struct routes *r);
void routes_let_go(const struct routes *r);
bool routes_are_held(const struct routes *r);

/* --- the guess ---------------------------------------------------------------------------------------------------- */

#define ROUTE_GUESS_SEGMENTS 8

/* Appends the path with each segment that looks like a value replaced by "?". The rules are those by which Datadog's
 * tracers make http.endpoint (first eight segments; numbers, hexadecimal ids of six or more with a digit, dates,
 * special characters, long segments), with one placeholder for all, as the Agent's remove_path_digits has it, so that
 * an id that happens to have no letters does not make a second route. A segment becomes "?" when it
 *   - has a byte of %&'()*+,:;=@~!$|"<>\^`{}[] or one that is not printable ASCII: encoded or composed
 *   - is . or ..
 *   - has only digits, or digits and ._- ; or at least 6 of 0-9a-fA-F._- with a digit: numbers, dates, UUIDs, hashes
 *   - has 4 digits or more, digits in two places, or ends in -, _ or . and digits: user-42, x7Gh2k, INV2023001
 *   - has 20 bytes or more, unless it is words: runs of at most 16 lower-case letters with - _ . between; always above
 * 64 v and up to three digits (v1, v2) stays. Empty segments are left out; what follows the eighth segment becomes "*".
 */
void route_guess(struct sbuf *out, struct sv path);

/* --- how many ----------------------------------------------------------------------------------------------------- */

#define RESOURCES_DEFAULT_MAX 1000

/* The resources of one service: no more than so many different ones are let in, for as long as it lives. */
struct resources {
	uint32_t max;	   /* 0: RESOURCES_DEFAULT_MAX */
	uint64_t overflow; /* how often a resource was turned away */
	VEC(uint64_t) seen;
	struct hindex index;
};

/* False: there are too many others already (or no memory), and it was counted. */
bool resources_admit(struct resources *r, struct sv resource);
void resources_release(struct resources *r);

#endif
