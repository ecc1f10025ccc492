/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a probe list: reading them, what they include, and who may write them. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "probe/list_read.h"

#define INCLUDED_MAX 256 /* files */

struct list_loader {
	struct list_reader reader;
	const char *path;
	bool guarded;
	unsigned included;
};

static int read_all(int fd, struct sbuf *text)
{
	while (text->len <= YAML_MAX_SZ) {
		char *at = sbuf_reserve(text, 16384);
		if (!at)
			return -ENOMEM;
		ssize_t n = read(fd, at, 16384);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		text->len += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Who can write the file, or put another in its place, decides what is probed and where it is sent. */
static const char *who_may_write(const struct stat *st, bool folder)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "belongs to somebody else than root and us";
	if (st->st_mode & S_IWOTH && !(folder && st->st_mode & S_ISVTX))
		return "can be written by everybody";
	return NULL;
}

static int check_guarded(int fd, const char *path, const char *subject, struct sbuf *why)
{
	char folder[PATH_MAX];
	struct stat st;
	struct statvfs fs;
	if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode)) {
		sbuf_addf(why, "%s is no file", subject);
		return -EINVAL;
	}
	if (fs.f_flag & ST_RDONLY)
		return 0; /* a ConfigMap, say, in a folder of mode 0777 */
	const char *reason = who_may_write(&st, false);
	if (reason) {
		sbuf_addf(why, "%s %s; whoever writes it decides what is traced (chmod o-w, chown root)", subject,
			  reason);
		return -EPERM;
	}
	snprintf(folder, sizeof(folder), "%s", path);
	const char *name = dirname(folder);
	reason = stat(name, &st) == 0 ? who_may_write(&st, true) : NULL;
	if (!reason)
		return 0;
	sbuf_addf(why, "%s is in %s, which %s: another file can be put in its place", subject, name, reason);
	return -EPERM;
}

/* 0, or -errno with a sentence about `subject` in `why`. */
static int read_file(const char *path, const char *subject, bool guarded, struct sbuf *text, struct sbuf *why)
{
	/* A FIFO in place of a daemon's file would be waited for. */
	__cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | (guarded ? O_NONBLOCK : 0));
	int err = fd < 0 ? -errno : 0;
	if (!err && guarded)
		err = check_guarded(fd, path, subject, why);
	if (!err)
		err = read_all(fd, text);
	if (err && why->len == 0)
		sbuf_addf(why, "cannot read %s: %s", subject, strerror(-err));
	return err;
}

static int include_file(struct list_loader *l, const char *path, struct source_pos pos)
{
	struct sbuf text __cleanup(sbuf_release) = {0}, why __cleanup(sbuf_release) = {0};
	struct list_reader r = l->reader;
	struct diagnostics *d = r.src.d;
	if (++l->included > INCLUDED_MAX) {
		diagnostics_error(d, pos, "include: more than %d files", INCLUDED_MAX);
		return -EINVAL;
	}
	int err = read_file(path, path, l->guarded, &text, &why);
	if (err) {
		diagnostics_error(d, pos, "include: %s", sbuf_str(&why));
		return err;
	}
	if (text.len > YAML_MAX_SZ) {
		diagnostics_error(d, pos, "include: %s is more than %d KiB", path, YAML_MAX_SZ >> 10);
		return -EINVAL;
	}
	diagnostics_open_source(d, sv_of(path), sbuf_sv(&text));
	r.src.text = (struct sv){text.data ? text.data : "", text.len};
	err = list_read_source(&r, &list_include_map);
	diagnostics_close_source(d);
	return err;
}

/* A folder's files in the order of their names; a glob that finds none is no mistake, a name is. */
static int include_glob(struct list_loader *l, const struct probe_glob *what)
{
	char folder[PATH_MAX], pattern[PATH_MAX];
	glob_t found;
	snprintf(folder, sizeof(folder), "%s", l->path);
	bool absolute = what->text.data[0] == '/';
	int len = snprintf(pattern, sizeof(pattern), "%s%s" SV_FMT, absolute ? "" : dirname(folder),
			   absolute ? "" : "/", SV_ARG(what->text));
	if (len >= (int)sizeof(pattern)) {
		diagnostics_error(l->reader.src.d, what->pos, "include: the path is too long");
		return -EINVAL;
	}
	int rc = glob(pattern, 0, NULL, &found);
	if (rc == GLOB_NOSPACE)
		return -ENOMEM;
	if (rc != 0 && !strpbrk(pattern, "*?["))
		return include_file(l, pattern, what->pos);
	int err = 0;
	for (size_t i = 0; rc == 0 && i < found.gl_pathc && err != -ENOMEM; i++)
		err = include_file(l, found.gl_pathv[i], what->pos);
	if (rc == 0)
		globfree(&found);
	return err;
}

static int load(struct probe_list **ret, const char *path, bool guarded, struct diagnostics *d)
{
	struct sbuf text __cleanup(sbuf_release) = {0}, why __cleanup(sbuf_release) = {0};
	*ret = NULL;
	int err = read_file(path, "the probe list", guarded, &text, &why);
	if (err) {
		diagnostics_set_source(d, sv_of(path), SV(""));
		diagnostics_error(d, ((struct source_pos){0}), "%s", sbuf_str(&why));
		return err;
	}
	uint32_t before = d->error_cnt;
	err = probe_list_parse(ret, path, text.data ? text.data : "", text.len, d);
	struct probe_list *list = *ret;
	struct list_loader l = {
		.reader = {.src = {.d = d}, .list = list, .target = -1}, .path = path, .guarded = guarded};
	for (size_t i = 0; list && i < list->includes.cnt && err != -ENOMEM; i++)
		if (include_glob(&l, &list->includes.data[i]) == -ENOMEM)
			err = -ENOMEM;
	if (err == -ENOMEM) {
		probe_list_free(list);
		*ret = NULL;
		return err;
	}
	return err ? err : d->error_cnt > before ? -EINVAL : 0;
}

int probe_list_load(struct probe_list **ret, const char *path, struct diagnostics *d)
{
	return load(ret, path, false, d);
}

int probe_list_load_guarded(struct probe_list **ret, const char *path, struct diagnostics *d)
{
	return load(ret, path, true, d);
}
