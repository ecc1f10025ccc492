/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "export/outfile.h"
#include "trace/assembly.h"

static const struct exporter_ops *json;
static struct process_info shop = {.refs = 1, .ns_pid = 7, .service = SV("shop"), .env = SV("prod")};
static struct tag quote[] = {{SV("q"), SV("say \"hi\"\n\\ \x01 caf\xe9 ü")}};
static struct metric numbers[] = {{SV("a"), 0.1}, {SV("b"), 1e21}, {SV("c"), -3}, {SV("d"), 1.0 / 3}, {SV("e"), 0}};

static struct exporter *open_json(const char *argument)
{
	struct exporter *e = NULL;
	struct sbuf err = {0};
	if (json->open(&e, argument, &err) < 0)
		fail_msg("%s", sbuf_str(&err));
	sbuf_release(&err);
	return e;
}

static char *slurp(const char *path)
{
	struct sbuf b = {0};
	char block[4096];
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	for (ssize_t n; (n = read(fd, block, sizeof(block))) > 0;)
		sbuf_add(&b, block, (size_t)n);
	close(fd);
	return sbuf_detach(&b);
}

static void lines(void **state)
{
	(void)state;
	char path[] = "/tmp/test_json.XXXXXX";
	close(mkstemp(path));
	numbers[4].value = NAN;
	struct span spans[] = {
		{.span_id = 18446744073709551615ULL,
		 .parent_id = 2,
		 .start_ns = 1700000000000000001,
		 .duration_ns = 5,
		 .name = SV("leaf"),
		 .tags = quote,
		 .tag_cnt = 1,
		 .metrics = numbers,
		 .metric_cnt = 5,
		 .error = 1},
		{.span_id = 2,
		 .start_ns = 1700000000000000000,
		 .duration_ns = 10,
		 .name = SV("root"),
		 .resource = SV("R"),
		 .type = SV("web"),
		 .local_root = 1},
	};
	struct chunk c = {
		.trace_hi = 0x6b00c44a00000000, .trace_lo = 255, .process = &shop, .spans = spans, .span_cnt = 2};
	struct exporter *e = open_json(path);
	assert_int_equal(json->write(e, &c), 0);
	struct exporter_stats st;
	json->stats(e, &st);
	assert_int_equal(st.exported, 2);
	assert_int_equal(st.held, 0);
	json->flush(e, 0);
	json->close(e);
	char *text = slurp(path);
	assert_string_equal(
		text, "{\"service\":\"shop\",\"name\":\"root\",\"resource\":\"R\",\"trace_id\":255,\"span_id\":2,"
		      "\"parent_id\":0,\"start\":1700000000000000000,\"duration\":10,\"error\":0,"
		      "\"meta\":{\"env\":\"prod\",\"_dd.p.tid\":\"6b00c44a00000000\",\"_dd.p.dm\":\"-0\"},"
		      "\"metrics\":{\"process_id\":7,\"_dd.top_level\":1,\"_sampling_priority_v1\":1},\"type\":\"web\","
		      "\"trace_id_128\":\"6b00c44a0000000000000000000000ff\"}\n"
		      "{\"service\":\"shop\",\"name\":\"leaf\",\"resource\":\"leaf\",\"trace_id\":255,"
		      "\"span_id\":18446744073709551615,\"parent_id\":2,\"start\":1700000000000000001,\"duration\":5,"
		      "\"error\":1,\"meta\":{\"env\":\"prod\","
		      "\"q\":\"say \\\"hi\\\"\\u000a\\\\ \\u0001 caf\xef\xbf\xbd ü\"},"
		      "\"metrics\":{\"a\":0.1,\"b\":1e+21,\"c\":-3,\"d\":0.33333333333333331,\"e\":null},\"type\":\"\","
		      "\"trace_id_128\":\"6b00c44a0000000000000000000000ff\"}\n");
	free(text);
	unlink(path);
}

