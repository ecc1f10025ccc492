/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_WATCH_H
#define APP_WATCH_H

#include "probe/list.h"

/* Whether the files of a configuration may have changed: inotify on the folders they are in, since editors and mounted
 * ConfigMaps put another file, or another folder, in the place of the old one. */
struct watch {
	int fd; /* readable: watch_changed(); -1: nothing is watched */
};

/* The folder of `path`, and those that `include:` names. 0 or -errno. */
int watch_open(struct watch *w, const char *path, const struct probe_list *list);
/* Other folders are included now. What changes meanwhile is not missed. */
void watch_more(struct watch *w, const char *path, const struct probe_list *list);
void watch_close(struct watch *w);
/* Takes what came; true: one of it may be ours. */
bool watch_changed(struct watch *w);

#endif
