/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_COMPILED_H
#define TESTS_UNIT_COMPILED_H

/* Programs a test compiles for itself, in a directory that goes away with it. After cmocka.h. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "binary/elf.h"

static char compiled_dir[] = "/tmp/spanhound-unit-XXXXXX";

/* Runs a shell command in the directory; it has to succeed. */
__attribute__((format(printf, 1, 2), unused)) static void compiled_run(const char *fmt, ...)
{
	struct sbuf cmd = {0};
	sbuf_addf(&cmd, "cd %s && ", compiled_dir);
	va_list ap;
	va_start(ap, fmt);
	sbuf_vaddf(&cmd, fmt, ap);
	va_end(ap);
	if (system(sbuf_str(&cmd)) != 0)
		fail_msg("failed: %s", sbuf_str(&cmd));
	sbuf_release(&cmd);
}

__attribute__((unused)) static void compiled_source(const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", compiled_dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* Absolute, or in the directory. */
__attribute__((unused)) static struct elf *compiled_open(const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", compiled_dir, name);
	__cleanup(closep) int fd = open(name[0] == '/' ? name : path, O_RDONLY | O_CLOEXEC);
	struct elf *elf = NULL;
	struct sbuf err = {0};
	if (fd < 0)
		fail_msg("%s: cannot open", name);
	if (elf_open(&elf, fd, &err) < 0)
		fail_msg("%s %s", name, sbuf_str(&err));
	sbuf_release(&err);
	return elf;
}

/* One number from a shell command. */
__attribute__((format(printf, 1, 2), unused)) static long compiled_count(const char *fmt, ...)
{
	struct sbuf cmd = {0};
	sbuf_addf(&cmd, "cd %s && ", compiled_dir);
	va_list ap;
	va_start(ap, fmt);
	sbuf_vaddf(&cmd, fmt, ap);
	va_end(ap);
	FILE *p = popen(sbuf_str(&cmd), "r");
	assert_non_null(p);
	long n = -1;
	if (fscanf(p, "%ld", &n) != 1)
		fail_msg("no number from: %s", sbuf_str(&cmd));
	pclose(p);
	sbuf_release(&cmd);
	return n;
}

__attribute__((unused)) static int compiled_setup(void **state)
{
	(void)state;
	return mkdtemp(compiled_dir) ? 0 : -1;
}

__attribute__((unused)) static int compiled_teardown(void **state)
{
	(void)state;
	char cmd[256];
	snprintf(cmd, sizeof(cmd), "rm -rf %s", compiled_dir);
	return system(cmd);
}

#endif
