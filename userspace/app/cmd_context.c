/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "app/cmd.h"
#include "app/control.h"
#include "app/summary.h"
#include "app/table.h"
#include "base/log.h"
#include "base/vec.h"

/* What was answered, for all processes: see app/contexts.h. */
struct answers {
	json_t *processes;  /* an array */
	VEC(json_t *) rows; /* borrowed: the contexts of all of them */
	VEC(json_t *) owners;
};

/* --- for people ---------------------------------------------------------------------------------------------------- */

enum column { PID, THREAD, NAME, DOES, SINCE, TRACE_ID, DD_TRACE_ID, DD_SPAN_ID, COLUMN_CNT };
static const struct table_column columns[COLUMN_CNT] = {
	[PID] = {"PID", 10},
	[THREAD] = {"THREAD", 24},
	[NAME] = {"NAME", 16},
	[DOES] = {"IN", 60},
	[SINCE] = {"FOR", 12},
	[TRACE_ID] = {"TRACE ID", 33},
	[DD_TRACE_ID] = {"DD.TRACE_ID", 20},
	[DD_SPAN_ID] = {"DD.SPAN_ID", 20},
};

static void add_does(json_t *row, struct sbuf *out)
{
	const json_t *request = json_object_get(row, "request");
	const char *function = json_string_value(json_object_get(row, "function"));
	if (!json_object_get(row, "trace_id"))
		sbuf_addc(out, '-');
	else if (function)
		sbuf_addf(out, "%s%s", function, request ? ", of " : "");
	else if (!request)
		sbuf_adds(out, "a request");
	if (!request)
		return;
	sbuf_addf(out, "%s %s%s", json_string_value(json_object_get(request, "method")),
		  json_string_value(json_object_get(request, "path")),
		  json_is_true(json_object_get(request, "answered")) ? " (answered)" : "");
}

static void add_text(json_t *row, const char *key, struct sbuf *out)
{
	const char *text = json_string_value(json_object_get(row, key));
	sbuf_adds(out, text ? text : "");
}

static void cell(const void *arg, size_t i, unsigned column, struct sbuf *out)
{
	const struct answers *a = arg;
	json_t *row = a->rows.data[i];
	json_int_t elapsed = json_integer_value(json_object_get(row, "elapsed"));
	char buf[DURATION_LEN];
	switch ((enum column)column) {
	case PID:
		if (json_array_size(a->processes) > 1)
			sbuf_addi(out, json_integer_value(json_object_get(a->owners.data[i], "pid")));
		break;
	case THREAD:
		if (json_object_get(row, "tid"))
			sbuf_addi(out, json_integer_value(json_object_get(row, "tid")));
		else
			sbuf_addf(out, "goroutine %" JSON_INTEGER_FORMAT,
				  json_integer_value(json_object_get(row, "goroutine")));
		break;
	case NAME:
		add_text(row, "name", out);
		break;
	case DOES:
		add_does(row, out);
		break;
	case SINCE:
		if (elapsed > 0)
			sbuf_adds(out, duration_text((uint64_t)elapsed, buf));
		break;
	case TRACE_ID:
		add_text(row, "trace_id", out);
		if (json_is_false(json_object_get(row, "settled")))
			sbuf_addc(out, '?');
		break;
	case DD_TRACE_ID:
		add_text(row, "dd_trace_id", out);
		break;
	case DD_SPAN_ID:
		add_text(row, "dd_span_id", out);
		break;
	case COLUMN_CNT:
		break;
	}
}

static int print_table(struct answers *a)
{
	int rc = 0;
	for (size_t i = 0; i < json_array_size(a->processes); i++) {
		json_t *p = json_array_get(a->processes, i), *contexts = json_object_get(p, "contexts");
		for (size_t j = 0; j < json_array_size(contexts) && rc == 0; j++) {
			rc = vec_push(&a->rows, json_array_get(contexts, j));
			rc = rc ? rc : vec_push(&a->owners, p);
		}
	}
	if (rc == 0)
		table_print(columns, COLUMN_CNT, a->rows.cnt, cell, a);
	return rc;
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

static enum session_end ask(const char *path, int pid, struct answers *a, struct sbuf *answer)
{
	char request[48];
	json_error_t e;
	int len = snprintf(request, sizeof(request), "context %d\n", pid);
	sbuf_reset(answer);
	int ok = control_ask(path, (struct sv){request, (size_t)len}, answer);
	if (ok <= 0) {
		log_error("%s", sbuf_str(answer));
		if (ok == -ENOENT || ok == -ECONNREFUSED)
			log_info(
				"one that is asked with --socket PATH was started with --control PATH: `spanhound attach --pid %d "
				"--control %s`",
				pid, path);
		else if (ok == -EACCES)
			log_info("it answers root, and whoever started it");
		return ok == 0 ? SESSION_MISTAKE : SESSION_FAILED;
	}
	json_t *said = json_loadb(sbuf_str(answer), answer->len, 0, &e);
	if (!said) {
		log_error("%s answered something else than JSON: %s", path, e.text);
		return SESSION_FAILED;
	}
	json_array_append_new(a->processes, said);
	return SESSION_CLEAN;
}

static enum session_end ask_all(const struct options *o, struct answers *a)
{
	const char *path = o->socket ? o->socket : CONTROL_SOCKET;
	enum session_end end = SESSION_CLEAN;
	struct sbuf answer = {0};
	vec_foreach (target, &o->list->targets)
		for (size_t i = 0; i < target->pids.cnt && end != SESSION_FAILED; i++) {
			enum session_end one = ask(path, target->pids.data[i], a, &answer);
			end = one == SESSION_CLEAN ? end : one;
		}
	sbuf_release(&answer);
	return end;
}

static int print_contexts(const struct options *o)
{
	struct answers a = {.processes = json_array()};
	enum session_end end = a.processes ? ask_all(o, &a) : SESSION_FAILED;
	if (a.processes && o->json && end != SESSION_FAILED) {
		json_t *all = json_pack("{s:O}", "processes", a.processes);
		if (all && json_dumpf(all, stdout, JSON_COMPACT) == 0)
			putchar('\n');
		else
			end = SESSION_FAILED;
		json_decref(all);
	} else if (json_array_size(a.processes) && print_table(&a) < 0) {
		end = SESSION_FAILED;
	}
	vec_release(&a.rows);
	vec_release(&a.owners);
	json_decref(a.processes);
	return (int)end;
}

int cmd_context(int argc, char **argv)
{
	struct options o;
	int rc = options_parse(&o, COMMAND_context, argc, argv), status = options_exit_status(rc);
	if (rc == 0 && o.rest_cnt) {
		log_error("'%s' is no option; the process is named with --pid N", o.rest[0]);
		status = EXIT_USAGE;
	} else if (rc == 0 && !o.list->targets.cnt) {
		log_error("context of which process? --pid N; `spanhound ps` lists them");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		status = print_contexts(&o);
	}
	options_release(&o);
	return status;
}
