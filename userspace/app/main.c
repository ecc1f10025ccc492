/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/cmd.h"
#include "base/log.h"
#include "version.h"

const struct command commands[COMMANDS] = {
#define COMMAND(name, arguments, help) {#name, arguments, help, cmd_##name},
#include "app/commands.def"
#undef COMMAND
};

/* Tables that grow give their former place back to the system: glibc, left alone, takes each such block for a reason to
 * keep the next ones in its heap. */
#define MMAP_THRESHOLD (128 << 10)

int main(int argc, char **argv)
{
	mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
	signal(SIGPIPE, SIG_IGN);
	const char *word = argc > 1 ? argv[1] : "--help";
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		puts("spanhound " SPANHOUND_VERSION " (" SPANHOUND_COMMIT ")");
		return EXIT_SUCCESS;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
		options_help_all();
		return argc > 1 ? EXIT_SUCCESS : EXIT_USAGE;
	}
	for (int i = 0; i < COMMANDS; i++)
		if (strcmp(word, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	struct sbuf names = {0};
	for (int i = 0; i < COMMANDS; i++)
		sbuf_addf(&names, " %s", commands[i].name);
	log_error("there is no command '%s'; there are:%s (`spanhound --help`)", word, sbuf_str(&names));
	sbuf_release(&names);
	return EXIT_USAGE;
}
