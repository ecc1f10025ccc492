/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_ENTRY_H
#define TARGET_ENTRY_H

#include "base/sv.h"

/* What a process really runs: for a program the executable, for an interpreter the script, module, class or jar that
 * its command line names. Pure: decided by the executable's name and the arguments alone. */

enum entry_kind {
	ENTRY_PROGRAM, /* no interpreter, or one whose arguments name nothing (a prompt, php-fpm) */
	ENTRY_SCRIPT,  /* `what` is a path, absolute or relative to the process's working directory */
	ENTRY_MODULE,  /* python -m: a dotted module */
	ENTRY_CLASS,   /* java: a dotted class */
	ENTRY_JAR,     /* java -jar: a path */
	ENTRY_INLINE,  /* -c, -e, standard input: code without a name */
};

struct entry {
	enum entry_kind kind;
	struct sv language; /* Datadog's word for the interpreter's language (one it lacks: the common one: "perl",
			     * "shell", "lua"); empty for programs */
	struct sv what;	    /* slice of the command line */
	struct sv args;	    /* what follows it, for cmdline_next() */
};

/* `exe_name` is the basename of the executable, or empty when it cannot be known: then argv[0] is believed. */
void entry_find(struct sv exe_name, struct sv cmdline, struct entry *ret);

/* The language of an interpreter by its executable's name ("python3.11" -> "python"); empty for others. */
struct sv entry_language(struct sv exe_name);

/* Its short name, for people and for --name: basename of a path; module and class as they are. Empty: none. */
struct sv entry_name(const struct entry *e);

#endif
