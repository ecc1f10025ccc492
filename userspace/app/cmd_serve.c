/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "app/cmd.h"
#include "base/clock.h"
#include "base/log.h"

#define LOG_INTERVAL_NS (30 * NSEC_PER_SEC)

int cmd_serve(int argc, char **argv)
{
	struct options o;
	struct sbuf err = {0};
	struct session *s = NULL;
	int rc = options_parse(&o, COMMAND_serve, argc, argv), status = options_exit_status(rc);

	if (log_format == LOG_TEXT && log_is_journal())
		log_format = LOG_JOURNAL;
	log_limit(LOG_INTERVAL_NS);
	if (rc == 0 && o.rest_cnt) {
		log_error("'%s' is no option; what to trace is said in the configuration", o.rest[0]);
		status = EXIT_USAGE;
	} else if (rc == 0 && !o.list->targets.cnt) {
		log_error("%s names no targets, and its policy: says listening: false: nothing would be traced",
			  o.session.config);
		status = EXIT_USAGE;
	} else if (rc == 0) {
		o.session.serve = true;
		o.session.wait = true;
		status = (int)session_open(&s, &o.session, &err);
		if (status != SESSION_CLEAN)
			log_error("%s", sbuf_str(&err));
	}
	if (s) {
		enum session_end end = session_run(s, 0, -1, NULL);
		/* The log of a daemon is no place for a table, and spans that an absent receiver did not get are
		 * counted, not a failure of the daemon. */
		o.session.quiet = true;
		status = cmd_finish(s, &o, end);
		if (status == SESSION_LOSSY)
			status = SESSION_CLEAN;
	}
	log_limit(0);
	log_tick(); /* what was held back */
	session_free(s);
	options_release(&o);
	sbuf_release(&err);
	return status;
}
