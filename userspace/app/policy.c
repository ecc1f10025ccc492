/* SPDX-License-Identifier: Apache-2.0 */
#include "app/policy.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "target/procfs.h"
#include "target/scan.h"

#define INITIAL_PID_NAMESPACE 0xEFFFFFFC /* include/linux/proc_ns.h, PROC_PID_INIT_INO */

const char *proc_root(void)
{
	const char *root = getenv("HOST_PROC");
	return root && *root ? root : "/proc";
}

static bool pid_namespace(const char *root, const char *process, struct stat *ret)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/%s/ns/pid", root, process);
	return stat(path, ret) == 0;
}

/* The kernel lists a process's numbers from the namespace of the mount inwards: one alone says that it is in that. */
static int is_of_the_mount(void *arg, struct proc *p)
{
	const struct proc_status *status;
	return p->dir >= 0 && proc_status(p, &status) == 0 && status->ns_depth == 0 &&
	       fstatat(p->dir, "ns/pid", arg, 0) == 0;
}

int policy_pid_namespace(dev_t *ret_dev, ino_t *ret_ino, struct sbuf *err)
{
	const char *root = proc_root();
	char path[PATH_MAX];
	struct stat st;
	*ret_dev = 0;
	*ret_ino = 0;
	snprintf(path, sizeof(path), "%s/1/stat", root);
	if (access(path, F_OK) < 0) {
		sbuf_addf(err, "%s shows no processes (%s): HOST_PROC is to name a mount of proc", root,
			  strerror(errno));
		return -EINVAL;
	}
	/* The first process is of the namespace of the mount, but may not be ours to look at. */
	if (!pid_namespace(root, "1", &st)) {
		int code = errno;
		if (scan_each(root, is_of_the_mount, &st, err) <= 0) {
			sbuf_reset(err);
			sbuf_addf(err,
				  "which PID namespace %s shows cannot be told: %s/1/ns/pid: %s (needs CAP_SYS_PTRACE)",
				  root, root, strerror(code));
			return -EINVAL;
		}
	}
	if (st.st_ino == INITIAL_PID_NAMESPACE)
		return 0;
	*ret_dev = st.st_dev;
	*ret_ino = st.st_ino;
	return 0;
}

bool policy_pids_are_ours(ino_t pid_ns_ino)
{
	struct stat st;
	return pid_namespace("/proc", "self", &st) &&
	       st.st_ino == (pid_ns_ino ? pid_ns_ino : (ino_t)INITIAL_PID_NAMESPACE);
}

static bool needs_names(const struct probe_list *list)
{
	vec_foreach (t, &list->targets)
		if (target_spec_needs_names(t))
			return true;
	vec_foreach (t, &list->excludes)
		if (target_spec_needs_names(t))
			return true;
	return false;
}

static int policy_ask(struct policy *p, const struct probe_list *list, struct sbuf *err)
{
	/* The environment goes before the file (trace/settings.def). */
	const char *host = getenv("DOCKER_HOST");
	bool named = list->containers.socket.len && !(host && *host);
	int rc = container_runtime_start(&p->runtime, named ? list->containers.socket.data : NULL, err);
	if (rc < 0)
		return rc;
	if (p->runtime)
		p->target.containers = container_runtime_containers(p->runtime);
	else
		log_debug("no container runtime's socket: containers are known by their ids alone");
	return 0;
}

int policy_open(struct policy *p, const struct probe_list *list, bool names, struct sbuf *err)
{
	*p = (struct policy){.target = {.excludes = list->excludes.data,
					.exclude_cnt = list->excludes.cnt,
					.trace_instrumented = list->trace_instrumented}};
	p->target.languages = languages_new();
	if (!p->target.languages)
		return -ENOMEM;
	int rc = names || needs_names(list) ? policy_ask(p, list, err) : 0;
	if (rc < 0)
		policy_release(p);
	return rc;
}

void policy_apply(struct policy *p, struct probe_list *list)
{
	struct sbuf err = {0};
	/* A later list may be the first one that needs names. */
	if (!p->runtime && needs_names(list) && policy_ask(p, list, &err) < 0)
		log_warn("containers are known by their ids alone: %s", sbuf_str(&err));
	sbuf_release(&err);
	vec_foreach (t, &list->targets)
		t->policy = &p->target;
}

void policy_forget(struct probe_list *list)
{
	vec_foreach (t, &list->targets)
		t->policy = NULL;
}

void policy_release(struct policy *p)
{
	container_runtime_stop(p->runtime);
	languages_free(p->target.languages);
	*p = (struct policy){0};
}

bool policy_wait(struct policy *p, int timeout_ms)
{
	struct containers_stats stats;
	uint64_t end = clock_mono_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC, now;
	if (!p->runtime)
		return true;
	for (;;) {
		struct pollfd fd = {.fd = container_runtime_fd(p->runtime), .events = POLLIN};
		uint64_t n;
		containers_stats(p->target.containers, &stats);
		if (!stats.wanted && !stats.asked)
			return true;
		now = clock_mono_ns();
		if (now >= end)
			return false;
		poll(&fd, 1, (int)((end - now) / NSEC_PER_MSEC) + 1);
		if (fd.revents && read(fd.fd, &n, sizeof(n)) < 0)
			return false;
	}
}
