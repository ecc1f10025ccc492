/* SPDX-License-Identifier: Apache-2.0 */
/* A log, and the spans of the same time: each line that was written within one span gets its ids, in the form in which
 * ddtrace's own log integration writes them (DD_LOGS_INJECTION). Nothing else of the line changes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cmd.h"
#include "base/clock.h"
#include "base/log.h"
#include "trace/timeline.h"

static const char *const answer_names[TIMELINE_ANSWERS] = {
	[TIMELINE_FOUND] = "correlated",
	[TIMELINE_NO_TIME] = "without a time",
	[TIMELINE_NO_SPAN] = "in no span",
	[TIMELINE_AMBIGUOUS] = "in more than one",
	[TIMELINE_NOBODYS] = "that say not whose they are",
};

struct correlation {
	struct timeline *spans;
	struct log_reader *reader;
	struct timeline_filter filter;
	struct sbuf out;
	uint64_t lines, before, counts[TIMELINE_ANSWERS];
};

/* One line of a file, without its end; longer ones in pieces. False: no more. */
static bool next_piece(FILE *f, char *buffer, struct sv *ret, bool *ret_ended)
{
	size_t len = 0;
	int c;
	while (len < LOG_LINE_MAX && (c = getc_unlocked(f)) != EOF && c != '\n')
		buffer[len++] = (char)c;
	*ret_ended = len < LOG_LINE_MAX && c == '\n';
	*ret = (struct sv){buffer, len};
	return len || *ret_ended;
}

static int read_spans(struct correlation *c, const char *path, char *buffer)
{
	FILE *f = fopen(path, "re");
	struct sv line;
	bool ended;
	uint64_t number = 0, refused = 0;
	int rc = 0;
	if (!f) {
		log_error("--spans %s: %s", path, strerror(errno));
		return -errno;
	}
	while (rc != -ENOMEM && next_piece(f, buffer, &line, &ended)) {
		number++;
		rc = timeline_add(c->spans, line);
		if (rc == -EINVAL && refused++ == 0)
			log_warn("%s:%" PRIu64 ": no span as `--export json:FILE` writes them; left out", path, number);
	}
	fclose(f);
	if (refused > 1)
		log_warn("%s: %" PRIu64 " such lines", path, refused);
	if (rc != -ENOMEM && !timeline_count(c->spans)) {
		log_error("%s has no spans; they are made by `spanhound attach ... --export json:%s`", path, path);
		return -ENODATA;
	}
	return rc == -ENOMEM ? rc : 0;
}

static void add_ids_json(struct sbuf *b, const struct timeline_span *s)
{
	sbuf_adds(b, "\"dd.service\":");
	sbuf_add_json(b, s->service);
	sbuf_adds(b, ",\"dd.env\":");
	sbuf_add_json(b, s->env);
	sbuf_adds(b, ",\"dd.version\":");
	sbuf_add_json(b, s->version);
	sbuf_addf(b, ",\"dd.trace_id\":\"%016" PRIx64 "%016" PRIx64 "\",\"dd.span_id\":\"%" PRIu64 "\"", s->trace_hi,
		  s->trace_lo, s->span_id);
}

static void correlate_line(struct correlation *c, struct sv line)
{
	struct log_line l;
	const struct timeline_span *s = NULL;
	struct sbuf *b = &c->out;
	c->lines++;
	log_reader_line(c->reader, line, &l);
	if (l.correlated)
		c->before++;
	else
		c->counts[timeline_find(c->spans, &l, &c->filter, &s)]++;
	if (!s) {
		sbuf_addsv(b, line);
	} else if (l.json) {
		/* Before the brace that closes the object: what was written stays as it was, to the digit. */
		size_t end = line.len;
		while (line.data[end - 1] != '}')
			end--;
		sbuf_add(b, line.data, end - 1);
		sbuf_adds(b, l.empty ? "" : ",");
		add_ids_json(b, s);
		sbuf_add(b, line.data + end - 1, line.len - end + 1);
	} else {
		bool carriage_return = line.len && line.data[line.len - 1] == '\r';
		sbuf_add(b, line.data, line.len - carriage_return);
		sbuf_addf(b,
			  " [dd.service=" SV_FMT " dd.env=" SV_FMT " dd.version=" SV_FMT " dd.trace_id=%016" PRIx64
			  "%016" PRIx64 " dd.span_id=%" PRIu64 "]%s",
			  SV_ARG(s->service), SV_ARG(s->env), SV_ARG(s->version), s->trace_hi, s->trace_lo, s->span_id,
			  carriage_return ? "\r" : "");
	}
}

