/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cmd.h"
#include "app/summary.h"
#include "base/cleanup.h"
#include "base/log.h"

static int write_summary(struct session *s, const char *path)
{
	struct sbuf text = {0};
	summary_json(s, &text);
	int rc = summary_write(&text, path);
	sbuf_release(&text);
	return rc;
}

int cmd_finish(struct session *s, const struct options *o, enum session_end end)
{
	struct session_account a;

	if (!o->session.quiet && end != SESSION_MISTAKE)
		summary_print(s, stderr);
	if (o->summary && write_summary(s, o->summary) < 0 && end == SESSION_CLEAN)
		end = SESSION_FAILED;
	session_account(s, &a);
	if (end == SESSION_CLEAN &&
	    (a.unaccounted || a.dropped[SH_DROP_export_failed] || a.dropped[SH_DROP_agent_backpressure]))
		end = SESSION_LOSSY;
	return (int)end;
}

int cmd_attach(int argc, char **argv)
{
	struct options o;
	struct sbuf err = {0};
	struct session *s = NULL;
	int rc = options_parse(&o, COMMAND_attach, argc, argv), status = options_exit_status(rc);

	if (rc == 0 && o.rest_cnt) {
		log_error("'%s' is no option; processes are chosen with --name, --pid ...", o.rest[0]);
		status = EXIT_USAGE;
	} else if (rc == 0 && !o.list->targets.cnt) {
		log_error(
			"attach to what? Name processes with --name GLOB or --pid N, or `targets:` in a file given with -c");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		status = (int)session_open(&s, &o.session, &err);
		if (status != SESSION_CLEAN)
			log_error("%s", sbuf_str(&err));
	}
	if (s) {
		status = cmd_finish(s, &o, session_run(s, 0, -1, NULL));
	}
	session_free(s);
	options_release(&o);
	sbuf_release(&err);
	return status;
}
