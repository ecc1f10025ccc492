/* SPDX-License-Identifier: Apache-2.0 */
#include "base/regular.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

int regular_reopen(int path_fd, int *ret_fd)
{
	struct stat st;
	char self[32];
	if (fstat(path_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISLNK(st.st_mode) ? -ELOOP : -EINVAL;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", path_fd);
	int fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int regular_open_in_root(int root_fd, const char *path, int *ret_fd)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	__cleanup(closep) int named = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	return named < 0 ? -errno : regular_reopen(named, ret_fd);
}

int regular_open_dir_in_root(int root_fd, const char *path, int *ret_fd)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int regular_open_at(int dir_fd, const char *name, int *ret_fd)
{
	__cleanup(closep) int named = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return named < 0 ? -errno : regular_reopen(named, ret_fd);
}