static void bad_arguments(void **state)
{
	(void)state;
	struct exporter *e = NULL;
	struct sbuf err = {0};
	assert_int_equal(json->open(&e, NULL, &err), -EINVAL);
	assert_string_equal(sbuf_str(&err), "json needs a file: json:FILE, or json:- for standard output");
	sbuf_reset(&err);
	assert_int_equal(json->open(&e, "/nonexistent/x", &err), -ENOENT);
	assert_string_equal(sbuf_str(&err), "cannot write to /nonexistent/x: No such file or directory");
	sbuf_release(&err);
}

static char said[4096];
static void note(void *arg, const char *line)
{
	(void)arg;
	strncat(said, line, sizeof(said) - strlen(said) - 2);
	strcat(said, "\n");
}

static struct chunk *one_span(void)
{
	static struct span s = {.span_id = 2, .name = SV("root"), .local_root = 1};
	static struct chunk c = {.trace_lo = 255, .process = &shop, .spans = &s, .span_cnt = 1};
	return &c;
}

static void disk_full(void **state)
{
	(void)state;
	said[0] = '\0';
	struct exporter *e = open_json("/dev/full");
	json->set_notice(e, note, NULL);
	for (int i = 0; i < 5; i++)
		assert_int_equal(json->write(e, one_span()), 0);
	struct exporter_stats st;
	json->stats(e, &st);
	assert_int_equal(st.dropped, 5);
	assert_int_equal(st.exported + st.held, 0);
	assert_int_equal(st.errors, 5);
	assert_string_equal(said, "cannot write to /dev/full: No space left on device: spans are dropped and counted "
				  "until that works again\n");
	json->close(e);
}

/* An outfile on one end of a pipe, the other in *ret. */
static void open_pipe(struct outfile *o, int *ret)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	*ret = fds[0];
	*o = (struct outfile){.fd = fds[1], .own = true, .slow = true, .name = strdup("pipe"), .notice = note};
	said[0] = '\0';
}

static void reader_gone(void **state)
{
	(void)state;
	struct outfile o;
	int fd;
	open_pipe(&o, &fd);
	sbuf_adds(outfile_begin(&o), "one\n");
	outfile_commit(&o, 1);
	outfile_pump(&o, 0);
	assert_int_equal(o.stats.exported, 1);
	close(fd);
	for (int i = 0; i < 3; i++) {
		sbuf_adds(outfile_begin(&o), "two\n");
		outfile_commit(&o, 1);
		outfile_pump(&o, 0);
	}
	assert_int_equal(o.stats.dropped, 3);
	assert_int_equal(o.stats.held, 0);
	assert_string_equal(said, "pipe was closed by its reader: spans for it are dropped and counted from now on\n");
	outfile_close(&o);
}

/* A reader that does not read: nothing blocks, memory is bounded, all is counted; then it reads, and gets exactly the
 * lines that were counted as exported. */
static void slow_reader(void **state)
{
	(void)state;
	struct outfile o;
	int fd;
	open_pipe(&o, &fd);
	char line[1000];
	memset(line, 'x', sizeof(line));
	line[999] = '\n';
	uint64_t before = clock_mono_ns();
	for (int i = 0; i < 10000; i++) {
		sbuf_add(outfile_begin(&o), line, sizeof(line));
		outfile_commit(&o, 1);
		outfile_pump(&o, 0);
	}
	assert_true(clock_mono_ns() - before < 2 * NSEC_PER_SEC);
	assert_true(o.pending.len < OUTFILE_MAX_BYTES + 200000);
	assert_int_equal(o.stats.exported + o.stats.dropped + o.stats.held, 10000);
	assert_true(o.stats.dropped > 5000);
	assert_non_null(strstr(said, "pipe is read too slowly: 4 MiB of spans wait"));
	/* Now it reads, and more is written than the buffer ever holds. */
	size_t got = 0;
	char block[65536];
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 20000; i++) {
		ssize_t n = read(fd, block, 4096);
		got += n > 0 ? (size_t)n : 0;
		if (i < 8000) {
			sbuf_add(outfile_begin(&o), line, sizeof(line));
			outfile_commit(&o, 1);
		}
		outfile_pump(&o, 0);
		assert_true(o.pending.len < 2 * OUTFILE_MAX_BYTES);
		if (o.stats.held == 0 && i > 8000)
			break;
	}
	assert_int_equal(o.stats.held, 0);
	assert_int_equal(o.stats.exported + o.stats.dropped, 18000);
	assert_non_null(strstr(said, "pipe can be written again; "));
	for (ssize_t n; (n = read(fd, block, sizeof(block))) > 0;)
		got += (size_t)n;
	assert_int_equal(got, o.stats.exported * 1000);
	assert_int_equal(o.stats.bytes, got);
	close(fd);
	outfile_close(&o);
}

