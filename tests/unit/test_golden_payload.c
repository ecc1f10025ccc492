/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/ddtrace/: bodies that ddtrace 4.16 sent. Each is decoded into our own structures, encoded from them as
 * v0.4, as v0.5 and as v0.5 turned into v0.4, and decoded again: every span must say the same as ddtrace's, and nothing
 * else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "export/payload.h"
#include "msgpack_reader.h"

#define MAX_SPANS 64
#define MAX_TAGS  64

/* What a decoder reads of a span, of either version. */
struct decoded {
	struct sv service, name, resource, type;
	uint64_t trace_id, span_id, parent_id;
	int64_t start, duration, error;
	struct tag meta[MAX_TAGS];
	struct metric metrics[MAX_TAGS];
	size_t meta_cnt, metric_cnt;
};

struct decoded_chunk {
	struct decoded spans[MAX_SPANS];
	size_t cnt;
};

struct dictionary {
	struct sv strings[1024];
	size_t cnt;
};

/* --- decoding ----------------------------------------------------------------------------------------------------- */

static double read_float(struct reader *r)
{
	uint64_t bits;
	double d;
	if (next(r, &bits) == 'i')
		return (double)(int64_t)bits;
	memcpy(&d, &bits, sizeof(d));
	return d;
}

/* A string, or with a dictionary an index into it; absent ones may be nil in v0.4. */
static struct sv read_text(struct reader *r, const struct dictionary *d)
{
	if (!d && r->at < r->end && *r->at == 0xc0) {
		r->at++;
		return SV("");
	}
	if (!d)
		return expect_str(r);
	uint64_t i = expect(r, 'i');
	assert_true(i < d->cnt);
	return d->strings[i];
}

static void read_meta(struct reader *r, const struct dictionary *d, struct decoded *s)
{
	s->meta_cnt = expect(r, 'm');
	assert_true(s->meta_cnt <= MAX_TAGS);
	for (size_t i = 0; i < s->meta_cnt; i++) {
		s->meta[i].key = read_text(r, d);
		s->meta[i].value = read_text(r, d);
	}
}

static void read_metrics(struct reader *r, const struct dictionary *d, struct decoded *s)
{
	s->metric_cnt = expect(r, 'm');
	assert_true(s->metric_cnt <= MAX_TAGS);
	for (size_t i = 0; i < s->metric_cnt; i++) {
		s->metrics[i].key = read_text(r, d);
		s->metrics[i].value = read_float(r);
	}
}

static void read_v05_span(struct reader *r, const struct dictionary *d, struct decoded *s)
{
	assert_int_equal(expect(r, 'a'), 12);
	s->service = read_text(r, d);
	s->name = read_text(r, d);
	s->resource = read_text(r, d);
	s->trace_id = expect(r, 'i');
	s->span_id = expect(r, 'i');
	s->parent_id = expect(r, 'i');
	s->start = (int64_t)expect(r, 'i');
	s->duration = (int64_t)expect(r, 'i');
	s->error = (int64_t)expect(r, 'i');
	read_meta(r, d, s);
	read_metrics(r, d, s);
	s->type = read_text(r, d);
}

/* False when the span has something that our model has not (links). */
static bool read_v04_span(struct reader *r, struct decoded *s)
{
	bool known = true;
	for (uint64_t n = expect(r, 'm'); n > 0; n--) {
		struct sv key = expect_str(r);
#define TEXT(field)   else if (sv_eq(key, SV(#field))) s->field = read_text(r, NULL)
#define NUMBER(field) else if (sv_eq(key, SV(#field))) s->field = (__typeof__(s->field))expect(r, 'i')
		if (sv_eq(key, SV("meta")))
			read_meta(r, NULL, s);
		else if (sv_eq(key, SV("metrics")))
			read_metrics(r, NULL, s);
		TEXT(service);
		TEXT(name);
		TEXT(resource);
		TEXT(type);
		NUMBER(trace_id);
		NUMBER(span_id);
		NUMBER(parent_id);
		NUMBER(start);
		NUMBER(duration);
		NUMBER(error);
		else
		{
			known = false;
			pass_over(r);
		}
	}
	return known;
}

/* Reads the next chunk; `d` NULL: v0.4. */
static bool read_chunk(struct reader *r, const struct dictionary *d, struct decoded_chunk *c)
{
	bool known = true;
	memset(c, 0, sizeof(*c));
	c->cnt = expect(r, 'a');
	assert_true(c->cnt > 0 && c->cnt <= MAX_SPANS);
	for (size_t i = 0; i < c->cnt; i++) {
		if (d)
			read_v05_span(r, d, &c->spans[i]);
		else
			known &= read_v04_span(r, &c->spans[i]);
	}
	return known;
}

static void read_dictionary(struct reader *r, struct dictionary *d)
{
	d->cnt = expect(r, 'a');
	assert_true(d->cnt <= sizeof(d->strings) / sizeof(d->strings[0]));
	for (size_t i = 0; i < d->cnt; i++)
		d->strings[i] = expect_str(r);
}