static int correlate_file(struct correlation *c, const char *path, char *buffer)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	struct sv line;
	bool ended, whole = true;
	if (!f) {
		log_error("%s: %s", path, strerror(errno));
		return -errno;
	}
	while (!ferror(stdout) && next_piece(f, buffer, &line, &ended)) {
		bool first = whole;
		sbuf_reset(&c->out);
		whole = ended;
		if (first && line.len < LOG_LINE_MAX)
			correlate_line(c, line);
		else
			sbuf_addsv(&c->out, line);
		if (ended)
			sbuf_addc(&c->out, '\n');
		fwrite(sbuf_str(&c->out), 1, c->out.len, stdout);
	}
	if (f != stdin)
		fclose(f);
	if (fflush(stdout) || ferror(stdout)) {
		if (errno == EPIPE) /* `| head` has enough */
			return -EPIPE;
		log_error("standard output: %s", strerror(errno));
		return -EIO;
	}
	return 0;
}

static void say_counts(const struct correlation *c)
{
	struct sbuf text = {0};
	sbuf_addf(&text, "%" PRIu64 " lines", c->lines);
	for (int i = 0; i < TIMELINE_ANSWERS; i++)
		if (c->counts[i] || i == TIMELINE_FOUND)
			sbuf_addf(&text, "%s %" PRIu64 " %s", i == 0 ? ":" : ",", c->counts[i], answer_names[i]);
	if (c->before)
		sbuf_addf(&text, ", %" PRIu64 " that had ids already", c->before);
	log_info("%s", sbuf_str(&text));
	sbuf_release(&text);
}

static int correlate(struct correlation *c, const struct options *o)
{
	struct sbuf err = {0};
	char *buffer = malloc(LOG_LINE_MAX);
	c->filter = (struct timeline_filter){.service = sv_of(o->only), .any_pid = o->any_pid};
	c->spans = timeline_new();
	int rc = c->spans && buffer
			 ? log_reader_new(&c->reader, (int64_t)clock_mono_ns() + clock_mono_to_unix_ns(), &err)
			 : -ENOMEM;
	if (rc < 0)
		log_error("%s", err.len ? sbuf_str(&err) : strerror(-rc));
	if (rc == 0)
		rc = read_spans(c, o->spans, buffer);
	if (rc == 0 && !o->rest_cnt)
		rc = correlate_file(c, "-", buffer);
	for (int i = 0; i < o->rest_cnt && rc == 0; i++)
		rc = correlate_file(c, o->rest[i], buffer);
	if (rc == 0)
		say_counts(c);
	timeline_free(c->spans);
	log_reader_free(c->reader);
	sbuf_release(&c->out);
	sbuf_release(&err);
	free(buffer);
	return rc < 0 ? SESSION_FAILED : EXIT_SUCCESS;
}

int cmd_correlate(int argc, char **argv)
{
	struct options o;
	struct correlation c = {0};
	int rc = options_parse(&o, COMMAND_correlate, argc, argv), status = options_exit_status(rc);
	if (rc == 0 && !o.spans) {
		log_error(
			"with which spans? Name the file that `spanhound attach ... --export json:FILE` writes: --spans FILE");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		status = correlate(&c, &o);
	}
	options_release(&o);
	return status;
}
