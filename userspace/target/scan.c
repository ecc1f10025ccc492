/* SPDX-License-Identifier: Apache-2.0 */
#include "target/scan.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/text.h"

/* Our own number in the view of this /proc, or 0. */
static int own_pid(const char *root)
{
	char path[PATH_MAX], link[32];
	int pid;
	if ((size_t)snprintf(path, sizeof(path), "%s/self", root) >= sizeof(path))
		return 0;
	ssize_t n = readlink(path, link, sizeof(link));
	return n > 0 && text_int((struct sv){link, (size_t)n}, INT_MAX, &pid) ? pid : 0;
}

int scan_each(const char *root, int (*visit)(void *arg, struct proc *p), void *arg, struct sbuf *err)
{
	DIR *d = opendir(root);
	if (!d) {
		int code = -errno;
		if (err)
			sbuf_addf(err, "cannot list the processes in %s: %s", root, strerror(-code));
		return code;
	}
	__cleanup(proc_closep) struct proc p = PROC_INIT;
	struct dirent *e;
	int self = own_pid(root), pid, ret = 0;
	while (!ret && (e = readdir(d))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !text_int(sv_of(e->d_name), INT_MAX, &pid))
			continue;
		if (pid == self)
			continue;
		/* Denied (hidepid=1) is a process too: the visitor counts it. */
		int open_err = proc_open(&p, root, pid);
		if (open_err && open_err != -EACCES && open_err != -EPERM)
			continue;
		p.pid = pid;
		p.denied = open_err != 0;
		if (!open_err && (p.kernel_thread || p.zombie))
			continue;
		ret = visit(arg, &p);
	}
	closedir(d);
	return ret;
}

struct scan_state {
	const struct target_spec *specs;
	size_t spec_cnt;
	struct listeners listeners;
	struct scan *scan;
};

static int visit_match(void *arg, struct proc *p)
{
	struct scan_state *st = arg;
	struct scan *s = st->scan;
	bool matched = false;
	s->seen++;
	for (size_t i = 0; i < st->spec_cnt; i++) {
		if (!target_matches(&st->specs[i], p, &st->listeners))
			continue;
		s->per_spec[i]++;
		if (matched)
			continue;
		matched = true;
		if (s->cnt >= SCAN_MAX_MATCHES)
			s->overflow++;
		else if (vec_push(s, ((struct scan_match){p->pid, (uint32_t)i, p->start_ticks})))
			return -ENOMEM;
	}
	if (!matched && p->skipped[0] && s->skipped_cnt < SCAN_MAX_SKIPPED) {
		if (vec_room((void **)&s->skipped, s->skipped_cnt, &s->skipped_cap, 1, sizeof(*s->skipped)))
			return -ENOMEM;
		struct scan_skip *skip = &s->skipped[s->skipped_cnt++];
		skip->pid = p->pid;
		memcpy(skip->why, p->skipped, sizeof(skip->why));
	}
	s->denied += !matched && p->denied;
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct scan_match *x = a, *y = b;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

int scan_processes(const char *root, const struct target_spec *specs, size_t spec_cnt, struct scan *ret,
		   struct sbuf *err)
{
	struct scan_state st = {.specs = specs, .spec_cnt = spec_cnt, .scan = ret};
	*ret = (struct scan){.per_spec = calloc(spec_cnt + 1, sizeof(size_t))};
	int code = ret->per_spec ? scan_each(root, visit_match, &st, err) : -ENOMEM;
	listeners_release(&st.listeners);
	if (code == -ENOMEM)
		sbuf_adds(err, "out of memory");
	if (code) {
		scan_release(ret);
		return code;
	}
	if (ret->cnt)
		qsort(ret->data, ret->cnt, sizeof(*ret->data), by_pid);
	return 0;
}

void scan_release(struct scan *s)
{
	free(s->data);
	free(s->skipped);
	free(s->per_spec);
	*s = (struct scan){0};
}
