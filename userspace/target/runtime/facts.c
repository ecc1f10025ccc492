/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "target/runtime/runtime.h"

#define FDS_MAX	  65536 /* counted by hand where the kernel does not tell */
#define SMALL_MAX 8192

/* Field n of /proc/PID/stat, from 1, of those behind the name (which may hold anything): 3 is the state. */
static uint64_t stat_field(const char *behind_name, unsigned n)
{
	const char *at = behind_name;
	for (unsigned i = 3; i < n && at; i++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

static uint64_t ticks_ns(uint64_t ticks)
{
	long hz = sysconf(_SC_CLK_TCK);
	return ticks * (NSEC_PER_SEC / (uint64_t)(hz > 0 ? hz : 100));
}

static int read_stat(struct proc *p, struct runtime_facts *ret)
{
	struct sbuf text __cleanup(sbuf_release) = {0};
	struct timespec boot;
	int err = proc_read(p, "stat", SMALL_MAX, &text);
	const char *name_end = text.len ? strrchr(text.data, ')') : NULL;
	if (err || !name_end || name_end[1] != ' ')
		return err ? err : -EBADMSG;
	const char *rest = name_end + 2;
	ret->user_ns = ticks_ns(stat_field(rest, 14));
	ret->system_ns = ticks_ns(stat_field(rest, 15));
	ret->threads = (uint32_t)stat_field(rest, 20);
	ret->rss = stat_field(rest, 24) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t started_ns = ticks_ns(stat_field(rest, 22)), now_ns;
	clock_gettime(CLOCK_BOOTTIME, &boot);
	now_ns = (uint64_t)boot.tv_sec * NSEC_PER_SEC + (uint64_t)boot.tv_nsec;
	ret->age_ns = now_ns > started_ns ? now_ns - started_ns : 0;
	return 0;
}

static uint64_t line_number(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* /proc/PID/status has those of the first thread alone. */
static void read_switches(struct proc *p, struct runtime_facts *ret)
{
	struct sbuf text __cleanup(sbuf_release) = {0};
	int fd = openat(p->dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
	unsigned cnt = 0;
	if (!tasks && fd >= 0)
		close(fd);
	for (struct dirent *e; tasks && cnt < RUNTIME_MAX_THREADS && (e = readdir(tasks));) {
		char name[300];
		if (e->d_name[0] == '.')
			continue;
		cnt++;
		sbuf_reset(&text);
		snprintf(name, sizeof(name), "task/%s/status", e->d_name);
		if (proc_read(p, name, SMALL_MAX, &text) < 0 || !text.len)
			continue;
		ret->voluntary += line_number(text.data, "\nvoluntary_ctxt_switches:");
		ret->involuntary += line_number(text.data, "\nnonvoluntary_ctxt_switches:");
	}
	if (tasks)
		closedir(tasks);
}

/* From Linux 6.2 on the directory's size is the number of its entries. */
static int64_t count_fds(struct proc *p)
{
	struct stat st;
	int fd = openat(p->dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > 0) {
		int64_t size = fd >= 0 && st.st_size > 0 ? st.st_size : -1;
		if (fd >= 0)
			close(fd);
		return size;
	}
	DIR *fds = fdopendir(fd);
	int64_t cnt = 0;
	if (!fds) {
		close(fd);
		return -1;
	}
	for (struct dirent *e; cnt < FDS_MAX && (e = readdir(fds));)
		cnt += e->d_name[0] != '.';
	closedir(fds);
	return cnt;
}

int runtime_facts_read(struct proc *p, uint64_t now_ns, struct runtime_facts *ret)
{
	*ret = (struct runtime_facts){.time_ns = now_ns};
	int err = read_stat(p, ret);
	if (err)
		return err;
	read_switches(p, ret);
	ret->fds = count_fds(p);
	return 0;
}
