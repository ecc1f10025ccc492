/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* Messages for people, on stderr, each behind "spanhound: ". Only app/ says more than log_debug():
 * libraries describe what happened in a `struct sbuf *err`, and the caller prints it. Any thread. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern enum log_level log_level;

enum log_format {
	LOG_TEXT,
	LOG_JSON,    /* one object a line: time (RFC 3339, UTC), level, message */
	LOG_JOURNAL, /* text behind a priority as sd-daemon(3) has it: "<4>...", which the journal understands */
};
extern enum log_format log_format;
/* $JOURNAL_STREAM names what stderr is (systemd.exec(5)). */
bool log_is_journal(void);

/* A daemon says the same at most LOG_LIMIT_BURST times in an interval; log_tick() tells how often more it would have. What
 * differs only in numbers is the same. Errors and debug messages are limited, too. 0: no limit (the beginning). */
#define LOG_LIMIT_BURST 10
void log_limit(uint64_t interval_ns);
void log_tick(void);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                     \
	do {                                               \
		if (log_level >= LOG_DEBUG)                \
			log_write(LOG_DEBUG, __VA_ARGS__); \
	} while (0)

#endif
