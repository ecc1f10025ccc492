/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/* Messages for people, on stderr, each behind "spanhound: ". Only app/ says more than log_debug():
 * libraries describe what happened in a `struct sbuf *err`, and the caller prints it. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern enum log_level log_level;

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
