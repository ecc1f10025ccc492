/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sbuf.h"

#define TEXT_MAX   2048
#define KEYS	   64  /* messages that are counted at a time; the one said longest ago makes room */
#define REMEMBERED 160 /* bytes of a message, to be repeated */

enum log_level log_level = LOG_INFO;
enum log_format log_format = LOG_TEXT;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static struct {
	pthread_mutex_t lock;
	uint64_t interval_ns;
	struct key {
		uint64_t hash; /* 0: free */
		uint64_t since_ns;
		uint32_t said, held_back;
		enum log_level level;
		char text[REMEMBERED];
	} keys[KEYS];
} limits = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool log_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

static void add_time(struct sbuf *out)
{
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	sbuf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		  tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000);
}

/* One write per line, so that lines of several threads do not mix. */
static void emit(enum log_level level, struct sv text)
{
	static const char *const mark[] = {"error: ", "warning: ", "", "debug: "};
	static const int priority[] = {3, 4, 6, 7}; /* of syslog(3) */
	struct sbuf line = {0};
	if (log_format == LOG_JSON) {
		sbuf_adds(&line, "{\"time\":\"");
		add_time(&line);
		sbuf_addf(&line, "\",\"level\":\"%s\",\"message\":", level_names[level]);
		sbuf_add_json(&line, text);
		sbuf_addc(&line, '}');
	} else if (log_format == LOG_JOURNAL) {
		sbuf_addf(&line, "<%d>" SV_FMT, priority[level], SV_ARG(text));
	} else {
		sbuf_addf(&line, "spanhound: %s" SV_FMT, mark[level], SV_ARG(text));
	}
	sbuf_addc(&line, '\n');
	ssize_t done = write(STDERR_FILENO, sbuf_str(&line), line.len);
	(void)done;
	sbuf_release(&line);
}

/* FNV-1a without the digits. */
static uint64_t hash_text(struct sv text)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] < '0' || text.data[i] > '9')
			hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3;
	return hash ? hash : 1;
}

static void key_report(struct key *k)
{
	char text[REMEMBERED + 64];
	if (k->held_back) {
		int n = snprintf(text, sizeof(text), "repeated %u times: %s", k->held_back, k->text);
		emit(k->level, (struct sv){text, (size_t)n});
	}
	*k = (struct key){0};
}

static struct key *key_of(uint64_t hash)
{
	struct key *oldest = &limits.keys[0];
	for (unsigned i = 0; i < KEYS; i++) {
		struct key *k = &limits.keys[i];
		if (k->hash == hash)
			return k;
		if (k->since_ns < oldest->since_ns)
			oldest = k;
	}
	key_report(oldest);
	return oldest;
}

/* Under the lock. */
static bool is_admitted(enum log_level level, struct sv text)
{
	uint64_t now = clock_mono_ns(), hash = hash_text(text);
	struct key *k = key_of(hash);
	if (k->hash && now - k->since_ns >= limits.interval_ns)
		key_report(k);
	if (!k->hash) {
		*k = (struct key){.hash = hash, .since_ns = now, .level = level};
		snprintf(k->text, sizeof(k->text), SV_FMT, SV_ARG(text));
	}
	bool admitted = k->said < LOG_LIMIT_BURST;
	k->said += admitted;
	k->held_back += !admitted;
	return admitted;
}

void log_limit(uint64_t interval_ns)
{
	pthread_mutex_lock(&limits.lock);
	limits.interval_ns = interval_ns;
	pthread_mutex_unlock(&limits.lock);
}

void log_tick(void)
{
	uint64_t now = clock_mono_ns();
	pthread_mutex_lock(&limits.lock);
	for (unsigned i = 0; i < KEYS; i++) {
		struct key *k = &limits.keys[i];
		if (k->hash && now - k->since_ns >= limits.interval_ns)
			key_report(k);
	}
	pthread_mutex_unlock(&limits.lock);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	if (level > log_level)
		return;
	int saved = errno;
	char text[TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	struct sv said = {text, len};
	pthread_mutex_lock(&limits.lock);
	if (!limits.interval_ns || is_admitted(level, said))
		emit(level, said);
	pthread_mutex_unlock(&limits.lock);
	errno = saved;
}