/* --- into our model ----------------------------------------------------------------------------------------------- */

static struct sv meta_at(const struct decoded *s, struct sv key)
{
	for (size_t i = 0; i < s->meta_cnt; i++)
		if (sv_eq(s->meta[i].key, key))
			return s->meta[i].value;
	return SV_NULL;
}

static struct sv meta_of(const struct decoded *s, const char *key)
{
	return meta_at(s, sv_of(key));
}

static const double *metric_at(const struct decoded *s, struct sv key)
{
	for (size_t i = 0; i < s->metric_cnt; i++)
		if (sv_eq(s->metrics[i].key, key))
			return &s->metrics[i].value;
	return NULL;
}

static const double *metric_of(const struct decoded *s, const char *key)
{
	return metric_at(s, sv_of(key));
}

static bool among(struct sv key, const char *const *keys)
{
	while (*keys && !sv_eq(key, sv_of(*keys)))
		keys++;
	return *keys != NULL;
}

/* What the model makes by itself and is therefore not given to it; it must come out all the same. */
static const char *const made[] = {"env",	 "runtime-id",	  "language",	      "_dd.p.tid",
				   "process_id", "_dd.top_level", "_dd.base_service", NULL};
/* ddtrace repeats it on several spans of a chunk; we send it on the first, where the Agent looks for it. */
static const char *const once[] = {"_dd.p.tid", NULL};
/* The sampling decision, which is not what this is about, and who renamed a span: "m" with us, the integration there.
 */
static const char *const left_out[] = {"_dd.svc_src",  "_sampling_priority_v1", "_dd.p.dm",  "_dd.agent_psr",
				       "_dd.rule_psr", "_dd.limit_psr",		"_dd.p.ksr", NULL};

struct model {
	struct process_info process;
	struct chunk chunk;
	struct span spans[MAX_SPANS];
	struct tag tags[MAX_SPANS][MAX_TAGS];
	struct metric metrics[MAX_SPANS][MAX_TAGS];
};

static void model_span(struct model *m, size_t i, const struct decoded *d, const struct decoded_chunk *c)
{
	struct span *s = &m->spans[i];
	*s = (struct span){.span_id = d->span_id,
			   .parent_id = d->parent_id,
			   .start_ns = d->start,
			   .duration_ns = d->duration,
			   .service = d->service,
			   .name = d->name,
			   .resource = d->resource,
			   .type = d->type,
			   .error = (uint8_t)d->error,
			   .tags = m->tags[i],
			   .metrics = m->metrics[i]};
	bool parent_here = false;
	for (size_t k = 0; k < c->cnt; k++)
		parent_here |= c->spans[k].span_id == d->parent_id;
	s->local_root = !parent_here && metric_of(d, "process_id") != NULL;
	s->top_level = metric_of(d, "_dd.top_level") ? TOP_LEVEL_YES : TOP_LEVEL_NO;
	for (size_t k = 0; k < d->meta_cnt; k++)
		if (!among(d->meta[k].key, made) && !among(d->meta[k].key, left_out))
			m->tags[i][s->tag_cnt++] = d->meta[k];
	for (size_t k = 0; k < d->metric_cnt; k++)
		if (!among(d->metrics[k].key, made) && !among(d->metrics[k].key, left_out))
			m->metrics[i][s->metric_cnt++] = d->metrics[k];
}

