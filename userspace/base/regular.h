/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_REGULAR_H
#define BASE_REGULAR_H

/* Opening files whose names a target chose, and may exchange at any moment: for reading, only what is a regular file, and
 * never anything else even for a moment. To open a device does something to it (a watchdog starts, a tape rewinds), and to
 * open a FIFO waits; so the name is first taken without opening (O_PATH), and what it was then is opened.
 *
 * 0 and *ret_fd, or -errno: -EINVAL is no regular file, -ELOOP a link where none may be. */

/* `path` as the process sees it whose root directory is `root_fd`: links and ".." lead below it and nowhere else, and
 * magic links of /proc nowhere at all (openat2(2), RESOLVE_IN_ROOT). Where a sandbox denies that call the file is not
 * opened: there is no other way that is as safe. */
int regular_open_in_root(int root_fd, const char *path, int *ret_fd);
/* Likewise a directory, to be listed; -ENOTDIR. */
int regular_open_dir_in_root(int root_fd, const char *path, int *ret_fd);
/* `name` is one component, in the directory `dir_fd`; a link is refused. */
int regular_open_at(int dir_fd, const char *name, int *ret_fd);
/* What an O_PATH descriptor names. */
int regular_reopen(int path_fd, int *ret_fd);

#endif
