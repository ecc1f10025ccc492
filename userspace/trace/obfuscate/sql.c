/* SPDX-License-Identifier: Apache-2.0 */
/* The filters of pkg/obfuscate/sql.go: discard, replace, group, in this order, each seeing what the last of them made
 * of the token before. */
#include <errno.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "trace/obfuscate/obfuscate.h"
#include "trace/obfuscate/sql_tokens.h"

#define MAX_PASSES 8

struct filter {
	enum sql_kind last;
	unsigned values; /* "?" in a row */
	unsigned groups; /* ( ? ) in a row */
	bool busy;	 /* what comes next may become something else, whatever it is */
	bool unusual;
	char *start, *at, *end; /* what is written */
};

static bool groupable(enum sql_kind k)
{
	return k == SQL_GROUPABLE || k == SQL_GROUPABLE_PAREN;
}

static enum sql_kind grouped(enum sql_kind k)
{
	return k == '(' ? SQL_GROUPABLE_PAREN : SQL_GROUPABLE;
}

/* A token whose text is gone has NULL data from here on. False: no SQL. */
static bool discard(const struct filter *f, enum sql_kind *kind, struct sv *text)
{
	if (f->last == SQL_BRACKETED && *kind != ']') {
		if (*kind != SQL_ID)
			return false;
		*kind = SQL_BRACKETED;
		*text = SV_NULL;
	} else if (f->last == SQL_BRACKETED || f->last == SQL_AS) {
		*kind = *kind == '[' ? SQL_BRACKETED : SQL_FILTERED;
		*text = SV_NULL;
	} else if (*kind == SQL_COMMENT) {
		*kind = SQL_FILTERED;
		*text = SV_NULL;
	} else if (*kind == ';') {
		*kind = SQL_GROUPABLE;
		*text = SV_NULL;
	} else if (*kind == SQL_AS) {
		*text = SV_NULL;
	}
	return true;
}

static void replace(const struct filter *f, enum sql_kind *kind, struct sv *text)
{
	bool value = *kind == SQL_STRING || *kind == SQL_NUMBER || *kind == '?' || f->last == SQL_SAVEPOINT ||
		     (f->last == '=' && *kind == SQL_DOUBLE_QUOTED);
	if (!value)
		return;
	*kind = grouped(*kind);
	*text = SV("?");
}

/* Most are short: the ends of a word, which may overlap. */
static inline __attribute__((always_inline)) void put(struct filter *f, struct sv s)
{
	uint64_t first, last;
	uint32_t front, back;
	if ((size_t)(f->end - f->at) < s.len)
		return;
	char *at = f->at;
	f->at += s.len;
	if (s.len > 16) {
		memcpy(at, s.data, s.len);
	} else if (s.len >= 8) {
		memcpy(&first, s.data, 8);
		memcpy(&last, s.data + s.len - 8, 8);
		memcpy(at, &first, 8);
		memcpy(at + s.len - 8, &last, 8);
	} else if (s.len >= 4) {
		memcpy(&front, s.data, 4);
		memcpy(&back, s.data + s.len - 4, 4);
		memcpy(at, &front, 4);
		memcpy(at + s.len - 4, &back, 4);
	} else if (s.len) {
		at[0] = s.data[0];
		at[s.len / 2] = s.data[s.len / 2];
		at[s.len - 1] = s.data[s.len - 1];
	}
}

/* *ret_paren: a parenthesis that was left out is to be written after all. */
static void group(struct filter *f, enum sql_kind *kind, struct sv *text, bool *ret_paren)
{
	if ((f->last == '(' && groupable(*kind)) || (*kind == '(' && f->groups > 0))
		f->groups++;
	bool subquery = *kind == SQL_SELECT || *kind == SQL_DELETE || *kind == SQL_UPDATE || *kind == SQL_ID;
	*ret_paren = false;
	if (f->groups > 0 && f->last == SQL_GROUPABLE_PAREN && subquery) {
		f->values = f->groups = 0;
		*ret_paren = true;
	} else if (groupable(*kind)) {
		if (++f->values > 1) {
			*kind = grouped(*kind);
			*text = SV_NULL;
		}
	} else if ((f->values > 0 && (*kind == ',' || *kind == '?')) || f->groups > 1) {
		*kind = grouped(*kind);
		*text = SV_NULL;
	} else if (*kind != ',' && *kind != '(' && *kind != ')') {
		f->values = f->groups = 0;
	}
}

