/* SPDX-License-Identifier: Apache-2.0 */
/* The event stream: a capture file of any bytes goes through the whole user half, up to the exporters' door, and each
 * record is accounted for. */
#define MAX_FUNCTIONS 1024
#define MAX_CHUNKS    64
#include "app/cmd_replay.c"
#include "app/environment.c"
#include "app/functions.c"
#include "app/sampling.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

/* Where exporters would be. */
struct export_queue {
	struct chunk_pool *pool;
	uint64_t spans;
};

static void check_span(const struct chunk *chunk, const struct span *s)
{
	check(chunk->trace_lo != 0 || chunk->trace_hi == 0 || s->span_id != 0);
	check(s->name.len == 0 || s->name.data);
	check(s->resource.len == 0 || s->resource.data);
	for (uint32_t i = 0; i < s->tag_cnt; i++)
		check(!s->tags[i].key.len || s->tags[i].key.data);
}

bool export_queue_push(struct export_queue *q, struct chunk *chunk)
{
	for (uint32_t i = 0; i < chunk->span_cnt; i++)
		check_span(chunk, &chunk->spans[i]);
	q->spans += chunk->span_cnt;
	chunk_pool_put(q->pool, chunk);
	return true;
}

void export_queue_stats(struct export_queue *q, struct export_queue_stats *ret)
{
	*ret = (struct export_queue_stats){.pushed = q->spans, .exported = q->spans};
}

void export_queue_stop(struct export_queue *q, uint64_t timeout_ns)
{
	(void)q, (void)timeout_ns;
}

void export_queue_free(struct export_queue *q)
{
	(void)q;
}

int export_queue_start(struct export_queue **ret, const struct export_sink *sinks, unsigned sink_cnt,
		       const struct export_queue_options *options, struct sbuf *err)
{
	(void)ret, (void)sinks, (void)sink_cnt, (void)options, (void)err;
	return -ENOSYS;
}

int exporters_open(const struct sv_vec *names, struct export_sink *ret_sinks, unsigned *ret_cnt, struct sbuf *err)
{
	(void)names, (void)ret_sinks, (void)ret_cnt, (void)err;
	return -ENOSYS;
}

bool exporters_have_agent(const struct export_sink *sinks, unsigned cnt)
{
	(void)sinks, (void)cnt;
	return false;
}

/* A replay sends no metrics, and warns of no variables. */
void probe_metrics_call(struct probe_metrics *m, const struct probe *probe, const struct call_values *values,
			const struct sh_ev_call *record, struct process_info *who)
{
	(void)m, (void)probe, (void)values, (void)record, (void)who;
}

void settings_look(struct sv environ, bool of_process, void (*say)(void *arg, struct sv variable, const char *mistake),
		   void *arg)
{
	(void)environ, (void)of_process, (void)say, (void)arg;
}

void datadog_listen(const struct datadog_listener *listener)
{
	(void)listener;
}

int options_parse(struct options *ret, enum command_id command, int argc, char **argv)
{
	(void)ret, (void)command, (void)argc, (void)argv;
	return -1;
}

int options_exit_status(int rc)
{
	return rc;
}

void options_release(struct options *o)
{
	(void)o;
}

void summary_json_account(const struct session_account *a, struct sbuf *out)
{
	(void)a, (void)out;
}

int summary_write(const struct sbuf *text, const char *path)
{
	(void)text, (void)path;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct export_queue queue = {.pool = chunk_pool_new(1024)};
	struct replay r = {.pool = queue.pool, .list = probe_list_new(), .queue = &queue};
	struct session_account account;
	struct sbuf err = {0};

	log_level = LOG_ERROR;
	if (replay_open_pipeline(&r, &err) == 0 && capture_reader_init(&r.reader, data, size, &err) == 0) {
		struct capture_entry e;
		const void *body;
		while (capture_next(&r.reader, &e, &body) > 0 && replay_entry(&r, &e, body) == 0)
			;
		replay_finish(&r, NULL, clock_mono_ns());
		replay_account(&r, &account);
		check(r.has_account || account.unaccounted == 0);
	} else {
		check(err.len > 0);
	}
	replay_release(&r);
	sbuf_release(&err);
	return 0;
}
