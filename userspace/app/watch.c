/* SPDX-License-Identifier: Apache-2.0 */
#include "app/watch.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/cleanup.h"

#define WATCHED (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB | IN_ONLYDIR)

static int watch_folder_of(struct watch *w, const char *path)
{
	char folder[PATH_MAX];
	if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
		return -ENAMETOOLONG;
	return inotify_add_watch(w->fd, dirname(folder), WATCHED) < 0 ? -errno : 0;
}

void watch_more(struct watch *w, const char *path, const struct probe_list *list)
{
	char folder[PATH_MAX], file[2 * PATH_MAX];
	snprintf(folder, sizeof(folder), "%s", path);
	const char *base = dirname(folder);
	vec_foreach (include, &list->includes) {
		bool absolute = include->text.len && include->text.data[0] == '/';
		snprintf(file, sizeof(file), "%s%s" SV_FMT, absolute ? "" : base, absolute ? "" : "/",
			 SV_ARG(include->text));
		watch_folder_of(w, file); /* it may not be there yet: then SIGHUP tells */
	}
}

int watch_open(struct watch *w, const char *path, const struct probe_list *list)
{
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->fd < 0)
		return -errno;
	int rc = watch_folder_of(w, path);
	if (rc < 0)
		watch_close(w);
	else
		watch_more(w, path, list);
	return rc;
}

void watch_close(struct watch *w)
{
	closep(&w->fd);
	w->fd = -1;
}

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);
	return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

/* "..data" is how a kubelet puts a whole folder in place. What is none is found to be the same after reading it. */
static bool may_be_ours(const char *name)
{
	return ends_with(name, ".yaml") || ends_with(name, ".yml") || strncmp(name, "..", 2) == 0 || !strchr(name, '.');
}

bool watch_changed(struct watch *w)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool changed = false;
	ssize_t n;
	while ((n = read(w->fd, buf, sizeof(buf))) > 0) {
		for (char *at = buf; at < buf + n;) {
			const struct inotify_event *e = (const struct inotify_event *)at;
			changed |= e->mask & IN_Q_OVERFLOW || !e->len || may_be_ours(e->name);
			at += sizeof(*e) + e->len;
		}
	}
	return changed;
}
