/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_OPTIONS_H
#define APP_OPTIONS_H

#include "app/session.h"

enum command_id {
#define COMMAND(name, arguments, help) COMMAND_##name,
#include "app/commands.def"
#undef COMMAND
	COMMANDS,
};

struct command {
	const char *name, *arguments, *help;
	int (*run)(int argc, char **argv); /* argv[0] is the command; the exit status */
};
extern const struct command commands[COMMANDS];

/* A mistake in the command line; the statuses of all commands are enum session_end. */
#define EXIT_USAGE SESSION_MISTAKE

/* The command line of one command, understood. */
struct options {
	struct session_options session;
	struct diagnostics diagnostics;
	struct probe_list *list;  /* from --config and -f; always there after options_parse() */
	struct sv_vec functions;  /* -f, as given */
	struct tag_vec flags;	  /* every option given, by its long name; "true" where it takes no value */
	const char *summary;	  /* file, or NULL */
	const char *socket, *file; /* of ctl */
	const char *spans, *only; /* of correlate: a file, a service; or NULL */
	bool json, all, keys, settings_table, any_pid;
	char **rest; /* what is no option */
	int rest_cnt;
};

/* 0; > 0: done (help was printed); < 0: a mistake, which was said: exit with options_exit_status(). */
int options_parse(struct options *ret, enum command_id command, int argc, char **argv);
/* A list as a session wants it: with the targets of the policy, and what it says for all targets in each. 0 or -ENOMEM. */
int options_settle(struct probe_list *list, enum command_id command);
void options_release(struct options *o);
/* The status to exit with when options_parse() did not return 0. */
int options_exit_status(int rc);

void options_help(enum command_id command);
void options_help_all(void);
/* Calls back for each option of a command. */
void options_each(enum command_id command, void (*fn)(void *arg, int letter, const char *name, const char *argument),
		  void *arg);

#endif
