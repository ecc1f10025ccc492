/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/resident.h"

#define PAGES 16
#define PAGE  4096

/* Kilobytes of the mapping that begins there. */
static long resident_kib(const void *at)
{
	char line[512];
	long kib = -1;
	unsigned long start;
	FILE *f = fopen("/proc/self/smaps", "re");
	while (kib < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-", &start) == 1 && start == (uintptr_t)at && strchr(line, '-'))
			while (kib < 0 && fgets(line, sizeof(line), f))
				sscanf(line, "Rss: %ld kB", &kib);
	fclose(f);
	return kib;
}

static char *map(int fd, int prot)
{
	char *at = mmap(NULL, PAGES * PAGE, prot, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	for (int i = 0; i < PAGES; i++)
		assert_int_equal(((volatile char *)at)[i * PAGE], 'a' + i);
	return at;
}

static void test_only_what_is_in_files(void **state)
{
	(void)state;
	char path[] = "/tmp/test_resident.XXXXXX", page[PAGE];
	int fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	unlink(path);
	for (int i = 0; i < PAGES; i++) {
		memset(page, 'a' + i, sizeof(page));
		assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
	}
	char *clean = map(fd, PROT_READ), *relocated = map(fd, PROT_READ | PROT_WRITE);
	char *writable = map(fd, PROT_READ | PROT_WRITE);
	relocated[5 * PAGE] = 'X';
	assert_int_equal(mprotect(relocated, PAGES * PAGE, PROT_READ), 0);
	writable[3 * PAGE] = 'Y';
	char *heap = malloc(100000);
	memset(heap, 'h', 100000);
	assert_true(resident_kib(clean) > 0);
	resident_trim();
	assert_int_equal(resident_kib(clean), 0);
	assert_true(resident_kib(relocated) > 0);
	for (int i = 0; i < PAGES; i++) {
		assert_int_equal(clean[i * PAGE], 'a' + i);
		assert_int_equal(relocated[i * PAGE], i == 5 ? 'X' : 'a' + i);
		assert_int_equal(writable[i * PAGE], i == 3 ? 'Y' : 'a' + i);
	}
	assert_int_equal(heap[99999], 'h');
	free(heap);
	munmap(clean, PAGES * PAGE);
	munmap(relocated, PAGES * PAGE);
	munmap(writable, PAGES * PAGE);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_is_in_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
