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
	bool to_stdout = strcmp(path, "-") == 0;
	FILE *f = to_stdout ? stdout : fopen(path, "we");
	summary_json(s, &text);
	bool ok = f && fwrite(sbuf_str(&text), 1, text.len, f) == text.len;
	if (f && (to_stdout ? fflush(f) : fclose(f)) != 0)
		ok = false;
	if (!ok)
		log_error("cannot write the summary %s: %s", path, strerror(errno));
	sbuf_release(&text);
	return ok ? 0 : -EIO;
}

int cmd_finish(struct session *s, const struct options *o, enum session_end end)
{
	struct session_account a;

	if (!o->session.quiet && end != SESSION_NO_TARGET)
		summary_print(s, stderr);
	if (o->summary && write_summary(s, o->summary) < 0 && end == SESSION_CLEAN)
		end = SESSION_FAILED;
	session_account(s, &a);
	if (end == SESSION_CLEAN && (a.unaccounted || a.dropped[SH_DROP_export_failed]))
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
		log_error("attach to what? Name processes with --name GLOB or --pid N, or `targets:` in a file given with -c");
		status = EXIT_USAGE;
	} else if (rc == 0 && session_open(&s, &o.session, &err) < 0) {
		log_error("%s", sbuf_str(&err));
		status = SESSION_FAILED;
	} else if (rc == 0) {
		status = cmd_finish(s, &o, session_run(s, 0, -1, NULL));
	}
	session_free(s);
	options_release(&o);
	sbuf_release(&err);
	return status;
}
