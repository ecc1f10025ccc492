/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_QUERY_OBFUSCATOR_H
#define TRACE_QUERY_OBFUSCATOR_H

#include "base/sbuf.h"

/* Replaces what looks like a secret in a query string by "<redacted>", as DD_TRACE_OBFUSCATION_QUERY_STRING_REGEXP
 * says. Used by one thread at a time: it has scratch memory of its own. */
struct query_obfuscator;

/* NULL pattern data: Datadog's default (what it finds is what ddtrace 4.16 finds). A pattern is a Perl-compatible
 * expression that is matched on bytes. -EINVAL: it is none, described in `err`; -ENOMEM. The object has one reference.
 */
int query_obfuscator_new(struct sv pattern, struct query_obfuscator **ret, struct sbuf *err);
/* Datadog's default, for PCRE2_CASELESS | PCRE2_EXTENDED. */
struct sv query_obfuscator_standard(void);
struct query_obfuscator *query_obfuscator_ref(struct query_obfuscator *q);
void query_obfuscator_unref(struct query_obfuscator *q); /* NULL is fine */

/* Appends the query (without its '?') with each match replaced. When matching takes too many steps or fails, or there
 * are more than 100 matches, all of the rest is replaced, and a query beyond 8 KiB as a whole: a secret is never let
 * through because it was hard to find. */
void query_obfuscate(struct query_obfuscator *q, struct sv query, struct sbuf *out);
/* How often that happened. */
uint64_t query_obfuscator_failures(const struct query_obfuscator *q);

#endif
