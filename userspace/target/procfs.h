/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_PROCFS_H
#define TARGET_PROCFS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/sbuf.h"
#include "target/container.h"
#include "target/procparse.h"

/* One process seen through /proc. It holds the process's directory open, which pins the process and not its number:
 * when the process is gone every function answers -ESRCH, even if the pid names another one by then. Facts are read
 * when first asked for and kept: they are one moment's truth. Slices live until the next proc_open or proc_close.
 *
 * A process whose first thread has ended (pthread_exit in main) is read through one of its other threads.
 * Errors: -ESRCH gone; -EACCES not ours to see (another user's process, hidepid; noted in `denied` as well);
 * -ENOENT it has no such thing (kernel threads and zombies have no executable). */
struct proc {
	int dir;	  /* O_PATH of /proc/PID; -1: closed */
	int leader;	  /* the same, of the first thread, when `dir` is another's; else -1 */
	int pid;	  /* thread group id, as this /proc shows it: in the PID namespace the mount was made in */
	const char *root; /* borrowed from proc_open */
	char state;
	bool kernel_thread;
	bool zombie;	  /* every thread has ended: nothing but its name is left */
	char skipped[96]; /* why a process that was asked for was not chosen (target/policy.h); "": it was not */
	bool denied;	  /* something could not be read for lack of permission */
	int ppid, threads;
	uint64_t start_ticks; /* since boot */
	struct sv comm;

	unsigned int loaded; /* bit of each fact below */
	int error[8];
	struct sbuf stat, exe, cwd, cmdline, environ, status, cgroup;
	bool exe_deleted;
	struct proc_status status_facts;
};

#define PROC_INIT ((struct proc){.dir = -1, .leader = -1})

/* Longest texts taken; what is beyond is cut, arguments and variables at a whole one. The kernel's own bound on both
 * together is a quarter of the stack limit, 2 MiB by default. */
#define PROC_MAX_CMDLINE (128 << 10)
#define PROC_MAX_ENVIRON (1 << 20)
#define PROC_MAX_SMALL	 (64 << 10) /* status, cgroup, links */
#define PROC_MAX_MAPS	 (64 << 20)

/* `root` is "/proc", or a directory made to look like it, and must outlive `p`; `pid` is a process's, not a
 * thread's. An open `p` may be opened again: its buffers are reused. On failure it is closed. */
int proc_open(struct proc *p, const char *root, int pid);
void proc_close(struct proc *p);
static inline void proc_closep(struct proc *p)
{
	proc_close(p);
}

/* The path of the executable in its own mount namespace; " (deleted)" is removed and shown by p->exe_deleted. */
int proc_exe(struct proc *p, struct sv *ret_path);
int proc_cwd(struct proc *p, struct sv *ret_path);
int proc_cmdline(struct proc *p, struct sv *ret_args); /* for cmdline_next() */
/* As it was when the program started: what setenv(3) did later is not there, and a program that rewrites its title
 * in place (PostgreSQL, nginx) may have overwritten it. */
int proc_environ(struct proc *p, struct sv *ret_vars); /* for environ_get() */
int proc_status(struct proc *p, const struct proc_status **ret);
int proc_container(struct proc *p, struct container *ret); /* 0 with an empty id: not in a container */
/* The inode of its cgroup's directory, by which an Agent knows a container whose id does not show: of the memory
 * controller (cgroup v1), else of the unified hierarchy. 0: none, or the process is in the cgroup namespace of the host,
 * where the Agent would take the host's root for a container (dd-trace-go, internal/container_linux.go). */
uint64_t proc_cgroup_inode(struct proc *p);

/* A file below the process's directory, whole or its first `max` bytes (-EFBIG when cut; what was read is there). */
int proc_read(struct proc *p, const char *name, size_t max, struct sbuf *out);
/* A file as the process itself finds it by this name: links lead into its root, not ours. Only regular files are opened
 * (-EINVAL). Not for names that the process chose. Otherwise as proc_read(). */
int proc_read_in_root(struct proc *p, const char *path, size_t max, struct sbuf *out);
/* A directory as the process itself finds it, to be listed; the descriptor is the caller's. */
int proc_open_dir_in_root(struct proc *p, const char *path, int *ret_fd);
/* The target of a link below the process's directory; the caller's buffer is NUL-terminated. */
ssize_t proc_readlink(struct proc *p, const char *name, char *buf, size_t sz);
/* The inode of one of its namespaces ("net", "pid", "mnt"). */
int proc_namespace(struct proc *p, const char *name, uint64_t *ret_inode);
/* The executable itself, read-only, deleted or not, whatever its mount namespace. The descriptor is the caller's. */
int proc_open_exe(struct proc *p, int *ret_fd);
bool proc_gone(const struct proc *p);
/* errno of a failed look below the directory as one of the errors above. */
int proc_error(struct proc *p, int err);

#endif