static void flush_has_a_deadline(void **state)
{
	(void)state;
	struct outfile o;
	int fd;
	open_pipe(&o, &fd);
	for (int i = 0; i < 1000; i++) {
		for (int k = 0; k < 30; k++)
			sbuf_adds(outfile_begin(&o), "0123456789");
		sbuf_addc(outfile_begin(&o), '\n');
		outfile_commit(&o, 2);
	}
	uint64_t before = clock_mono_ns();
	outfile_pump(&o, before + 100 * NSEC_PER_MSEC);
	assert_in_range((clock_mono_ns() - before) / NSEC_PER_MSEC, 90, 500);
	uint64_t exported = o.stats.exported;
	outfile_discard(&o);
	assert_int_equal(o.stats.exported, exported);
	assert_true(exported > 100 && exported < 2000);
	assert_int_equal(o.stats.exported + o.stats.dropped, 2000);
	close(fd);
	outfile_close(&o);
}

struct slow_read {
	int fd;
	size_t got;
};

static void *read_slowly(void *arg)
{
	struct slow_read *r = arg;
	char block[65536];
	for (ssize_t n; (n = read(r->fd, block, sizeof(block))) > 0;) {
		r->got += (size_t)n;
		usleep(1000);
	}
	return NULL;
}

/* Behind the queue, through a pipe: the thread wakes when the reader took something, not only at its ticks. */
static void drains_behind_the_queue(void **state)
{
	(void)state;
	char path[] = "/tmp/test_json.XXXXXX";
	assert_non_null(mkdtemp(path));
	char fifo[64];
	snprintf(fifo, sizeof(fifo), "%s/fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	struct slow_read r = {.fd = open(fifo, O_RDONLY | O_NONBLOCK)};
	struct export_sink sink = {json, open_json(fifo)};
	struct chunk_pool *pool = chunk_pool_new(10);
	struct export_queue_options o = {.max_spans = 100000, .pool = pool, .notice = note};
	struct export_queue *q;
	struct sbuf err = {0};
	assert_int_equal(export_queue_start(&q, &sink, 1, &o, &err), 0);
	fcntl(r.fd, F_SETFL, 0);
	struct process_info *p = process_info_new();
	p->service = SV("shop");
	for (int i = 0; i < 100; i++) {
		struct chunk *c = chunk_pool_get(pool);
		c->process = process_info_ref(p);
		for (int k = 0; k < 100; k++)
			chunk_add(c)->name = SV("a name of some length");
		assert_true(export_queue_push(q, c));
	}
	pthread_t t;
	pthread_create(&t, NULL, read_slowly, &r);
	uint64_t before = clock_mono_ns();
	struct export_queue_stats st;
	do {
		usleep(1000);
		export_queue_stats(q, &st);
	} while (st.held && clock_mono_ns() - before < 5 * NSEC_PER_SEC);
	assert_int_equal(st.exported, 10000);
	assert_true(clock_mono_ns() - before < NSEC_PER_SEC);
	struct exporter_stats es;
	export_queue_sink(q, 0, &es, NULL);
	export_queue_stop(q, 0);
	pthread_join(t, NULL);
	assert_int_equal(r.got, es.bytes);
	export_queue_free(q);
	chunk_pool_free(pool);
	process_info_unref(p);
	close(r.fd);
	unlink(fifo);
	rmdir(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(bad_arguments),
		cmocka_unit_test(disk_full),
		cmocka_unit_test(reader_gone),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(flush_has_a_deadline),
		cmocka_unit_test(drains_behind_the_queue),
	};
	signal(SIGPIPE, SIG_IGN);
	json = exporter_find(SV("json"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