static void model_make(struct model *m, const struct decoded_chunk *c)
{
	const struct decoded *root = &c->spans[0];
	memset(m, 0, sizeof(*m));
	m->process.refs = 1;
	for (size_t i = 0; i < c->cnt; i++) {
		const struct decoded *s = &c->spans[i];
		if (metric_of(s, "process_id"))
			root = s;
		if (meta_of(s, "_dd.base_service").len)
			m->process.service = meta_of(s, "_dd.base_service");
		if (meta_of(s, "env").len)
			m->process.env = meta_of(s, "env");
		if (meta_of(s, "_dd.p.tid").len)
			sscanf(meta_of(s, "_dd.p.tid").data, "%16lx", &m->chunk.trace_hi);
	}
	if (!m->process.service.len)
		m->process.service = root->service;
	m->process.language = meta_of(root, "language");
	m->process.runtime_id = meta_of(root, "runtime-id");
	m->process.pid = metric_of(root, "process_id") ? (uint32_t)*metric_of(root, "process_id") : 0;
	m->chunk.trace_lo = root->trace_id;
	m->chunk.process = &m->process;
	m->chunk.spans = m->spans;
	m->chunk.span_cnt = (uint32_t)c->cnt;
	for (size_t i = 0; i < c->cnt; i++)
		model_span(m, i, &c->spans[i], c);
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static void same_text(const char *what, struct sv a, struct sv b)
{
	if (!sv_eq(a, b))
		fail_msg("%s: ddtrace has '" SV_FMT "', we '" SV_FMT "'", what, SV_ARG(a), SV_ARG(b));
}

static void all_there(const struct decoded *a, const struct decoded *b, const char *who)
{
	for (size_t i = 0; i < a->meta_cnt; i++) {
		struct sv key = a->meta[i].key, other = meta_at(b, key);
		if (among(key, left_out))
			continue;
		if (!other.data && among(key, once) && b->parent_id)
			continue;
		if (!other.data)
			fail_msg("only %s has " SV_FMT " on " SV_FMT, who, SV_ARG(key), SV_ARG(a->name));
		same_text("meta", a->meta[i].value, other);
	}
	for (size_t i = 0; i < a->metric_cnt; i++) {
		struct sv key = a->metrics[i].key;
		const double *other = metric_at(b, key);
		if (among(key, left_out))
			continue;
		if (!other)
			fail_msg("only %s has " SV_FMT " on " SV_FMT, who, SV_ARG(key), SV_ARG(a->name));
		assert_true(*other == a->metrics[i].value);
	}
}

static void same_chunk(const struct decoded_chunk *theirs, const struct decoded_chunk *ours)
{
	assert_int_equal(theirs->cnt, ours->cnt);
	for (size_t i = 0; i < theirs->cnt; i++) {
		const struct decoded *a = &theirs->spans[i], *b = NULL;
		for (size_t k = 0; k < ours->cnt; k++)
			if (ours->spans[k].span_id == a->span_id)
				b = &ours->spans[k];
		assert_non_null(b);
		same_text("service", a->service, b->service);
		same_text("name", a->name, b->name);
		same_text("resource", a->resource, b->resource);
		same_text("type", a->type, b->type);
		assert_int_equal(a->trace_id, b->trace_id);
		assert_int_equal(a->parent_id, b->parent_id);
		assert_int_equal(a->start, b->start);
		assert_int_equal(a->duration, b->duration);
		assert_int_equal(a->error, b->error);
		all_there(a, b, "ddtrace");
		all_there(b, a, "spanhound");
	}
}

static void check_rebuilt(struct payload *p, const struct decoded_chunk *want)
{
	static struct dictionary d;
	static struct decoded_chunk got;
	struct sbuf body = {0};
	struct sv parts[PAYLOAD_MAX_PARTS];
	for (unsigned i = 0, n = payload_body(p, parts); i < n; i++)
		sbuf_addsv(&body, parts[i]);
	struct reader r = {(const unsigned char *)body.data, (const unsigned char *)body.data + body.len};
	bool v05 = p->format == PAYLOAD_V05;
	if (v05) {
		assert_int_equal(expect(&r, 'a'), 2);
		read_dictionary(&r, &d);
	}
	assert_int_equal(expect(&r, 'a'), 1);
	read_chunk(&r, v05 ? &d : NULL, &got);
	assert_ptr_equal(r.at, r.end);
	same_chunk(want, &got);
	sbuf_release(&body);
}

static void rebuild(const struct decoded_chunk *c)
{
	static struct model m;
	struct tags t = {0};
	model_make(&m, c);
	struct payload *v04 = payload_new(&m.process, false, PAYLOAD_V04);
	struct payload *v05 = payload_new(&m.process, false, PAYLOAD_V05);
	assert_int_equal(payload_add(v04, &t, &m.chunk, 0), 0);
	assert_int_equal(payload_add(v05, &t, &m.chunk, 0), 0);
	check_rebuilt(v04, c);
	check_rebuilt(v05, c);
	assert_int_equal(payload_downgrade(v05), 0);
	assert_int_equal(v05->body.len, v04->body.len);
	assert_memory_equal(v05->body.data, v04->body.data, v04->body.len);
	payload_free(v04);
	payload_free(v05);
	tags_release(&t);
}

static unsigned check_file(const char *path)
{
	static unsigned char data[64 << 10];
	static struct dictionary d;
	static struct decoded_chunk c;
	unsigned chunks = 0;
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	struct reader r = {data, data + fread(data, 1, sizeof(data), f)};
	fclose(f);
	/* v0.5 begins with an array of two, of which the first is an array of strings: a dictionary. */
	bool v05 = data[0] == 0x92 && (data[1] == 0xdc || data[1] == 0xdd || (data[1] & 0xf0) == 0x90) &&
		   !strstr(path, "-v04");
	if (v05) {
		expect(&r, 'a');
		read_dictionary(&r, &d);
	}
	for (uint64_t n = expect(&r, 'a'); n > 0; n--) {
		if (!read_chunk(&r, v05 ? &d : NULL, &c))
			continue;
		rebuild(&c);
		chunks++;
	}
	assert_ptr_equal(r.at, r.end);
	return chunks;
}

static void every_file(void **state)
{
	(void)state;
	const char *root = getenv("SPANHOUND_GOLDEN");
	char dir[2048], path[4096];
	unsigned files = 0, chunks = 0;
	snprintf(dir, sizeof(dir), "%s/ddtrace", root ? root : "tests/golden");
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (!strstr(e->d_name, ".msgpack"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		print_message("%s\n", e->d_name);
		chunks += check_file(path);
		files++;
	}
	closedir(d);
	assert_true(files >= 20 && chunks >= 60);
	print_message("%u chunks of %u files\n", chunks, files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_file)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
