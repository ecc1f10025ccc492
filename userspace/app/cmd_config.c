/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "app/cmd.h"
#include "base/log.h"

int cmd_config(int argc, char **argv)
{
	struct options o;
	struct sbuf text = {0};
	int rc = options_parse(&o, COMMAND_config, argc, argv), status = options_exit_status(rc);
	const char *what = rc == 0 && o.rest_cnt == 1 ? o.rest[0] : "";

	if (rc == 0 && !strcmp(what, "schema"))
		probe_list_json_schema(&text);
	else if (rc == 0 && !strcmp(what, "default"))
		probe_list_default(&text);
	if (text.len) {
		fputs(sbuf_str(&text), stdout);
		status = EXIT_SUCCESS;
	} else if (rc == 0) {
		log_error("config what? `spanhound config schema` or `spanhound config default`");
		status = EXIT_USAGE;
	}
	sbuf_release(&text);
	options_release(&o);
	return status;
}
