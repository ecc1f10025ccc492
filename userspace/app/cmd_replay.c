/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include "app/cmd.h"
int cmd_replay(int argc, char **argv) { (void)argc; (void)argv; return EXIT_USAGE; }
