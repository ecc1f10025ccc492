/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/resident.h"

/* How each version calls its files. Numbers that mean "no limit" are "max", or near 2^63. */
struct naming {
	const char *controller; /* second field of /proc/self/cgroup */
	const char *folder;	/* below the root */
	const char *limit, *usage, *inactive;
};
static const struct naming namings[] = {
	{"", "", "memory.max", "memory.current", "inactive_file "},
	{"memory", "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
};
#define NO_LIMIT (1ULL << 60)

static bool read_number(const char *path, uint64_t *ret)
{
	__cleanup(fclosep) FILE *f = fopen(path, "re");
	return f && fscanf(f, "%" SCNu64, ret) == 1;
}

/* Takes the limit of this very cgroup if it is tighter. */
static int take_limit(struct memory_limit *m, const struct naming *n, const char *folder)
{
	char *limit = NULL, *usage = NULL, *stat = NULL;
	uint64_t bytes;
	int rc = asprintf(&limit, "%s/%s", folder, n->limit) < 0 ? -ENOMEM : 0;
	if (rc == 0 && read_number(limit, &bytes) && bytes < NO_LIMIT && (!m->bytes || bytes < m->bytes)) {
		if (asprintf(&usage, "%s/%s", folder, n->usage) < 0 || asprintf(&stat, "%s/memory.stat", folder) < 0) {
			free(usage);
			rc = -ENOMEM;
		} else {
			memory_limit_release(m);
			*m = (struct memory_limit){bytes, usage, stat};
		}
	}
	free(limit);
	return rc;
}

/* From the cgroup up to the root: what a container sees as the root is its own. */
static int look_up(struct memory_limit *m, const struct naming *n, const char *root, const char *path)
{
	char *folder;
	if (asprintf(&folder, "%s%s%s", root, n->folder, path) < 0)
		return -ENOMEM;
	size_t top = strlen(root) + strlen(n->folder);
	int rc;
	do {
		rc = take_limit(m, n, folder);
		char *slash = strrchr(folder + top, '/');
		if (!slash)
			break;
		*slash = '\0';
	} while (rc == 0);
	free(folder);
	return rc;
}

/* "4:memory:/path" or "0::/path". */
static int look_at_line(struct memory_limit *m, const char *root, char *line)
{
	char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
	int rc = 0;
	if (!path)
		return 0;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	for (size_t i = 0; i < sizeof(namings) / sizeof(namings[0]) && rc == 0; i++)
		if (strcmp(controllers + 1, namings[i].controller) == 0)
			rc = look_up(m, &namings[i], root, strcmp(path, "/") ? path : "");
	return rc;
}

int memory_limit_init(struct memory_limit *m, uint64_t wanted, const char *proc_self, const char *root)
{
	*m = (struct memory_limit){.bytes = wanted};
	if (wanted)
		return 0;
	__cleanup(fclosep) FILE *f = fopen(proc_self, "re");
	char line[4096 + 64]; /* PATH_MAX */
	int rc = 0;
	while (f && rc == 0 && fgets(line, sizeof(line), f))
		rc = look_at_line(m, root, line);
	return rc;
}

void memory_limit_release(struct memory_limit *m)
{
	free(m->usage);
	free(m->stat);
	*m = (struct memory_limit){0};
}

uint64_t memory_used(const struct memory_limit *m)
{
	uint64_t used, inactive = 0;
	char line[128];
	if (!m->usage || !read_number(m->usage, &used))
		return resident_bytes();
	__cleanup(fclosep) FILE *f = fopen(m->stat, "re");
	while (f && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < sizeof(namings) / sizeof(namings[0]); i++)
			if (strncmp(line, namings[i].inactive, strlen(namings[i].inactive)) == 0)
				inactive = strtoull(line + strlen(namings[i].inactive), NULL, 10);
	return used > inactive ? used - inactive : 0;
}
