/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum log_level log_level = LOG_INFO;

void log_write(enum log_level level, const char *fmt, ...)
{
	static const char *const mark[] = {"error: ", "warning: ", "", "debug: "};
	if (level > log_level)
		return;
	int saved = errno;
	/* One write per line, so that lines of several threads do not mix. */
	char line[2048];
	int n = snprintf(line, sizeof(line), "spanhound: %s", mark[level]);
	va_list ap;
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		m = 0;
	size_t len = (size_t)n + (size_t)m;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len] = '\n';
	ssize_t done = write(STDERR_FILENO, line, len + 1);
	(void)done;
	errno = saved;
}
