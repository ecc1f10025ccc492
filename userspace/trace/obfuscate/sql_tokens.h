/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_OBFUSCATE_SQL_TOKENS_H
#define TRACE_OBFUSCATE_SQL_TOKENS_H

#include <stdint.h>

#include "base/sv.h"

/* SQL as the Agent's tokenizer reads it (pkg/obfuscate/sql_tokenizer.go of 7.85, no DBMS given): rules and oddities are
 * its own, because what a token is decides about what is shown. */

enum sql_kind {
	/* Below 128: the character itself. */
	SQL_ERROR = 256,
	SQL_END,
	SQL_ID,
	SQL_STRING,
	SQL_DOUBLE_QUOTED,
	SQL_NUMBER, /* and all else that is shown as "?": NULL, TRUE, $1, %s, {...}, $$...$$ */
	SQL_BIND,   /* :name */
	SQL_COMMENT,
	SQL_OPERATOR, /* of several characters */
	SQL_NOT,
	SQL_KEYWORD, /* one that matters to nothing here */
	SQL_SAVEPOINT,
	SQL_AS,
	SQL_SELECT,
	SQL_UPDATE,
	SQL_DELETE,
	/* Made by the filters of sql.c. */
	SQL_GROUPABLE,
	SQL_GROUPABLE_PAREN,
	SQL_FILTERED,
	SQL_BRACKETED,
};

struct sql_tokens {
	const char *text;
	size_t len;
	size_t at;    /* behind `ch` */
	size_t start; /* of the token in hand */
	uint32_t ch;  /* the character in hand; SQL_EOF at the end */
	uint32_t curlys;
	bool started;
	bool literal_escapes; /* a backslash in a string is one */
	bool seen_escape;
	bool unusual;  /* a token whose text means something else when it is read again */
	char *strings; /* at least `len` bytes for the text of quoted tokens; the caller's */
};

#define SQL_EOF UINT32_MAX

/* The text must be valid UTF-8. */
static inline struct sql_tokens sql_tokens(struct sv q, bool literal_escapes, char *strings)
{
	return (struct sql_tokens){
		.text = q.data, .len = q.len, .literal_escapes = literal_escapes, .strings = strings};
}

/* The next token; *ret_text is valid until the next call. */
enum sql_kind sql_next(struct sql_tokens *t, struct sv *ret_text);

#endif
