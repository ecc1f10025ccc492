/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_MAPS_H
#define TARGET_MAPS_H

#include "target/procfs.h"

/* A file that a process has mapped as code. */
struct proc_map {
	uint64_t start, end; /* addresses in the process */
	uint64_t offset;     /* of `start` in the file, bytes */
	dev_t dev;	     /* of the file's superblock: on btrfs and some overlayfs not what stat(2) says */
	uint64_t ino;
	struct sv path; /* in the process's mount namespace, without " (deleted)"; NUL-terminated */
	bool deleted;	/* the name is gone, or was given to another file since */
};

/* Walks /proc/PID/maps text: executable mappings of files only (no [vdso], no anonymous memory).
 *   struct maps_iter it = MAPS_ITER(&buf); struct proc_map m; while (maps_next(&it, &m)) ...
 * The text is changed in place and must outlive the maps. Lines the kernel would not write are skipped. */
struct maps_iter {
	char *at;
	char *end;
};
#define MAPS_ITER(buf) ((struct maps_iter){(buf)->data, (buf)->data ? (buf)->data + (buf)->len : NULL})
bool maps_next(struct maps_iter *it, struct proc_map *ret);

int maps_read(struct proc *p, struct sbuf *out);

/* The mapped file, read-only; the descriptor is the caller's. First by /proc/PID/map_files, which is that very file
 * even when it is deleted, replaced, or in a mount namespace we cannot walk (asks for CAP_CHECKPOINT_RESTORE or
 * CAP_SYS_ADMIN); then by its name below /proc/PID/root, believed only when device and inode agree.
 * -ESTALE: another file has the name now. -ENOENT: unmapped since, or deleted. -EINVAL: not a regular file. */
int maps_open(struct proc *p, const struct proc_map *m, int *ret_fd);

#endif
