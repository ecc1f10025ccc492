/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_SETTINGS_H
#define TRACE_SETTINGS_H

#include <stdint.h>

#include "base/sbuf.h"

/* The table of everything that can be set (settings.def), and the one rule of who decides:
 *	flag > our own environment > file of the probe list > environment of the traced process > default
 * Variables that together say one thing (where the Agent is: URL, host, port, socket) count as one: a file that names
 * the URL says nothing where our environment names the host.
 *
 * A new setting is a line in settings.def; who obeys it reads it with variable_get() (base/variables.h) if it is ours,
 * or from struct process_info if it is a process's. */

enum setting_scope { SETTING_OURS, SETTING_PROCESS, SETTING_REQUEST, SETTING_THEIRS };

enum setting_kind {
	SETTING_TEXT,
	SETTING_PATTERN, /* text that may be empty: an empty variable is an unset one elsewhere */
	SETTING_BOOL,	 /* true, false, 1, 0, in any case */
	SETTING_CHOICE,
	SETTING_INTEGER,
	SETTING_NUMBER,
	SETTING_TAGS,
	SETTING_URL,
	SETTING_URLS,
	SETTING_SECRET, /* never shown */
};

struct setting {
	enum setting_scope scope;
	enum setting_kind kind;
	const char *variable; /* "": none */
	const char *key;      /* of the file; "": settings: alone, "-": none */
	const char *flag;
	const char *standard; /* the default, as people write it */
	const char *allowed;
	const char *help;
};

extern const struct setting settings_table[];
extern const unsigned settings_cnt;

/* The variable, or an older name of it, of any setting; NULL when there is none. */
const struct setting *setting_of_variable(struct sv name);
/* The n-th of its variables: 0 is the one it is called by, the others are older; NULL behind the last. */
const char *setting_variable(const struct setting *s, unsigned n);
/* What it is called: its variable, else its key, else its flag. */
const char *setting_name(const struct setting *s);
/* May each process have its own? */
static inline bool setting_is_of_process(const struct setting *s)
{
	return s->scope == SETTING_PROCESS || s->scope == SETTING_REQUEST;
}
/* May `settings:` of the file name its variable? */
static inline bool setting_in_file(const struct setting *s)
{
	return s->variable[0] && s->key[0] != '-' && s->scope != SETTING_THEIRS;
}

/* True: good, as far as its kind tells. Else a sentence in err (which may be NULL): "NAME: 'value' is not ...". */
bool setting_check(const struct setting *s, struct sv value, struct sbuf *err);
/* A value for people: API keys, passwords in URLs and tags with secret names are ****. */
void setting_show(const struct setting *s, struct sv value, struct sbuf *out);
/* Any text, every scheme://user:password@ in it without these. */
void setting_show_urls(struct sv text, struct sbuf *out);
/* Of a SETTING_BOOL. What is neither is false: setting_check() has said so. */
bool setting_is_true(struct sv value);

enum setting_origin { SETTING_BY_DEFAULT, SETTING_BY_TARGET, SETTING_BY_FILE, SETTING_BY_ENVIRONMENT, SETTING_BY_FLAG };

struct setting_value {
	enum setting_origin origin;
	struct sv text;	      /* of whoever said it; by default `standard` */
	const char *variable; /* by which it was said; NULL if by none */
	uint32_t line, file;  /* where in the file, and which one of those it includes: struct source_pos */
};

/* Who is asked; each may be NULL. True: it says something. */
struct setting_sources {
	bool (*flag)(void *arg, const struct setting *s, struct sv *ret);
	bool (*environment)(void *arg, const char *variable, struct sv *ret);
	bool (*file)(void *arg, const struct setting *s, struct setting_value *ret); /* text, line, file */
	bool (*target)(void *arg, const char *variable, struct sv *ret);
	void *arg;
};

void setting_resolve(const struct setting *s, const struct setting_sources *from, struct setting_value *ret);

/* The table for the README, in Markdown. */
void settings_describe(struct sbuf *out);

#endif
