/* SPDX-License-Identifier: Apache-2.0 */
/* json:FILE: one span per line, the fields of Datadog's v0.4 format by name (ids are decimal numbers; trace_id is the
 * lower half, as there), and trace_id_128, the whole trace id in hex. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "export/outfile.h"
#include "trace/tags.h"

struct exporter {
	struct outfile out;
	struct tags tags;
};

/* --- a line ------------------------------------------------------------------------------------------------------- */

static void json_number(struct sbuf *b, double v)
{
	char text[32];
	if (!isfinite(v)) {
		sbuf_adds(b, "null");
		return;
	}
	/* Most are whole: counts, ids, sizes. Beyond 15 digits %.15g would show an exponent. */
	if (v > -1e15 && v < 1e15 && v == (double)(int64_t)v && !(v == 0 && signbit(v))) {
		sbuf_addi(b, (int64_t)v);
		return;
	}
	/* The shortest text that reads back as the same number, as far as printf can. */
	snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) != v)
		snprintf(text, sizeof(text), "%.17g", v);
	sbuf_adds(b, text);
}

static void json_maps(struct sbuf *b, struct tags *t)
{
	sbuf_addsv(b, SV(",\"meta\":{"));
	for (size_t i = 0; i < t->meta.cnt; i++) {
		if (i)
			sbuf_addc(b, ',');
		sbuf_add_json(b, t->meta.data[i].key);
		sbuf_addc(b, ':');
		sbuf_add_json(b, t->meta.data[i].value);
	}
	sbuf_addsv(b, SV("},\"metrics\":{"));
	for (size_t i = 0; i < t->metrics.cnt; i++) {
		if (i)
			sbuf_addc(b, ',');
		sbuf_add_json(b, t->metrics.data[i].key);
		sbuf_addc(b, ':');
		json_number(b, t->metrics.data[i].value);
	}
	sbuf_addc(b, '}');
}

static void json_span(struct sbuf *b, struct tags *t, uint32_t i)
{
	const struct chunk *c = t->chunk;
	const struct span *s = &c->spans[i];
	tags_of(t, i);
	sbuf_addsv(b, SV("{\"service\":"));
	sbuf_add_json(b, span_service(c, s));
	sbuf_addsv(b, SV(",\"name\":"));
	sbuf_add_json(b, s->name);
	sbuf_addsv(b, SV(",\"resource\":"));
	sbuf_add_json(b, span_resource(s));
	sbuf_addsv(b, SV(",\"trace_id\":"));
	sbuf_addu(b, c->trace_lo);
	sbuf_addsv(b, SV(",\"span_id\":"));
	sbuf_addu(b, s->span_id);
	sbuf_addsv(b, SV(",\"parent_id\":"));
	sbuf_addu(b, s->parent_id);
	sbuf_addsv(b, SV(",\"start\":"));
	sbuf_addi(b, s->start_ns);
	sbuf_addsv(b, SV(",\"duration\":"));
	sbuf_addi(b, s->duration_ns);
	sbuf_addsv(b, SV(",\"error\":"));
	sbuf_addu(b, s->error);
	json_maps(b, t);
	sbuf_addsv(b, SV(",\"type\":"));
	sbuf_add_json(b, s->type);
	sbuf_addsv(b, SV(",\"trace_id_128\":\""));
	sbuf_addx(b, c->trace_hi, 16);
	sbuf_addx(b, c->trace_lo, 16);
	sbuf_addsv(b, SV("\"}\n"));
}

/* --- the exporter ------------------------------------------------------------------------------------------------- */

static int json_open(struct exporter **ret, const char *argument, struct sbuf *err)
{
	if (!argument || !*argument) {
		sbuf_adds(err, "json needs a file: json:FILE, or json:- for standard output");
		return -EINVAL;
	}
	struct exporter *e = calloc(1, sizeof(*e));
	int r = e ? outfile_open(&e->out, argument, err) : -ENOMEM;
	if (r < 0) {
		free(e);
		return r;
	}
	*ret = e;
	return 0;
}

static void json_set_notice(struct exporter *e, void (*notice)(void *arg, const char *line), void *arg)
{
	e->out.notice = notice;
	e->out.notice_arg = arg;
}

static int json_write(struct exporter *e, const struct chunk *chunks)
{
	for (const struct chunk *c = chunks; c; c = c->next) {
		tags_start(&e->tags, c);
		for (uint32_t n = 0; n < c->span_cnt; n++) {
			/* The head first, as on the wire: a reader of one chunk meets its tags before the rest. */
			uint32_t i = n == 0 ? e->tags.head : n <= e->tags.head ? n - 1 : n;
			json_span(outfile_begin(&e->out), &e->tags, i);
			outfile_commit(&e->out, 1);
		}
	}
	outfile_pump(&e->out, 0);
	return 0;
}

static int json_tick(struct exporter *e, uint64_t now_ns)
{
	(void)now_ns;
	outfile_pump(&e->out, 0);
	return 0;
}

static unsigned json_pollfds(const struct exporter *e, struct pollfd *fds, unsigned cap, uint64_t *ret_due_ns)
{
	(void)ret_due_ns;
	return outfile_pollfds(&e->out, fds, cap);
}

static void json_flush(struct exporter *e, uint64_t deadline_ns)
{
	outfile_pump(&e->out, deadline_ns);
	outfile_discard(&e->out);
}

static void json_stats(const struct exporter *e, struct exporter_stats *ret)
{
	*ret = e->out.stats;
}

static void json_describe(const struct exporter *e, struct sbuf *out)
{
	sbuf_addf(out, "json to %s%s", e->out.name, e->out.failing ? ": cannot be written" : "");
}

static void json_close(struct exporter *e)
{
	outfile_close(&e->out);
	tags_release(&e->tags);
	free(e);
}

const struct exporter_ops json_exporter = {
	.name = "json",
	.help = "json:FILE, one span per line (- is standard output)",
	.open = json_open,
	.set_notice = json_set_notice,
	.write = json_write,
	.tick = json_tick,
	.pollfds = json_pollfds,
	.flush = json_flush,
	.stats = json_stats,
	.describe = json_describe,
	.close = json_close,
};
