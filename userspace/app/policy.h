/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_POLICY_H
#define APP_POLICY_H

#include "app/container_runtime.h"
#include "probe/list.h"
#include "target/policy.h"

/* What all commands that choose processes share: where /proc is, what is excluded, who knows containers by name. */
struct policy {
	struct target_policy target;
	struct container_runtime *runtime; /* NULL: nobody is asked for names */
};

/* The directory that shows processes: HOST_PROC if it is set, else /proc. */
const char *proc_root(void);

/* 0; -EINVAL with a sentence in err; -ENOMEM. A runtime is asked only when a target or an exclusion needs names, or
 * `names` is true. The list's specs are not touched. */
int policy_open(struct policy *p, const struct probe_list *list, bool names, struct sbuf *err);
/* Every target of the list is judged by it from now on: by the exclusions of the list it was opened with. The list may
 * also be a later one, whose targets take the place of others; a runtime is asked from then on when it needs names. */
void policy_apply(struct policy *p, struct probe_list *list);
/* By none any more: before it is released, where the list lives on. */
void policy_forget(struct probe_list *list);
void policy_release(struct policy *p);
/* Waits until what was wanted so far is known: at most timeout_ms. False: it took longer. */
bool policy_wait(struct policy *p, int timeout_ms);

/* Which PID namespace proc_root() shows: the kernel half is to speak of processes by the same numbers. *ret_ino is 0 for
 * the initial one. 0; -EINVAL with what is missing, and what is to be done, in err. */
int policy_pid_namespace(dev_t *ret_dev, ino_t *ret_ino, struct sbuf *err);
/* Whether it is ours, so that the pids of our children are its numbers, too. */
bool policy_pids_are_ours(ino_t pid_ns_ino);

#endif
