/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_CMD_H
#define APP_CMD_H

#include "app/options.h"

#define COMMAND(name, arguments, help) int cmd_##name(int argc, char **argv);
#include "app/commands.def"
#undef COMMAND

/* What attach and run do when the session is over: the summary, in both forms, and the exit status. */
int cmd_finish(struct session *s, const struct options *o, enum session_end end);

#endif