static inline __attribute__((always_inline)) void emit(struct filter *f, enum sql_kind kind, struct sv text, bool paren)
{
	if (!text.data && !paren)
		return;
	if (f->at > f->start && kind != ',' && (kind != '=' || f->last != ':'))
		put(f, SV(" "));
	if (paren)
		put(f, SV("( "));
	put(f, text);
}

/* Kinds that no filter has anything to say about, unless what was before makes it. */
static const bool quiet[SQL_BRACKETED + 1] = {
	[','] = true,	     ['('] = true,	    [')'] = true,	  ['='] = true,	       ['.'] = true,
	['<'] = true,	     ['>'] = true,	    ['*'] = true,	  ['+'] = true,	       ['-'] = true,
	['/'] = true,	     [SQL_ID] = true,	    [SQL_KEYWORD] = true, [SQL_SELECT] = true, [SQL_UPDATE] = true,
	[SQL_DELETE] = true, [SQL_OPERATOR] = true,
};

/* One pass over `q`, written to f->start. */
static int pass(struct filter *f, struct sql_tokens *t)
{
	f->last = 0;
	f->values = f->groups = 0;
	f->busy = false;
	f->at = f->start;
	for (;;) {
		struct sv text;
		bool paren;
		enum sql_kind kind = sql_next(t, &text);
		if (kind == SQL_END)
			break;
		if (quiet[kind] && !f->busy) {
			emit(f, kind, text, false);
			f->last = kind;
			continue;
		}
		/* Without these, what stood beside them stands beside something else: a "?" behind another one, a
		 * colon at the end. */
		t->unusual |= kind == SQL_AS || kind == SQL_SAVEPOINT || kind == SQL_COMMENT || kind == SQL_NOT ||
			      kind == '[' || kind == ':';
		if (kind == SQL_ERROR || !discard(f, &kind, &text))
			return -EINVAL;
		replace(f, &kind, &text);
		group(f, &kind, &text, &paren);
		emit(f, kind, text, paren);
		f->last = kind;
		f->busy = f->values || f->groups || kind == SQL_AS || kind == SQL_BRACKETED || kind == SQL_SAVEPOINT;
	}
	f->unusual = t->unusual || t->seen_escape;
	return f->at > f->start ? 0 : -EINVAL;
}

/* The first pass; f->start and f->end are set. */
static int attempt(struct filter *f, struct sv q, char *strings)
{
	struct sql_tokens t = sql_tokens(q, false, strings);
	int r = pass(f, &t);
	/* Perhaps a dialect in which backslashes mean nothing. */
	if (r < 0 && t.seen_escape) {
		t = sql_tokens(q, true, strings);
		r = pass(f, &t);
	}
	return r;
}

static int sql_run(struct sbuf *out, struct sv q, unsigned max_passes)
{
	/* A token of one byte takes two; a parenthesis that comes back, two more than the one it was. */
	size_t room = 3 * q.len + 64;
	if (!utf8_valid(q))
		return -EINVAL;
	char local[4096], *heap = 2 * room > sizeof(local) ? malloc(2 * room) : NULL;
	char *at = sbuf_reserve(out, room), *scratch = 2 * room > sizeof(local) ? heap : local;
	if (!at || !scratch) {
		free(heap);
		return -ENOMEM;
	}
	struct filter f = {.start = at, .end = at + room};
	int r = attempt(&f, q, scratch);
	size_t len = (size_t)(f.at - at);
	for (unsigned i = 1; r == 0 && f.unusual && i < max_passes; i++) {
		struct filter again = {.start = scratch, .end = scratch + room};
		r = attempt(&again, (struct sv){at, len}, scratch + room);
		size_t now = (size_t)(again.at - scratch);
		if (r < 0 || (now == len && memcmp(scratch, at, len) == 0))
			break;
		memcpy(at, scratch, now);
		len = now;
		if (i + 1 == max_passes)
			r = -EINVAL;
	}
	free(heap);
	if (r == 0)
		out->len += len;
	out->data[out->len] = '\0';
	return r;
}

int obfuscate_sql_once(struct sbuf *out, struct sv q)
{
	return sql_run(out, q, 1);
}

int obfuscate_sql(struct sbuf *out, struct sv q)
{
	return sql_run(out, q, MAX_PASSES);
}
