/* SPDX-License-Identifier: Apache-2.0 */
/* json:FILE: one span per line, the fields of Datadog's v0.4 format by name (ids are decimal numbers; trace_id is the
 * lower half, as there), and trace_id_128, the whole trace id in hex. Links and events of spans are span_links and
 * span_events, each as the JSON that is in a tag where there is no such field (trace/annex.h). */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/put.h"
#include "export/outfile.h"
#include "trace/annex.h"
#include "trace/tags.h"

#define PUMP_SZ (64 << 10)

struct exporter {
	struct outfile out;
	struct tags tags;
	struct sbuf annex; /* of the span in hand */
};

/* --- a line ------------------------------------------------------------------------------------------------------- */

#define LINE_FIXED 512 /* bytes of a line beside its strings: names, numbers, punctuation. About 350 */
#define PAIR_FIXED 32  /* of a tag or a metric: a number at most, and punctuation */

/* A line is put together in room for the longest it can become. */
static size_t json_line_max(const struct tags *t, const struct span *s)
{
	const struct chunk *c = t->chunk;
	size_t len = span_service(c, s).len + s->name.len + span_resource(s).len + s->type.len;
	for (size_t i = 0; i < t->meta.cnt; i++)
		len += t->meta.data[i].key.len + t->meta.data[i].value.len;
	for (size_t i = 0; i < t->metrics.cnt; i++)
		len += t->metrics.data[i].key.len;
	return LINE_FIXED + PUT_JSON_MAX(len) + PAIR_FIXED * (t->meta.cnt + t->metrics.cnt);
}

static char *put_number(char *at, double v)
{
	if (!isfinite(v))
		return put_sv(at, SV("null"));
	/* Most are whole: counts, ids, sizes. Beyond 15 digits %.15g would show an exponent. */
	if (v > -1e15 && v < 1e15 && v == (double)(int64_t)v && !(v == 0 && signbit(v)))
		return put_i64(at, (int64_t)v);
	/* The shortest text that reads back as the same number, as far as printf can. */
	int len = snprintf(at, PAIR_FIXED - 4, "%.15g", v);
	if (strtod(at, NULL) != v)
		len = snprintf(at, PAIR_FIXED - 4, "%.17g", v);
	return at + len;
}

static char *put_maps(char *at, const struct tags *t)
{
	at = put_sv(at, SV(",\"meta\":{"));
	for (size_t i = 0; i < t->meta.cnt; i++) {
		if (i)
			*at++ = ',';
		at = put_json(at, t->meta.data[i].key);
		*at++ = ':';
		at = put_json(at, t->meta.data[i].value);
	}
	at = put_sv(at, SV("},\"metrics\":{"));
	for (size_t i = 0; i < t->metrics.cnt; i++) {
		if (i)
			*at++ = ',';
		at = put_json(at, t->metrics.data[i].key);
		*at++ = ':';
		at = put_number(at, t->metrics.data[i].value);
	}
	*at++ = '}';
	return at;
}

static __attribute__((noinline)) void annex_fields(struct sbuf *b, const struct span_annex *a)
{
	sbuf_reset(b);
	if (a->link_cnt) {
		sbuf_adds(b, ",\"span_links\":");
		annex_links_json(a, b);
	}
	if (a->event_cnt) {
		sbuf_adds(b, ",\"span_events\":");
		annex_events_json(a, b);
	}
}

static char *put_span(char *at, const struct tags *t, const struct span *s, struct sv annex)
{
	const struct chunk *c = t->chunk;
	at = put_json(put_sv(at, SV("{\"service\":")), span_service(c, s));
	at = put_json(put_sv(at, SV(",\"name\":")), s->name);
	at = put_json(put_sv(at, SV(",\"resource\":")), span_resource(s));
	at = put_u64(put_sv(at, SV(",\"trace_id\":")), c->trace_lo);
	at = put_u64(put_sv(at, SV(",\"span_id\":")), s->span_id);
	at = put_u64(put_sv(at, SV(",\"parent_id\":")), s->parent_id);
	at = put_i64(put_sv(at, SV(",\"start\":")), s->start_ns);
	at = put_i64(put_sv(at, SV(",\"duration\":")), s->duration_ns);
	at = put_u64(put_sv(at, SV(",\"error\":")), s->error);
	at = put_maps(at, t);
	at = put_json(put_sv(at, SV(",\"type\":")), s->type);
	at = put_hex64(put_sv(at, SV(",\"trace_id_128\":\"")), c->trace_hi);
	at = put_hex64(at, c->trace_lo);
	*at++ = '"';
	return put_sv(put_sv(at, annex), SV("}\n"));
}

static void json_span(struct exporter *e, struct sbuf *b, uint32_t i)
{
	struct tags *t = &e->tags;
	const struct span *s = &t->chunk->spans[i];
	struct sv annex = SV_NULL;
	tags_of(t, i);
	if (s->annex) {
		annex_fields(&e->annex, s->annex);
		annex = e->annex.failed ? SV_NULL : sbuf_sv(&e->annex);
	}
	char *at = sbuf_reserve(b, json_line_max(t, s) + annex.len);
	if (!at)
		return;
	char *end = put_span(at, t, s, annex);
	*end = '\0';
	b->len += (size_t)(end - at);
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
			/* As on the wire: a reader of one chunk meets the head's tags before the rest. */
			json_span(e, outfile_begin(&e->out), tags_nth(&e->tags, n));
			outfile_commit(&e->out, 1);
		}
		/* While it is still in the processor's cache; a slow reader is asked once, at the end. */
		if (!e->out.slow && e->out.pending.len - e->out.sent >= PUMP_SZ)
			outfile_pump(&e->out, 0);
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
	sbuf_release(&e->annex);
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
