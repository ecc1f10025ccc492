/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "app/cmd.h"
#include "base/log.h"

static void print_option(void *arg, int letter, const char *name, const char *argument)
{
	(void)arg;
	(void)argument;
	if (letter)
		printf(" -%c", letter);
	printf(" --%s", name);
}

/* From the same tables as the parser and the help. */
static void print_bash(void)
{
	puts("_spanhound() {\n"
	     "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
	     "  case $prev in\n"
	     "    -n|--name) COMPREPLY=($(compgen -W \"$(ps -eo comm= | sort -u)\" -- \"$cur\")); return;;\n"
	     "    -p|--pid) COMPREPLY=($(compgen -W \"$(ps -eo pid=)\" -- \"$cur\")); return;;\n"
	     "    -c|--config|--socket|--control|check|replay) COMPREPLY=($(compgen -f -- \"$cur\")); return;;\n"
	     "    -e|--export) COMPREPLY=($(compgen -W 'console json: datadog capture:' -- \"$cur\")); return;;\n"
	     "    --link) COMPREPLY=($(compgen -W 'session multi perf' -- \"$cur\")); return;;\n"
	     "    --end) COMPREPLY=($(compgen -W 'auto return sites' -- \"$cur\")); return;;\n"
	     "  esac\n"
	     "  case ${COMP_WORDS[1]} in");
	for (int i = 0; i < COMMANDS; i++) {
		printf("    %s) words='", commands[i].name);
		options_each((enum command_id)i, print_option, NULL);
		puts("';;");
	}
	printf("    *) words='");
	for (int i = 0; i < COMMANDS; i++)
		printf("%s ", commands[i].name);
	puts("--help --version';;\n  esac\n"
	     "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	     "}\n"
	     "complete -o default -F _spanhound spanhound");
}

int cmd_completion(int argc, char **argv)
{
	struct options o;
	int rc = options_parse(&o, COMMAND_completion, argc, argv), status = options_exit_status(rc);
	if (rc == 0 && (o.rest_cnt != 1 || strcmp(o.rest[0], "bash") != 0)) {
		log_error("completion for which shell? There is bash: source <(spanhound completion bash)");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		print_bash();
		status = EXIT_SUCCESS;
	}
	options_release(&o);
	return status;
}
