/* SPDX-License-Identifier: Apache-2.0 */
/* A whole process made of the input: its parts, separated by "\n--\n", become the files of a directory that looks
 * like /proc, and the process is identified and matched. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target/identify.h"
#include "target/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[] = "/dev/shm/fuzz-identify-XXXXXX";
static const char *const files[] = {"cmdline", "environ", "cgroup", "status", "maps", "stat"};
#define FILES (sizeof(files) / sizeof(files[0]))
static int fds[FILES];
static struct languages *known;

static void remove_tree(void)
{
	char path[128];
	for (size_t i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/7/%s", root, files[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/7/exe", root);
	unlink(path);
	snprintf(path, sizeof(path), "%s/7/cwd", root);
	unlink(path);
	snprintf(path, sizeof(path), "%s/7", root);
	rmdir(path);
	rmdir(root);
}

static void make_tree(void)
{
	char path[128];
	if (!mkdtemp(root))
		abort();
	snprintf(path, sizeof(path), "%s/7", root);
	mkdir(path, 0700);
	for (size_t i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/7/%s", root, files[i]);
		fds[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fds[i] < 0)
			abort();
	}
	snprintf(path, sizeof(path), "%s/7/cwd", root);
	if (symlink("/srv/shop", path))
		abort();
	atexit(remove_tree);
}

static void set(size_t file, const void *data, size_t len)
{
	if (ftruncate(fds[file], 0) || pwrite(fds[file], data, len, 0) != (ssize_t)len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char good_stat[] = "7 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0";
	static const char *const exes[] = {"/usr/bin/python3.11", "/usr/bin/node", "/usr/bin/java",
					   "/opt/shop/bin/server"};
	struct sv cmd[] = {SV("*a*b*")};
	struct target_spec spec = {.names = {cmd, 1, 1}, .cmdlines = {cmd, 1, 1}, .containers = {cmd, 1, 1}};
	struct proc p = PROC_INIT;
	struct process_info *info;
	char path[128];
	if (!fds[0])
		make_tree();
	if (!known) /* not the interpreters of this machine anew for every input */
		known = languages_new();
	if (!size)
		return 0;
	snprintf(path, sizeof(path), "%s/7/exe", root);
	unlink(path);
	if (data[0] % 5 < 4 && symlink(exes[data[0] % 5], path))
		abort();
	const uint8_t *at = data + 1, *end = data + size;
	for (size_t i = 0; i < FILES; i++) {
		const uint8_t *stop = at < end ? memmem(at, (size_t)(end - at), "\n--\n", 4) : NULL;
		size_t len = (size_t)((stop ? stop : end) - at);
		if (i == 5 && !len)
			set(i, good_stat, sizeof(good_stat) - 1);
		else
			set(i, at, len);
		at = stop ? stop + 4 : end;
	}
	if (proc_open(&p, root, 7) == 0) {
		struct identify_options o = {.hostname = SV("box"), .languages = known};
		target_matches(&spec, &p, NULL);
		if (identify_process(&p, &o, &info) == 0) {
			if (!info->service.len)
				abort();
			process_info_unref(process_info_ref(info));
			process_info_unref(info);
		}
	}
	proc_close(&p);
	return 0;
}
