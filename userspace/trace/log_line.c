/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/log_line.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <jansson.h>
#include <pcre2.h>
#include <stdlib.h>
#include <time.h>

#define NSEC_PER_SEC 1000000000LL
#define SECONDS_MAX  253402300799LL /* the end of the year 9999 */

/* A time stands near the beginning of a line. */
#define TIME_WITHIN 256
#define STEPS_MAX   100000

/* In the order in which they are tried; named groups, so that one function reads them all. */
static const char *const time_patterns[] = {
	/* ISO 8601, RFC 3339; with a comma Python's logging; with slashes nginx's error log and Go's log */
	"(?<year>\\d{4})[-/](?<month>\\d\\d)[-/](?<day>\\d\\d)[T ](?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)"
	"(?:[.,](?<fraction>\\d{1,9})\\d*)?(?: ?(?<zone>Z|[+-]\\d\\d:?\\d\\d))?",
	/* the common log format */
	"(?<day>\\d\\d)/(?<name>[A-Z][a-z]{2})/(?<year>\\d{4}):(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)"
	" (?<zone>[+-]\\d{4})",
	/* Apache's error log */
	"(?<name>[A-Z][a-z]{2}) (?<day>\\d\\d) (?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)"
	"(?:\\.(?<fraction>\\d{1,9}))? (?<year>\\d{4})",
	/* RFC 3164: no year */
	"^(?:<\\d{1,3}>)?(?<name>[A-Z][a-z]{2}) +(?<day>\\d{1,2}) (?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)",
	/* seconds, or milliseconds, since 1970 */
	"^\\[?(?<unix>\\d{10})(?:\\.(?<fraction>\\d{1,9})\\d*)?(?!\\d)",
	"^\\[?(?<unix>\\d{10})(?<fraction>\\d{3})(?!\\d)",
};
#define TIME_PATTERNS (sizeof(time_patterns) / sizeof(time_patterns[0]))

/* nginx writes pid#tid; syslog name[pid]; the rest says what it is. */
static const char actor_pattern[] = "(?<pid>\\d{1,10})#(?<tid>\\d{1,10})[: ]"
				    "|(?i:\\bpid|\\bprocess(?:[ _.-]?id)?)\\W{0,3}(?<pid>\\d{1,10})"
				    "|(?i:\\btid|\\bthread(?:[ _.-]?id)?)\\W{0,3}(?<tid>\\d{1,10})"
				    "|\\[(?<brackets>\\d{1,10})\\]";
static const char request_pattern[] = "\\b(?<method>GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)"
				      " (?<path>[^\\s?#\"]+)[^\\s\"]* HTTP/[0-9]";

struct pattern {
	pcre2_code *code;
};

struct log_reader {
	int64_t now_ns;
	struct pattern times[TIME_PATTERNS], actor, request;
	pcre2_match_data *match;
	pcre2_match_context *context;
	json_t *object; /* the last line's: what it lent is in it */
};

static int pattern_compile(struct pattern *p, const char *text, struct sbuf *err)
{
	int code;
	PCRE2_SIZE at;
	p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_DUPNAMES, &code, &at, NULL);
	if (p->code) {
		pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without it matching is slower, and no different */
		return 0;
	}
	sbuf_addf(err, "libpcre2 refuses a pattern (%d at offset %zu)", code, (size_t)at);
	return -EINVAL;
}

int log_reader_new(struct log_reader **ret, int64_t now_ns, struct sbuf *err)
{
	struct log_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->now_ns = now_ns;
	int rc = 0;
	for (size_t i = 0; i < TIME_PATTERNS && rc == 0; i++)
		rc = pattern_compile(&r->times[i], time_patterns[i], err);
	if (rc == 0)
		rc = pattern_compile(&r->actor, actor_pattern, err);
	if (rc == 0)
		rc = pattern_compile(&r->request, request_pattern, err);
	r->match = pcre2_match_data_create(16, NULL);
	r->context = pcre2_match_context_create(NULL);
	if (rc == 0 && (!r->match || !r->context))
		rc = -ENOMEM;
	if (rc < 0) {
		log_reader_free(r);
		return rc;
	}
	pcre2_set_match_limit(r->context, STEPS_MAX);
	*ret = r;
	return 0;
}

void log_reader_free(struct log_reader *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < TIME_PATTERNS; i++)
		pcre2_code_free(r->times[i].code);
	pcre2_code_free(r->actor.code);
	pcre2_code_free(r->request.code);
	pcre2_match_data_free(r->match);
	pcre2_match_context_free(r->context);
	json_decref(r->object);
	free(r);
}

/* --- matching ----------------------------------------------------------------------------------------------------- */

static bool match_at(struct log_reader *r, const struct pattern *p, struct sv text, size_t *at)
{
	if (pcre2_match(p->code, (PCRE2_SPTR)text.data, text.len, *at, 0, r->match, r->context) <= 0)
		return false;
	*at = pcre2_get_ovector_pointer(r->match)[1];
	return true;
}

