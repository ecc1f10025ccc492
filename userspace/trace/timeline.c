/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/timeline.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/vec.h"

struct timeline {
	struct arena arena;
	VEC(struct timeline_span) spans; /* by start, once sorted */
	int64_t *ends;			 /* the latest end up to each */
	VEC(uint32_t) pids, tids;	 /* that occur, sorted */
	bool sorted;
	/* Of the chunk being read: what its first span says for all. */
	uint64_t trace_hi, trace_lo;
	uint32_t pid;
	struct sv env, version;
	struct sv last[4]; /* env, version, service, method: mostly those of the span before */
};

struct timeline *timeline_new(void)
{
	return calloc(1, sizeof(struct timeline));
}

void timeline_free(struct timeline *t)
{
	if (!t)
		return;
	vec_release(&t->spans);
	vec_release(&t->pids);
	vec_release(&t->tids);
	free(t->ends);
	arena_release(&t->arena);
	free(t);
}

size_t timeline_count(const struct timeline *t)
{
	return t->spans.cnt;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static struct sv text_of(json_t *object, const char *key)
{
	json_t *v = json_object_get(object, key);
	return json_is_string(v) ? (struct sv){json_string_value(v), json_string_length(v)} : SV_NULL;
}

static bool number_of(json_t *object, const char *key, double max, double *ret)
{
	json_t *v = json_object_get(object, key);
	*ret = json_number_value(v);
	return json_is_number(v) && *ret >= 0 && *ret <= max;
}

/* False: out of memory. */
static bool keep_text(struct timeline *t, int which, struct sv text, struct sv *ret)
{
	if (text.len && !sv_eq(t->last[which], text)) {
		struct sv copy = arena_dup(&t->arena, text);
		if (!copy.data)
			return false;
		t->last[which] = copy;
	}
	*ret = text.len ? t->last[which] : SV_NULL;
	return true;
}

/* Ids have 64 bits, jansson's integers one less, and its reals 53. `key` with its quotes, comma and colon cannot stand
 * within a string: there its quotes would have backslashes. */
static uint64_t exact_number(struct sv json, const char *key)
{
	const char *at = memmem(json.data, json.len, key, strlen(key)), *end = json.data + json.len;
	uint64_t n = 0;
	for (at += at ? strlen(key) : 0; at && at < end && *at >= '0' && *at <= '9'; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	return n;
}

static bool read_trace_id(json_t *o, struct timeline_span *s)
{
	struct sv id = text_of(o, "trace_id_128");
	char hex[17] = "";
	if (id.len != 32 || strspn(id.data, "0123456789abcdef") != 32)
		return false;
	s->trace_lo = strtoull(id.data + 16, NULL, 16);
	memcpy(hex, id.data, 16);
	s->trace_hi = strtoull(hex, NULL, 16);
	return true;
}

static bool read_times(json_t *o, struct sv json, struct timeline_span *s)
{
	double start, duration;
	if (!number_of(o, "start", 9e18, &start) || !number_of(o, "duration", 9e18, &duration))
		return false;
	s->start_ns = (int64_t)exact_number(json, ",\"start\":");
	return !__builtin_add_overflow(s->start_ns, (int64_t)duration, &s->end_ns);
}

/* The first span of a chunk says for all whose they are. */
static int read_owner(struct timeline *t, json_t *meta, json_t *metrics, struct timeline_span *s)
{
	double n;
	if (number_of(metrics, "process_id", UINT32_MAX, &n)) {
		t->pid = (uint32_t)n;
		t->trace_hi = s->trace_hi;
		t->trace_lo = s->trace_lo;
		if (!keep_text(t, 0, text_of(meta, "env"), &t->env) ||
		    !keep_text(t, 1, text_of(meta, "version"), &t->version))
			return -ENOMEM;
	}
	if (t->trace_hi == s->trace_hi && t->trace_lo == s->trace_lo) {
		s->pid = t->pid;
		s->env = t->env;
		s->version = t->version;
	}
	s->tid = number_of(metrics, "thread.id", UINT32_MAX, &n) ? (uint32_t)n : 0;
	return 0;
}

static int read_request(struct timeline *t, json_t *meta, struct timeline_span *s)
{
	struct sv path = log_url_path(text_of(meta, "http.url"));
	s->served = sv_eq(text_of(meta, "span.kind"), SV("server"));
	if (!keep_text(t, 3, text_of(meta, "http.method"), &s->method))
		return -ENOMEM;
	if (path.len)
		s->path = arena_dup(&t->arena, path);
	return path.len && !s->path.data ? -ENOMEM : 0;
}

int timeline_add(struct timeline *t, struct sv json)
{
	json_t *o = json.len <= LOG_LINE_MAX ? json_loadb(json.data, json.len, JSON_DECODE_INT_AS_REAL, NULL) : NULL;
	json_t *meta = json_object_get(o, "meta"), *metrics = json_object_get(o, "metrics");
	struct timeline_span s = {.span_id = exact_number(json, ",\"span_id\":")};
	int rc = s.span_id && read_trace_id(o, &s) && read_times(o, json, &s) ? 0 : -EINVAL;
	if (rc == 0)
		rc = read_owner(t, meta, metrics, &s);
	if (rc == 0)
		rc = read_request(t, meta, &s);
	if (rc == 0 && !keep_text(t, 2, text_of(o, "service"), &s.service))
		rc = -ENOMEM;
	/* A run of spans is of one process; sorting leaves each number once. */
	if (rc == 0 && s.pid && (!t->pids.cnt || t->pids.data[t->pids.cnt - 1] != s.pid))
		rc = vec_push(&t->pids, s.pid);
	if (rc == 0 && s.tid && (!t->tids.cnt || t->tids.data[t->tids.cnt - 1] != s.tid))
		rc = vec_push(&t->tids, s.tid);
	if (rc == 0)
		rc = vec_push(&t->spans, s);
	if (rc == 0)
		t->sorted = false;
	json_decref(o);
	return rc;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
	const struct timeline_span *x = a, *y = b;
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	return x->end_ns != y->end_ns ? (x->end_ns > y->end_ns ? -1 : 1) : 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static size_t sort_unique(uint32_t *data, size_t cnt)
{
	size_t kept = 0;
	if (cnt)
		qsort(data, cnt, sizeof(*data), by_number);
	for (size_t i = 0; i < cnt; i++)
		if (!kept || data[kept - 1] != data[i])
			data[kept++] = data[i];
	return kept;
}

static bool timeline_sort(struct timeline *t)
{
	if (t->sorted)
		return true;
	size_t cnt = t->spans.cnt;
	int64_t *ends = reallocarray(t->ends, cnt ? cnt : 1, sizeof(*ends)), latest = INT64_MIN;
	if (!ends)
		return false;
	t->ends = ends;
	if (cnt)
		qsort(t->spans.data, cnt, sizeof(*t->spans.data), by_start);
	for (size_t i = 0; i < cnt; i++) {
		latest = t->spans.data[i].end_ns > latest ? t->spans.data[i].end_ns : latest;
		ends[i] = latest;
	}
	t->pids.cnt = sort_unique(t->pids.data, t->pids.cnt);
	t->tids.cnt = sort_unique(t->tids.data, t->tids.cnt);
	return t->sorted = true;
}

/* How many begin before `ns`. */
static size_t begun_before(const struct timeline *t, int64_t ns)
{
	size_t low = 0, high = t->spans.cnt;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (t->spans.data[middle].start_ns < ns)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool same_trace(const struct timeline_span *a, const struct timeline_span *b)
{
	return a->trace_lo == b->trace_lo && a->trace_hi == b->trace_hi;
}

static bool within(const struct timeline_span *inner, const struct timeline_span *outer)
{
	return same_trace(inner, outer) && inner->start_ns >= outer->start_ns && inner->end_ns <= outer->end_ns;
}

struct question {
	int64_t from_ns, to_ns;
	uint32_t pid, tid;
	struct sv service, method, path;
};

static bool fits(const struct question *q, const struct timeline_span *s)
{
	return s->end_ns >= q->from_ns && (!q->pid || s->pid == q->pid) && (!q->tid || s->tid == q->tid) &&
	       (!q->service.len || sv_eq(s->service, q->service)) &&
	       (!q->path.len || (s->served && sv_eq(s->method, q->method) && sv_eq(s->path, q->path)));
}

static enum timeline_answer ask(const struct timeline *t, const struct question *q, const struct timeline_span **ret)
{
	const struct timeline_span *found = NULL;
	bool ambiguous = false;
	/* Backwards: the innermost of nested ones begins last. */
	for (size_t i = begun_before(t, q->to_ns); i-- > 0 && t->ends[i] >= q->from_ns;) {
		const struct timeline_span *s = &t->spans.data[i];
		if (!fits(q, s))
			continue;
		if (!found)
			found = s;
		else if (within(s, found)) /* both began in the same instant */
			found = s;
		else if (!within(found, s))
			ambiguous = true;
	}
	*ret = found;
	return !found ? TIMELINE_NO_SPAN : ambiguous ? TIMELINE_AMBIGUOUS : TIMELINE_FOUND;
}

static bool occurs(const uint32_t *data, size_t cnt, uint32_t n)
{
	return n && cnt && bsearch(&n, data, cnt, sizeof(*data), by_number);
}

enum timeline_answer timeline_find(struct timeline *t, const struct log_line *line,
				   const struct timeline_filter *filter, const struct timeline_span **ret)
{
	*ret = NULL;
	if (!line->to_ns || !timeline_sort(t))
		return TIMELINE_NO_TIME;
	struct question q = {.from_ns = line->from_ns,
			     .to_ns = line->to_ns,
			     .service = filter->service,
			     .method = line->method,
			     .path = line->path};
	/* Threads have names and numbers of many kinds, and a number in brackets may be anything. */
	if (occurs(t->tids.data, t->tids.cnt, line->tid))
		q.tid = line->tid;
	if (!filter->any_pid && (line->pid_said || occurs(t->pids.data, t->pids.cnt, line->pid)))
		q.pid = line->pid;
	if (!q.tid && !q.pid && !q.path.len && !q.service.len && t->pids.cnt > 1)
		return TIMELINE_NOBODYS;
	enum timeline_answer answer = ask(t, &q, ret);
	if (answer != TIMELINE_FOUND)
		*ret = NULL;
	return answer;
}
