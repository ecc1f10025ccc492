/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "app/cmd.h"
#include "app/resolve.h"
#include "base/log.h"

static void print_diagnostics(struct diagnostics *d)
{
	struct sbuf text = {0};
	diagnostics_print(d, &text);
	fputs(sbuf_str(&text), stderr);
	sbuf_release(&text);
}

/* Against what the targets run now. */
static int check_targets(struct options *o, struct diagnostics *d, bool ours)
{
	struct resolve r;
	struct plan_stats stats;
	int rc = resolve_targets(&r, o, NULL, NULL, !ours);
	if (rc == SESSION_CLEAN && r.processes) {
		plan_report(r.plan, d);
		plan_stats(r.plan, &stats);
		printf("%u processes, %u functions (%u with a fast entry), ends by return %u, by end sites %u, not at all %u, %u skipped\n",
		       stats.processes, stats.functions, stats.fast_entries, stats.by_return, stats.by_sites,
		       stats.entry_only, stats.skipped);
	} else if (rc == SESSION_CLEAN)
		puts("none of the file's targets runs now: functions were not looked up");
	resolve_release(&r);
	return rc;
}

static int check_file(struct options *o, const char *path)
{
	struct diagnostics d = {0};
	struct probe_list *list = NULL;
	bool targets_given = o->list->targets.cnt > 0;
	int rc = probe_list_load(&list, path, &d), status = rc < 0 ? SESSION_MISTAKE : SESSION_CLEAN;

	if (list && !list->probes.cnt && list->capture.no_http)
		diagnostics_error(&d, SOURCE_POS(1, 1),
				  "there are no probes, and capture: says http: false: nothing would be traced");
	if (list) {
		/* Options choose processes in place of the file's own targets. */
		struct probe_list *from_options = o->list;
		list->trace_instrumented |= from_options->trace_instrumented;
		if (targets_given)
			for (size_t i = 0; i < from_options->targets.cnt; i++) {
				if (vec_push(&list->targets, from_options->targets.data[i]) == 0)
					from_options->targets.data[i] = (struct target_spec){0};
			}
		o->list = list;
		if (list->targets.cnt && (targets_given || !d.error_cnt)) {
			int resolved = check_targets(o, &d, !targets_given);
			status = status == SESSION_CLEAN ? resolved : status;
		}
		o->list = from_options;
	}
	print_diagnostics(&d);
	if (d.error_cnt)
		status = SESSION_MISTAKE;
	else if (status == SESSION_CLEAN)
		printf("%s: %zu probes, %zu targets, no mistake%s\n", path, list->probes.cnt, list->targets.cnt,
		       d.warning_cnt ? " but warnings" : "");
	probe_list_free(list);
	diagnostics_release(&d);
	return status;
}

int cmd_check(int argc, char **argv)
{
	struct options o;
	int rc = options_parse(&o, COMMAND_check, argc, argv), status = options_exit_status(rc);

	if (rc == 0 && o.keys) {
		struct sbuf text = {0};
		probe_list_schema(&text);
		fputs(sbuf_str(&text), stdout);
		sbuf_release(&text);
		status = EXIT_SUCCESS;
	} else if (rc == 0 && o.rest_cnt != 1) {
		log_error("check which file? spanhound check FILE [--name GLOB]");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		status = check_file(&o, o.rest[0]);
	}
	options_release(&o);
	return status;
}