/* Of groups with one name, the one that took part. Empty: none did. */
static struct sv group(struct log_reader *r, const struct pattern *p, struct sv text, const char *name)
{
	PCRE2_SPTR first, last;
	int entry = pcre2_substring_nametable_scan(p->code, (PCRE2_SPTR)name, &first, &last);
	if (entry < 0)
		return SV_NULL;
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(r->match);
	for (PCRE2_SPTR e = first; e <= last; e += entry) {
		size_t n = (size_t)e[0] << 8 | e[1];
		if (n < pcre2_get_ovector_count(r->match) && at[2 * n] != PCRE2_UNSET)
			return (struct sv){text.data + at[2 * n], at[2 * n + 1] - at[2 * n]};
	}
	return SV_NULL;
}

static int64_t number(struct sv digits)
{
	int64_t n = 0;
	for (size_t i = 0; i < digits.len && i < 18; i++)
		n = n * 10 + (digits.data[i] - '0');
	return n;
}

/* --- when --------------------------------------------------------------------------------------------------------- */

static int month_of(struct sv name)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	for (int i = 0; i < 12; i++)
		if (memcmp(names + 3 * i, name.data, 3) == 0)
			return i + 1;
	return 0;
}

static int64_t zone_seconds(struct sv zone)
{
	if (zone.data[0] == 'Z')
		return 0;
	struct sv minutes = {zone.data + zone.len - 2, 2}, hours = {zone.data + 1, 2};
	int64_t seconds = number(hours) * 3600 + number(minutes) * 60;
	return zone.data[0] == '-' ? -seconds : seconds;
}

/* Without a year: the latest such day that is not in the future, but for clocks a day apart. */
static int64_t calendar_seconds(struct log_reader *r, struct tm tm, struct sv year, struct sv zone)
{
	time_t now = (time_t)(r->now_ns / NSEC_PER_SEC);
	struct tm today;
	localtime_r(&now, &today);
	tm.tm_year = year.len ? (int)number(year) - 1900 : today.tm_year;
	tm.tm_isdst = -1;
	int64_t seconds = zone.len ? (int64_t)timegm(&tm) - zone_seconds(zone) : (int64_t)mktime(&tm);
	if (!year.len && seconds > (int64_t)now + 86400) {
		tm.tm_year--;
		tm.tm_isdst = -1;
		seconds = (int64_t)mktime(&tm);
	}
	return seconds;
}

static void set_time(struct log_line *l, int64_t seconds, struct sv fraction)
{
	int64_t ns = number(fraction), unit = NSEC_PER_SEC;
	if (seconds < 0 || seconds > SECONDS_MAX || seconds > INT64_MAX / NSEC_PER_SEC - 1)
		return;
	for (size_t i = 0; i < fraction.len; i++)
		unit /= 10;
	l->from_ns = seconds * NSEC_PER_SEC + ns * unit;
	l->to_ns = l->from_ns + unit;
}

static bool find_time(struct log_reader *r, struct sv text, struct log_line *l)
{
	struct sv begin = {text.data, text.len < TIME_WITHIN ? text.len : TIME_WITHIN};
	for (size_t i = 0; i < TIME_PATTERNS; i++) {
		const struct pattern *p = &r->times[i];
		size_t at = 0;
		if (!match_at(r, p, begin, &at))
			continue;
		struct sv unix_time = group(r, p, begin, "unix"), name = group(r, p, begin, "name");
		int64_t seconds = number(unix_time);
		if (!unix_time.len) {
			struct tm tm = {
				.tm_mon = (name.len ? month_of(name) : (int)number(group(r, p, begin, "month"))) - 1,
				.tm_mday = (int)number(group(r, p, begin, "day")),
				.tm_hour = (int)number(group(r, p, begin, "hour")),
				.tm_min = (int)number(group(r, p, begin, "minute")),
				.tm_sec = (int)number(group(r, p, begin, "second"))};
			if (tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
			    tm.tm_min > 59 || tm.tm_sec > 60)
				continue;
			seconds = calendar_seconds(r, tm, group(r, p, begin, "year"), group(r, p, begin, "zone"));
		}
		set_time(l, seconds, group(r, p, begin, "fraction"));
		return l->to_ns != 0;
	}
	return false;
}

/* --- who and what ------------------------------------------------------------------------------------------------- */

static void find_actor(struct log_reader *r, struct sv text, struct log_line *l)
{
	size_t at = 0;
	while (at < text.len && !(l->pid_said && l->tid) && match_at(r, &r->actor, text, &at)) {
		struct sv pid = group(r, &r->actor, text, "pid"), tid = group(r, &r->actor, text, "tid");
		struct sv brackets = group(r, &r->actor, text, "brackets");
		if (pid.len && !l->pid_said) {
			l->pid = (uint32_t)number(pid);
			l->pid_said = true;
		}
		if (brackets.len && !l->pid)
			l->pid = (uint32_t)number(brackets);
		if (tid.len && !l->tid)
			l->tid = (uint32_t)number(tid);
	}
}

