/* SPDX-License-Identifier: Apache-2.0 */
#include "target/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/regular.h"
#include "target/text.h"

enum fact { FACT_EXE, FACT_CWD, FACT_CMDLINE, FACT_ENVIRON, FACT_STATUS, FACT_CGROUP };

static const struct sv deleted_suffix = {" (deleted)", 10}; /* d_path() of the kernel's fs/d_path.c */

bool proc_gone(const struct proc *p)
{
	int dir = p->leader >= 0 ? p->leader : p->dir;
	return dir < 0 || faccessat(dir, "stat", F_OK, 0) < 0;
}

int proc_error(struct proc *p, int err)
{
	if (err == EACCES || err == EPERM) {
		p->denied = true;
		return -EACCES;
	}
	/* A directory of a dead process answers ENOENT to every name, an open file of it ESRCH. */
	if (err == ESRCH || (err == ENOENT && proc_gone(p)))
		return -ESRCH;
	return -err;
}

/* maps comes a page at a time; the other files give what is asked for, so that less than that is their end. */
enum read_until { READ_TO_SHORT, READ_TO_EOF };

static int read_fd(int fd, size_t max, enum read_until until, struct sbuf *out)
{
	for (;;) {
		size_t want = out->len < 4096 ? 4096 : out->len < (64 << 10) ? 16 << 10 : 64 << 10;
		if (want > max + 1 - out->len)
			want = max + 1 - out->len;
		char *at = sbuf_reserve(out, want);
		if (!at)
			return -ENOMEM;
		ssize_t n = read(fd, at, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		out->len += (size_t)n;
		out->data[out->len] = '\0';
		if (n == 0)
			return 0;
		if (out->len > max) {
			out->len = max;
			out->data[max] = '\0';
			return -EFBIG;
		}
		if (until == READ_TO_SHORT && (size_t)n < want)
			return 0;
	}
}

/* Into a buffer that is reset first. 0, -EFBIG or an error as errno gives it, negative. */
static int read_at(int dir, const char *name, size_t max, enum read_until until, struct sbuf *out)
{
	sbuf_reset(out);
	/* Not to be stopped by a FIFO in a directory that only looks like /proc. */
	__cleanup(closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : read_fd(fd, max, until, out);
}

int proc_read_in_root(struct proc *p, const char *path, size_t max, struct sbuf *out)
{
	__cleanup(closep) int fd = -1;
	sbuf_reset(out);
	__cleanup(closep) int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return proc_error(p, errno);
	int err = regular_open_in_root(root, path, &fd);
	if (err == -EINVAL)
		return err;
	return err ? proc_error(p, -err) : read_fd(fd, max, READ_TO_EOF, out);
}

int proc_open_dir_in_root(struct proc *p, const char *path, int *ret_fd)
{
	__cleanup(closep) int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int err = root < 0 ? -errno : regular_open_dir_in_root(root, path, ret_fd);
	return err ? proc_error(p, -err) : 0;
}

static int read_fact(struct proc *p, const char *name, size_t max, enum read_until until, struct sbuf *out)
{
	int err = read_at(p->dir, name, max, until, out);
	return err && err != -EFBIG && err != -ENOMEM ? proc_error(p, -err) : err;
}

int proc_read(struct proc *p, const char *name, size_t max, struct sbuf *out)
{
	return read_fact(p, name, max, READ_TO_EOF, out);
}

static int read_stat(struct proc *p, int dir, struct sbuf *text, struct proc_stat *ret)
{
	int err = read_at(dir, "stat", PROC_MAX_SMALL, READ_TO_SHORT, text);
	if (err == -ENOENT || err == -ESRCH)
		return -ESRCH;
	if (err)
		return proc_error(p, -err);
	return proc_stat_parse(sbuf_sv(text), ret);
}

static int open_dir(const char *root, const char *name)
{
	char path[PATH_MAX];
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", root, name) >= sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	return errno == ENOENT || errno == ESRCH ? -ESRCH : -errno;
}

/* The first thread is a zombie: read the process through one that lives. /proc/TID, which no listing shows, is a
 * whole process directory (task/TID lacks map_files); it is believed only when it says it belongs to this process. */
static void use_living_thread(struct proc *p)
{
	__cleanup(closep) int task = openat(p->dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = task < 0 ? NULL : fdopendir(task);
	struct sbuf text = {0};
	struct dirent *e;
	if (!d)
		return;
	task = -1;
	while (p->leader < 0 && (e = readdir(d))) {
		struct proc_stat stat;
		struct proc_status status;
		int tid;
		if (!text_int(sv_of(e->d_name), INT_MAX, &tid) || tid == p->pid)
			continue;
		__cleanup(closep) int dir = open_dir(p->root, e->d_name);
		if (dir < 0 || read_at(dir, "status", PROC_MAX_SMALL, READ_TO_SHORT, &text) ||
		    proc_status_parse(sbuf_sv(&text), &status) || status.tgid != p->pid)
			continue;
		if (read_stat(p, dir, &text, &stat) || stat.state == 'Z' || stat.state == 'X')
			continue;
		p->leader = p->dir;
		p->dir = move_fd(dir);
		p->state = stat.state;
		p->zombie = false;
	}
	closedir(d);
	sbuf_release(&text);
}

static void proc_reset(struct proc *p)
{
	closep(&p->dir);
	closep(&p->leader);
	p->loaded = 0;
	p->denied = p->exe_deleted = p->zombie = p->kernel_thread = false;
	p->skipped[0] = '\0';
	p->comm = SV_NULL;
}

int proc_open(struct proc *p, const char *root, int pid)
{
	struct proc_stat stat;
	char name[16];
	proc_reset(p);
	p->root = root;
	p->pid = pid;
	snprintf(name, sizeof(name), "%d", pid);
	p->dir = open_dir(root, name);
	int err = p->dir < 0 ? p->dir : 0;
	if (!err)
		err = read_stat(p, p->dir, &p->stat, &stat);
	if (err) {
		proc_reset(p);
		return err;
	}
	p->comm = stat.comm;
	p->state = stat.state;
	p->kernel_thread = stat.kernel_thread;
	p->ppid = stat.ppid;
	p->threads = stat.threads;
	p->start_ticks = stat.start_ticks;
	p->zombie = stat.state == 'Z' || stat.state == 'X';
	if (p->zombie && stat.threads > 1)
		use_living_thread(p);
	return 0;
}

void proc_close(struct proc *p)
{
	proc_reset(p);
	sbuf_release(&p->stat);
	sbuf_release(&p->exe);
	sbuf_release(&p->cwd);
	sbuf_release(&p->cmdline);
	sbuf_release(&p->environ);
	sbuf_release(&p->status);
	sbuf_release(&p->cgroup);
}

ssize_t proc_readlink(struct proc *p, const char *name, char *buf, size_t sz)
{
	ssize_t n = readlinkat(p->dir, name, buf, sz - 1);
	if (n < 0)
		return proc_error(p, errno);
	buf[n] = '\0';
	return n;
}

static int read_link(struct proc *p, const char *name, struct sbuf *out)
{
	char buf[PATH_MAX];
	ssize_t n = proc_readlink(p, name, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	sbuf_reset(out);
	sbuf_add(out, buf, (size_t)n);
	return out->failed ? -ENOMEM : 0;
}

/* A file may really be called "x (deleted)": then that name, in the process's own view, is the file that runs. */
static bool name_is_genuine(struct proc *p, const char *path)
{
	char full[PATH_MAX + 8];
	struct stat runs, named;
	snprintf(full, sizeof(full), "root%s", path);
	return path[0] == '/' && fstatat(p->dir, "exe", &runs, 0) == 0 && fstatat(p->dir, full, &named, 0) == 0 &&
	       runs.st_dev == named.st_dev && runs.st_ino == named.st_ino;
}

static int load_exe(struct proc *p)
{
	int err = read_link(p, "exe", &p->exe);
	if (err)
		return err;
	if (text_ends(sbuf_sv(&p->exe), deleted_suffix) && !name_is_genuine(p, sbuf_str(&p->exe))) {
		p->exe.len -= deleted_suffix.len;
		p->exe.data[p->exe.len] = '\0';
		p->exe_deleted = true;
	}
	return 0;
}

/* Cuts what a limit left of the last string. */
static void drop_partial(struct sbuf *text)
{
	while (text->len && text->data[text->len - 1])
		text->len--;
}

static int load_strings(struct proc *p, const char *name, size_t max, struct sbuf *out)
{
	int err = read_fact(p, name, max, READ_TO_SHORT, out);
	if (err == -EFBIG)
		drop_partial(out);
	else if (err)
		return err;
	return 0;
}

static int load_cmdline(struct proc *p)
{
	int err = load_strings(p, "cmdline", PROC_MAX_CMDLINE, &p->cmdline);
	/* A program that wrote its title over its arguments leaves the rest of them zeroed. */
	while (!err && p->cmdline.len && !p->cmdline.data[p->cmdline.len - 1])
		p->cmdline.len--;
	return err;
}

static int load_status(struct proc *p)
{
	int err = read_fact(p, "status", PROC_MAX_SMALL, READ_TO_SHORT, &p->status);
	return err ? err : proc_status_parse(sbuf_sv(&p->status), &p->status_facts);
}

static int load(struct proc *p, enum fact fact)
{
	if (p->dir < 0)
		return -ESRCH;
	if (p->loaded & (1u << fact))
		return p->error[fact];
	int err = fact == FACT_EXE	 ? load_exe(p)
		  : fact == FACT_CWD	 ? read_link(p, "cwd", &p->cwd)
		  : fact == FACT_CMDLINE ? load_cmdline(p)
		  : fact == FACT_ENVIRON ? load_strings(p, "environ", PROC_MAX_ENVIRON, &p->environ)
		  : fact == FACT_STATUS	 ? load_status(p)
					 : read_fact(p, "cgroup", PROC_MAX_SMALL, READ_TO_SHORT, &p->cgroup);
	p->loaded |= 1u << fact;
	p->error[fact] = err;
	return err;
}

int proc_exe(struct proc *p, struct sv *ret_path)
{
	int err = load(p, FACT_EXE);
	if (!err)
		*ret_path = sbuf_sv(&p->exe);
	return err;
}

int proc_cwd(struct proc *p, struct sv *ret_path)
{
	int err = load(p, FACT_CWD);
	if (!err)
		*ret_path = sbuf_sv(&p->cwd);
	return err;
}

int proc_cmdline(struct proc *p, struct sv *ret_args)
{
	int err = load(p, FACT_CMDLINE);
	if (!err)
		*ret_args = sbuf_sv(&p->cmdline);
	return err;
}

int proc_environ(struct proc *p, struct sv *ret_vars)
{
	int err = load(p, FACT_ENVIRON);
	if (!err)
		*ret_vars = sbuf_sv(&p->environ);
	return err;
}

int proc_status(struct proc *p, const struct proc_status **ret)
{
	int err = load(p, FACT_STATUS);
	if (!err)
		*ret = &p->status_facts;
	return err;
}

int proc_container(struct proc *p, struct container *ret)
{
	int err = load(p, FACT_CGROUP);
	if (!err)
		container_parse(sbuf_sv(&p->cgroup), ret);
	return err;
}

int proc_namespace(struct proc *p, const char *name, uint64_t *ret_inode)
{
	char path[32];
	struct stat st;
	snprintf(path, sizeof(path), "ns/%s", name);
	if (fstatat(p->dir, path, &st, 0) < 0)
		return proc_error(p, errno);
	*ret_inode = st.st_ino;
	return 0;
}

#define HOST_CGROUP_NAMESPACE 0xEFFFFFFB /* include/linux/proc_ns.h, PROC_CGROUP_INIT_INO */

static uint64_t cgroup_inode(struct sv controller, struct sv path)
{
	char full[PATH_MAX];
	struct stat st;
	int n = snprintf(full, sizeof(full), "/sys/fs/cgroup/" SV_FMT "/" SV_FMT, SV_ARG(controller), SV_ARG(path));
	return n > 0 && (size_t)n < sizeof(full) && stat(full, &st) == 0 ? st.st_ino : 0;
}

uint64_t proc_cgroup_inode(struct proc *p)
{
	uint64_t ns, v1 = 0, v2 = 0;
	if (load(p, FACT_CGROUP) || proc_namespace(p, "cgroup", &ns) || ns == HOST_CGROUP_NAMESPACE)
		return 0;
	for (struct sv text = sbuf_sv(&p->cgroup); text.len;) {
		struct sv line = text_trim(text_line(&text));
		struct sv number = text_until(&line, ':'), controller = text_until(&line, ':');
		if (sv_eq(controller, SV("memory")))
			v1 = cgroup_inode(controller, line);
		else if (sv_eq(number, SV("0")) && !controller.len)
			v2 = cgroup_inode(controller, line);
	}
	return v1 ? v1 : v2;
}

int proc_open_exe(struct proc *p, int *ret_fd)
{
	int fd = openat(p->dir, "exe", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return proc_error(p, errno);
	*ret_fd = fd;
	return 0;
}
