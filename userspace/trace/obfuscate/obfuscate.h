/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_OBFUSCATE_OBFUSCATE_H
#define TRACE_OBFUSCATE_OBFUSCATE_H

#include "base/sbuf.h"
#include "trace/agent_info.h"
#include "trace/span.h"

/* What this does, in the Agent's count (obfuscation_version at /info: 1 while its SQL options are the defaults). */
#define OBFUSCATE_VERSION 1

/* What a Datadog Agent (7.85, pkg/obfuscate and pkg/trace/agent/obfuscate.go, default settings) does to the values in
 * queries, commands and URLs of spans, done here: statistics agree with the Agent's, and nothing is altered after us.
 * One file for each kind of text, one line in obfuscate.def for each span type.
 *
 * Functions that take `out` append to it: never more than three bytes for one of the input, and 64. */

/* `q` in the Agent's own words: literals are "?", comments, aliases and semicolons are gone, tokens are one space
 * apart, lists of "?" are one. What comes out comes out unchanged when it goes in again. 0, or -EINVAL when it is no
 * SQL the Agent could read (nothing is appended; it is presented as OBFUSCATE_SQL_FAILED), or -ENOMEM. */
int obfuscate_sql(struct sbuf *out, struct sv q);
/* What one Agent makes of it. It is not always what the next one would: "SELECT 1 AS a, b" becomes "SELECT ?, b", and
 * that "SELECT ? b". Ours is done by an Agent once more. */
int obfuscate_sql_once(struct sbuf *out, struct sv q);
#define OBFUSCATE_SQL_FAILED SV("Non-parsable SQL query")

/* The resource of a Redis span: the first three commands, without their arguments. */
void obfuscate_redis_resource(struct sbuf *out, struct sv commands);
/* The tag redis.raw_command: each command with those of its arguments masked that are values. */
void obfuscate_redis_command(struct sbuf *out, struct sv commands);
/* The same with remove_all_args: nothing but the first command. */
void obfuscate_redis_remove_args(struct sbuf *out, struct sv commands);

/* memcached.command: the line of the command when `keep`, else nothing. */
void obfuscate_memcached(struct sbuf *out, struct sv command, bool keep);

/* JSON of a MongoDB or Elasticsearch query, or several in a row: every scalar is "?", spaces are gone; values of `keep`
 * keys stay. What is no JSON ends it with "...". */
void obfuscate_json(struct sbuf *out, struct sv json, const struct agent_list *keep);

/* An http.url: without user and password; `remove_query`: "?" instead of a query; `remove_digits`: "?" instead of each
 * part of the path that has a digit. */
void obfuscate_url(struct sbuf *out, struct sv url, bool remove_query, bool remove_digits);
/* It certainly stays as it is, without either: told in one pass, of nearly all URLs. */
bool obfuscate_url_is_plain(struct sv url);

#define OBFUSCATE_CARD_MIN 12 /* digits of the shortest */
/* Is the whole value a card number (12 to 16 digits of a known issuer, with spaces and dashes)? */
bool obfuscate_is_card(struct sv value, bool luhn);
/* May a tag of this name hold one? */
bool obfuscate_card_key(struct sv key);

/* Do spans of this type have anything to obfuscate, besides card numbers? */
bool obfuscate_touches(struct sv type);

/* All of it on one span of the chunk, by its type and as `info` says (NULL: the Agent's defaults): its resource and its
 * own tags point into the chunk's arena afterwards where they had to change. `any_card`: tags that may be a card's number,
 * too, which many ids of 12 to 16 digits may be. Uses `scratch`. False: memory is out, and what could not be obfuscated is
 * gone. */
bool obfuscate_span(struct chunk *c, struct span *s, const struct agent_info *info, bool any_card, struct sbuf *scratch);

#endif
