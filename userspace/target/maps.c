/* SPDX-License-Identifier: Apache-2.0 */
#include "target/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/regular.h"
#include "target/text.h"

int maps_read(struct proc *p, struct sbuf *out)
{
	int err = proc_read(p, "maps", PROC_MAX_MAPS, out);
	if (err != -EFBIG)
		return err;
	while (out->len && out->data[out->len - 1] != '\n')
		out->len--;
	return 0;
}

/* The kernel writes a newline in a name as \012, and nothing else: seq_file_path(m, vma->vm_file, "\n"). */
static size_t unescape_newlines(char *s, size_t len)
{
	size_t to = 0;
	for (size_t i = 0; i < len; i++) {
		if (len - i >= 4 && memcmp(s + i, "\\012", 4) == 0) {
			s[to++] = '\n';
			i += 3;
		} else {
			s[to++] = s[i];
		}
	}
	return to;
}

static bool take(struct sv *s, char c)
{
	if (!s->len || s->data[0] != c)
		return false;
	*s = (struct sv){s->data + 1, s->len - 1};
	return true;
}

/* "start-end perms offset major:minor inode   path" */
static bool parse_line(struct sv line, struct proc_map *m)
{
	uint64_t major, minor;
	if (!text_u64(&line, 16, &m->start) || !take(&line, '-') || !text_u64(&line, 16, &m->end))
		return false;
	struct sv perms = text_word(&line);
	if (perms.len != 4 || perms.data[2] != 'x' || m->end <= m->start)
		return false;
	struct sv word = text_word(&line);
	if (!text_u64(&word, 16, &m->offset) || word.len)
		return false;
	word = text_word(&line);
	if (!text_u64(&word, 16, &major) || !take(&word, ':') || !text_u64(&word, 16, &minor) || word.len)
		return false;
	word = text_word(&line);
	if (!text_u64(&word, 10, &m->ino) || word.len || !m->ino)
		return false;
	m->dev = makedev((unsigned int)major, (unsigned int)minor);
	while (line.len && line.data[0] == ' ')
		line = (struct sv){line.data + 1, line.len - 1};
	m->path = line;
	return line.len > 0;
}

bool maps_next(struct maps_iter *it, struct proc_map *ret)
{
	while (it->at && it->at < it->end) {
		char *line = it->at, *eol = memchr(line, '\n', (size_t)(it->end - line));
		if (!eol) /* cut: not a whole line */
			return false;
		it->at = eol + 1;
		struct proc_map m = {0};
		if (!parse_line((struct sv){line, (size_t)(eol - line)}, &m))
			continue;
		char *path = line + (m.path.data - line);
		m.path.len = unescape_newlines(path, m.path.len);
		m.deleted = text_ends(m.path, SV(" (deleted)"));
		if (m.deleted)
			m.path.len -= 10;
		path[m.path.len] = '\0';
		*ret = m;
		return true;
	}
	return false;
}

static int open_map_file(struct proc *p, const struct proc_map *m, int *ret_fd)
{
	char name[64];
	struct stat st;
	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, m->start, m->end);
	__cleanup(closep) int fd = openat(p->dir, name, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* Another file may have been mapped there since the text was read; its inode number is never rewritten. */
	if (st.st_ino != m->ino && st.st_dev == m->dev)
		return -ENOENT;
	return regular_reopen(fd, ret_fd);
}

/* btrfs gives each subvolume, and overlayfs over several file systems each file, a device number of stat(2)'s own. */
static bool device_may_differ(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && (fs.f_type == BTRFS_SUPER_MAGIC || fs.f_type == OVERLAYFS_SUPER_MAGIC);
}

static int open_by_name(struct proc *p, const struct proc_map *m, int *ret_fd)
{
	/* The process may have put symbolic links there since: they are to lead into its root, not ours. */
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	struct sbuf full = {0};
	struct stat st;
	__cleanup(closep) int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	int err = -ENOENT;
	/* A name that really ends in " (deleted)" cannot be told apart in maps, but by the file. */
	for (int with_suffix = m->deleted; with_suffix >= 0; with_suffix--) {
		sbuf_reset(&full);
		sbuf_addsv(&full, m->path);
		sbuf_adds(&full, with_suffix ? " (deleted)" : "");
		if (full.failed)
			break;
		__cleanup(closep) int fd = (int)syscall(SYS_openat2, root, full.data, &how, sizeof(how));
		if (fd < 0 || fstat(fd, &st) < 0) {
			err = -errno;
			continue;
		}
		err = -ESTALE;
		if (st.st_ino == m->ino && (st.st_dev == m->dev || device_may_differ(fd))) {
			err = regular_reopen(fd, ret_fd);
			break;
		}
	}
	sbuf_release(&full);
	return err;
}

int maps_open(struct proc *p, const struct proc_map *m, int *ret_fd)
{
	if (p->dir < 0)
		return -ESRCH;
	int by_range = open_map_file(p, m, ret_fd);
	if (!by_range)
		return 0;
	int by_name = open_by_name(p, m, ret_fd);
	if (!by_name)
		return 0;
	/* Without permission for the first way, the second one's answer is the telling one. */
	int err = by_range == -EPERM || by_range == -EACCES || by_range == -ENOENT ? by_name : by_range;
	return err == -ESTALE || err == -EINVAL ? err : proc_error(p, -err);
}