static void find_request(struct log_reader *r, struct sv text, struct log_line *l)
{
	size_t at = 0;
	if (!match_at(r, &r->request, text, &at))
		return;
	l->method = group(r, &r->request, text, "method");
	l->path = group(r, &r->request, text, "path");
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

/* The first of these that is there; "a.b" is a member of that name, or b of the object a. */
static json_t *member(json_t *object, const char *const *names)
{
	for (; *names; names++) {
		json_t *value = json_object_get(object, *names);
		const char *dot = strchr(*names, '.');
		if (!value && dot) {
			json_t *outer = json_object_getn(object, *names, (size_t)(dot - *names));
			value = json_object_get(outer, dot + 1);
		}
		if (value)
			return value;
	}
	return NULL;
}

/* A number since 1970: seconds, milliseconds, microseconds or nanoseconds, which its size tells. */
static void json_time(struct log_line *l, json_t *v)
{
	double n = json_number_value(v);
	int64_t unit = NSEC_PER_SEC;
	if (!(n >= 1e8 && n <= 9e18))
		return;
	for (double limit = 1e11; n >= limit && unit > 1; limit *= 1000)
		unit /= 1000;
	/* A double has 15 digits: of seconds with a fraction the microsecond is true. */
	l->from_ns = json_is_integer(v) ? json_integer_value(v) * unit : (int64_t)(n * (double)unit);
	l->to_ns = l->from_ns + (json_is_integer(v) ? unit : unit > 1000 ? 1000 : unit);
}

static void json_actor(json_t *v, uint32_t *ret)
{
	if (json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) <= UINT32_MAX)
		*ret = (uint32_t)json_integer_value(v);
	else if (json_is_string(v) && json_string_length(v) <= 10 &&
		 strspn(json_string_value(v), "0123456789") == json_string_length(v))
		*ret = (uint32_t)number((struct sv){json_string_value(v), json_string_length(v)});
}

static struct sv json_text(json_t *v)
{
	return json_is_string(v) ? (struct sv){json_string_value(v), json_string_length(v)} : SV_NULL;
}

struct sv log_url_path(struct sv url)
{
	const char *host = url.len ? memmem(url.data, url.len, "://", 3) : NULL;
	size_t at = host ? (size_t)(host + 3 - url.data) : 0;
	while (host && at < url.len && !strchr("/?#", url.data[at]))
		at++;
	size_t end = at;
	while (end < url.len && url.data[end] != '?' && url.data[end] != '#')
		end++;
	return url.len ? (struct sv){url.data + at, end - at} : SV_NULL;
}

static void read_object(struct log_reader *r, struct log_line *l)
{
	static const char *const times[] = {"timestamp", "@timestamp", "time", "ts", "date",
					    "datetime",	 "asctime",    "t",    NULL};
	static const char *const pids[] = {"pid", "process.pid", "process_id", "process", NULL};
	static const char *const tids[] = {"tid", "thread_id", "process.thread.id", "thread.id", "thread", NULL};
	static const char *const methods[] = {"method", "http.method", "request_method", "http.request.method", NULL};
	static const char *const paths[] = {"path", "uri", "request_uri", "http.target", "url.path", "url", NULL};
	static const char *const requests[] = {"request", "http.request", NULL};
	json_t *when = member(r->object, times);
	l->empty = json_object_size(r->object) == 0;
	l->correlated = json_object_get(r->object, "dd.trace_id") ||
			json_object_get(json_object_get(r->object, "dd"), "trace_id");
	if (json_is_number(when))
		json_time(l, when);
	else if (json_is_string(when))
		find_time(r, json_text(when), l);
	json_actor(member(r->object, pids), &l->pid);
	l->pid_said = l->pid != 0;
	json_actor(member(r->object, tids), &l->tid);
	l->method = json_text(member(r->object, methods));
	l->path = log_url_path(json_text(member(r->object, paths)));
	if (!l->method.len || !l->path.len) {
		l->method = l->path = SV_NULL;
		find_request(r, json_text(member(r->object, requests)), l);
	}
}

void log_reader_line(struct log_reader *r, struct sv line, struct log_line *ret)
{
	*ret = (struct log_line){0};
	json_decref(r->object);
	r->object = NULL;
	if (!line.len || line.len > LOG_LINE_MAX)
		return;
	if (line.data[0] == '{')
		r->object = json_loadb(line.data, line.len, 0, NULL);
	if (r->object) {
		ret->json = true;
		read_object(r, ret);
		return;
	}
	ret->correlated = memmem(line.data, line.len, "dd.trace_id", 11) != NULL;
	if (!find_time(r, line, ret))
		return;
	find_actor(r, line, ret);
	find_request(r, line, ret);
}
