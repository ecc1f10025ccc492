/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static char said[1 << 16];

/* What is written to stderr meanwhile. */
static int begin(void)
{
	char path[] = "/tmp/test_log.XXXXXX";
	int saved = dup(STDERR_FILENO), fd = mkstemp(path);
	unlink(path);
	dup2(fd, STDERR_FILENO);
	close(fd);
	return saved;
}

static const char *end(int saved)
{
	ssize_t n = pread(STDERR_FILENO, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	dup2(saved, STDERR_FILENO);
	close(saved);
	return said;
}

static unsigned lines(const char *text)
{
	unsigned cnt = 0;
	for (; *text; text++)
		cnt += *text == '\n';
	return cnt;
}

static void test_formats(void **state)
{
	(void)state;
	int saved = begin();
	log_warn("a \"quoted\"\tword");
	log_format = LOG_JOURNAL;
	log_error("bad");
	log_info("good");
	log_format = LOG_JSON;
	log_warn("a \"quoted\"\tword \xff");
	log_format = LOG_TEXT;
	log_debug("not said");
	const char *text = end(saved);
	const char *want = "spanhound: warning: a \"quoted\"\tword\n<3>bad\n<6>good\n{\"time\":\"2";
	assert_memory_equal(text, want, strlen(want));
	assert_non_null(strstr(text, "\"level\":\"warning\",\"message\":\"a \\\"quoted\\\""));
	assert_int_equal(lines(text), 4);
}

static void test_limit(void **state)
{
	(void)state;
	int saved = begin();
	log_limit(3600 * 1000000000ULL);
	for (int i = 0; i < 1000; i++)
		log_warn("process %d is gone", i);
	log_info("something else");
	log_limit(1);
	log_tick();
	log_warn("process 7 is gone");
	log_limit(0);
	log_tick();
	const char *text = end(saved);
	assert_int_equal(lines(text), LOG_LIMIT_BURST + 3);
	assert_non_null(strstr(text, "warning: repeated 990 times: process 0 is gone\n"));
	assert_non_null(strstr(text, "spanhound: something else\n"));
}

/* More different messages than are remembered: nothing is lost, nothing grows. */
static void test_many_messages(void **state)
{
	(void)state;
	int saved = begin();
	log_limit(3600 * 1000000000ULL);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 26 * 26; i++)
			log_info("message %c%c", 'a' + i / 26, 'a' + i % 26);
	log_limit(0);
	assert_int_equal(lines(end(saved)), 3 * 26 * 26);
}

static void test_journal(void **state)
{
	struct stat st;
	char text[64];
	(void)state;
	fstat(STDERR_FILENO, &st);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", text, 1);
	assert_true(log_is_journal());
	setenv("JOURNAL_STREAM", "1:2", 1);
	assert_false(log_is_journal());
	unsetenv("JOURNAL_STREAM");
	assert_false(log_is_journal());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_many_messages),
		cmocka_unit_test(test_journal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
