/* SPDX-License-Identifier: Apache-2.0 */
#include "base/resident.h"

#include <inttypes.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

struct mapping {
	uintptr_t start, end;
	bool clean; /* of a file, private, nobody writes to it: but for pages that were changed before, which are anonymous */
};

/* "START-END PERMS OFFSET DEV INODE PATH", proc_pid_maps(5). */
static bool mapping_parse(const char *line, struct mapping *ret)
{
	uintptr_t start, end;
	char perms[5];
	uint64_t inode;
	if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*x:%*x %" SCNu64, &start, &end, perms, &inode) != 4)
		return false;
	*ret = (struct mapping){start, end, inode && perms[0] == 'r' && perms[1] == '-' && perms[3] == 'p'};
	return true;
}

void resident_trim(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
	__cleanup(fclosep) FILE *f = fopen("/proc/self/smaps", "re");
	struct mapping m = {0};
	char line[512];
	uint64_t kib;
	while (f && fgets(line, sizeof(line), f)) {
		if (mapping_parse(line, &m))
			continue;
		/* Relocated pages, and those with a breakpoint of somebody else's, are not in the file. */
		if (sscanf(line, "Anonymous: %" SCNu64 " kB", &kib) == 1 && kib == 0 && m.clean)
			madvise((void *)m.start, m.end - m.start, MADV_DONTNEED);
	}
}

uint64_t resident_bytes(void)
{
	__cleanup(fclosep) FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long size, pages = 0;
	return f && fscanf(f, "%llu %llu", &size, &pages) == 2 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
